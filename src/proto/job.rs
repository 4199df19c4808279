//! The life of one job: who may say what when, and what observers see of it (§7.3, §7.4, §8).
//!
//! ```text
//!            start                result · error · lost · broken
//!  Pending ─────────▶ Running ──────────────────────────────────▶ Ended
//!     │                  │                                          ▲
//!     │ cancel           │ cancel · deadline                        │
//!     │                  ▼            agent stopped                 │
//!     │               Ending ───────────────────────────────────────┤
//!     └─────────────────────────────────────────────────────────────┘
//! ```
//! Every way ends in `Ended`, which is entered exactly once and never left.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize as _;
use serde_json::value::RawValue;

use super::record::{Record, Tail};
use super::result::ResultStream;
use super::submit::Spec;
use crate::wire::agent_port::{
    AgentMessage, BrokenContract, JobStop, PortChunk, PortError, PortEvent, PortResult,
};
use crate::wire::encode::json;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::event::EventKind;
use crate::wire::feature::Feature;
use crate::wire::id::ResultId;
use crate::wire::job::{JobError, JobResult, JobStatus};
use crate::wire::limits::{ENVELOPE_HEADROOM_BYTES, Limits};
use crate::wire::message::StreamKind;
use crate::wire::time::Timestamp;

/// Longest error message that is recorded, in characters; an agent's longer one is cut.
const MESSAGE_CHARS: usize = 8_192;

/// Why a job is being ended by the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    Cancelled { reason: Option<String> },
    TimedOut,
    LeaseExpired,
    ShuttingDown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Pending,
    Running,
    Ending(Why),
    Ended(JobStatus),
}

/// What a decision about a job comes to: records to append, in order, and whether the agent is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// New records.
    pub records: Vec<Record>,
    /// Tell the agent to stop.
    pub stop: Option<JobStop>,
}

/// Why a message of an agent is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The job has ended.
    Ended,
    /// The message broke the contract; the job has ended with that.
    Broken(BrokenContract),
}

/// The answer to a cancellation (§7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It is recorded; the end follows. Also the answer to a second one.
    Cancelling(Step),
    /// The job is being ended for another reason, or has ended.
    TooLate(JobStatus),
}

/// One job.
#[derive(Debug, Clone)]
pub struct Job {
    spec: Arc<Spec>,
    state: State,
    tail: Tail,
    result: ResultStream,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    failure: Option<ErrorBody>,
}

impl Job {
    /// A job that was accepted. `result_id` names its result if it is streamed.
    pub fn new(spec: Arc<Spec>, result_id: ResultId) -> Self {
        let result = ResultStream::new(result_id);
        Job {
            spec,
            state: State::Pending,
            tail: Tail::default(),
            result,
            started_at: None,
            ended_at: None,
            failure: None,
        }
    }

    /// A job of before the daemon was started again, which has not ended: `begun` says whether its agent had started.
    pub fn restored(spec: Arc<Spec>, result_id: ResultId, tail: Tail, begun: bool) -> Self {
        let state = if begun { State::Running } else { State::Pending };
        Job { state, tail, ..Job::new(spec, result_id) }
    }

    /// What never changes about it.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The shape of its history.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Forgets the history before `first`.
    pub fn trim(&mut self, first: u64) {
        self.tail.trim(first);
    }

