//! The Java client 1.0.0 and its later commits.
//!
//! Why the deviation is needed: it knows no `session.error`. What is wrong it learns from a `job.error` that names
//! no job: as the answer to a request by that request's own id in the envelope, and in place of a welcome as the
//! reason why there is none. With a job's id in it a `job.error` ends that job, which is how a subscription to a job
//! that is not there is refused: nobody waits for another answer.
//!
//! Its subscription is handed out before anybody listens to it, so what comes at once is lost: what follows
//! `job.subscribed` waits a moment, and so does a refusal.

use std::time::Duration;

use super::first::{First, is_ulid};
use super::refusal::{self, Refusal};
use super::{Dialect, Encoded};
use crate::wire::encode::{self, Theirs};
use crate::wire::envelope::Head;
use crate::wire::error::ErrorBody;
use crate::wire::message::{Refused, ServerMessage};

/// How many features a hello lists at least, before their order is a sign.
const FEATURES: usize = 3;

/// Measured need: without it 4 of 24 subscriptions lost the beginning of their history, on a busy machine.
const PAUSE_FOR_A_LISTENER: Duration = Duration::from_millis(10);

/// Writes for the Java client.
pub(super) struct Java;

/// Whether this hello is the Java client's: its id is a bare ULID and its features are sorted.
pub(super) fn wrote(first: &First) -> bool {
    first.is("session.hello")
        && first.payload("client").is_object()
        && is_ulid(first.id())
        && first
            .capability("features")
            .is_some_and(|features| features.len() >= FEATURES && features.is_sorted())
}

impl Dialect for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        match message {
            ServerMessage::Refused(request) => refused(head, request),
            ServerMessage::Error(error) => jobless(head, error.request_id.as_deref(), &error.error()),
            ServerMessage::Subscribed(_) => {
                Encoded { pause: PAUSE_FOR_A_LISTENER, ..encode::server_frame(head, message).into() }
            }
            ServerMessage::Welcome(_)
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
}

/// The publisher of a job that is not there ends by an error of that job.
fn refused(head: &Head, refused: &Refused) -> Encoded {
    let (request_id, job_id) = (refused.request_id.as_deref(), refusal::not_held(refused));
    match job_id {
        None => jobless(head, request_id, &refused.error),
        Some(_) => {
            let refusal = Refusal::new(&refused.error, job_id, request_id, head.at);
            let frame = encode::foreign_frame("job.error", head, Theirs { id: None, job_id }, &refusal);
            Encoded { frames: Vec::new(), pause: PAUSE_FOR_A_LISTENER, later: vec![frame] }
        }
    }
}

fn jobless(head: &Head, request_id: Option<&str>, error: &ErrorBody) -> Encoded {
    let refusal = Refusal::new(error, None, request_id, head.at);
    encode::foreign_frame("job.error", head, Theirs { id: request_id, job_id: None }, &refusal).into()
}
