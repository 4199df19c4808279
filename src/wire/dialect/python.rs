//! The published Python client, package `agentruntimecontrolprotocol` 1.1.1 to 1.1.3.
//!
//! Why each deviation is needed:
//! - a refused submit: a `session.error` fails every open handle of that client, a `job.error` for a job it does
//!   not know is ignored. An acceptance of a fresh job and then that job's end leaves its other jobs alone.
//! - a refused subscription or listing: a `session.error` would fail every open handle. While none is open it is told
//!   so; else the subscription is acknowledged and its job fails, and the listing ends.
//! - a refused cancel: nobody waits for its answer, and a `session.error` would fail every open handle.
//! - a cancelled or timed-out job: its model of `job.error` admits the final status `error` only and its reader
//!   dies of any other; its own runtime tells these ends in `job.result`.
//! - after `job.subscribed`: the handle exists one turn of its event loop later; what comes before that is lost.

use std::time::Duration;

use bytes::Bytes;

use super::first::{First, is_ulid};
use super::open::{Tell, Watch};
use super::refusal::{self, NothingToSee, Refusal};
use super::{Dialect, Encoded, unheard_of};
use crate::wire::decode::Undecodable;
use crate::wire::encode::{self, json};
use crate::wire::envelope::Head;
use crate::wire::job::{Accepted, JobError, JobResult, JobStatus};
use crate::wire::lease::Lease;
use crate::wire::limits::Limits;
use crate::wire::message::{Refused, Request, ServerMessage, StreamKind};

/// Measured need: 1 ms was always enough, 0 lost events in three runs of five.
const PAUSE_AFTER_SUBSCRIBED: Duration = Duration::from_millis(20);

/// Serves one connection of the Python client.
#[derive(Default)]
pub(super) struct Python {
    open: Watch,
}

/// Whether this hello is the Python client's: its id is a bare ULID and it lists no agents, but lists them.
pub(super) fn wrote(first: &First) -> bool {
    first.is("session.hello")
        && first.payload("client").is_object()
        && is_ulid(first.id())
        && first.capability("agents").is_some_and(|agents| agents.is_empty())
}

impl Dialect for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn read(&self, frame: &[u8], limits: &Limits) -> Result<Option<Request>, Box<Undecodable>> {
        self.open.read(frame, limits)
    }

    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        let open = self.open.says(message);
        match message {
            ServerMessage::Refused(refused) => refused_request(head, refused, open),
            ServerMessage::Subscribed(_) => Encoded {
                frames: vec![encode::server_frame(head, message)],
                pause: PAUSE_AFTER_SUBSCRIBED,
                ..Encoded::default()
            },
            ServerMessage::Welcome(_)
            | ServerMessage::Error(_)
            | ServerMessage::Ping(_)
            | ServerMessage::Pong(_)
            | ServerMessage::Jobs(_)
            | ServerMessage::Closed(_)
            | ServerMessage::Accepted(_)
            | ServerMessage::Cancelled(_)
            | ServerMessage::Following(_)
            | ServerMessage::Event(_)
            | ServerMessage::Result(_)
            | ServerMessage::JobError(_) => encode::server_frame(head, message).into(),
        }
    }

    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes, frames: &mut Vec<Bytes>) {
        self.open.streams(kind, head.job_id);
        frames.push(match kind {
            StreamKind::Event | StreamKind::Result => encode::stream_frame(kind, head, payload),
            StreamKind::Error => ended_otherwise(head, payload),
        });
    }
}

fn refused_request(head: &Head, refused: &Refused, open: bool) -> Encoded {
    match Tell::of(refused.kind, open) {
        Tell::AsAJob => refused_submit(head, refused),
        Tell::Nothing => Encoded::default(),
        Tell::AsAListing => refusal::no_more(head, refused),
        Tell::AsASubscription if refusal::not_held(refused).is_some() => watched_in_vain(head, refused),
        Tell::AsASubscription | Tell::AsAnError => {
            encode::server_frame(head, &ServerMessage::Refused(refused.clone())).into()
        }
    }
}

/// A subscription to a job that fails at once.
fn watched_in_vain(head: &Head, refused: &Refused) -> Encoded {
    let names = refusal::names(refused);
    let error = Refusal::new(&refused.error, names.job_id, refused.request_id.as_deref(), refused.at);
    let subscribed = encode::foreign_frame("job.subscribed", head, names, &NothingToSee::new(refused));
    let error = encode::foreign_frame("job.error", head, names, &error);
    Encoded { frames: vec![subscribed], pause: PAUSE_AFTER_SUBSCRIBED, later: vec![error] }
}

