//! The Ruby gem 1.0.0, and its later form of the same version number.
//!
//! Why each deviation is needed:
//! - the lease of `job.accepted` is a record with an `id`, or absent; anything else ends the client's reader. Its
//!   capabilities are words without patterns: the namespaces of the lease.
//! - nobody waits for the answer to a subscription: that a job is not there is told as its end.
//! - a delegation without the field of the child, or with a lease that is no record, ends the client's reader.
//! - rows of a listing tell the end of a lease in a field of their own.
//! - its vocabulary has three codes more, and its users handle them: `RATE_LIMITED` for a limit, `BACKPRESSURE` for a
//!   daemon that cannot store, `PROTOCOL_VIOLATION` for a feature that was not negotiated.
//! - the gem 1.0.0 offers the encodings `utf8` and `base64` and expects to find them in the welcome, calls a success
//!   `succeeded` in listings, and retries by its own table of codes, so `retryable` says the same.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::first::First;
use super::refusal::{self, Refusal};
use super::{Dialect, Encoded};
use crate::wire::encode::{self, Theirs, json};
use crate::wire::envelope::Head;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::id::JobId;
use crate::wire::job::{Accepted, JobError, JobStatus, SUCCEEDED, Subscribed};
use crate::wire::lease::{BUDGET, Lease, LeaseConstraints, MODELS};
use crate::wire::message::{Refused, ServerMessage, StreamKind};
use crate::wire::session::{Jobs, SessionError, Welcome};
use crate::wire::time::Timestamp;

/// How the canonical payload of a delegation begins.
const DELEGATE: &[u8] = br#"{"kind":"delegate""#;

/// What the gem 1.0.0 calls encodings.
const OF_CHUNKS: [&str; 2] = ["utf8", "base64"];

/// Writes for the Ruby gem.
pub(super) struct Ruby {
    /// Whether it is the gem 1.0.0.
    first_release: bool,
}

/// Whether this hello is the gem's: it names the client without an object.
pub(super) fn wrote(first: &First) -> bool {
    first.is("session.hello") && first.payload("client_name").is_string()
}

impl Ruby {
    /// For the client of this hello: the gem 1.0.0 is known by its encodings.
    pub(super) fn of(first: &First) -> Self {
        Ruby { first_release: first.capability("encodings").is_some_and(|all| !all.contains(&"json")) }
    }
}

impl Dialect for Ruby {
    fn name(&self) -> &'static str {
        "ruby"
    }

    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        let canonical = || encode::server_frame(head, message).into();
        match message {
            ServerMessage::Welcome(welcome) if self.first_release => encodings_of_chunks(head, welcome),
            ServerMessage::Error(error) => self.session_error(head, error),
            ServerMessage::Refused(refused) => self.refused(head, refused),
            ServerMessage::Accepted(accepted) => with_record(head, accepted),
            ServerMessage::Subscribed(subscribed) => self.subscribed(head, subscribed),
            ServerMessage::Jobs(jobs) => self.listed(head, jobs),
            ServerMessage::Welcome(_)
            | ServerMessage::Ping(_)
            | ServerMessage::Pong(_)
            | ServerMessage::Closed(_)
            | ServerMessage::Cancelled(_)
            | ServerMessage::Following(_)
            | ServerMessage::Event(_)
            | ServerMessage::Result(_)
            | ServerMessage::JobError(_) => canonical(),
        }
    }

    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes, frames: &mut Vec<Bytes>) {
        frames.push(match kind {
            StreamKind::Event if payload.starts_with(DELEGATE) => {
                encode::stream_frame(kind, head, &delegate(payload))
            }
            StreamKind::Event | StreamKind::Result => encode::stream_frame(kind, head, payload),
            StreamKind::Error => encode::stream_frame(kind, head, &self.job_error(payload)),
        });
    }
}

