//! The client commands against a scripted runtime.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use clap::CommandFactory;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::connect::{Interrupt, Target};
use super::*;
use crate::client::tests::{ALL, Peer, Server, bounded, job, network};
use crate::client::{Connector, DialError, Link};

#[derive(Clone, Default)]
struct Buffer(Arc<(Mutex<Vec<u8>>, tokio::sync::Notify)>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().clone()).unwrap()
    }
}

impl Buffer {
    /// Waits until this was written.
    async fn tells(&self, what: &str) {
        loop {
            let news = self.0.1.notified();
            if self.text().contains(what) {
                return;
            }
            bounded(news).await;
        }
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.lock().extend_from_slice(bytes);
        self.0.1.notify_waiters();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A command under way: what it wrote so far, and Ctrl-C.
struct Ran {
    out: Buffer,
    err: Buffer,
    interrupt: mpsc::Sender<Interrupt>,
}

fn command(
    args: &str,
    out: Option<Box<dyn Write + Send>>,
) -> (Pin<Box<dyn Future<Output = Exit>>>, Server, Ran) {
    let words = args.split_whitespace().chain(["--token", "t"]);
    let cli = Cli::try_parse_from(["arcpd"].into_iter().chain(words)).unwrap();
    let (connector, server) = network();
    let connector = Arc::new(connector);
    let dial = move |_: Target| {
        let connector = Arc::clone(&connector);
        async move { connector.connect().await }
    };
    let (interrupt, interrupts) = mpsc::channel(4);
    let ran = Ran { out: Buffer::default(), err: Buffer::default(), interrupt };
    let out = out.unwrap_or_else(|| Box::new(ran.out.clone()));
    let terminal = Terminal::new(out, Box::new(ran.err.clone()));
    (Box::pin(run(cli, dial, terminal, Interrupts::from_channel(interrupts))), server, ran)
}

/// Runs a command against a script; returns its exit code, stdout and stderr.
async fn ran(args: &str, script: impl AsyncFnOnce(&mut Server, &mut Peer)) -> (Exit, String, String) {
    let (command, mut server, ran) = command(args, None);
    let script = async {
        let mut peer = server.greet(ALL).await;
        script(&mut server, &mut peer).await;
        // Answers the close, if there is one.
        while let Some(frame) = peer.frame().await {
            if frame["type"] == "session.close" {
                peer.send("session.closed", json!({"request_id": frame["id"]})).await;
            }
        }
    };
    let (exit, ()) = bounded(async { tokio::join!(command, script) }).await;
    (exit, ran.out.text(), ran.err.text())
}

fn failure(status: &str, code: &str) -> Value {
    json!({"job_id": job(1), "final_status": status, "code": code, "message": "it \u{1b}[31mfailed",
        "retryable": false, "completed_at": "2026-01-01T00:00:00Z"})
}

fn chunk(data: &str) -> Value {
    let body = json!({"result_id": crate::wire::id::ResultId::new(1, 1), "chunk_seq": 0, "data": data,
        "encoding": "base64", "more": false});
    json!({"kind": "result_chunk", "ts": "2026-01-01T00:00:00Z", "job_id": job(1), "body": body})
}

fn streamed(size: u64) -> Value {
    json!({"job_id": job(1), "final_status": "success", "result_id": crate::wire::id::ResultId::new(1, 1),
        "result_size": size, "completed_at": "2026-01-01T00:00:00Z"})
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
    for (line, good) in [
        ("submit echo --lease fs.read=/a --lease fs.read=/b --expires-in 5", true),
        ("submit echo --lease fs.read", false),
        ("submit Echo", false),
        ("submit echo --input -5", true),
        ("submit echo -i -", true),
        ("submit echo --expires-in 5 --expires-at 2030-01-01T00:00:00Z", false),
        ("submit echo --expires-at tomorrow", false),
        ("submit echo --detach -o x", false),
        ("jobs --status running --status error --limit 5", true),
        ("jobs --status odd", false),
        ("jobs --limit 0", false),
        ("watch nonsense", false),
    ] {
        let parsed = Cli::try_parse_from(["arcpd"].into_iter().chain(line.split(' ')));
        assert_eq!(parsed.is_ok(), good, "{line}");
        if let Err(error) = parsed {
            assert_eq!(error.exit_code(), 2);
        }
    }
    let cli = Cli::try_parse_from(["arcpd", "jobs", "--token", "s3cret"]).unwrap();
    assert!(!format!("{cli:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_submit_writes_the_result_to_stdout_and_talks_on_stderr() {
    let (exit, out, err) = ran(r#"submit echo --input {"a":1} --lease fs.read=/x"#, async |_, peer| {
        let submit = peer.accept_job(job(1)).await;
        assert_eq!(submit["payload"]["input"], json!({"a": 1}));
        assert_eq!(submit["payload"]["lease_request"], json!({"fs.read": ["/x"]}));
        assert!(submit["payload"]["idempotency_key"].as_str().unwrap().starts_with("cli-"));
        peer.log(job(1), 1, 41).await;
        peer.succeed(job(1), 2).await;
    })
    .await;
    assert_eq!((exit, out.as_str()), (Exit::Success, "{\"ok\":1}\n"));
    assert!(err.contains("[info] 41"), "{err}");
}

#[tokio::test]
async fn with_json_every_event_and_the_end_is_a_line() {
    let (exit, out, err) = ran("submit echo --json --quiet", async |_, peer| {
        peer.accept_job(job(1)).await;
        peer.log(job(1), 1, 1).await;
        peer.succeed(job(1), 2).await;
    })
    .await;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["accepted", "event", "end"]);
    assert_eq!((&lines[1]["position"], &lines[2]["result"]), (&json!(1), &json!({"ok": 1})));
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
}

#[tokio::test]
async fn a_command_exits_as_its_job_did() {
    for (status, code, expected) in [
        ("error", "BUDGET_EXHAUSTED", Exit::JobFailed),
        ("cancelled", "CANCELLED", Exit::Cancelled),
        ("timed_out", "TIMEOUT", Exit::TimedOut),
    ] {
        let (exit, out, err) = ran("submit echo", async |_, peer| {
            peer.accept_job(job(1)).await;
            peer.numbered("job.error", 1, failure(status, code)).await;
        })
        .await;
        assert_eq!((exit, out.as_str()), (expected, ""));
        assert!(err.contains(code) && !err.contains('\u{1b}'), "{err}");
        let (exit, ..) = ran(&format!("watch {}", job(1)), async |_, peer| {
            peer.grant(job(1), 0).await;
            peer.numbered("job.error", 1, failure(status, code)).await;
        })
        .await;
        assert_eq!(exit, expected);
    }
}

#[tokio::test]
async fn a_cut_is_no_end_and_says_how_to_go_on() {
    let (exit, out, err) = ran("submit echo --reconnect-for 0", async |_, peer| {
        peer.accept_job(job(1)).await;
        peer.log(job(1), 1, 1).await;
        peer.raw(json!("not an envelope")).await;
    })
    .await;
    assert_eq!((exit, out.as_str()), (Exit::Cut, ""));
    assert!(err.contains(&format!("arcpd watch --from 1 {}", job(1))), "{err}");
}

#[tokio::test]
async fn refusals_have_their_own_codes() {
    let (exit, _, err) = ran("submit echo", async |_, peer| {
        let submit = peer.expect("job.submit").await;
        peer.refuse(Some(&submit["id"]), "AGENT_NOT_AVAILABLE").await;
    })
    .await;
    assert_eq!(exit, Exit::Refused);
    assert!(err.contains("AGENT_NOT_AVAILABLE"), "{err}");
    let (command, mut server, ran) = command("jobs", None);
    let (exit, ()) = bounded(async {
        tokio::join!(command, async {
            let mut peer = server.accept().await;
            peer.expect("session.hello").await;
            peer.refuse(None, "UNAUTHENTICATED").await;
        })
    })
    .await;
    assert_eq!(exit, Exit::Unauthenticated);
    assert!(ran.err.text().contains("--token"), "{}", ran.err.text());
    let cli = Cli::try_parse_from(["arcpd", "jobs", "--token", "t"]).unwrap();
    let dial = |_: Target| async { Err::<Link, _>(DialError("nobody".into())) };
    let (_held, interrupts) = mpsc::channel(1);
    let err = Buffer::default();
    let terminal = Terminal::new(Box::new(Buffer::default()), Box::new(err.clone()));
    let exit = bounded(run(cli, dial, terminal, Interrupts::from_channel(interrupts))).await;
    assert_eq!(exit, Exit::Unreachable);
    assert!(err.text().contains("arcpd serve"), "{}", err.text());
}

#[tokio::test]
async fn with_json_a_refusal_is_a_line_too() {
    let (exit, out, err) = ran("submit echo --json", async |_, peer| {
        let submit = peer.expect("job.submit").await;
        peer.refuse(Some(&submit["id"]), "AGENT_NOT_AVAILABLE").await;
    })
    .await;
    let line: Value = serde_json::from_str(&out).unwrap();
    let expected =
        json!({"type": "refused", "code": "AGENT_NOT_AVAILABLE", "message": "no", "retryable": false});
    assert_eq!((exit, line), (Exit::Refused, expected));
    assert!(err.contains("AGENT_NOT_AVAILABLE"), "{err}");
}

#[tokio::test]
async fn a_job_that_a_restarted_daemon_does_not_know_is_to_be_submitted_again() {
    let (command, mut server, ran) = command("submit echo", None);
    let script = async {
        let mut peer = server.greet(ALL).await;
        peer.accept_job(job(1)).await;
        peer.log(job(1), 1, 1).await;
        ran.err.tells("[info] 1").await;
        drop(peer);
        let mut peer = server.accept().await;
        peer.expect("session.resume").await;
        peer.refuse(None, "RESUME_WINDOW_EXPIRED").await;
        drop(peer);
        let mut peer = server.greet(ALL).await;
        let again = peer.expect("job.subscribe").await;
        peer.refuse(Some(&again["id"]), "JOB_NOT_FOUND").await;
        let close = peer.expect("session.close").await;
        peer.send("session.closed", json!({"request_id": close["id"]})).await;
    };
    let (exit, ()) = bounded(async { tokio::join!(command, script) }).await;
    let err = ran.err.text();
    assert_eq!(exit, Exit::Refused);
    assert!(err.contains("Submit it again") && !err.contains("arcpd watch"), "{err}");
}

#[tokio::test]
async fn a_watch_that_comes_too_late_tells_the_end() {
    for flag in ["--live", "--from 9"] {
        let (exit, out, err) = ran(&format!("watch {} {flag}", job(1)), async |_, peer| {
            for (from, replayed) in [(2, false), (1, true)] {
                let subscribe = peer.expect("job.subscribe").await;
                let payload = json!({"job_id": job(1), "request_id": subscribe["id"], "lease": {},
                    "current_status": "timed_out", "agent": "echo@1", "subscribed_from": from,
                    "replayed": replayed});
                peer.send("job.subscribed", payload).await;
            }
            peer.numbered("job.error", 1, failure("timed_out", "TIMEOUT")).await;
        })
        .await;
        assert_eq!((exit, out.as_str()), (Exit::TimedOut, ""));
        assert!(err.starts_with(&format!("{}  echo@1  timed_out\n", job(1))), "{err}");
    }
}

#[tokio::test]
async fn a_result_file_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("out.bin");
    for command in ["result", "submit"] {
        for (size, expected) in [(4, Exit::Local), (3, Exit::Success)] {
            let target = if command == "submit" { "echo".into() } else { job(1).to_string() };
            let (exit, out, _) =
                ran(&format!("{command} {target} -o {}", place.display()), async |_, peer| {
                    if command == "submit" {
                        peer.accept_job(job(1)).await;
                    } else {
                        peer.grant(job(1), 0).await;
                    }
                    peer.numbered("job.event", 1, chunk("aGVs")).await;
                    peer.numbered("job.result", 2, streamed(size)).await;
                })
                .await;
            assert_eq!((exit, out.as_str()), (expected, ""), "{command}");
            let there = std::fs::read_dir(dir.path()).unwrap().count();
            assert_eq!(there, usize::from(exit == Exit::Success), "{command} left something behind");
        }
        assert_eq!(std::fs::read(&place).unwrap(), b"hel");
        std::fs::remove_file(&place).unwrap();
    }
}

/// Submits a job whose result is "hel", to be written to `place`.
async fn submit_to(place: &Path) -> Exit {
    let (exit, out, err) = ran(&format!("submit echo -o {}", place.display()), async |_, peer| {
        peer.accept_job(job(1)).await;
        peer.numbered("job.event", 1, chunk("aGVs")).await;
        peer.numbered("job.result", 2, streamed(3)).await;
    })
    .await;
    assert_eq!(out, "", "{err}");
    exit
}

fn pipe(dir: &Path) -> PathBuf {
    let pipe = dir.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    pipe
}

#[tokio::test]
async fn an_output_that_is_a_pipe_stays_one_and_gets_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = pipe(dir.path());
    let link = dir.path().join("link");
    symlink("pipe", &link).unwrap();
    for place in [&pipe, &link] {
        let reading = tokio::task::spawn_blocking({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        assert_eq!(submit_to(place).await, Exit::Success);
        assert_eq!(bounded(reading).await.unwrap(), b"hel");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo(), "the pipe became a file");
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_output_pipe_that_nobody_reads_is_waited_for_until_an_interrupt() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = pipe(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (command, _server, ran) = command(&format!("submit echo -o {}", pipe.display()), None);
        ran.interrupt.send(Interrupt::Terminate).await.unwrap();
        assert_eq!(bounded(command).await, Exit::Terminated);
    });
    // The runtime waits for the thread that opens the pipe, which may come to it only now: the
    // reader that lets it go outlives the runtime.
    let _reader = fs::File::options().read(true).write(true).open(pipe).unwrap();
    drop(runtime);
}

#[tokio::test]
async fn an_output_that_is_a_link_stays_one_and_its_file_keeps_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let (other, link, second) =
        (dir.path().join("other"), dir.path().join("link"), dir.path().join("second"));
    fs::create_dir(&other).unwrap();
    let file = other.join("file");
    symlink("other/file", &link).unwrap();
    symlink(&link, &second).unwrap();
    assert_eq!(submit_to(&second).await, Exit::Success, "a link to what is not there yet");
    assert_eq!(fs::read(&file).unwrap(), b"hel");
    let untouched = dir.path().join("untouched");
    fs::write(&untouched, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&file), mode(&untouched), "a new file is made as any other");
    for kept in [0o600, 0o755] {
        fs::write(&file, "old and longer").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(kept)).unwrap();
        assert_eq!(submit_to(&second).await, Exit::Success);
        assert_eq!(fs::read(&file).unwrap(), b"hel");
        assert_eq!(mode(&file) & 0o7777, kept);
    }
    assert!([&link, &second].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "the draft was beside the file");
    let (command, _server, ran) = command(&format!("submit echo -o {}", other.display()), None);
    assert_eq!(bounded(command).await, Exit::Local, "{}", ran.err.text());
}

