//! A daemon whose disk is full, as its user meets it: the file may not grow. It refuses new work, says so on
//! `/readyz`, loses nothing of what it said, and goes on when there is room.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arcpd::transport::websocket::connect;
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Peer, hello};

/// The longest wait for a daemon to notice its disk.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer is waited for that may not come before there is room.
const ANSWER: Duration = Duration::from_millis(500);
const PROBES: usize = 12;
/// What the store's files may hold at first, in blocks of 512 bytes.
const BLOCKS: &str = "8192";

/// One life of a daemon with its store below `home`.
struct Daemon {
    process: Child,
    url: String,
}

impl Daemon {
    fn start(home: &Path, full: bool) -> Daemon {
        // A process that ignores SIGXFSZ is told by an error that a file is too large. Only the soft limit is set.
        let limit = if full { format!("trap '' XFSZ; ulimit -S -f {BLOCKS}; ") } else { String::new() };
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limit}exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_arcpd")]);
        command.args(["serve", "--listen", "127.0.0.1:0", "--demo-agents", "--store", "sqlite"]);
        command.args(["--durability", "full", "--log-level", "off"]);
        command.arg("--store-path").arg(home.join("arcpd.db"));
        // A reserve is no help against a limit of single files.
        command.env("ARCPD_LIMITS_STORE_RESERVE_BYTES", "0");
        command.env("ARCPD_TOKENS", "alice=tok-a").env("HOME", home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.trim().strip_prefix("arcpd listening on ").expect("the daemon did not start").to_owned();
        Daemon { process, url }
    }

    async fn peer(&self) -> Peer {
        Peer::over(connect(&self.url, None, &Limits::default()).await.unwrap())
    }

