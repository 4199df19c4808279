//! Frames → typed messages, with errors that name the field and what was expected there.
//!
//! What any published client writes is accepted from every client; only what is written differs by dialect.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::agent_ref::AgentRef;
use super::envelope::{Envelope, VERSION};
use super::error::ErrorBody;
use super::frame::too_deep;
use super::id::TraceId;
use super::limits::{ID_CHARS, Limits};
use super::message::{ClientMessage, Request, RequestKind, ServerMessage};
use super::object::wrong;
use super::session::{Close, Resume};

/// Longest message of a refusal, and longest reason of a client's that is kept and comes back, in characters.
const MESSAGE_CHARS: usize = 1_024;

/// A frame that is no request.
#[derive(Debug, Clone, PartialEq)]
pub struct Undecodable {
    /// What it wanted to be, as far as that could be read.
    pub kind: RequestKind,
    /// Its envelope id, where that could be read.
    pub request_id: Option<String>,
    /// Its trace, where that could be read.
    pub trace_id: Option<TraceId>,
    /// The agent of a submit, where that could be read.
    pub agent: Option<AgentRef>,
    /// The job of a cancel or a subscription, as it was named.
    pub job_id: Option<String>,
    /// What is wrong.
    pub error: ErrorBody,
}

impl Undecodable {
    /// The message may quote what came; its beginning is enough.
    pub(super) fn at(kind: RequestKind, request_id: Option<String>, message: &str) -> Box<Self> {
        let error = ErrorBody::invalid(shortened(message.into()));
        Box::new(Undecodable { kind, request_id, trace_id: None, agent: None, job_id: None, error })
    }
}

/// Reads one frame of a client (§5).
///
/// # Errors
/// [`Undecodable`] with `INVALID_REQUEST`, and the request's id where it has one.
pub fn client_frame(frame: &[u8], limits: &Limits) -> Result<Request, Box<Undecodable>> {
    let envelope = envelope(frame, limits).map_err(|message| {
        let Beginning { id, kind } = beginning(frame);
        Undecodable::at(RequestKind::parse(&kind), id, &message)
    })?;
    let kind = envelope.kind.as_deref().map_or(RequestKind::Unknown, RequestKind::parse);
    let id = match text("id", envelope.id.as_deref()) {
        Ok(id) => id.to_owned(),
        Err(message) => return Err(Undecodable::at(kind, None, &message)),
    };
    let refuse = |message: String| Undecodable::at(kind, Some(id.clone()), &message);
    check_head(&envelope).map_err(&refuse)?;
    let trace_id = match envelope.trace_id.as_deref().map(str::parse::<TraceId>).transpose() {
        Ok(trace_id) => trace_id,
        Err(error) => return Err(refuse(format!("trace_id: {error}"))),
    };
    let payload = envelope.payload.map_or("{}", RawValue::get);
    match client_message(kind, &envelope, payload) {
        Ok(message) => {
            let session_id = envelope.session_id.map(|text| text.into_owned());
            Ok(Request { id, session_id, trace_id, message })
        }
        Err(message) => {
            let agent = (kind == RequestKind::Submit).then(|| agent_of(payload)).flatten();
            Err(Box::new(Undecodable { trace_id, agent, ..*refuse(message) }))
        }
    }
}

pub(super) fn envelope<'a>(frame: &'a [u8], limits: &Limits) -> Result<Envelope<'a>, String> {
    let text = std::str::from_utf8(frame).map_err(|error| format!("the frame is not UTF-8: {error}"))?;
    if too_deep(frame, limits.json_depth) {
        return Err(format!("the frame nests deeper than {} arrays and objects", limits.json_depth));
    }
    serde_json::from_str(text).map_err(|error| unquoted(format!("the frame is not an envelope: {error}")))
}

/// What a frame shows of itself before whatever is wrong with it. Clients write the id and the type first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beginning {
    /// Its id, where that makes sense.
    pub(super) id: Option<String>,
    /// Its type; empty where it has none.
    pub(super) kind: String,
}

/// Reads as much as there is of a frame that is no envelope, or of the beginning of one.
pub(super) fn beginning(frame: &[u8]) -> Beginning {
    struct Reading<'a>(&'a mut Beginning);
    impl<'de> Visitor<'de> for Reading<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<String>()? {
                match key.as_str() {
                    "id" if self.0.id.is_none() => self.0.id = Some(map.next_value()?),
                    "type" => self.0.kind = map.next_value()?,
                    _ => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(())
        }
    }
    let mut found = Beginning::default();
    // Where it ends or makes no sense, what was found before is all there is.
    let _ = serde_json::Deserializer::from_slice(frame).deserialize_map(Reading(&mut found));
    found.id = found.id.filter(|id| text("id", Some(id)).is_ok());
    found
}