#[tokio::test]
async fn a_signal_to_end_is_obeyed_at_once() {
    for (interrupt, expected) in [(Interrupt::Terminate, Exit::Terminated), (Interrupt::HangUp, Exit::HungUp)]
    {
        let dir = tempfile::tempdir().unwrap();
        let (command, mut server, ran) =
            command(&format!("submit echo -o {}", dir.path().join("out").display()), None);
        let script = async {
            let mut peer = server.greet(ALL).await;
            peer.accept_job(job(1)).await;
            peer.log(job(1), 1, 1).await;
            ran.err.tells("[info] 1").await;
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "there is a draft");
            ran.interrupt.send(interrupt).await.unwrap();
            let close = peer.expect("session.close").await;
            peer.send("session.closed", json!({"request_id": close["id"]})).await;
            peer
        };
        let (exit, _peer) = bounded(async { tokio::join!(command, script) }).await;
        assert_eq!(exit, expected);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the draft is still there");
    }
}

#[tokio::test]
async fn a_streamed_result_goes_to_stdout_as_it_is() {
    let (exit, out, _) = ran("submit echo", async |_, peer| {
        peer.accept_job(job(1)).await;
        peer.numbered("job.event", 1, chunk("aGVs")).await;
        peer.numbered("job.result", 2, streamed(3)).await;
    })
    .await;
    assert_eq!((exit, out.as_str()), (Exit::Success, "hel"));
    let (exit, out, err) = ran(&format!("watch {}", job(1)), async |_, peer| {
        peer.grant(job(1), 0).await;
        peer.numbered("job.event", 1, chunk("aGVs")).await;
        peer.numbered("job.result", 2, streamed(3)).await;
    })
    .await;
    assert_eq!((exit, out.as_str()), (Exit::Success, ""));
    assert!(err.contains("arcpd result"), "{err}");
}

