//! The typescript client.

use serde_json::json;

use crate::fixture::{Client, World};
use crate::readers::typescript::TypeScript;
use crate::replay::replay;

const CAPTURED: &str = include_str!("captured/typescript.jsonl");

#[tokio::test(start_paused = true)]
async fn what_was_captured_gets_what_the_client_can_read() {
    let told = replay(CAPTURED, TypeScript::default).await;
    assert_eq!(
        told,
        [
            "1 accepted",
            "1 ended success",
            "1 refused AGENT_NOT_AVAILABLE",
            "1 refused AGENT_VERSION_NOT_AVAILABLE",
            "2 accepted",
            "2 ended success",
            "2 accepted",
            "2 ended success",
            "3 refused DUPLICATE_KEY",
            "4 accepted",
            "4 refused DUPLICATE_KEY",
            "4 ended success",
            "1 refused INVALID_REQUEST",
            "1 accepted",
            "1 ended success",
            "1 accepted",
            "1 ended success",
            "1 accepted",
            "1 ended CANCELLED",
            "1 accepted",
            "1 ended CANCELLED",
            "1 accepted",
            "1 ended TIMEOUT",
            "1 accepted",
            "5 ended success",
            "5 refused JOB_NOT_FOUND",
            "1 ended success",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn while_something_is_open_no_refusal_rejects_it() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    let job = client.begun("1", json!({ "agent": "puppet" })).await;
    client.ask("2", "job.submit", json!({ "agent": "nosuch" }));
    let refused = client.expect("job.error").await;
    assert_ne!(refused["job_id"], json!(job));
    assert!(refused.get("event_seq").is_none());
    client.ask("3", "job.subscribe", json!({ "job_id": "job_of_nobody" }));
    let nothing = client.expect("job.subscribed").await;
    assert_eq!(
        (&nothing["payload"]["job_id"], &nothing["payload"]["current_status"]),
        (&json!("job_of_nobody"), &json!("error"))
    );
    client.ask("4", "session.list_jobs", json!({ "cursor": "forged" }));
    let page = client.expect("session.jobs").await;
    assert_eq!((&page["payload"]["request_id"], &page["payload"]["jobs"]), (&json!("4"), &json!([])));
    for (id, kind) in [("5", "job.cancel"), ("6", "job.unsubscribe")] {
        client.ask(id, kind, json!({ "job_id": "job_of_nobody" }));
    }
    client.ask("7", "session.ack", json!({ "last_processed_seq": 99 }));
    client.hears_nothing().await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    client.expect("job.result").await;
    // Now nothing is open, and the reason can be told.
    client.ask("8", "job.subscribe", json!({ "job_id": "job_of_nobody" }));
    let refused = client.expect("session.error").await;
    assert_eq!(
        (&refused["payload"]["request_id"], &refused["payload"]["code"]),
        (&json!("8"), &json!("JOB_NOT_FOUND"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_the_trace_of_its_own_submit() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    let (first, second) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b74bf92f3577b34da6");
    for (id, trace, agent) in [("1", first, "echo"), ("2", second, "echo"), ("3", second, "nosuch")] {
        let session = client.session.clone();
        client.send(&json!({
            "arcp": "1.1", "id": id, "type": "job.submit", "session_id": session, "trace_id": trace,
            "payload": { "agent": agent, "input": 1, "idempotency_key": "k" }
        }));
        let answer = client.frame().await;
        assert_eq!(
            answer["trace_id"],
            json!(trace),
            "a repeated or refused submit is found by its own trace"
        );
        if agent == "echo" {
            client.expect("job.result").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_answered_by_a_close_without_a_frame() {
    let world = World::new();
    let mut client = Client::welcomed(&world, CAPTURED, |_| ()).await;
    client.ask("1", "session.bye", json!({}));
    client.ended().await;
}
