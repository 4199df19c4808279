//! What can be wrong with jobs: how they are accepted, repeated, cancelled and ended, and what is told of those that
//! are somebody else's or not there.

use serde_json::{Value, json};

use super::super::bent::Bend::{Any, Asked, Lost, Told};
use super::super::bent::{Frame, Wire, World, kind, text};
use super::listing::take;
use super::{Mutant, mutant};

pub(super) const TABLE: &[Mutant] = &[
    mutant("events come before the acceptance", &["ARCP-7.1-1"], Any(accepted_late)),
    mutant("a submission is not answered", &["ARCP-7.1-1"], Lost("job.accepted")),
    mutant(
        "an acceptance does not tell the lease",
        &["ARCP-7.1-2"],
        Told("job.accepted", |accepted| take(&mut accepted["payload"], "lease")),
    ),
    mutant(
        "an acceptance does not tell when",
        &["ARCP-7.1-2"],
        Told("job.accepted", |accepted| take(&mut accepted["payload"], "accepted_at")),
    ),
    mutant(
        "an acceptance tells local time",
        &["ARCP-7.1-2"],
        Told("job.accepted", |accepted| accepted["payload"]["accepted_at"] = json!("2026-11-20 10:00:00")),
    ),
    mutant("the trace of a submission is lost", &["ARCP-7.1-2", "ARCP-11-2"], Any(no_trace)),
    mutant(
        "an acceptance shows the agent without its version",
        &["ARCP-7.5-9"],
        Told("job.accepted", |accepted| {
            let agent = text(&accepted["payload"], "agent").split('@').next().unwrap_or_default().to_owned();
            accepted["payload"]["agent"] = json!(agent);
        }),
    ),
    mutant(
        "an agent without a version gets another than the default",
        &["ARCP-7.5-2"],
        Asked("job.submit", |submit| {
            if submit["payload"]["agent"] == "echo" {
                submit["payload"]["agent"] = json!("echo@1.0.0");
            }
        }),
    ),
    mutant(
        "a version that is not there is replaced by one that is",
        &["ARCP-7.5-6"],
        Asked("job.submit", |submit| {
            let agent = text(&submit["payload"], "agent").split('@').next().unwrap_or_default().to_owned();
            submit["payload"]["agent"] = json!(agent);
        }),
    ),
    mutant(
        "a version that is not there is told as an agent that is not there",
        &["ARCP-7.5-6"],
        Told("session.error", |error| recode(error, "AGENT_VERSION_NOT_AVAILABLE", "AGENT_NOT_AVAILABLE")),
    ),
    mutant(
        "an agent that is not there is told as a malformed request",
        &["ARCP-12-6"],
        Told("session.error", |error| recode(error, "AGENT_NOT_AVAILABLE", "INVALID_REQUEST")),
    ),
    mutant("a repeated key is taken with other parameters", &["ARCP-7.2-2"], Any(any_parameters)),
    mutant(
        "a repeated key begins a second job",
        &["ARCP-7.2-1"],
        Asked("job.submit", |submit| take(&mut submit["payload"], "idempotency_key")),
    ),
    mutant("a repeated key is refused with the same parameters", &["ARCP-7.2-1"], Any(refused_repeat)),
    mutant("a repeated submission is accepted at another time", &["ARCP-7.2-1"], Any(rebuilt_acceptance)),
    mutant(
        "a job ends in a way that there is not",
        &["ARCP-7.3-1"],
        Told("job.result", |end| end["payload"]["final_status"] = json!("completed")),
    ),
    mutant("a job ends twice", &["ARCP-7.3-1"], Any(ends_twice)),
    mutant("a job ends without a word", &["ARCP-7.3-1"], Lost("job.result")),
    mutant("an event comes after the end", &["ARCP-7.3-1"], Any(event_after_end)),
    mutant("a cancel is not acknowledged", &["ARCP-7.4-1"], Lost("job.cancelled")),
    mutant(
        "a cancelled job ends as an error",
        &["ARCP-7.4-1"],
        Told("job.error", |end| {
            if end["payload"]["code"] == "CANCELLED" {
                end["payload"]["final_status"] = json!("error");
            }
        }),
    ),
    mutant(
        "a cancelled job ends with another code",
        &["ARCP-7.4-1"],
        Told("job.error", |end| recode(end, "CANCELLED", "TIMEOUT")),
    ),
    mutant("a cancel is acknowledged and does nothing", &["ARCP-7.4-1"], Any(idle_cancel)),
    mutant(
        "a refused cancel is told as the end of the live job",
        &["ARCP-7.3-1", "ARCP-7.6-5"],
        Any(refusal_ends_job),
    ),
    mutant("whoever watches a job may cancel it", &["ARCP-7.6-5"], Any(watcher_cancels)),
    mutant(
        "a job runs for as long as it likes",
        &["ARCP-12-7"],
        Asked("job.submit", |submit| take(&mut submit["payload"], "max_runtime_sec")),
    ),
    mutant(
        "a job that ran for too long ends as an error",
        &["ARCP-7.3-1", "ARCP-12-7"],
        Told("job.error", |end| {
            if end["payload"]["code"] == "TIMEOUT" {
                end["payload"]["final_status"] = json!("error");
            }
        }),
    ),
    mutant(
        "a job that ran for too long ends with another code",
        &["ARCP-12-7"],
        Told("job.error", |end| recode(end, "TIMEOUT", "CANCELLED")),
    ),
    mutant("an error has a code that there is not", &["ARCP-12-1"], Any(unknown_code)),
    mutant("an error does not say whether trying again helps", &["ARCP-12-2"], Any(no_retryable)),
    mutant(
        "an internal error is told as final",
        &["ARCP-12-4"],
        Told("job.error", |end| {
            if end["payload"]["code"] == "INTERNAL_ERROR" {
                end["payload"]["retryable"] = json!(false);
            }
        }),
    ),
    mutant(
        "a job that is not there is told as a malformed request",
        &["ARCP-12-5"],
        Told("session.error", |error| recode(error, "JOB_NOT_FOUND", "INVALID_REQUEST")),
    ),
    mutant("an error tells that somebody else's job exists", &["ARCP-6.6-3", "ARCP-12-5"], Any(revealing)),
    mutant("a request for a job that is not there is not answered", &["ARCP-12-5"], Lost("session.error")),
];

