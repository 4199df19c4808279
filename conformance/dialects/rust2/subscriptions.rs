//! The subscriptions by filter of the Rust crate.

use std::time::Duration;

use arcpd::wire::limits::Limits;
use serde_json::json;

use super::Crate;
use crate::fixture::World;

#[tokio::test(start_paused = true)]
async fn a_subscription_sees_the_jobs_of_its_principal_whoever_began_them() {
    let world = World::new();
    let mut watching = Crate::open(&world, "tok-a").await;
    let mut alice = Crate::open(&world, "tok-a").await;
    let mut bob = Crate::open(&world, "tok-b").await;
    let (_, running) = alice.invoke("puppet", json!({})).await;
    world.puppets.log(&running, "before").await.unwrap();
    alice.takes("log").await;
    let all = watching.subscribe(json!({})).await;
    let (_, foreign) = bob.invoke("puppet", json!({})).await;
    // One that lives is told of from now on, a later one from its beginning.
    world.puppets.log(&running, "after").await.unwrap();
    let told = watching.told(&all).await;
    assert_eq!((&told["type"], &told["payload"]["message"]), (&json!("log"), &json!("after")));
    assert_eq!(told["job_id"], json!(running));
    alice.takes("log").await;
    let (_, later) = alice.invoke("puppet", json!({})).await;
    world.puppets.log(&foreign, "bob's").await.unwrap();
    world.puppets.finish(&foreign, json!(1)).await.unwrap();
    for word in ["job.accepted", "job.started"] {
        let told = watching.told(&all).await;
        assert_eq!((&told["type"], &told["job_id"]), (&json!(word), &json!(later)));
        assert!(told.get("correlation_id").is_none() && told.get("session_id").is_none(), "{told}");
    }
    world.puppets.finish(&later, json!({ "n": 1 })).await.unwrap();
    let told = watching.told(&all).await;
    assert_eq!((&told["type"], &told["payload"]), (&json!("job.completed"), &json!({ "value": { "n": 1 } })));
    // Its own come twice: as the answers to their requests, and as what happens.
    let (request, own) = watching.invoke("puppet", json!({})).await;
    for word in ["job.accepted", "job.started"] {
        let told = watching.told(&all).await;
        assert_eq!((&told["type"], &told["correlation_id"]), (&json!(word), &json!(request)));
        assert_eq!(told["session_id"], json!(watching.session));
    }
    world.puppets.finish(&own, json!(2)).await.unwrap();
    assert_eq!(watching.answer(&request, "job.completed").await["value"], 2);
    assert_eq!(watching.told(&all).await["type"], "job.completed");
    watching.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_told_what_they_asked_for_until_they_are_given_up() {
    let world = World::new();
    let mut watching = Crate::open(&world, "tok-a").await;
    let mut alice = Crate::open(&world, "tok-a").await;
    let (_, first) = alice.invoke("puppet", json!({})).await;
    let (_, second) = alice.invoke("puppet", json!({})).await;
    let ends = watching.subscribe(json!({ "types": ["job.completed", "job.failed"] })).await;
    let one = watching.subscribe(json!({ "job_id": [second], "min_priority": "normal" })).await;
    let own = watching.subscribe(json!({ "session_id": [watching.session] })).await;
    for nothing in [
        json!({ "types": ["stream.chunk"] }),
        json!({ "stream_id": ["str_1"] }),
        json!({ "min_priority": "high" }),
        json!({ "trace_id": ["t"] }),
    ] {
        watching.subscribe(nothing).await;
    }
    world.puppets.log(&first, "x").await.unwrap();
    world.puppets.log(&second, "y").await.unwrap();
    assert_eq!(watching.told(&one).await["payload"]["message"], "y");
    world.puppets.finish(&first, json!(1)).await.unwrap();
    assert_eq!(watching.told(&ends).await["job_id"], json!(first));
    watching.ask("unsubscribe", json!({ "subscription_id": ends }));
    watching.barrier().await;
    world.puppets.finish(&second, json!(2)).await.unwrap();
    assert_eq!(watching.told(&one).await["type"], "job.completed");
    let (request, _) = watching.invoke("echo", json!(3)).await;
    for word in ["job.accepted", "job.started"] {
        assert_eq!(watching.told(&own).await["type"], word);
    }
    watching.answer(&request, "job.completed").await;
    assert_eq!(watching.told(&own).await["type"], "job.completed");
    let gone = watching.ask("unsubscribe", json!({ "subscription_id": ends }));
    assert_eq!(watching.answer(&gone, "nack").await["code"], "INVALID_ARGUMENT");
}

#[tokio::test(start_paused = true)]
async fn without_subscriptions_nothing_is_followed() {
    let world = World::new();
    let mut watching = Crate::open(&world, "tok-a").await;
    let mut alice = Crate::open(&world, "tok-a").await;
    let all = watching.subscribe(json!({})).await;
    watching.ask("unsubscribe", json!({ "subscription_id": all }));
    watching.barrier().await;
    let (request, job) = alice.invoke("echo", json!(1)).await;
    alice.answer(&request, "job.completed").await;
    watching.barrier().await;
    // The next one begins with what happens then.
    let again = watching.subscribe(json!({ "types": ["job.completed"] })).await;
    assert_ne!(again, all);
    let (_, later) = alice.invoke("echo", json!(2)).await;
    assert_ne!(later, job);
    assert_eq!(watching.told(&again).await["job_id"], json!(later));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_kept_is_refused_or_closed() {
    let limits = Limits { generic_subscriptions: 2, attachments_per_session: 2, ..Limits::default() };
    let world = World::built(|builder| builder.limits(limits));
    let mut watching = Crate::open(&world, "tok-a").await;
    for (payload, code) in [
        (json!({ "filter": {}, "since": { "after_message_id": "msg_1" } }), "UNIMPLEMENTED"),
        (json!({ "filter": { "session_id": ["sess_01M7VY1VMME4C9AEXWEBQE3T4B"] } }), "UNIMPLEMENTED"),
        (json!({ "filter": { "types": "job.completed" } }), "INVALID_ARGUMENT"),
        (json!({ "filter": { "types": vec!["log"; 65] } }), "INVALID_ARGUMENT"),
        (json!({ "filter": { "trace_id": ["x".repeat(129)] } }), "INVALID_ARGUMENT"),
    ] {
        let request = watching.ask("subscribe", payload);
        assert_eq!(watching.answer(&request, "nack").await["code"], code);
    }
    let first = watching.subscribe(json!({ "types": ["job.completed"] })).await;
    let second = watching.subscribe(json!({})).await;
    let third = watching.ask("subscribe", json!({ "filter": {} }));
    let refused = watching.answer(&third, "nack").await;
    assert_eq!(
        (&refused["code"], &refused["details"]["limit"]),
        (&json!("RESOURCE_EXHAUSTED"), &json!("generic_subscriptions"))
    );
    // More jobs than a session may follow: its subscriptions end, and say so.
    let mut alice = Crate::open(&world, "tok-a").await;
    let mut other = Crate::open(&world, "tok-a").await;
    alice.invoke("puppet", json!({})).await;
    alice.invoke("puppet", json!({})).await;
    for _ in 0..4 {
        watching.told(&second).await;
    }
    other.invoke("puppet", json!({})).await;
    for subscription in [first, second] {
        let closed = watching.takes("subscribe.closed").await;
        assert_eq!(closed["subscription_id"], json!(subscription));
        assert_eq!(closed["payload"]["code"], "RESOURCE_EXHAUSTED", "{closed}");
    }
    watching.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_right_behind_an_accepted_subscription_waits_until_the_client_has_it() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (_, job) = alice.invoke("puppet", json!({})).await;
    let request = alice.ask("subscribe", json!({ "filter": { "types": ["log"] } }));
    world.puppets.log(&job, "at once").await.unwrap();
    alice.answer(&request, "subscribe.accepted").await;
    let accepted = tokio::time::Instant::now();
    alice.takes("log").await;
    alice.takes("subscribe.event").await;
    assert!(accepted.elapsed() >= Duration::from_millis(20), "{:?}", accepted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_observed_no_more_is_still_told_to_subscriptions() {
    let world = World::new();
    let mut watching = Crate::open(&world, "tok-a").await;
    let all = watching.subscribe(json!({ "types": ["job.completed"] })).await;
    let mut alice = Crate::open(&world, "tok-a").await;
    let (_, job) = alice.invoke("puppet", json!({})).await;
    let request = watching.ask("job.subscribe", json!({ "job_id": job }));
    watching.answer(&request, "job.subscribed").await;
    watching.ask("job.unsubscribe", json!({ "job_id": job }));
    watching.barrier().await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    assert_eq!(watching.told(&all).await["job_id"], json!(job));
}
