//! What can be wrong with subscriptions: their history, its seam with what comes live, and who may have them.

use serde_json::{Value, json};

use super::super::bent::Bend::{Any, Asked, Lost, Told};
use super::super::bent::{Frame, Wire, World, kind, text};
use super::listing::take;
use super::sessions::refusal;
use super::{Mutant, misnumbered, mutant};

pub(super) const TABLE: &[Mutant] = &[
    mutant("the history comes before the acknowledgement", &["ARCP-7.6-1", "ARCP-7.6-2"], Any(history_first)),
    mutant("a subscription is not acknowledged", &["ARCP-7.6-1"], Lost("job.subscribed")),
    mutant("a subscription brings no events", &["ARCP-7.6-1"], Any(nothing_to_watch)),
    mutant(
        "a history has the event at from_event_seq",
        &["ARCP-7.6-2"],
        Asked("job.subscribe", |subscribe| {
            let from = subscribe["payload"]["from_event_seq"].as_u64();
            if let Some(before) = from.and_then(|from| from.checked_sub(1)) {
                subscribe["payload"]["from_event_seq"] = json!(before);
            }
        }),
    ),
    mutant(
        "a history begins at the beginning wherever it is asked to",
        &["ARCP-7.6-2"],
        Asked("job.subscribe", |subscribe| take(&mut subscribe["payload"], "from_event_seq")),
    ),
    mutant("a history does not have the end", &["ARCP-7.6-2"], Any(history_without_end)),
    mutant("what is between history and life comes twice", &["ARCP-7.6-2"], Any(overlap)),
    mutant(
        "a history comes that nobody asked for",
        &["ARCP-7.6-11"],
        Asked("job.subscribe", |subscribe| subscribe["payload"]["history"] = json!(true)),
    ),
    mutant(
        "a history does not come",
        &["ARCP-7.6-2"],
        Asked("job.subscribe", |subscribe| {
            take(&mut subscribe["payload"], "history");
            take(&mut subscribe["payload"], "from_event_seq");
        }),
    ),
    mutant("who subscribes twice gets everything twice", &["ARCP-7.6-1"], Any(twice)),
    mutant(
        "watchers get the session id of who submitted",
        &["ARCP-7.6-1", "ARCP-8.1-1"],
        Any(foreign_session),
    ),
    misnumbered(
        "watchers get the numbers of who submitted",
        &["ARCP-8.3-1", "ARCP-7.6-1"],
        Any(foreign_numbers),
    ),
    mutant("an unsubscribe is passed over", &["ARCP-7.6-8"], Lost("job.unsubscribe")),
    mutant("only the submitting session may subscribe", &["ARCP-7.6-7"], Any(not_from_elsewhere)),
    mutant("anybody may subscribe", &["ARCP-7.6-4", "ARCP-14-1"], Any(open_to_all)),
    mutant(
        "an acknowledgement does not tell the status",
        &["ARCP-7.6-13"],
        Told("job.subscribed", |subscribed| take(&mut subscribed["payload"], "current_status")),
    ),
    mutant(
        "an acknowledgement does not tell the lease",
        &["ARCP-7.6-13"],
        Told("job.subscribed", |subscribed| take(&mut subscribed["payload"], "lease")),
    ),
    mutant(
        "an acknowledgement does not tell where it begins",
        &["ARCP-7.6-13"],
        Told("job.subscribed", |subscribed| take(&mut subscribed["payload"], "subscribed_from")),
    ),
    mutant(
        "an acknowledgement denies the replay",
        &["ARCP-7.6-13"],
        Told("job.subscribed", |subscribed| subscribed["payload"]["replayed"] = json!(false)),
    ),
    mutant(
        "an acknowledgement shows the agent without its version",
        &["ARCP-7.6-13", "ARCP-7.5-9"],
        Told("job.subscribed", |subscribed| {
            let agent =
                text(&subscribed["payload"], "agent").split('@').next().unwrap_or_default().to_owned();
            subscribed["payload"]["agent"] = json!(agent);
        }),
    ),
    mutant(
        "a job that is over is told as running",
        &["ARCP-7.6-13"],
        Told("job.subscribed", |subscribed| {
            subscribed["payload"]["current_status"] = json!("running");
        }),
    ),
];

/// Whether the session of a connection only watches a job.
fn watches(wire: &Wire, told: &Value) -> bool {
    wire.memo.contains_key(text(told, "job_id")) && !wire.memo.contains_key("submits")
}

