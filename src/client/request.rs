//! What a client asks for.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::wire::agent_ref::AgentRef;
use crate::wire::id::TraceId;
use crate::wire::job::Submit;
use crate::wire::lease::{Lease, LeaseConstraints};
use crate::wire::session::{JobFilter, JobSummary};
use crate::wire::time::Timestamp;

/// A job to submit (§7.1).
///
/// ```
/// use arcpd::client::SubmitRequest;
///
/// let agent = "echo@2.0.0".parse().unwrap();
/// let request = SubmitRequest::new(agent)
///     .input(&serde_json::json!({ "text": "hello" }))
///     .unwrap()
///     .lease("tool.call", ["search"])
///     .idempotency_key("order-17");
/// ```
#[derive(Debug, Clone)]
pub struct SubmitRequest {
    pub(super) submit: Submit,
    pub(super) trace_id: Option<TraceId>,
    grants: Vec<(String, Vec<String>)>,
}

impl SubmitRequest {
    /// A job of this agent, without input.
    pub fn new(agent: AgentRef) -> Self {
        SubmitRequest {
            submit: Submit {
                agent,
                input: None,
                lease_request: None,
                lease_constraints: None,
                idempotency_key: None,
                max_runtime_sec: None,
            },
            trace_id: None,
            grants: Vec::new(),
        }
    }

    /// With this input.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn input<T: Serialize>(self, input: &T) -> serde_json::Result<Self> {
        Ok(self.raw_input(serde_json::value::to_raw_value(input)?))
    }

    /// With this input, as it is written but for line ends, which some carriers take for the end of a frame.
    #[must_use]
    pub fn raw_input(mut self, input: Box<RawValue>) -> Self {
        // Inside a JSON text a bare line end is always white space.
        let line = input.get().replace(['\n', '\r'], " ");
        self.submit.input = Some(RawValue::from_string(line).unwrap_or(input));
        self
    }

    /// Asks for these patterns of a namespace (§9.2), beside what was asked for before.
    #[must_use]
    pub fn lease<P: Into<String>>(mut self, namespace: &str, patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns = patterns.into_iter().map(Into::into);
        match self.grants.iter_mut().find(|(known, _)| known == namespace) {
            Some((_, grant)) => grant.extend(patterns),
            None => self.grants.push((namespace.into(), patterns.collect())),
        }
        self.submit.lease_request = Some(Lease::new(self.grants.clone()).into());
        self
    }

    /// The lease ends at this instant (§9.5).
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.submit.lease_constraints = Some(LeaseConstraints { expires_at: Some(at) });
        self
    }

    /// A repeated submit with this key is the same job (§7.2). It also lets the client repeat the submit when the
    /// connection breaks before the answer.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.submit.idempotency_key = Some(key.into());
        self
    }

    /// The job may run for that many seconds.
    #[must_use]
    pub fn max_runtime_sec(mut self, seconds: u64) -> Self {
        self.submit.max_runtime_sec = Some(seconds);
        self
    }

    /// The job belongs to this trace (§11).
    #[must_use]
    pub fn trace_id(mut self, trace_id: TraceId) -> Self {
        self.trace_id = Some(trace_id);
        self
    }
}

/// Where in a job's history to begin (§7.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// With what comes next.
    Now,
    /// After this position; 0 for all that the runtime still has.
    After(u64),
}

/// A page of a listing (§6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The jobs, newest first.
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins; none at the end.
    pub next_cursor: Option<String>,
}

/// All jobs that match, page by page; from [`super::Client::all_jobs`].
#[derive(Debug)]
pub struct AllJobs {
    pub(super) client: super::Client,
    pub(super) filter: JobFilter,
    pub(super) page_size: Option<u64>,
    pub(super) cursor: Option<String>,
    pub(super) done: bool,
}

impl AllJobs {
    /// Whether there is another page, as far as the last one told.
    pub fn has_more(&self) -> bool {
        !self.done
    }

    /// The next page; none after the last one.
    ///
    /// # Errors
    /// As [`super::Client::list_jobs`]; the same page can be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<JobSummary>>, super::RequestError> {
        if self.done {
            return Ok(None);
        }
        let page = self.client.list_jobs(self.filter.clone(), self.page_size, self.cursor.clone()).await?;
        // A cursor that does not move would never end.
        self.done = page.next_cursor.is_none() || page.next_cursor == self.cursor;
        self.cursor = page.next_cursor;
        Ok(Some(page.jobs))
    }
}
