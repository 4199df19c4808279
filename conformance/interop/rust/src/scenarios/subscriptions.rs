//! Subscriptions by filter: what happens in the jobs of one's principal.

use std::time::Duration;

use arcp::client::SubscriptionHandle;
use arcp::envelope::Envelope;
use arcp::messages::{MessageType, ResultChunkAssembler, SubscriptionFilter};
use serde_json::json;

use super::jobs::outcome;
use crate::ensure;
use crate::world::{Outcome, World, text};

/// How long nothing has to come before it counts as nothing.
const SILENCE: Duration = Duration::from_millis(300);

fn types(names: &[&str]) -> SubscriptionFilter {
    SubscriptionFilter {
        types: names.iter().map(|name| (*name).to_owned()).collect(),
        ..SubscriptionFilter::default()
    }
}

async fn next(subscription: &SubscriptionHandle) -> Result<Envelope, String> {
    tokio::time::timeout(Duration::from_secs(10), subscription.next())
        .await
        .map_err(|_| "the subscription is told nothing")?
        .ok_or_else(|| "the subscription ended".into())
}

async fn silent(subscription: &SubscriptionHandle) -> Outcome {
    match tokio::time::timeout(SILENCE, subscription.next()).await {
        Err(_) | Ok(None) => Ok(()),
        Ok(Some(event)) => Err(format!("expected nothing, got {event:?}")),
    }
}

pub async fn events_arrive_in_order_and_numbered(world: World) -> Outcome {
    let alice = world.alice().await?;
    let all = alice.subscribe(SubscriptionFilter::default()).await.map_err(text)?;
    let job = alice.invoke("ticker", json!({ "count": 40, "interval_ms": 1 })).await.map_err(text)?;
    for word in ["job.accepted", "job.started"] {
        let event = next(&all).await?;
        ensure!(event.payload.type_name() == word && event.job_id.as_ref() == Some(&job.job_id), "{event:?}");
    }
    let mut last = 0;
    for n in 1..=40 {
        let event = next(&all).await?;
        ensure!(event.job_id.as_ref() == Some(&job.job_id), "{event:?}");
        ensure!(event.event_seq.is_some_and(|seq| seq > last), "{last}, then {event:?}");
        last = event.event_seq.unwrap_or(last);
        match event.payload {
            MessageType::JobProgress(progress) => {
                ensure!(progress.percent == Some(f64::from(n) * 2.5), "{n}: {progress:?}");
            }
            other => return Err(format!("{n}: expected progress, got {other:?}")),
        }
    }
    let end = next(&all).await?;
    ensure!(matches!(end.payload, MessageType::JobCompleted(_)), "{end:?}");
    ensure!(job.join().await.map_err(text)? == json!({ "ticks": 40 }), "another value");
    silent(&all).await
}

pub async fn filters_pass_only_what_they_name(world: World) -> Outcome {
    let alice = world.alice().await?;
    let ends = alice.subscribe(types(&["job.completed", "job.failed"])).await.map_err(text)?;
    let first = alice.invoke("ticker", json!({ "count": 5, "interval_ms": 30 })).await.map_err(text)?;
    let second = alice.invoke("ticker", json!({ "count": 5, "interval_ms": 30 })).await.map_err(text)?;
    let filter = SubscriptionFilter { job_id: vec![second.job_id.clone()], ..SubscriptionFilter::default() };
    let of_second = alice.subscribe(filter).await.map_err(text)?;
    let session_id = vec![alice.id().await.map_err(text)?];
    let own = SubscriptionFilter { session_id, ..types(&["job.accepted"]) };
    let own = alice.subscribe(own).await.map_err(text)?;
    let streams = SubscriptionFilter {
        stream_id: vec!["str_1".parse().map_err(text)?],
        ..SubscriptionFilter::default()
    };
    let streams = alice.subscribe(streams).await.map_err(text)?;
    first.join().await.map_err(text)?;
    second.join().await.map_err(text)?;
    let third = alice.invoke("failer", json!({})).await.map_err(text)?;
    ensure!(third.join().await.is_err(), "it did not fail");
    let mut ended = Vec::new();
    for _ in 0..3 {
        let event = next(&ends).await?;
        ended.push(event.job_id.ok_or("an event without a job")?);
    }
    ended[..2].sort();
    let mut expected = [first.job_id.clone(), second.job_id.clone()];
    expected.sort();
    ensure!(ended[..2] == expected && ended[2] == third.job_id, "{ended:?}");
    silent(&ends).await?;
    loop {
        let event = next(&of_second).await?;
        ensure!(event.job_id.as_ref() == Some(&second.job_id), "{event:?}");
        if matches!(event.payload, MessageType::JobCompleted(_)) {
            break;
        }
    }
    ensure!(next(&own).await?.job_id.as_ref() == Some(&third.job_id), "another job");
    silent(&own).await?;
    silent(&streams).await
}

