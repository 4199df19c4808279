//! The store: the memory store behind a disk that is slow, fails for a while, and loses in a crash what it had not
//! applied.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arcpd::proto::listing::{Listed, Query};
use arcpd::proto::record::Record;
use arcpd::store::memory::MemoryStore;
use arcpd::store::{
    Answer, Batch, Epoch, Fenced, Full, JobRow, Op, Restored, Store, StoreHealth, Ticket, Unreadable,
};
use arcpd::wire::id::JobId;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::dice::Dice;
use crate::state::{Event, Shared, State};

/// How long the store waits before it tries again, in milliseconds.
const RETRY_MS: u64 = 50;

/// What is applied, and what waits to be.
pub(crate) struct Platter {
    memory: Arc<MemoryStore>,
    waiting: VecDeque<Batch>,
    taken: u64,
    applied: u64,
    busy: bool,
    /// Until when every attempt fails.
    pub(crate) fails_until: u64,
    /// Whether the last attempt failed.
    failing: bool,
    progress: Arc<Notify>,
    dice: Dice,
}

impl Platter {
    pub(crate) fn new(dice: Dice) -> Platter {
        Platter {
            memory: Arc::new(MemoryStore::new(u64::MAX)),
            waiting: VecDeque::new(),
            taken: 0,
            applied: 0,
            busy: false,
            fails_until: 0,
            failing: false,
            progress: Arc::new(Notify::new()),
            dice,
        }
    }
}

impl State {
    fn disk_takes(&mut self) -> u64 {
        let most = self.plan.disk_ms;
        // Mostly quick, sometimes as slow as it gets.
        if self.disk.dice.chance(80) {
            self.disk.dice.within(0, most / 10)
        } else {
            self.disk.dice.within(0, most)
        }
    }

    /// The disk is done with a group of batches, or fails.
    pub(crate) fn apply(&mut self) {
        self.disk.busy = false;
        if self.now() < self.disk.fails_until {
            if !self.disk.failing {
                self.say(|| "disk fails".into());
            }
            self.disk.failing = true;
            self.disk.busy = true;
            return self.after(RETRY_MS, Event::Apply);
        }
        self.disk.failing = false;
        let waiting = self.disk.waiting.len() as u64;
        if waiting == 0 {
            return;
        }
        let group = self.disk.dice.within(1, waiting);
        self.apply_some(group);
        self.disk.progress.notify_waiters();
        if !self.disk.waiting.is_empty() {
            self.disk.busy = true;
            let ms = self.disk_takes();
            self.after(ms, Event::Apply);
        }
    }

    fn apply_some(&mut self, group: u64) {
        let batches: Vec<Batch> = self.disk.waiting.drain(..group as usize).collect();
        self.disk.applied += group;
        let applied = self.disk.applied;
        self.say(|| format!("disk applied {applied}"));
        for Batch { ops, .. } in batches {
            for op in &ops {
                if matches!(op, Op::Numbered { .. } | Op::Attached { .. } | Op::Detached { .. }) {
                    self.say(|| format!("disk {op:?}"));
                }
                self.oracle.apply(op);
            }
            self.disk.memory.submit(Batch { epoch: self.disk.memory.epoch(), ops });
        }
    }

    /// The daemon has stopped in peace: what it can write is written.
    pub(crate) fn flush(&mut self) {
        if self.now() >= self.disk.fails_until {
            let waiting = self.disk.waiting.len() as u64;
            self.apply_some(waiting);
        }
        self.lose();
    }

    /// The daemon is killed: some of what waited was applied and nobody was told, the rest is gone.
    pub(crate) fn lose(&mut self) {
        let waiting = self.disk.waiting.len() as u64;
        let group = self.disk.dice.below(waiting + 1);
        let group = if self.disk.failing || self.disk.dice.chance(40) { 0 } else { group };
        self.apply_some(group);
        let lost = self.disk.waiting.len();
        self.say(|| format!("disk lost {lost}"));
        self.disk.waiting.clear();
        (self.disk.taken, self.disk.applied) = (0, 0);
        self.disk.failing = false;
    }
}

/// The store as one life of the daemon has it.
pub(crate) struct Disk {
    shared: Shared,
    life: u64,
    memory: Arc<MemoryStore>,
    progress: Arc<Notify>,
}

impl Disk {
    pub(crate) fn new(shared: &Shared, life: u64) -> Disk {
        let state = shared.lock();
        let (memory, progress) = (state.disk.memory.clone(), state.disk.progress.clone());
        drop(state);
        Disk { shared: shared.clone(), life, memory, progress }
    }

    /// Asks the memory, and is late with it or fails: what is answered was true at some time meanwhile.
    async fn late<T>(&self, ask: impl Future<Output = Result<T, Unreadable>>) -> Result<T, Unreadable> {
        let (before, after, fails) = {
            let mut state = self.shared.lock();
            let (most, percent) = (state.plan.read_ms, state.plan.read_fails);
            let dice = &mut state.disk.dice;
            (dice.within(0, most), dice.within(0, most), dice.chance(percent))
        };
        pause(before).await;
        if fails {
            return Err(Unreadable("the disk does not answer".into()));
        }
        let answer = ask.await;
        pause(after).await;
        answer
    }
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

impl Store for Disk {
    fn epoch(&self) -> Epoch {
        Epoch(self.life)
    }

    fn restore(&self) -> Result<Restored, Unreadable> {
        self.memory.restore()
    }

    fn outlives(&self) -> bool {
        true
    }

    fn submit(&self, batch: Batch) -> Ticket {
        let mut state = self.shared.lock();
        if state.life != self.life || batch.epoch != Epoch(self.life) {
            return Ticket::REFUSED;
        }
        state.disk.waiting.push_back(batch);
        state.disk.taken += 1;
        let ticket = Ticket(state.disk.taken);
        if !state.disk.busy {
            state.disk.busy = true;
            let ms = state.disk_takes();
            state.after(ms, Event::Apply);
        }
        ticket
    }

    fn applied(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), Fenced>> {
        Box::pin(async move {
            if ticket == Ticket::REFUSED {
                return Err(Fenced { newest: Epoch(self.life + 1) });
            }
            loop {
                let progress = self.progress.notified();
                tokio::pin!(progress);
                progress.as_mut().enable();
                if self.shared.lock().disk.applied >= ticket.0 {
                    return Ok(());
                }
                progress.await;
            }
        })
    }

    fn admits(&self) -> Result<(), Full> {
        let failing = self.shared.lock().disk.failing;
        if failing { Err(Full::Failing { why: "no space left".into() }) } else { Ok(()) }
    }

    fn health(&self) -> StoreHealth {
        self.memory.health()
    }

    fn job(&self, job: JobId) -> Answer<'_, Option<JobRow>> {
        Box::pin(self.late(async move { self.memory.job(job).await }))
    }

    fn list(&self, query: Query) -> Answer<'_, (Vec<Listed>, bool)> {
        Box::pin(self.late(async move { self.memory.list(query).await }))
    }

    fn records(&self, job: JobId, after: u64, max_events: u64, max_bytes: usize) -> Answer<'_, Vec<Record>> {
        Box::pin(self.late(async move { self.memory.records(job, after, max_events, max_bytes).await }))
    }
}
