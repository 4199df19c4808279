//! The Python client 1.1.3. Whatever its models refuse ends its reader, and with it every open handle.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{
    Check, flag, instant, lease, may, must, needs, object, positive, status, trace, ulid, whole, word,
};
use super::{Reader, Told, Waiting, Wrong, text};

#[derive(Default)]
pub(crate) struct Python {
    waiting: Waiting,
    open: BTreeSet<String>,
}

const AWAITED: [&str; 3] = ["job.submit", "job.subscribe", "session.list_jobs"];

fn envelope(frame: &Value) -> Result<(), Wrong> {
    must(frame.to_string().len() < 1_048_576, "a message of 1 MiB closes the connection")?;
    needs(frame, &[("arcp", |v| v == "1.1"), ("type", word), ("payload", object)])?;
    let id = text(&frame["id"]);
    let bare = id.rsplit_once('_').map_or(id.as_str(), |(prefix, rest)| {
        if prefix.bytes().all(|b| b.is_ascii_lowercase()) { rest } else { "" }
    });
    must(ulid(bare), "id")?;
    may(frame, &[("trace_id", trace), ("event_seq", positive), ("session_id", word), ("job_id", word)])
}

const NULLABLE_WORD: Check = |v| v.is_null() || word(v);

impl Reader for Python {
    fn asked(&mut self, request: &Value) {
        self.waiting.note(request, &AWAITED);
        if request["type"] == "job.unsubscribe" {
            self.open.remove(&text(&request["payload"]["job_id"]));
        }
    }

    fn waiting(&self) -> Vec<String> {
        self.waiting.ids()
    }

    fn read(&mut self, frame: &Value) -> Result<Told, Wrong> {
        envelope(frame)?;
        let payload = &frame["payload"];
        Ok(match frame["type"].as_str().unwrap() {
            "session.welcome" => {
                needs(payload, &[("session_id", word), ("accepted_at", instant), ("resume_token", word)])?;
                needs(&payload["runtime"], &[("name", word), ("version", Value::is_string)])?;
                may(payload, &[("resume_window_sec", whole), ("heartbeat_interval_sec", positive)])?;
                Told::Nothing
            }
            "session.error" => {
                needs(payload, &[("code", word), ("message", Value::is_string)])?;
                must(self.open.is_empty(), "a session.error fails every open handle")?;
                let refused = self.waiting.named(&payload["request_id"]);
                must(self.waiting.is_empty(), "a session.error fails every request that waits")?;
                match refused {
                    Some(asked) => Told::Refused { request: asked.id, code: text(&payload["code"]) },
                    None => Told::Nothing,
                }
            }
            "session.ping" => {
                needs(payload, &[("nonce", word), ("sent_at", instant)]).map(|()| Told::Nothing)?
            }
            "session.jobs" => {
                let asked = self.waiting.named(&payload["request_id"]).ok_or("request_id")?;
                for row in payload["jobs"].as_array().ok_or("jobs")? {
                    needs(
                        row,
                        &[("job_id", word), ("agent", word), ("status", word), ("submitted_at", instant)],
                    )?;
                }
                Told::Answered { request: asked.id }
            }
            "job.accepted" => {
                needs(payload, &[("job_id", word), ("agent", word), ("accepted_at", instant)])?;
                may(payload, &[("lease", lease), ("credentials", Value::is_array)])?;
                let amounts: Check = |v| v.as_object().is_some_and(|budget| budget.values().all(word));
                may(payload, &[("budget", amounts)])?;
                let asked = self.waiting.named(&payload["request_id"]);
                let asked = asked.or_else(|| self.waiting.oldest("job.submit")).ok_or("nobody asked")?;
                let job = text(&payload["job_id"]);
                self.open.insert(job.clone());
                Told::Accepted { request: asked.id, job }
            }
            "job.subscribed" => {
                needs(payload, &[("request_id", word), ("job_id", word), ("agent", word)])?;
                needs(payload, &[("current_status", status), ("replayed", flag)])?;
                let asked = self.waiting.named(&payload["request_id"]).ok_or("request_id")?;
                self.open.insert(text(&payload["job_id"]));
                Told::Answered { request: asked.id }
            }
            "job.event" => needs(payload, &[("kind", word), ("ts", instant)])
                .map(|()| Told::About { job: text(&frame["job_id"]) })?,
            "job.result" => {
                needs(payload, &[("completed_at", instant)])?;
                let how = text(&payload["final_status"]);
                must(["success", "cancelled", "timed_out"].contains(&how.as_str()), "final_status")?;
                self.ended(frame, how)
            }
            "job.error" => {
                needs(payload, &[("code", word), ("message", Value::is_string), ("completed_at", instant)])?;
                may(payload, &[("final_status", |v| v == "error"), ("trace_id", NULLABLE_WORD)])?;
                self.ended(frame, text(&payload["code"]))
            }
            // Types that it does not know are passed over.
            _ => Told::Nothing,
        })
    }
}

impl Python {
    fn ended(&mut self, frame: &Value, how: String) -> Told {
        let job = text(&frame["job_id"]);
        self.open.remove(&job);
        Told::Ended { job, how }
    }
}
