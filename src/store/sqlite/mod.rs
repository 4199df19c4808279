//! The store that stays: one SQLite file, written by one thread, read by others.
//!
//! `submit` puts a batch into a queue and returns. The writer takes whatever waits as one transaction and then
//! moves the watermark that [`Store::applied`] waits for. When it cannot write, it keeps what waits, goes on
//! trying, and has new work refused by [`Store::admits`].

mod apply;
mod audit;
mod backup;
mod check;
mod hot;
mod lock;
mod read;
mod rows;
mod schema;
mod space;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    Answer, Batch, Durability, Epoch, Fenced, Full, JobRow, Restored, Store, StoreHealth, StoreKind, Ticket,
    Unreadable,
};
use crate::proto::listing::{Listed, Query};
use crate::proto::record::Record;
use crate::wire::id::JobId;
pub use audit::{Finding, audit};
pub use backup::{BackupError, backup};
use check::Background;
pub use lock::{Endpoint, Holder};
use lock::{Note, create_directory, create_private, has_one_name, lock, real};
use read::Readers;
use space::{Pages, Room};
pub use stats::{BigJob, Stats, stats};
use writer::{NoReserve, Shared, Writer};

/// How long one attempt waits for a lock that somebody else holds on the file.
const BUSY: Duration = Duration::from_millis(250);
/// How long a store that is dropped waits for its last batches.
const FLUSH: Duration = Duration::from_secs(10);
/// The write-ahead log is copied into the file when it has so many pages.
const CHECKPOINT_PAGES: u32 = 4_000;
/// The write-ahead log is cut to this many bytes when it was copied.
const LOG_BYTES: u32 = 64 * 1024 * 1024;
/// The writer's page cache in KiB, as SQLite wants it: negative.
const CACHE_KIB: i32 = -32 * 1024;

/// What a store promises and may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// What an applied batch survives.
    pub durability: Durability,
    /// No new work is taken once the pages in use hold so many bytes.
    pub max_bytes: u64,
    /// No new work is taken while more than so many bytes wait to be written.
    pub queue_bytes: u64,
    /// So many bytes of the newest records are kept in memory too.
    pub hot_bytes: u64,
    /// Bytes that are kept free on the disk for the day when it is full. What was begun can be finished in them, and
    /// what goes makes room.
    pub reserve_bytes: u64,
}

impl SqliteOptions {
    /// A store that is bounded by its disk alone and keeps nothing free on it; it survives what the machine survives.
    pub const UNBOUNDED: SqliteOptions = SqliteOptions {
        durability: Durability::Full,
        max_bytes: u64::MAX,
        queue_bytes: u64::MAX,
        hot_bytes: 1024 * 1024,
        reserve_bytes: 0,
    };
}

