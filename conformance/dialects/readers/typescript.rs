//! The TypeScript client 2.0.0. What its schemas refuse is dropped with a warning, and who waited for it waits on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{
    agents, code, flag, instant, lease, may, must, needs, object, positive, status, trace, whole, word,
};
use super::{Reader, Told, Waiting, Wrong, text};

#[derive(Default)]
pub(crate) struct TypeScript {
    waiting: Waiting,
    welcomed: bool,
    open: BTreeSet<String>,
}

const AWAITED: [&str; 3] = ["job.submit", "job.subscribe", "session.list_jobs"];

fn envelope(frame: &Value) -> Result<(), Wrong> {
    needs(frame, &[("arcp", |v| v == "1.1"), ("id", word), ("session_id", word), ("payload", object)])?;
    may(frame, &[("trace_id", trace), ("job_id", word), ("event_seq", whole)])?;
    must(frame.get("extensions").is_none(), "extensions")
}

fn error(payload: &Value) -> Result<(), Wrong> {
    needs(payload, &[("code", code), ("message", word), ("retryable", flag)])?;
    may(payload, &[("details", object)])?;
    let (code, retryable) = (text(&payload["code"]), payload["retryable"] == true);
    must(code != "INTERNAL_ERROR" || retryable, "INTERNAL_ERROR is retryable")?;
    must(!["LEASE_EXPIRED", "BUDGET_EXHAUSTED"].contains(&code.as_str()) || !retryable, "retryable")
}

impl Reader for TypeScript {
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
                needs(&payload["runtime"], &[("name", word), ("version", word)])?;
                needs(
                    payload,
                    &[("resume_token", word), ("resume_window_sec", positive), ("capabilities", object)],
                )?;
                may(payload, &[("heartbeat_interval_sec", positive)])?;
                may(&payload["capabilities"], &[("agents", agents)])?;
                self.welcomed = true;
                Told::Nothing
            }
            "session.error" => {
                error(payload)?;
                must(self.open.is_empty(), "a session.error rejects every open job")?;
                let refused = self.waiting.named(&payload["request_id"]);
                must(self.waiting.is_empty(), "a session.error rejects every request that waits")?;
                match refused {
                    Some(asked) => Told::Refused { request: asked.id, code: text(&payload["code"]) },
                    None => must(!self.welcomed, "nobody asked").map(|()| Told::Nothing)?,
                }
            }
            "session.ping" => {
                needs(payload, &[("nonce", word), ("sent_at", instant)]).map(|()| Told::Nothing)?
            }
            "session.pong" | "session.bye" | "session.ack" => Told::Nothing,
            "session.jobs" => {
                let asked = self.waiting.named(&payload["request_id"]).ok_or("request_id")?;
                needs(payload, &[("next_cursor", |v| v.is_null() || word(v))])?;
                for row in payload["jobs"].as_array().ok_or("jobs")? {
                    needs(row, &[("job_id", word), ("agent", word), ("status", status), ("lease", lease)])?;
                    needs(row, &[("created_at", instant), ("last_event_seq", whole)])?;
                    may(row, &[("trace_id", trace), ("lease_constraints", object)])?;
                }
                Told::Answered { request: asked.id }
            }
            "job.accepted" => {
                needs(payload, &[("job_id", word), ("lease", lease), ("accepted_at", instant)])?;
                may(payload, &[("agent", word), ("lease_constraints", object), ("trace_id", trace)])?;
                let asked =
                    self.submit_of(frame).ok_or("nobody asked: it would take another submit's place")?;
                let job = text(&payload["job_id"]);
                self.open.insert(job.clone());
                Told::Accepted { request: asked, job }
            }
            "job.cancelled" => may(payload, &[("reason", Value::is_string)]).map(|()| Told::Nothing)?,
            "job.subscribed" => {
                needs(
                    payload,
                    &[("job_id", word), ("agent", word), ("current_status", status), ("lease", lease)],
                )?;
                needs(payload, &[("subscribed_from", whole), ("replayed", flag)])?;
                may(payload, &[("trace_id", trace), ("lease_constraints", object)])?;
                let job = text(&payload["job_id"]);
                let fits =
                    |asked: &super::Asked| asked.kind == "job.subscribe" && asked.job.as_ref() == Some(&job);
                let asked = self.waiting.take(fits).ok_or("nobody subscribes to it")?;
                Told::Answered { request: asked.id }
            }
            "job.event" => {
                needs(payload, &[("kind", word), ("ts", word)])?;
                if payload["kind"] == "result_chunk" {
                    let encoding = |v: &Value| v == "utf8" || v == "base64";
                    needs(
                        &payload["body"],
                        &[("result_id", word), ("chunk_seq", whole), ("encoding", encoding)],
                    )?;
                    needs(&payload["body"], &[("data", Value::is_string), ("more", flag)])?;
                }
                Told::About { job: text(&frame["job_id"]) }
            }
            "job.result" => {
                must(payload["final_status"] == "success", "final_status")?;
                must(
                    payload.get("result").is_none() || payload.get("result_id").is_none(),
                    "result or result_id",
                )?;
                may(payload, &[("result_size", whole), ("summary", Value::is_string)])?;
                self.ended(frame, "success".into())
            }
            "job.error" => {
                error(payload)?;
                let how = text(&payload["final_status"]);
                must(["error", "cancelled", "timed_out"].contains(&how.as_str()), "final_status")?;
                let job = text(&frame["job_id"]);
                must(!job.is_empty(), "an error of no job is passed over")?;
                if self.open.contains(&job) {
                    return Ok(self.ended(frame, text(&payload["code"])));
                }
                match self.submit_of(frame) {
                    Some(request) => Told::Refused { request, code: text(&payload["code"]) },
                    // A job that another session submitted.
                    None => Told::Ended { job, how: text(&payload["code"]) },
                }
            }
            other => return Err(format!("{other} is none of its types")),
        })
    }
}

impl TypeScript {
    /// The submit that an answer is taken for: by its trace, else the oldest.
    fn submit_of(&mut self, frame: &Value) -> Option<String> {
        let trace = frame["trace_id"].as_str();
        let by_trace = self
            .waiting
            .take(|asked| asked.kind == "job.submit" && trace.is_some() && asked.trace.as_deref() == trace);
        by_trace.or_else(|| self.waiting.oldest("job.submit")).map(|asked| asked.id)
    }

    fn ended(&mut self, frame: &Value, how: String) -> Told {
        let job = text(&frame["job_id"]);
        self.open.remove(&job);
        Told::Ended { job, how }
    }
}
