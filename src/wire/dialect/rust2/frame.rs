//! Frames with this client's envelope: every one is stamped, and names the request that it answers.

use bytes::Bytes;
use serde::Serialize;

use super::words::{Word, is_message_id};
use crate::wire::encode::json;
use crate::wire::envelope::{Head, VERSION};
use crate::wire::id::{JobId, MessageId, SessionId, TraceId};
use crate::wire::time::Timestamp;

/// One frame, before it is written.
#[derive(Debug, Serialize)]
pub(super) struct Frame<'a, P: Serialize> {
    arcp: &'static str,
    id: MessageId,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_seq: Option<u64>,
    r#type: Word,
    payload: P,
}

impl<'a, P: Serialize> Frame<'a, P> {
    pub(super) fn new(word: Word, head: &Head, payload: P) -> Self {
        Frame {
            arcp: VERSION,
            id: head.id,
            timestamp: head.at,
            session_id: Some(head.session_id),
            job_id: head.job_id,
            subscription_id: None,
            trace_id: head.trace_id,
            correlation_id: None,
            event_seq: head.event_seq,
            r#type: word,
            payload,
        }
    }

    /// As the answer to a request; this client reads no name of a request that is not its own.
    pub(super) fn answering(self, request: Option<&'a str>) -> Self {
        Frame { correlation_id: request.filter(|id| is_message_id(id)), ..self }
    }

    /// As part of a subscription.
    pub(super) fn of(self, subscription: &'a str) -> Self {
        Frame { subscription_id: Some(subscription), ..self }
    }

    /// As it is where there is no session, or none that is known.
    pub(super) fn outside(self) -> Self {
        Frame { session_id: None, ..self }
    }

    pub(super) fn bytes(&self) -> Bytes {
        json(self).into()
    }
}

/// The head of the n-th of several frames for one message: each has its own id, also in a replay.
pub(super) fn copy(head: &Head, n: usize) -> Head {
    // Ids of one session's numbered messages differ in their lowest bits.
    let id = MessageId(ulid::Ulid(head.id.0.0.wrapping_add((n as u128) << 64)));
    Head { id, ..*head }
}