/// Keeps which jobs a connection watches, how often it asked for each, and whether it submits any.
fn note(wire: &mut Wire, frame: &Frame) {
    match frame {
        Frame::Told(accepted) if kind(accepted) == "job.accepted" => {
            wire.memo.insert("submits".into(), json!(true));
        }
        Frame::Told(subscribed) if kind(subscribed) == "job.subscribed" => {
            let times = wire.memo.entry(text(&subscribed["payload"], "job_id").into()).or_insert(json!(0));
            *times = json!(times.as_u64().unwrap_or(0) + 1);
        }
        Frame::Told(_) | Frame::Asked(_) => {}
    }
}

fn numbered(frame: &Frame) -> Option<&Value> {
    match frame {
        Frame::Told(told) if told["event_seq"].is_u64() => Some(told),
        Frame::Told(_) | Frame::Asked(_) => None,
    }
}

/// The acknowledgement waits for the first event.
fn history_first(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(subscribed) if kind(&subscribed) == "job.subscribed" => {
            wire.held.push(subscribed);
            Vec::new()
        }
        Frame::Told(told) if told["event_seq"].is_u64() => {
            let held = std::mem::take(&mut wire.held);
            std::iter::once(told).chain(held).map(Frame::Told).collect()
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn nothing_to_watch(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    note(wire, &frame);
    match numbered(&frame) {
        Some(told) if watches(wire, told) => Vec::new(),
        Some(_) | None => vec![frame],
    }
}

fn history_without_end(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    note(wire, &frame);
    match numbered(&frame) {
        Some(told) if watches(wire, told) && kind(told) != "job.event" => Vec::new(),
        Some(_) | None => vec![frame],
    }
}

/// The second event that a watcher gets of a job comes twice.
fn overlap(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    note(wire, &frame);
    let Some(told) = numbered(&frame).filter(|told| watches(wire, told) && kind(told) == "job.event") else {
        return vec![frame];
    };
    let events = wire.memo.entry(format!("events {}", text(told, "job_id"))).or_insert(json!(0));
    *events = json!(events.as_u64().unwrap_or(0) + 1);
    if *events == 2 { vec![frame.clone(), frame] } else { vec![frame] }
}

fn twice(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    note(wire, &frame);
    match numbered(&frame) {
        Some(told) if kind(told) == "job.event" => {
            let times = wire.memo.get(text(told, "job_id")).and_then(Value::as_u64).unwrap_or(0);
            let times = times + u64::from(wire.memo.contains_key("submits"));
            vec![frame; usize::try_from(times.max(1)).unwrap()]
        }
        Some(_) | None => vec![frame],
    }
}

fn foreign_session(wire: &mut Wire, _: &mut World, mut frame: Frame) -> Vec<Frame> {
    note(wire, &frame);
    let watched = numbered(&frame).is_some_and(|told| watches(wire, told));
    if let (Frame::Told(told), true) = (&mut frame, watched) {
        told["session_id"] = json!("sess_01M7VVR1MSW45PAYMV9W1729G1");
    }
    vec![frame]
}

/// As if the submitter had been told of another job before.
fn foreign_numbers(wire: &mut Wire, _: &mut World, mut frame: Frame) -> Vec<Frame> {
    note(wire, &frame);
    let watched = numbered(&frame).is_some_and(|told| watches(wire, told));
    if let (Frame::Told(told), true) = (&mut frame, watched) {
        told["event_seq"] = json!(told["event_seq"].as_u64().unwrap_or(0) + 3);
    }
    vec![frame]
}

fn not_from_elsewhere(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    note(wire, &frame);
    match &frame {
        Frame::Asked(subscribe)
            if kind(subscribe) == "job.subscribe" && !wire.memo.contains_key("submits") =>
        {
            vec![refusal(subscribe, "PERMISSION_DENIED")]
        }
        Frame::Asked(_) | Frame::Told(_) => vec![frame],
    }
}

/// A subscription to somebody else's job is acknowledged.
fn open_to_all(wire: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Asked(subscribe) if kind(subscribe) == "job.subscribe" => {
            let (id, job) = (&subscribe["id"], text(&subscribe["payload"], "job_id"));
            if world.owners.get(job).is_none_or(|owner| *owner == wire.who) {
                return vec![frame];
            }
            vec![Frame::Told(json!({
                "arcp": "1.1", "id": "msg_bent", "type": "job.subscribed", "session_id": wire.session, "job_id": job,
                "payload": {
                    "job_id": job, "request_id": id, "reply_to": id, "current_status": "running",
                    "agent": "sleeper@1.0.0", "lease": {}, "parent_job_id": null, "subscribed_from": 0,
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "replayed": false
                }
            }))]
        }
        Frame::Asked(_) | Frame::Told(_) => vec![frame],
    }
}
