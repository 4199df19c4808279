//! What holds of every frame of every runtime, whatever a case is about.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pattern::shown;
use super::shape;
use crate::wire::envelope::VERSION;
use crate::wire::feature::{Feature, FeatureSet};

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
    features: Option<FeatureSet>,
}

impl Rules {
    /// A session that goes on after this number, with these features, where they are known.
    pub fn after(newest: u64, features: Option<FeatureSet>) -> Self {
        Rules { newest, over: BTreeSet::new(), features }
    }

    /// The newest number of the session.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Holds a frame against the rules.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&mut self, frame: &Value) -> Result<(), Broken> {
        envelope(frame)?;
        self.feature(frame)?;
        self.number(frame)?;
        self.end(frame)?;
        shape::check(frame)
    }

    /// Nothing comes that belongs to a feature which one side did not name.
    fn feature(&self, frame: &Value) -> Result<(), Broken> {
        let needs = match (kind(frame), frame["payload"]["kind"].as_str()) {
            ("session.ping", _) => Feature::Heartbeat,
            ("session.jobs", _) => Feature::ListJobs,
            ("job.subscribed", _) => Feature::Subscribe,
            ("job.event", Some("progress")) => Feature::Progress,
            ("job.event", Some("result_chunk")) => Feature::ResultChunk,
            _ => return Ok(()),
        };
        if self.features.as_ref().is_none_or(|features| features.has(needs)) {
            return Ok(());
        }
        let what = format!("{}: the feature {needs} was not negotiated", kind(frame));
        Err(Broken { requirement: "ARCP-6.2-3", what })
    }

    /// The specification names what has no number, and not all that may have one: what has one counts.
    fn number(&mut self, frame: &Value) -> Result<(), Broken> {
        let seq = &frame["event_seq"];
        if seq.is_null() {
            return Ok(());
        }
        if matches!(kind(frame), "session.ping" | "session.pong") {
            let what = format!("event_seq: {} is no event, got {}", kind(frame), shown(seq));
            return Err(Broken { requirement: "ARCP-6.4-5", what });
        }
        if seq.as_u64() != Some(self.newest + 1) {
            let what =
                format!("{}: event_seq: expected {}, got {}", kind(frame), self.newest + 1, shown(seq));
            return Err(Broken { requirement: "ARCP-8.3-1", what });
        }
        self.newest += 1;
        Ok(())
    }

    /// Nothing comes of a job after its end, but to who subscribes to it again.
    fn end(&mut self, frame: &Value) -> Result<(), Broken> {
        // The specification shows the job of an acceptance in the payload, that of an event in the envelope.
        let job =
            frame["job_id"].as_str().or_else(|| frame["payload"]["job_id"].as_str()).unwrap_or_default();
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
        let job = "whatever-the-runtime-calls-it";
        let mut check = |kind: &str, seq: Option<u64>, payload: Value| {
            let mut frame = json!({ "arcp": "1.1", "id": "x", "type": kind, "job_id": job, "session_id": "s", "payload": payload });
            if let Some(seq) = seq {
                frame["event_seq"] = json!(seq);
            }
            rules.check(&frame).map_err(|broken| broken.requirement)
        };
        let event = json!({ "kind": "log", "body": { "level": "info", "message": "m" } });
        let end = json!({ "final_status": "success", "result": 1 });
        assert_eq!(check("job.event", Some(1), event.clone()), Ok(()));
        assert_eq!(check("job.event", Some(3), event.clone()), Err("ARCP-8.3-1"));
        assert_eq!(check("session.pong", Some(2), json!({ "ping_nonce": "n" })), Err("ARCP-6.4-5"));
        assert_eq!(check("job.result", Some(2), end.clone()), Ok(()));
        assert_eq!(check("job.event", Some(3), event.clone()), Err("ARCP-7.3-1"));
        assert_eq!(check("job.result", Some(4), end.clone()), Err("ARCP-7.3-1"));
        let again = json!({ "job_id": job, "lease": {}, "accepted_at": "now" });
        assert_eq!(check("job.accepted", None, again), Ok(()));
        assert_eq!(check("job.cancelled", Some(5), json!({})), Ok(()), "what has a number counts");
        assert_eq!(check("job.result", Some(6), end), Ok(()));
        assert_eq!(check("job.result", None, json!([])), Err("ARCP-5-1"));
    }

    #[test]
    fn what_was_not_negotiated_does_not_come() {
        let at = "2026-11-20T00:00:00Z";
        let ping = json!({
            "arcp": "1.1", "id": "x", "type": "session.ping", "session_id": "s", "payload": { "nonce": "n", "sent_at": at }
        });
        for (features, expected) in [
            (None, Ok(())),
            (Some(vec!["heartbeat"]), Ok(())),
            (Some(vec!["ack", "progress"]), Err("ARCP-6.2-3")),
        ] {
            let mut rules = Rules::after(0, features.map(FeatureSet::from_flags));
            let checked = rules.check(&ping);
            assert_eq!(checked.map_err(|broken| broken.requirement), expected);
        }
    }
}
