//! The TypeScript client of the SDK's source tree, client 2.0.0 with core 1.0.0.
//!
//! Why each deviation is needed:
//! - any `session.error` after the welcome rejects every open call and job of that client. A refused submit is a
//!   `job.error` for a job that it does not know, found by the trace of the submit or else in order.
//! - a refused cancel, unsubscribe, acknowledgement or pong: nobody waits for an answer, and any error would either
//!   reject everything or be taken for the answer to a submit.
//! - a refused subscription or listing: only a `session.error` rejects it. While nothing else is open it is told so;
//!   else the subscription is acknowledged as one to a job that ended in an error, and the listing ends.
//! - `session.closed` is not among its types: its logger would print its whole schema for it.

use std::collections::BTreeSet;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;

use super::super::decode::{self, Undecodable};
use super::super::encode::{self, Theirs};
use super::super::envelope::Head;
use super::super::id::{JobId, MessageId};
use super::super::job::{JobError, JobStatus};
use super::super::lease::Lease;
use super::super::limits::Limits;
use super::super::message::{Refused, Request, RequestKind, ServerMessage, StreamKind};
use super::super::session::Jobs;
use super::first::First;
use super::{Dialect, Encoded, unheard_of};

/// Serves one connection of the TypeScript client.
#[derive(Default)]
pub(super) struct TypeScript {
    open: Mutex<Open>,
}

/// What a `session.error` would reject.
#[derive(Debug, Default)]
struct Open {
    /// Requests that somebody waits for an answer to.
    waiting: u64,
    /// Jobs that were submitted on this connection and go on; as many as a session may follow.
    jobs: BTreeSet<JobId>,
}

impl Open {
    fn answered(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    fn is_empty(&self) -> bool {
        self.waiting == 0 && self.jobs.is_empty()
    }
}

/// Whether this hello is the TypeScript client's: its id is `msg_` and a ULID.
pub(super) fn wrote(first: &First) -> bool {
    first.is("session.hello")
        && first.payload("client").is_object()
        && first.id().parse::<MessageId>().is_ok()
}

/// Whether somebody waits for the answer.
fn is_awaited(kind: RequestKind) -> bool {
    match kind {
        RequestKind::Submit | RequestKind::ListJobs | RequestKind::Subscribe => true,
        RequestKind::Hello
        | RequestKind::Resume
        | RequestKind::Ping
        | RequestKind::Pong
        | RequestKind::Ack
        | RequestKind::Close
        | RequestKind::Cancel
        | RequestKind::Unsubscribe
        | RequestKind::Unknown => false,
    }
}

impl Dialect for TypeScript {
    fn name(&self) -> &'static str {
        "typescript"
    }

    fn read(&self, frame: &[u8], limits: &Limits) -> Result<Option<Request>, Box<Undecodable>> {
        let read = decode::client_frame(frame, limits);
        let kind = read.as_ref().map_or_else(|bad| bad.kind, |request| request.message.kind());
        self.open.lock().waiting += u64::from(is_awaited(kind));
        read.map(Some)
    }

    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        let mut open = self.open.lock();
        match message {
            ServerMessage::Refused(refused) => {
                if is_awaited(refused.kind) {
                    open.answered();
                }
                return refused_request(head, refused, &open);
            }
            ServerMessage::Closed(_) => return Encoded::default(),
            ServerMessage::Accepted(accepted) => {
                open.answered();
                open.jobs.insert(accepted.job_id);
            }
            ServerMessage::Jobs(_) | ServerMessage::Subscribed(_) => open.answered(),
            ServerMessage::Welcome(_)
            | ServerMessage::Error(_)
            | ServerMessage::Ping(_)
            | ServerMessage::Pong(_)
            | ServerMessage::Cancelled(_)
            | ServerMessage::Event(_)
            | ServerMessage::Result(_)
            | ServerMessage::JobError(_) => {}
        }
        encode::server_frame(head, message).into()
    }

    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes, frames: &mut Vec<Bytes>) {
        match kind {
            StreamKind::Event => {}
            StreamKind::Result | StreamKind::Error => {
                head.job_id.map(|job| self.open.lock().jobs.remove(&job));
            }
        }
        frames.push(encode::stream_frame(kind, head, payload));
    }
}

fn refused_request(head: &Head, refused: &Refused, open: &Open) -> Encoded {
    let told = || encode::server_frame(head, &ServerMessage::Refused(refused.clone())).into();
    match refused.kind {
        RequestKind::Submit => refused_submit(head, refused),
        RequestKind::Cancel | RequestKind::Unsubscribe | RequestKind::Ack | RequestKind::Pong => {
            Encoded::default()
        }
        RequestKind::Subscribe if !open.is_empty() => nothing_to_see(head, refused),
        RequestKind::ListJobs if !open.is_empty() => no_more(head, refused),
        RequestKind::Subscribe
        | RequestKind::Hello
        | RequestKind::Resume
        | RequestKind::Ping
        | RequestKind::ListJobs
        | RequestKind::Close
        | RequestKind::Unknown => told(),
    }
}

fn refused_submit(head: &Head, refused: &Refused) -> Encoded {
    let job_id = unheard_of(head);
    let head = Head { job_id: Some(job_id), trace_id: refused.trace_id, event_seq: None, ..*head };
    let error = JobError::new(job_id, JobStatus::Error, refused.error.clone(), refused.at);
    encode::server_frame(&head, &ServerMessage::JobError(error)).into()
}

fn no_more(head: &Head, refused: &Refused) -> Encoded {
    let request_id = refused.request_id.clone().unwrap_or_default();
    let jobs = Jobs { reply_to: request_id.clone(), request_id, jobs: Vec::new(), next_cursor: None };
    encode::server_frame(head, &ServerMessage::Jobs(jobs)).into()
}

/// The acknowledgement of a subscription that there is nothing to follow for.
#[derive(Serialize)]
struct NothingToSee<'a> {
    job_id: &'a str,
    request_id: Option<&'a str>,
    current_status: JobStatus,
    agent: &'a str,
    lease: Lease,
    subscribed_from: u64,
    replayed: bool,
}

fn nothing_to_see(head: &Head, refused: &Refused) -> Encoded {
    let job_id = refused.job_id.as_deref();
    let payload = NothingToSee {
        job_id: job_id.unwrap_or_default(),
        request_id: refused.request_id.as_deref(),
        current_status: JobStatus::Error,
        agent: "unknown",
        lease: Lease::default(),
        subscribed_from: 0,
        replayed: false,
    };
    encode::foreign_frame("job.subscribed", head, Theirs { id: None, job_id }, &payload).into()
}