/// Another code where there was this one.
fn recode(error: &mut Value, from: &str, to: &str) {
    if error["payload"]["code"] == from {
        error["payload"]["code"] = json!(to);
    }
}

/// The acceptance waits for the first frame of its job.
fn accepted_late(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(accepted) if kind(&accepted) == "job.accepted" => {
            wire.held.push(accepted);
            Vec::new()
        }
        Frame::Told(told) if told["event_seq"].is_u64() => {
            let held = std::mem::take(&mut wire.held);
            std::iter::once(told).chain(held).map(Frame::Told).collect()
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn no_trace(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(mut told) => {
            take(&mut told, "trace_id");
            take(&mut told["payload"], "trace_id");
            vec![Frame::Told(told)]
        }
        Frame::Asked(asked) => vec![Frame::Asked(asked)],
    }
}

fn key(submit: &Value) -> Option<String> {
    submit["payload"]["idempotency_key"].as_str().map(|key| format!("key {key}"))
}

/// The request that a frame answers.
fn request<'a>(wire: &'a Wire, answer: &Value) -> Option<&'a Value> {
    wire.asked.get(text(&answer["payload"], "request_id"))
}

/// A key is remembered with its acceptance, which answers whatever comes with the key.
fn any_parameters(wire: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Told(accepted) if kind(accepted) == "job.accepted" => {
            if let Some(key) = request(wire, accepted).and_then(key) {
                world.memo.insert(key, accepted.clone());
            }
        }
        Frame::Told(error) if error["payload"]["code"] == "DUPLICATE_KEY" => {
            let submit = request(wire, error).cloned().unwrap_or_default();
            let first = key(&submit).and_then(|key| world.memo.get(&key).cloned());
            return first.into_iter().map(|accepted| Frame::Told(answering(accepted, &submit))).collect();
        }
        Frame::Told(_) | Frame::Asked(_) => {}
    }
    vec![frame]
}

/// An answer as the answer to another request.
fn answering(mut answer: Value, request: &Value) -> Value {
    answer["payload"]["request_id"] = request["id"].clone();
    answer["payload"]["reply_to"] = request["id"].clone();
    answer
}

fn refused_repeat(_: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
    if let Frame::Asked(submit) = &frame
        && let Some(key) = key(submit)
        && world.memo.insert(key, Value::Null).is_some()
    {
        return vec![super::sessions::refusal(submit, "DUPLICATE_KEY")];
    }
    vec![frame]
}