/// A store that cannot be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it.
    #[error(
        "the store {} is in use by another daemon{}: stop that one, or choose another file",
        path.display(),
        holder.as_ref().map(|holder| format!(" ({holder})")).unwrap_or_default()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who has it, if that one says so.
        holder: Option<Holder>,
    },
    /// It was written by a newer version of this program.
    #[error(
        "the store {} has the format {found}, and this arcpd knows up to {known}: use the newer arcpd that wrote it, \
         or the backup that it made before (*.bak-v*)",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: usize,
        /// The newest format that is known here.
        known: usize,
    },
    /// It is something else.
    #[error("{} is not a store of arcpd: choose another file, or move this one away", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error(
        "the store {} is damaged ({why}): stop every arcpd, keep a copy of the file with its -wal, then restore a \
         backup, or move it away to begin with an empty store; look at the disk too",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The operating system or SQLite refused.
    #[error("the store {} cannot be opened: {source}; {}", path.display(), advice(&**source))]
    Failed {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What to do about what the system or SQLite refused.
fn advice(source: &(dyn Error + Send + Sync + 'static)) -> &'static str {
    let system = source.downcast_ref::<io::Error>().map(io::Error::kind);
    let sqlite = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    if system == Some(io::ErrorKind::StorageFull) || sqlite == Some(ErrorCode::DiskFull) {
        "free some room on its disk"
    } else {
        "see that it and its directory are there and writable for this user, or choose another file"
    }
}

/// Keeps everything in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    background: Option<Background>,
    note: parking_lot::Mutex<Note>,
    done: parking_lot::Mutex<mpsc::Receiver<()>>,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, which is made if there is none, and takes the next epoch.
    ///
    /// # Errors
    /// [`OpenError`] when it is in use, not ours, too new, damaged, or cannot be read or written.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<SqliteStore, OpenError> {
        let failed = |source: io::Error| OpenError::Failed { path: path.into(), source: Box::new(source) };
        create_directory(path).map_err(failed)?;
        let path = &real(path).map_err(failed)?;
        let lock = lock(path)?;
        create_private(path).map_err(failed)?;
        has_one_name(path).map_err(failed)?;
        let mut room = Room::new(path, options.reserve_bytes).map_err(failed)?;
        let note = Note::write(path, &Holder { pid: std::process::id(), endpoint: None }).map_err(failed)?;
        let mut db = connect(path)?;
        schema::prepare(&mut db, path, schema::MIGRATIONS)?;
        let refuse = |source| schema::refuse(path, source);
        configure(&db, options.durability).map_err(refuse)?;
        let (epoch, clean) = schema::begin(&mut db).map_err(refuse)?;
        if !clean {
            check::at_start(&db, path)?;
        }
        let pages = Pages::of(&db).map_err(refuse)?;
        let shared = Arc::new(Shared::new(epoch, options, pages, clean));
        let readers = Arc::new(Readers::open(path, shared.clone()).map_err(refuse)?);
        if let Err(error) = room.keep_reserve() {
            shared.refuse(&NoReserve(&error));
        }
        let (done, waits) = mpsc::channel();
        let writer = Writer { shared: shared.clone(), db, room, lock, done };
        std::thread::Builder::new().name("store".into()).spawn(|| writer.run()).map_err(failed)?;
        let background = (!clean).then(|| Background::start(path, &shared)).transpose()?;
        let (note, done) = (parking_lot::Mutex::new(note), parking_lot::Mutex::new(waits));
        Ok(SqliteStore { path: path.into(), shared, readers, background, note, done })
    }

    /// Says beside the store where its daemon can be reached, until the store is closed; see [`Holder::of`].
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn announce(&self, endpoint: Endpoint) -> io::Result<()> {
        self.note.lock().rewrite(&Holder { pid: std::process::id(), endpoint: Some(endpoint) })
    }
}

/// Writes the store at `path` anew without free pages, so that it gives room back from then on. Takes as much room
/// again for a while. Returns the bytes of the file before and after.
///
/// # Errors
/// [`OpenError`] when a daemon has it, or it is damaged or cannot be written.
pub fn vacuum(path: &Path) -> Result<(u64, u64), OpenError> {
    let failed = |source: io::Error| OpenError::Failed { path: path.into(), source: Box::new(source) };
    let path = &real(path).map_err(failed)?;
    schema::inspect(path)?;
    let _lock = lock(path)?;
    let db = connect(path)?;
    check::all(&db, path)?;
    let before = Pages::of(&db).map_err(|source| schema::refuse(path, source))?;
    let written = db
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .and_then(|()| db.execute_batch("VACUUM"))
        .and_then(|()| space::cut_log(&db))
        .and_then(|_| Pages::of(&db));
    let after = written.map_err(|source| schema::refuse(path, source))?;
    Ok((before.file(), after.file()))
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.readers.close();
        if let Some(background) = self.background.take() {
            background.stop();
        }
        self.shared.stop();
        if self.done.lock().recv_timeout(FLUSH) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("the store is still writing; what it was given last may be lost");
        }
    }
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(db)
    };
    open().map_err(|source| schema::refuse(path, source))
}

fn configure(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Process => "NORMAL",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    db.pragma_update(None, "foreign_keys", false)?;
    db.pragma_update(None, "cache_size", CACHE_KIB)?;
    let settle = |name, value| db.pragma_update_and_check(None, name, value, |_| Ok(()));
    settle("wal_autocheckpoint", CHECKPOINT_PAGES)?;
    settle("journal_size_limit", LOG_BYTES)
}

impl Store for SqliteStore {
    fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    fn restore(&self) -> Result<Restored, Unreadable> {
        self.readers.ask(read::restored)
    }

    fn outlives(&self) -> bool {
        true
    }

    fn submit(&self, batch: Batch) -> Ticket {
        self.shared.submit(batch)
    }

    fn applied(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), Fenced>> {
        match self.shared.settled(ticket) {
            Some(settled) => Box::pin(ready(settled)),
            None => Box::pin(self.shared.settle(ticket)),
        }
    }

    fn admits(&self) -> Result<(), Full> {
        self.shared.admits()
    }

    fn health(&self) -> StoreHealth {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let beside = ["-wal", ".reserve"].map(|suffix| size(&schema::beside(&self.path, suffix)));
        let disk_bytes = size(&self.path) + beside.iter().sum::<u64>();
        StoreHealth {
            kind: StoreKind::Sqlite,
            path: Some(self.path.clone()),
            format: Some(schema::MIGRATIONS.len()),
            disk_bytes,
            ..self.shared.health()
        }
    }

    fn job(&self, job: JobId) -> Answer<'_, Option<JobRow>> {
        Box::pin(self.readers.clone().answer(move |db| read::job(db, job)))
    }

    fn list(&self, query: Query) -> Answer<'_, (Vec<Listed>, bool)> {
        Box::pin(self.readers.clone().answer(move |db| read::list(db, &query)))
    }

    fn records(&self, job: JobId, after: u64, max_events: u64, max_bytes: usize) -> Answer<'_, Vec<Record>> {
        if let Some(hot) = self.shared.hot.records(job, after, max_events, max_bytes) {
            return Box::pin(ready(Ok(hot)));
        }
        let ask = move |db: &Connection| read::records(db, job, after, max_events, max_bytes);
        Box::pin(self.readers.clone().answer(ask))
    }
}
