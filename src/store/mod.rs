//! Persistence behind one trait: a batch is applied whole or not at all, in the order in which batches come.
//!
//! What is to be recorded is data ([`Op`]); who waits for it holds a [`Ticket`]. Nothing leaves the daemon before
//! the batch that it reports is applied: store, then speak.

pub mod memory;
pub mod sqlite;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use crate::config::{Durability, NotADurability, StoreKind};
use crate::proto::idempotency::Keyed;
use crate::proto::job::Cancellation;
use crate::proto::listing::{Listed, Query};
use crate::proto::record::{Record, Tail};
use crate::proto::session::TokenHash;
use crate::proto::stream::{Attachment, Extent, Numbers, Piece};
use crate::proto::submit::Spec;
use crate::telemetry::metrics::{Count, Histogram};
use crate::wire::feature::FeatureSet;
use crate::wire::id::{JobId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// Whose turn it is to number: moves at each start of the daemon, so that an owner that was replaced cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A place in the order of batches: what waits for it may be spoken once it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ticket(pub u64);

impl Ticket {
    /// The ticket of a batch that was refused.
    pub const REFUSED: Ticket = Ticket(u64::MAX);
}

/// This process is no longer the owner: a newer one has taken the store over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store belongs to a newer daemon (epoch {newest:?}); this one must stop")]
pub struct Fenced {
    /// The epoch of the store.
    pub newest: Epoch,
}

/// Something that is stored cannot be read now, and why; another attempt may succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct Unreadable(pub Arc<str>);

/// What a question to the store comes to.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Unreadable>>;

/// New work cannot be taken now, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// It holds as much as it may.
    #[error("the store is full: {bytes} bytes of {max}")]
    Bytes {
        /// What is used.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// More waits to be written than may.
    #[error("the store is behind: {bytes} bytes of at most {max} wait to be written")]
    Behind {
        /// What waits.
        bytes: u64,
        /// What may wait.
        max: u64,
    },
    /// It cannot write at all; it goes on trying.
    #[error("the store cannot write: {why}")]
    Failing {
        /// What the last attempt met.
        why: Arc<str>,
    },
}

/// One mutation.
#[derive(Debug, Clone)]
pub enum Op {
    /// A job was accepted.
    JobAccepted {
        /// What never changes about it.
        spec: Arc<Spec>,
    },
    /// An attempt of a job began.
    JobStarted {
        /// The job.
        job: JobId,
        /// Which: 1 for the first.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// A job that is running is being cancelled.
    JobCancelling {
        /// The job.
        job: JobId,
        /// What its canceller said.
        cancellation: Cancellation,
    },
    /// A job ended.
    JobEnded {
        /// The job.
        job: JobId,
        /// How.
        status: JobStatus,
        /// When.
        at: Timestamp,
    },
    /// Something visible happened in a job.
    Append {
        /// The job.
        job: JobId,
        /// The record, at the next position.
        record: Record,
    },
    /// The history of a job before a position is no longer kept.
    Trim {
        /// The job.
        job: JobId,
        /// The first position that stays.
        first: u64,
    },
    /// A finished job is no longer kept.
    RemoveJob(JobId),
    /// A session was opened.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Whose it is.
        principal: Principal,
        /// Its effective features.
        features: FeatureSet,
        /// The hash of its resume token.
        token: TokenHash,
    },
    /// The tokens that resume a session are these now.
    Tokens {
        /// The session.
        session: SessionId,
        /// All of them.
        hashes: Vec<TokenHash>,
    },
    /// A session's client has said goodbye, or has come back after that.
    Closed {
        /// The session.
        session: SessionId,
        /// Whether it is away.
        closed: bool,
    },
    /// A session follows a job.
    Attached {
        /// The session.
        session: SessionId,
        /// The job.
        job: JobId,
        /// The last position that it does not get.
        pos: u64,
        /// Whether it submitted the job.
        submitter: bool,
    },
    /// A session no longer follows a job.
    Detached {
        /// The session.
        session: SessionId,
        /// The job.
        job: JobId,
    },
    /// A session was given numbers, and moved along in its jobs.
    Numbered {
        /// The session.
        session: SessionId,
        /// The numbers, and where it is now.
        numbers: Numbers,
    },
    /// Numbers of a session up to this one can no longer be sent again.
    Released {
        /// The session.
        session: SessionId,
        /// The last of them.
        through: u64,
    },
    /// A session is over.
    RemoveSession(SessionId),
}

/// Mutations that are applied together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The writer's epoch.
    pub epoch: Epoch,
    /// What happened, in order.
    pub ops: Vec<Op>,
}

/// A job as it is stored.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// What never changes about it.
    pub spec: Arc<Spec>,
    /// Where it stands.
    pub status: JobStatus,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was begun first.
    pub started_at: Option<Timestamp>,
    /// What its canceller said, if it was being cancelled.
    pub cancellation: Option<Cancellation>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The shape of its history.
    pub tail: Tail,
}

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub id: SessionId,
    /// Whose it is.
    pub principal: Principal,
    /// Its effective features.
    pub features: FeatureSet,
    /// The hashes of the tokens that resume it, the newest first.
    pub tokens: Vec<TokenHash>,
    /// Whether its client has said goodbye.
    pub closed: bool,
    /// The jobs that it follows or followed.
    pub attached: BTreeMap<JobId, Attachment>,
    /// The numbers that can be sent again, in order.
    pub extents: Vec<Extent>,
    /// The last number that cannot.
    pub released: u64,
}

