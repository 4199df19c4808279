//! The jobs that the client waits for: it files everything under the request that began a job, not under the job.

use std::collections::HashMap;

use crate::wire::id::JobId;

/// Requests of one connection that wait for the same job at a time: what happens in it is told to each of them.
pub(super) const REQUESTS_PER_JOB: usize = 16;

/// Who is told of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The requests that began or repeated it.
    pub(super) requests: Vec<String>,
    /// Whether it is observed beside.
    pub(super) observed: bool,
}

/// The jobs that a connection waits for; no more than its session follows.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    known: HashMap<JobId, Waiting>,
}

impl Jobs {
    /// A request began a job, or repeated it. Says whether there is room for one more to wait for it.
    pub(super) fn began(&mut self, job: JobId, request: &str) -> bool {
        let waiting = self.known.entry(job).or_default();
        let room = waiting.requests.len() < REQUESTS_PER_JOB;
        if room {
            waiting.requests.push(request.into());
        }
        room
    }

    /// A job is observed.
    pub(super) fn observed(&mut self, job: JobId) {
        self.known.entry(job).or_default().observed = true;
    }

    /// A job is observed no more.
    pub(super) fn unobserved(&mut self, job: JobId) {
        if let Some(waiting) = self.known.get_mut(&job) {
            waiting.observed = false;
            if waiting.requests.is_empty() {
                self.known.remove(&job);
            }
        }
    }

    /// Who is told of what happens in a job; at its end for the last time.
    pub(super) fn told(&mut self, job: JobId, over: bool) -> Waiting {
        let waiting = if over { self.known.remove(&job) } else { self.known.get(&job).cloned() };
        waiting.unwrap_or_default()
    }
}