impl Ruby {
    /// Nobody waits for the answer to a subscription; only the end of a job that is not there ends its stream.
    fn refused(&self, head: &Head, refused: &Refused) -> Encoded {
        let Some(job_id) = refusal::not_held(refused) else {
            let error = SessionError::new(refused.error.clone(), refused.request_id.clone());
            return self.session_error(head, &error);
        };
        let request_id = refused.request_id.as_deref();
        let mut payload = object(&Refusal::new(&refused.error, Some(job_id), request_id, head.at));
        self.reword(&mut payload, &refused.error);
        encode::foreign_frame("job.error", head, Theirs { id: None, job_id: Some(job_id) }, &payload).into()
    }

    fn session_error(&self, head: &Head, error: &SessionError) -> Encoded {
        let mut payload = object(error);
        self.reword(&mut payload, &error.error());
        frame("session.error", head, &payload)
    }

    fn job_error(&self, payload: &Bytes) -> Bytes {
        let Ok(error) = serde_json::from_slice::<JobError>(payload) else { return payload.clone() };
        let mut told = object(&error);
        // Its details are the agent's, and say nothing of the daemon.
        self.put_code(&mut told, Code::Ours(error.code));
        json(&told).into()
    }

    fn subscribed(&self, head: &Head, subscribed: &Subscribed) -> Encoded {
        let Subscribed { job_id, lease, lease_constraints, current_status, .. } = subscribed;
        let mut payload = object(subscribed);
        put_record(&mut payload, *job_id, lease, lease_constraints.as_ref(), None);
        if self.first_release {
            payload.insert("current_status".into(), word(*current_status).into());
        }
        frame("job.subscribed", head, &payload)
    }

    fn listed(&self, head: &Head, jobs: &Jobs) -> Encoded {
        let mut payload = object(jobs);
        let rows = jobs.jobs.iter().map(|job| {
            let mut row = object(job);
            if self.first_release {
                row.insert("status".into(), word(job.status).into());
            }
            if let Some(at) = job.lease_constraints.as_ref().and_then(|constraints| constraints.expires_at) {
                row.insert("lease_expires_at".into(), at.to_string().into());
            }
            Value::from(row)
        });
        payload.insert("jobs".into(), rows.collect());
        frame("session.jobs", head, &payload)
    }

    /// Puts the gem's own code in place.
    fn reword(&self, payload: &mut Map<String, Value>, error: &ErrorBody) {
        self.put_code(payload, Code::of(error));
    }

    /// Puts a code in place, and for the gem 1.0.0 what it will do about it.
    fn put_code(&self, payload: &mut Map<String, Value>, code: Code) {
        payload.insert("code".into(), code.as_str().into());
        if self.first_release {
            payload.insert("retryable".into(), code.retried().into());
        }
    }
}

/// A code of the gem: one of the specification's, or one of its own.
#[derive(Clone, Copy)]
enum Code {
    Ours(ErrorCode),
    RateLimited,
    Backpressure,
    ProtocolViolation,
}

impl Code {
    fn of(error: &ErrorBody) -> Code {
        let fact = |name: &str| error.details.as_ref().and_then(|details| details.get(name));
        match (error.code, fact("limit").and_then(Value::as_str)) {
            (ErrorCode::InternalError, Some(limit)) if limit.starts_with("store_") => Code::Backpressure,
            (ErrorCode::InternalError, Some(_)) => Code::RateLimited,
            (ErrorCode::InternalError, None) if fact("retry_after_ms").is_some() => Code::Backpressure,
            (ErrorCode::InvalidRequest, None) if fact("feature").is_some() => Code::ProtocolViolation,
            (code, _) => Code::Ours(code),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Code::Ours(code) => code.as_str(),
            Code::RateLimited => "RATE_LIMITED",
            Code::Backpressure => "BACKPRESSURE",
            Code::ProtocolViolation => "PROTOCOL_VIOLATION",
        }
    }

    /// Whether the gem 1.0.0 takes it for something that passes, whatever the wire says.
    fn retried(self) -> bool {
        match self {
            Code::RateLimited | Code::Backpressure => true,
            Code::ProtocolViolation => false,
            Code::Ours(code) => matches!(
                code,
                ErrorCode::AgentNotAvailable
                    | ErrorCode::InternalError
                    | ErrorCode::HeartbeatLost
                    | ErrorCode::Timeout
            ),
        }
    }
}

