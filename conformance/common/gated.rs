//! A memory store whose disk does only what the test lets it do: apply batches, answer questions, take new work.

use std::collections::VecDeque;
use std::sync::Arc;

use arcpd::proto::listing::{Listed, Query};
use arcpd::proto::record::Record;
use arcpd::store::memory::MemoryStore;
use arcpd::store::{
    Answer, Batch, Epoch, Fenced, Full, JobRow, Op, Restored, Store, StoreHealth, Ticket, Unreadable,
};
use arcpd::wire::id::JobId;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

#[derive(Default)]
struct Disk {
    /// None: everything is applied at once.
    held: Option<VecDeque<Batch>>,
    taken: u64,
    applied: u64,
    /// None: every question is answered at once.
    questions: Option<Vec<oneshot::Sender<()>>>,
    /// None: new work is taken.
    full: Option<Full>,
    /// None: everything can be read.
    unreadable: Option<Unreadable>,
}

/// The store, and its gates.
pub struct Gated {
    store: MemoryStore,
    disk: Mutex<Disk>,
    moved: Notify,
}

impl Gated {
    pub fn new() -> Arc<Self> {
        let (store, disk) = (MemoryStore::new(u64::MAX), Mutex::default());
        Arc::new(Gated { store, disk, moved: Notify::new() })
    }

    /// From now on, what is submitted waits.
    pub fn hold(&self) {
        self.disk.lock().held.get_or_insert_default();
    }

    /// What waits is applied, and what comes too.
    pub fn let_go(&self) {
        let held = self.disk.lock().held.take().unwrap_or_default();
        for Batch { ops, .. } in held {
            self.apply(ops);
        }
    }

    /// From now on, questions about jobs wait.
    pub fn ask_me(&self) {
        self.disk.lock().questions.get_or_insert_default();
    }

    /// Waits until so many questions wait.
    pub async fn asked(&self, count: usize) {
        loop {
            let moved = self.moved.notified();
            if self.disk.lock().questions.as_ref().is_some_and(|waiting| waiting.len() >= count) {
                return;
            }
            tokio::time::timeout(super::peer::PATIENCE, moved).await.expect("nobody asks");
        }
    }

    /// Answers the question that has this place among those that wait.
    pub fn answer(&self, place: usize) {
        let question = self.disk.lock().questions.as_mut().map(|waiting| waiting.remove(place));
        let _ = question.expect("the gate is closed").send(());
    }

    /// Answers every question, and those that come.
    pub fn answer_all(&self) {
        self.disk.lock().questions = None;
    }

    /// From now on it takes no new work.
    pub fn refuse(&self, full: Full) {
        self.disk.lock().full = Some(full);
    }

    /// From now on it can be read, or cannot.
    pub fn readable(&self, readable: bool) {
        self.disk.lock().unreadable = (!readable).then(|| Unreadable("the disk is gone".into()));
    }

    fn read<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        match self.disk.lock().unreadable.clone() {
            Some(unreadable) => Box::pin(ready(Err(unreadable))),
            None => answer,
        }
    }

    /// Removes a job, as an operator might.
    pub fn lose(&self, job: &str) {
        let job = job.parse().expect("a job's id");
        self.store.submit(Batch { epoch: self.store.epoch(), ops: vec![Op::RemoveJob(job)] });
    }

    fn apply(&self, ops: Vec<Op>) {
        self.store.submit(Batch { epoch: self.store.epoch(), ops });
        self.disk.lock().applied += 1;
        self.moved.notify_waiters();
    }
}

impl Store for Gated {
    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }
    fn restore(&self) -> Result<Restored, Unreadable> {
        self.disk.lock().unreadable.clone().map_or_else(|| self.store.restore(), Err)
    }
    fn outlives(&self) -> bool {
        self.store.outlives()
    }
    fn submit(&self, batch: Batch) -> Ticket {
        let mut disk = self.disk.lock();
        disk.taken += 1;
        let ticket = Ticket(disk.taken);
        match &mut disk.held {
            Some(held) => held.push_back(batch),
            None => {
                drop(disk);
                self.apply(batch.ops);
            }
        }
        ticket
    }
    fn applied(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), Fenced>> {
        Box::pin(async move {
            loop {
                let moved = self.moved.notified();
                if self.disk.lock().applied >= ticket.0 {
                    return Ok(());
                }
                moved.await;
            }
        })
    }
    fn admits(&self) -> Result<(), Full> {
        self.disk.lock().full.clone().map_or(Ok(()), Err)
    }
    fn health(&self) -> StoreHealth {
        self.store.health()
    }
    fn job(&self, job: JobId) -> Answer<'_, Option<JobRow>> {
        let gate = self.disk.lock().questions.as_mut().map(|waiting| {
            let (open, gate) = oneshot::channel();
            waiting.push(open);
            gate
        });
        self.moved.notify_waiters();
        Box::pin(async move {
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            self.read(self.store.job(job)).await
        })
    }
    fn list(&self, query: Query) -> Answer<'_, (Vec<Listed>, bool)> {
        self.read(self.store.list(query))
    }
    fn records(&self, job: JobId, after: u64, events: u64, bytes: usize) -> Answer<'_, Vec<Record>> {
        self.read(self.store.records(job, after, events, bytes))
    }
}
