//! The Java client 1.0.0. A type that it does not know is dropped, and so is a payload that does not fit.

use serde_json::Value;

use super::shape::{Check, agents, flag, instant, lease, may, must, needs, object, positive, whole, word};
use super::{Reader, Told, Waiting, Wrong, text};

#[derive(Default)]
pub(crate) struct Java {
    waiting: Waiting,
}

/// It waits for no answer to a subscription.
const AWAITED: [&str; 2] = ["job.submit", "session.list_jobs"];

const KINDS: [&str; 10] = [
    "log",
    "thought",
    "tool_call",
    "tool_result",
    "status",
    "metric",
    "artifact_ref",
    "delegate",
    "progress",
    "result_chunk",
];

impl Reader for Java {
    fn asked(&mut self, request: &Value) {
        self.waiting.note(request, &AWAITED);
    }

    fn waiting(&self) -> Vec<String> {
        self.waiting.ids()
    }

    fn read(&mut self, frame: &Value) -> Result<Told, Wrong> {
        needs(frame, &[("arcp", word), ("id", word), ("type", word), ("payload", object)])?;
        may(frame, &[("event_seq", whole)])?;
        let (payload, job) = (&frame["payload"], text(&frame["job_id"]));
        Ok(match frame["type"].as_str().unwrap() {
            "session.welcome" => {
                needs(payload, &[("runtime", object), ("capabilities", object), ("resume_token", word)])?;
                needs(&payload["runtime"], &[("name", word), ("version", word)])?;
                may(&payload["capabilities"], &[("agents", agents)])?;
                may(payload, &[("resume_window_sec", positive), ("heartbeat_interval_sec", positive)])?;
                Told::Nothing
            }
            "session.ping" => {
                needs(payload, &[("nonce", word), ("sent_at", instant)]).map(|()| Told::Nothing)?
            }
            "session.pong" | "session.closed" | "job.cancelled" => Told::Nothing,
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
                needs(payload, &[("job_id", word), ("agent", word), ("lease", lease)])?;
                let numbers: Check =
                    |v| v.as_object().is_some_and(|budget| budget.values().all(Value::is_number));
                may(payload, &[("budget", numbers), ("accepted_at", instant)])?;
                let asked = self.waiting.oldest("job.submit").ok_or("nobody asked")?;
                Told::Accepted { request: asked.id, job: text(&payload["job_id"]) }
            }
            "job.subscribed" => {
                needs(payload, &[("job_id", word), ("current_status", word), ("agent", word)])?;
                needs(payload, &[("subscribed_from", whole), ("replayed", flag)])?;
                Told::Nothing
            }
            "job.event" => {
                needs(payload, &[("kind", word), ("ts", instant), ("body", |v| !v.is_null())])?;
                must(
                    KINDS.iter().any(|kind| payload["kind"] == *kind),
                    "an event of a kind that it does not know",
                )?;
                Told::About { job }
            }
            "job.result" => {
                must(payload["final_status"] == "success", "every other end is an error")?;
                Told::Ended { job, how: "success".into() }
            }
            "job.error" => {
                needs(payload, &[("code", word), ("message", word), ("final_status", word)])?;
                let code = text(&payload["code"]);
                if !job.is_empty() {
                    return Ok(Told::Ended { job, how: code });
                }
                match self.waiting.named(&frame["id"]) {
                    Some(asked) => Told::Refused { request: asked.id, code },
                    None => Told::Nothing,
                }
            }
            other => return Err(format!("{other} is none of its types")),
        })
    }
}
