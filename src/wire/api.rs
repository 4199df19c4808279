//! The operators' door: what may be asked of `/api`, and what is answered.
//!
//! Not part of ARCP: these are the daemon's own messages, as JSON over HTTP. The daemon writes them and the command
//! line reads them, so both share the types; `schemas/api/` has them for everybody else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent_ref::AgentRef;
use super::error::{ErrorBody, ErrorCode};
use super::id::{JobId, SessionId, TraceId};
use super::job::JobStatus;
use super::lease::{Lease, LeaseConstraints};
use super::principal::Principal;
use super::session::ListJobs;
use super::time::Timestamp;

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// How the daemon is.
    Status,
    /// A page of sessions, newest first.
    Sessions(Page),
    /// One session.
    Session(SessionId),
    /// A page of jobs, newest first.
    Jobs {
        /// Which of them, and which page.
        list: ListJobs,
        /// Whose; none for everybody's.
        principal: Option<Principal>,
    },
    /// One job.
    Job(JobId),
    /// That a job ends.
    Cancel {
        /// The job.
        job: JobId,
        /// Why; its agent and its observers are told.
        reason: Option<String>,
    },
    /// What keeps sessions and jobs.
    Store,
    /// Every limit.
    Limits,
}

/// Which page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// How many at most; from 1.
    pub limit: Option<u64>,
    /// Where the last page ended: its `next_cursor`, unchanged.
    pub cursor: Option<String>,
}

/// What an operator is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Ask::Status`].
    Status(DaemonStatus),
    /// To [`Ask::Sessions`].
    Sessions(SessionPage),
    /// To [`Ask::Session`].
    Session(SessionDetail),
    /// To [`Ask::Jobs`].
    Jobs(JobPage),
    /// To [`Ask::Job`].
    Job(JobDetail),
    /// To [`Ask::Cancel`].
    Cancelled(CancelRecorded),
    /// To [`Ask::Store`].
    Store(StoreStatus),
    /// To [`Ask::Limits`].
    Limits(LimitList),
}

/// Why an operator gets no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub error: ErrorBody,
}

impl Refusal {
    /// What was asked makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Refusal { status: 400, error: ErrorBody::invalid(message) }
    }

    /// What was asked for is not there.
    pub fn missing(code: ErrorCode, message: impl Into<String>) -> Self {
        Refusal { status: 404, error: ErrorBody::new(code, message) }
    }

    /// What was asked for comes too late.
    pub fn conflict(error: ErrorBody) -> Self {
        Refusal { status: 409, error }
    }

    /// The daemon cannot do it now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Refusal { status: 503, error: ErrorBody::new(ErrorCode::InternalError, message) }
    }
}

/// `GET /api/status`: how the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonStatus {
    /// The version of arcpd.
    pub version: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// For how long it has been running, in seconds.
    pub uptime_sec: u64,
    /// Whether it takes new work.
    pub ready: bool,
    /// Why not, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready_because: Option<String>,
    /// Connections of clients, before and after their handshake.
    pub connections: u64,
    /// Its sessions.
    pub sessions: SessionCounts,
    /// Its jobs.
    pub jobs: JobCounts,
}

/// How many sessions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SessionCounts {
    /// All of them: connected, or waiting for their client to resume them.
    pub open: u64,
    /// Those with a connection.
    pub connected: u64,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct JobCounts {
    /// Accepted; their agents have not started.
    pub pending: u64,
    /// Their agents are at work.
    pub running: u64,
    /// Ended and still kept.
    pub finished: u64,
}

