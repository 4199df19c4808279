//! The published clients as readers: what each of them needs of every frame, what it takes a frame for, and what it
//! still waits for. A frame that a client would drop, or die of, is an error here.

pub(crate) mod go;
pub(crate) mod java;
pub(crate) mod python;
pub(crate) mod ruby;
pub(crate) mod rust2;
mod shape;
pub(crate) mod typescript;

use std::collections::VecDeque;

use serde_json::Value;

pub(crate) use self::shape::Wrong;

/// What a client takes a frame for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    /// A submit began this job.
    Accepted { request: String, job: String },
    /// A request failed.
    Refused { request: String, code: String },
    /// A request that is no submit was answered.
    Answered { request: String },
    /// A job is over.
    Ended { job: String, how: String },
    /// Something about a job.
    About { job: String },
    /// Nothing that anybody waits for.
    Nothing,
}

/// A client's half of what happens with frames.
pub(crate) trait Reader {
    /// A request went out.
    fn asked(&mut self, request: &Value);

    /// A frame came in.
    fn read(&mut self, frame: &Value) -> Result<Told, Wrong>;

    /// The requests that somebody waits for.
    fn waiting(&self) -> Vec<String>;

    /// Whether it is sent every number, and can count them.
    fn counts(&self) -> bool {
        true
    }
}

/// Requests that wait for their answer, in the order in which they went out.
#[derive(Debug, Default)]
pub(crate) struct Waiting(VecDeque<Asked>);

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) trace: Option<String>,
    pub(crate) job: Option<String>,
}

impl Waiting {
    /// Notes a request of a kind that somebody waits for.
    pub(crate) fn note(&mut self, request: &Value, kinds: &[&str]) {
        let kind = request["type"].as_str().unwrap();
        if kinds.contains(&kind) {
            let text = |value: &Value| value.as_str().map(String::from);
            self.0.push_back(Asked {
                id: text(&request["id"]).unwrap(),
                kind: kind.into(),
                trace: text(&request["trace_id"]),
                job: text(&request["payload"]["job_id"]),
            });
        }
    }

    /// Takes the first request that fits.
    pub(crate) fn take(&mut self, fits: impl Fn(&Asked) -> bool) -> Option<Asked> {
        let at = self.0.iter().position(fits)?;
        self.0.remove(at)
    }

    /// Takes the oldest request of a kind.
    pub(crate) fn oldest(&mut self, kind: &str) -> Option<Asked> {
        self.take(|asked| asked.kind == kind)
    }

    /// Takes the request of this id.
    pub(crate) fn named(&mut self, id: &Value) -> Option<Asked> {
        self.take(|asked| id == asked.id.as_str())
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.0.iter().map(|asked| asked.id.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text out of a frame that was checked before.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}