#[tokio::test]
async fn jobs_are_a_table() {
    let row = |n, status: &str| {
        json!({"job_id": job(n), "agent": "echo@1", "status": status, "lease": {}, "last_event_seq": 12,
            "created_at": "2026-01-01T00:00:00Z", "submitted_at": "2026-01-01T00:00:00Z"})
    };
    let (exit, out, err) = ran("jobs --status success --status running", async |_, peer| {
        let list = peer.expect("session.list_jobs").await;
        assert_eq!(list["payload"]["filter"], json!({"status": ["success", "running"]}));
        let jobs = [row(2, "running"), row(1, "success")];
        peer.send("session.jobs", json!({"request_id": list["id"], "jobs": jobs, "next_cursor": "c"})).await;
    })
    .await;
    assert_eq!(exit, Exit::Success);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("JOB ") && lines[0].ends_with("EVENTS"), "{out}");
    assert_eq!(lines[1], format!("{}  running    echo@1  2026-01-01T00:00:00Z  12", job(2)));
    assert_eq!(lines.len(), 3);
    assert!(err.contains("--all"), "{err}");
}

#[tokio::test]
async fn a_cancel_waits_for_the_end_when_asked() {
    let (exit, out, err) = ran(&format!("cancel {} --wait --reason r", job(1)), async |_, peer| {
        peer.grant(job(1), 3).await;
        let cancel = peer.expect("job.cancel").await;
        assert_eq!(cancel["payload"]["reason"], "r");
        peer.send("job.cancelled", json!({"job_id": job(1), "request_id": cancel["id"]})).await;
        peer.numbered("job.error", 1, failure("cancelled", "CANCELLED")).await;
    })
    .await;
    assert_eq!((exit, out.as_str()), (Exit::Success, ""));
    assert!(err.contains("recorded") && err.contains("ended cancelled"), "{err}");
}

