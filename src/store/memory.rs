//! The store that forgets when the process ends: for embedding, tests, and as the model of the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::{
    Answer, Batch, Commits, Epoch, Fenced, FinishedRow, Full, JobRow, Op, Restored, SessionRow, Store,
    StoreHealth, StoreKind, Ticket, Unreadable, first_of, number,
};
use crate::proto::idempotency::Keyed;
use crate::proto::listing::{Listed, Query, listed};
use crate::proto::record::{RECORD_OVERHEAD_BYTES, Record, Tail};
use crate::proto::stream::{Attachment, Place};
use crate::proto::submit::Spec;
use crate::wire::id::{JobId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::principal::Principal;

struct StoredJob {
    row: JobRow,
    records: VecDeque<Record>,
    bytes: u64,
}

#[derive(Default)]
struct Inner {
    next: u64,
    jobs: HashMap<JobId, StoredJob>,
    ids: BTreeSet<JobId>,
    by_principal: BTreeMap<Principal, BTreeSet<JobId>>,
    sessions: BTreeMap<SessionId, SessionRow>,
    bytes: u64,
}

/// Keeps everything in memory; every batch is applied when it is submitted.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    max_bytes: u64,
}

const EPOCH: Epoch = Epoch(1);

impl MemoryStore {
    /// An empty store that takes no new work once it holds `max_bytes`.
    pub fn new(max_bytes: u64) -> Self {
        MemoryStore { inner: Mutex::new(Inner::default()), max_bytes }
    }

    /// A session as it is stored.
    pub fn session(&self, session: SessionId) -> Option<SessionRow> {
        self.inner.lock().sessions.get(&session).cloned()
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        EPOCH
    }

    fn restore(&self) -> Result<Restored, Unreadable> {
        let inner = self.inner.lock();
        let mut restored =
            Restored { sessions: inner.sessions.values().cloned().collect(), ..Restored::default() };
        for stored in inner.jobs.values() {
            let JobRow { spec, tail, .. } = &stored.row;
            match stored.row.ended_at {
                Some(ended_at) => restored.finished.push(FinishedRow {
                    job: spec.id,
                    principal: spec.principal.clone(),
                    key: Keyed::of(spec),
                    ended_at,
                    weight: spec.weight() + tail.weight(),
                }),
                None => restored.unfinished.push(stored.row.clone()),
            }
        }
        restored.unfinished.sort_by_key(|row| (row.spec.created_at, row.spec.id));
        restored.finished.sort_by_key(|row| (row.ended_at, row.job));
        Ok(restored)
    }

    fn outlives(&self) -> bool {
        false
    }

    fn submit(&self, batch: Batch) -> Ticket {
        if batch.epoch != EPOCH {
            return Ticket::REFUSED;
        }
        let mut inner = self.inner.lock();
        for op in batch.ops {
            inner.apply(op);
        }
        inner.next += 1;
        Ticket(inner.next)
    }

    fn applied(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), Fenced>> {
        let refused = ticket == Ticket::REFUSED;
        Box::pin(ready(if refused { Err(Fenced { newest: EPOCH }) } else { Ok(()) }))
    }

    fn admits(&self) -> Result<(), Full> {
        let bytes = self.inner.lock().bytes;
        if bytes < self.max_bytes { Ok(()) } else { Err(Full::Bytes { bytes, max: self.max_bytes }) }
    }

    fn health(&self) -> StoreHealth {
        StoreHealth {
            kind: StoreKind::Memory,
            path: None,
            durability: None,
            format: None,
            used_bytes: self.inner.lock().bytes,
            free_bytes: 0,
            disk_bytes: 0,
            queue_batches: 0,
            queue_bytes: 0,
            hot_bytes: 0,
            failing: false,
            commits: Commits::default(),
        }
    }

    fn job(&self, job: JobId) -> Answer<'_, Option<JobRow>> {
        Box::pin(ready(Ok(self.inner.lock().jobs.get(&job).map(|stored| stored.row.clone()))))
    }

    fn list(&self, query: Query) -> Answer<'_, (Vec<Listed>, bool)> {
        let inner = self.inner.lock();
        let jobs = match &query.principal {
            Some(principal) => inner.by_principal.get(principal),
            None => Some(&inner.ids),
        };
        let mut rows = jobs
            .into_iter()
            .flat_map(|jobs| match query.before {
                Some(before) => jobs.range(..before),
                None => jobs.range(..),
            })
            .rev()
            .filter_map(|job| inner.jobs.get(job))
            .filter(|stored| query.admits(&stored.row.spec, stored.row.status))
            .map(|StoredJob { row, .. }| listed(&row.spec, row.status, row.ended_at, row.tail.last()));
        let page: Vec<Listed> = rows.by_ref().take(query.limit).collect();
        let more = rows.next().is_some();
        Box::pin(ready(Ok((page, more))))
    }

    fn records(&self, job: JobId, after: u64, max_events: u64, max_bytes: usize) -> Answer<'_, Vec<Record>> {
        let inner = self.inner.lock();
        let found =
            inner.jobs.get(&job).filter(|stored| stored.row.tail.first() <= after + 1).map(|stored| {
                let skip = usize::try_from(after + 1 - stored.row.tail.first()).unwrap_or(usize::MAX);
                first_of(stored.records.range(skip.min(stored.records.len())..), max_events, max_bytes)
            });
        Box::pin(ready(Ok(found.unwrap_or_default())))
    }
}