/// An acceptance and an end for a job that never was.
fn refused_submit(head: &Head, refused: &Refused) -> Encoded {
    let job_id = unheard_of(head);
    let head = Head { job_id: Some(job_id), trace_id: refused.trace_id, event_seq: None, ..*head };
    let request_id = refused.request_id.clone().unwrap_or_default();
    let accepted = Accepted {
        job_id,
        reply_to: request_id.clone(),
        request_id,
        agent: refused
            .agent
            .clone()
            .unwrap_or_else(|| crate::wire::agent_ref::AgentRef { name: "unknown".into(), version: None }),
        lease: Lease::default(),
        lease_constraints: None,
        accepted_at: refused.at,
        trace_id: refused.trace_id,
        repeated: false,
    };
    let error = JobError::new(job_id, JobStatus::Error, refused.error.clone(), refused.at);
    Encoded {
        frames: vec![
            encode::server_frame(&head, &ServerMessage::Accepted(accepted)),
            encode::server_frame(&head, &ServerMessage::JobError(error)),
        ],
        ..Encoded::default()
    }
}

fn ended_otherwise(head: &Head, payload: &Bytes) -> Bytes {
    let canonical = || encode::stream_frame(StreamKind::Error, head, payload);
    let Ok(error) = serde_json::from_slice::<JobError>(payload) else { return canonical() };
    if error.final_status == JobStatus::Error {
        return canonical();
    }
    let result = JobResult {
        job_id: error.job_id,
        final_status: error.final_status,
        result: None,
        result_id: None,
        result_size: None,
        summary: Some(error.message),
        completed_at: error.completed_at,
    };
    encode::stream_frame(StreamKind::Result, head, &json(&result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::{ErrorBody, ErrorCode};
    use crate::wire::id::{JobId, MessageId, SessionId};
    use crate::wire::message::RequestKind;
    use crate::wire::time::Timestamp;

    fn head() -> Head {
        Head {
            id: MessageId::new(1, 2),
            session_id: SessionId::new(1, 3),
            job_id: None,
            trace_id: None,
            event_seq: None,
            at: Timestamp::from_micros(0),
        }
    }

    fn refused(kind: RequestKind) -> Encoded {
        let message = ServerMessage::Refused(Refused {
            kind,
            request_id: Some("R".into()),
            error: ErrorBody::new(ErrorCode::AgentNotAvailable, "no agent nosuch"),
            agent: Some("nosuch".parse().unwrap()),
            job_id: None,
            trace_id: None,
            at: Timestamp::from_micros(0),
        });
        Python::default().message(&head(), &message)
    }

    fn values(encoded: &Encoded) -> Vec<serde_json::Value> {
        encoded.frames.iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect()
    }

    #[test]
    fn a_refused_submit_ends_a_fresh_job_without_a_number() {
        let frames = values(&refused(RequestKind::Submit));
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0]["type"], "job.accepted");
        assert_eq!(frames[0]["payload"]["request_id"], "R");
        assert_eq!(frames[1]["type"], "job.error");
        assert_eq!(frames[1]["payload"]["code"], "AGENT_NOT_AVAILABLE");
        assert_eq!(frames[1]["payload"]["final_status"], "error");
        assert_eq!(frames[0]["job_id"], frames[1]["job_id"]);
        assert!(frames[1].get("event_seq").is_none());
    }

    #[test]
    fn a_refused_cancel_is_not_told_and_a_refused_subscribe_is() {
        assert!(refused(RequestKind::Cancel).frames.is_empty());
        assert_eq!(values(&refused(RequestKind::Subscribe))[0]["type"], "session.error");
    }

    #[test]
    fn a_cancelled_job_ends_in_a_result_and_a_failed_one_in_an_error() {
        for (status, code, kind) in [
            (JobStatus::Cancelled, ErrorCode::Cancelled, "job.result"),
            (JobStatus::TimedOut, ErrorCode::Timeout, "job.result"),
            (JobStatus::Error, ErrorCode::InternalError, "job.error"),
        ] {
            let job_id = JobId::new(1, 4);
            let error = JobError::new(job_id, status, ErrorBody::new(code, "m"), Timestamp::from_micros(0));
            let head = Head { job_id: Some(job_id), event_seq: Some(3), ..head() };
            let mut frames = Vec::new();
            Python::default().stream(StreamKind::Error, &head, &json(&error).into(), &mut frames);
            let value: serde_json::Value = serde_json::from_slice(&frames[0]).unwrap();
            assert_eq!(value["type"], kind);
            assert_eq!(value["event_seq"], 3);
            assert_eq!(value["payload"]["final_status"], status.as_str());
            assert!(value["payload"].get("completed_at").is_some());
        }
    }
}
