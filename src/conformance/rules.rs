//! What holds of every frame of every runtime, whatever a case is about.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pattern::shown;
use crate::wire::decode::server_frame;
use crate::wire::envelope::VERSION;
use crate::wire::limits::Limits;

/// A rule that a frame breaks: the requirement, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The requirement, as in `ARCP-8.3-1`.
    pub requirement: &'static str,
    /// What was expected, and what came.
    pub what: String,
}

/// What one session has been sent.
#[derive(Debug, Default)]
pub struct Rules {
    newest: u64,
    over: BTreeSet<String>,
}

impl Rules {
    /// A session that is resumed after this number.
    pub fn after(newest: u64) -> Self {
        Rules { newest, ..Rules::default() }
    }

    /// The newest number of the session.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Holds a frame against the rules.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&mut self, frame: &Value, limits: &Limits) -> Result<(), Broken> {
        envelope(frame)?;
        self.number(frame)?;
        self.end(frame)?;
        server_frame(frame.to_string().as_bytes(), limits)
            .map(drop)
            .map_err(|what| Broken { requirement: "ARCP-5-1", what: format!("{}: {what}", kind(frame)) })
    }

    fn number(&mut self, frame: &Value) -> Result<(), Broken> {
        let numbered = matches!(kind(frame), "job.event" | "job.result" | "job.error");
        match (&frame["event_seq"], numbered) {
            (Value::Null, _) => Ok(()),
            (seq, true) if seq.as_u64() == Some(self.newest + 1) => {
                self.newest += 1;
                Ok(())
            }
            (seq, true) => {
                let what = format!("event_seq: expected {}, got {}", self.newest + 1, shown(seq));
                Err(Broken { requirement: "ARCP-8.3-1", what })
            }
            (seq, false) => {
                let heartbeat = matches!(kind(frame), "session.ping" | "session.pong");
                let requirement = if heartbeat { "ARCP-6.4-5" } else { "ARCP-8.1-1" };
                let what = format!("event_seq: {} is no event, got {}", kind(frame), shown(seq));
                Err(Broken { requirement, what })
            }
        }
    }

    /// Nothing comes of a job after its end, but to who subscribes to it again.
    fn end(&mut self, frame: &Value) -> Result<(), Broken> {
        let job = frame["job_id"].as_str().unwrap_or_default();
        match kind(frame) {
            "job.subscribed" | "job.accepted" => drop(self.over.remove(job)),
            "job.event" if self.over.contains(job) => {
                let what = format!("an event of {job} after its end");
                return Err(Broken { requirement: "ARCP-7.3-1", what });
            }
            "job.result" | "job.error" if !job.is_empty() && !self.over.insert(job.into()) => {
                let what = format!("a second end of {job}");
                return Err(Broken { requirement: "ARCP-7.3-1", what });
            }
            _ => {}
        }
        Ok(())
    }
}

fn kind(frame: &Value) -> &str {
    frame["type"].as_str().unwrap_or_default()
}

fn envelope(frame: &Value) -> Result<(), Broken> {
    let broken = |what: String| Err(Broken { requirement: "ARCP-5-1", what });
    if !frame.is_object() {
        return broken(format!("expected a JSON object, got {}", shown(frame)));
    }
    if frame["arcp"] != VERSION {
        return broken(format!("arcp: expected {VERSION:?}, got {}", shown(&frame["arcp"])));
    }
    for field in ["id", "type"] {
        if frame[field].as_str().is_none_or(str::is_empty) {
            return broken(format!("{field}: expected a text, got {}", shown(&frame[field])));
        }
    }
    if !frame["payload"].is_object() {
        return broken(format!("payload: expected an object, got {}", shown(&frame["payload"])));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_have_no_gap_and_jobs_end_once() {
        let mut rules = Rules::default();
        let job = "job_01M7VVR1MSW45PAYMV9W1729G1";
        let mut check = |kind: &str, seq: Option<u64>, payload: Value| {
            let mut frame =
                json!({ "arcp": "1.1", "id": "x", "type": kind, "job_id": job, "payload": payload });
            if let Some(seq) = seq {
                frame["event_seq"] = json!(seq);
            }
            rules.check(&frame, &Limits::default()).map_err(|broken| broken.requirement)
        };
        let at = "2026-11-20T00:00:00Z";
        let event =
            json!({ "kind": "log", "ts": at, "job_id": job, "body": { "level": "info", "message": "m" } });
        let end = json!({ "job_id": job, "final_status": "success", "result": 1, "completed_at": at });
        assert_eq!(check("job.event", Some(1), event.clone()), Ok(()));
        assert_eq!(check("job.event", Some(3), event.clone()), Err("ARCP-8.3-1"));
        assert_eq!(check("session.pong", Some(2), json!({ "ping_nonce": "n" })), Err("ARCP-6.4-5"));
        assert_eq!(check("job.result", Some(2), end.clone()), Ok(()));
        assert_eq!(check("job.event", Some(3), event), Err("ARCP-7.3-1"));
        assert_eq!(check("job.result", Some(4), end), Err("ARCP-7.3-1"));
        assert_eq!(check("job.result", None, json!([])), Err("ARCP-5-1"));
    }
}
