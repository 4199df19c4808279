//! The Python client, by what it was captured to send.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Client, World};
use crate::readers::python::Python;
use crate::replay::replay;

/// Its hello, as captured.
fn hello(token: &str) -> Value {
    json!({
        "arcp": "1.1", "id": "01M7VVR1KPQ7K5P5YWZHSTZGRY", "type": "session.hello",
        "payload": {
            "client": { "name": "cap", "version": "1" },
            "auth": { "scheme": "bearer", "token": token },
            "capabilities": {
                "encodings": ["json"],
                "features": [
                    "heartbeat", "ack", "list_jobs", "subscribe", "lease_expires_at", "cost.budget", "progress",
                    "result_chunk", "agent_versions"
                ],
                "agents": []
            }
        }
    })
}

async fn welcomed(world: &World) -> (Client, String) {
    let mut client = world.client();
    client.send(&hello("tok-a"));
    let session = client.expect("session.welcome").await["session_id"].as_str().unwrap().to_owned();
    (client, session)
}

fn submit(session: &str, id: &str, agent: &str) -> Value {
    json!({
        "arcp": "1.1", "id": id, "type": "job.submit", "session_id": session,
        "payload": { "agent": agent, "input": { "a": 1 } }
    })
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_told_and_ends_the_connection() {
    let world = World::new();
    let mut client = world.client();
    client.send(&hello("nope"));
    assert_eq!(client.expect("session.error").await["payload"]["code"], "UNAUTHENTICATED");
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_submit_ends_a_job_of_its_own_and_no_other() {
    let world = World::new();
    let (mut client, session) = welcomed(&world).await;
    client.send(&submit(&session, "01M7VVR1M0XKQXTZ7Y4Z4V6K11", "puppet"));
    let running = client.expect("job.accepted").await["payload"]["job_id"].clone();
    client.send(&submit(&session, "01M7VVR1M0XKQXTZ7Y4Z4V6K12", "nosuch"));
    let refused = client.expect("job.accepted").await;
    assert_eq!(refused["payload"]["request_id"], "01M7VVR1M0XKQXTZ7Y4Z4V6K12");
    let error = client.expect("job.error").await;
    assert_eq!(
        (&error["job_id"], &error["payload"]["code"]),
        (&refused["job_id"], &json!("AGENT_NOT_AVAILABLE"))
    );
    assert!(error.get("event_seq").is_none(), "{error}");
    assert_ne!(error["job_id"], running);
    world.puppets.finish(running.as_str().unwrap(), json!(1)).await.unwrap();
    let end = client.frame().await;
    assert_eq!(
        (&end["type"], &end["job_id"], &end["event_seq"]),
        (&json!("job.result"), &running, &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_captured_gets_what_the_client_can_read() {
    let told = replay(include_str!("captured/python.jsonl"), Python::default).await;
    assert_eq!(
        told,
        [
            "2 accepted",
            "2 ended success",
            "2 accepted",
            "2 ended AGENT_NOT_AVAILABLE",
            "2 accepted",
            "2 ended AGENT_VERSION_NOT_AVAILABLE",
            "2 accepted",
            "2 ended success",
            "2 accepted",
            "2 ended success",
            "2 accepted",
            "2 ended DUPLICATE_KEY",
            "2 accepted",
            "2 ended INVALID_REQUEST",
            "2 accepted",
            "2 ended success",
            "2 accepted",
            "2 ended success",
            "2 accepted",
            "2 ended cancelled",
            "2 accepted",
            "2 ended timed_out",
            "2 accepted",
            "3 ended success",
            "3 refused JOB_NOT_FOUND",
            "2 ended success",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn while_a_handle_is_open_no_refusal_fails_it() {
    let world = World::new();
    let mut client = Client::welcomed(&world, include_str!("captured/python.jsonl"), |_| ()).await;
    let job = client.begun("1", json!({ "agent": "puppet" })).await;
    client.ask("2", "job.subscribe", json!({ "job_id": "job_of_nobody", "history": true }));
    let subscribed = client.expect("job.subscribed").await;
    assert_eq!(subscribed["payload"]["request_id"], "2");
    assert_eq!(
        client.within(Duration::from_millis(10)).await,
        None,
        "before the handle is there its end is lost"
    );
    let ended = client.expect("job.error").await;
    assert_eq!(
        (&ended["job_id"], &ended["payload"]["code"]),
        (&json!("job_of_nobody"), &json!("JOB_NOT_FOUND"))
    );
    client.ask("3", "session.list_jobs", json!({ "cursor": "forged" }));
    assert_eq!(client.expect("session.jobs").await["payload"]["jobs"], json!([]));
    client.ask("4", "job.cancel", json!({ "job_id": "job_of_nobody" }));
    client.hears_nothing().await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    client.expect("job.result").await;
    client.ask("5", "session.list_jobs", json!({ "cursor": "forged" }));
    assert_eq!(client.expect("session.error").await["payload"]["request_id"], "5");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_taken_back_before_its_answer_leaves_nothing_open() {
    let world = World::new();
    let mut client = Client::welcomed(&world, include_str!("captured/python.jsonl"), |_| ()).await;
    let mut other = Client::welcomed(&world, include_str!("captured/python.jsonl"), |_| ()).await;
    let job = other.begun("1", json!({ "agent": "puppet" })).await;
    client.ask("2", "job.subscribe", json!({ "job_id": job, "history": true }));
    client.ask("3", "job.unsubscribe", json!({ "job_id": job }));
    client.expect("job.subscribed").await;
    client.ask("4", "session.list_jobs", json!({ "cursor": "forged" }));
    assert_eq!(client.expect("session.error").await["payload"]["request_id"], "4");
}

#[tokio::test(start_paused = true)]
async fn one_pause_serves_all_subscriptions_that_wait_and_holds_up_no_other_answer() {
    let world = World::new();
    let mut client = Client::welcomed(&world, include_str!("captured/python.jsonl"), |_| ()).await;
    let job = client.begun("1", json!({ "agent": "puppet" })).await;
    for n in 0..200 {
        client.ask(&format!("s{n}"), "job.subscribe", json!({ "job_id": job }));
    }
    client.ask("ping", "session.ping", json!({ "nonce": "n" }));
    let before = tokio::time::Instant::now();
    for _ in 0..200 {
        client.expect("job.subscribed").await;
    }
    client.expect("session.pong").await;
    // Virtual time: the pauses of all of them, one after the other, would be four seconds of it.
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}
