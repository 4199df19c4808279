//! `arcpd stdio` as a client that starts it has it: lines in, lines out, nothing else on stdout.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::daemon::{Daemon, arcpd};

struct Lines {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Lines {
    fn start(command: &mut Command) -> Lines {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Lines { child, input, output }
    }

    fn raw(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    fn send(&mut self, id: &str, kind: &str, payload: Value) {
        self.raw(
            format!("{}\n", json!({ "arcp": "1.1", "id": id, "type": kind, "payload": payload })).as_bytes(),
        );
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the process ended");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a frame: {line:?}"))
    }

    fn hello(&mut self, token: &str) -> Value {
        self.send("h", "session.hello", json!({ "auth": { "scheme": "bearer", "token": token } }));
        self.next()
    }

    fn end(mut self) -> (Option<i32>, String) {
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
