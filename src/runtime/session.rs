//! The owner of one session: the only place where its stream is numbered.
//!
//! Requests put replies into the queue and attachments into the stream; the connection's writer takes both out.
//! A reply is always sent before anything that was numbered after it was queued, so an acceptance precedes its
//! job's events and the acknowledgement of a cancellation precedes the end it leads to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::accounts::{Account, Evicted};
use super::following::Following;
use super::job::{Follow, JobCell};
use crate::proto::flow::{self, Lag};
use crate::proto::job::event_payload;
use crate::proto::session::{Generation, Reattach, Session, TokenHash, reattach};
use crate::proto::stream::{Extent, Lost, Numbers, Window};
use crate::store::{Batch, Op, Store, Ticket};
use crate::transport::CloseReason;
use crate::wire::encode::json;
use crate::wire::event::Status;
use crate::wire::feature::FeatureSet;
use crate::wire::id::{JobId, SessionId, TraceId};
use crate::wire::limits::Limits;
use crate::wire::message::ServerMessage;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// Numbers that one turn of the writer takes at most.
const TURN_EVENTS: u64 = 512;

/// A message that waits to be sent, and the batch that it must not overtake.
pub(super) struct Reply {
    pub(super) message: ServerMessage,
    pub(super) job_id: Option<JobId>,
    pub(super) trace_id: Option<TraceId>,
    pub(super) ticket: Ticket,
}

/// What the writer of a connection is to do next.
pub(super) enum Work {
    /// Nothing, until woken.
    Idle,
    /// Send these, in this order, once the batch is applied.
    Send { replies: Vec<Reply>, extents: Vec<Extent>, ticket: Ticket },
    /// Send the replies, then close.
    Close { replies: Vec<Reply>, reason: CloseReason },
    /// Part of a job's history is gone: the stream cannot go on.
    Lost(Lost),
}