impl Inner {
    fn apply(&mut self, op: Op) {
        match op {
            Op::JobAccepted { spec } => self.accept(spec),
            Op::JobStarted { job, attempt, at } => self.job(job, |row| {
                (row.status, row.attempts) = (JobStatus::Running, attempt);
                row.started_at.get_or_insert(at);
            }),
            Op::JobCancelling { job, cancellation } => {
                self.job(job, |row| row.cancellation = Some(cancellation));
            }
            Op::JobEnded { job, status, at } => {
                self.job(job, |row| (row.status, row.ended_at) = (status, Some(at)));
            }
            Op::Append { job, record } => self.append(job, record),
            Op::Trim { job, first } => self.trim(job, first),
            Op::RemoveJob(job) => self.remove_job(job),
            Op::SessionOpened { session, principal, features, token } => {
                let (tokens, attached, extents) = (vec![token], BTreeMap::new(), Vec::new());
                let (closed, released) = (false, 0);
                let id = session;
                let row = SessionRow { id, principal, features, tokens, closed, attached, extents, released };
                self.sessions.insert(session, row);
            }
            Op::Tokens { session, hashes } => self.session(session, |stored| stored.tokens = hashes),
            Op::Closed { session, closed } => self.session(session, |stored| stored.closed = closed),
            Op::Attached { session, job, pos, submitter } => {
                self.session(session, |stored| {
                    let before = stored.attached.get(&job).is_some_and(|before| before.submitter);
                    let submitter = submitter || before;
                    stored.attached.insert(job, Attachment { pos, submitter, done: false });
                });
            }
            Op::Detached { session, job } => {
                self.session(session, |stored| {
                    stored.attached.remove(&job);
                });
            }
            Op::Numbered { session, numbers } => self.session(session, |stored| {
                for Place { job, pos, done } in numbers.places {
                    if let Some(attachment) = stored.attached.get_mut(&job) {
                        (attachment.pos, attachment.done) = (pos, done);
                    }
                }
                for extent in numbers.extents {
                    number(&mut stored.extents, extent);
                }
            }),
            Op::Released { session, through } => self.session(session, |stored| {
                stored.released = through;
                let gone = stored.extents.partition_point(|extent| extent.last_seq() <= through);
                stored.extents.drain(..gone);
            }),
            Op::RemoveSession(session) => {
                self.sessions.remove(&session);
            }
        }
    }

    fn accept(&mut self, spec: Arc<Spec>) {
        self.ids.insert(spec.id);
        self.by_principal.entry(spec.principal.clone()).or_default().insert(spec.id);
        let bytes = spec.weight();
        self.bytes += bytes;
        let id = spec.id;
        let row = JobRow {
            spec,
            status: JobStatus::Pending,
            attempts: 0,
            started_at: None,
            cancellation: None,
            ended_at: None,
            tail: Tail::default(),
        };
        self.jobs.insert(id, StoredJob { row, records: VecDeque::new(), bytes });
    }

    fn job(&mut self, job: JobId, change: impl FnOnce(&mut JobRow)) {
        if let Some(stored) = self.jobs.get_mut(&job) {
            change(&mut stored.row);
        }
    }

    fn append(&mut self, job: JobId, record: Record) {
        let Some(stored) = self.jobs.get_mut(&job) else { return };
        let bytes = RECORD_OVERHEAD_BYTES + record.payload.len() as u64;
        stored.bytes += bytes;
        self.bytes += bytes;
        stored.row.tail.push(&record);
        stored.records.push_back(record);
    }

    fn remove_job(&mut self, job: JobId) {
        let Some(stored) = self.jobs.remove(&job) else { return };
        self.ids.remove(&job);
        self.bytes -= stored.bytes;
        let principal = &stored.row.spec.principal;
        if let Some(jobs) = self.by_principal.get_mut(principal) {
            jobs.remove(&job);
            if jobs.is_empty() {
                self.by_principal.remove(principal);
            }
        }
    }

    fn session(&mut self, session: SessionId, change: impl FnOnce(&mut SessionRow)) {
        if let Some(stored) = self.sessions.get_mut(&session) {
            change(stored);
        }
    }

    fn trim(&mut self, job: JobId, first: u64) {
        let Some(stored) = self.jobs.get_mut(&job) else { return };
        stored.row.tail.trim(first);
        while stored.records.front().is_some_and(|record| record.pos < first)
            && let Some(record) = stored.records.pop_front()
        {
            let bytes = RECORD_OVERHEAD_BYTES + record.payload.len() as u64;
            stored.bytes -= bytes;
            self.bytes -= bytes;
        }
    }
}
