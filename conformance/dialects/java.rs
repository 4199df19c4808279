//! The java client.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{Client, World, hello_in};
use crate::readers::java::Java;
use crate::replay::replay;

const CAPTURED: &str = include_str!("captured/java.jsonl");

#[tokio::test(start_paused = true)]
async fn what_was_captured_gets_what_the_client_can_read() {
    let told = replay(CAPTURED, Java::default).await;
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
            "8 accepted",
            "8 ended success",
            "8 accepted",
            "8 ended success",
            "9 accepted",
            "9 ended success",
            "9 refused DUPLICATE_KEY",
            "10 accepted",
            "10 accepted",
            "10 accepted",
            "11 accepted",
            "7 ended success",
            "13 accepted",
            "12 ended success",
            "10 ended success",
            "10 ended success",
            "10 ended success",
            "11 ended success",
            "13 ended success",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_is_refused_by_an_error_of_no_job_and_a_close() {
    let world = World::new();
    let mut hello = hello_in(CAPTURED);
    hello["payload"]["auth"] = json!({ "scheme": "anonymous" });
    let mut client = world.client();
    client.send(&hello);
    let refused = client.expect("job.error").await;
    assert_eq!(refused["id"], hello["id"]);
    assert_eq!(refused["payload"]["code"], "UNAUTHENTICATED");
    assert!(refused["payload"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(refused.get("job_id").is_none());
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_id_of_its_request_and_touches_no_other() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    let running = client.begun("1", json!({ "agent": "puppet" })).await;
    client.ask("no \"such\"", "job.submit", json!({ "agent": "nosuch" }));
    let refused = client.expect("job.error").await;
    assert_eq!((&refused["id"], refused.get("job_id")), (&json!("no \"such\""), None));
    client.ask("list", "session.list_jobs", json!({ "cursor": "forged" }));
    let refused = client.expect("job.error").await;
    assert_eq!((&refused["id"], &refused["payload"]["code"]), (&json!("list"), &json!("INVALID_REQUEST")));
    world.puppets.finish(&running, json!(1)).await.unwrap();
    assert_eq!(client.expect("job.result").await["job_id"], json!(running));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_to_nothing_ends_by_an_error_of_that_job_and_one_to_an_own_job_does_not() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    client.ask("1", "job.subscribe", json!({ "job_id": "job_of_nobody" }));
    assert_eq!(client.within(Duration::from_millis(9)).await, None, "nobody listens to it yet");
    let refused = client.expect("job.error").await;
    assert_eq!(
        (&refused["job_id"], &refused["payload"]["code"]),
        (&json!("job_of_nobody"), &json!("JOB_NOT_FOUND"))
    );
    assert!(refused.get("event_seq").is_none());
    let job = client.begun("2", json!({ "agent": "sleeper", "input": { "ms": 60_000 } })).await;
    client.ask("3", "job.cancel", json!({ "job_id": "job_of_nobody" }));
    assert!(client.expect("job.error").await.get("job_id").is_none());
    client.ask("4", "job.cancel", json!({ "job_id": job }));
    client.expect("job.cancelled").await;
    assert_eq!(client.expect("job.error").await["payload"]["final_status"], "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_resume_flat_in_the_hello_finds_its_session_and_minus_one_is_nothing() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    let job = client.begun("1", json!({ "agent": "echo", "input": 1 })).await;
    client.expect("job.result").await;
    let (session, token) = (client.session.clone(), client.welcome["payload"]["resume_token"].clone());
    drop(client);
    let mut again = Client::welcomed(&world, CAPTURED, |hello| {
        hello["payload"]["resume_token"] = token;
        hello["payload"]["last_event_seq"] = json!(-1);
    })
    .await;
    assert_eq!(again.session, session);
    assert_eq!(again.expect("job.result").await["job_id"], json!(job));
}
