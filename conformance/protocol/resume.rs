//! Sessions that outlive their connections (§6.3, §6.5; our decision 1).

use std::time::Duration;

use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Peer, frame, hello};
use crate::fixture::{World, anonymous, pass};

/// A session of alice's with a puppet's job that has told this many events, all of them received.
async fn told(world: &World, events: u64) -> (Peer, String, Vec<Value>) {
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    let mut frames = Vec::new();
    for n in 1..=events {
        world.puppets.log(&job, &n.to_string()).await.unwrap();
        frames.push(alice.numbered().await);
    }
    (alice, job, frames)
}

/// Asks to resume and returns the refusal.
async fn refused(world: &World, payload: Value) -> Value {
    let mut peer = Peer::over(world.runtime.connect());
    let id = peer.send("session.resume", payload);
    let refusal = peer.expect("session.error").await;
    assert_eq!(refusal["payload"]["request_id"], id);
    assert_eq!(refusal["payload"]["code"], "RESUME_WINDOW_EXPIRED", "{refusal}");
    assert_eq!(refusal["payload"]["retryable"], false);
    peer.ended().await;
    refusal
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_goes_on_where_it_was_from_any_place_in_it() {
    let world = World::new();
    let (alice, job, frames) = told(&world, 6).await;
    let mut token = alice.token.clone().unwrap();
    drop(alice);
    for last in [3, 0, 6, 5] {
        let mut again = Peer::resumed(world.runtime.connect(), &token, last).await;
        for replayed in &frames[usize::try_from(last).unwrap()..] {
            assert_eq!(again.numbered().await, *replayed, "the same frame, its id included");
        }
        again.barrier().await;
        token = again.token.clone().unwrap();
    }
    let mut again = Peer::resumed(world.runtime.connect(), &token, 6).await;
    world.puppets.log(&job, "7").await.unwrap();
    assert_eq!(again.numbered().await["payload"]["body"]["message"], "7", "and then live");
    again.ask("job.cancel", json!({ "job_id": job }), "job.cancelled").await;
    assert_eq!(again.end_of(&job).await["payload"]["code"], "CANCELLED", "with its authority");
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_nobody_is_connected_is_replayed() {
    let world = World::new();
    let (alice, job, _) = told(&world, 2).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    pass(60_000).await;
    world.puppets.log(&job, "3").await.unwrap();
    world.puppets.finish(&job, json!("end")).await.unwrap();
    let mut again = Peer::resumed(world.runtime.connect(), &token, 2).await;
    assert_eq!(again.numbered().await["payload"]["body"]["message"], "3");
    assert_eq!(again.end_of(&job).await["payload"]["result"], "end");
    again.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_position_that_was_never_reached_is_refused_and_the_owner_is_told_what_there_is() {
    let world = World::new();
    let (alice, _, _) = told(&world, 4).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    for beyond in [5, 1_000, u64::MAX] {
        let refusal = refused(&world, json!({ "resume_token": token, "last_event_seq": beyond })).await;
        let details = json!({ "oldest_event_seq": 1, "newest_event_seq": 4 });
        assert_eq!(refusal["payload"]["details"], details);
    }
    Peer::resumed(world.runtime.connect(), &token, 4).await.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn every_welcome_brings_a_new_token_and_voids_the_old_one_once_it_is_used() {
    let world = World::new();
    let (alice, _, _) = told(&world, 1).await;
    let mut tokens = vec![alice.token.clone().unwrap()];
    drop(alice);
    for _ in 0..4 {
        let mut again = Peer::resumed(world.runtime.connect(), tokens.last().unwrap(), 1).await;
        again.barrier().await;
        tokens.push(again.token.clone().unwrap());
    }
    let (newest, superseded) = tokens.split_last().unwrap();
    for old in superseded {
        assert_ne!(old, newest);
        let refusal = refused(&world, json!({ "resume_token": old, "last_event_seq": 1 })).await;
        assert!(refusal["payload"].get("details").is_none(), "{refusal}");
    }
    Peer::resumed(world.runtime.connect(), newest, 1).await.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_welcome_does_not_lose_the_session() {
    let world = World::new();
    let (alice, _, frames) = told(&world, 2).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    // The welcomes of these arrive nowhere: their connections never say a word.
    let first = Peer::resumed(world.runtime.connect(), &token, 0).await;
    let lost = first.token.clone().unwrap();
    drop(first);
    drop(Peer::resumed(world.runtime.connect(), &token, 0).await);
    let mut again = Peer::resumed(world.runtime.connect(), &token, 1).await;
    assert_eq!(again.numbered().await, frames[1]);
    again.barrier().await;
    for void in [&token, &lost] {
        refused(&world, json!({ "resume_token": void, "last_event_seq": 1 })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_of_an_unused_welcome_is_good_as_well() {
    let world = World::new();
    let (alice, _, _) = told(&world, 1).await;
    let first = Peer::resumed(world.runtime.connect(), &alice.token.clone().unwrap(), 1).await;
    let token = first.token.clone().unwrap();
    drop(first);
    let mut again = Peer::resumed(world.runtime.connect(), &token, 0).await;
    again.numbered().await;
    again.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn every_token_that_is_no_good_is_refused_alike() {
    let world = World::with(Limits { session_buffer_events: 2, ..Limits::default() });
    let (alice, _, _) = told(&world, 3).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    let bob_auth = json!({ "scheme": "bearer", "token": "tok-b" });
    let mut flipped = token.clone();
    flipped.replace_range(token.len() - 1.., if token.ends_with('0') { "1" } else { "0" });
    let mut answers = Vec::new();
    for payload in [
        json!({ "resume_token": flipped, "last_event_seq": 3 }),
        json!({ "resume_token": "", "last_event_seq": 3 }),
        json!({ "resume_token": token.to_uppercase(), "last_event_seq": 3 }),
        json!({ "resume_token": "tok-a", "last_event_seq": 3 }),
        json!({ "resume_token": "x".repeat(20_000), "last_event_seq": u64::MAX }),
        json!({ "resume_token": token, "last_event_seq": 3, "auth": bob_auth }),
        // Not even what there is to resume from is told to another principal.
        json!({ "resume_token": token, "last_event_seq": 99, "auth": bob_auth }),
        json!({ "resume_token": token, "last_event_seq": 3, "session_id": "sess_01ARZ3NDEKTSV4RRFFQ69G5FAV" }),
    ] {
        answers.push(anonymous(&refused(&world, payload).await));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert!(answers[0]["payload"].get("details").is_none());
    // A wrong bearer token beside a good resume token is a wrong bearer token.
    let wrong = json!({ "scheme": "bearer", "token": "tok-c" });
    let mut peer = Peer::over(world.runtime.connect());
    peer.send("session.resume", json!({ "resume_token": token, "last_event_seq": 3, "auth": wrong }));
    assert_eq!(peer.expect("session.error").await["payload"]["code"], "UNAUTHENTICATED");
    peer.ended().await;
    // None of it consumed anything.
    Peer::resumed(world.runtime.connect(), &token, 3).await.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_closes_the_older_connection_with_a_reason_and_loses_nothing() {
    let world = World::new();
    let (mut alice, job, _) = told(&world, 2).await;
    let mut again = Peer::resumed(world.runtime.connect(), &alice.token.clone().unwrap(), 2).await;
    let closed = alice.expect("session.closed").await;
    assert_eq!(closed["payload"]["reason"], "the session was resumed on another connection");
    assert!(closed["payload"].get("request_id").is_none());
    alice.ended().await;
    // What the older connection still says is not heard.
    alice.send("job.cancel", json!({ "job_id": job }));
    world.puppets.log(&job, "3").await.unwrap();
    assert_eq!(again.numbered().await["payload"]["body"]["message"], "3");
    again.barrier().await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    again.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_survive_a_resume() {
    let world = World::new();
    let (alice, job, _) = told(&world, 3).await;
    let mut other = world.alice().await;
    let ask = json!({ "job_id": job, "history": true, "from_event_seq": 1 });
    other.ask("job.subscribe", ask, "job.subscribed").await;
    let frames = [other.numbered().await, other.numbered().await];
    let token = other.token.clone().unwrap();
    drop(other);
    world.puppets.log(&job, "4").await.unwrap();
    let mut again = Peer::resumed(world.runtime.connect(), &token, 1).await;
    assert_eq!(again.numbered().await, frames[1]);
    assert_eq!(again.numbered().await["payload"]["body"]["message"], "4");
    again.ask_in_vain("job.cancel", json!({ "job_id": job }), "PERMISSION_DENIED").await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    again.end_of(&job).await;
    drop(alice);
}

#[tokio::test(start_paused = true)]
async fn the_window_begins_with_the_drop_and_its_end_ends_the_session() {
    let world = World::built(|b| b.resume_window(Duration::from_secs(3)));
    let (mut alice, job, _) = told(&world, 1).await;
    pass(10_000).await;
    alice.barrier().await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    pass(2_900).await;
    let mut again = Peer::resumed(world.runtime.connect(), &token, 1).await;
    again.barrier().await;
    let token = again.token.clone().unwrap();
    drop(again);
    pass(4_000).await;
    let refusal = refused(&world, json!({ "resume_token": token, "last_event_seq": 1 })).await;
    let nobody = refused(&world, json!({ "resume_token": "never", "last_event_seq": 1 })).await;
    assert_eq!(anonymous(&refusal), anonymous(&nobody));
    // What still works, as the refusal says: list, and subscribe with history.
    let mut fresh = world.alice().await;
    let jobs = fresh.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert_eq!((&jobs["jobs"][0]["job_id"], &jobs["jobs"][0]["status"]), (&json!(job), &json!("running")));
    fresh.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
    assert_eq!(fresh.numbered().await["payload"]["body"]["message"], "1");
}

#[tokio::test(start_paused = true)]
async fn events_beyond_the_buffer_are_gone_and_the_owner_is_told_what_is_left() {
    let world = World::with(Limits { session_buffer_events: 4, ..Limits::default() });
    let (alice, job, frames) = told(&world, 10).await;
    let token = alice.token.clone().unwrap();
    drop(alice);
    for last in [0, 5] {
        let refusal = refused(&world, json!({ "resume_token": token, "last_event_seq": last })).await;
        let details = json!({ "oldest_event_seq": 7, "newest_event_seq": 10 });
        assert_eq!(refusal["payload"]["details"], details, "from {last}");
    }
    let mut again = Peer::resumed(world.runtime.connect(), &token, 6).await;
    for replayed in &frames[6..] {
        assert_eq!(again.numbered().await, *replayed);
    }
    world.puppets.finish(&job, json!(1)).await.unwrap();
    again.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_frees_what_it_covers_and_nothing_else() {
    let world = World::new();
    let (mut alice, job, _) = told(&world, 6).await;
    let mut other = world.alice().await;
    other.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
    for _ in 0..6 {
        other.numbered().await;
    }
    alice.send("session.ack", json!({ "last_processed_seq": 4 }));
    alice.send("session.ack", json!({ "last_processed_seq": 2 }));
    let error = alice.ask_in_vain("session.ack", json!({ "last_processed_seq": 7 }), "INVALID_REQUEST").await;
    assert!(error["message"].as_str().unwrap().contains("last_processed_seq"), "{error}");
    let token = alice.token.clone().unwrap();
    drop(alice);
    let refusal = refused(&world, json!({ "resume_token": token, "last_event_seq": 3 })).await;
    let details = json!({ "oldest_event_seq": 5, "newest_event_seq": 6 });
    assert_eq!(refusal["payload"]["details"], details);
    let mut again = Peer::resumed(world.runtime.connect(), &token, 4).await;
    again.numbered().await;
    again.numbered().await;
    again.barrier().await;
    let token = other.token.clone().unwrap();
    drop(other);
    let mut other = Peer::resumed(world.runtime.connect(), &token, 0).await;
    for _ in 0..6 {
        other.numbered().await;
    }
    other.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_resumed_over_another_carrier() {
    let world = World::new();
    let (alice, job, frames) = told(&world, 2).await;
    let token = alice.token.clone().unwrap();
    let mut lines = Peer::resumed(world.lines(1 << 16), &token, 0).await;
    assert_eq!(lines.numbered().await, frames[0]);
    assert_eq!(lines.numbered().await, frames[1]);
    lines.barrier().await;
    let mut back = Peer::resumed(world.runtime.connect(), &lines.token.clone().unwrap(), 2).await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    back.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_resumed_session_may_use_ids_again() {
    let world = World::new();
    let mut alice = world.alice().await;
    alice.send_raw(frame("same", "job.submit", json!({ "agent": "echo" })).to_string());
    let job = alice.expect("job.accepted").await["job_id"].as_str().unwrap().to_owned();
    alice.end_of(&job).await;
    let mut again = Peer::over(world.runtime.connect());
    let mut resume = hello("tok-a", FEATURES);
    resume["resume"] = json!({ "resume_token": alice.token.clone().unwrap(), "last_event_seq": 1 });
    again.send("session.hello", resume);
    again.welcome().await;
    again.send_raw(frame("same", "job.submit", json!({ "agent": "echo" })).to_string());
    again.expect("job.accepted").await;
}