pub(super) fn text<'a>(field: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    match value {
        Some("") => Err(format!("{field}: expected a string that is not empty")),
        Some(text) if text.chars().count() > ID_CHARS => {
            Err(format!("{field}: expected at most {ID_CHARS} characters, got {}", text.chars().count()))
        }
        Some(text) if text.chars().any(char::is_control) => {
            Err(format!("{field}: expected no control characters"))
        }
        Some(text) => Ok(text),
        None => Err(format!("{field}: missing; expected a string")),
    }
}

pub(super) fn shortened(text: String) -> String {
    match text.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => text[..end].into(),
        None => text,
    }
}

pub(super) fn check_head(envelope: &Envelope<'_>) -> Result<(), String> {
    match envelope.arcp.as_deref() {
        Some(VERSION) => {}
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            return Err(format!("arcp: this runtime speaks {VERSION:?}, got {other:?}"));
        }
        None => return Err(format!("arcp: missing; expected {VERSION:?}")),
    }
    if envelope.event_seq.is_some() {
        return Err("event_seq: only the runtime numbers messages; leave it out".into());
    }
    for (field, value) in [("session_id", &envelope.session_id), ("job_id", &envelope.job_id)] {
        if let Some(value) = value.as_deref() {
            text(field, Some(value))?;
        }
    }
    Ok(())
}

fn client_message(
    kind: RequestKind,
    envelope: &Envelope<'_>,
    payload: &str,
) -> Result<ClientMessage, String> {
    let job_id = |named: &mut Option<String>| -> Result<(), String> {
        if named.is_none() {
            *named = envelope.job_id.as_deref().map(Into::into);
        }
        text("payload.job_id", named.as_deref()).map(drop)
    };
    Ok(match kind {
        RequestKind::Hello => {
            let mut hello: super::session::Hello = typed(payload).map_err(unquoted)?;
            if let (None, Some(resume_token)) = (&hello.resume, hello.resume_token.take()) {
                let last_event_seq = hello.last_event_seq.take().unwrap_or_default();
                hello.resume =
                    Some(Resume { resume_token, last_event_seq, session_id: hello.session_id.take() });
            }
            ClientMessage::Hello(hello)
        }
        RequestKind::Resume => ClientMessage::Resume(typed(payload).map_err(unquoted)?),
        RequestKind::Ping => {
            let ping: super::session::Ping = typed(payload)?;
            text("payload.nonce", Some(&ping.nonce))?;
            ClientMessage::Ping(ping)
        }
        RequestKind::Pong => ClientMessage::Pong(typed(payload)?),
        RequestKind::Ack => ClientMessage::Ack(typed(payload)?),
        RequestKind::ListJobs => ClientMessage::ListJobs(typed(payload)?),
        RequestKind::Close => {
            let Close { reason } = typed(payload)?;
            ClientMessage::Close(Close { reason: reason.map(shortened) })
        }
        RequestKind::Submit => ClientMessage::Submit(typed(payload)?),
        RequestKind::Cancel => {
            let mut cancel: super::job::Cancel = typed(payload)?;
            job_id(&mut cancel.job_id)?;
            cancel.reason = cancel.reason.map(shortened);
            ClientMessage::Cancel(cancel)
        }
        RequestKind::Subscribe => {
            let mut subscribe: super::job::Subscribe = typed(payload)?;
            job_id(&mut subscribe.job_id)?;
            ClientMessage::Subscribe(subscribe)
        }
        RequestKind::Unsubscribe => {
            let mut unsubscribe: super::job::Unsubscribe = typed(payload)?;
            job_id(&mut unsubscribe.job_id)?;
            ClientMessage::Unsubscribe(unsubscribe)
        }
        RequestKind::Follow => ClientMessage::Follow(typed(payload)?),
        RequestKind::Unfollow => ClientMessage::Unfollow(typed(payload)?),
        RequestKind::Unknown => {
            let kind: String = envelope.kind.as_deref().unwrap_or_default().chars().take(64).collect();
            return Err(match envelope.kind {
                Some(_) => format!("type: this runtime knows no message {kind:?}"),
                None => "type: missing; expected a message type like \"job.submit\"".into(),
            });
        }
    })
}

pub(super) fn typed<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, String> {
    if !payload.trim_start().starts_with('{') {
        return Err("payload: expected an object".into());
    }
    // The plain parse is the fast path; the path to the wrong field is looked for only when there is one.
    serde_json::from_str(payload).or_else(|_| {
        let mut json = serde_json::Deserializer::from_str(payload);
        serde_path_to_error::deserialize(&mut json).map_err(|error| wrong("payload", &error))
    })
}

