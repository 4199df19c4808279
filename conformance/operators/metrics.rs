//! `/metrics`: a known load goes through a daemon, and the numbers are read back.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arcpd::store::sqlite::{SqliteOptions, SqliteStore};
use arcpd::store::{Durability, Store};
use arcpd::transport::stdio::LineTransport;
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::common::peer::{FEATURES, PATIENCE, Peer, frame, hello};
use crate::door::Door;

/// The numbers of one look, by name and labels as they are written.
struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    async fn of(door: &Door) -> Numbers {
        let page = door.ask("GET", "/metrics", None, "").await;
        assert_eq!(page.status, 200, "{page:?}");
        let lines = page.body.lines().filter(|line| !line.starts_with('#'));
        let number = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        Numbers(lines.map(number).collect())
    }

    /// Looks until a number is as expected: what is counted after it was spoken of comes a moment later.
    async fn once(door: &Door, name: &str, value: f64) -> Numbers {
        let look = async {
            loop {
                let numbers = Numbers::of(door).await;
                if numbers.get(name) == value {
                    return numbers;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(numbers) => numbers,
            Err(_) => panic!("{name} is {} and never {value}", Numbers::of(door).await.get(name)),
        }
    }

    fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("there is no {name} in {:#?}", self.0))
    }

    fn expect(&self, expected: &[(&str, f64)]) {
        for (name, value) in expected {
            assert_eq!(self.get(name), *value, "{name}");
        }
    }
}

#[tokio::test]
async fn jobs_events_and_sessions_are_counted() {
    let door = Door::open().await;
    Numbers::of(&door).await.expect(&[
        ("arcpd_jobs_accepted_total", 0.0),
        ("arcpd_events_in_total", 0.0),
        ("arcpd_events_out_total", 0.0),
        ("arcpd_sessions_opened_total", 0.0),
        ("arcpd_sessions{state=\"connected\"}", 0.0),
        ("arcpd_ready", 1.0),
    ]);
    let (mut alice, mut bob) = (door.session("tok-a").await, door.session("tok-b").await);
    let tick = alice.submit(json!({ "agent": "ticker", "input": { "count": 7, "interval_ms": 1 } })).await;
    alice.until_end(&tick).await;
    let fail = alice.submit(json!({ "agent": "failer", "input": { "message": "boom" } })).await;
    alice.until_end(&fail).await;
    let sleep = bob.submit(json!({ "agent": "sleeper", "input": { "ms": 60_000 } })).await;
    bob.ask("job.cancel", json!({ "job_id": sleep }), "job.cancelled").await;
    bob.until_end(&sleep).await;
    let running = bob.submit(json!({ "agent": "puppet" })).await;
    door.puppets.log(&running, "at work").await.unwrap();
    bob.numbered().await;
    bob.ask_in_vain("job.submit", json!({ "agent": "nobody" }), "AGENT_NOT_AVAILABLE").await;

    for status in ["success", "error", "cancelled"] {
        Numbers::once(&door, &format!("arcpd_jobs_ended_total{{status=\"{status}\"}}"), 1.0).await;
    }
    let numbers = Numbers::once(&door, "arcpd_jobs{state=\"finished\"}", 3.0).await;
    let taken = numbers.get("arcpd_events_in_total");
    assert!((8.0..=9.0).contains(&taken), "7 ticks, one line of the puppet, what the sleeper said: {taken}");
    // Everything has one observer: the events and three ends.
    let numbers = Numbers::once(&door, "arcpd_events_out_total", taken + 3.0).await;
    numbers.expect(&[
        ("arcpd_sessions_opened_total", 2.0),
        ("arcpd_sessions{state=\"connected\"}", 2.0),
        ("arcpd_connections", 2.0),
        ("arcpd_jobs_accepted_total", 4.0),
        ("arcpd_jobs{state=\"running\"}", 1.0),
        ("arcpd_jobs{state=\"pending\"}", 0.0),
        ("arcpd_jobs_ended_total{status=\"timed_out\"}", 0.0),
        ("arcpd_events_replayed_total", 0.0),
        ("arcpd_slowest_subscriber_lag_events", 0.0),
        ("arcpd_refusals_total{code=\"AGENT_NOT_AVAILABLE\"}", 1.0),
        ("arcpd_limit_used{limit=\"jobs_running\"}", 1.0),
        ("arcpd_limit{limit=\"jobs_running\"}", 10_000.0),
    ]);
}

