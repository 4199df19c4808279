//! The Rust crate 2.0.0. Its reader ends at the first frame that it cannot decode, and everything that waits fails; what
//! it can decode is filed by the request that it answers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{Check, flag, instant, must, needs, object, whole, word};
use super::{Reader, Told, Waiting, Wrong, text};

/// Types of messages that its parser knows.
const WORDS: &str = "session.open session.challenge session.authenticate session.accepted session.unauthenticated \
    session.rejected session.refresh session.evicted session.close session.ping session.pong session.ack \
    session.list_jobs session.jobs ping pong ack nack cancel cancel.accepted cancel.refused interrupt resume \
    backpressure tool.invoke tool.result tool.error job.accepted job.started job.progress job.heartbeat job.completed \
    job.failed job.cancelled job.result_chunk stream.open stream.chunk stream.close stream.error permission.request \
    permission.grant permission.deny lease.granted lease.extended lease.revoked lease.refresh subscribe \
    subscribe.accepted subscribe.event unsubscribe subscribe.closed job.subscribe job.subscribed job.unsubscribe \
    artifact.put artifact.fetch artifact.ref artifact.release event.emit log metric trace.span";

/// Codes that it knows.
const CODES: &str = "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS \
    PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE \
    DATA_LOSS UNAUTHENTICATED HEARTBEAT_LOST LEASE_EXPIRED LEASE_REVOKED BACKPRESSURE_OVERFLOW BUDGET_EXHAUSTED \
    LEASE_SUBSET_VIOLATION AGENT_VERSION_NOT_AVAILABLE";

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

fn number(value: &Value) -> bool {
    value.is_number()
}

fn string(value: &Value) -> bool {
    value.is_string()
}

fn one_of(all: &str, value: &Value) -> bool {
    value.as_str().is_some_and(|text| all.split_whitespace().any(|known| known == text))
}

fn code(value: &Value) -> bool {
    one_of(CODES, value)
}

fn level(value: &Value) -> bool {
    LEVELS.iter().any(|level| value == level)
}

fn id(prefix: &str, value: &Value) -> bool {
    value.as_str().and_then(|text| text.strip_prefix(prefix)).is_some_and(|rest| !rest.is_empty())
}

fn job_id(value: &Value) -> bool {
    id("job_", value)
}

fn session_id(value: &Value) -> bool {
    id("sess_", value)
}

fn subscription_id(value: &Value) -> bool {
    id("sub_", value)
}

fn rows(value: &Value) -> bool {
    let row: &[(&str, Check)] = &[
        ("job_id", job_id),
        ("agent", string),
        ("status", string),
        ("created_at", instant),
        ("last_event_seq", whole),
    ];
    value.as_array().is_some_and(|rows| rows.iter().all(|found| needs(found, row).is_ok()))
}

fn cursor(value: &Value) -> bool {
    value.is_null() || value.is_string()
}

/// The fields without which its parser does not take the payload of a word.
fn required(kind: &str) -> &'static [(&'static str, Check)] {
    match kind {
        "session.accepted" => &[("session_id", session_id), ("runtime", object), ("capabilities", object)],
        "session.rejected" | "nack" | "job.failed" => &[("code", code), ("message", string)],
        "session.evicted" => &[("code", code), ("reason", string)],
        "session.pong" => &[("ping_nonce", string), ("received_at", instant)],
        "session.jobs" => &[("request_id", string), ("jobs", rows), ("next_cursor", cursor)],
        "cancel.refused" => &[("target_id", string), ("reason", string)],
        "job.accepted" => &[("job_id", job_id)],
        "job.result_chunk" => &[
            ("result_id", string),
            ("chunk_seq", whole),
            ("data", string),
            ("encoding", |value| one_of("utf8 base64", value)),
            ("more", flag),
        ],
        "job.subscribed" => {
            &[("job_id", job_id), ("current_status", string), ("agent", string), ("subscribed_from", whole)]
        }
        "subscribe.accepted" => &[("subscription_id", subscription_id)],
        "subscribe.event" => &[("event", object)],
        "subscribe.closed" => &[("subscription_id", subscription_id), ("code", code), ("reason", string)],
        "event.emit" => &[("name", string)],
        "log" => &[("level", level), ("message", string)],
        "metric" => &[("name", string), ("value", number), ("unit", string)],
        "trace.span" => &[
            ("name", string),
            ("trace_id", word),
            ("span_id", word),
            ("start_time", instant),
            ("end_time", instant),
        ],
        _ => &[],
    }
}