pub async fn what_is_given_up_is_told_nothing_more(world: World) -> Outcome {
    let alice = world.alice().await?;
    let given_up = alice.subscribe(types(&["job.completed"])).await.map_err(text)?;
    let kept = alice.subscribe(types(&["job.completed"])).await.map_err(text)?;
    outcome(&alice, "echo", json!(1)).await.map_err(text)?;
    for subscription in [&given_up, &kept] {
        next(subscription).await?;
    }
    given_up.unsubscribe().await.map_err(text)?;
    outcome(&alice, "echo", json!(2)).await.map_err(text)?;
    next(&kept).await?;
    kept.unsubscribe().await.map_err(text)?;
    outcome(&alice, "echo", json!(3)).await.map_err(text)?;
    // A new one begins with what happens from now on.
    let again = alice.subscribe(types(&["job.completed"])).await.map_err(text)?;
    let job = alice.invoke("echo", json!(4)).await.map_err(text)?;
    ensure!(next(&again).await?.job_id.as_ref() == Some(&job.job_id), "another job");
    silent(&again).await
}

pub async fn a_cancelled_job_is_told_of(world: World) -> Outcome {
    let alice = world.alice().await?;
    let ends =
        alice.subscribe(types(&["job.cancelled", "job.failed", "job.completed"])).await.map_err(text)?;
    let job = alice.invoke("sleeper", json!({ "ms": 20_000 })).await.map_err(text)?;
    job.cancel("watched").await.map_err(text)?;
    let event = next(&ends).await?;
    ensure!(matches!(event.payload, MessageType::JobCancelled(_)), "{event:?}");
    silent(&ends).await
}

pub async fn a_chunked_result_is_put_together_from_its_chunks(world: World) -> Outcome {
    let alice = world.alice_streaming().await?;
    let chunks = alice.subscribe(types(&["job.result_chunk", "job.completed"])).await.map_err(text)?;
    let input = json!({ "chunks": 10, "chunk_bytes": 524_288, "encoding": "utf8" });
    let job = alice.invoke("chunker", input).await.map_err(text)?;
    let mut assembler = ResultChunkAssembler::new();
    loop {
        match next(&chunks).await?.payload {
            MessageType::JobResultChunk(chunk) => {
                assembler.push(&chunk).map_err(text)?;
            }
            MessageType::JobCompleted(end) => {
                ensure!(end.result_size == Some(10 * 524_288), "{end:?}");
                break;
            }
            other => return Err(format!("expected a chunk, got {other:?}")),
        }
    }
    let bytes = assembler.finish_utf8().map_err(text)?.len();
    ensure!(bytes == 10 * 524_288, "{bytes} bytes");
    ensure!(job.join().await.map_err(text)?.is_null(), "a value beside the chunks");
    Ok(())
}

pub async fn jobs_of_another_session_are_told_of(world: World) -> Outcome {
    let (watching, alice) = (world.alice().await?, world.alice().await?);
    let running = alice.invoke("ticker", json!({ "count": 400, "interval_ms": 10 })).await.map_err(text)?;
    let all = watching.subscribe(SubscriptionFilter::default()).await.map_err(text)?;
    let event = next(&all).await?;
    ensure!(event.job_id.as_ref() == Some(&running.job_id), "{event:?}");
    running.cancel("seen").await.map_err(text)?;
    ensure!(running.join().await.is_err(), "it was not cancelled");
    let later = alice.invoke("echo", json!("later")).await.map_err(text)?;
    let mut words = Vec::new();
    while words.last() != Some(&"job.completed") {
        let event = next(&all).await?;
        if event.job_id.as_ref() == Some(&later.job_id) {
            words.push(event.payload.type_name());
        }
    }
    ensure!(words == ["job.accepted", "job.started", "job.completed"], "{words:?}");
    Ok(())
}

pub async fn another_principal_is_told_nothing(world: World) -> Outcome {
    let (alice, bob) = (world.alice().await?, world.bob().await?);
    let all = bob.subscribe(SubscriptionFilter::default()).await.map_err(text)?;
    outcome(&alice, "ticker", json!({ "count": 5, "interval_ms": 1 })).await.map_err(text)?;
    silent(&all).await?;
    let own = bob.invoke("echo", json!(1)).await.map_err(text)?;
    ensure!(next(&all).await?.job_id.as_ref() == Some(&own.job_id), "another job");
    Ok(())
}