fn rebuilt_acceptance(wire: &mut Wire, world: &mut World, mut frame: Frame) -> Vec<Frame> {
    if let Frame::Told(accepted) = &mut frame
        && kind(accepted) == "job.accepted"
        && let Some(key) = request(wire, accepted).and_then(key)
        && world.memo.insert(key, Value::Null).is_some()
    {
        accepted["payload"]["accepted_at"] = json!("2026-11-20T00:00:00Z");
    }
    vec![frame]
}

fn ends_twice(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Told(end) if end["event_seq"].is_u64() && kind(end) != "job.event" => {
            vec![frame.clone(), frame]
        }
        Frame::Told(_) | Frame::Asked(_) => vec![frame],
    }
}

fn event_after_end(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Told(end) if end["event_seq"].is_u64() && kind(end) != "job.event" => {
            let mut event = end.clone();
            event["type"] = json!("job.event");
            event["payload"] = json!({
                "kind": "log", "ts": "2026-11-20T00:00:00Z", "job_id": end["job_id"],
                "body": { "level": "info", "message": "still here" }
            });
            vec![frame, Frame::Told(event)]
        }
        Frame::Told(_) | Frame::Asked(_) => vec![frame],
    }
}

/// The daemon does not hear of the cancel, and the client is told what it wants to hear.
fn idle_cancel(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Asked(cancel) if kind(cancel) == "job.cancel" => {
            let (id, job) = (&cancel["id"], &cancel["payload"]["job_id"]);
            vec![Frame::Told(json!({
                "arcp": "1.1", "id": "msg_bent", "type": "job.cancelled", "session_id": wire.session, "job_id": job,
                "payload": { "job_id": job, "request_id": id, "reply_to": id, "current_status": "cancelling" }
            }))]
        }
        Frame::Asked(_) | Frame::Told(_) => vec![frame],
    }
}

fn refusal_ends_job(wire: &mut Wire, _: &mut World, mut frame: Frame) -> Vec<Frame> {
    if let Frame::Told(error) = &mut frame
        && kind(error) == "session.error"
        && let Some(cancel) = request(wire, error)
        && matches!(kind(cancel), "job.cancel" | "job.subscribe")
    {
        let job = cancel["payload"]["job_id"].clone();
        error["type"] = json!("job.error");
        error["payload"]["job_id"] = job.clone();
        error["payload"]["final_status"] = json!("error");
        error["job_id"] = job;
    }
    vec![frame]
}

/// A cancel that is refused for want of authority is told as done, and so is the end.
fn watcher_cancels(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    if let Frame::Told(error) = &frame
        && error["payload"]["code"] == "PERMISSION_DENIED"
        && let Some(cancel) = request(wire, error)
        && kind(cancel) == "job.cancel"
    {
        let (id, job) = (&cancel["id"], &cancel["payload"]["job_id"]);
        return vec![Frame::Told(json!({
            "arcp": "1.1", "id": "msg_bent", "type": "job.cancelled", "session_id": wire.session, "job_id": job,
            "payload": { "job_id": job, "request_id": id, "reply_to": id, "current_status": "cancelling" }
        }))];
    }
    vec![frame]
}

fn is_error(frame: &Frame) -> bool {
    matches!(frame, Frame::Told(told) if matches!(kind(told), "session.error" | "job.error"))
}

fn unknown_code(_: &mut Wire, _: &mut World, mut frame: Frame) -> Vec<Frame> {
    if is_error(&frame)
        && let Frame::Told(error) = &mut frame
    {
        error["payload"]["code"] = json!("SOMETHING_WENT_WRONG");
    }
    vec![frame]
}

fn no_retryable(_: &mut Wire, _: &mut World, mut frame: Frame) -> Vec<Frame> {
    if is_error(&frame)
        && let Frame::Told(error) = &mut frame
    {
        take(&mut error["payload"], "retryable");
    }
    vec![frame]
}

/// What is somebody else's is refused in other words than what is not there.
fn revealing(wire: &mut Wire, world: &mut World, mut frame: Frame) -> Vec<Frame> {
    if let Frame::Told(error) = &mut frame
        && error["payload"]["code"] == "JOB_NOT_FOUND"
        && let Some(asked) = request(wire, error)
    {
        let job = text(&asked["payload"], "job_id");
        if world.owners.get(job).is_some_and(|owner| *owner != wire.who) {
            error["payload"]["code"] = json!("INVALID_REQUEST");
            error["payload"]["message"] = json!("that job is somebody else's");
        }
    }
    vec![frame]
}