/// The message without the value that was wrong: in a handshake it may be a secret in the wrong place.
pub(super) fn unquoted(message: String) -> String {
    let Some((field, wrong)) = message.split_once(": invalid ") else { return message };
    match wrong.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{field}: expected {expected}"),
        None => format!("{field}: invalid"),
    }
}

fn agent_of(payload: &str) -> Option<AgentRef> {
    #[derive(Deserialize)]
    struct Asked {
        agent: AgentRef,
    }
    serde_json::from_str::<Asked>(payload).ok().map(|asked| asked.agent)
}

/// A decoded frame of a runtime.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The session, where named.
    pub session_id: Option<String>,
    /// The job, where named.
    pub job_id: Option<String>,
    /// The place in the session's stream, on numbered messages.
    pub event_seq: Option<u64>,
    /// What it says; none where the type is unknown to us.
    pub message: Option<ServerMessage>,
}

/// Reads one frame of a runtime, as a client does.
///
/// # Errors
/// A sentence that says what was expected.
pub fn server_frame(frame: &[u8], limits: &Limits) -> Result<Reply, String> {
    let envelope = envelope(frame, limits)?;
    let payload = envelope.payload.map_or("{}", RawValue::get);
    let event_seq = match envelope.event_seq {
        Some(raw) => {
            Some(raw.get().parse().map_err(|_| format!("event_seq: expected a number, got {}", raw.get()))?)
        }
        None => None,
    };
    let message = match envelope.kind.as_deref().unwrap_or_default() {
        "session.welcome" => Some(ServerMessage::Welcome(typed(payload)?)),
        "session.error" => Some(ServerMessage::Error(typed(payload)?)),
        "session.ping" => Some(ServerMessage::Ping(typed(payload)?)),
        "session.pong" => Some(ServerMessage::Pong(typed(payload)?)),
        "session.jobs" => Some(ServerMessage::Jobs(typed(payload)?)),
        "session.closed" => Some(ServerMessage::Closed(typed(payload)?)),
        "job.accepted" => Some(ServerMessage::Accepted(typed(payload)?)),
        "job.cancelled" => Some(ServerMessage::Cancelled(typed(payload)?)),
        "job.subscribed" => Some(ServerMessage::Subscribed(typed(payload)?)),
        "x-arcpd.following" => Some(ServerMessage::Following(typed(payload)?)),
        "job.event" => Some(ServerMessage::Event(typed(payload)?)),
        "job.result" => Some(ServerMessage::Result(typed(payload)?)),
        "job.error" => Some(ServerMessage::JobError(typed(payload)?)),
        _ => None,
    };
    let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(|text| text.into_owned());
    Ok(Reply { session_id: owned(envelope.session_id), job_id: owned(envelope.job_id), event_seq, message })
}

#[cfg(test)]
mod tests {
    use super::super::session::LastSeen;
    use super::*;

    fn refused(frame: &str) -> (Option<String>, String) {
        let bad = client_frame(frame.as_bytes(), &Limits::default()).unwrap_err();
        (bad.request_id, bad.error.message)
    }

