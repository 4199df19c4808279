//! `sleeper`: does nothing for a while, and wakes at once when it is told to stop.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{input, within};
use crate::agent::in_process::{AgentError, Job, Outcome};

const MS: u64 = 86_400_000;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Input {
    ms: u64,
}

impl Default for Input {
    fn default() -> Self {
        Input { ms: 100 }
    }
}

pub(super) async fn run(job: Job) -> Result<Outcome, AgentError> {
    let input: Input = input(&job)?;
    let ms = within("ms", input.ms, 0..=MS)?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(json!({ "slept_ms": ms }).into()),
        _ = job.stopped() => Err(AgentError::cancelled()),
    }
}
