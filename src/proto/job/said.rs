//! What an agent may say of its job, and what becomes of it (§7.3, §8).

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize as _;
use serde_json::value::RawValue;

use super::{Job, Rejected, State, Step, cut};
use crate::proto::record::Record;
use crate::wire::agent_port::{AgentMessage, BrokenContract, PortChunk, PortError, PortEvent, PortResult};
use crate::wire::encode::json;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::event::EventKind;
use crate::wire::job::{JobResult, JobStatus};
use crate::wire::limits::{ENVELOPE_HEADROOM_BYTES, Limits};
use crate::wire::message::StreamKind;
use crate::wire::time::Timestamp;

impl Job {
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
            State::Pending | State::Running | State::Ending(_) | State::Suspending => {}
            State::Suspended | State::Ended(_) => return Err((Step::default(), Rejected::Ended)),
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
            Ok(records) => Ok(Step::of(records)),
            Err(broken) => Err((self.broken(&broken, now), Rejected::Broken(broken))),
        }
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
        // An agent that is being stopped says so in its own words.
        if matches!(self.state, State::Ending(_) | State::Suspending) {
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
