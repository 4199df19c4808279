//! A daemon that is killed with SIGKILL again and again, with clients at work, and its store in a file.
//!
//! What every observer saw over all lives is compared with what every other one saw and with the job's history as it
//! is served at the end: no gap, no duplicate, no other payload, every end exactly once, no accepted job lost.
//! `ARCPD_CRASH_ROUNDS` makes the campaign longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(clippy::print_stdout)] // Test code.

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use arcpd::transport::websocket::connect;
use arcpd::wire::limits::Limits;
use common::peer::{FEATURES, Got, Peer};
use serde_json::{Value, json};

const ROUNDS: u64 = 6;

/// A daemon that gets no chance to say goodbye.
struct Daemon {
    process: Child,
    url: String,
}

impl Daemon {
    fn start(store: &Path, durability: &str) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arcpd"));
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--demo-agents",
            "--store",
            "sqlite",
            "--log-level",
            "warn",
        ]);
        command.args(["--durability", durability, "--store-path", store.to_str().unwrap()]);
        command.env("ARCPD_TOKENS", "alice=tok-a").env("HOME", store.parent().unwrap());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.trim().strip_prefix("arcpd listening on ").expect("the daemon did not start").to_owned();
        Daemon { process, url }
    }

    async fn peer(&self) -> Peer {
        Peer::over(connect(&self.url, None, &Limits::default()).await.unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// One client over all lives: what it saw of each job, and where it is.
#[derive(Default)]
struct Observer {
    token: Option<String>,
    last_seq: u64,
    seen: BTreeMap<String, Vec<Value>>,
}

impl Observer {
    async fn arrive(&mut self, daemon: &Daemon) -> Peer {
        let mut peer = daemon.peer().await;
        match &self.token {
            None => {
                peer.send("session.hello", common::peer::hello("tok-a", FEATURES));
            }
            Some(token) => {
                peer.send(
                    "session.resume",
                    json!({ "resume_token": token, "last_event_seq": self.last_seq }),
                );
            }
        }
        peer.welcome().await;
        self.token = peer.token.clone();
        peer
    }

    /// Takes a frame in; says whether it was numbered.
    fn take(&mut self, frame: &Value) -> bool {
        let Some(seq) = frame["event_seq"].as_u64() else { return false };
        assert_eq!(seq, self.last_seq + 1, "gap or duplicate: {frame}");
        self.last_seq = seq;
        let job = frame["job_id"].as_str().unwrap().to_owned();
        self.seen.entry(job).or_default().push(json!([frame["type"], frame["payload"]]));
        true
    }

    /// Asks and takes in what comes before the answer.
    async fn ask(&mut self, peer: &mut Peer, kind: &str, payload: Value) -> Value {
        peer.send(kind, payload);
        loop {
            let frame = peer.frame().await;
            if !self.take(&frame) {
                return frame;
            }
        }
    }
}

/// A small generator, so that a campaign can be told again from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn submit(key: u64, count: u64) -> Value {
    json!({ "agent": "ticker", "idempotency_key": format!("k{key}"),
            "input": { "count": count, "interval_ms": 1, "size": 40 } })
}

async fn campaign(durability: &str, rounds: u64, seed: u64) {
    let home = tempfile::tempdir().unwrap();
    let store = home.path().join("arcpd.db");
    let (mut dice, mut frames) = (Dice(seed), 0);
    let (mut alice, mut watcher) = (Observer::default(), Observer::default());
    // key → (job, how long it ticks)
    let mut accepted: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    for round in 0..rounds {
        let daemon = Daemon::start(&store, durability);
        let mut peer = alice.arrive(&daemon).await;
        let mut other = watcher.arrive(&daemon).await;
        for (key, (job, count)) in &accepted {
            let again = alice.ask(&mut peer, "job.submit", submit(*key, *count)).await;
            assert_eq!(again["payload"]["job_id"], job.as_str(), "a retry is not the same job: {again}");
        }
        for n in 0..3 {
            let (key, count) = (round * 10 + n, 5 + dice.roll(300));
            let answer = alice.ask(&mut peer, "job.submit", submit(key, count)).await;
            let job = answer["payload"]["job_id"].as_str().unwrap().to_owned();
            let subscribe = json!({ "job_id": job, "history": true });
            let subscribed = watcher.ask(&mut other, "job.subscribe", subscribe).await;
            assert_eq!(subscribed["type"], "job.subscribed", "{subscribed}");
            accepted.insert(key, (job, count));
        }
        for _ in 0..dice.roll(400) {
            let (observer, peer) =
                if dice.roll(2) == 0 { (&mut alice, &mut peer) } else { (&mut watcher, &mut other) };
            peer.send("session.ping", json!({ "nonce": "n" }));
            while let Got::Frame(frame) = peer.next().await {
                if !observer.take(&frame) {
                    break;
                }
                frames += 1;
            }
        }
    }
    judge(&store, durability, alice, watcher, &accepted).await;
    println!("{durability}: {rounds} kills, {frames} frames read under load, seed {seed:#x}");
}

/// The last life: everybody gets the rest, and everything is compared.
async fn judge(
    store: &Path,
    durability: &str,
    mut alice: Observer,
    mut watcher: Observer,
    accepted: &BTreeMap<u64, (String, u64)>,
) {
    let daemon = Daemon::start(store, durability);
    let mut truth = Observer::default();
    let mut judge = truth.arrive(&daemon).await;
    for (job, _) in accepted.values() {
        let listed = truth.ask(&mut judge, "job.subscribe", json!({ "job_id": job, "history": true })).await;
        assert_eq!(listed["type"], "job.subscribed", "an accepted job is lost: {listed}");
    }
    while truth.seen.values().filter(|seen| ended(seen)).count() < accepted.len() {
        let frame = judge.frame().await;
        truth.take(&frame);
    }
    for observer in [&mut alice, &mut watcher] {
        let mut peer = observer.arrive(&daemon).await;
        while accepted.values().any(|(job, _)| !observer.seen.get(job).is_some_and(|seen| ended(seen))) {
            let frame = peer.frame().await;
            observer.take(&frame);
        }
    }
    for (job, _) in accepted.values() {
        let history = &truth.seen[job];
        let ends = history.iter().filter(|said| said[0] != "job.event").count();
        assert_eq!(ends, 1, "job {job} ended {ends} times");
        for (place, said) in history.iter().filter(|said| said[0] == "job.event").enumerate() {
            assert_eq!(said[1]["body"]["current"], place + 1, "a tick is missing in {job}");
        }
        assert_eq!(watcher.seen[job], *history, "the watcher of {job} saw something else");
        // Whoever repeats a submit after the end is told the end again; before that, the history.
        let first_end = alice.seen[job].iter().position(|said| said[0] != "job.event").unwrap();
        assert_eq!(alice.seen[job][..=first_end], history[..], "the submitter of {job} saw something else");
        assert!(alice.seen[job][first_end..].iter().all(|said| *said == history[history.len() - 1]));
    }
}

fn ended(seen: &[Value]) -> bool {
    seen.iter().any(|said| said[0] != "job.event")
}

fn rounds() -> u64 {
    std::env::var("ARCPD_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_or_said_twice_when_the_daemon_is_killed_at_durability_full() {
    campaign("full", rounds(), 0x5eed_0001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_or_said_twice_when_the_daemon_is_killed_at_durability_process() {
    campaign("process", rounds(), 0x5eed_0002).await;
}
