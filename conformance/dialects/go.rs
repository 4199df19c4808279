//! The go client.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{Client, World};
use crate::readers::go::Go;
use crate::replay::replay;

const CAPTURED: &str = include_str!("captured/go.jsonl");

#[tokio::test(start_paused = true)]
async fn what_was_captured_gets_what_the_client_can_read() {
    let told = replay(CAPTURED, Go::default).await;
    assert_eq!(
        told,
        [
            "2 accepted",
            "2 ended success",
            "3 refused AGENT_NOT_AVAILABLE",
            "4 refused AGENT_VERSION_NOT_AVAILABLE",
            "5 refused AGENT_NOT_AVAILABLE",
            "5 accepted",
            "5 ended success",
            "6 accepted",
            "6 ended CANCELLED",
            "7 accepted",
            "8 refused INVALID_REQUEST",
            "9 refused INVALID_REQUEST",
            "10 accepted",
            "11 accepted",
            "12 accepted",
            "12 ended success",
            "12 refused DUPLICATE_KEY",
            "13 accepted",
            "13 accepted",
            "13 accepted",
            "15 accepted",
            "17 accepted",
            "19 accepted",
            "22 accepted",
            "22 ended success",
            "23 accepted",
            "23 ended success",
            "7 ended success",
            "10 ended success",
            "11 ended success",
            "13 ended success",
            "13 ended success",
            "13 ended success",
            "15 ended success",
            "16 ended success",
            "17 ended success",
            "19 ended success",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_result_is_called_output_and_a_small_one_result_too() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    client.begun("1", json!({ "agent": "echo", "input": { "n": 1.50 } })).await;
    let ended = client.expect("job.result").await;
    assert_eq!(ended["payload"]["output"], json!({ "n": 1.50 }));
    assert_eq!(ended["payload"]["result"], ended["payload"]["output"]);
}

#[tokio::test(start_paused = true)]
async fn a_submit_with_a_key_that_runs_in_its_session_fails_instead_of_waiting_for_ever() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    let order = json!({ "agent": "puppet", "idempotency_key": "k" });
    let job = client.begun("1", order.clone()).await;
    assert_eq!(client.begun("2", order.clone()).await, job);
    let refused = client.expect("session.error").await;
    assert_eq!(
        (&refused["payload"]["request_id"], &refused["payload"]["code"]),
        (&json!("2"), &json!("DUPLICATE_KEY"))
    );
    assert!(refused.get("job_id").is_none(), "an error that names the job would end its handle: {refused}");
    // Another session has no handle of it: to that one, the acceptance is the answer.
    let mut other = Client::welcomed(&world, CAPTURED, |_| ()).await;
    assert_eq!(other.begun("3", order).await, job);
    world.puppets.finish(&job, json!("done")).await.unwrap();
    client.expect("job.result").await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_acceptance_or_a_subscription_comes_a_moment_later() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    let job = client.begun("1", json!({ "agent": "echo", "input": 1 })).await;
    assert_eq!(
        client.within(Duration::from_millis(4)).await,
        None,
        "the end would be there as soon as the acceptance"
    );
    client.expect("job.result").await;
    let mut other = Client::welcomed(&world, CAPTURED, |_| ()).await;
    other.ask("2", "job.subscribe", json!({ "job_id": job, "history": true }));
    other.expect("job.subscribed").await;
    assert_eq!(other.within(Duration::from_millis(4)).await, None);
    other.expect("job.result").await;
}
