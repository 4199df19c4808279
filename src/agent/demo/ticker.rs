//! `ticker`: counts, telling its progress at every step.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{input, within};
use crate::agent::in_process::{AgentError, Job, Outcome};

const COUNT: u64 = 10_000_000;
const INTERVAL_MS: u64 = 3_600_000;
const SIZE: usize = 524_288;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Input {
    count: u64,
    interval_ms: u64,
    size: usize,
}

impl Default for Input {
    fn default() -> Self {
        Input { count: 3, interval_ms: 10, size: 0 }
    }
}

pub(super) async fn run(job: Job) -> Result<Outcome, AgentError> {
    let input: Input = input(&job)?;
    let count = within("count", input.count, 0..=COUNT)?;
    let interval_ms = within("interval_ms", input.interval_ms, 0..=INTERVAL_MS)?;
    let message = "x".repeat(within("size", input.size, 0..=SIZE)?);
    let message = (!message.is_empty()).then_some(message.as_str());
    for current in 1..=count {
        if interval_ms > 0 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(interval_ms)) => {}
                _ = job.stopped() => {}
            }
        }
        if job.is_stopped() {
            return Err(AgentError::cancelled());
        }
        job.progress(current, Some(count), message).await?;
    }
    Ok(json!({ "ticks": count }).into())
}
