//! Cancelling.

use arcp::error::ARCPError;
use serde_json::{Value, json};

use super::jobs::outcome;
use crate::ensure;
use crate::world::{Outcome, World, text};

fn cancelled(end: Result<Value, ARCPError>) -> Outcome {
    match end {
        Err(ARCPError::Cancelled { .. }) => Ok(()),
        other => Err(format!("expected a cancelled job, got {other:?}")),
    }
}

pub async fn a_cancelled_job_ends_as_cancelled(world: World) -> Outcome {
    let alice = world.alice().await?;
    let job = alice.invoke("sleeper", json!({ "ms": 20_000 })).await.map_err(text)?;
    job.cancel("user").await.map_err(text)?;
    cancelled(job.join().await)
}

pub async fn cancelling_twice_ends_it_once(world: World) -> Outcome {
    let alice = world.alice().await?;
    let job = alice.invoke("sleeper", json!({ "ms": 20_000 })).await.map_err(text)?;
    job.cancel("once").await.map_err(text)?;
    job.cancel("twice").await.map_err(text)?;
    cancelled(job.join().await)?;
    outcome(&alice, "echo", json!(1)).await.map(drop).map_err(text)
}

pub async fn cancelling_a_finished_job_changes_nothing(world: World) -> Outcome {
    let alice = world.alice().await?;
    let job = alice.invoke("echo", json!("done")).await.map_err(text)?;
    ensure!(job.join().await.map_err(text)? == json!("done"), "another value");
    job.cancel("too late").await.map_err(text)?;
    outcome(&alice, "echo", json!(1)).await.map(drop).map_err(text)
}

pub async fn cancelling_one_of_many_leaves_the_others(world: World) -> Outcome {
    let alice = world.alice().await?;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(alice.invoke("sleeper", json!({ "ms": 300 })).await.map_err(text)?);
    }
    let odd = jobs.remove(2);
    odd.cancel("this one").await.map_err(text)?;
    cancelled(odd.join().await)?;
    for job in jobs {
        ensure!(job.join().await.map_err(text)? == json!({ "slept_ms": 300 }), "another value");
    }
    Ok(())
}