    /// What `/readyz` answers.
    fn readiness(&self) -> String {
        let address = self.url.strip_prefix("ws://").unwrap().split('/').next().unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits until `/readyz` answers with this status; returns all of the answer.
    async fn until(&self, status: &str) -> String {
        let waits = async {
            loop {
                let answer = self.readiness();
                if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("never {status}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

const TICKS: u64 = 400;

/// More than the files may hold.
fn flood() -> Value {
    let input = json!({ "count": TICKS, "interval_ms": 0, "size": 20_000 });
    json!({ "agent": "ticker", "idempotency_key": "flood", "input": input })
}

/// Whether an answer is that there is no room now.
fn no_room(answer: &Value) -> bool {
    let (code, retryable) = (&answer["payload"]["code"], &answer["payload"]["retryable"]);
    let refused = answer["type"] == "session.error";
    assert!(!refused || (code == "INTERNAL_ERROR" && retryable == true), "{answer}");
    refused
}

/// Submits and returns the answer; what comes before it is seen.
async fn submit(peer: &mut Peer, payload: Value, seen: &mut Vec<Value>) -> Value {
    let id = peer.send("job.submit", payload);
    loop {
        let frame = peer.frame().await;
        if frame["payload"]["request_id"] == id {
            return frame;
        }
        seen.push(frame);
    }
}

/// Sessions that try whether there is room. While the log is full and the file is not, there may be for a moment; who
/// asks at that moment may wait for an answer until there is room for good.
struct Probes(Vec<Peer>);

impl Probes {
    async fn new(daemon: &Daemon) -> Probes {
        let mut probes = Vec::new();
        for _ in 0..PROBES {
            let mut peer = daemon.peer().await;
            peer.send("session.hello", hello("tok-a", FEATURES));
            peer.welcome().await;
            probes.push(peer);
        }
        Probes(probes)
    }

    async fn until_refused(&mut self, daemon: &Daemon) {
        while let Some(mut peer) = self.0.pop() {
            let why = daemon.until("503").await;
            assert!(why.contains("the store cannot write: "), "{why}");
            let mut seen = Vec::new();
            let answer = submit(&mut peer, json!({ "agent": "echo" }), &mut seen);
            if let Ok(answer) = tokio::time::timeout(ANSWER, answer).await
                && no_room(&answer)
            {
                return;
            }
        }
        panic!("nobody was refused");
    }
}

/// A session with a job that fills the disk, and what it was sent before no more could be stored.
async fn filled(daemon: &Daemon) -> (Peer, String, Vec<Value>) {
    let mut probes = Probes::new(daemon).await;
    let mut alice = daemon.peer().await;
    alice.send("session.hello", hello("tok-a", FEATURES));
    alice.welcome().await;
    let job = alice.submit(flood()).await;
    probes.until_refused(daemon).await;
    loop {
        daemon.until("503").await;
        let mut other = daemon.peer().await;
        other.send("session.hello", hello("tok-a", FEATURES));
        if let Ok(answer) = tokio::time::timeout(ANSWER, other.frame()).await
            && no_room(&answer)
        {
            break;
        }
    }
    let mut seen = Vec::new();
    while let Ok(frame) = tokio::time::timeout(ANSWER, alice.frame()).await {
        seen.push(frame);
    }
    assert!(!seen.is_empty() && !ended(&seen, &job), "everything had room");
    (alice, job, seen)
}

fn ended(frames: &[Value], job: &str) -> bool {
    frames.iter().any(|frame| frame["job_id"] == job && frame["type"] != "job.event")
}

/// Takes everything up to the end of a job.
async fn until_end(peer: &mut Peer, job: &str, mut seen: Vec<Value>) -> Vec<Value> {
    while !ended(&seen, job) {
        seen.push(peer.frame().await);
    }
    assert_eq!(numbers(&seen), (1..=seen.len() as u64).collect::<Vec<_>>());
    seen
}

fn numbers(frames: &[Value]) -> Vec<u64> {
    frames.iter().map(|frame| frame["event_seq"].as_u64().unwrap()).collect()
}

fn home() -> Option<tempfile::TempDir> {
    let shell = crate::daemon::has_shell();
    if !shell {
        println!("SKIPPED: a file that may not grow needs /bin/sh");
    }
    shell.then(|| tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_and_the_daemon_goes_on_when_there_is_room() {
    if Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_err() {
        return println!("SKIPPED: room is made by prlimit, which is not here");
    }
    let Some(home) = home() else { return };
    let daemon = Daemon::start(home.path(), true);
    let (mut alice, job, seen) = filled(&daemon).await;
    let pid = daemon.process.id().to_string();
    let more = Command::new("prlimit").args(["--fsize=unlimited:", "--pid", &pid]).status().unwrap();
    assert!(more.success());
    let mut told = until_end(&mut alice, &job, seen).await;
    let of_job = told.iter().filter(|frame| frame["job_id"] == job.as_str()).count() as u64;
    assert_eq!((of_job, &told.last().unwrap()["type"]), (TICKS + 1, &json!("job.result")));
    daemon.until("200").await;
    let answer = submit(&mut alice, json!({ "agent": "echo" }), &mut told).await;
    assert_eq!(answer["type"], "job.accepted", "{answer}");
}

#[tokio::test]
async fn what_was_said_before_the_disk_was_full_is_there_after_a_kill() {
    let Some(home) = home() else { return };
    let daemon = Daemon::start(home.path(), true);
    let (alice, job, seen) = filled(&daemon).await;
    drop(daemon);
    let daemon = Daemon::start(home.path(), false);
    let mut again = Peer::resumed(
        connect(&daemon.url, None, &Limits::default()).await.unwrap(),
        alice.token.as_deref().unwrap(),
        0,
    )
    .await;
    let mut told = until_end(&mut again, &job, Vec::new()).await;
    assert_eq!(told[..seen.len()], seen[..], "the same frames under the same numbers");
    let end = told.last().unwrap().clone();
    assert_eq!((&end["type"], &end["payload"]["retryable"]), (&json!("job.error"), &json!(true)), "{end}");
    let answer = submit(&mut again, flood(), &mut told).await;
    assert_eq!(answer["payload"]["job_id"], job.as_str(), "the same key is the same job: {answer}");
}

#[cfg(unix)]
#[test]
fn a_place_that_may_not_be_written_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let closed = home.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
    let file = home.path().join("arcpd.db");
    drop(Daemon::start(home.path(), false));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o400)).unwrap();
    if std::fs::OpenOptions::new().append(true).open(&file).is_ok() {
        return println!("SKIPPED: to this user (root?) every file is writable");
    }
    for path in [closed.join("arcpd.db"), file] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arcpd"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", "sqlite", "--store-path"]).arg(&path);
        let said = command.env("HOME", home.path()).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(!said.status.success(), "{text}");
        assert!(text.contains(path.parent().unwrap().to_str().unwrap()), "{text}");
        assert!(text.contains("writable") && text.contains("choose another file"), "{text}");
    }
}
