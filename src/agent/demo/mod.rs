//! The demo agents: small agents that the conformance suite, examples and first steps can rely on.
//!
//! Each follows the contract in `docs/demo-agents.md` to the letter, so that other runtimes can host the same ones.
//! Without input, or with null or `{}`, they take their defaults; an unknown field, or a value of the wrong type or
//! beyond a bound, ends the job with `INVALID_REQUEST`.

mod chunker;
mod failer;
mod sleeper;
mod spender;
#[cfg(test)]
mod tests;
mod ticker;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::catalogue::{BadAgent, Catalogue};
use super::in_process::{AgentError, Job, Outcome, in_process_with};
use crate::wire::limits::Limits;

/// Registers the demo agents.
///
/// # Errors
/// [`BadAgent`] when one of their names is taken.
pub fn register(catalogue: &mut Catalogue, limits: &Arc<Limits>) -> Result<(), BadAgent> {
    for echo in ["echo@1.0.0", "echo@2.0.0"] {
        catalogue.register(echo, in_process_with(limits, echo_input))?;
    }
    catalogue.set_default("echo", "2.0.0")?;
    catalogue.register("ticker@1.0.0", in_process_with(limits, ticker::run))?;
    catalogue.register("chunker@1.0.0", in_process_with(limits, chunker::run))?;
    catalogue.register("spender@1.0.0", in_process_with(limits, spender::run))?;
    catalogue.register("sleeper@1.0.0", in_process_with(limits, sleeper::run))?;
    catalogue.register("failer@1.0.0", in_process_with(limits, failer::run))
}

/// `echo`: the result equals the input.
async fn echo_input(job: Job) -> Result<Outcome, AgentError> {
    Ok(job.raw_input().to_owned().into())
}

/// The input of a demo agent: an object, whose missing fields take their defaults.
fn input<T: DeserializeOwned + Default>(job: &Job) -> Result<T, AgentError> {
    let raw = job.raw_input().get();
    // A list would do for a struct, too.
    if raw != "null" && !raw.starts_with('{') {
        let got: String = raw.chars().take(64).collect();
        return Err(AgentError::invalid(format!("input: expected an object or null, got {got}")));
    }
    job.input_or_default()
}

/// Refuses a number outside the bounds of a field.
fn within<T: PartialOrd + Display>(
    field: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<T, AgentError> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (least, most) = bounds.into_inner();
    Err(AgentError::invalid(format!("input.{field}: expected {least} to {most}, got {value}")))
}
