//! A daemon that works for a long time within small bounds: what it holds in memory and on the disk stays flat.
//!
//! `ARCPD_SOAK_SEC` says for how long. What is measured is printed; the bounds hold for any length, that memory does
//! not grow from one third of the time to the next only for long ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(clippy::print_stdout)] // Test code.

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arcpd::transport::websocket::connect;
use arcpd::wire::limits::Limits;
use common::peer::{FEATURES, Got, Peer};
use common::process::Process;
use serde_json::{Value, json};

const SECONDS: u64 = 5;
/// From so many seconds on, memory has to be flat.
const LONG: u64 = 60;
/// What the store may hold.
const STORE_BYTES: u64 = 64 * 1024 * 1024;
/// What the disk may hold beside: the log, and what is not given back yet.
const DISK_BESIDE: u64 = 256 * 1024 * 1024;
/// What the daemon's memory may be at any time.
const MEMORY: u64 = 384 * 1024 * 1024;

/// The bounds of the daemon, so small that a short time reaches all of them.
fn bounds() -> [(&'static str, String); 10] {
    [
        ("ARCPD_RESUME_WINDOW", "2".into()),
        ("ARCPD_LIMITS_STORE_BYTES", STORE_BYTES.to_string()),
        ("ARCPD_LIMITS_BYTES_PER_PRINCIPAL", (STORE_BYTES / 2).to_string()),
        ("ARCPD_LIMITS_STORE_HOT_BYTES", (8 * 1024 * 1024).to_string()),
        ("ARCPD_LIMITS_FINISHED_JOBS", "500".into()),
        ("ARCPD_LIMITS_FINISHED_AGE_SEC", "20".into()),
        ("ARCPD_LIMITS_IDEMPOTENCY_KEYS", "1000".into()),
        ("ARCPD_LIMITS_SESSION_BUFFER_EVENTS", "20000".into()),
        ("ARCPD_LIMITS_LAG_DETACH_EVENTS", "20000".into()),
        ("ARCPD_LIMITS_HISTORY_EVENTS", "20000".into()),
    ]
}

/// What the load has done so far, and whether it is to go on.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    jobs: AtomicU64,
    events: AtomicU64,
    sessions: AtomicU64,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

/// One look at the daemon.
struct Sample {
    memory: Option<u64>,
    disk: u64,
}

fn look(pid: u32, store: &Path) -> Sample {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    let rss = smaps.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Rss:")));
    let memory = rss.map(|rest| rest.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024);
    Sample { memory, disk: size(store) + size(&store.with_extension("db-wal")) }
}

async fn open(url: &str, token: &str) -> Peer {
    let transport = connect(url, None, &Limits::default()).await.unwrap();
    Peer::welcomed(transport, token, FEATURES).await
}

/// Reads to the end of one job, acknowledging as it goes. None when the connection ended.
async fn read(peer: &mut Peer, tally: &Tally) -> Option<Value> {
    loop {
        let Got::Frame(frame) = peer.next().await else { return None };
        if let Some(seq) = frame["event_seq"].as_u64() {
            tally.events.fetch_add(1, Ordering::Relaxed);
            if seq.is_multiple_of(100) {
                peer.send("session.ack", json!({ "last_processed_seq": seq }));
            }
        }
        if frame["type"] == "job.result" || frame["type"] == "job.error" {
            tally.jobs.fetch_add(1, Ordering::Relaxed);
            return Some(frame);
        }
        if frame["type"] == "session.error" {
            // A bound was reached, which is what they are for: a little later there is room again.
            assert_eq!(frame["payload"]["retryable"], true, "{frame}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Some(frame);
        }
    }
}

/// Stays, and does one job after the other.
async fn worker(url: String, token: &'static str, tally: Arc<Tally>) {
    let mut peer = open(&url, token).await;
    for n in 0_u64.. {
        if !tally.goes_on() {
            return;
        }
        let submit = match n % 4 {
            0 => json!({ "agent": "ticker", "input": { "count": 2_000, "interval_ms": 0, "size": 100 } }),
            1 => json!({ "agent": "echo", "input": "x".repeat(20_000) }),
            _ => json!({ "agent": "echo", "input": n, "idempotency_key": format!("{token}-{n}") }),
        };
        peer.send("job.submit", submit);
        read(&mut peer, &tally).await.expect("a worker is never cut off");
    }
}

/// Comes, reads a part, goes without a word, and every other time comes back for the rest.
async fn visitor(url: String, token: &'static str, tally: Arc<Tally>) {
    for n in 0_u64.. {
        if !tally.goes_on() {
            return;
        }
        let mut peer = open(&url, token).await;
        tally.sessions.fetch_add(1, Ordering::Relaxed);
        let ticks = json!({ "agent": "ticker", "input": { "count": 300, "interval_ms": 0, "size": 100 } });
        peer.send("job.submit", ticks);
        let mut last = 0;
        while last < 100
            && let Got::Frame(frame) = peer.next().await
        {
            last = frame["event_seq"].as_u64().unwrap_or(last);
            if frame["type"] == "session.error" {
                break;
            }
        }
        let resume = json!({ "resume_token": peer.token.clone().unwrap(), "last_event_seq": last });
        drop(peer);
        if n.is_multiple_of(2) && last >= 100 {
            let mut peer = Peer::over(connect(&url, None, &Limits::default()).await.unwrap());
            peer.send("session.resume", resume);
            // Jobs go early where bytes are scarce, and then there is nothing to come back to.
            if peer.frame().await["type"] == "session.welcome" {
                read(&mut peer, &tally).await;
            }
        }
    }
}

async fn soak(seconds: u64) -> Vec<Sample> {
    let home = tempfile::tempdir().unwrap();
    let store = home.path().join("arcpd.db");
    let mut command = Command::new(env!("CARGO_BIN_EXE_arcpd"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--demo-agents", "--store", "sqlite"]);
    command.args(["--store-path", store.to_str().unwrap(), "--log-level", "error"]);
    command.env("ARCPD_TOKENS", "alice=tok-a,bob=tok-b").env("HOME", home.path()).envs(bounds());
    let daemon = Process::spawn(&mut command);
    let tally = Arc::new(Tally::default());
    let mut load = tokio::task::JoinSet::new();
    for token in ["tok-a", "tok-b"] {
        load.spawn(worker(daemon.url.clone(), token, tally.clone()));
        load.spawn(visitor(daemon.url.clone(), token, tally.clone()));
    }
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(100 + seconds * 5)).await;
        samples.push(look(daemon.pid(), &store));
    }
    tally.over.store(true, Ordering::Relaxed);
    while let Some(done) = load.join_next().await {
        done.unwrap();
    }
    daemon.stop();
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (jobs, events, sessions) = (of(&tally.jobs), of(&tally.events), of(&tally.sessions));
    assert!(jobs > 0 && events > 0 && sessions > 0);
    println!(
        "{seconds} s: {jobs} jobs and {events} events were read, {sessions} sessions left without a word"
    );
    samples
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn memory_and_disk_stay_within_their_bounds() {
    let seconds = std::env::var("ARCPD_SOAK_SEC").map_or(SECONDS, |text| text.parse().expect("seconds"));
    let samples = soak(seconds).await;
    let memory = |sample: &Sample| sample.memory.unwrap_or_default();
    let thirds: Vec<(u64, u64)> = samples
        .chunks(samples.len().div_ceil(3))
        .map(|third| (median(third, memory) >> 10, median(third, |sample| sample.disk) >> 10))
        .collect();
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap();
    let (memory, disk) = (most(|sample| sample.memory.unwrap_or_default()), most(|sample| sample.disk));
    println!(
        "median memory and disk of each third in KiB: {thirds:?}; at most {} and {}",
        memory >> 10,
        disk >> 10
    );
    assert!(disk <= STORE_BYTES + DISK_BESIDE, "{disk} bytes on the disk");
    assert!(memory <= MEMORY, "{memory} bytes in memory");
    if seconds >= LONG {
        let [.., (before, _), (last, _)] = thirds[..] else { panic!("three thirds") };
        assert!(last <= before + before / 10, "memory grows: {before} KiB, then {last} KiB");
    }
}