/// A finished job, as far as a daemon has to know of it at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRow {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub principal: Principal,
    /// The idempotency key that it was submitted under, and what a repeated submit is compared by.
    pub key: Option<Keyed>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it weighs in its principal's account, in bytes.
    pub weight: u64,
}

/// What a store holds when a daemon starts.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The sessions that can be resumed.
    pub sessions: Vec<SessionRow>,
    /// The jobs that have not ended, in the order of their acceptance.
    pub unfinished: Vec<JobRow>,
    /// The jobs that have, in the order of their ends.
    pub finished: Vec<FinishedRow>,
}

/// How a store makes things durable.
#[derive(Debug, Clone)]
pub struct Commits {
    /// How long each took, in seconds.
    pub seconds: Histogram,
    /// Batches in each.
    pub batches: Histogram,
    /// Attempts that failed.
    pub failed: Arc<Count>,
}

impl Default for Commits {
    fn default() -> Self {
        // From 0.1 ms to 3.3 s, and from 1 to as many as one transaction takes.
        let seconds = (0..16).map(|n| 0.000_1 * f64::from(1_u32 << n));
        let batches = (0..7).map(|n| f64::from(4_u32.pow(n)));
        Commits { seconds: Histogram::new(seconds), batches: Histogram::new(batches), failed: Arc::default() }
    }
}

/// How a store is, for those who look after it.
#[derive(Debug, Clone)]
pub struct StoreHealth {
    /// What sort of store it is.
    pub kind: StoreKind,
    /// Its file.
    pub path: Option<PathBuf>,
    /// What its file survives.
    pub durability: Option<Durability>,
    /// The version of the file's format.
    pub format: Option<usize>,
    /// What is kept, in bytes.
    pub used_bytes: u64,
    /// Room within its file for more, in bytes.
    pub free_bytes: u64,
    /// What its file and what belongs to it take on the disk, in bytes.
    pub disk_bytes: u64,
    /// Batches that wait to be written or are being written.
    pub queue_batches: u64,
    /// Those batches in bytes.
    pub queue_bytes: u64,
    /// What is kept in memory beside a file, in bytes.
    pub hot_bytes: u64,
    /// Whether the last attempt to write failed.
    pub failing: bool,
    /// What it has committed since it was opened; nothing where every batch is applied at once.
    pub commits: Commits,
}

/// Where everything is recorded.
pub trait Store: Send + Sync + 'static {
    /// The epoch of this process.
    fn epoch(&self) -> Epoch;

    /// What was recorded before this process began. Asked before anything is submitted.
    ///
    /// # Errors
    /// [`Unreadable`], in which case there is nothing that a daemon could go on from.
    fn restore(&self) -> Result<Restored, Unreadable>;

    /// Whether what it holds is there when this process is not.
    fn outlives(&self) -> bool;

    /// Takes a batch. Batches are applied in the order of the calls, and none is ever dropped; one of a stale
    /// epoch is refused, which whoever waits for its ticket is told.
    fn submit(&self, batch: Batch) -> Ticket;

    /// Waits until everything up to a ticket is applied.
    ///
    /// # Errors
    /// [`Fenced`] when it will never be.
    fn applied(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), Fenced>>;

    /// Whether new work may be taken.
    ///
    /// # Errors
    /// [`Full`] with what is in the way.
    fn admits(&self) -> Result<(), Full>;

    /// How it is. Cheap: reads nothing but counts and the sizes of files.
    fn health(&self) -> StoreHealth;

    /// A job, as far as it is applied; none when it is not kept, or never was.
    fn job(&self, job: JobId) -> Answer<'_, Option<JobRow>>;

    /// A page of a listing, newest first, and whether more follow.
    fn list(&self, query: Query) -> Answer<'_, (Vec<Listed>, bool)>;

    /// The records of a job after a position, in order and without a gap: at most `max_events` of them, and no
    /// more than `max_bytes` of payload but at least one. Empty when there is none, or the first is trimmed.
    fn records(&self, job: JobId, after: u64, max_events: u64, max_bytes: usize) -> Answer<'_, Vec<Record>>;
}

/// Appends an extent, as part of the last one where it continues it.
fn number(extents: &mut Vec<Extent>, extent: Extent) {
    if let Some(Extent { piece: Piece::Run { job, first_pos, len }, .. }) = extents.last_mut()
        && let Piece::Run { job: next, first_pos: next_pos, len: more } = extent.piece
        && *job == next
        && *first_pos + *len == next_pos
    {
        *len += more;
    } else {
        extents.push(extent);
    }
}

/// The first records of some: so many, and so many bytes of payload, but at least one.
fn first_of<'a>(records: impl Iterator<Item = &'a Record>, max_events: u64, max_bytes: usize) -> Vec<Record> {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        let first = bytes == 0;
        bytes += record.payload.len();
        first || bytes <= max_bytes
    };
    records.take(usize::try_from(max_events).unwrap_or(usize::MAX)).take_while(fits).cloned().collect()
}
