//! A daemon that stops tells the truth to whoever watches, and takes nothing new.

use std::time::Duration;

use arcpd::agent::in_process::{AgentError, Job};
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::peer::{FEATURES, Peer, hello};
use crate::fixture::{Raw, World, pass};

#[tokio::test(start_paused = true)]
async fn running_jobs_end_truthfully_for_everybody_who_watches() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(json!({ "agent": "sleeper", "input": { "ms": 3_600_000 } })).await;
    other.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
    world.runtime.stop().await;
    for peer in [&mut alice, &mut other] {
        let end = peer.end_of(&job).await;
        let payload = &end["payload"];
        assert_eq!((&payload["code"], &payload["final_status"]), (&json!("INTERNAL_ERROR"), &json!("error")));
        assert_eq!(payload["retryable"], true);
        assert_eq!(payload["message"], "the daemon stopped before the job was done; submit it again");
        peer.ended().await;
    }
    assert_eq!(world.runtime.ready(), Err("the daemon is stopping".into()));
    world.runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_end_is_lost_between_the_agents_and_the_connections() {
    for round in 0..25 {
        let world = World::new();
        let mut peers = Vec::new();
        for _ in 0..4 {
            let mut peer = Peer::welcomed(world.runtime.connect(), "tok-a", FEATURES).await;
            let job = peer.submit(json!({ "agent": "puppet" })).await;
            peers.push((peer, job));
        }
        world.runtime.stop().await;
        for (mut peer, job) in peers {
            let end = peer.end_of(&job).await;
            assert_eq!(end["type"], "job.error", "round {round}");
            peer.ended().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_it_stops_new_work_is_refused_and_last_words_are_heard() {
    let world = World::built(|b| {
        b.agent("tidy@1.0.0", |job: Job| async move {
            job.stopped().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            job.log("info", "tidied up").await?;
            Err::<Value, _>(AgentError::cancelled())
        })
    });
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "tidy" })).await;
    pass(10).await;
    let runtime = world.runtime.clone();
    let stopping = tokio::spawn(async move { runtime.stop().await });
    pass(10).await;
    let error = alice.ask_in_vain("job.submit", json!({ "agent": "echo" }), "INTERNAL_ERROR").await;
    assert_eq!(
        (&error["retryable"], &error["message"]),
        (&json!(true), &json!("the daemon is stopping; submit again"))
    );
    let mut late = Peer::over(world.runtime.connect());
    let id = late.send("session.hello", hello("tok-a", FEATURES));
    let error = late.refused(&id, "INTERNAL_ERROR").await;
    assert_eq!(
        (&error["retryable"], &error["message"]),
        (&json!(true), &json!("the daemon is stopping; connect again later"))
    );
    late.ended().await;
    let jobs = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    let frames = alice.until_end(&job).await;
    assert_eq!(frames[0]["payload"]["body"]["message"], "tidied up");
    assert_eq!(frames[1]["payload"]["code"], "INTERNAL_ERROR");
    alice.ended().await;
    stopping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn neither_a_deaf_agent_nor_a_client_that_does_not_read_holds_it_up() {
    let limits = Limits { shutdown_grace_ms: 3_000, send_timeout_ms: 3_600_000, ..Limits::default() };
    let world = World::built(|b| {
        b.limits(limits).agent("deaf@1.0.0", |_| std::future::pending::<Result<Value, AgentError>>())
    });
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "deaf" })).await;
    let mut stalled = Raw::welcomed(world.runtime.connect(), &["progress"]).await;
    let ticker = json!({ "agent": "ticker", "input": { "count": 1_000, "interval_ms": 0 } });
    stalled.send("job.submit", ticker).await;
    pass(10).await;
    // Agents have cancel_grace_ms and twice kill_grace_ms, connections shutdown_grace_ms.
    timeout(Duration::from_millis(2_000 + 2 * 2_000 + 3_000 + 1), world.runtime.stop()).await.unwrap();
    assert_eq!(alice.end_of(&job).await["payload"]["code"], "INTERNAL_ERROR");
    alice.ended().await;
}
