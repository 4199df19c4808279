//! Error codes and the error object of the wire.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $retryable:literal;)*) => {
        /// The error codes of the specification (§12).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl ErrorCode {
            /// All codes, in the specification's order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The code as it is written on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }

            /// Whether trying again may help when nothing else is known.
            pub fn retryable(self) -> bool {
                match self { $(ErrorCode::$variant => $retryable,)* }
            }
        }
    };
}

codes! {
    /// An operation outside the lease or the caller's authority.
    PermissionDenied = "PERMISSION_DENIED", false;
    /// A delegation that asks for more than its parent has.
    LeaseSubsetViolation = "LEASE_SUBSET_VIOLATION", false;
    /// No such job, or none that this principal may know of.
    JobNotFound = "JOB_NOT_FOUND", false;
    /// An idempotency key used again with other parameters.
    DuplicateKey = "DUPLICATE_KEY", false;
    /// No agent of that name.
    AgentNotAvailable = "AGENT_NOT_AVAILABLE", false;
    /// The agent exists, that version does not.
    AgentVersionNotAvailable = "AGENT_VERSION_NOT_AVAILABLE", false;
    /// Ended by a cancellation.
    Cancelled = "CANCELLED", false;
    /// Ended by `max_runtime_sec`.
    Timeout = "TIMEOUT", false;
    /// The session, or the place in it, can no longer be resumed.
    ResumeWindowExpired = "RESUME_WINDOW_EXPIRED", false;
    /// The peer was silent for two intervals.
    HeartbeatLost = "HEARTBEAT_LOST", true;
    /// The lease ended during the job.
    LeaseExpired = "LEASE_EXPIRED", false;
    /// A budget counter reached zero.
    BudgetExhausted = "BUDGET_EXHAUSTED", false;
    /// A malformed or impossible request.
    InvalidRequest = "INVALID_REQUEST", false;
    /// A missing or wrong bearer token.
    Unauthenticated = "UNAUTHENTICATED", false;
    /// A fault or a limit of the runtime.
    InternalError = "INTERNAL_ERROR", true;
}

impl ErrorCode {
    /// What the specification says of retrying, where it leaves no choice (§12).
    pub fn fixed_retryable(self) -> Option<bool> {
        let fixed =
            matches!(self, ErrorCode::InternalError | ErrorCode::LeaseExpired | ErrorCode::BudgetExhausted);
        fixed.then(|| self.retryable())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error object (§12): carried by `session.error`, `job.error` and `tool_result`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// One of the codes of §12.
    pub code: ErrorCode,
    /// What was expected, what came, what to do. Never empty.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Facts for programs; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
}

impl ErrorBody {
    /// An error of this code with the code's own retryability.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ErrorBody { code, message: message.into(), retryable: code.retryable(), details: None }
    }

    /// A request that is wrong in itself.
    pub fn invalid(message: impl Into<String>) -> Self {
        ErrorBody::new(ErrorCode::InvalidRequest, message)
    }

    /// A limit that was reached: retryable, with its name, value and a time to wait (in milliseconds).
    pub fn limit(name: &str, value: u64, retry_after_ms: u64) -> Self {
        ErrorBody::new(
            ErrorCode::InternalError,
            format!("the limit {name} ({value}) is reached; try again after {retry_after_ms} ms"),
        )
        .with("limit", name)
        .with("retry_after_ms", retry_after_ms)
    }

    /// The same error with one more fact for programs.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.get_or_insert_default().insert(key.into(), value.into());
        self
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ErrorBody {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_fifteen_of_the_specification_with_its_fixed_retryability() {
        assert_eq!(ErrorCode::ALL.len(), 15);
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("{:?}", code.as_str()));
        }
        assert!(ErrorCode::InternalError.retryable());
        assert!(!ErrorCode::LeaseExpired.retryable() && !ErrorCode::BudgetExhausted.retryable());
    }
}
