//! What the function of an agent returns: a result, or an error.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::agent::PortClosed;
use crate::wire::agent_port::{PortError, PortResult};
use crate::wire::error::ErrorCode;

/// The result of a job that went well. Made from a [`Value`], or by one of the functions here.
#[derive(Debug, Clone)]
pub struct Outcome(PortResult);

impl Outcome {
    /// Anything that can be written as JSON; it is written once.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` when it cannot be, as with map keys that are no texts.
    pub fn json(result: &impl Serialize) -> Result<Self, AgentError> {
        to_raw_value(result)
            .map(Outcome::from)
            .map_err(|error| AgentError::internal(format!("the result cannot be written as JSON: {error}")))
    }

    /// The result was sent in chunks. Without any chunk sent it is an error of the agent.
    pub fn chunked() -> Self {
        Outcome(PortResult::default())
    }

    /// The same result with a word about it, for people.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Self {
        self.0.summary = Some(summary.into());
        self
    }
}

impl From<Box<RawValue>> for Outcome {
    fn from(result: Box<RawValue>) -> Self {
        Outcome(PortResult { result: Some(result), summary: None })
    }
}

impl From<Value> for Outcome {
    fn from(result: Value) -> Self {
        // A value has text keys only, so it can always be written; null would stand for one that could not.
        to_raw_value(&result).unwrap_or_else(|_| RawValue::NULL.to_owned()).into()
    }
}

impl From<Outcome> for PortResult {
    fn from(outcome: Outcome) -> Self {
        outcome.0
    }
}

/// How a job failed.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentError {
    /// One of the codes of §12.
    pub code: ErrorCode,
    /// What happened, what was expected, what to do.
    pub message: String,
    /// Whether trying again may help; the code's own answer when nothing is said.
    pub retryable: Option<bool>,
    /// Set when the error is only that nothing more is taken, so that there is nothing left to tell.
    closed: Option<PortClosed>,
}

impl AgentError {
    /// An error of this code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        AgentError { code, message: message.into(), retryable: None, closed: None }
    }

    /// `INVALID_REQUEST`: the input is wrong; the message names the field and what was expected.
    pub fn invalid(message: impl Into<String>) -> Self {
        AgentError::new(ErrorCode::InvalidRequest, message)
    }

    /// `INTERNAL_ERROR`: the agent's own fault, or that of something it needs. Fits `map_err`.
    pub fn internal(error: impl fmt::Display) -> Self {
        AgentError::new(ErrorCode::InternalError, error.to_string())
    }

    /// `CANCELLED`: the agent ends because it was told to stop.
    pub fn cancelled() -> Self {
        AgentError::new(ErrorCode::Cancelled, "the agent was told to stop")
    }

    /// The same error with another word on whether trying again may help.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = Some(retryable);
        self
    }

    /// The error as the port takes it, unless the port has closed already.
    pub(super) fn into_port(self) -> Result<PortError, PortClosed> {
        match self.closed {
            Some(closed) => Err(closed),
            None => Ok(PortError { code: Some(self.code), message: self.message, retryable: self.retryable }),
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for AgentError {}

impl From<PortClosed> for AgentError {
    fn from(closed: PortClosed) -> Self {
        AgentError { closed: Some(closed.clone()), ..AgentError::internal(closed) }
    }
}
