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

use bytes::Bytes;

use super::first::First;
use super::open::{Tell, Watch};
use super::refusal::{self, NothingToSee};
use super::{Dialect, Encoded, unheard_of};
use crate::wire::decode::Undecodable;
use crate::wire::encode;
use crate::wire::envelope::Head;
use crate::wire::id::MessageId;
use crate::wire::job::{JobError, JobStatus};
use crate::wire::limits::Limits;
use crate::wire::message::{Refused, Request, ServerMessage, StreamKind};

/// Serves one connection of the TypeScript client.
#[derive(Default)]
pub(super) struct TypeScript {
    open: Watch,
}

/// Whether this hello is the TypeScript client's: its id is `msg_` and a ULID.
pub(super) fn wrote(first: &First) -> bool {
    first.is("session.hello")
        && first.payload("client").is_object()
        && first.id().parse::<MessageId>().is_ok()
}

impl Dialect for TypeScript {
    fn name(&self) -> &'static str {
        "typescript"
    }

    fn read(&self, frame: &[u8], limits: &Limits) -> Result<Option<Request>, Box<Undecodable>> {
        self.open.read(frame, limits)
    }

    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        let open = self.open.says(message);
        match message {
            ServerMessage::Refused(refused) => refused_request(head, refused, open),
            ServerMessage::Closed(_) => Encoded::default(),
            ServerMessage::Accepted(_)
            | ServerMessage::Jobs(_)
            | ServerMessage::Subscribed(_)
            | ServerMessage::Welcome(_)
            | ServerMessage::Error(_)
            | ServerMessage::Ping(_)
            | ServerMessage::Pong(_)
            | ServerMessage::Cancelled(_)
            | ServerMessage::Following(_)
            | ServerMessage::Event(_)
            | ServerMessage::Result(_)
            | ServerMessage::JobError(_) => encode::server_frame(head, message).into(),
        }
    }

    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes, frames: &mut Vec<Bytes>) {
        self.open.streams(kind, head.job_id);
        frames.push(encode::stream_frame(kind, head, payload));
    }
}

fn refused_request(head: &Head, refused: &Refused, open: bool) -> Encoded {
    match Tell::of(refused.kind, open) {
        Tell::AsAJob => refused_submit(head, refused),
        Tell::Nothing => Encoded::default(),
        Tell::AsAListing => refusal::no_more(head, refused),
        Tell::AsASubscription => nothing_to_see(head, refused),
        Tell::AsAnError => encode::server_frame(head, &ServerMessage::Refused(refused.clone())).into(),
    }
}

fn refused_submit(head: &Head, refused: &Refused) -> Encoded {
    let job_id = unheard_of(head);
    let head = Head { job_id: Some(job_id), trace_id: refused.trace_id, event_seq: None, ..*head };
    let error = JobError::new(job_id, JobStatus::Error, refused.error.clone(), refused.at);
    encode::server_frame(&head, &ServerMessage::JobError(error)).into()
}

fn nothing_to_see(head: &Head, refused: &Refused) -> Encoded {
    encode::foreign_frame("job.subscribed", head, refusal::names(refused), &NothingToSee::new(refused)).into()
}
