//! The owner of one job: the only place where its records get their numbers.
//!
//! A job's lock is held while a decision is made, its batch is handed to the store and its followers are woken, so
//! the store sees batches in the order of the numbers. Nothing waits under the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::accounts::{Account, Evicted};
use super::session::SessionCell;
use crate::agent::Stopper;
use crate::proto::job::{Afterlife, CancelAnswer, Job, Past, Rejected, Step};
use crate::proto::record::Tail;
use crate::proto::submit::Spec;
use crate::store::{Batch, JobRow, Op, Store, Ticket};
use crate::wire::agent_port::{AgentMessage, BrokenContract};
use crate::wire::error::ErrorBody;
use crate::wire::id::{JobId, ResultId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::limits::Limits;
use crate::wire::time::Timestamp;

/// One session's interest in one job. Publishing marks it; the session's writer clears the mark and looks.
pub(super) struct Follow {
    pub(super) session: Weak<SessionCell>,
    pub(super) job: Arc<JobCell>,
    marked: AtomicBool,
}

impl Follow {
    pub(super) fn new(session: Weak<SessionCell>, job: Arc<JobCell>) -> Arc<Self> {
        Arc::new(Follow { session, job, marked: AtomicBool::new(false) })
    }

    /// Wakes the session, unless it knows already. Costs one atomic swap when it does.
    pub(super) fn mark(self: &Arc<Self>) {
        if !self.marked.swap(true, Ordering::AcqRel)
            && let Some(session) = self.session.upgrade()
        {
            session.marked(self.clone());
        }
    }

    /// Clears the mark; must come before looking at the job, or a record could go unnoticed.
    pub(super) fn clear(&self) {
        self.marked.store(false, Ordering::Release);
    }
}

enum Inner {
    /// Still numbering.
    Live(Box<Live>),
    /// Ended, as it was loaded.
    Stored { tail: Tail, status: JobStatus },
}

struct Live {
    job: Job,
    followers: Vec<Arc<Follow>>,
    submitters: Vec<SessionId>,
    stopper: Option<Stopper>,
    written: Written,
    account: Account,
    /// What the account was charged for the job.
    charged: u64,
}

impl Live {
    fn charge(&mut self) -> u64 {
        let weight = self.job.spec().weight() + self.job.tail().weight();
        self.account.recharge(&mut self.charged, weight);
        weight
    }
}

/// What of a job's writing the store still has to apply.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    batches: u64,
    bytes: u64,
    newest: Ticket,
    checkpoint: Ticket,
    before: Ticket,
}

/// An agent may be this many batches ahead of the store, twice at most.
const CHECKPOINT_BATCHES: u64 = 256;
/// An agent may be about this many bytes ahead of the store, twice at most.
const CHECKPOINT_BYTES: u64 = 1024 * 1024;

impl Written {
    fn note(&mut self, ticket: Ticket, bytes: u64) {
        self.newest = ticket;
        self.batches += 1;
        self.bytes += bytes;
        if self.batches.is_multiple_of(CHECKPOINT_BATCHES) || self.bytes >= CHECKPOINT_BYTES {
            self.bytes = 0;
            self.before = std::mem::replace(&mut self.checkpoint, ticket);
        }
    }
}

/// A job and those who follow it.
pub(super) struct JobCell {
    pub(super) spec: Arc<Spec>,
    store: Arc<dyn Store>,
    limits: Arc<Limits>,
    inner: Mutex<Inner>,
}

impl JobCell {
    /// A job that was just accepted.
    pub(super) fn accepted(
        spec: Arc<Spec>,
        result: ResultId,
        account: Account,
        store: Arc<dyn Store>,
        limits: Arc<Limits>,
    ) -> Self {
        JobCell::live(Job::new(spec, result), account, store, limits)
    }

    fn live(job: Job, account: Account, store: Arc<dyn Store>, limits: Arc<Limits>) -> Self {
        let spec = job.spec().clone();
        let live = Live {
            job,
            followers: Vec::new(),
            submitters: Vec::new(),
            stopper: None,
            written: Written::default(),
            account,
            charged: 0,
        };
        JobCell { spec, store, limits, inner: Mutex::new(Inner::Live(Box::new(live))) }
    }

    /// A job of before the daemon was started again, which has not ended.
    pub(super) fn restored(
        row: JobRow,
        result: ResultId,
        account: Account,
        store: Arc<dyn Store>,
        limits: Arc<Limits>,
    ) -> Self {
        let JobRow { spec, status: _, attempts, started_at, cancellation, ended_at: _, tail } = row;
        let past = Past { attempts, started_at, cancellation, tail };
        let job = Job::restored(spec, result, past);
        JobCell::live(job, account, store, limits)
    }

