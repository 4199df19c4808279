//! Agents that break their contract, vanish, panic, flood or go on after the end: it costs their own job.

use std::sync::Arc;
use std::time::Duration;

use arcpd::agent::in_process::{AgentError, Job};
use arcpd::agent::{AgentHost, AttemptEnd, BoxFuture, JobPort, PortClosed, StopSignal};
use arcpd::wire::agent_port::{BrokenContract, JobStart};
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Peer};
use crate::fixture::{Raw, World, pass};

fn event(kind: &str, body: Value) -> (&'static str, Value) {
    ("job.event", json!({ "kind": kind, "body": body }))
}

fn chunk(data: &str, encoding: &str, more: bool) -> (&'static str, Value) {
    event("result_chunk", json!({ "data": data, "encoding": encoding, "more": more }))
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_contract_ends_the_job_and_says_how() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let bystander = other.submit(json!({ "agent": "puppet" })).await;
    let inline = ("job.result", json!({ "result": 1 }));
    let cases: Vec<(Vec<(&str, Value)>, &str)> = vec![
        (vec![event("shout", json!({}))], "shout"),
        (vec![event("x-", json!({}))], "x-"),
        (vec![event("log", json!({ "level": "info" }))], "message"),
        (vec![event("log", json!([]))], "object"),
        (vec![event("progress", json!({ "current": -1 }))], "current"),
        (
            vec![event(
                "tool_result",
                json!({ "call_id": "c", "result": 1, "error": { "code": "TIMEOUT", "message": "m", "retryable": false } }),
            )],
            "got both",
        ),
        (vec![event("delegate", json!({}))], "delegation"),
        (vec![event("status", json!({ "phase": "x".repeat(1_047_000) }))], "a frame holds"),
        (vec![chunk("YQ", "base64", true)], "base64"),
        (vec![chunk("a", "rot13", true)], "rot13"),
        (vec![chunk(&"x".repeat(512 * 1024 + 1), "utf8", true)], "chunk_bytes"),
        (vec![chunk("a", "utf8", false), chunk("b", "utf8", false)], "after the last"),
        (vec![chunk("a", "utf8", false), inline.clone()], "both inline and in result_chunks"),
        (vec![chunk("a", "utf8", true), inline], "both inline and in result_chunks"),
    ];
    for (lines, names) in cases {
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        let (last, before) = lines.split_last().unwrap();
        for (kind, payload) in before {
            world.puppets.say(&job, kind, payload.clone()).await.unwrap();
        }
        let refused = world.puppets.say(&job, last.0, last.1.clone()).await.expect_err(names);
        assert!(matches!(refused, PortClosed::Broken(_)), "{names}: {refused}");
        let frames = alice.until_end(&job).await;
        assert_eq!(frames.len(), before.len() + 1, "{names}");
        let end = &frames[before.len()]["payload"];
        assert_eq!((&end["code"], &end["final_status"]), (&json!("INTERNAL_ERROR"), &json!("error")));
        let message = end["message"].as_str().unwrap();
        assert!(message.starts_with("the agent broke the port contract: "), "{message}");
        assert!(message.contains(names), "{names}: {message}");
        world.puppets.leave(&job);
    }
    alice.barrier().await;
    world.puppets.finish(&bystander, json!(1)).await.unwrap();
    other.end_of(&bystander).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_leaves_without_a_word_ends_its_job() {
    let world = World::new();
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    world.puppets.log(&job, "last words").await.unwrap();
    world.puppets.leave(&job);
    let frames = alice.until_end(&job).await;
    let end = &frames[1]["payload"];
    assert_eq!((&end["code"], &end["retryable"]), (&json!("INTERNAL_ERROR"), &json!(true)));
    assert_eq!(end["message"], "the agent ended without a result or an error");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_costs_its_own_job() {
    let world = World::built(|b| {
        b.agent("panics@1.0.0", |job: Job| async move {
            job.log("info", "about to").await?;
            let input: Option<Value> = job.input()?;
            Ok(input.expect("there should have been something"))
        })
        .agent("panics-at-once@1.0.0", |_| -> std::future::Ready<Result<Value, AgentError>> {
            panic!("{}", "x".repeat(2_000_000))
        })
    });
    // By lines, which carry no frame over the limit: the message is cut to what they can.
    let mut alice = Peer::welcomed(world.lines(1 << 20), "tok-a", FEATURES).await;
    let job = alice.submit(json!({ "agent": "panics" })).await;
    let frames = alice.until_end(&job).await;
    assert_eq!(frames[1]["payload"]["message"], "the agent panicked: there should have been something");
    let job = alice.submit(json!({ "agent": "panics-at-once" })).await;
    let end = alice.end_of(&job).await;
    assert_eq!(end["payload"]["message"].as_str().unwrap().len(), 8_192);
    alice.barrier().await;
}

/// A host that ends as it is told, or panics.
struct Ends(Option<AttemptEnd>);

impl AgentHost for Ends {
    fn run(&self, _: JobStart, _: Arc<dyn JobPort>, _: StopSignal) -> BoxFuture<'static, AttemptEnd> {
        let end = self.0.clone();
        Box::pin(async move { end.expect("this host has no end") })
    }
}

/// A host that does not even come to running.
struct Throws;

impl AgentHost for Throws {
    fn run(&self, _: JobStart, _: Arc<dyn JobPort>, _: StopSignal) -> BoxFuture<'static, AttemptEnd> {
        panic!("this host does not run")
    }
}

