//! Payloads of the job messages (§7).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::agent_ref::AgentRef;
use super::error::{ErrorBody, ErrorCode};
use super::id::{JobId, ResultId, TraceId};
use super::lease::{Lease, LeaseConstraints, LeaseRequest};
use super::object::optional_object;
use super::time::Timestamp;

/// What one published client calls a success.
pub const SUCCEEDED: &str = "succeeded";

/// Where a job stands (§7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Accepted; its agent has not started.
    Pending,
    /// Its agent is at work.
    Running,
    /// Ended with a result.
    #[serde(alias = "succeeded")]
    Success,
    /// Ended with an error.
    Error,
    /// Ended by a cancellation.
    Cancelled,
    /// Ended by its `max_runtime_sec`.
    TimedOut,
}

impl JobStatus {
    /// Whether the job has ended.
    pub fn is_terminal(self) -> bool {
        match self {
            JobStatus::Pending | JobStatus::Running => false,
            JobStatus::Success | JobStatus::Error | JobStatus::Cancelled | JobStatus::TimedOut => true,
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Pending => "pending",
            JobStatus::Running => "running",
            JobStatus::Success => "success",
            JobStatus::Error => "error",
            JobStatus::Cancelled => "cancelled",
            JobStatus::TimedOut => "timed_out",
        }
    }
}

/// A text that names no status (§7.3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected pending, running, success, error, cancelled or timed_out")]
pub struct NotAStatus;

impl FromStr for JobStatus {
    type Err = NotAStatus;
    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        if text == SUCCEEDED {
            return Ok(JobStatus::Success);
        }
        let all = [
            JobStatus::Pending,
            JobStatus::Running,
            JobStatus::Success,
            JobStatus::Error,
            JobStatus::Cancelled,
            JobStatus::TimedOut,
        ];
        all.into_iter().find(|status| status.as_str() == text).ok_or(NotAStatus)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `job.submit` (§7.1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Submit {
    /// `name` or `name@version`.
    pub agent: AgentRef,
    /// The agent's input, any JSON; absent means null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub input: Option<Box<RawValue>>,
    /// The capabilities asked for (§9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_request: Option<LeaseRequest>,
    /// What bounds them (§9.5).
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// Makes a repeated submit the same job (§7.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub idempotency_key: Option<String>,
    /// The longest that the job may run, in seconds, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_runtime_sec: Option<u64>,
}

/// `job.accepted` (§7.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The job.
    pub job_id: JobId,
    /// The envelope id of the submit.
    #[serde(default)]
    pub request_id: String,
    /// `request_id` again.
    #[serde(default)]
    pub reply_to: String,
    /// `name@version`, fixed for the job.
    pub agent: AgentRef,
    /// The effective lease.
    pub lease: Lease,
    /// What bounds the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// When the job was accepted; the same for a repeated submit.
    pub accepted_at: Timestamp,
    /// The submit's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// Whether an earlier submit began the job. Not told: a repeated submit is answered as the first one was (§7.2).
    #[serde(skip)]
    pub repeated: bool,
}

/// `job.cancel` (§7.4). The id may stand in the envelope instead.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Cancel {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub job_id: Option<String>,
    /// Why; handed to the agent. The first 1,024 characters are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `job.cancelled` (§7.4): the cancellation is recorded; the job's end follows as `job.error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// The job.
    pub job_id: JobId,
    /// The envelope id of the cancel.
    #[serde(default)]
    pub request_id: String,
    /// `request_id` again.
    #[serde(default)]
    pub reply_to: String,
    /// The reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `job.subscribe` (§7.6). The id may stand in the envelope instead.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Subscribe {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub job_id: Option<String>,
    /// A position of the job's own history: what follows it is replayed, with `history`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_event_seq: Option<u64>,
    /// Whether to replay what has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<bool>,
}

/// `job.subscribed` (§7.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// The job.
    pub job_id: JobId,
    /// The envelope id of the subscribe.
    #[serde(default)]
    pub request_id: String,
    /// `request_id` again.
    #[serde(default)]
    pub reply_to: String,
    /// Where the job stands.
    pub current_status: JobStatus,
    /// `name@version`.
    pub agent: AgentRef,
    /// The effective lease.
    pub lease: Lease,
    /// What bounds the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// The submit's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The last position of the job's own history that will not be sent.
    pub subscribed_from: u64,
    /// Whether history follows.
    pub replayed: bool,
}

/// `job.unsubscribe` (§7.6). The id may stand in the envelope instead.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Unsubscribe {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub job_id: Option<String>,
}

/// `job.result` (§7.3, §8.4): a success, inline or by reference to streamed chunks, never both.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("not" = { "required": ["result", "result_id"] }))]
#[schemars(extend("dependentRequired" = { "result_id": ["result_size"], "result_size": ["result_id"] }))]
pub struct JobResult {
    /// The job.
    pub job_id: JobId,
    /// `success`; one published client is told other ends in this message too.
    pub final_status: JobStatus,
    /// The result itself, any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub result: Option<Box<RawValue>>,
    /// The streamed result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_id: Option<ResultId>,
    /// Its size in decoded bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
    /// A word about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// When the job ended.
    pub completed_at: Timestamp,
}

/// `job.error` (§7.3, §12): any other end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobError {
    /// The job.
    pub job_id: JobId,
    /// `error`, `cancelled` or `timed_out`.
    #[schemars(extend("not" = { "enum": ["pending", "running", "success"] }))]
    pub final_status: JobStatus,
    /// One of the codes of §12.
    pub code: ErrorCode,
    /// What happened.
    #[schemars(length(min = 1))]
    pub message: String,
    /// Whether submitting it again may help.
    pub retryable: bool,
    /// Facts for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
    /// When the job ended.
    pub completed_at: Timestamp,
}

impl JobError {
    /// The end of a job by this error.
    pub fn new(job_id: JobId, final_status: JobStatus, error: ErrorBody, completed_at: Timestamp) -> Self {
        let ErrorBody { code, message, retryable, details } = error;
        JobError { job_id, final_status, code, message, retryable, details, completed_at }
    }

    /// The error object without its addressing.
    pub fn error(&self) -> ErrorBody {
        ErrorBody {
            code: self.code,
            message: self.message.clone(),
            retryable: self.retryable,
            details: self.details.clone(),
        }
    }
}
