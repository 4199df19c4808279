//! Repeated submits (§7.2; our decision 7).

use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Peer};
use crate::fixture::{World, pass};

fn keyed(agent: &str, key: &str) -> Value {
    json!({ "agent": agent, "input": { "a": 1, "b": [2] }, "idempotency_key": key })
}

#[tokio::test(start_paused = true)]
async fn the_same_key_and_parameters_are_the_same_acceptance() {
    let world = World::new();
    let mut alice = world.alice().await;
    let first = alice.ask("job.submit", keyed("puppet", "k"), "job.accepted").await;
    let as_resolved = json!({ "b": [2], "a": 1 });
    for again in [
        keyed("puppet", "k"),
        keyed("puppet@1.0.0", "k"),
        json!({ "agent": "puppet", "input": as_resolved, "idempotency_key": "k", "lease_request": {} }),
    ] {
        let mut answer = alice.ask("job.submit", again, "job.accepted").await;
        answer["request_id"] = first["request_id"].clone();
        answer["reply_to"] = first["reply_to"].clone();
        assert_eq!(answer, first);
    }
    let job = first["job_id"].as_str().unwrap().to_owned();
    world.puppets.finish(&job, json!("once")).await.unwrap();
    assert_eq!(alice.end_of(&job).await["payload"]["result"], "once");
    alice.barrier().await;
    let jobs = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_other_parameter_under_a_taken_key_is_a_conflict() {
    let world = World::new();
    let mut alice = world.alice().await;
    let job = alice.submit(keyed("puppet", "k")).await;
    let other = |field: &str, value: Value| {
        let mut submit = keyed("puppet", "k");
        submit[field] = value;
        submit
    };
    for conflict in [
        other("agent", json!("echo")),
        other("agent", json!("echo@1.0.0")),
        other("input", json!({ "a": 1, "b": [3] })),
        other("input", json!({ "a": 1 })),
        other("input", Value::Null),
        other("lease_request", json!({ "fs.read": ["/x"] })),
        other("lease_constraints", json!({ "expires_at": "2099-01-01T00:00:00Z" })),
        other("max_runtime_sec", json!(60)),
    ] {
        let error = alice.ask_in_vain("job.submit", conflict.clone(), "DUPLICATE_KEY").await;
        assert_eq!(error["retryable"], false, "{conflict}: {error}");
        assert!(!error.to_string().contains(&job), "{error}");
    }
    world.puppets.finish(&job, json!(1)).await.unwrap();
    alice.end_of(&job).await;
    alice.ask_in_vain("job.submit", other("input", json!(7)), "DUPLICATE_KEY").await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_its_principals_own() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let hers = alice.submit(keyed("puppet", "k")).await;
    let his = bob.submit(json!({ "agent": "echo", "input": "other", "idempotency_key": "k" })).await;
    assert_ne!(hers, his);
    assert_eq!(bob.end_of(&his).await["payload"]["result"], "other");
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn another_session_that_repeats_a_running_submit_gets_the_history_and_the_authority() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(keyed("puppet", "k")).await;
    world.puppets.log(&job, "one").await.unwrap();
    world.puppets.log(&job, "two").await.unwrap();
    let seen = [alice.numbered().await, alice.numbered().await];
    assert_eq!(other.submit(keyed("puppet", "k")).await, job);
    for event in &seen {
        assert_eq!(other.numbered().await["payload"], event["payload"]);
    }
    world.puppets.log(&job, "three").await.unwrap();
    assert_eq!(other.numbered().await["payload"], alice.numbered().await["payload"]);
    other.ask("job.cancel", json!({ "job_id": job }), "job.cancelled").await;
    assert_eq!(other.end_of(&job).await["payload"], alice.end_of(&job).await["payload"]);
}

#[tokio::test(start_paused = true)]
async fn after_the_end_the_end_is_told_again_and_a_new_session_gets_everything() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let submit = json!({ "agent": "ticker", "idempotency_key": "k" });
    let job = alice.submit(submit.clone()).await;
    let frames = alice.until_end(&job).await;
    let end = frames.last().unwrap();
    for _ in 0..2 {
        assert_eq!(alice.submit(submit.clone()).await, job);
        let again = alice.end_of(&job).await;
        assert_eq!(again["payload"], end["payload"]);
        assert_ne!(again["id"], end["id"], "a new number is a new message");
    }
    assert_eq!(other.submit(submit).await, job);
    let theirs = other.until_end(&job).await;
    let payloads = |frames: &[Value]| frames.iter().map(|f| f["payload"].clone()).collect::<Vec<_>>();
    assert_eq!(payloads(&theirs), payloads(&frames));
    other.barrier().await;
    // The repeated end is part of the stream: a resume replays it under the same number.
    let token = alice.token.clone().unwrap();
    let mut again = Peer::resumed(world.runtime.connect(), &token, 4).await;
    for _ in 0..2 {
        assert_eq!(again.end_of(&job).await["payload"], end["payload"]);
    }
    again.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_has_to_make_sense() {
    let world = World::with(Limits { idempotency_key_chars: 8, ..Limits::default() });
    let mut alice = world.alice().await;
    for key in ["", "k\n", "k\u{0}", "123456789", "k".repeat(10_000).as_str()] {
        let error = alice.ask_in_vain("job.submit", keyed("echo", key), "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().starts_with("payload.idempotency_key: "), "{error}");
    }
    let job = alice.submit(keyed("echo", "ññññññññ")).await;
    alice.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_remembered_for_its_time_and_while_its_job_runs() {
    let world = World::with(Limits { idempotency_age_sec: 2, ..Limits::default() });
    let mut alice = world.alice().await;
    let (done, runs) = (keyed("echo", "done"), keyed("puppet", "runs"));
    let first = alice.submit(done.clone()).await;
    alice.end_of(&first).await;
    let running = alice.submit(runs.clone()).await;
    pass(1_000).await;
    assert_eq!(alice.submit(done.clone()).await, first);
    alice.end_of(&first).await;
    pass(2_000).await;
    assert_eq!(alice.submit(runs).await, running, "a live job's key is never forgotten");
    let second = alice.submit(done).await;
    assert_ne!(second, first);
    alice.end_of(&second).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_submit_does_not_take_its_key() {
    let world = World::new();
    let mut alice = world.alice().await;
    alice.ask_in_vain("job.submit", keyed("nobody", "k"), "AGENT_NOT_AVAILABLE").await;
    let job = alice.submit(keyed("echo", "k")).await;
    alice.end_of(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_race_with_one_key_begin_one_job() {
    let world = World::new();
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(Peer::welcomed(world.runtime.connect(), "tok-a", FEATURES).await);
    }
    for round in 0..200 {
        let submit = keyed("echo", &format!("round {round}"));
        for peer in &mut peers {
            peer.send("job.submit", submit.clone());
        }
        let mut jobs = Vec::new();
        for peer in &mut peers {
            let accepted = peer.expect("job.accepted").await;
            let job = accepted["job_id"].as_str().unwrap().to_owned();
            assert_eq!(peer.end_of(&job).await["payload"]["result"], submit["input"]);
            jobs.push(job);
        }
        jobs.dedup();
        assert_eq!(jobs.len(), 1, "round {round}");
    }
}
