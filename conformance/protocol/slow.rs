//! A store that takes its time, in which a client must not lose its session or its place, nor be told what is not
//! stored. The simulation found each of these.

use std::sync::Arc;
use std::time::Duration;

use arcpd::transport::memory::MemoryTransport;
use serde_json::{Value, json};

use crate::common::gated::Gated;
use crate::common::peer::{FEATURES, Peer};
use crate::fixture::{Raw, World};

fn world() -> (World, Arc<Gated>) {
    let store = Gated::new();
    (World::built(|builder| builder.store(store.clone())), store)
}

/// Nothing comes for a while.
async fn silent(peer: &mut Peer) {
    let next = tokio::time::timeout(Duration::from_millis(100), peer.next()).await;
    assert!(next.is_err(), "came too early: {next:?}");
}

/// A session that got a job's end, so that resuming it asks the store about that job.
async fn with_a_past(world: &World) -> Peer {
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "echo" })).await;
    alice.last_seq = 0;
    alice.until_end(&job).await;
    alice
}

#[tokio::test(start_paused = true)]
async fn a_job_that_begins_while_its_session_is_resumed_does_not_cost_the_session() {
    let (world, store) = world();
    let mut alice = with_a_past(&world).await;
    store.ask_me();
    let (mut again, _) = Peer::resuming(world.runtime.connect(), alice.token.as_deref().unwrap(), 1);
    store.asked(1).await;
    alice.submit(json!({ "agent": "puppet" })).await;
    store.answer_all();
    again.welcome().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_given_up_does_not_take_the_session_from_its_client() {
    let (world, store) = world();
    let alice = with_a_past(&world).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    store.ask_me();
    let (given_up, _) = Peer::resuming(world.runtime.connect(), &token, 1);
    store.asked(1).await;
    let (mut second, _) = Peer::resuming(world.runtime.connect(), &token, 1);
    store.asked(2).await;
    store.answer(1);
    second.welcome().await;
    store.answer_all();
    second.expect("session.closed").await;
    drop(given_up);
    let mut third = Peer::resumed(world.runtime.connect(), second.token.as_deref().unwrap(), 1).await;
    third.barrier().await;
    let (mut late, id) = Peer::resuming(world.runtime.connect(), &token, 1);
    late.refused(&id, "RESUME_WINDOW_EXPIRED").await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_job_is_gone_with_events_unseen_is_not_resumed_as_if_nothing_lacked() {
    let (world, store) = world();
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    world.puppets.finish(&job, json!("unseen")).await.unwrap();
    // The job is let go of once its end is stored.
    tokio::time::sleep(Duration::from_millis(10)).await;
    store.lose(&job);
    let (mut again, id) = Peer::resuming(world.runtime.connect(), &token, 0);
    again.refused(&id, "RESUME_WINDOW_EXPIRED").await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_while_its_session_is_resumed_after_a_restart_is_missed() {
    let (before, store) = world();
    let mut alice = before.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    before.puppets.finish(&job, json!("unseen")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let after = World::built(|builder| builder.store(store.clone()));
    store.ask_me();
    let (mut again, id) = Peer::resuming(after.runtime.connect(), &token, 0);
    store.asked(1).await;
    store.answer(0);
    store.asked(1).await;
    store.lose(&job);
    store.answer_all();
    again.refused(&id, "RESUME_WINDOW_EXPIRED").await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_from_further_on_does_not_pass_over_what_was_not_sent_yet() {
    let (world, store) = world();
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    store.hold();
    world.puppets.log(&job, "1").await.unwrap();
    // Numbered, and waiting for the store; the others come meanwhile.
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.puppets.log(&job, "2").await.unwrap();
    world.puppets.log(&job, "3").await.unwrap();
    alice.send("job.subscribe", json!({ "job_id": job, "history": true, "from_event_seq": 3 }));
    tokio::time::sleep(Duration::from_millis(10)).await;
    store.let_go();
    let mut told = Vec::new();
    while told.len() < 3 {
        let frame = alice.frame().await;
        if frame["type"] == "job.subscribed" {
            assert_eq!(frame["payload"]["subscribed_from"], 1, "{frame}");
        } else {
            told.push(frame["payload"]["body"]["message"].clone());
        }
    }
    assert_eq!(told, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_of_what_came_before_leaves_no_gap_in_what_comes_again() {
    const EVENTS: u64 = 600;
    let (world, _) = world();
    let mut alice = world.alice().await;
    let ticks = json!({ "count": EVENTS - 1, "interval_ms": 0 });
    let job = alice.submit(json!({ "agent": "ticker", "input": ticks })).await;
    assert_eq!(alice.until_end(&job).await.len() as u64, EVENTS);
    let token = alice.token.clone().unwrap();
    drop(alice);
    let mut again: Raw<MemoryTransport> = Raw::resumed(world.runtime.connect(), &token, 0).await;
    again.send("session.ack", json!({ "last_processed_seq": EVENTS })).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    for seq in 1..=EVENTS {
        let frame = again.next().await.unwrap();
        assert_eq!(frame["event_seq"], seq, "{frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_answered_once_it_is_stored() {
    let (world, store) = world();
    let mut alice = world.alice().await;
    store.hold();
    alice.send("session.close", json!({}));
    silent(&mut alice).await;
    store.let_go();
    alice.expect("session.closed").await;
}

#[tokio::test(start_paused = true)]
async fn that_a_key_is_taken_is_told_once_its_job_is_stored() {
    let (world, store) = world();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    store.hold();
    let submit = |input: Value| json!({ "agent": "echo", "input": input, "idempotency_key": "k" });
    alice.send("job.submit", submit(json!(1)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let id = other.send("job.submit", submit(json!(2)));
    silent(&mut other).await;
    store.let_go();
    other.refused(&id, "DUPLICATE_KEY").await;
}

#[tokio::test(start_paused = true)]
async fn that_a_job_is_over_is_told_once_its_end_is_stored() {
    let (world, store) = world();
    let mut alice = Peer::welcomed(world.runtime.connect(), "tok-a", FEATURES).await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    alice.ask("session.close", json!({}), "session.closed").await;
    alice.ended().await;
    let mut other = world.alice().await;
    store.hold();
    world.puppets.finish(&job, json!("done")).await.unwrap();
    let id = other.send("job.cancel", json!({ "job_id": job }));
    silent(&mut other).await;
    store.let_go();
    let refused = other.refused(&id, "INVALID_REQUEST").await;
    assert_eq!(refused["details"]["current_status"], "success", "{refused}");
}
