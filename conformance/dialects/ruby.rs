//! The Ruby gem 1.0.0 and its later form.

use arcpd::wire::limits::Limits;
use serde_json::json;

use crate::fixture::{Client, World};
use crate::readers::ruby::Ruby;
use crate::replay::replay;

const GEM: &str = include_str!("captured/ruby-1.0.0.jsonl");
const LATER: &str = include_str!("captured/ruby.jsonl");

/// What both forms are told: their captures ask for the same.
const TOLD: &[&str] = &[
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
    "10 ended success",
    "10 accepted",
    "10 ended success",
    "11 accepted",
    "11 ended success",
    "11 refused DUPLICATE_KEY",
    "12 accepted",
    "12 ended success",
    "12 accepted",
    "12 ended success",
    "12 accepted",
    "12 ended success",
    "12 accepted",
    "12 ended success",
    "12 accepted",
    "12 ended success",
    "13 accepted",
    "13 ended success",
    "14 accepted",
    "14 ended success",
    "14 accepted",
    "14 ended success",
    "16 accepted",
    "16 ended success",
    "17 accepted",
    "17 ended success",
    "18 accepted",
    "18 ended INTERNAL_ERROR",
    "7 ended success",
];

#[tokio::test(start_paused = true)]
async fn what_was_captured_of_the_gem_gets_what_it_can_read() {
    let told = replay(GEM, Ruby::first_release).await;
    assert_eq!(told, TOLD);
}

