//! The Ruby gem 1.0.0 and its later form. What it cannot read ends its reader.

use serde_json::Value;

use super::shape::{Check, instant, may, must, needs, object, trace, word};
use super::{Reader, Told, Waiting, Wrong, text};

#[derive(Default)]
pub(crate) struct Ruby {
    waiting: Waiting,
    /// Whether it is the gem 1.0.0.
    first_release: bool,
}

impl Ruby {
    /// The gem 1.0.0.
    pub(crate) fn first_release() -> Self {
        Ruby { first_release: true, ..Ruby::default() }
    }
}

/// It waits for no answer to a subscription.
const AWAITED: [&str; 2] = ["job.submit", "session.list_jobs"];

fn envelope(frame: &Value) -> Result<(), Wrong> {
    needs(frame, &[("arcp", |v| v == "1.1"), ("id", |_| true), ("type", Value::is_string)])?;
    needs(frame, &[("session_id", Value::is_string), ("payload", object)])?;
    may(frame, &[("trace_id", trace), ("event_seq", |v| v.is_i64() || v.is_u64())])
}

/// A lease is a record, or absent.
fn record(payload: &Value) -> Result<(), Wrong> {
    let Some(lease) = payload.get("lease").filter(|lease| !lease.is_null()) else { return Ok(()) };
    needs(
        lease,
        &[("id", word), ("capabilities", |v| v.as_array().is_some_and(|all| all.iter().all(word)))],
    )?;
    may(lease, &[("issued_at", instant), ("expires_at", instant)])?;
    let amounts: Check = |v| v.as_array().is_some_and(|all| all.iter().all(|a| text(a).contains(':')));
    may(lease, &[("cost.budget", amounts), ("model.use", Value::is_array)])
}

/// What the body of a known kind has to have.
fn body(kind: &str) -> &'static [&'static str] {
    match kind {
        "progress" => &["current"],
        "result_chunk" => &["result_id", "chunk_seq", "data", "encoding", "more"],
        "log" => &["level", "message"],
        "thought" => &["text"],
        "tool_call" => &["call_id", "tool"],
        "tool_result" => &["call_id"],
        "status" => &["phase"],
        "metric" => &["name", "value"],
        "trace_span" => &["span_id", "name"],
        "delegate" => &["child_job_id", "agent"],
        _ => &[],
    }
}

impl Reader for Ruby {
    fn asked(&mut self, request: &Value) {
        self.waiting.note(request, &AWAITED);
    }

    fn waiting(&self) -> Vec<String> {
        self.waiting.ids()
    }

    fn read(&mut self, frame: &Value) -> Result<Told, Wrong> {
        envelope(frame)?;
        let (payload, job) = (&frame["payload"], text(&frame["job_id"]));
        Ok(match frame["type"].as_str().unwrap() {
            "session.welcome" => {
                needs(payload, &[("runtime_name", word), ("runtime_version", word), ("resume_token", word)])?;
                let encodings = &payload["capabilities"]["encodings"];
                let own = encodings[0] == if self.first_release { "utf8" } else { "json" };
                must(own, "its own encodings")?;
                Told::Nothing
            }
            "session.error" => {
                needs(payload, &[("code", word), ("message", Value::is_string)])?;
                match self.waiting.named(&payload["reply_to"]) {
                    Some(asked) => Told::Refused { request: asked.id, code: text(&payload["code"]) },
                    None => Told::Nothing,
                }
            }
            "session.ping" => {
                needs(payload, &[("nonce", word), ("sent_at", instant)]).map(|()| Told::Nothing)?
            }
            "session.jobs" => {
                for row in payload["jobs"].as_array().ok_or("jobs")? {
                    needs(row, &[("job_id", word), ("agent", word), ("status", word)])?;
                    let later = self.first_release && row["status"] == "success";
                    must(!later, "a success is called succeeded")?;
                }
                let asked = self.waiting.named(&payload["reply_to"]).ok_or("reply_to")?;
                Told::Answered { request: asked.id }
            }
            "job.accepted" => {
                needs(payload, &[("job_id", word), ("agent", word)])?;
                record(payload)?;
                let asked = self.waiting.named(&payload["reply_to"]).ok_or("reply_to")?;
                Told::Accepted { request: asked.id, job: text(&payload["job_id"]) }
            }
            "job.event" => {
                let kind = text(payload.get("kind").ok_or("kind")?);
                for field in body(&kind) {
                    must(payload["body"].get(*field).is_some(), field)?;
                }
                if kind == "delegate" {
                    record(&payload["body"])?;
                }
                must(!job.is_empty(), "an event is filed by the envelope's job")?;
                Told::About { job }
            }
            "job.result" => {
                needs(payload, &[("job_id", word), ("final_status", |v| v == "success")])?;
                Told::Ended { job, how: "success".into() }
            }
            "job.error" => {
                needs(payload, &[("job_id", word), ("final_status", word), ("code", word)])?;
                Told::Ended { job, how: text(&payload["code"]) }
            }
            _ => Told::Nothing,
        })
    }
}
