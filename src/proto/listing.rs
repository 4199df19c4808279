//! Listing of jobs (§6.6): filters, pages, cursors.

use std::str::FromStr as _;

use sha2::{Digest as _, Sha256};

use super::authority::may_observe;
use super::submit::Spec;
use crate::wire::encode::json;
use crate::wire::error::ErrorBody;
use crate::wire::id::JobId;
use crate::wire::job::JobStatus;
use crate::wire::limits::Limits;
use crate::wire::principal::Principal;
use crate::wire::session::{JobFilter, JobSummary, ListJobs};
use crate::wire::time::Timestamp;

const SEAL_BYTES: usize = 16;

/// What a listing asks for, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Whose jobs; none for everybody's, which only an operator may ask for.
    pub principal: Option<Principal>,
    /// Which of them.
    pub filter: JobFilter,
    /// How many at most.
    pub limit: usize,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// The key that cursors are sealed with; made at start.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl CursorKey {
    /// A key of random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        CursorKey(random)
    }

    fn seal(&self, principal: Option<&Principal>, filter: &JobFilter, job: JobId) -> String {
        let mut hash = Sha256::new();
        hash.update(self.0);
        // Nobody's name is empty.
        let subject = principal.map(Principal::subject).unwrap_or_default();
        for part in [subject.as_bytes(), &json(filter), job.to_string().as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..SEAL_BYTES])
    }

    /// Where the page after this one begins. Opaque, and good for the same principal and filter only.
    pub fn cursor(&self, query: &Query, last: JobId) -> String {
        let digits = last.to_string()[JobId::PREFIX.len()..].to_owned();
        format!("{digits}.{}", self.seal(query.principal.as_ref(), &query.filter, last))
    }

    fn open(&self, principal: Option<&Principal>, filter: &JobFilter, cursor: &str) -> Option<JobId> {
        let (digits, seal) = cursor.split_once('.')?;
        let job = JobId::from_str(&format!("{}{digits}", JobId::PREFIX)).ok()?;
        // A cursor holds nothing secret: the seal only tells a changed one from ours.
        (self.seal(principal, filter, job) == seal).then_some(job)
    }
}

impl Query {
    /// Checks a request for the jobs of a principal, or of everybody.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a limit of 0, and for a cursor that is not ours or belongs to another listing.
    pub fn new(
        list: ListJobs,
        principal: Option<Principal>,
        key: &CursorKey,
        limits: &Limits,
    ) -> Result<Query, ErrorBody> {
        let ListJobs { filter, limit, cursor } = list;
        let filter = filter.unwrap_or_default();
        let limit = match limit {
            None => limits.list_default_jobs,
            Some(0) => return Err(ErrorBody::invalid("payload.limit: expected at least 1, got 0")),
            Some(asked) => usize::try_from(asked).unwrap_or(usize::MAX).min(limits.list_page_jobs),
        };
        let before = match cursor {
            None => None,
            Some(cursor) => Some(key.open(principal.as_ref(), &filter, &cursor).ok_or_else(|| {
                ErrorBody::invalid(
                    "payload.cursor: expected the unchanged next_cursor of a page with the same filter; \
                     leave it out to begin again",
                )
            })?),
        };
        Ok(Query { principal, filter, limit, before })
    }

    /// Whether a job belongs into the listing.
    pub fn admits(&self, spec: &Spec, status: JobStatus) -> bool {
        let JobFilter { status: statuses, agent, created_after, created_before } = &self.filter;
        self.principal.as_ref().is_none_or(|principal| may_observe(principal, &spec.principal))
            && self.before.is_none_or(|before| spec.id < before)
            && statuses.as_ref().is_none_or(|wanted| wanted.0.contains(&status))
            && agent.as_ref().is_none_or(|wanted| {
                wanted.name == spec.agent.name
                    && (wanted.version.is_none() || wanted.version == spec.agent.version)
            })
            && created_after.is_none_or(|after| spec.created_at > after)
            && created_before.is_none_or(|before| spec.created_at < before)
    }
}

/// A job of a listing: what its principal is shown, and what an operator is shown beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is.
    pub principal: Principal,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its row (§6.6).
    pub summary: JobSummary,
}

/// A job as a listing has it.
pub fn listed(spec: &Spec, status: JobStatus, ended_at: Option<Timestamp>, last_pos: u64) -> Listed {
    Listed { principal: spec.principal.clone(), ended_at, summary: summary(spec, status, last_pos) }
}

/// A job's row in a listing (§6.6).
fn summary(spec: &Spec, status: JobStatus, last_pos: u64) -> JobSummary {
    JobSummary {
        job_id: spec.id,
        agent: spec.agent.clone(),
        status,
        lease: spec.order.lease.clone(),
        lease_constraints: spec.order.constraints.clone(),
        created_at: spec.created_at,
        submitted_at: spec.created_at,
        trace_id: spec.order.trace_id,
        last_event_seq: last_pos,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(list: ListJobs, who: &str) -> Result<Query, ErrorBody> {
        let who = (!who.is_empty()).then(|| who.parse().unwrap());
        Query::new(list, who, &CursorKey::new([7; 32]), &Limits::default())
    }

    #[test]
    fn a_cursor_is_good_for_its_own_listing_only_and_not_when_changed() {
        let key = CursorKey::new([7; 32]);
        let first = query(ListJobs::default(), "alice").unwrap();
        let cursor = key.cursor(&first, JobId::new(5, 5));
        let with = |cursor: &str| ListJobs { cursor: Some(cursor.into()), ..ListJobs::default() };
        assert_eq!(query(with(&cursor), "alice").unwrap().before, Some(JobId::new(5, 5)));
        assert!(query(with(&cursor), "bob").is_err(), "another principal");
        assert!(query(with(&cursor), "").is_err(), "everybody");
        let filter = Some(JobFilter { agent: Some("echo".parse().unwrap()), ..JobFilter::default() });
        assert!(query(ListJobs { filter, ..with(&cursor) }, "alice").is_err(), "another filter");
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert!(query(with(std::str::from_utf8(&changed).unwrap()), "alice").is_err(), "changed at {at}");
        }
        for garbage in ["", ".", "é", "null", &cursor[..20]] {
            assert!(query(with(garbage), "alice").is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_refused_and_a_large_one_is_cut() {
        let limit = |n| query(ListJobs { limit: Some(n), ..ListJobs::default() }, "a");
        assert!(limit(0).is_err());
        assert_eq!(limit(u64::MAX).unwrap().limit, Limits::default().list_page_jobs);
    }
}