#[tokio::test]
async fn a_resume_its_replay_and_a_refused_one_are_counted() {
    let door = Door::open().await;
    let mut alice = door.session("tok-a").await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    for n in 0..5 {
        door.puppets.log(&job, &n.to_string()).await.unwrap();
        alice.numbered().await;
    }
    let token = alice.token.clone().unwrap();
    drop(alice);
    Numbers::once(&door, "arcpd_sessions{state=\"detached\"}", 1.0).await;
    Numbers::once(&door, "arcpd_events_out_total", 5.0).await;
    door.puppets.log(&job, "while away").await.unwrap();
    let mut alice = Peer::resumed(door.runtime.connect(), &token, 2).await;
    for _ in 0..4 {
        alice.numbered().await;
    }
    let (mut stranger, _) = Peer::resuming(door.runtime.connect(), "rt_nobody", 0);
    stranger.expect("session.error").await;
    stranger.ended().await;
    Numbers::once(&door, "arcpd_events_out_total", 9.0).await.expect(&[
        // 3, 4 and 5 had been sent before; 6 had no number yet.
        ("arcpd_events_replayed_total", 3.0),
        ("arcpd_sessions_resumed_total{outcome=\"ok\"}", 1.0),
        ("arcpd_sessions_resumed_total{outcome=\"refused\"}", 1.0),
        ("arcpd_refusals_total{code=\"RESUME_WINDOW_EXPIRED\"}", 1.0),
        ("arcpd_sessions{state=\"connected\"}", 1.0),
        ("arcpd_sessions_opened_total", 1.0),
    ]);
    alice.ask("session.close", json!({}), "session.closed").await;
    alice.ended().await;
    // The connection that was dropped, and the one that said goodbye.
    Numbers::once(&door, "arcpd_connections_closed_total{reason=\"done\"}", 2.0).await;
}

#[tokio::test]
async fn what_is_let_go_is_counted_by_the_limit_that_asked_for_it() {
    let limits =
        Limits { history_events: 5_000, finished_jobs: 2, jobs_per_principal: 1, ..Limits::default() };
    let window = Duration::from_millis(1);
    let door = Door::with(limits, |builder| builder.resume_window(window)).await;
    let mut alice = door.session("tok-a").await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    alice.ask_in_vain("job.submit", json!({ "agent": "echo" }), "INTERNAL_ERROR").await;
    for n in 0..9_000 {
        door.puppets.log(&job, &n.to_string()).await.unwrap();
    }
    let numbers = Numbers::of(&door).await;
    // Whole groups go: the limit, and what had to be kept with it.
    let gone = numbers.get("arcpd_events_evicted_total{by=\"history_events\"}");
    assert!((4_000.0..=8_200.0).contains(&gone), "{gone} of 9,000 events are gone");
    numbers.expect(&[
        ("arcpd_events_evicted_total{by=\"history_bytes\"}", 0.0),
        ("arcpd_limit_refusals_total{limit=\"jobs_per_principal\"}", 1.0),
        ("arcpd_events_in_total", 9_000.0),
    ]);
    door.puppets.finish(&job, json!(1)).await.unwrap();
    drop(alice);
    Numbers::once(&door, "arcpd_sessions_expired_total", 1.0).await;
    for _ in 0..3 {
        let mut bob = door.session("tok-b").await;
        let echo = bob.submit(json!({ "agent": "echo" })).await;
        bob.end_of(&echo).await;
    }
    Numbers::once(&door, "arcpd_jobs_evicted_total{by=\"finished_jobs\"}", 2.0).await;
    Numbers::once(&door, "arcpd_jobs{state=\"finished\"}", 2.0).await;
}

