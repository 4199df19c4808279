//! Typed messages → frames, in the canonical encoding.
//!
//! An event's payload is JSON bytes from the moment it is recorded; only the head is written per observer.

use std::fmt::Write as _;

use bytes::Bytes;

use super::envelope::{Head, VERSION};
use super::id::{SessionId, TraceId};
use super::message::{ClientMessage, ServerMessage, StreamKind};
use super::session::SessionError;

const HEAD_BYTES: usize = 256;

/// Splices a head in front of a payload that is JSON already (§5).
pub fn frame(kind: &str, head: &Head, payload: &[u8]) -> Bytes {
    // Pieces instead of a format: this is written once per delivery. None of them needs escaping: they are ids,
    // digits and our own type names. Writing to a String cannot fail.
    let mut text = String::with_capacity(HEAD_BYTES + payload.len());
    text.push_str(r#"{"arcp":"1.1","id":""#);
    head.id.push_to(&mut text);
    text.push_str(r#"","type":""#);
    text.push_str(kind);
    text.push_str(r#"","session_id":""#);
    head.session_id.push_to(&mut text);
    if let Some(job_id) = &head.job_id {
        text.push_str(r#"","job_id":""#);
        job_id.push_to(&mut text);
    }
    text.push('"');
    if let Some(trace_id) = head.trace_id {
        let _ = write!(text, r#","trace_id":"{trace_id}""#);
    }
    if let Some(event_seq) = head.event_seq {
        let _ = write!(text, r#","event_seq":{event_seq}"#);
    }
    text.push_str(r#","payload":"#);
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(payload);
    bytes.push(b'}');
    bytes.into()
}

/// Names in a head that are not the daemon's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Theirs<'a> {
    /// The id of a request, where the answer is known by it.
    pub id: Option<&'a str>,
    /// A job as a client named it; there may be none of that name.
    pub job_id: Option<&'a str>,
}

/// A frame outside the numbered stream with names that clients chose, which may need escaping.
pub fn foreign_frame<T: serde::Serialize>(kind: &str, head: &Head, theirs: Theirs<'_>, payload: &T) -> Bytes {
    #[derive(serde::Serialize)]
    struct Out<'a, T> {
        arcp: &'a str,
        id: &'a str,
        r#type: &'a str,
        session_id: SessionId,
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        trace_id: Option<TraceId>,
        payload: &'a T,
    }
    let own = head.id.to_string();
    let Head { session_id, trace_id, .. } = *head;
    let Theirs { id, job_id } = theirs;
    let id = id.unwrap_or(&own);
    json(&Out { arcp: VERSION, id, r#type: kind, session_id, job_id, trace_id, payload }).into()
}

/// A frame of the numbered stream: a recorded payload with this observer's head.
pub fn stream_frame(kind: StreamKind, head: &Head, payload: &[u8]) -> Bytes {
    frame(kind.as_str(), head, payload)
}

/// A message in the specification's shape.
pub fn server_frame(head: &Head, message: &ServerMessage) -> Bytes {
    let (kind, payload) = match message {
        ServerMessage::Welcome(payload) => ("session.welcome", json(payload)),
        ServerMessage::Error(payload) => ("session.error", json(payload)),
        ServerMessage::Refused(refused) => {
            let payload = SessionError::new(refused.error.clone(), refused.request_id.clone());
            ("session.error", json(&payload))
        }
        ServerMessage::Ping(payload) => ("session.ping", json(payload)),
        ServerMessage::Pong(payload) => ("session.pong", json(payload)),
        ServerMessage::Jobs(payload) => ("session.jobs", json(payload)),
        ServerMessage::Closed(payload) => ("session.closed", json(payload)),
        ServerMessage::Accepted(payload) => ("job.accepted", json(payload)),
        ServerMessage::Cancelled(payload) => ("job.cancelled", json(payload)),
        ServerMessage::Subscribed(payload) => ("job.subscribed", json(payload)),
        ServerMessage::Following(payload) => ("x-arcpd.following", json(payload)),
        ServerMessage::Event(payload) => (StreamKind::Event.as_str(), json(payload)),
        ServerMessage::Result(payload) => (StreamKind::Result.as_str(), json(payload)),
        ServerMessage::JobError(payload) => (StreamKind::Error.as_str(), json(payload)),
    };
    frame(kind, head, &payload)
}

/// A client's frame: its own id, and the session once there is one.
pub fn client_frame(
    id: &str,
    session_id: Option<&str>,
    trace_id: Option<&str>,
    message: &ClientMessage,
) -> Bytes {
    #[derive(serde::Serialize)]
    struct Out<'a> {
        arcp: &'a str,
        id: &'a str,
        r#type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        trace_id: Option<&'a str>,
        payload: &'a serde_json::value::RawValue,
    }
    let payload = message.payload().ok().and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    let empty = serde_json::value::RawValue::NULL;
    json(&Out {
        arcp: VERSION,
        id,
        r#type: message.kind().as_str(),
        session_id,
        trace_id,
        payload: payload.as_deref().unwrap_or(empty),
    })
    .into()
}

/// JSON bytes of one of our own payloads.
pub fn json<T: serde::Serialize>(payload: &T) -> Vec<u8> {
    // Our payloads have string keys and serialisable fields only, so this cannot fail; an empty object would be
    // noticed by every test of the message in question.
    serde_json::to_vec(payload).unwrap_or_else(|_| b"{}".to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::id::{JobId, MessageId};
    use super::super::time::Timestamp;
    use super::*;

    #[test]
    fn a_spliced_frame_is_the_json_that_a_serialiser_would_write() {
        let head = Head {
            id: MessageId::new(1, 2),
            session_id: SessionId::new(1, 3),
            job_id: Some(JobId::new(1, 4)),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap()),
            event_seq: Some(7),
            at: Timestamp::from_micros(0),
        };
        let frame = stream_frame(StreamKind::Event, &head, br#"{"kind":"log"}"#);
        let value: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "arcp": "1.1", "id": head.id, "type": "job.event", "session_id": head.session_id,
                "job_id": head.job_id, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "event_seq": 7,
                "payload": { "kind": "log" }
            })
        );
    }
}
