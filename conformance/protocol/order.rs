//! What every client relies on, whatever its dialect: one answer for each request, in their order, and soon.

use arcpd::transport::stdio::LineTransport;
use serde_json::{Value, json};
use tokio::io::split;

use crate::common::peer::{FEATURES, frame};
use crate::fixture::{Raw, World, pass};

/// What answers a request, and by which name: none for what is no answer.
fn answered(frame: &Value) -> Option<String> {
    let payload = &frame["payload"];
    let name = match frame["type"].as_str().unwrap() {
        "session.pong" => &payload["ping_nonce"],
        "job.accepted" | "job.cancelled" | "job.subscribed" | "session.jobs" | "session.error" => {
            &payload["request_id"]
        }
        _ => return None,
    };
    Some(name.as_str().unwrap().into())
}

#[tokio::test(start_paused = true)]
async fn every_request_has_one_answer_in_the_order_of_the_requests() {
    let world = World::new();
    let mut alice = world.alice().await;
    let running = alice.submit(json!({ "agent": "sleeper", "input": { "ms": 600_000 } })).await;
    let submit = |input: Value, key: &str| json!({ "agent": "echo", "input": input, "idempotency_key": key });
    let asked: Vec<(&str, Value)> = (0..200)
        .map(|i| match i % 10 {
            0 | 5 => ("job.submit", json!({ "agent": "echo", "input": i })),
            1 => ("job.submit", json!({ "agent": "nosuch" })),
            2 => ("job.submit", submit(json!(1), "same")),
            3 => ("job.submit", submit(json!(i), "conflict")),
            4 => ("session.list_jobs", json!({ "limit": 3 })),
            6 => ("job.submit", json!({ "agent": 7 })),
            7 => ("job.subscribe", json!({ "job_id": running, "history": true })),
            8 => ("job.subscribe", json!({ "job_id": "job_of_nobody" })),
            _ => ("session.ping", json!({ "nonce": format!("r{i}") })),
        })
        .collect();
    for (i, (kind, payload)) in asked.iter().enumerate() {
        alice.send_raw(frame(&format!("r{i}"), kind, payload.clone()).to_string());
    }
    let mut answers = Vec::new();
    while answers.len() < asked.len() {
        answers.extend(answered(&alice.frame().await));
    }
    let expected: Vec<String> = (0..asked.len()).map(|i| format!("r{i}")).collect();
    assert_eq!(answers, expected);
    alice.send_raw(frame("last", "job.cancel", json!({ "job_id": running })).to_string());
    loop {
        let next = alice.frame().await;
        if let Some(name) = answered(&next) {
            assert_eq!(name, "last", "a second answer: {next}");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_held_up_by_what_there_is_to_replay() {
    const PIPE: usize = 16 * 1024;
    let world = World::new();
    let mut alice = world.alice().await;
    let ticker = json!({ "agent": "ticker", "input": { "count": 2_000, "interval_ms": 0, "size": 1_000 } });
    let job = alice.submit(ticker).await;
    alice.until_end(&job).await;
    let (input, output) = split(world.pipe(PIPE));
    let mut slow = Raw::welcomed(LineTransport::new(input, output, 2_000_000), FEATURES).await;
    slow.send("job.subscribe", json!({ "job_id": job, "history": true })).await;
    pass(1_000).await;
    slow.send("session.ping", json!({ "nonce": "n" })).await;
    pass(1_000).await;
    let mut before = 0;
    loop {
        let next = slow.next().await.unwrap();
        if next["type"] == "session.pong" {
            // In the middle of what was asked for before.
            break;
        }
        before += 1;
    }
    // What the pipe holds, what was read of the store, and half of that for heads: far from the two thousand.
    assert!((1..150).contains(&before), "{before} events came before the answer");
}
