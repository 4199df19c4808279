//! What can be wrong with events: their numbers, their envelopes, and the bodies of their kinds.

use serde_json::{Value, json};

use super::super::bent::Bend::{Any, Told};
use super::super::bent::{Frame, Wire, World, kind, text};
use super::listing::take;
use super::{Mutant, misnumbered, mutant};

pub(super) const TABLE: &[Mutant] = &[
    misnumbered("every job has numbers of its own", &["ARCP-8.3-1"], Any(numbers_per_job)),
    misnumbered("numbers begin at 0", &["ARCP-8.3-1"], Any(numbers_from_zero)),
    misnumbered("a number is left out", &["ARCP-8.3-1"], Any(number_left_out)),
    misnumbered("numbers begin anew after a resume", &["ARCP-8.3-1"], Any(numbers_anew)),
    misnumbered(
        "events have the number null",
        &["ARCP-8.1-1"],
        Told("job.event", |event| event["event_seq"] = Value::Null),
    ),
    misnumbered(
        "events have no number",
        &["ARCP-8.1-1"],
        Told("job.event", |event| take(event, "event_seq")),
    ),
    misnumbered(
        "an acceptance takes a number",
        &["ARCP-8.3-1"],
        Told("job.accepted", |accepted| accepted["event_seq"] = json!(1)),
    ),
    mutant(
        "events do not say of which job",
        &["ARCP-8.1-1"],
        Told("job.event", |event| take(event, "job_id")),
    ),
    mutant(
        "events do not say of which session",
        &["ARCP-8.1-1"],
        Told("job.event", |event| take(event, "session_id")),
    ),
    mutant(
        "events do not say of which kind",
        &["ARCP-8.1-1"],
        Told("job.event", |event| take(&mut event["payload"], "kind")),
    ),
    mutant(
        "events do not say when",
        &["ARCP-8.1-1"],
        Told("job.event", |event| take(&mut event["payload"], "ts")),
    ),
    mutant(
        "events have a kind that there is not",
        &["ARCP-8.2-1"],
        Told("job.event", |event| event["payload"]["kind"] = json!("token")),
    ),
    mutant(
        "a log has no level",
        &["ARCP-8.2-5"],
        Told("job.event", |event| body(event, "log", |body| take(body, "level"))),
    ),
    mutant(
        "progress is less than nothing",
        &["ARCP-8.2-2"],
        Told("job.event", |event| body(event, "progress", |body| body["current"] = json!(-1))),
    ),
    mutant(
        "progress is told in words",
        &["ARCP-8.2-2"],
        Told("job.event", |event| body(event, "progress", |body| body["current"] = json!("half"))),
    ),
    mutant(
        "there is more progress than there is to do",
        &["ARCP-8.2-3"],
        Told("job.event", |event| body(event, "progress", |body| body["total"] = json!(0.5))),
    ),
    mutant(
        "frames are of another version",
        &["ARCP-5-1"],
        Told("job.event", |event| event["arcp"] = json!("1.0")),
    ),
    mutant("frames have no id", &["ARCP-5-1"], Told("job.event", |event| take(event, "id"))),
];

/// Changes the bodies of one kind.
fn body(event: &mut Value, of: &str, change: fn(&mut Value)) {
    if event["payload"]["kind"] == of {
        change(&mut event["payload"]["body"]);
    }
}

/// Changes the number of what has one.
fn renumbered(frame: Frame, change: impl FnOnce(&Value, u64) -> u64) -> Vec<Frame> {
    match frame {
        Frame::Told(mut told) => {
            if let Some(seq) = told["event_seq"].as_u64() {
                told["event_seq"] = json!(change(&told, seq));
            }
            vec![Frame::Told(told)]
        }
        Frame::Asked(asked) => vec![Frame::Asked(asked)],
    }
}

fn numbers_per_job(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    renumbered(frame, |told, _| {
        let newest = wire.memo.entry(text(told, "job_id").into()).or_insert(json!(0));
        let next = newest.as_u64().unwrap_or(0) + 1;
        *newest = json!(next);
        next
    })
}

fn numbers_from_zero(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    renumbered(frame, |_, seq| seq.saturating_sub(1))
}

fn number_left_out(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    renumbered(frame, |_, seq| if seq > 2 { seq + 1 } else { seq })
}

fn numbers_anew(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    if !wire.resumed || matches!(&frame, Frame::Told(told) if kind(told) == "session.welcome") {
        return vec![frame];
    }
    renumbered(frame, |_, _| {
        let newest = wire.memo.entry("newest".into()).or_insert(json!(0));
        let next = newest.as_u64().unwrap_or(0) + 1;
        *newest = json!(next);
        next
    })
}
