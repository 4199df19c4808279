//! Somebody who comes when everything is over, and compares what is listed and served with what was applied.

use serde_json::{Value, json};

use crate::common::peer::{frame, hello};
use crate::net::Item;
use crate::state::State;

/// One for each principal.
pub(crate) struct Judge {
    pub(crate) index: usize,
    principal: &'static str,
    link: Option<u64>,
    sent: u64,
    /// The rows that were listed, and where the next page begins.
    rows: Vec<Value>,
    /// The jobs that are still to be asked for.
    left: Vec<String>,
    listed: bool,
    history: Vec<Value>,
    from: u64,
    pub(crate) done: bool,
}

impl Judge {
    pub(crate) fn new(index: usize, principal: &'static str) -> Judge {
        Judge {
            index,
            principal,
            link: None,
            sent: 0,
            rows: Vec::new(),
            left: Vec::new(),
            listed: false,
            history: Vec::new(),
            from: 0,
            done: false,
        }
    }

    pub(crate) fn begin(&mut self, state: &mut State) {
        self.link = state.connect(self.index);
        let features = ["list_jobs", "subscribe", "progress", "result_chunk"];
        self.send(state, "session.hello", hello(&format!("tok-{}", self.principal), &features));
    }

    fn send(&mut self, state: &mut State, kind: &str, payload: Value) {
        self.sent += 1;
        let text = frame(&format!("sim_{}_{}", self.index, self.sent), kind, payload).to_string();
        if let Some(link) = self.link {
            state.send_up(link, text.into());
        }
    }

    pub(crate) fn receive(&mut self, state: &mut State, link: u64, item: Item) {
        if self.link != Some(link) {
            return;
        }
        let Item::Frame(bytes) = item else {
            // What it asks for may go while it looks.
            if !self.done && !state.plan.tight {
                state.violation("the judge is sent away".into());
            }
            self.done = true;
            return;
        };
        let frame: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match frame["type"].as_str().unwrap_or_default() {
            "session.welcome" => self.send(state, "session.list_jobs", json!({ "limit": 3 })),
            "session.jobs" => self.page(state, &frame["payload"]),
            "job.subscribed" => self.from = frame["payload"]["subscribed_from"].as_u64().unwrap_or_default(),
            "job.event" => self.history.push(frame),
            "job.result" | "job.error" => {
                self.history.push(frame);
                self.compare(state);
                self.next(state);
            }
            "session.error" if state.plan.tight => self.next(state),
            // The disk may still be failing, until it is tried again.
            "session.error" if frame["payload"]["retryable"] == true => self.begin(state),
            _ => state.violation(format!("the judge does not expect {frame}")),
        }
    }

    fn page(&mut self, state: &mut State, payload: &Value) {
        self.rows.extend(payload["jobs"].as_array().into_iter().flatten().cloned());
        if !payload["next_cursor"].is_null() {
            return self.send(
                state,
                "session.list_jobs",
                json!({ "limit": 3, "cursor": payload["next_cursor"] }),
            );
        }
        let kept =
            state.oracle.jobs.iter().filter(|(_, job)| !job.removed && job.principal == self.principal);
        let mut expected: Vec<(String, String, u64)> =
            kept.map(|(id, job)| (id.clone(), job.status.to_string(), job.last())).collect();
        expected.reverse();
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let row = |row: &Value| {
            (text(row, "job_id"), text(row, "status"), row["last_event_seq"].as_u64().unwrap_or_default())
        };
        let listed: Vec<(String, String, u64)> = self.rows.iter().map(row).collect();
        if listed != expected && !state.plan.tight {
            state.violation(format!("{} is listed {listed:?} and has {expected:?}", self.principal));
        }
        self.left = listed.into_iter().map(|(job, ..)| job).collect();
        self.listed = true;
        self.next(state);
    }

    fn next(&mut self, state: &mut State) {
        self.history.clear();
        match self.left.pop() {
            Some(job) => self.send(state, "job.subscribe", json!({ "job_id": job, "history": true })),
            None => self.done = true,
        }
    }

    fn compare(&mut self, state: &mut State) {
        let id = self.history[0]["job_id"].as_str().unwrap_or_default();
        let Some(job) = state.oracle.jobs.get(id) else { return };
        let served: Vec<&Value> = self.history.iter().map(|frame| &frame["payload"]).collect();
        let applied: Vec<&Value> =
            job.history.iter().skip(self.from as usize).map(|told| &told.payload).collect();
        if served != applied || self.from + 1 != job.first {
            state.violation(format!("{id} is served otherwise than it was applied, from {}", self.from));
        }
    }
}
