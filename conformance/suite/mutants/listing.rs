//! What can be wrong with listings: which jobs are in them, what is told of each, and how pages follow one another.

use serde_json::{Value, json};

use super::super::bent::Bend::{Any, Asked, Told};
use super::super::bent::{Frame, Wire, World, kind, text};
use super::{Mutant, mutant};

pub(super) const TABLE: &[Mutant] = &[
    mutant(
        "a listing does not say which request it answers",
        &["ARCP-6.6-1"],
        Told("session.jobs", |jobs| take(&mut jobs["payload"], "request_id")),
    ),
    mutant(
        "a listing answers another request",
        &["ARCP-6.6-1"],
        Told("session.jobs", |jobs| jobs["payload"]["request_id"] = json!("another")),
    ),
    mutant(
        "the last page has no next_cursor at all",
        &["ARCP-6.6-1"],
        Told("session.jobs", |jobs| {
            if jobs["payload"]["next_cursor"].is_null() {
                take(&mut jobs["payload"], "next_cursor");
            }
        }),
    ),
    mutant(
        "the last page has a cursor that leads nowhere",
        &["ARCP-6.6-1"],
        Told("session.jobs", |jobs| {
            if jobs["payload"]["next_cursor"].is_null() {
                jobs["payload"]["next_cursor"] = json!("");
            }
        }),
    ),
    mutant(
        "a cursor brings the same page again",
        &["ARCP-6.6-1", "ARCP-6.6-8"],
        Asked("session.list_jobs", |list| take(&mut list["payload"], "cursor")),
    ),
    mutant(
        "a page is told to be the last though there are more",
        &["ARCP-6.6-1", "ARCP-6.6-8"],
        Told("session.jobs", |jobs| jobs["payload"]["next_cursor"] = Value::Null),
    ),
    mutant(
        "a listing is filtered by nothing",
        &["ARCP-6.6-6"],
        Asked("session.list_jobs", |list| take(&mut list["payload"], "filter")),
    ),
    mutant(
        "a listing is not filtered by status",
        &["ARCP-6.6-6"],
        Asked("session.list_jobs", |list| unfiltered(list, "status")),
    ),
    mutant(
        "a listing is not filtered by agent",
        &["ARCP-6.6-6"],
        Asked("session.list_jobs", |list| unfiltered(list, "agent")),
    ),
    mutant(
        "a listing is not filtered by time of creation",
        &["ARCP-6.6-6"],
        Asked("session.list_jobs", |list| unfiltered(list, "created_after")),
    ),
    mutant("a listing needs a filter", &["ARCP-6.6-6", "ARCP-6.6-8"], Any(empty_without_filter)),
    mutant("a listing holds the jobs of others", &["ARCP-6.6-3"], Any(foreign_rows)),
    mutant(
        "a listing holds nothing",
        &["ARCP-6.6-8"],
        Told("session.jobs", |jobs| jobs["payload"]["jobs"] = json!([])),
    ),
    mutant(
        "a row of a listing has no status",
        &["ARCP-6.6-2"],
        Told("session.jobs", |jobs| each_row(jobs, |row| take(row, "status"))),
    ),
    mutant(
        "a row of a listing has no lease",
        &["ARCP-6.6-2"],
        Told("session.jobs", |jobs| each_row(jobs, |row| take(row, "lease"))),
    ),
    mutant(
        "a row of a listing has no time of creation",
        &["ARCP-6.6-2"],
        Told("session.jobs", |jobs| each_row(jobs, |row| take(row, "created_at"))),
    ),
    mutant(
        "a row of a listing has no trace",
        &["ARCP-6.6-2"],
        Told("session.jobs", |jobs| each_row(jobs, |row| take(row, "trace_id"))),
    ),
    mutant(
        "a row of a listing has no number of its last event",
        &["ARCP-6.6-2"],
        Told("session.jobs", |jobs| each_row(jobs, |row| take(row, "last_event_seq"))),
    ),
    mutant(
        "what has ended is listed as running for ever",
        &["ARCP-6.6-2"],
        Told("session.jobs", |jobs| each_row(jobs, |row| row["status"] = json!("running"))),
    ),
    mutant(
        "a listing shows agents without their versions",
        &["ARCP-7.5-9"],
        Told("session.jobs", |jobs| {
            each_row(jobs, |row| {
                let agent = row["agent"].as_str().unwrap_or_default();
                row["agent"] = json!(agent.split('@').next());
            });
        }),
    ),
    mutant("a listing subscribes to what it lists", &["ARCP-6.6-4"], Any(subscribing)),
];

/// Takes a field away.
pub(super) fn take(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}

fn unfiltered(list: &mut Value, by: &str) {
    if let Some(filter) = list.pointer_mut("/payload/filter") {
        take(filter, by);
    }
}

fn each_row(jobs: &mut Value, change: fn(&mut Value)) {
    jobs["payload"]["jobs"].as_array_mut().into_iter().flatten().for_each(change);
}

fn empty_without_filter(wire: &mut Wire, _: &mut World, mut frame: Frame) -> Vec<Frame> {
    if let Frame::Told(jobs) = &mut frame
        && kind(jobs) == "session.jobs"
    {
        let request = wire.asked.get(text(&jobs["payload"], "request_id"));
        if request.is_some_and(|request| request["payload"]["filter"].is_null()) {
            jobs["payload"]["jobs"] = json!([]);
        }
    }
    vec![frame]
}

/// Every job that anybody submitted is listed, told like the listed ones.
fn foreign_rows(wire: &mut Wire, world: &mut World, mut frame: Frame) -> Vec<Frame> {
    if let Frame::Told(jobs) = &mut frame
        && kind(jobs) == "session.jobs"
    {
        let foreign = world.owners.iter().filter(|(_, owner)| **owner != wire.who);
        let rows = foreign.map(|(job, _)| {
            json!({
                "job_id": job, "agent": "sleeper@1.0.0", "status": "running", "lease": {}, "parent_job_id": null,
                "created_at": "2026-11-20T00:00:00Z", "submitted_at": "2026-11-20T00:00:00Z",
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "last_event_seq": 0
            })
        });
        jobs["payload"]["jobs"].as_array_mut().into_iter().for_each(|listed| listed.extend(rows.clone()));
    }
    vec![frame]
}

fn subscribing(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(jobs) if kind(&jobs) == "session.jobs" => {
            let rows = jobs["payload"]["jobs"].as_array().cloned().unwrap_or_default();
            let subscribe = rows.iter().map(|row| {
                Frame::Asked(json!({
                    "arcp": "1.1", "id": "req_bent", "type": "job.subscribe", "session_id": wire.session,
                    "payload": { "job_id": row["job_id"], "history": true }
                }))
            });
            subscribe.chain([Frame::Told(jobs.clone())]).collect()
        }
        Frame::Told(answer) if answer["payload"]["request_id"] == "req_bent" => Vec::new(),
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}
