//! The store fails: what is asked is refused so that it can be asked again, and nothing is made up.

use arcpd::embed::Runtime;
use serde_json::json;

use crate::common::gated::Gated;
use crate::common::peer::Peer;
use crate::fixture::World;

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_no_row_that_is_not_there() {
    let store = Gated::new();
    let world = World::built(|builder| builder.store(store.clone()));
    let mut alice = world.alice().await;
    let keyed = json!({ "agent": "echo", "input": 1, "idempotency_key": "k" });
    let job = alice.submit(keyed.clone()).await;
    alice.until_end(&job).await;
    alice.barrier().await;
    store.readable(false);
    for (kind, payload) in [
        ("session.list_jobs", json!({})),
        ("job.subscribe", json!({ "job_id": job, "history": true })),
        ("job.cancel", json!({ "job_id": job })),
        ("job.submit", keyed.clone()),
    ] {
        let mut other = world.alice().await;
        let error = other.ask_in_vain(kind, payload, "INTERNAL_ERROR").await;
        assert_eq!((&error["retryable"], &error["details"]["retry_after_ms"]), (&json!(true), &json!(1_000)));
        other.barrier().await;
    }
    store.readable(true);
    let mut other = world.alice().await;
    assert_eq!(other.submit(keyed).await, job, "the repeated submit finds the job that it began");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_read_is_cut_and_goes_on_later() {
    let store = Gated::new();
    let world = World::built(|builder| builder.store(store.clone()));
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    world.puppets.log(&job, "one").await.unwrap();
    alice.numbered().await;
    store.readable(false);
    world.puppets.log(&job, "two").await.unwrap();
    let error = alice.expect("session.error").await;
    assert_eq!(error["payload"]["code"], "INTERNAL_ERROR");
    assert_eq!(error["payload"]["retryable"], true);
    alice.ended().await;
    let token = alice.token.clone().unwrap();
    store.readable(true);
    let mut alice = Peer::resumed(world.runtime.connect(), &token, alice.last_seq).await;
    assert_eq!(alice.numbered().await["payload"]["body"]["message"], "two");
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_needs_what_cannot_be_read_leaves_the_session_as_it_was() {
    let store = Gated::new();
    let world = World::built(|builder| builder.store(store.clone()));
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "echo", "input": 1 })).await;
    let frames = alice.until_end(&job).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    store.readable(false);
    let (mut refused, id) = Peer::resuming(world.runtime.connect(), &token, 0);
    assert_eq!(refused.refused(&id, "INTERNAL_ERROR").await["retryable"], true);
    refused.ended().await;
    store.readable(true);
    let mut alice = Peer::resumed(world.runtime.connect(), &token, 0).await;
    assert_eq!(alice.until_end(&job).await, frames);
}

#[tokio::test]
async fn a_daemon_does_not_start_from_what_it_cannot_read() {
    let store = Gated::new();
    store.readable(false);
    let refused = Runtime::builder().store(store).start().err().unwrap().to_string();
    assert!(refused.contains("the disk is gone") && refused.contains("restore a backup"), "{refused}");
}
