//! `arcpd stdio` as a client that starts it has it: lines in, lines out, nothing else on stdout.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::daemon::{Daemon, arcpd};

pub struct Lines {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    talk: tempfile::NamedTempFile,
}

impl Lines {
    pub fn start(command: &mut Command) -> Lines {
        let talk = tempfile::NamedTempFile::new().unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(talk.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Lines { child, input, output, talk }
    }

    /// What has been written to stderr.
    pub fn talk(&self) -> String {
        std::fs::read_to_string(self.talk.path()).unwrap()
    }

    fn raw(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    pub fn send(&mut self, id: &str, kind: &str, payload: Value) {
        self.raw(
            format!("{}\n", json!({ "arcp": "1.1", "id": id, "type": kind, "payload": payload })).as_bytes(),
        );
    }

    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the process ended");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a frame: {line:?}"))
    }

    pub fn hello(&mut self, token: &str) -> Value {
        self.send("h", "session.hello", json!({ "auth": { "scheme": "bearer", "token": token } }));
        self.next()
    }

    pub fn end(mut self) -> (Option<i32>, String) {
        self.input = None;
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdio() -> (tempfile::TempDir, Lines) {
    let home = tempfile::tempdir().unwrap();
    let lines = Lines::start(arcpd(home.path()).args(["stdio", "--demo-agents", "--token", "alice=tok-a"]));
    (home, lines)
}

#[test]
fn one_session_on_stdin_and_stdout() {
    let (_home, mut lines) = stdio();
    assert_eq!(lines.hello("tok-a")["type"], "session.welcome");
    lines.raw(b"\n   \r\n");
    lines.send("s", "job.submit", json!({ "agent": "echo", "input": "hi" }));
    assert_eq!(lines.next()["type"], "job.accepted");
    assert_eq!(lines.next()["payload"]["result"], "hi");
    lines.send("c", "session.close", json!({}));
    assert_eq!(lines.next()["type"], "session.closed");
    assert_eq!(lines.end(), (Some(0), String::new()), "the process ends with its session");
}

#[test]
fn a_bad_line_costs_that_line() {
    let (_home, mut lines) = stdio();
    lines.hello("tok-a");
    for bad in [&b"{\"arcp\":\n"[..], b"[]\n", b"\xff\xfe\n", &[b'x'; 1_100_000], b"\n"] {
        lines.raw(bad);
        if bad.ends_with(b"\n") {
            let refused = lines.next();
            assert_eq!(refused["payload"]["code"], "INVALID_REQUEST", "{refused}");
        }
    }
    lines.send("s", "job.submit", json!({ "agent": "echo" }));
    assert_eq!(lines.next()["type"], "job.accepted");
}

#[test]
fn a_wrong_token_is_told_and_the_process_ends() {
    let (_home, mut lines) = stdio();
    assert_eq!(lines.hello("nope")["payload"]["code"], "UNAUTHENTICATED");
    assert_eq!(lines.end().1, "");
}

#[test]
fn the_end_of_stdin_ends_the_process() {
    let (_home, mut lines) = stdio();
    lines.hello("tok-a");
    assert_eq!(lines.end(), (Some(0), String::new()));
}

#[test]
fn a_bridge_passes_frames_to_a_daemon_and_back() {
    let daemon = Daemon::start();
    let mut lines = Lines::start(arcpd(daemon.home.path()).args(["stdio", "--connect", &daemon.url]));
    assert_eq!(lines.hello("tok-a")["type"], "session.welcome");
    lines.send("s", "job.submit", json!({ "agent": "echo", "input": 7 }));
    assert_eq!(lines.next()["type"], "job.accepted");
    assert_eq!(lines.next()["payload"]["result"], 7);
    assert!(daemon.run(&["jobs"]).out.contains("echo@2.0.0"), "the job is the daemon's");
    assert_eq!(lines.end().0, Some(0));
}

#[test]
fn a_bridge_brings_the_answers_to_what_was_asked_before_stdin_ended() {
    let daemon = Daemon::start();
    let mut lines = Lines::start(arcpd(daemon.home.path()).args(["stdio", "--connect", &daemon.url]));
    lines.send("h", "session.hello", json!({ "auth": { "scheme": "bearer", "token": "tok-a" } }));
    lines.send("s", "job.submit", json!({ "agent": "echo", "input": 7 }));
    let (code, rest) = lines.end();
    let kinds: Vec<Value> =
        rest.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].take()).collect();
    assert_eq!(
        (code, kinds),
        (Some(0), vec![json!("session.welcome"), json!("job.accepted"), json!("job.result")])
    );
}

#[test]
fn a_bad_line_costs_a_bridge_that_line() {
    let daemon = Daemon::start();
    let mut lines = Lines::start(arcpd(daemon.home.path()).args(["stdio", "--connect", &daemon.url]));
    let session = lines.hello("tok-a")["session_id"].take();
    let long = [&vec![b'x'; 1_100_000][..], b"\n"].concat();
    for (bad, names) in [(&b"\xff\xfe\n"[..], "UTF-8"), (&long, "at most"), (b"[]\n", "envelope")] {
        lines.raw(bad);
        let refused = lines.next();
        assert_eq!(refused["payload"]["code"], "INVALID_REQUEST", "{refused}");
        assert!(refused["payload"]["message"].as_str().unwrap().contains(names), "{refused}");
        assert_eq!(refused["session_id"], session);
    }
    lines.send("s", "job.submit", json!({ "agent": "echo" }));
    assert_eq!(lines.next()["type"], "job.accepted");
}

#[test]
fn a_bridge_whose_daemon_dies_says_so() {
    let daemon = Daemon::start();
    let mut command = arcpd(daemon.home.path());
    command.args(["stdio", "--connect", &daemon.url]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let hello = json!({ "arcp": "1.1", "id": "h", "type": "session.hello",
        "payload": { "auth": { "scheme": "bearer", "token": "tok-a" } } });
    writeln!(input, "{hello}").unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    daemon.signal("KILL");
    let ended = child.wait_with_output().unwrap();
    let talk = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), talk.contains("the daemon is gone")), (Some(5), true), "{talk}");
}