    /// Why it ended, unless it ended well.
    pub fn failure(&self) -> Option<&ErrorBody> {
        self.failure.as_ref()
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// Where it stands.
    pub fn status(&self) -> JobStatus {
        match self.state {
            State::Pending => JobStatus::Pending,
            State::Running | State::Ending(_) => JobStatus::Running,
            State::Ended(status) => status,
        }
    }

    /// When the daemon ends the job by itself: its longest runtime or the end of its lease, whichever is first.
    /// None once it is ending.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending | State::Running => {}
            State::Ending(_) | State::Ended(_) => return None,
        }
        let timeout = self.timeout_at();
        match (timeout, self.spec.order.expires_at()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn timeout_at(&self) -> Option<Timestamp> {
        let from = self.started_at.unwrap_or(self.spec.created_at);
        self.spec.order.max_runtime_sec.map(|seconds| from.plus(Duration::from_secs(seconds)))
    }

    /// The attempt begins. Says whether it should: a job that ended first is not begun.
    pub fn start(&mut self, now: Timestamp) -> bool {
        match self.state {
            State::Pending => {
                self.state = State::Running;
                self.started_at = Some(now);
                true
            }
            State::Running | State::Ending(_) | State::Ended(_) => false,
        }
    }

    /// The agent said something.
    ///
    /// # Errors
    /// [`Rejected`], with what the job came to: nothing, or its end.
    pub fn agent(
        &mut self,
        message: AgentMessage,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Step, (Step, Rejected)> {
        match &self.state {
            State::Pending | State::Running | State::Ending(_) => {}
            State::Ended(_) => return Err((Step::default(), Rejected::Ended)),
        }
        let records = match message {
            AgentMessage::Event(event) => self.event(event, limits, now),
            AgentMessage::Result(result) => self.finish(result, limits, now),
            AgentMessage::Error(error) => Ok(self.fail(error, now)),
            // Liveness and operations are answered where the agent is hosted; they change nothing here.
            AgentMessage::Hello(_) | AgentMessage::Ping(_) | AgentMessage::Pong(_) | AgentMessage::Op(_) => {
                Ok(Vec::new())
            }
        };
        match records {
            Ok(records) => Ok(Step { records, stop: None }),
            Err(broken) => Err((self.broken(&broken, now), Rejected::Broken(broken))),
        }
    }

    /// The attempt's agent wrote something that is no message: the job ends with that.
    pub fn broken(&mut self, broken: &BrokenContract, now: Timestamp) -> Step {
        self.lost(&broken.to_string(), now)
    }

    /// The attempt is over and said neither result nor error: the job ends with the reason why.
    pub fn lost(&mut self, how: &str, now: Timestamp) -> Step {
        let error = match &self.state {
            State::Pending | State::Running => ErrorBody::new(ErrorCode::InternalError, cut(how)),
            State::Ending(_) => return self.stopped(now),
            State::Ended(_) => return Step::default(),
        };
        Step { records: vec![self.end_in_error(JobStatus::Error, error, now)], stop: None }
    }

    /// The attempt was stopped: the job ends with the reason why it had to.
    pub fn stopped(&mut self, now: Timestamp) -> Step {
        let record = match std::mem::replace(&mut self.state, State::Running) {
            State::Ending(why) => self.end_because(why, now),
            State::Pending | State::Running => {
                let error =
                    ErrorBody::new(ErrorCode::InternalError, "the agent was stopped before it was done");
                self.end_in_error(JobStatus::Error, error, now)
            }
            State::Ended(status) => {
                self.state = State::Ended(status);
                return Step::default();
            }
        };
        Step { records: vec![record], stop: None }
    }

    /// Somebody who may do so cancels the job (§7.4).
    pub fn cancel(&mut self, reason: Option<String>, limits: &Limits, now: Timestamp) -> CancelAnswer {
        match &self.state {
            State::Pending => {
                let record = self.end_because(Why::Cancelled { reason }, now);
                CancelAnswer::Cancelling(Step { records: vec![record], stop: None })
            }
            State::Running => {
                let words = reason.clone().unwrap_or_else(|| "cancelled by the client".into());
                CancelAnswer::Cancelling(self.begin_end(Why::Cancelled { reason }, words, limits, now))
            }
            State::Ending(Why::Cancelled { .. }) => CancelAnswer::Cancelling(Step::default()),
            State::Ending(Why::TimedOut | Why::LeaseExpired | Why::ShuttingDown) => {
                CancelAnswer::TooLate(self.status())
            }
            State::Ended(status) => CancelAnswer::TooLate(*status),
        }
    }

    /// Time has passed: ends the job if its deadline has.
    pub fn deadline_passed(&mut self, limits: &Limits, now: Timestamp) -> Step {
        let why = if self.spec.order.expires_at().is_some_and(|at| at <= now) {
            Why::LeaseExpired
        } else if self.timeout_at().is_some_and(|at| at <= now) {
            Why::TimedOut
        } else {
            return Step::default();
        };
        match &self.state {
            State::Pending => Step { records: vec![self.end_because(why, now)], stop: None },
            State::Running => {
                let words = match why {
                    Why::LeaseExpired => "the lease has ended",
                    Why::TimedOut | Why::Cancelled { .. } | Why::ShuttingDown => "max_runtime_sec is over",
                };
                self.begin_end(why, words.into(), limits, now)
            }
            State::Ending(_) | State::Ended(_) => Step::default(),
        }
    }

    /// The daemon stops: the agent is told, and the job ends truthfully.
    pub fn shut_down(&mut self, limits: &Limits, now: Timestamp) -> Step {
        match &self.state {
            State::Pending => Step { records: vec![self.end_because(Why::ShuttingDown, now)], stop: None },
            State::Running => self.begin_end(Why::ShuttingDown, "the daemon is stopping".into(), limits, now),
            State::Ending(_) | State::Ended(_) => Step::default(),
        }
    }

    fn begin_end(&mut self, why: Why, reason: String, limits: &Limits, now: Timestamp) -> Step {
        self.state = State::Ending(why);
        let deadline = now.plus(Duration::from_millis(limits.cancel_grace_ms));
        Step { records: Vec::new(), stop: Some(JobStop { reason, deadline }) }
    }

    fn end_because(&mut self, why: Why, now: Timestamp) -> Record {
        let (status, error) = match why {
            Why::Cancelled { reason } => {
                let words =
                    reason.map_or_else(|| "the job was cancelled".into(), |r| format!("cancelled: {r}"));
                (JobStatus::Cancelled, ErrorBody::new(ErrorCode::Cancelled, cut(&words)))
            }
            Why::TimedOut => {
                let seconds = self.spec.order.max_runtime_sec.unwrap_or_default();
                let words = format!("the job ran longer than its max_runtime_sec of {seconds}");
                (JobStatus::TimedOut, ErrorBody::new(ErrorCode::Timeout, words))
            }
            Why::LeaseExpired => {
                let at = self.spec.order.expires_at().unwrap_or(now);
                (
                    JobStatus::Error,
                    ErrorBody::new(ErrorCode::LeaseExpired, format!("the lease ended at {at}")),
                )
            }
            Why::ShuttingDown => {
                let words = "the daemon stopped before the job was done; submit it again";
                (JobStatus::Error, ErrorBody::new(ErrorCode::InternalError, words))
            }
        };
        self.end_in_error(status, error, now)
    }

    fn event(
        &mut self,
        event: PortEvent,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Vec<Record>, BrokenContract> {
        let PortEvent { kind: name, body } = event;
        let Some(kind) = EventKind::parse(&name) else {
            let name: String = name.chars().take(64).collect();
            return Err(BrokenContract(format!(
                "payload.kind: no event kind {name:?}; use x-… for your own"
            )));
        };
        if kind == EventKind::Delegate {
            return Err(BrokenContract("payload.kind: this daemon does not offer delegation yet".into()));
        }
        if kind == EventKind::ResultChunk {
            let chunk = PortChunk::deserialize(&*body)
                .map_err(|e| BrokenContract(format!("payload.body: a result_chunk: {e}")))?;
            let chunk = self.result.chunk(chunk, limits)?;
            return Ok(vec![self.record_event(kind, "result_chunk", &json(&chunk), limits, now)?]);
        }
        kind.check(&body).map_err(|wrong| BrokenContract(format!("payload.{wrong}")))?;
        Ok(vec![self.record_event(kind, &name, body.get().as_bytes(), limits, now)?])
    }

    fn record_event(
        &mut self,
        kind: EventKind,
        name: &str,
        body: &[u8],
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Record, BrokenContract> {
        let payload = event_payload(name, now, &self.spec.id.to_string(), body);
        let max = limits.frame_bytes.saturating_sub(ENVELOPE_HEADROOM_BYTES);
        if payload.len() > max {
            let size = payload.len();
            return Err(BrokenContract(format!(
                "an event of {size} bytes; a frame holds {max}: send less, or chunks"
            )));
        }
        Ok(self.record(StreamKind::Event, kind.gate(), payload, now))
    }

    fn finish(
        &mut self,
        result: PortResult,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Vec<Record>, BrokenContract> {
        if let State::Ending(_) = self.state {
            // Too late: what ends the job is what made the daemon end it.
            return Ok(self.stopped(now).records);
        }
        let PortResult { result: inline, summary } = result;
        let mut records = Vec::new();
        let inline = match (inline, self.result.started()) {
            (Some(_), true) => {
                return Err(BrokenContract(
                    "a result both inline and in result_chunks; send one of them".into(),
                ));
            }
            (Some(inline), false) if inline.get().len() > limits.inline_result_bytes => {
                for chunk in self.result.cut(inline.get(), limits)? {
                    let kind = EventKind::ResultChunk;
                    records.push(self.record_event(kind, "result_chunk", &json(&chunk), limits, now)?);
                }
                None
            }
            (Some(inline), false) => Some(inline),
            (None, true) => {
                if let Some(chunk) = self.result.close() {
                    let kind = EventKind::ResultChunk;
                    records.push(self.record_event(kind, "result_chunk", &json(&chunk), limits, now)?);
                }
                None
            }
            (None, false) => Some(RawValue::NULL.to_owned()),
        };
        let reference = inline.is_none().then(|| self.result.reference());
        let payload = JobResult {
            job_id: self.spec.id,
            final_status: JobStatus::Success,
            result: inline,
            result_id: reference.map(|(id, _)| id),
            result_size: reference.map(|(_, size)| size),
            summary: summary.map(|s| cut(&s)),
            completed_at: now,
        };
        records.push(self.end(JobStatus::Success, StreamKind::Result, json(&payload).into(), now));
        Ok(records)
    }

    fn fail(&mut self, error: PortError, now: Timestamp) -> Vec<Record> {
        if let State::Ending(_) = self.state {
            return self.stopped(now).records;
        }
        let code = error.code.unwrap_or(ErrorCode::InternalError);
        let mut body = ErrorBody::new(code, cut(&error.message));
        if body.message.is_empty() {
            body.message = "the agent failed without saying why".into();
        }
        let said = error.retryable.unwrap_or(code.retryable());
        body.retryable = code.fixed_retryable().unwrap_or(said);
        let status = if code == ErrorCode::Cancelled {
            JobStatus::Cancelled
        } else if code == ErrorCode::Timeout {
            JobStatus::TimedOut
        } else {
            JobStatus::Error
        };
        vec![self.end_in_error(status, body, now)]
    }

    fn end_in_error(&mut self, status: JobStatus, error: ErrorBody, now: Timestamp) -> Record {
        self.failure = Some(error.clone());
        let payload = json(&JobError::new(self.spec.id, status, error, now)).into();
        self.end(status, StreamKind::Error, payload, now)
    }

    fn end(&mut self, status: JobStatus, kind: StreamKind, payload: Bytes, now: Timestamp) -> Record {
        self.state = State::Ended(status);
        self.ended_at = Some(now);
        self.record(kind, None, payload, now)
    }

    fn record(&mut self, kind: StreamKind, gate: Option<Feature>, payload: Bytes, now: Timestamp) -> Record {
        let record = Record { pos: self.tail.last() + 1, kind, gate, at: now, payload };
        self.tail.push(&record);
        record
    }
}

/// Bytes of an event's payload beside its kind and body.
const EVENT_HEAD_BYTES: usize = 96;

/// The payload of an event (§8.1), spliced around a body that is JSON already.
pub fn event_payload(kind: &str, ts: Timestamp, job_id: &str, body: &[u8]) -> Bytes {
    // Kinds have been checked to need no escaping, and so have ids and instants.
    let mut payload = String::with_capacity(EVENT_HEAD_BYTES + kind.len() + body.len());
    for piece in [r#"{"kind":""#, kind, r#"","ts":""#] {
        payload.push_str(piece);
    }
    // Writing to a String cannot fail.
    let _ = write!(payload, "{ts}");
    for piece in [r#"","job_id":""#, job_id, r#"","body":"#] {
        payload.push_str(piece);
    }
    let mut payload = payload.into_bytes();
    payload.extend_from_slice(body);
    payload.push(b'}');
    payload.into()
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests;