/// Whether its parser takes a frame.
pub(crate) fn legible(frame: &Value) -> Result<(), Wrong> {
    needs(
        frame,
        &[
            ("arcp", string),
            ("id", |value| id("msg_", value)),
            ("timestamp", instant),
            ("type", |value| one_of(WORDS, value)),
            ("payload", object),
        ],
    )?;
    super::shape::may(
        frame,
        &[
            ("session_id", session_id),
            ("job_id", job_id),
            ("subscription_id", subscription_id),
            ("correlation_id", |value| id("msg_", value)),
            ("trace_id", word),
            ("event_seq", whole),
        ],
    )?;
    let (kind, payload) = (frame["type"].as_str().unwrap(), &frame["payload"]);
    needs(payload, required(kind))?;
    if kind == "subscribe.event" {
        must(subscription_id(&frame["subscription_id"]), "an event of no subscription")?;
        must(payload["event"]["type"] != "subscribe.event", "an echo of itself")?;
        legible(&payload["event"])?;
    }
    Ok(())
}

#[derive(Default)]
pub(crate) struct Rust2 {
    waiting: Waiting,
    /// The requests whose jobs go on.
    jobs: BTreeSet<String>,
    subscriptions: BTreeSet<String>,
}

const ANSWERED: [&str; 10] = [
    "session.open",
    "tool.invoke",
    "cancel",
    "session.ping",
    "ping",
    "session.list_jobs",
    "job.subscribe",
    "subscribe",
    "artifact.put",
    "artifact.fetch",
];

impl Reader for Rust2 {
    fn asked(&mut self, request: &Value) {
        self.waiting.note(request, &ANSWERED);
    }

    fn waiting(&self) -> Vec<String> {
        self.waiting.ids()
    }

    fn counts(&self) -> bool {
        // What it is not told of takes a number all the same.
        false
    }

    fn read(&mut self, frame: &Value) -> Result<Told, Wrong> {
        legible(frame)?;
        let payload = &frame["payload"];
        let request = text(&frame["correlation_id"]);
        let mut answers = |kinds: &[&str]| {
            let asked = self.waiting.named(&frame["correlation_id"]).ok_or("nobody asked")?;
            must(kinds.contains(&asked.kind.as_str()), "the answer to something else")?;
            Ok::<_, Wrong>(asked.id)
        };
        let refused = |request: String| Told::Refused { request, code: text(&payload["code"]) };
        Ok(match frame["type"].as_str().unwrap() {
            "session.accepted" => Told::Answered { request: answers(&["session.open"])? },
            "session.rejected" => {
                must(frame.get("session_id").is_none(), "there is no session")?;
                refused(answers(&["session.open"])?)
            }
            "job.accepted" => {
                let request = answers(&["tool.invoke"])?;
                self.jobs.insert(request.clone());
                Told::Accepted { request, job: text(&payload["job_id"]) }
            }
            "job.failed" if !self.jobs.contains(&request) && frame.get("job_id").is_none() => {
                refused(answers(&["tool.invoke"])?)
            }
            kind @ ("job.completed" | "job.failed" | "job.cancelled") => {
                let own = self.jobs.remove(&request);
                must(own || frame.get("correlation_id").is_none(), "a second end, or one of nobody's")?;
                let how = if kind == "job.failed" { text(&payload["code"]) } else { kind.into() };
                Told::Ended { job: text(&frame["job_id"]), how }
            }
            "nack" => refused(answers(&["artifact.put", "artifact.fetch", "job.subscribe", "subscribe"])?),
            "cancel.accepted" => Told::Answered { request: answers(&["cancel"])? },
            "cancel.refused" => Told::Refused { request: answers(&["cancel"])?, code: "cancel".into() },
            "session.pong" => Told::Answered { request: answers(&["session.ping"])? },
            "pong" => Told::Answered { request: answers(&["ping"])? },
            "session.jobs" => Told::Answered { request: answers(&["session.list_jobs"])? },
            "job.subscribed" => Told::Answered { request: answers(&["job.subscribe"])? },
            "subscribe.accepted" => {
                self.subscriptions.insert(text(&payload["subscription_id"]));
                Told::Answered { request: answers(&["subscribe"])? }
            }
            "subscribe.event" => {
                let known = self.subscriptions.contains(&text(&frame["subscription_id"]));
                must(known, "an event of an unknown subscription")?;
                Told::Nothing
            }
            "job.started" | "job.progress" | "job.result_chunk" | "log" | "metric" | "event.emit" => {
                must(
                    frame.get("correlation_id").is_none() || self.jobs.contains(&request),
                    "about a job that is over",
                )?;
                Told::About { job: text(&frame["job_id"]) }
            }
            _ => Told::Nothing,
        })
    }
}
