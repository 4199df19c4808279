//! `failer`: fails as it is asked to.

use serde::Deserialize;

use super::{input, within};
use crate::agent::in_process::{AgentError, Job, Outcome};
use crate::wire::error::ErrorCode;

const AFTER_EVENTS: u64 = 1_000_000;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Input {
    code: ErrorCode,
    message: String,
    retryable: Option<bool>,
    after_events: u64,
}

impl Default for Input {
    fn default() -> Self {
        let message = "failed, as it was asked to".into();
        Input { code: ErrorCode::InternalError, message, retryable: None, after_events: 0 }
    }
}

pub(super) async fn run(job: Job) -> Result<Outcome, AgentError> {
    let input: Input = input(&job)?;
    let events = within("after_events", input.after_events, 0..=AFTER_EVENTS)?;
    for event in 1..=events {
        if job.is_stopped() {
            return Err(AgentError::cancelled());
        }
        job.log("info", &format!("event {event} of {events}, then it fails")).await?;
    }
    let error = AgentError::new(input.code, input.message);
    Err(match input.retryable {
        Some(retryable) => error.with_retryable(retryable),
        None => error,
    })
}
