//! What each message of a runtime has to tell: the fields that the specification gives it, and no more.
//!
//! Our own runtime tells more than that (see `crate::wire`), and its ids have a form of their own; neither is asked of
//! others here.

use serde_json::Value;

use super::pattern::shown;
use super::rules::Broken;
use crate::wire::error::ErrorCode;

/// What a field has to be.
#[derive(Debug, Clone, Copy)]
enum Is {
    /// There, whatever it is.
    There,
    /// A text with something in it: a name, an id, a time.
    Named,
    /// A text.
    Text,
    /// A whole number from 0.
    Count,
    /// A number.
    Number,
    /// A number from 0.
    Amount,
    /// True or false.
    Flag,
    /// An object.
    Object,
    /// A list.
    List,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// One of the fifteen codes.
    Code,
    /// A count, if it is there at all.
    MaybeCount,
    /// One of these texts, if it is there at all.
    MaybeOneOf(&'static [&'static str]),
}

/// A requirement, and the fields that it asks for, as JSON pointers.
type Asked = (&'static str, &'static [(&'static str, Is)]);

const STATUS: &[&str] = &["pending", "running", "success", "error", "cancelled", "timed_out"];
const FINAL: &[&str] = &["success", "error", "cancelled", "timed_out"];

/// What a message of a type has to tell; nothing for types that the specification does not have.
fn message(kind: &str) -> &'static [Asked] {
    match kind {
        "session.welcome" => WELCOME,
        "session.ping" => &[("ARCP-6.4-7", &[("/payload/nonce", Is::Named)])],
        "session.pong" => &[("ARCP-6.4-2", &[("/payload/ping_nonce", Is::Named)])],
        "session.jobs" => {
            &[("ARCP-6.6-1", &[("/payload/request_id", Is::Named), ("/payload/jobs", Is::List)])]
        }
        "session.error" => &[ERROR_CODE, ERROR_RETRYABLE],
        "job.accepted" => &[(
            "ARCP-7.1-2",
            &[
                ("/payload/job_id", Is::Named),
                ("/payload/lease", Is::Object),
                ("/payload/accepted_at", Is::Named),
            ],
        )],
        "job.subscribed" => &[(
            "ARCP-7.6-13",
            &[
                ("/payload/job_id", Is::Named),
                ("/payload/current_status", Is::OneOf(STATUS)),
                ("/payload/agent", Is::Named),
                ("/payload/lease", Is::Object),
                ("/payload/subscribed_from", Is::Count),
                ("/payload/replayed", Is::Flag),
            ],
        )],
        "job.event" => &[(
            "ARCP-8.1-1",
            &[
                ("/session_id", Is::Named),
                ("/job_id", Is::Named),
                ("/event_seq", Is::Count),
                ("/payload/kind", Is::Named),
                ("/payload/body", Is::Object),
            ],
        )],
        "job.result" => &[
            ("ARCP-7.3-1", &[("/job_id", Is::Named), ("/payload/final_status", Is::OneOf(FINAL))]),
            ("ARCP-8.4-11", &[("/payload/result_size", Is::MaybeCount)]),
        ],
        "job.error" => &[
            ERROR_CODE,
            ERROR_RETRYABLE,
            ("ARCP-7.3-1", &[("/payload/final_status", Is::MaybeOneOf(FINAL))]),
        ],
        _ => &[],
    }
}

/// What a welcome has to tell.
const WELCOME: &[Asked] = &[
    (
        "ARCP-6.2-2",
        &[
            ("/session_id", Is::Named),
            ("/payload/runtime/name", Is::Named),
            ("/payload/runtime/version", Is::Named),
            ("/payload/resume_token", Is::Named),
            ("/payload/resume_window_sec", Is::Count),
            ("/payload/heartbeat_interval_sec", Is::MaybeCount),
            ("/payload/capabilities", Is::Object),
        ],
    ),
    (
        "ARCP-6.2-4",
        &[
            ("/payload/capabilities/encodings", Is::List),
            ("/payload/capabilities/features", Is::List),
            ("/payload/capabilities/agents", Is::List),
        ],
    ),
];

/// What every error has to tell.
const ERROR_CODE: Asked = ("ARCP-12-1", &[("/payload/code", Is::Code)]);
const ERROR_RETRYABLE: Asked = ("ARCP-12-2", &[("/payload/retryable", Is::Flag)]);

/// What a row of a listing has to tell.
const ROW: Asked = (
    "ARCP-6.6-2",
    &[
        ("/job_id", Is::Named),
        ("/agent", Is::Named),
        ("/status", Is::OneOf(STATUS)),
        ("/lease", Is::Object),
        ("/created_at", Is::Named),
        ("/last_event_seq", Is::Count),
    ],
);

/// What the body of an event has to tell; nothing for kinds that the specification leaves open.
fn body(kind: &str) -> Asked {
    match kind {
        "log" => ("ARCP-8.2-5", &[("/level", Is::Named), ("/message", Is::Text)]),
        "thought" => ("ARCP-8.2-5", &[("/text", Is::Text)]),
        "tool_call" => ("ARCP-8.2-5", &[("/tool", Is::Named), ("/args", Is::There), ("/call_id", Is::Named)]),
        "tool_result" => ("ARCP-8.2-5", &[("/call_id", Is::Named)]),
        "status" => ("ARCP-8.2-5", &[("/phase", Is::Named)]),
        "metric" => ("ARCP-8.2-5", &[("/name", Is::Named), ("/value", Is::Number)]),
        "artifact_ref" => ("ARCP-8.2-5", &[("/uri", Is::Named), ("/content_type", Is::Named)]),
        "progress" => ("ARCP-8.2-2", &[("/current", Is::Amount)]),
        "result_chunk" => (
            "ARCP-8.4-1",
            &[
                ("/result_id", Is::Named),
                ("/chunk_seq", Is::Count),
                ("/data", Is::Text),
                ("/encoding", Is::OneOf(&["utf8", "base64"])),
                ("/more", Is::Flag),
            ],
        ),
        _ => ("ARCP-8.2-5", &[]),
    }
}

/// Holds a frame, whose envelope is sound, against what its type has to tell.
///
/// # Errors
/// The first field that is not as it has to be.
pub(super) fn check(frame: &Value) -> Result<(), Broken> {
    let kind = frame["type"].as_str().unwrap_or_default();
    message(kind).iter().try_for_each(|asked| fields(frame, kind, asked))?;
    let payload = &frame["payload"];
    match kind {
        "session.jobs" => {
            let rows = payload["jobs"].as_array().into_iter().flatten();
            rows.enumerate().try_for_each(|(n, row)| fields(row, &format!("{kind}: jobs[{n}]"), &ROW))
        }
        "job.event" => {
            let event = payload["kind"].as_str().unwrap_or_default();
            fields(&payload["body"], &format!("{kind} {event}"), &body(event))
        }
        _ => Ok(()),
    }
}

fn fields(object: &Value, of: &str, (requirement, fields): &Asked) -> Result<(), Broken> {
    for (pointer, is) in *fields {
        let value = object.pointer(pointer);
        if !is.admits(value) {
            let got = value.map_or_else(|| "nothing".into(), shown);
            let field = pointer.trim_start_matches('/').replace('/', ".");
            let what = format!("{of}: {field}: expected {}, got {got}", is.expected());
            return Err(Broken { requirement, what });
        }
    }
    Ok(())
}

impl Is {
    fn admits(self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return matches!(self, Is::MaybeCount | Is::MaybeOneOf(_)) };
        let text = value.as_str();
        match self {
            Is::There => true,
            Is::Named => text.is_some_and(|text| !text.is_empty()),
            Is::Text => text.is_some(),
            Is::Count => value.is_u64(),
            Is::Number => value.is_number(),
            Is::Amount => value.as_f64().is_some_and(|number| number >= 0.0),
            Is::Flag => value.is_boolean(),
            Is::Object => value.is_object(),
            Is::List => value.is_array(),
            Is::OneOf(texts) => text.is_some_and(|text| texts.contains(&text)),
            Is::Code => text.is_some_and(|text| ErrorCode::ALL.iter().any(|code| code.as_str() == text)),
            Is::MaybeCount => value.is_null() || value.is_u64(),
            Is::MaybeOneOf(texts) => value.is_null() || text.is_some_and(|text| texts.contains(&text)),
        }
    }

    fn expected(self) -> String {
        match self {
            Is::There => "something".into(),
            Is::Named => "a text that is not empty".into(),
            Is::Text => "a text".into(),
            Is::Count | Is::MaybeCount => "a whole number from 0".into(),
            Is::Number => "a number".into(),
            Is::Amount => "a number that is not negative".into(),
            Is::Flag => "true or false".into(),
            Is::Object => "an object".into(),
            Is::List => "a list".into(),
            Is::OneOf(texts) | Is::MaybeOneOf(texts) => format!("one of {}", texts.join(", ")),
            Is::Code => "one of the fifteen codes of the specification".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::catalogue::Catalogue;
    use super::*;

    /// The frames of the specification's own examples, with what it requires and nothing else.
    fn examples() -> Vec<Value> {
        let event = |kind: &str, body: Value| {
            json!({
                "type": "job.event", "session_id": "s", "job_id": "j", "event_seq": 1,
                "payload": { "kind": kind, "body": body }
            })
        };
        vec![
            json!({ "type": "session.welcome", "session_id": "s", "payload": {
                "runtime": { "name": "r", "version": "1" }, "resume_token": "t", "resume_window_sec": 600,
                "capabilities": { "encodings": ["json"], "features": [], "agents": [] }
            } }),
            json!({ "type": "session.ping", "payload": { "nonce": "n" } }),
            json!({ "type": "session.pong", "payload": { "ping_nonce": "n" } }),
            json!({ "type": "session.error", "payload": { "code": "INVALID_REQUEST", "retryable": false } }),
            json!({ "type": "session.jobs", "payload": { "request_id": "q", "jobs": [{
                "job_id": "j", "agent": "a@1", "status": "running", "lease": {},
                "created_at": "2026-05-13T19:30:00Z", "last_event_seq": 0
            }] } }),
            json!({ "type": "job.accepted", "payload": {
                "job_id": "j", "lease": {}, "accepted_at": "2026-05-13T19:30:00Z"
            } }),
            json!({ "type": "job.subscribed", "payload": {
                "job_id": "j", "current_status": "running", "agent": "a@1", "lease": {}, "subscribed_from": 0,
                "replayed": false
            } }),
            event("log", json!({ "level": "info", "message": "" })),
            event("thought", json!({ "text": "" })),
            event("tool_call", json!({ "tool": "t", "args": {}, "call_id": "c" })),
            event("tool_result", json!({ "call_id": "c" })),
            event("status", json!({ "phase": "p" })),
            event("metric", json!({ "name": "m", "value": -0.5 })),
            event("artifact_ref", json!({ "uri": "u", "content_type": "c" })),
            event("progress", json!({ "current": 0.5 })),
            event(
                "result_chunk",
                json!({ "result_id": "r", "chunk_seq": 0, "data": "", "encoding": "utf8", "more": false }),
            ),
            json!({ "type": "job.result", "job_id": "j", "payload": { "final_status": "success" } }),
            json!({ "type": "job.error", "payload": { "code": "TIMEOUT", "retryable": true } }),
        ]
    }

    /// The JSON pointer of every value in a value, its own included.
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    places(value, &format!("{at}/{key}"), found);
                }
                found.push(at.into());
            }
            Value::Array(items) => {
                for (n, value) in items.iter().enumerate() {
                    places(value, &format!("{at}/{n}"), found);
                }
                found.push(at.into());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(at.into()),
        }
    }

    #[test]
    fn what_the_specification_requires_is_enough_and_all_of_it_is_needed() {
        let catalogue = Catalogue::built_in().unwrap();
        for example in examples() {
            assert_eq!(check(&example), Ok(()), "{example}");
            let mut fields = Vec::new();
            places(&example["payload"], "/payload", &mut fields);
            fields
                .retain(|place| !matches!(place.as_str(), "/payload" | "/payload/capabilities/encodings/0"));
            assert!(!fields.is_empty(), "{example}");
            for place in fields {
                let mut broken = example.clone();
                // Wrong for every field but those that may be anything, or any list.
                *broken.pointer_mut(&place).unwrap() = json!([7]);
                let list =
                    ["encodings", "features", "agents", "args"].iter().any(|name| place.ends_with(name));
                let checked = check(&broken);
                assert_eq!(checked.is_ok(), list, "{place} of {broken}");
                if let Err(Broken { requirement, .. }) = checked {
                    assert!(catalogue.find(requirement.parse().unwrap()).is_ok(), "{requirement}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_field_is_named_with_its_requirement() {
        for (frame, requirement, says) in [
            (
                json!({ "type": "session.jobs", "payload": { "request_id": "q", "jobs": [{ "job_id": "j" }] } }),
                "ARCP-6.6-2",
                "session.jobs: jobs[0]: agent: expected a text that is not empty, got nothing",
            ),
            (
                json!({ "type": "session.error", "payload": { "code": "TEAPOT", "retryable": false } }),
                "ARCP-12-1",
                "session.error: payload.code: expected one of the fifteen codes of the specification, got \"TEAPOT\"",
            ),
            (
                json!({ "type": "job.event", "session_id": "s", "job_id": "j", "event_seq": 1,
                        "payload": { "kind": "progress", "body": { "current": -1 } } }),
                "ARCP-8.2-2",
                "job.event progress: current: expected a number that is not negative, got -1",
            ),
        ] {
            assert_eq!(check(&frame), Err(Broken { requirement, what: says.into() }));
        }
    }

    #[test]
    fn types_and_kinds_of_others_may_tell_what_they_like() {
        for frame in [
            json!({ "type": "x-vendor.thing", "payload": {} }),
            json!({ "type": "job.cancelled", "payload": {} }),
            json!({ "type": "session.closed", "payload": {} }),
            json!({ "type": "job.event", "session_id": "s", "job_id": "j", "event_seq": 1,
                    "payload": { "kind": "x-vendor.kind", "body": {} } }),
        ] {
            assert_eq!(check(&frame), Ok(()));
        }
    }
}