#[tokio::test(start_paused = true)]
async fn however_a_host_ends_the_job_ends_with_a_message_that_fits_a_frame() {
    let long = "ñ".repeat(1_000_000);
    let world = World::built(|b| {
        b.host("broken@1.0.0", Arc::new(Ends(Some(AttemptEnd::Broken(BrokenContract(long.clone()))))))
            .host("lost@1.0.0", Arc::new(Ends(Some(AttemptEnd::Lost(long.clone())))))
            .host("not-started@1.0.0", Arc::new(Ends(Some(AttemptEnd::NotStarted(long.clone())))))
            .host("stopped@1.0.0", Arc::new(Ends(Some(AttemptEnd::Stopped))))
            .host("panicking@1.0.0", Arc::new(Ends(None)))
            .host("throwing@1.0.0", Arc::new(Throws))
    });
    let mut alice = Peer::welcomed(world.lines(1 << 20), "tok-a", FEATURES).await;
    for (agent, begins) in [
        ("broken", "the agent broke the port contract: ñ"),
        ("lost", "the agent ñ"),
        ("not-started", "the agent could not be started: ñ"),
        ("stopped", "the agent was stopped before it was done"),
        ("panicking", "the agent was lost: its host panicked"),
        ("throwing", "the agent was lost: its host panicked"),
    ] {
        let job = alice.submit(json!({ "agent": agent })).await;
        let end = alice.end_of(&job).await;
        let message = end["payload"]["message"].as_str().unwrap();
        assert_eq!(
            (&end["payload"]["code"], &end["payload"]["final_status"]),
            (&json!("INTERNAL_ERROR"), &json!("error"))
        );
        assert!(message.starts_with(begins), "{agent}: {message:.100}");
        assert!(message.chars().count() <= 8_192, "{agent}: {} characters", message.chars().count());
    }
    let jobs =
        alice.ask("session.list_jobs", json!({ "filter": { "status": "running" } }), "session.jobs").await;
    assert_eq!(jobs["jobs"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_after_the_end_is_not_heard() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    world.puppets.say(&job, "job.result", json!({ "result": 1 })).await.unwrap();
    for (kind, payload) in [
        ("job.event", json!({ "kind": "log", "body": { "level": "info", "message": "late" } })),
        ("job.event", json!({ "kind": "nonsense", "body": {} })),
        ("job.result", json!({ "result": 2 })),
        ("job.error", json!({ "message": "late" })),
    ] {
        assert_eq!(world.puppets.say(&job, kind, payload).await, Err(PortClosed::Ended), "{kind}");
    }
    world.puppets.leave(&job);
    assert_eq!(alice.end_of(&job).await["payload"]["result"], 1);
    pass(10_000).await;
    alice.barrier().await;
    other.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
    assert_eq!(other.end_of(&job).await["payload"]["result"], 1);
    other.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_listen_is_given_up_after_its_grace() {
    let world = World::built(|b| {
        b.agent("deaf@1.0.0", |job: Job| async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                job.log("info", "still here").await?;
            }
            #[allow(unreachable_code)]
            Ok::<Value, AgentError>(Value::Null)
        })
    });
    let mut alice = world.alice().await;
    let deaf = json!({ "agent": "deaf", "max_runtime_sec": 1 });
    let job = alice.submit(deaf).await;
    let frames = alice.until_end(&job).await;
    let end = &frames.last().unwrap()["payload"];
    assert_eq!((&end["code"], &end["final_status"]), (&json!("TIMEOUT"), &json!("timed_out")));
    let job = alice.submit(json!({ "agent": "deaf" })).await;
    alice.numbered().await;
    alice.ask("job.cancel", json!({ "job_id": job }), "job.cancelled").await;
    let frames = alice.until_end(&job).await;
    assert_eq!(frames.last().unwrap()["payload"]["code"], "CANCELLED");
    pass(10_000).await;
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_passes_a_stalled_observer_who_gets_all_of_it_later() {
    const EVENTS: u64 = 200_000;
    let world = World::new();
    // The submitter negotiated no progress, so that it hears of the end only.
    let mut alice = Peer::welcomed(world.runtime.connect(), "tok-a", &["heartbeat"]).await;
    let mut stalled = Raw::welcomed(world.runtime.connect(), &["subscribe", "progress"]).await;
    let job =
        alice.submit(json!({ "agent": "ticker", "input": { "count": EVENTS, "interval_ms": 0 } })).await;
    stalled.send("job.subscribe", json!({ "job_id": job, "history": true })).await;
    assert_eq!(stalled.next().await.unwrap()["type"], "job.subscribed");
    let end = alice.end_of(&job).await;
    assert_eq!(end["payload"]["result"], json!({ "ticks": EVENTS }));
    // Now nothing is left to do but to wait for the observer, until its time is over.
    pass(60_000).await;
    let seq_of = |bytes: &[u8]| -> u64 {
        let text = std::str::from_utf8(bytes).unwrap();
        let (_, rest) = text.split_once("\"event_seq\":").unwrap();
        rest.split_once(',').unwrap().0.parse().unwrap()
    };
    let mut last = 0;
    while let Some(bytes) = stalled.bytes().await {
        assert_eq!(seq_of(&bytes), last + 1);
        last += 1;
    }
    assert!((1..10_000).contains(&last), "it was given up while it did not read: {last}");
    let mut again = Raw::resumed(world.runtime.connect(), &stalled.token, last).await;
    while last <= EVENTS {
        assert_eq!(seq_of(&again.bytes().await.unwrap()), last + 1);
        last += 1;
    }
    again.send("session.nothing", json!({})).await;
    assert_eq!(again.next().await.unwrap()["type"], "session.error", "and nothing else");
}
