//! The daemon and the system around it: signals, ports, files, what it leaves behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use super::daemon::{Daemon, Ran, arcpd};

fn alive(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    // A zombie that nobody has collected yet runs no more.
    !status.is_empty() && !status.contains(") Z ")
}

fn gone(pid: &str) -> bool {
    (0..500).any(|_| {
        let gone = !alive(pid);
        if !gone {
            std::thread::yield_now();
            let _ = std::process::Command::new("sh").args(["-c", "sleep 0.02"]).status();
        }
        gone
    })
}

const STUBBORN: &str = r#"
[[agents]]
name = "stubborn"
version = "1.0.0"
command = ["sh", "-c", "trap '' TERM; read start; printf '{\"type\":\"job.event\",\"payload\":{\"kind\":\"log\",\"body\":{\"level\":\"info\",\"message\":\"%s\"}}}\\n' $$; while :; do read line || sleep 1; done"]

[limits]
cancel_grace_ms = 100
kill_grace_ms = 100
"#;

type Reading = std::io::Lines<BufReader<std::process::ChildStdout>>;

/// Submits the stubborn agent; returns the client, what it goes on to write, and the agent's process id.
fn stubborn(daemon: &Daemon) -> (std::process::Child, Reading, String) {
    let mut submit = daemon.client(&["submit", "stubborn", "--json", "--reconnect-for", "0"]);
    let mut child = submit.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["type"] == "event" {
            break line["body"]["message"].as_str().unwrap().to_owned();
        }
    };
    (child, lines, pid)
}

#[test]
fn sigterm_ends_jobs_truthfully_and_leaves_no_process() {
    let daemon = Daemon::with(&["--token", "alice=tok-a"], STUBBORN);
    let (mut client, _reading, pid) = stubborn(&daemon);
    assert!(alive(&pid));
    daemon.signal("TERM");
    let (well, log) = daemon.wait();
    assert!(well, "{log}");
    assert!(gone(&pid), "the agent is still there");
    assert_eq!(client.wait().unwrap().code(), Some(1), "the client was told how the job ended");
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_daemon_takes_its_agents_along() {
    let daemon = Daemon::with(&["--token", "alice=tok-a"], STUBBORN);
    let (mut client, _reading, pid) = stubborn(&daemon);
    daemon.signal("KILL");
    daemon.wait();
    assert!(gone(&pid), "the agent outlived its daemon");
    assert_eq!(client.wait().unwrap().code(), Some(5), "the client was cut, which is not an end");
}

#[test]
fn without_a_token_one_is_made_kept_closely_and_used_by_the_client() {
    let daemon = Daemon::with(&["--demo-agents"], "");
    let file = daemon.home.path().join(".local/state/arcpd/token");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut submit = arcpd(daemon.home.path());
    let ran = Ran::of(submit.args(["submit", "echo", "--url", &daemon.url]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let token = fs::read_to_string(&file).unwrap();
    let open = daemon.run(&["jobs", "--token", "guess"]);
    assert_eq!(open.code, Some(7), "never open");
    daemon.signal("TERM");
    let (_, log) = daemon.wait();
    assert!(log.contains("export ARCPD_URL=") && log.contains("ARCPD_TOKEN"), "{log}");
    assert!(!log.contains(token.trim()), "the token is in the log");
}

#[test]
fn a_port_that_is_taken_and_a_wrong_file_are_told() {
    let daemon = Daemon::start();
    let address = daemon.url.trim_start_matches("ws://").trim_end_matches("/arcp");
    let mut second = arcpd(daemon.home.path());
    let ran = Ran::of(second.args(["serve", "--listen", address, "--token", "a=b"]).output().unwrap());
    assert!(ran.code == Some(8) && ran.err.contains(address) && ran.err.contains("--listen"), "{ran:?}");
    fs::write(daemon.home.path().join("arcpd.toml"), "[limits]\nframe_byte = 1\n").unwrap();
    let mut third = arcpd(daemon.home.path());
    let ran = Ran::of(third.args(["serve"]).output().unwrap());
    assert!(
        ran.code == Some(2) && ran.err.contains("frame_bytes") && ran.err.contains("arcpd.toml"),
        "{ran:?}"
    );
    let mut check = arcpd(daemon.home.path());
    assert_eq!(check.arg("check").output().unwrap().status.code(), Some(2));
}

#[test]
fn check_tells_every_value_and_its_source() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("arcpd.toml"), "[server]\nheartbeat_interval_sec = 7\n").unwrap();
    let mut check = arcpd(home.path());
    check.env("ARCPD_RESUME_WINDOW", "90").args([
        "check",
        "--listen",
        "127.0.0.1:0",
        "--token",
        "alice=secret",
    ]);
    let ran = Ran::of(check.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let row = |key: &str| ran.out.lines().find(|line| line.contains(key)).unwrap_or_default().to_owned();
    assert!(row("heartbeat_interval_sec").contains("arcpd.toml"), "{}", ran.out);
    assert!(row("resume_window_sec").contains("ARCPD_RESUME_WINDOW"), "{}", ran.out);
    assert!(row("server.listen").contains("--listen"), "{}", ran.out);
    assert!(!ran.out.contains("secret"), "{}", ran.out);
}

/// What the daemon's listener answers.
fn ask(daemon: &Daemon, path: &str) -> String {
    let address = daemon.url.trim_start_matches("ws://").trim_end_matches("/arcp");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_supervisor_can_ask_how_it_is() {
    let daemon = Daemon::start();
    for (path, status) in [("/healthz", "200"), ("/readyz", "200"), ("/nowhere", "404")] {
        let answer = ask(&daemon, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let daemon = Daemon::start();
    let mut submit =
        daemon.client(&["submit", "ticker", "--input", "{\"count\":500,\"interval_ms\":1}", "--json"]);
    let mut child = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn who_asks_twice_does_not_wait() {
    let slow = STUBBORN.replace("cancel_grace_ms = 100", "cancel_grace_ms = 60000");
    let daemon = Daemon::with(&["--token", "alice=tok-a"], &slow);
    let (_client, _reading, pid) = stubborn(&daemon);
    daemon.signal("TERM");
    // The first one has been heard once the daemon is not ready any more.
    while ask(&daemon, "/readyz").starts_with("HTTP/1.1 200") {}
    assert!(ask(&daemon, "/readyz").contains("stopping"));
    daemon.signal("TERM");
    let (_, log) = daemon.wait();
    assert!(log.contains("asked twice"), "{log}");
    assert!(gone(&pid), "the agent is still there");
}