#[tokio::test(start_paused = true)]
async fn what_was_captured_of_the_later_form_gets_what_it_can_read() {
    let told = replay(LATER, Ruby::default).await;
    assert_eq!(told, TOLD);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_asked_for_in_words_and_told_as_a_record() {
    let world = World::new();
    let mut client = Client::welcomed(&world, GEM, |_| ()).await;
    let lease = json!({
        "capabilities": ["fs.read", "cost.spend"], "cost.budget": ["USD:1.0"], "model.use": ["tier-fast/*"],
        "expires_at": "2099-01-01T00:00:00Z"
    });
    client.ask("1", "job.submit", json!({ "agent": "echo", "lease_request": lease }));
    let accepted = client.expect("job.accepted").await;
    let (job, told) = (&accepted["payload"]["job_id"], &accepted["payload"]["lease"]);
    assert_eq!(told["id"], json!(format!("lse_{}", job.as_str().unwrap())));
    assert_eq!(told["capabilities"], json!(["fs.read", "cost.spend"]));
    assert_eq!((&told["cost.budget"], &told["model.use"]), (&json!(["USD:1.0"]), &json!(["tier-fast/*"])));
    assert_eq!(told["issued_at"], accepted["payload"]["accepted_at"]);
    assert_eq!(told["expires_at"], "2099-01-01T00:00:00.000000Z");
    client.expect("job.result").await;
    client.ask("2", "session.list_jobs", json!({ "filter": { "status": "succeeded" } }));
    let row = client.expect("session.jobs").await["payload"]["jobs"][0].take();
    assert_eq!((&row["status"], &row["lease_expires_at"]), (&json!("succeeded"), &told["expires_at"]));
    client.ask("3", "job.submit", json!({ "agent": "echo" }));
    assert_eq!(client.expect("job.accepted").await["payload"].get("lease"), None, "no record of nothing");
}

#[tokio::test(start_paused = true)]
async fn its_own_codes_say_what_is_wrong_and_the_gem_learns_what_it_will_retry() {
    let limits = Limits { attachments_per_session: 1, ..Limits::default() };
    for (captured, retried) in [(GEM, json!(true)), (LATER, json!(false))] {
        let world = World::built(|builder| builder.limits(limits.clone()));
        let mut client = Client::welcomed(&world, captured, |hello| {
            let features = hello["payload"]["capabilities"]["features"].as_array_mut().unwrap();
            features.retain(|feature| feature != "list_jobs");
        })
        .await;
        client.ask("1", "job.submit", json!({ "agent": "nosuch" }));
        let refused = client.expect("session.error").await["payload"].take();
        assert_eq!((&refused["code"], &refused["retryable"]), (&json!("AGENT_NOT_AVAILABLE"), &retried));
        client.ask("2", "session.list_jobs", json!({}));
        let refused = client.expect("session.error").await["payload"].take();
        assert_eq!((&refused["code"], &refused["retryable"]), (&json!("PROTOCOL_VIOLATION"), &json!(false)));
        client.begun("3", json!({ "agent": "puppet" })).await;
        client.ask("4", "job.submit", json!({ "agent": "puppet" }));
        let refused = client.expect("session.error").await["payload"].take();
        assert_eq!((&refused["code"], &refused["retryable"]), (&json!("RATE_LIMITED"), &json!(true)));
        assert_eq!(refused["reply_to"], "4");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_to_nothing_ends_and_a_refused_cancel_ends_nothing() {
    let world = World::new();
    let mut client = Client::welcomed(&world, LATER, |_| ()).await;
    let job = client.begun("1", json!({ "agent": "puppet" })).await;
    client.ask("2", "job.subscribe", json!({ "job_id": "job_of_nobody", "history": false }));
    let ended = client.expect("job.error").await;
    assert_eq!(
        (&ended["job_id"], &ended["payload"]["job_id"]),
        (&json!("job_of_nobody"), &json!("job_of_nobody"))
    );
    assert_eq!(
        (&ended["payload"]["reply_to"], &ended["payload"]["code"]),
        (&json!("2"), &json!("JOB_NOT_FOUND"))
    );
    client.ask("3", "job.cancel", json!({ "job_id": "job_of_nobody" }));
    assert!(client.expect("session.error").await.get("job_id").is_none());
    world.puppets.finish(&job, json!(1)).await.unwrap();
    client.expect("job.result").await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_with_a_position_of_each_job_brings_what_is_missing_of_each_and_nothing_twice() {
    let world = World::new();
    let mut client = Client::welcomed(&world, GEM, |_| ()).await;
    let mut jobs = Vec::new();
    for id in ["1", "2", "3"] {
        jobs.push(client.begun(id, json!({ "agent": "puppet" })).await);
    }
    for round in ["a", "b"] {
        for job in &jobs {
            world.puppets.log(job, round).await.unwrap();
            client.expect("job.event").await;
        }
    }
    let token = client.welcome["payload"]["resume_token"].clone();
    drop(client);
    world.puppets.finish(&jobs[1], json!(1)).await.unwrap();
    // Of the first it has both events, of the second one, of the third none.
    let mut again = Client::welcomed(&world, GEM, |hello| {
        let seen = json!({ jobs[0].as_str(): 2, jobs[1].as_str(): 1 });
        hello["payload"]["resume"] = json!({ "token": token, "last_event_seq": seen });
    })
    .await;
    let mut missing = Vec::new();
    for _ in 0..4 {
        let frame = again.frame().await;
        let job = jobs.iter().position(|job| frame["job_id"] == json!(job)).unwrap();
        missing.push((job, frame["payload"]["body"]["message"].as_str().unwrap_or("end").to_owned()));
    }
    let expected = [(2, "a"), (1, "b"), (2, "b"), (1, "end")];
    assert_eq!(missing, expected.map(|(job, what)| (job, what.to_owned())));
    again.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn positions_of_a_resume_say_nothing_of_what_comes_later() {
    let world = World::new();
    let mut client = Client::welcomed(&world, GEM, |_| ()).await;
    let over = client.begun("1", json!({ "agent": "echo", "input": 1, "idempotency_key": "k" })).await;
    client.expect("job.result").await;
    let running = client.begun("2", json!({ "agent": "puppet" })).await;
    let token = client.welcome["payload"]["resume_token"].clone();
    drop(client);
    let mut again = Client::welcomed(&world, GEM, |hello| {
        let seen = json!({ over.as_str(): 1, running.as_str(): u64::MAX });
        hello["payload"]["resume"] = json!({ "token": token, "last_event_seq": seen });
    })
    .await;
    world.puppets.log(&running, "after a position that was never there").await.unwrap();
    assert_eq!(again.expect("job.event").await["job_id"], json!(running));
    // Asked for again, it is sent again.
    again.ask("3", "job.subscribe", json!({ "job_id": over, "history": true, "from_event_seq": 0 }));
    again.expect("job.subscribed").await;
    assert_eq!(again.expect("job.result").await["job_id"], json!(over));
    assert_eq!(again.begun("4", json!({ "agent": "echo", "input": 1, "idempotency_key": "k" })).await, over);
    assert_eq!(again.expect("job.result").await["job_id"], json!(over));
}