/// A session under its lock.
pub(super) struct Inner {
    pub(super) proto: Session,
    follows: HashMap<JobId, Arc<Follow>>,
    replies: VecDeque<Reply>,
    closing: Option<(Generation, CloseReason)>,
    /// Whether the session follows every job of its principal.
    pub(super) following: Option<Following>,
    /// The last number that a connection was handed.
    sent: u64,
    /// What the account was charged for the session.
    charged: u64,
    /// Who is at the other side of the newest connection, and the dialect that is spoken with it.
    pub(super) peer: Option<(Box<str>, &'static str)>,
    /// The batch of the newest numbers: none of them is spoken before it is applied, on whatever connection.
    numbered: Ticket,
}

/// A session, and what wakes its connection.
pub(super) struct SessionCell {
    pub(super) id: SessionId,
    pub(super) principal: Principal,
    pub(super) features: FeatureSet,
    account: Account,
    store: Arc<dyn Store>,
    limits: Arc<Limits>,
    inner: Mutex<Inner>,
    marked: Mutex<VecDeque<Arc<Follow>>>,
    wake: Notify,
    room: Notify,
}

impl SessionCell {
    pub(super) fn new(
        proto: Session,
        account: Account,
        store: Arc<dyn Store>,
        limits: Arc<Limits>,
    ) -> Arc<Self> {
        Arc::new(SessionCell {
            id: proto.id,
            principal: proto.principal.clone(),
            features: proto.features,
            account,
            store,
            limits,
            inner: Mutex::new(Inner {
                sent: proto.stream.received(),
                charged: 0,
                peer: None,
                proto,
                follows: HashMap::new(),
                replies: VecDeque::new(),
                closing: None,
                following: None,
                numbered: Ticket::default(),
            }),
            marked: Mutex::new(VecDeque::new()),
            wake: Notify::new(),
            room: Notify::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// A job that is followed has something new. Called under the job's lock; takes no other.
    pub(super) fn marked(&self, follow: Arc<Follow>) {
        self.marked.lock().push_back(follow);
        self.wake.notify_one();
    }

    /// Wakes the writer.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until there may be work for the writer.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until the queue of replies has room again.
    pub(super) async fn has_room(&self) {
        while self.inner.lock().replies.len() >= self.limits.replies_pending {
            self.room.notified().await;
        }
    }

    /// Whether somebody waits for an answer that could be sent now.
    pub(super) fn has_replies(&self) -> bool {
        !self.inner.lock().replies.is_empty()
    }

    /// Queues a message that depends on no batch.
    pub(super) fn say(&self, message: ServerMessage) {
        self.inner.lock().reply(Reply { message, job_id: None, trace_id: None, ticket: Ticket::default() });
        self.wake();
    }

    /// Notes who the connection of this generation is.
    pub(super) fn came_from(&self, generation: Generation, peer: &str, dialect: &'static str) {
        let mut inner = self.inner.lock();
        if inner.proto.generation() == generation {
            inner.peer = Some((peer.into(), dialect));
        }
    }

    /// Makes a connection close once its replies are sent. One that was taken over changes nothing.
    pub(super) fn close(&self, generation: Generation, reason: CloseReason) {
        let mut inner = self.inner.lock();
        if inner.proto.generation() == generation {
            inner.closing = Some((generation, reason));
            drop(inner);
            self.wake();
        }
    }

    /// The client of a connection says goodbye: it is answered, and the connection closes.
    pub(super) fn goodbye(&self, generation: Generation, answer: ServerMessage) {
        let mut inner = self.inner.lock();
        if inner.proto.generation() == generation {
            inner.proto.close();
            let ticket = self.submit(vec![Op::Closed { session: self.id, closed: true }]);
            inner.reply(Reply { message: answer, job_id: None, trace_id: None, ticket });
            inner.closing = Some((generation, CloseReason::Done));
            drop(inner);
            self.wake();
        }
    }

    /// Begins a new connection: what the old one had not been sent is of no use to the new one, which is sent
    /// everything after the position that it names. None when the token does not, or no longer, resume the session,
    /// or the position can no longer be reached; then nothing has changed. `void` is told which tokens are void now.
    pub(super) fn resume(
        &self,
        presented: TokenHash,
        next: TokenHash,
        after: u64,
        void: impl FnOnce(&[TokenHash]),
    ) -> Option<(Generation, Ticket)> {
        let mut inner = self.inner.lock();
        if after < inner.proto.stream.released() {
            return None;
        }
        let was_closed = inner.proto.closed();
        let (generation, gone) = inner.proto.resume(presented, next)?;
        // Under the lock, so that the tokens are stored in the order in which they were given.
        let mut ops = vec![Op::Tokens { session: self.id, hashes: inner.proto.tokens().collect() }];
        ops.extend(was_closed.then_some(Op::Closed { session: self.id, closed: false }));
        let ticket = self.submit(ops);
        void(&gone);
        inner.replies.clear();
        inner.closing = None;
        inner.sent = after;
        inner.proto.stream.resumed_after(after);
        drop(inner);
        self.wake.notify_waiters();
        self.wake();
        Some((generation, ticket))
    }

    /// Follows a job from after `pos`. Returns what the store has to be told.
    pub(super) fn attach(
        self: &Arc<Self>,
        inner: &mut Inner,
        job: &Arc<JobCell>,
        pos: u64,
        submitter: bool,
    ) -> Vec<Op> {
        let remembered = self.limits.attachments_per_session;
        let forgotten = inner.proto.stream.attach(job.id(), pos, submitter, remembered);
        self.follow(inner, job);
        if submitter {
            job.add_submitter(self.id);
        }
        let mut ops = vec![Op::Attached { session: self.id, job: job.id(), pos, submitter }];
        ops.extend(forgotten.into_iter().map(|job| Op::Detached { session: self.id, job }));
        ops
    }

    /// Wakes the session from now on when something happens in a job, and at once if something has.
    pub(super) fn follow(self: &Arc<Self>, inner: &mut Inner, job: &Arc<JobCell>) {
        let follow = Follow::new(Arc::downgrade(self), job.clone());
        if let Some(old) = inner.follows.insert(job.id(), follow.clone()) {
            old.job.unfollow(&old);
        }
        job.follow(&follow);
    }

    /// Attaches a session whose submit was a repeated one (our decision 7).
    pub(super) fn reattach(self: &Arc<Self>, inner: &mut Inner, job: &Arc<JobCell>) -> Ticket {
        let ops = match reattach(inner.proto.stream.attachment(job.id()), job.status()) {
            Reattach::FromStart => {
                let pos = job.tail(|tail| tail.first() - 1);
                self.attach(inner, job, pos, true)
            }
            Reattach::Follows => {
                job.add_submitter(self.id);
                inner.proto.stream.steer(job.id());
                let pos = inner.proto.stream.attachment(job.id()).map_or(0, |a| a.pos);
                vec![Op::Attached { session: self.id, job: job.id(), pos, submitter: true }]
            }
            Reattach::RepeatEnd => {
                let extent = inner.proto.stream.repeat(job.id(), job.tail(|tail| tail.last()));
                return self.record(inner, &extent.into());
            }
        };
        self.submit(ops)
    }

    /// Stops following a job, unless the session submitted it.
    pub(super) fn detach(&self, job: JobId) {
        let mut inner = self.inner.lock();
        if inner.proto.stream.detach(job) {
            if let Some(follow) = inner.follows.remove(&job) {
                follow.job.unfollow(&follow);
            }
            self.submit(vec![Op::Detached { session: self.id, job }]);
        }
    }

    pub(super) fn submit(&self, ops: Vec<Op>) -> Ticket {
        self.store.submit(Batch { epoch: self.store.epoch(), ops })
    }

    /// What the connection of this generation, which has been sent everything up to `sent`, is to do next.
    pub(super) fn work(&self, generation: Generation, sent: u64, now: Timestamp) -> Work {
        let mut inner = self.inner.lock();
        if inner.proto.generation() != generation {
            // The wake-up may have been meant for the connection that counts.
            self.wake.notify_one();
            return Work::Close { replies: Vec::new(), reason: CloseReason::TakenOver };
        }
        let replies: Vec<Reply> = inner.replies.drain(..).collect();
        if !replies.is_empty() {
            self.room.notify_waiters();
            self.room.notify_one();
        }
        if let Some((_, reason)) = inner.closing.filter(|(closing, _)| *closing == generation) {
            return Work::Close { replies, reason };
        }
        inner.sent = sent;
        self.trim(&mut inner, sent);
        let slices = inner.proto.stream.after(sent, TURN_EVENTS);
        if !slices.is_empty() {
            return Work::Send { replies, extents: slices, ticket: inner.numbered };
        }
        let mut numbers = Numbers::default();
        let numbering = self.number(&mut inner, &mut numbers);
        match numbering {
            // What was numbered before the loss is still good; the loss is met again in the next turn.
            Err(lost) if replies.is_empty() && numbers.extents.is_empty() => return Work::Lost(lost),
            Ok(()) | Err(_) => {}
        }
        let too_slow = match inner.lag(&self.limits, &numbers.extents, now) {
            Ok(signal) => {
                numbers.extents.extend(signal);
                None
            }
            Err(reason) => Some(reason),
        };
        // What was given out is given out, also to a connection that ends here.
        let ticket = self.record(&mut inner, &numbers);
        if let Some(reason) = too_slow {
            return Work::Close { replies, reason };
        }
        if numbers.extents.is_empty() && replies.is_empty() {
            return Work::Idle;
        }
        Work::Send { replies, extents: numbers.extents, ticket }
    }

    /// Events of its jobs that the session's connection has not been handed: numbered ones, and those that wait for
    /// their numbers.
    pub(super) fn lag(&self) -> u64 {
        let inner = self.inner.lock();
        let stream = &inner.proto.stream;
        // Jobs that are not marked have nothing new.
        let marked: Vec<Arc<Follow>> = self.marked.lock().iter().cloned().collect();
        let behind = |follow: &Arc<Follow>| {
            let at = stream.attachment(follow.job.id()).filter(|attachment| !attachment.done)?;
            Some(follow.job.tail(|tail| tail.last().saturating_sub(at.pos)))
        };
        stream.newest().saturating_sub(inner.sent) + marked.iter().filter_map(behind).sum::<u64>()
    }

    /// Numbers what is new in the jobs that are marked, in turn, up to one writer's turn.
    fn number(&self, inner: &mut Inner, numbers: &mut Numbers) -> Result<(), Lost> {
        let newest = inner.proto.stream.newest();
        let (stream, features) = (&mut inner.proto.stream, self.features);
        loop {
            let left = TURN_EVENTS.saturating_sub(stream.newest() - newest);
            let next = if left == 0 { None } else { self.marked.lock().pop_front() };
            let Some(follow) = next else { return Ok(()) };
            follow.clear();
            let job = follow.job.id();
            let more = follow.job.tail(|tail| stream.number(job, tail, features, left, numbers));
            match more {
                Ok(true) => follow.mark(),
                Ok(false) => {
                    let done = stream.attachment(job).is_none_or(|attachment| attachment.done);
                    if done && inner.follows.get(&job).is_some_and(|known| Arc::ptr_eq(known, &follow)) {
                        inner.follows.remove(&job);
                    }
                }
                Err(lost) => {
                    follow.mark();
                    return Err(lost);
                }
            }
        }
    }

    /// Charges what the session keeps to its principal.
    pub(super) fn charge(&self) {
        self.recharge(&mut self.inner.lock());
    }

    fn recharge(&self, inner: &mut Inner) {
        let weight = inner.proto.stream.bytes() as u64;
        self.account.recharge(&mut inner.charged, weight);
    }

    /// What the session was charged for.
    pub(super) fn weight(&self) -> u64 {
        self.inner.lock().charged
    }

    /// Lets the oldest numbers of the session go until it weighs so much less, or as much less as it can.
    pub(super) fn lighten(&self, less: u64) {
        let mut inner = self.inner.lock();
        let less = usize::try_from(less).unwrap_or(usize::MAX);
        let window = Window { events: u64::MAX, bytes: inner.proto.stream.bytes().saturating_sub(less) };
        let sent = inner.sent;
        self.evict(&mut inner, window, sent);
    }

    /// Tells the store what was numbered.
    fn record(&self, inner: &mut Inner, numbers: &Numbers) -> Ticket {
        if !numbers.is_empty() {
            self.recharge(inner);
            inner.numbered = self.submit(vec![Op::Numbered { session: self.id, numbers: numbers.clone() }]);
        }
        inner.numbered
    }

    /// Frees what was acknowledged or the window does not hold, as far as the client was sent it.
    fn trim(&self, inner: &mut Inner, sent: u64) {
        let window =
            Window { events: self.limits.session_buffer_events, bytes: self.limits.session_buffer_bytes };
        self.evict(inner, window, sent);
    }

    fn evict(&self, inner: &mut Inner, window: Window, sent: u64) {
        let stream = &mut inner.proto.stream;
        let before = stream.released();
        stream.evict(window, sent);
        let through = stream.released();
        self.account.lost(Evicted::Unacknowledged, through.saturating_sub(before.max(stream.acked())));
        if through > before {
            self.submit(vec![Op::Released { session: self.id, through }]);
            self.recharge(inner);
        }
    }

    /// The jobs that the session still follows are no longer told, and forget that it submitted them.
    pub(super) fn retire(&self) {
        let mut inner = self.inner.lock();
        self.account.recharge(&mut inner.charged, 0);
        for (_, follow) in inner.follows.drain() {
            follow.job.unfollow(&follow);
            follow.job.forget_submitter(self.id);
        }
    }
}

impl Inner {
    /// The jobs that the stream follows although nothing wakes the session for them: those of before a restart.
    pub(super) fn unfollowed(&self) -> Vec<JobId> {
        self.proto.stream.followed().filter(|job| !self.follows.contains_key(job)).collect()
    }

    /// Replies that wait to be sent.
    pub(super) fn pending(&self) -> usize {
        self.replies.len()
    }

    /// Queues a reply.
    pub(super) fn reply(&mut self, reply: Reply) {
        self.replies.push_back(reply);
    }

    /// The job that the session follows, if it does.
    pub(super) fn followed(&self, job: JobId) -> Option<Arc<JobCell>> {
        self.follows.get(&job).map(|follow| follow.job.clone())
    }

    /// Judges the session's lag: a private event to tell of it, or the end of the connection.
    fn lag(
        &mut self,
        limits: &Limits,
        extents: &[Extent],
        now: Timestamp,
    ) -> Result<Option<Extent>, CloseReason> {
        let stream = &mut self.proto.stream;
        let behind = stream.newest() - stream.received();
        match flow::lag(behind, stream.acked() > 0, self.proto.signalled, limits) {
            Lag::Fine => {
                if behind < limits.lag_signal_events {
                    self.proto.signalled = false;
                }
                Ok(None)
            }
            Lag::Detach => Err(CloseReason::TooSlow),
            Lag::Signal => {
                let Some(job) = extents.last().map(Extent::job) else { return Ok(None) };
                self.proto.signalled = true;
                let message = format!(
                    "{behind} events are not acknowledged; the connection is closed at {}",
                    limits.lag_detach_events
                );
                let body = json(&Status { phase: "back_pressure".into(), message: Some(message) });
                Ok(Some(stream.private(job, event_payload("status", now, &job.to_string(), &body))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::submit::{Order, Spec};
    use crate::runtime::accounts::Accounts;
    use crate::store::memory::MemoryStore;
    use crate::wire::id::ResultId;

    #[test]
    fn a_job_remembers_only_submitters_that_may_come_back() {
        let (store, limits) = (Arc::new(MemoryStore::new(u64::MAX)), Arc::new(Limits::default()));
        let principal = Principal::local();
        let submit = serde_json::from_str(r#"{"agent":"echo@1"}"#).unwrap();
        let order = Order::new(submit, None, &limits).unwrap();
        let (id, agent) = (JobId::new(1, 1), "echo@1".parse().unwrap());
        let created_at = Timestamp::from_micros(0);
        let spec = Arc::new(Spec { id, principal: principal.clone(), agent, order, created_at });
        let account = Accounts::default().of(&principal);
        let job = JobCell::accepted(spec, ResultId::new(1, 1), account, store.clone(), limits.clone());
        let job = Arc::new(job);
        for n in 0..1_000 {
            let session = SessionId::new(n, 1);
            let proto = Session::new(session, principal.clone(), FeatureSet::EMPTY, [0; 32]);
            let account = Accounts::default().of(&proto.principal);
            let cell = SessionCell::new(proto, account, store.clone(), limits.clone());
            // The same submit, repeated in a new session each time.
            cell.reattach(&mut cell.lock(), &job);
            assert_eq!(job.submitters(), [session]);
            cell.retire();
        }
        assert!(job.submitters().is_empty());
    }

    #[test]
    fn what_a_session_keeps_is_paid_by_its_principal_and_can_be_let_go() {
        let (store, limits) = (Arc::new(MemoryStore::new(u64::MAX)), Arc::new(Limits::default()));
        let (principal, job) = (Principal::local(), JobId::new(1, 1));
        let account = Accounts::default().of(&principal);
        let proto = Session::new(SessionId::new(1, 1), principal, FeatureSet::EMPTY, [0; 32]);
        let cell = SessionCell::new(proto, account.clone(), store, limits);
        for _ in 0..1_000 {
            let mut inner = cell.lock();
            let extent = inner.proto.stream.private(job, bytes::Bytes::from(vec![b'x'; 100]));
            inner.sent = extent.last_seq();
            cell.record(&mut inner, &extent.into());
        }
        let all = account.bytes();
        assert!(all >= 100_000 && all == cell.weight(), "{all}");
        cell.lighten(60_000);
        assert!(account.bytes() <= all - 60_000 && account.bytes() > 0);
        assert_eq!(account.bytes(), cell.weight());
        assert!(cell.lock().proto.stream.released() >= 300);
        cell.retire();
        assert_eq!(account.bytes(), 0);
    }
}