/// A client that has submitted a job of 500 events and reads none of them. What it holds keeps its pipe open.
async fn deaf(door: &Door) -> Box<dyn Any> {
    let (near, far) = tokio::io::duplex(4_096);
    let (input, output) = tokio::io::split(far);
    let (runtime, max) = (door.runtime.clone(), door.runtime.limits().frame_bytes);
    tokio::spawn(async move {
        let lines = LineTransport::new(input, output, max);
        runtime.serve(lines, "pipe".into()).await;
    });
    let (input, mut output) = tokio::io::split(near);
    let mut lines = BufReader::new(input).lines();
    let asks = [
        frame("h", "session.hello", hello("tok-a", FEATURES)),
        frame("s", "job.submit", json!({ "agent": "puppet" })),
    ];
    let mut answer = Value::Null;
    for ask in asks {
        output.write_all(format!("{ask}\n").as_bytes()).await.unwrap();
        answer = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    }
    let job = answer["payload"]["job_id"].as_str().unwrap();
    for n in 0..500 {
        door.puppets.log(job, &format!("{n} {}", "x".repeat(100))).await.unwrap();
    }
    Box::new((lines, output))
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_behind() {
    let door = Door::open().await;
    let _pipe = deaf(&door).await;
    let behind = Numbers::of(&door).await.get("arcpd_slowest_subscriber_lag_events");
    assert!(behind > 300.0, "{behind} events are not sent");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_closed_as_too_slow() {
    let limits = Limits { send_timeout_ms: 100, ..Limits::default() };
    let door = Door::with(limits, |builder| builder).await;
    let _pipe = deaf(&door).await;
    Numbers::once(&door, "arcpd_connections_closed_total{reason=\"too_slow\"}", 1.0).await;
    // Who is not connected holds nobody up.
    let numbers = Numbers::once(&door, "arcpd_connections", 0.0).await;
    numbers.expect(&[("arcpd_slowest_subscriber_lag_events", 0.0)]);
}

#[tokio::test]
async fn what_a_session_did_not_acknowledge_in_time_is_counted() {
    let limits = Limits { session_buffer_events: 100, lag_detach_events: 100, ..Limits::default() };
    let door = Door::with(limits, |builder| builder).await;
    let mut alice = door.session("tok-a").await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    for n in 0..150_u64 {
        door.puppets.log(&job, &n.to_string()).await.unwrap();
        alice.numbered().await;
    }
    alice.barrier().await;
    Numbers::once(&door, "arcpd_events_evicted_total{by=\"session_buffer\"}", 50.0).await;
}

#[tokio::test]
async fn commits_of_a_store_in_a_file_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durability: Durability::Process, ..SqliteOptions::UNBOUNDED };
    let sqlite: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("a.db"), options).unwrap());
    let door = Door::with(Limits::default(), |builder| builder.store(sqlite)).await;
    Numbers::of(&door).await.expect(&[("arcpd_store_commit_seconds_count", 0.0)]);
    let mut alice = door.session("tok-a").await;
    let job = alice.submit(json!({ "agent": "echo", "input": "x".repeat(100_000) })).await;
    alice.end_of(&job).await;
    let numbers = Numbers::once(&door, "arcpd_store_queue_batches", 0.0).await;
    let commits = numbers.get("arcpd_store_commit_seconds_count");
    assert!(commits >= 2.0 && numbers.get("arcpd_store_commit_seconds_sum") > 0.0, "{commits}");
    assert!(numbers.get("arcpd_store_commit_batches_sum") >= commits);
    assert!(numbers.get("arcpd_store_used_bytes") > 200_000.0);
    assert!(numbers.get("arcpd_store_disk_bytes") > 200_000.0);
    numbers.expect(&[
        ("arcpd_store_failing", 0.0),
        ("arcpd_store_queue_bytes", 0.0),
        ("arcpd_store_commit_failures_total", 0.0),
    ]);
}

/// A metric's name, type and help, as the page has them.
async fn described(door: &Door) -> BTreeMap<String, (String, String)> {
    let page = door.ask("GET", "/metrics", None, "").await.body;
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.into()).or_default().1 = help.into();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            found.entry(name.into()).or_default().0 = kind.into();
        }
    }
    found
}

const BEGIN: &str = "<!-- metrics: begin -->\n";
const END: &str = "<!-- metrics: end -->\n";

#[tokio::test]
async fn the_documentation_has_every_metric() {
    let door = Door::open().await;
    let mut table = "| metric | type | meaning |\n| --- | --- | --- |\n".to_owned();
    for (name, (kind, help)) in described(&door).await {
        let total = if kind == "counter" { "_total" } else { "" };
        writeln!(table, "| `{name}{total}` | {kind} | {help} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let found = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = found.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert!(
            found == wanted,
            "run REGENERATE=1 cargo test --test operators documentation; it should be\n{table}"
        );
    }
}

#[tokio::test]
async fn labels_have_values_that_are_known_beforehand() {
    let door = Door::open().await;
    let before: BTreeSet<String> = Numbers::of(&door).await.0.into_keys().collect();
    let mut alice = door.session("tok-a").await;
    for agent in ["echo", "failer"] {
        let job = alice.submit(json!({ "agent": agent })).await;
        alice.until_end(&job).await;
    }
    alice.ask_in_vain("job.submit", json!({ "agent": "secret-agent" }), "AGENT_NOT_AVAILABLE").await;
    let page = door.ask("GET", "/metrics", None, "").await.body;
    let after: BTreeSet<String> = Numbers::of(&door).await.0.into_keys().collect();
    assert_eq!(before, after, "the load has made no time series");
    for word in ["alice", "tok-a", "echo", "secret-agent", "job_0", "sess_0"] {
        assert!(!page.contains(word), "{word} in {page}");
    }
}
