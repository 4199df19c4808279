//! A memory store that can be made to fail.

use std::sync::Arc;

use arcpd::proto::listing::{Listed, Query};
use arcpd::proto::record::Record;
use arcpd::store::memory::MemoryStore;
use arcpd::store::{
    Answer, Batch, Epoch, Fenced, Full, JobRow, Restored, Store, StoreHealth, Ticket, Unreadable,
};
use arcpd::wire::id::JobId;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

/// The store, and what ails it.
pub struct Ailing {
    store: MemoryStore,
    full: Mutex<Option<Full>>,
    unreadable: Mutex<Option<Unreadable>>,
}

impl Ailing {
    pub fn new() -> Arc<Self> {
        let (full, unreadable) = (Mutex::new(None), Mutex::new(None));
        Arc::new(Ailing { store: MemoryStore::new(u64::MAX), full, unreadable })
    }

    /// From now on it takes no new work.
    pub fn refuse(&self, full: Full) {
        *self.full.lock() = Some(full);
    }

    /// From now on it can be read, or cannot.
    pub fn readable(&self, readable: bool) {
        *self.unreadable.lock() = (!readable).then(|| Unreadable("the disk is gone".into()));
    }

    fn read<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        match self.unreadable.lock().clone() {
            Some(unreadable) => Box::pin(ready(Err(unreadable))),
            None => answer,
        }
    }
}

impl Store for Ailing {
    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }
    fn restore(&self) -> Result<Restored, Unreadable> {
        self.unreadable.lock().clone().map_or_else(|| self.store.restore(), Err)
    }
    fn outlives(&self) -> bool {
        self.store.outlives()
    }
    fn submit(&self, batch: Batch) -> Ticket {
        self.store.submit(batch)
    }
    fn applied(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), Fenced>> {
        self.store.applied(ticket)
    }
    fn admits(&self) -> Result<(), Full> {
        self.full.lock().clone().map_or_else(|| self.store.admits(), Err)
    }
    fn health(&self) -> StoreHealth {
        self.store.health()
    }
    fn job(&self, job: JobId) -> Answer<'_, Option<JobRow>> {
        self.read(self.store.job(job))
    }
    fn list(&self, query: Query) -> Answer<'_, (Vec<Listed>, bool)> {
        self.read(self.store.list(query))
    }
    fn records(&self, job: JobId, after: u64, events: u64, bytes: usize) -> Answer<'_, Vec<Record>> {
        self.read(self.store.records(job, after, events, bytes))
    }
}
