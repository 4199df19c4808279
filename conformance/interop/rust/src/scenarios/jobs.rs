//! Invoking tools.

use arcp::error::ARCPError;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::ensure;
use crate::world::{Client, Outcome, World, text};

/// What an invocation came to, wherever it was refused.
pub async fn outcome(client: &Client, tool: &str, arguments: Value) -> Result<Value, ARCPError> {
    client.invoke(tool, arguments).await?.join().await
}

/// Why an invocation failed.
async fn failure(client: &Client, tool: &str, arguments: Value) -> Result<String, String> {
    match outcome(client, tool, arguments).await {
        Ok(value) => Err(format!("{tool} returned {value}")),
        Err(error) => Ok(error.to_string()),
    }
}

pub async fn echo_returns_what_it_was_given(world: World) -> Outcome {
    let alice = world.alice().await?;
    for given in [
        json!({ "msg": "hi", "n": 1, "nested": { "list": [1, 2.5, null, true] } }),
        json!([]),
        json!("ünïcödé \u{1f600} \"quoted\"\n"),
        json!(12_345_678_901_234_u64),
        json!(-1.5e-7),
        json!(false),
        json!(null),
    ] {
        let value = outcome(&alice, "echo", given.clone()).await.map_err(text)?;
        ensure!(value == given, "gave {given}, got {value}");
    }
    Ok(())
}

pub async fn versions_are_resolved_or_refused(world: World) -> Outcome {
    let alice = world.alice().await?;
    for tool in ["echo", "echo@1.0.0", "echo@2.0.0"] {
        ensure!(outcome(&alice, tool, json!(tool)).await.map_err(text)? == json!(tool), "{tool}");
    }
    let why = failure(&alice, "echo@99.0.0", json!({})).await?;
    ensure!(why.contains("AGENT_VERSION_NOT_AVAILABLE"), "{why}");
    Ok(())
}

pub async fn an_unknown_tool_is_refused(world: World) -> Outcome {
    let alice = world.alice().await?;
    let why = failure(&alice, "no-such-tool", json!({})).await?;
    ensure!(why.contains("NOT_FOUND") && why.contains("no-such-tool"), "{why}");
    outcome(&alice, "echo", json!(1)).await.map(drop).map_err(text)
}

pub async fn a_tool_that_cannot_be_named_is_refused(world: World) -> Outcome {
    let alice = world.alice().await?;
    for tool in ["", "Not A Tool", "echo@", "@1"] {
        let why = failure(&alice, tool, json!({})).await?;
        ensure!(why.contains("INVALID_ARGUMENT"), "{tool:?}: {why}");
    }
    outcome(&alice, "echo", json!(1)).await.map(drop).map_err(text)
}

pub async fn a_failure_has_its_code_and_message(world: World) -> Outcome {
    let alice = world.alice().await?;
    for (given, told) in [
        ("PERMISSION_DENIED", "PERMISSION_DENIED"),
        ("TIMEOUT", "DEADLINE_EXCEEDED"),
        ("INTERNAL_ERROR", "INTERNAL"),
        ("BUDGET_EXHAUSTED", "BUDGET_EXHAUSTED"),
        ("INVALID_REQUEST", "INVALID_ARGUMENT"),
    ] {
        let input = json!({ "code": given, "message": "on purpose", "after_events": 2 });
        let why = failure(&alice, "failer", input).await?;
        ensure!(why.contains(told) && why.contains("on purpose"), "{given}: {why}");
    }
    Ok(())
}

pub async fn invocations_side_by_side_with_refusals_among_them(world: World) -> Outcome {
    let alice = world.alice().await?;
    let jobs = (0..60).map(|n| {
        let alice = &alice;
        async move {
            match n % 3 {
                0 => failure(alice, "no-such-tool", json!({})).await.and_then(|why| {
                    ensure!(why.contains("NOT_FOUND"), "{why}");
                    Ok(())
                }),
                1 => failure(alice, "failer", json!({ "message": n.to_string() })).await.and_then(|why| {
                    ensure!(why.contains(&n.to_string()), "{n}: {why}");
                    Ok(())
                }),
                _ => {
                    let input = json!({ "count": 3, "interval_ms": 5 });
                    let value = outcome(alice, "ticker", input).await.map_err(text)?;
                    ensure!(value == json!({ "ticks": 3 }), "{n}: {value}");
                    let value = outcome(alice, "echo", json!(n)).await.map_err(text)?;
                    ensure!(value == json!(n), "{n}: {value}");
                    Ok(())
                }
            }
        }
    });
    join_all(jobs).await.into_iter().collect()
}

pub async fn a_hundred_jobs_one_after_the_other(world: World) -> Outcome {
    let alice = world.alice().await?;
    for n in 0..100 {
        let value = outcome(&alice, "echo", json!({ "n": n })).await.map_err(text)?;
        ensure!(value == json!({ "n": n }), "{n}: {value}");
    }
    Ok(())
}

pub async fn artifacts_are_refused_and_the_session_goes_on(world: World) -> Outcome {
    let alice = world.alice_streaming().await?;
    let id: arcp::ids::ArtifactId = "art_01M7VY1WZWS4X9AKSTNBR8C4PB".parse().map_err(text)?;
    let put = alice.put_artifact("text/plain", "aGVsbG8=", None).await;
    let fetched = alice.fetch_artifact(id.clone()).await;
    for refused in [put.map(drop), fetched.map(drop)] {
        let why = refused.err().ok_or("it was taken")?.to_string();
        ensure!(why.contains("UNIMPLEMENTED"), "{why}");
    }
    alice.release_artifact(id).await.map_err(text)?;
    outcome(&alice, "echo", json!(1)).await.map(drop).map_err(text)
}

pub async fn a_job_outlives_its_connection(world: World) -> Outcome {
    let alice = world.alice().await?;
    let job = alice.invoke("sleeper", json!({ "ms": 300 })).await.map_err(text)?;
    let id = job.job_id.clone();
    drop((job, alice));
    let mut later = world.envelopes().await?;
    let history = arcp::messages::JobSubscribePayload { job_id: id, from_event_seq: None, history: true };
    later.send(arcp::MessageType::JobSubscribe(history)).await?;
    loop {
        if let arcp::MessageType::JobCompleted(end) = later.next().await?.payload {
            ensure!(end.value == Some(json!({ "slept_ms": 300 })), "{end:?}");
            return Ok(());
        }
    }
}
