//! Stores to test, and things to put into them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arcpd::proto::listing::{CursorKey, Query};
use arcpd::proto::record::Record;
use arcpd::proto::submit::{Order, Spec};
use arcpd::store::memory::MemoryStore;
use arcpd::store::sqlite::{SqliteOptions, SqliteStore};
use arcpd::store::{Batch, Durability, Op, Store, Ticket};
use arcpd::wire::feature::Feature;
use arcpd::wire::id::{JobId, SessionId};
use arcpd::wire::job::JobStatus;
use arcpd::wire::limits::Limits;
use arcpd::wire::message::StreamKind;
use arcpd::wire::principal::Principal;
use arcpd::wire::session::ListJobs;
use arcpd::wire::time::Timestamp;
use bytes::Bytes;
use tempfile::TempDir;

pub(crate) const OPTIONS: SqliteOptions =
    SqliteOptions { durability: Durability::Process, ..SqliteOptions::UNBOUNDED };

/// One store, and how to open it again.
pub(crate) struct World {
    pub(crate) dir: Option<TempDir>,
    pub(crate) store: Arc<dyn Store>,
}

impl World {
    pub(crate) fn memory() -> Self {
        World { dir: None, store: Arc::new(MemoryStore::new(u64::MAX)) }
    }

    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open(&file(dir.path())));
        World { dir: Some(dir), store }
    }

    /// The same store with a bound, and nothing in it.
    pub(crate) fn bounded(self, max_bytes: u64) -> Self {
        let store: Arc<dyn Store> = match &self.dir {
            None => Arc::new(MemoryStore::new(max_bytes)),
            Some(dir) => {
                let path = dir.path().join("bounded.db");
                Arc::new(SqliteStore::open(&path, SqliteOptions { max_bytes, ..OPTIONS }).unwrap())
            }
        };
        World { dir: self.dir, store }
    }

    /// Closes the store and opens it again, if that makes a difference.
    pub(crate) fn reopened(self) -> Self {
        let World { dir, store } = self;
        let Some(dir) = dir else { return World { dir, store } };
        drop(store);
        let store = Arc::new(open(&file(dir.path())));
        World { dir: Some(dir), store }
    }

    pub(crate) fn submit(&self, ops: Vec<Op>) -> Ticket {
        self.store.submit(Batch { epoch: self.store.epoch(), ops })
    }

    /// Submits and waits.
    pub(crate) async fn put(&self, ops: Vec<Op>) {
        self.store.applied(self.submit(ops)).await.unwrap();
    }

    /// The ids of a listing, and whether more follow.
    pub(crate) async fn list(&self, query: Query) -> (Vec<JobId>, bool) {
        let (page, more) = self.store.list(query).await.unwrap();
        (page.into_iter().map(|row| row.summary.job_id).collect(), more)
    }

    /// The positions of some records.
    pub(crate) async fn positions(&self, job: JobId, after: u64, events: u64, bytes: usize) -> Vec<u64> {
        self.store
            .records(job, after, events, bytes)
            .await
            .unwrap()
            .into_iter()
            .map(|record| record.pos)
            .collect()
    }
}

pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("state").join("store.db")
}

pub(crate) fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, OPTIONS).unwrap()
}

/// Everything that a store would restore, as text.
pub(crate) fn restored(store: &dyn Store) -> String {
    let mut restored = store.restore().unwrap();
    restored.sessions.sort_by_key(|session| session.id);
    format!("{restored:#?}")
}

pub(crate) fn job(n: u64) -> JobId {
    JobId::new(n, n.into())
}

pub(crate) fn session(n: u64) -> SessionId {
    SessionId::new(n, n.into())
}

pub(crate) fn who(name: &str) -> Principal {
    name.parse().unwrap()
}

/// A job of alice's, created so many seconds after the epoch.
pub(crate) fn spec(n: u64) -> Spec {
    let payload = r#"{"agent":"echo","input":{"x": [1, "é"]},"lease_request":{"fs.read":["/b","/a"],"a":[]},
        "lease_constraints":{"expires_at":"2999-01-01T00:00:00.000001Z"},"idempotency_key":"k","max_runtime_sec":9}"#;
    let payload = if n.is_multiple_of(2) { payload } else { r#"{"agent":"echo@1"}"# };
    let trace = n.is_multiple_of(3).then(|| "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap());
    let order = Order::new(serde_json::from_str(payload).unwrap(), trace, &Limits::default()).unwrap();
    let agent = "echo@1".parse().unwrap();
    Spec { id: job(n), principal: who("alice"), agent, order, created_at: at(n) }
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds as i64 * 1_000_000)
}

pub(crate) fn accepted(spec: Spec) -> Op {
    Op::JobAccepted { spec: Arc::new(spec) }
}

/// An attempt of a job that began so many seconds after the epoch.
pub(crate) fn started(n: u64, attempt: u32, seconds: u64) -> Op {
    Op::JobStarted { job: job(n), attempt, at: at(seconds) }
}

/// The end of a job so many seconds after the epoch.
pub(crate) fn ended(n: u64, status: JobStatus, seconds: u64) -> Op {
    Op::JobEnded { job: job(n), status, at: at(seconds) }
}

pub(crate) fn record(pos: u64, gate: Option<Feature>, bytes: usize) -> Record {
    let payload = Bytes::from(vec![b'0' + (pos % 10) as u8; bytes]);
    Record { pos, kind: StreamKind::Event, gate, at: at(pos), payload }
}

pub(crate) fn append(n: u64, pos: u64) -> Op {
    Op::Append { job: job(n), record: record(pos, None, 10) }
}

/// A query of alice's with this filter, as JSON.
pub(crate) fn query(list: &str) -> Query {
    let list: ListJobs = serde_json::from_str(list).unwrap();
    Query::new(list, Some(who("alice")), &CursorKey::new([0; 32]), &Limits::default()).unwrap()
}
