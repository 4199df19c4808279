//! Heartbeats, lag and slow readers (§6.4, §6.5).

use std::time::Duration;

use arcpd::transport::stdio::LineTransport;
use arcpd::transport::{CloseReason, FrameReader};
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};
use tokio::io::split;
use tokio::time::{Instant, timeout};

use crate::common::peer::{FEATURES, Peer};
use crate::fixture::{Raw, World, fields, pass};

fn beating() -> World {
    World::built(|b| b.heartbeat_interval(Duration::from_secs(1)))
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_with_its_nonce_and_neither_is_numbered() {
    let world = World::new();
    let mut alice = world.alice().await;
    alice.send("session.ping", json!({ "nonce": "n-1", "sent_at": "whenever" }));
    let pong = alice.expect("session.pong").await;
    assert_eq!(fields(&pong), ["arcp", "id", "payload", "session_id", "type"]);
    assert_eq!(pong["payload"]["ping_nonce"], "n-1");
    assert!(pong["payload"]["received_at"].is_string());
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_is_pinged_every_interval_and_kept_while_it_answers() {
    let world = beating();
    let mut raw = Raw::welcomed(world.runtime.connect(), FEATURES).await;
    let start = Instant::now();
    let mut nonces = Vec::new();
    for second in 1..=20 {
        let ping = raw.next().await.unwrap();
        assert_eq!(ping["type"], "session.ping");
        assert!(ping.get("event_seq").is_none());
        assert_eq!(start.elapsed().as_secs(), second);
        let nonce = ping["payload"]["nonce"].clone();
        assert!(!nonces.contains(&nonce));
        raw.send("session.pong", json!({ "ping_nonce": nonce })).await;
        nonces.push(nonce);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_peer_says_is_a_sign_of_life() {
    let world = beating();
    let mut raw = Raw::welcomed(world.runtime.connect(), FEATURES).await;
    for _ in 0..10 {
        assert_eq!(raw.next().await.unwrap()["type"], "session.ping");
        raw.send("session.ack", json!({ "last_processed_seq": 0 })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_silent_intervals_lose_the_connection_and_nothing_else() {
    let world = beating();
    let mut raw = Raw::welcomed(world.runtime.connect(), FEATURES).await;
    raw.send("job.submit", json!({ "agent": "puppet" })).await;
    let job = raw.next().await.unwrap()["job_id"].as_str().unwrap().to_owned();
    let start = Instant::now();
    assert_eq!(raw.next().await.unwrap()["type"], "session.ping");
    assert_eq!(start.elapsed().as_secs(), 1);
    let lost = raw.next().await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 2);
    assert_eq!(
        (&lost["type"], &lost["payload"]["code"]),
        (&json!("session.error"), &json!("HEARTBEAT_LOST"))
    );
    assert_eq!(lost["payload"]["retryable"], true);
    assert!(lost["payload"].get("request_id").is_none());
    assert_eq!(raw.next().await, None);
    assert_eq!(raw.reader.close_notice(), Some(CloseReason::HeartbeatLost.into()));
    pass(10_000).await;
    world.puppets.log(&job, "still at work").await.unwrap();
    let mut again = Peer::resumed(world.runtime.connect(), &raw.token, 0).await;
    assert_eq!(again.numbered().await["payload"]["body"]["message"], "still at work");
    world.puppets.finish(&job, json!(1)).await.unwrap();
    again.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_does_not_starve_the_question_whether_anybody_listens() {
    let world = beating();
    let mut raw = Raw::welcomed(world.runtime.connect(), FEATURES).await;
    let start = Instant::now();
    raw.send("job.submit", json!({ "agent": "ticker", "input": { "count": 1_000, "interval_ms": 100 } }))
        .await;
    let mut told = Vec::new();
    while let Some(frame) = raw.next().await {
        if frame["type"] != "job.event" {
            told.push((start.elapsed().as_secs(), frame["type"].as_str().unwrap().to_owned()));
        }
    }
    let kinds: Vec<(u64, &str)> = told.iter().map(|(at, kind)| (*at, kind.as_str())).collect();
    assert_eq!(kinds, [(0, "job.accepted"), (1, "session.ping"), (2, "session.error")]);
}

#[tokio::test(start_paused = true)]
async fn without_the_feature_nobody_is_pinged_or_lost() {
    let world = beating();
    let mut raw = Raw::welcomed(world.runtime.connect(), &["list_jobs"]).await;
    pass(60_000).await;
    raw.send("session.list_jobs", json!({})).await;
    assert_eq!(raw.next().await.unwrap()["type"], "session.jobs", "the first thing that is heard");
}

fn lagging() -> World {
    World::with(Limits { lag_signal_events: 10, lag_detach_events: 30, ..Limits::default() })
}

/// The next numbered frame: the message of a log, or the phase of a status.
fn said(event: &Value) -> &str {
    let body = &event["payload"]["body"];
    body["message"].as_str().filter(|_| event["payload"]["kind"] == "log").or(body["phase"].as_str()).unwrap()
}

/// Lets a job say numbers, one at a time, each of which arrives before the next is said.
async fn say(world: &World, peer: &mut Peer, job: &str, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        world.puppets.log(job, &n.to_string()).await.unwrap();
        assert_eq!(said(&peer.numbered().await), n.to_string());
    }
}

/// A session that has acknowledged the first event of its job.
async fn acknowledging(world: &World) -> (Peer, String) {
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    say(world, &mut alice, &job, 1..=1).await;
    acknowledge(&mut alice).await;
    (alice, job)
}

async fn acknowledge(peer: &mut Peer) {
    peer.send("session.ack", json!({ "last_processed_seq": peer.last_seq }));
    peer.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_acknowledges_is_told_once_each_time_that_it_falls_behind() {
    let world = lagging();
    let (mut alice, job) = acknowledging(&world).await;
    let mut n = 1;
    for _ in 0..3 {
        say(&world, &mut alice, &job, n + 1..=n + 9).await;
        alice.barrier().await;
        say(&world, &mut alice, &job, n + 10..=n + 10).await;
        let signal = alice.numbered().await;
        assert_eq!((&signal["type"], &signal["job_id"]), (&json!("job.event"), &json!(job)));
        assert_eq!((&signal["payload"]["kind"], said(&signal)), (&json!("status"), "back_pressure"));
        let message = "10 events are not acknowledged; the connection is closed at 30";
        assert_eq!(signal["payload"]["body"]["message"], message);
        say(&world, &mut alice, &job, n + 11..=n + 15).await;
        acknowledge(&mut alice).await;
        n += 15;
    }
    // The signal is this session's own: it has a number here, and no place in the job's history.
    let mut other = world.alice().await;
    other.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
    for n in 1..=n {
        assert_eq!(said(&other.numbered().await), n.to_string());
    }
    other.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_falls_too_far_behind_is_detached_and_can_resume() {
    let world = lagging();
    let (mut alice, job) = acknowledging(&world).await;
    say(&world, &mut alice, &job, 2..=11).await;
    let signal = alice.numbered().await;
    assert_eq!(said(&signal), "back_pressure");
    say(&world, &mut alice, &job, 12..=29).await;
    alice.barrier().await;
    // This one would be the thirty-first number, thirty after the acknowledged one.
    world.puppets.log(&job, "30").await.unwrap();
    let error = alice.expect("session.error").await;
    assert_eq!(error["payload"]["code"], "INTERNAL_ERROR");
    assert_eq!(error["payload"]["retryable"], true);
    assert_eq!(error["payload"]["details"]["limit"], "lag_detach_events");
    alice.ended().await;
    // Whoever resumes says what it has: that counts, although only an acknowledgement frees anything.
    let token = alice.token.clone().unwrap();
    let mut again = Peer::resumed(world.runtime.connect(), &token, 30).await;
    assert_eq!(said(&again.numbered().await), "30");
    again.barrier().await;
    say(&world, &mut again, &job, 31..=35).await;
    let mut again = Peer::resumed(world.runtime.connect(), &again.token.clone().unwrap(), 10).await;
    assert_eq!(said(&again.numbered().await), "11");
    assert_eq!(again.numbered().await["id"], signal["id"], "the signal is replayed as well");
    for n in 12..=35 {
        assert_eq!(said(&again.numbered().await), n.to_string());
    }
    world.puppets.finish(&job, json!(1)).await.unwrap();
    again.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_never_acknowledges_is_not_measured_by_it() {
    let world = lagging();
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "ticker", "input": { "count": 500, "interval_ms": 0 } })).await;
    let frames = alice.until_end(&job).await;
    assert_eq!(frames.len(), 501);
    assert!(frames[..500].iter().all(|frame| frame["payload"]["kind"] == "progress"));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_given_up_and_nobody_else_notices() {
    let world = World::with(Limits { send_timeout_ms: 5_000, ..Limits::default() });
    let (input, output) = split(world.pipe(16 * 1024));
    let lines = LineTransport::new(input, output, 2_000_000);
    let mut stalled = Raw::welcomed(lines, &["progress"]).await;
    let ticker = json!({ "agent": "ticker", "input": { "count": 200, "interval_ms": 10, "size": 1_000 } });
    stalled.send("job.submit", ticker).await;
    let accepted = stalled.next().await.unwrap();
    let mut other = world.alice().await;
    let ask = json!({ "job_id": accepted["job_id"], "history": true });
    other.ask("job.subscribe", ask, "job.subscribed").await;
    assert_eq!(other.until_end(accepted["job_id"].as_str().unwrap()).await.len(), 201);
    pass(20_000).await;
    let mut last = 0;
    // What it was sent before is still there, to the last whole line; then the stream is over.
    let rest = async {
        while let Ok(arcpd::transport::Received::Text(line)) = stalled.reader.receive().await {
            let Ok(frame) = serde_json::from_slice::<Value>(&line) else { break };
            last += 1;
            assert_eq!(frame["event_seq"], last);
        }
    };
    timeout(Duration::from_secs(100), rest).await.expect("it was not given up");
    assert!((1..100).contains(&last), "{last}");
    let mut again = Peer::resumed(world.runtime.connect(), &stalled.token, last).await;
    assert_eq!(
        again.until_end(accepted["job_id"].as_str().unwrap()).await.len(),
        201 - usize::try_from(last).unwrap()
    );
    other.barrier().await;
}