/// A session as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionSummary {
    /// The session.
    pub session_id: SessionId,
    /// Whose it is.
    pub principal: String,
    /// What was negotiated.
    pub features: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Whether it has a connection.
    pub connected: bool,
    /// Where its connection comes from, where it has one: an address, or `stdio` or `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The dialect that is spoken on its newest connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// When its connection was lost, where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached_at: Option<Timestamp>,
    /// When it can no longer be resumed, where it has no connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How often it was resumed since the daemon was started.
    pub resumes: u64,
    /// Jobs that it follows and that may still say something.
    pub following: u64,
    /// The last `event_seq` that was given out.
    pub newest_event_seq: u64,
    /// The last `event_seq` that the client has acknowledged.
    pub acked_event_seq: u64,
    /// The last `event_seq` that cannot be sent again.
    pub released_event_seq: u64,
    /// Events of its jobs that its connection has not been sent yet; without a connection, since it was lost.
    pub lag_events: u64,
}

/// `GET /api/sessions`: a page of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionPage {
    /// The page, newest first.
    pub sessions: Vec<SessionSummary>,
    /// Where the next page begins; null at the end.
    pub next_cursor: Option<String>,
}

/// `GET /api/sessions/{id}`: one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionDetail {
    /// What a listing shows of it.
    pub session: SessionSummary,
    /// The jobs that it follows.
    pub jobs: Vec<FollowedJob>,
}

/// A job that a session follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FollowedJob {
    /// The job.
    pub job_id: JobId,
    /// The last position of the job's history that the session was given.
    pub pos: u64,
    /// Whether the session submitted it, and so may cancel it.
    pub submitter: bool,
}

/// A job as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRow {
    /// The job.
    pub job_id: JobId,
    /// Who submitted it.
    pub principal: String,
    /// `name@version`.
    pub agent: AgentRef,
    /// Where it stands.
    pub status: JobStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The submit's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The last position of its history, from 1; 0 before its first event.
    pub last_event_seq: u64,
}

/// `GET /api/jobs`: a page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobPage {
    /// The page, newest first.
    pub jobs: Vec<JobRow>,
    /// Where the next page begins; null at the end.
    pub next_cursor: Option<String>,
}

/// `GET /api/jobs/{id}`: one job. Its input and its result are its submitter's, and not shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobDetail {
    /// What a listing shows of it.
    pub job: JobRow,
    /// The first position of its history that is still kept.
    pub first_event_seq: u64,
    /// What its history weighs, in bytes.
    pub history_bytes: u64,
    /// What its input weighs, in bytes.
    pub input_bytes: u64,
    /// How many attempts have begun.
    pub attempts: u32,
    /// The longest time that it may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_sec: Option<u64>,
    /// Its lease.
    pub lease: Lease,
    /// What bounds the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// Why it ended, where it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// `POST /api/jobs/{id}/cancel`: what may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// Why; the job's agent and its observers are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/jobs/{id}/cancel`: the wish is stored; the end comes as the job's last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelRecorded {
    /// The job.
    pub job_id: JobId,
}

/// `GET /api/store`: what keeps sessions and jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatus {
    /// `memory` or `sqlite`.
    pub kind: String,
    /// Its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What it survives: `full`, the end of the machine; `process`, the end of the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
    /// The version of the file's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u64>,
    /// How often a daemon has taken it over.
    pub epoch: u64,
    /// What is kept, in bytes.
    pub used_bytes: u64,
    /// Room within its file for more, in bytes.
    pub free_bytes: u64,
    /// What its file, its log and its reserve take on the disk, in bytes.
    pub disk_bytes: u64,
    /// No new jobs are taken once this is used, in bytes.
    pub max_bytes: u64,
    /// What waits to be written, in batches.
    pub queue_batches: u64,
    /// What waits to be written, in bytes.
    pub queue_bytes: u64,
    /// Whether it takes new work.
    pub admits: bool,
    /// Why not, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses_because: Option<String>,
}

/// `GET /api/limits`: every limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitList {
    /// All of them, in the order of the documentation.
    pub limits: Vec<LimitRow>,
}

/// A limit, and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitRow {
    /// Its name: the key in `[limits]`.
    pub name: String,
    /// What it counts.
    pub unit: String,
    /// What is in force.
    pub value: u64,
    /// What would be if nobody had configured anything.
    pub default: u64,
    /// What is used now of a limit that is counted; of one that each session, job or principal has, by the one
    /// that uses most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}