#[tokio::test]
async fn the_first_interrupt_tells_and_the_second_leaves() {
    let (command, mut server, ran) = command("submit echo", None);
    let script = async {
        let mut peer = server.greet(ALL).await;
        peer.accept_job(job(1)).await;
        peer.log(job(1), 1, 1).await;
        ran.err.tells("[info] 1").await;
        ran.interrupt.send(Interrupt::CtrlC).await.unwrap();
        ran.interrupt.send(Interrupt::CtrlC).await.unwrap();
        peer
    };
    let (exit, _peer) = bounded(async { tokio::join!(command, script) }).await;
    assert_eq!(exit, Exit::Interrupted);
    let err = ran.err.text();
    assert_eq!(err.matches("the job goes on").count(), 2, "{err}");
    assert!(err.contains(&format!("arcpd cancel {}", job(1))), "{err}");
}

#[tokio::test]
async fn an_interrupt_before_any_answer_leaves_at_once() {
    let (command, mut server, ran) = command("submit echo", None);
    let script = async {
        let peer = server.greet(ALL).await;
        ran.interrupt.send(Interrupt::CtrlC).await.unwrap();
        peer
    };
    let (exit, _peer) = bounded(async { tokio::join!(command, script) }).await;
    assert_eq!(exit, Exit::Interrupted);
}

#[tokio::test]
async fn a_closed_output_ends_quietly() {
    let (command, mut server, ran) = command("submit echo --json", Some(Box::new(ClosedPipe)));
    let script = async {
        let mut peer = server.greet(ALL).await;
        peer.accept_job(job(1)).await;
        peer
    };
    let (exit, _peer) = bounded(async { tokio::join!(command, script) }).await;
    assert_eq!((exit, ran.err.text().as_str()), (Exit::Success, ""));
}

#[tokio::test]
async fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let cli = Cli::try_parse_from(["arcpd", "completions", shell]).unwrap();
        let out = Buffer::default();
        let terminal = Terminal::new(Box::new(out.clone()), Box::new(Buffer::default()));
        let (_held, interrupts) = mpsc::channel(1);
        let dial = |_: Target| async { Err::<Link, _>(DialError("nobody".into())) };
        assert_eq!(run(cli, dial, terminal, Interrupts::from_channel(interrupts)).await, Exit::Success);
        assert!(out.text().contains("submit"), "{shell}");
    }
}