/// The lease as the gem reads it.
#[derive(Serialize)]
struct Record<'a> {
    id: String,
    capabilities: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(rename = "cost.budget", skip_serializing_if = "Option::is_none")]
    budget: Option<&'a [String]>,
    #[serde(rename = "model.use", skip_serializing_if = "Option::is_none")]
    models: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Exchanges the lease for its record, or takes it out where nothing was granted.
fn put_record(
    payload: &mut Map<String, Value>,
    job: JobId,
    lease: &Lease,
    constraints: Option<&LeaseConstraints>,
    issued_at: Option<Timestamp>,
) {
    let of = |wanted: &str| lease.grants().find(|(name, _)| *name == wanted).map(|(_, patterns)| patterns);
    let words = lease.grants().map(|(name, _)| name).filter(|name| ![BUDGET, MODELS].contains(name));
    let capabilities: Vec<&str> = words.collect();
    let record = Record {
        id: format!("lse_{job}"),
        capabilities: &capabilities,
        issued_at,
        budget: of(BUDGET),
        models: of(MODELS),
        expires_at: constraints.and_then(|constraints| constraints.expires_at),
    };
    payload.remove("lease");
    if lease.grants().next().is_some() || record.expires_at.is_some() {
        payload.insert("lease".into(), object(&record).into());
    }
}

/// A delegation as the gem can read it: with the field of the child, and with a lease only if it is a record.
fn delegate(payload: &Bytes) -> Bytes {
    let Ok(Value::Object(mut event)) = serde_json::from_slice(payload) else { return payload.clone() };
    if let Some(Value::Object(body)) = event.get_mut("body") {
        body.entry("child_job_id").or_insert(Value::Null);
        if body.get("lease").is_some_and(|lease| lease.get("id").is_none()) {
            body.remove("lease");
        }
    }
    json(&event).into()
}

fn with_record(head: &Head, accepted: &Accepted) -> Encoded {
    let Accepted { job_id, lease, lease_constraints, accepted_at, .. } = accepted;
    let mut payload = object(accepted);
    put_record(&mut payload, *job_id, lease, lease_constraints.as_ref(), Some(*accepted_at));
    frame("job.accepted", head, &payload)
}

fn encodings_of_chunks(head: &Head, welcome: &Welcome) -> Encoded {
    let mut welcome = welcome.clone();
    welcome.capabilities.encodings = OF_CHUNKS.map(String::from).to_vec();
    encode::server_frame(head, &ServerMessage::Welcome(welcome)).into()
}

/// The gem 1.0.0's word for a status.
fn word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Success => SUCCEEDED,
        JobStatus::Pending
        | JobStatus::Running
        | JobStatus::Error
        | JobStatus::Cancelled
        | JobStatus::TimedOut => status.as_str(),
    }
}

fn frame(kind: &str, head: &Head, payload: &Map<String, Value>) -> Encoded {
    encode::frame(kind, head, &json(payload)).into()
}

/// One of our payloads as an object; they all are.
fn object<T: Serialize>(payload: &T) -> Map<String, Value> {
    match serde_json::to_value(payload) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegation_has_the_field_of_its_child_and_no_lease_that_is_no_record() {
        let written = |body: Value| {
            let event = serde_json::json!({ "kind": "delegate", "ts": "2026-11-20T00:00:00Z", "body": body });
            let payload = Bytes::from(event.to_string());
            serde_json::from_slice::<Value>(&delegate(&payload)).unwrap()["body"].take()
        };
        let bare = serde_json::json!({ "delegate_id": "d", "agent": "echo", "lease": { "fs.read": ["/x"] } });
        let told = serde_json::json!({ "delegate_id": "d", "agent": "echo", "child_job_id": null });
        assert_eq!(written(bare), told);
        let whole =
            serde_json::json!({ "agent": "echo", "child_job_id": "job_1", "lease": { "id": "lse_1" } });
        assert_eq!(written(whole.clone()), whole);
    }
}