    /// A job that has ended and is still kept.
    pub(super) fn stored(row: JobRow, store: Arc<dyn Store>, limits: Arc<Limits>) -> Self {
        let JobRow { spec, status, tail, .. } = row;
        JobCell { spec, store, limits, inner: Mutex::new(Inner::Stored { tail, status }) }
    }

    pub(super) fn id(&self) -> JobId {
        self.spec.id
    }

    pub(super) fn status(&self) -> JobStatus {
        match &*self.inner.lock() {
            Inner::Live(live) => live.job.status(),
            Inner::Stored { status, .. } => *status,
        }
    }

    /// Why the job ended, unless it ended well.
    pub(super) fn failure(&self) -> Option<ErrorBody> {
        match &*self.inner.lock() {
            Inner::Live(live) => live.job.failure().cloned(),
            Inner::Stored { .. } => None,
        }
    }

    /// Looks at the shape of the history.
    pub(super) fn tail<T>(&self, look: impl FnOnce(&Tail) -> T) -> T {
        match &*self.inner.lock() {
            Inner::Live(live) => look(live.job.tail()),
            Inner::Stored { tail, .. } => look(tail),
        }
    }

    /// Adds a follower. It is marked at once if there is something for it.
    pub(super) fn follow(&self, follow: &Arc<Follow>) {
        if let Inner::Live(live) = &mut *self.inner.lock()
            && !live.job.status().is_terminal()
        {
            live.followers.retain(|known| known.session.strong_count() > 0);
            live.followers.push(follow.clone());
        }
        follow.mark();
    }

    /// Drops a follower.
    pub(super) fn unfollow(&self, follow: &Arc<Follow>) {
        if let Inner::Live(live) = &mut *self.inner.lock() {
            live.followers.retain(|known| !Arc::ptr_eq(known, follow));
        }
    }

    /// The sessions that submitted the job.
    pub(super) fn submitters(&self) -> Vec<SessionId> {
        match &*self.inner.lock() {
            Inner::Live(live) => live.submitters.clone(),
            Inner::Stored { .. } => Vec::new(),
        }
    }

    /// Gives a session the authority of a submitter.
    pub(super) fn add_submitter(&self, session: SessionId) {
        if let Inner::Live(live) = &mut *self.inner.lock()
            && !live.submitters.contains(&session)
        {
            live.submitters.push(session);
        }
    }

    /// A session that is over has no authority, and need not be remembered.
    pub(super) fn forget_submitter(&self, session: SessionId) {
        if let Inner::Live(live) = &mut *self.inner.lock() {
            live.submitters.retain(|known| *known != session);
        }
    }