    #[test]
    fn an_error_names_the_field_and_what_was_expected() {
        for (frame, names) in [
            ("", "not an envelope"),
            ("[]", "an envelope"),
            ("7", "an envelope"),
            (r#"{"arcp":"1.1","id":"a","type":"#, "not an envelope"),
            (r#"{"arcp":"1.1","type":"session.ping"}"#, "id: missing"),
            (r#"{"arcp":"1.1","id":5,"type":"session.ping"}"#, "string"),
            (r#"{"arcp":"1.1","id":"","type":"session.ping"}"#, "not empty"),
            (r#"{"arcp":"1.1","id":"a\u0007","type":"session.ping"}"#, "control"),
            (r#"{"arcp":"2","id":"a","type":"session.ping"}"#, "arcp"),
            (r#"{"id":"a","type":"session.ping"}"#, "arcp: missing"),
            (r#"{"arcp":"1.1","id":"a"}"#, "type: missing"),
            (r#"{"arcp":"1.1","id":"a","type":"job.fly"}"#, "job.fly"),
            (r#"{"arcp":"1.1","id":"a","type":"session.ack","event_seq":3}"#, "event_seq"),
            (r#"{"arcp":"1.1","id":"a","type":"job.submit","payload":[]}"#, "payload: expected an object"),
            (r#"{"arcp":"1.1","id":"a","type":"job.submit","payload":{}}"#, "agent"),
            (r#"{"arcp":"1.1","id":"a","type":"job.submit","payload":{"agent":"E"}}"#, "payload.agent"),
            (
                r#"{"arcp":"1.1","id":"a","type":"job.submit","payload":{"agent":"e","max_runtime_sec":-1}}"#,
                "max_runtime_sec",
            ),
            (
                r#"{"arcp":"1.1","id":"a","type":"job.submit","payload":{"agent":"e","max_runtime_sec":1e99}}"#,
                "max_runtime_sec",
            ),
            (
                r#"{"arcp":"1.1","id":"a","type":"job.submit","payload":{"agent":"e","lease_constraints":{"expires_at":"2030-01-01T00:00:00"}}}"#,
                "expires_at",
            ),
            (
                r#"{"arcp":"1.1","id":"a","type":"job.submit","trace_id":"x","payload":{"agent":"e"}}"#,
                "trace_id",
            ),
            (r#"{"arcp":"1.1","id":"a","type":"job.cancel","payload":{}}"#, "job_id: missing"),
            (
                r#"{"arcp":"1.1","id":"a","type":"session.ack","payload":{"last_processed_seq":"3"}}"#,
                "last_processed_seq",
            ),
        ] {
            assert!(refused(frame).1.contains(names), "{frame}: {}", refused(frame).1);
        }
        assert_eq!(refused(r#"{"arcp":"1.1","id":"a","type":"job.fly"}"#).0.as_deref(), Some("a"));
    }

    #[test]
    fn deep_nesting_and_invalid_utf8_are_refused() {
        let deep = format!(
            r#"{{"arcp":"1.1","id":"a","type":"job.submit","payload":{}1{}}}"#,
            "[".repeat(100),
            "]".repeat(100)
        );
        assert!(refused(&deep).1.contains("nests deeper"));
        assert!(
            client_frame(b"{\"id\":\"\xff\"}", &Limits::default())
                .unwrap_err()
                .error
                .message
                .contains("UTF-8")
        );
    }

    #[test]
    fn the_three_places_of_a_resume_are_one() {
        for payload in [
            r#"{"resume":{"session_id":"s","resume_token":"t","last_event_seq":3}}"#,
            r#"{"resume":{"token":"t","last_event_seq":3}}"#,
            r#"{"resume_token":"t","last_event_seq":3,"session_id":"s"}"#,
        ] {
            let frame = format!(r#"{{"arcp":"1.1","id":"a","type":"session.hello","payload":{payload}}}"#);
            let request = client_frame(frame.as_bytes(), &Limits::default()).unwrap();
            let ClientMessage::Hello(hello) = request.message else { panic!("no hello") };
            let resume = hello.resume.unwrap();
            assert_eq!((resume.resume_token.expose(), resume.last_event_seq), ("t", LastSeen::Number(3)));
        }
    }

    #[test]
    fn what_was_seen_is_a_number_nothing_or_a_position_for_each_job() {
        let seen = |text: &str| {
            let payload = format!(r#"{{"resume":{{"token":"t","last_event_seq":{text}}}}}"#);
            let frame = format!(r#"{{"arcp":"1.1","id":"a","type":"session.hello","payload":{payload}}}"#);
            let request =
                client_frame(frame.as_bytes(), &Limits::default()).map_err(|bad| bad.error.message)?;
            let ClientMessage::Hello(hello) = request.message else { panic!("no hello") };
            Ok::<_, String>(hello.resume.unwrap().last_event_seq)
        };
        assert_eq!(seen("7"), Ok(LastSeen::Number(7)));
        assert_eq!(seen("-1"), Ok(LastSeen::Number(0)), "the Java client's word for nothing");
        let job = super::super::id::JobId::new(1, 2);
        let positions = LastSeen::Positions([(job, 4)].into());
        assert_eq!(seen(&format!(r#"{{"{job}":4,"job_of_elsewhere":2}}"#)), Ok(positions));
        for wrong in ["-2", "\"7\"", "[7]", "1.5", r#"{"a":-1}"#] {
            assert!(seen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cancel_may_name_its_job_in_the_envelope_and_a_filter_one_status() {
        let frame = br#"{"arcp":"1.1","id":"a","type":"job.cancel","job_id":"job_x","payload":{}}"#;
        let ClientMessage::Cancel(cancel) = client_frame(frame, &Limits::default()).unwrap().message else {
            panic!()
        };
        assert_eq!(cancel.job_id.as_deref(), Some("job_x"));
        for status in [r#""running""#, r#"["running","running"]"#] {
            let frame = format!(
                r#"{{"arcp":"1.1","id":"a","type":"session.list_jobs","payload":{{"filter":{{"status":{status}}}}}}}"#
            );
            let request = client_frame(frame.as_bytes(), &Limits::default()).unwrap();
            let ClientMessage::ListJobs(list) = request.message else { panic!() };
            assert_eq!(list.filter.unwrap().status.unwrap().0, [super::super::job::JobStatus::Running]);
        }
    }
}
