//! This client's codes for what goes wrong. One that is not among its own ends its connection.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::wire::error::ErrorCode;

/// Those of its twenty-four codes that the daemon has a use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Code {
    Cancelled,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
    HeartbeatLost,
    LeaseExpired,
    BudgetExhausted,
    LeaseSubsetViolation,
    AgentVersionNotAvailable,
}

/// The client's code for one of the specification's; what else is told of the error tells a limit from a fault.
pub(super) fn code(code: ErrorCode, details: Option<&Map<String, Value>>) -> Code {
    let told = |fact: &str| details.is_some_and(|details| details.contains_key(fact));
    match code {
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::LeaseSubsetViolation => Code::LeaseSubsetViolation,
        ErrorCode::JobNotFound | ErrorCode::AgentNotAvailable => Code::NotFound,
        ErrorCode::DuplicateKey => Code::FailedPrecondition,
        ErrorCode::AgentVersionNotAvailable => Code::AgentVersionNotAvailable,
        ErrorCode::Cancelled => Code::Cancelled,
        ErrorCode::Timeout => Code::DeadlineExceeded,
        ErrorCode::ResumeWindowExpired => Code::DataLoss,
        ErrorCode::HeartbeatLost => Code::HeartbeatLost,
        ErrorCode::LeaseExpired => Code::LeaseExpired,
        ErrorCode::BudgetExhausted => Code::BudgetExhausted,
        ErrorCode::InvalidRequest => Code::InvalidArgument,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::InternalError if told("limit") => Code::ResourceExhausted,
        ErrorCode::InternalError if told("retry_after_ms") => Code::Unavailable,
        ErrorCode::InternalError => Code::Internal,
    }
}