    /// When the daemon ends the job by itself.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match &*self.inner.lock() {
            Inner::Live(live) => live.job.deadline(),
            Inner::Stored { .. } => None,
        }
    }

    /// An attempt begins: which, if it should.
    pub(super) fn start(&self, stopper: Stopper, now: Timestamp) -> Option<u32> {
        let Inner::Live(live) = &mut *self.inner.lock() else { return None };
        let attempt = live.job.start(now)?;
        live.stopper = Some(stopper);
        let started = Op::JobStarted { job: self.spec.id, attempt, at: now };
        live.written.note(self.store.submit(Batch { epoch: self.store.epoch(), ops: vec![started] }), 0);
        Some(attempt)
    }

    /// The daemon was started again; see [`Job::go_on`].
    pub(super) fn go_on(&self, agent: Result<bool, &str>, now: Timestamp) {
        self.step(|job, limits| job.go_on(agent, limits, now));
    }

    /// Whether the job waits for the daemon to be started again.
    pub(super) fn suspended(&self) -> bool {
        match &*self.inner.lock() {
            Inner::Live(live) => live.job.suspended(),
            Inner::Stored { .. } => false,
        }
    }

    pub(super) fn agent(&self, message: AgentMessage, now: Timestamp) -> Result<(), Rejected> {
        let Inner::Live(live) = &mut *self.inner.lock() else { return Err(Rejected::Ended) };
        let (step, rejected) = match live.job.agent(message, &self.limits, now) {
            Ok(step) => (step, None),
            Err((step, rejected)) => (step, Some(rejected)),
        };
        self.publish(live, step);
        rejected.map_or(Ok(()), Err)
    }

    /// Charges the job to its principal. Says how much it was in all.
    pub(super) fn charge(&self) -> u64 {
        match &mut *self.inner.lock() {
            Inner::Live(live) => live.charge(),
            Inner::Stored { .. } => 0,
        }
    }

    /// What the job was charged for.
    pub(super) fn weight(&self) -> u64 {
        match &*self.inner.lock() {
            Inner::Live(live) => live.charged,
            Inner::Stored { .. } => 0,
        }
    }

    /// Lets the oldest events of the job go until it weighs so much less, or as much less as it can.
    pub(super) fn lighten(&self, less: u64) {
        if let Inner::Live(live) = &mut *self.inner.lock()
            && !live.job.status().is_terminal()
            && let Some(first) = live.job.tail().lighter(less)
        {
            live.account.lost(Evicted::Shared, first - live.job.tail().first());
            live.job.trim(first);
            let ops = vec![Op::Trim { job: self.spec.id, first }];
            live.written.note(self.store.submit(Batch { epoch: self.store.epoch(), ops }), 0);
            live.charge();
        }
    }

    /// The newest batch of the job.
    pub(super) fn ticket(&self) -> Ticket {
        match &*self.inner.lock() {
            Inner::Live(live) => live.written.newest,
            Inner::Stored { .. } => Ticket::default(),
        }
    }

    /// Waits while the agent is too far ahead of the store, and lets others run now and then.
    pub(super) async fn settled(&self) {
        let written = match &*self.inner.lock() {
            Inner::Live(live) => live.written,
            Inner::Stored { .. } => return,
        };
        if written.batches.is_multiple_of(CHECKPOINT_BATCHES) {
            tokio::task::yield_now().await;
        }
        if written.before > Ticket::default() {
            // Who was fenced off is told by whoever speaks; an agent has nothing to say about it.
            let _ = self.store.applied(written.before).await;
        }
    }

    /// Cancels the job, or says in what state it no longer can be.
    pub(super) fn cancel(&self, reason: Option<String>, now: Timestamp) -> Result<Ticket, JobStatus> {
        let mut inner = self.inner.lock();
        let live = match &mut *inner {
            Inner::Live(live) => live,
            Inner::Stored { status, .. } => return Err(*status),
        };
        match live.job.cancel(reason, &self.limits, now) {
            CancelAnswer::Cancelling(step) => Ok(self.publish(live, step)),
            CancelAnswer::TooLate(status) => Err(status),
        }
    }

    pub(super) fn deadline_passed(&self, now: Timestamp) {
        self.step(|job, limits| job.deadline_passed(limits, now));
    }

    pub(super) fn shut_down(&self, afterlife: Afterlife, now: Timestamp) {
        self.step(|job, limits| job.shut_down(afterlife, limits, now));
    }

    pub(super) fn lost(&self, how: &str, now: Timestamp) {
        self.step(|job, _| job.lost(how, now));
    }

    pub(super) fn stopped(&self, now: Timestamp) {
        self.step(|job, _| job.stopped(now));
    }

    pub(super) fn broken(&self, broken: &BrokenContract, now: Timestamp) {
        self.step(|job, _| job.broken(broken, now));
    }

    fn step(&self, decide: impl FnOnce(&mut Job, &Limits) -> Step) {
        if let Inner::Live(live) = &mut *self.inner.lock() {
            let step = decide(&mut live.job, &self.limits);
            self.publish(live, step);
        }
    }

    /// Hands what was decided to the store and wakes the followers. They may number it at once: their own batch
    /// comes after this one, and they speak only when theirs is applied.
    fn publish(&self, live: &mut Live, step: Step) -> Ticket {
        let Step { records, cancelling, stop } = step;
        let job = self.spec.id;
        let mut ops: Vec<Op> = Vec::with_capacity(records.len() + 1);
        ops.extend(cancelling.map(|cancellation| Op::JobCancelling { job, cancellation }));
        let any = !records.is_empty();
        let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
        ops.extend(records.into_iter().map(|record| Op::Append { job, record }));
        if let Some(at) = live.job.ended_at().filter(|_| any) {
            ops.push(Op::JobEnded { job, status: live.job.status(), at });
        }
        let (tail, limits) = (live.job.tail(), &self.limits);
        if let Some(first) = tail.overflow(limits.history_events, limits.history_bytes) {
            let many = tail.last() + 1 - tail.first() > limits.history_events;
            let why = if many { Evicted::Events } else { Evicted::Bytes };
            live.account.lost(why, first - tail.first());
            live.job.trim(first);
            ops.push(Op::Trim { job, first });
        }
        live.charge();
        let ticket = self.store.submit(Batch { epoch: self.store.epoch(), ops });
        live.written.note(ticket, bytes);
        if let (Some(stopper), Some(stop)) = (&live.stopper, stop) {
            stopper.stop(stop, Duration::from_millis(self.limits.cancel_grace_ms));
        }
        if any {
            live.followers.iter().for_each(Follow::mark);
        }
        if live.job.status().is_terminal() || live.job.suspended() {
            // Nothing follows; and a job must not keep alive those who keep it alive.
            live.followers.clear();
        }
        ticket
    }
}
