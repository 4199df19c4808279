//! The Go client. A payload of the wrong type is dropped, and who waited for it waits on, with everybody behind.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{Check, agents, flag, instant, lease, may, must, needs, object, whole, word};
use super::{Reader, Told, Waiting, Wrong, text};

#[derive(Default)]
pub(crate) struct Go {
    waiting: Waiting,
    /// Jobs whose handles it has.
    handles: BTreeSet<String>,
}

const AWAITED: [&str; 3] = ["job.submit", "job.subscribe", "session.list_jobs"];

fn envelope(frame: &Value) -> Result<(), Wrong> {
    must(frame.to_string().len() < 1_048_576, "a frame of 1 MiB closes the connection")?;
    needs(frame, &[("arcp", Value::is_string), ("id", Value::is_string), ("type", Value::is_string)])?;
    let text: Check = Value::is_string;
    may(frame, &[("session_id", text), ("job_id", text), ("trace_id", text), ("event_seq", whole)])
}

impl Reader for Go {
    fn asked(&mut self, request: &Value) {
        self.waiting.note(request, &AWAITED);
    }

    fn waiting(&self) -> Vec<String> {
        self.waiting.ids()
    }

    fn read(&mut self, frame: &Value) -> Result<Told, Wrong> {
        envelope(frame)?;
        let payload = &frame["payload"];
        Ok(match frame["type"].as_str().unwrap() {
            "session.welcome" => {
                may(payload, &[("resume_window_sec", whole), ("heartbeat_interval_sec", whole)])?;
                may(&payload["capabilities"], &[("agents", agents)])?;
                Told::Nothing
            }
            "session.error" => {
                needs(payload, &[("code", word), ("retryable", flag)])?;
                may(payload, &[("message", Value::is_string), ("details", object)])?;
                match self.waiting.named(&payload["request_id"]) {
                    Some(asked) => Told::Refused { request: asked.id, code: text(&payload["code"]) },
                    None => {
                        let named = [&frame["job_id"], &payload["job_id"]];
                        let handle = named.iter().any(|job| self.handles.contains(&text(job)));
                        must(!handle, "an error without a request ends the job that it names")?;
                        Told::Nothing
                    }
                }
            }
            "session.jobs" => {
                for row in payload["jobs"].as_array().ok_or("jobs")? {
                    needs(
                        row,
                        &[("job_id", word), ("agent", word), ("status", word), ("created_at", instant)],
                    )?;
                    may(row, &[("lease", lease), ("last_event_seq", whole)])?;
                }
                let asked = self.waiting.named(&payload["request_id"]).ok_or("request_id")?;
                Told::Answered { request: asked.id }
            }
            "job.accepted" => {
                needs(payload, &[("job_id", word)])?;
                may(payload, &[("lease", lease), ("accepted_at", instant), ("lease_constraints", object)])?;
                let numbers: Check =
                    |v| v.as_object().is_some_and(|budget| budget.values().all(Value::is_number));
                may(payload, &[("budget", numbers), ("credentials", Value::is_array)])?;
                let job = text(&payload["job_id"]);
                if !self.handles.insert(job.clone()) {
                    // Taken for the handle that is there; the submit goes on waiting.
                    return Ok(Told::About { job });
                }
                let asked = self.waiting.oldest("job.submit").ok_or("nobody asked")?;
                Told::Accepted { request: asked.id, job }
            }
            "job.subscribed" => {
                needs(payload, &[("job_id", word), ("subscribed_from", whole), ("replayed", flag)])?;
                may(payload, &[("lease", lease)])?;
                let job = text(&payload["job_id"]);
                let fits =
                    |asked: &super::Asked| asked.kind == "job.subscribe" && asked.job.as_ref() == Some(&job);
                let asked = self.waiting.take(fits).ok_or("nobody subscribes to it")?;
                self.handles.insert(job);
                Told::Answered { request: asked.id }
            }
            "job.event" => {
                needs(payload, &[("kind", word)])?;
                may(payload, &[("ts", instant)])?;
                Told::About { job: text(&frame["job_id"]) }
            }
            "job.result" => {
                must(
                    payload.get("output").is_some() != payload.get("result_id").is_some(),
                    "output or result_id",
                )?;
                may(payload, &[("result_size", whole), ("summary", Value::is_string)])?;
                must(payload["final_status"] == "success", "every other end is an error")?;
                self.ended(frame, "success".into())
            }
            "job.error" => {
                needs(payload, &[("code", word), ("retryable", flag)])?;
                self.ended(frame, text(&payload["code"]))
            }
            _ => Told::Nothing,
        })
    }
}

impl Go {
    fn ended(&mut self, frame: &Value, how: String) -> Told {
        let job = text(&frame["job_id"]);
        self.handles.remove(&job);
        Told::Ended { job, how }
    }
}
