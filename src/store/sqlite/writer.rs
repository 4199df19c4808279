//! The one thread that writes: it takes everything that waits as one transaction, and never waits for company.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode, InterruptHandle, TransactionBehavior};
use tokio::sync::watch;

use super::SqliteOptions;
use super::apply::{self, AtHand, Hands};
use super::hot::Hot;
use super::space::{self, Pages, Room, Want};
use crate::proto::stream::Piece;
use crate::store::{Batch, Commits, Epoch, Fenced, Full, Op, StoreHealth, StoreKind, Ticket};

/// Batches in one transaction, at most.
const GROUP_BATCHES: usize = 4_096;
/// Bytes in one transaction, at most, but for the last batch.
const GROUP_BYTES: u64 = 8 * 1024 * 1024;
/// The pause after the first failed attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How often it is tried to have a reserve again that was given up.
const RESERVE_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What an operation weighs beside its payload, in bytes.
const OP_BYTES: u64 = 128;

struct Queue {
    batches: VecDeque<(Batch, u64)>,
    /// What waits or is being written, in bytes.
    bytes: u64,
    last: Ticket,
    stopping: bool,
}

/// What the writer and those who wait for it share.
pub(super) struct Shared {
    pub(super) epoch: Epoch,
    options: SqliteOptions,
    queue: Mutex<Queue>,
    wake: Condvar,
    applied: AtomicU64,
    progress: watch::Sender<()>,
    used: AtomicU64,
    free: AtomicU64,
    commits: Commits,
    failing: Mutex<Option<Arc<str>>>,
    /// What a check that goes on can be ended with.
    check: OnceLock<Arc<InterruptHandle>>,
    hopeless: OnceLock<Arc<str>>,
    /// Whether the whole file is known to be sound; else the next start looks again.
    whole: AtomicBool,
    fenced: OnceLock<Epoch>,
    pub(super) hot: Hot,
    #[cfg(test)]
    pub(super) page_limit: AtomicU64,
}

impl Shared {
    pub(super) fn new(epoch: Epoch, options: SqliteOptions, pages: Pages, whole: bool) -> Self {
        let queue = Queue { batches: VecDeque::new(), bytes: 0, last: Ticket::default(), stopping: false };
        Shared {
            epoch,
            options,
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            applied: AtomicU64::new(0),
            progress: watch::Sender::new(()),
            used: AtomicU64::new(pages.used()),
            free: AtomicU64::new(pages.free()),
            commits: Commits::default(),
            failing: Mutex::new(None),
            check: OnceLock::new(),
            hopeless: OnceLock::new(),
            whole: AtomicBool::new(whole),
            fenced: OnceLock::new(),
            hot: Hot::new(options.hot_bytes),
            #[cfg(test)]
            page_limit: AtomicU64::new(u32::MAX.into()),
        }
    }

    pub(super) fn submit(&self, batch: Batch) -> Ticket {
        let weight = weight(&batch);
        if batch.epoch == self.epoch {
            self.hot.note(&batch.ops);
        }
        let mut queue = self.queue.lock();
        if batch.epoch != self.epoch || self.fenced.get().is_some() {
            return Ticket::REFUSED;
        }
        queue.bytes += weight;
        queue.batches.push_back((batch, weight));
        queue.last.0 += 1;
        let ticket = queue.last;
        drop(queue);
        self.wake.notify_one();
        ticket
    }

    /// Whether a ticket's batch is applied or never will be; none while that is open.
    pub(super) fn settled(&self, ticket: Ticket) -> Option<Result<(), Fenced>> {
        // In this order: what was applied before the fence fell stays applied.
        let fenced = self.fenced.get();
        if ticket == Ticket::REFUSED {
            return Some(Err(Fenced { newest: fenced.copied().unwrap_or(self.epoch) }));
        }
        if self.applied.load(Ordering::Acquire) >= ticket.0 {
            return Some(Ok(()));
        }
        fenced.map(|newest| Err(Fenced { newest: *newest }))
    }

    pub(super) async fn settle(&self, ticket: Ticket) -> Result<(), Fenced> {
        let mut progress = self.progress.subscribe();
        loop {
            progress.borrow_and_update();
            if let Some(settled) = self.settled(ticket) {
                return settled;
            }
            if progress.changed().await.is_err() {
                return Err(Fenced { newest: self.epoch });
            }
        }
    }

    pub(super) fn admits(&self) -> Result<(), Full> {
        if let Some(newest) = self.fenced.get() {
            return Err(Full::Failing { why: Fenced { newest: *newest }.to_string().into() });
        }
        if let Some(why) = self.hopeless.get() {
            return Err(Full::Failing { why: why.clone() });
        }
        if let Some(why) = &*self.failing.lock() {
            return Err(Full::Failing { why: why.clone() });
        }
        let (bytes, max) = (self.queue.lock().bytes, self.options.queue_bytes);
        if bytes > max {
            return Err(Full::Behind { bytes, max });
        }
        let (bytes, max) = (self.used.load(Ordering::Relaxed), self.options.max_bytes);
        if bytes < max { Ok(()) } else { Err(Full::Bytes { bytes, max }) }
    }

    /// How it is, but for what the file itself tells.
    pub(super) fn health(&self) -> StoreHealth {
        let queue = self.queue.lock();
        StoreHealth {
            kind: StoreKind::Sqlite,
            path: None,
            durability: Some(self.options.durability),
            format: None,
            used_bytes: self.used.load(Ordering::Relaxed),
            free_bytes: self.free.load(Ordering::Relaxed),
            disk_bytes: 0,
            queue_batches: queue.last.0 - self.applied.load(Ordering::Acquire),
            queue_bytes: queue.bytes,
            hot_bytes: self.hot.bytes(),
            failing: self.failing.lock().is_some() || self.hopeless.get().is_some(),
            commits: self.commits.clone(),
        }
    }

    pub(super) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.wake.notify_one();
    }

    /// Nothing more will be applied.
    fn fence(&self, newest: Epoch) {
        let left = {
            let mut queue = self.queue.lock();
            self.fenced.get_or_init(|| newest);
            queue.bytes = 0;
            std::mem::take(&mut queue.batches)
        };
        drop(left);
        self.progress.send_replace(());
    }

    /// Waits for something to do. None: nothing ever will be; an empty group: nothing came for so long.
    fn take(&self, patience: Option<Duration>) -> Option<Vec<(Batch, u64)>> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut queue = self.queue.lock();
        while queue.batches.is_empty() {
            if queue.stopping {
                return None;
            }
            match until {
                None => self.wake.wait(&mut queue),
                Some(until) if self.wake.wait_until(&mut queue, until).timed_out() => return Some(Vec::new()),
                Some(_) => {}
            }
        }
        let mut bytes = 0;
        let fits = |(_, weight): &&(Batch, u64)| {
            let fits = bytes < GROUP_BYTES;
            bytes += weight;
            fits
        };
        let count = queue.batches.iter().take(GROUP_BATCHES).take_while(fits).count();
        Some(queue.batches.drain(..count).collect())
    }

    /// Leaves a group its first half, if it has more than one batch; the others wait again, before all else. Says whether
    /// it had.
    fn put_half_back(&self, group: &mut Vec<(Batch, u64)>) -> bool {
        let rest = group.split_off(group.len().div_ceil(2));
        let any = !rest.is_empty();
        let mut queue = self.queue.lock();
        rest.into_iter().rev().for_each(|batch| queue.batches.push_front(batch));
        any
    }

    fn wrote(&self, group: Vec<(Batch, u64)>, pages: Pages, took: Duration) {
        self.used.store(pages.used(), Ordering::Relaxed);
        self.free.store(pages.free(), Ordering::Relaxed);
        if group.is_empty() {
            return;
        }
        self.commits.seconds.observe(took.as_secs_f64());
        self.commits.batches.observe(f64::from(u32::try_from(group.len()).unwrap_or(u32::MAX)));
        self.queue.lock().bytes -= group.iter().map(|(_, weight)| weight).sum::<u64>();
        self.applied.fetch_add(group.len() as u64, Ordering::Release);
        self.progress.send_replace(());
    }

    /// Has new work refused, and why.
    pub(super) fn refuse(&self, why: &dyn std::fmt::Display) {
        if self.failing.lock().replace(why.to_string().into()).is_none() {
            tracing::error!(%why, "the store cannot write; new work is refused until it can");
        }
    }

    /// Has new work refused for good: why in short, and with what to do for the log. The file is looked at again at
    /// the next start.
    pub(super) fn hopeless(&self, short: &str, why: &dyn std::fmt::Display) {
        self.whole.store(false, Ordering::Release);
        if self.hopeless.set(format!("{short}; the log says what to do").into()).is_ok() {
            tracing::error!(%why, "no new work is taken any more");
        }
    }

    pub(super) fn found_whole(&self) {
        self.whole.store(self.hopeless.get().is_none(), Ordering::Release);
    }

    /// Notes how a check that goes on is ended when it is in the way.
    pub(super) fn checks(&self, interrupt: Arc<InterruptHandle>) {
        self.check.get_or_init(|| interrupt);
    }

    fn recovered(&self) {
        if self.failing.lock().take().is_some() {
            tracing::info!("the store can write again");
        }
    }

    /// Waits before the next attempt. Says whether there should be one.
    fn pause(&self, pause: &mut Duration) -> bool {
        let mut queue = self.queue.lock();
        if !queue.stopping {
            // Batches that come wake it too, and change nothing.
            let until = Instant::now() + *pause;
            while !queue.stopping && !self.wake.wait_until(&mut queue, until).timed_out() {}
            *pause = LONGEST_PAUSE.min(*pause * 2);
            return true;
        }
        false
    }
}

fn weight(batch: &Batch) -> u64 {
    let weight = |op: &Op| match op {
        Op::JobAccepted { spec } => spec.order.input.get().len(),
        Op::Append { record, .. } => record.payload.len(),
        Op::Numbered { numbers, .. } => numbers
            .extents
            .iter()
            .map(|extent| match &extent.piece {
                Piece::Run { .. } => size_of_val(extent),
                Piece::Private { payload, .. } => size_of_val(extent) + payload.len(),
            })
            .sum(),
        Op::JobCancelling { cancellation, .. } => cancellation.reason.as_ref().map_or(0, String::len),
        Op::JobStarted { .. }
        | Op::JobEnded { .. }
        | Op::Trim { .. }
        | Op::RemoveJob(_)
        | Op::SessionOpened { .. }
        | Op::Tokens { .. }
        | Op::Closed { .. }
        | Op::Attached { .. }
        | Op::Detached { .. }
        | Op::Released { .. }
        | Op::RemoveSession(_) => 0,
    };
    batch.ops.iter().map(|op| OP_BYTES + weight(op) as u64).sum()
}

/// What kept a transaction from being committed.
enum Obstacle {
    /// A newer daemon has the store.
    Fenced(Epoch),
    /// SQLite says no; another attempt may succeed.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Obstacle {
    fn from(error: rusqlite::Error) -> Self {
        Obstacle::Sqlite(error)
    }
}

/// The thread's own state. The lock file goes with it: nobody else opens the store before the last write.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) db: Connection,
    pub(super) room: Room,
    pub(super) lock: File,
    pub(super) done: mpsc::Sender<()>,
}

impl Writer {
    pub(super) fn run(self) {
        let Writer { shared, mut db, mut room, lock, done } = self;
        let end = End(&shared);
        if write_all(&shared, &mut db, &mut room) {
            close(db, shared.whole.load(Ordering::Acquire));
        }
        drop(end);
        drop(lock);
        // Nobody listens when the store was dropped long ago.
        let _ = done.send(());
    }
}

/// Whatever ends the thread, those who wait are told.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.fence(self.0.epoch);
    }
}

/// Writes until there is nothing more to write. Says whether everything is written.
fn write_all(shared: &Shared, db: &mut Connection, room: &mut Room) -> bool {
    let mut at_hand = AtHand::default();
    let mut patience = Some(Duration::ZERO);
    while let Some(mut group) = shared.take(patience) {
        let mut pause = FIRST_PAUSE;
        loop {
            #[cfg(test)]
            limit_pages(shared, db, room);
            let began = Instant::now();
            match write(db, &mut at_hand, shared.epoch, &group, room.want()) {
                Ok(wrote) => {
                    if room.want() == Want::Spare {
                        shared.recovered();
                    }
                    shared.wrote(group, wrote.pages, began.elapsed());
                    patience = settle(shared, db, room, &wrote);
                    break;
                }
                Err(Obstacle::Fenced(newest)) => {
                    tracing::error!(epoch = newest.0, "a newer daemon has taken the store over");
                    shared.fence(newest);
                    return false;
                }
                Err(Obstacle::Sqlite(error)) => {
                    at_hand = AtHand::default();
                    shared.commits.failed.one();
                    shared.refuse(&error);
                    // What is at the front may fit by itself, and something in it make room for the rest.
                    if error.sqlite_error_code() == Some(ErrorCode::DiskFull)
                        && (room.give_up_reserve() || shared.put_half_back(&mut group))
                    {
                        continue;
                    }
                    if !shared.pause(&mut pause) {
                        tracing::error!(batches = group.len(), "the store ends with batches unwritten");
                        return false;
                    }
                    // What is to be erased, and a log that is copied, may be the room that lacks. If not, the next
                    // attempt says so.
                    let _ = write(db, &mut at_hand, shared.epoch, &[], room.want());
                    let _ = space::cut_log(db);
                }
            }
        }
    }
    true
}

/// Takes care of room after a commit. Says how long to wait for the next group, and for ever where nothing is left to
/// do.
fn settle(shared: &Shared, db: &Connection, room: &mut Room, wrote: &Wrote) -> Option<Duration> {
    if room.is_gone() {
        shared.hopeless("its file is gone", &Gone(room.store()));
    }
    match room.settle(db, wrote.gave_back) {
        Ok(true) => {}
        Ok(false) => {
            tracing::debug!("a reader keeps the write-ahead log from being cut");
            // The only one of ours that reads for long.
            if let Some(check) = shared.check.get() {
                check.interrupt();
            }
        }
        Err(error) => tracing::debug!(%error, "the write-ahead log stays as it is"),
    }
    #[cfg(test)]
    let kept = if fits_reserve(shared, db) {
        room.keep_reserve()
    } else {
        Err(std::io::ErrorKind::StorageFull.into())
    };
    #[cfg(not(test))]
    let kept = room.keep_reserve();
    match &kept {
        Ok(()) => shared.recovered(),
        Err(error) => shared.refuse(&NoReserve(error)),
    }
    let leftover = wrote.leftover.then_some(Duration::ZERO);
    leftover.or(kept.is_err().then_some(RESERVE_PAUSE))
}

/// Why new work is refused although what was begun can still be written.
#[derive(Debug, thiserror::Error)]
#[error("the disk has no room for the reserve of the store ({0}): free some")]
pub(super) struct NoReserve<'a>(pub(super) &'a std::io::Error);

/// A file that is still written and will never be found again.
#[derive(Debug, thiserror::Error)]
#[error(
    "the file {} of the store was removed or replaced while it was in use: what it holds ends with this daemon; stop \
     it and restore a backup",
    .0.display()
)]
struct Gone<'a>(&'a Path);

/// What one transaction did.
struct Wrote {
    /// The file's pages after it.
    pages: Pages,
    /// Whether there is more to do without any batch.
    leftover: bool,
    /// Whether it gave room back.
    gave_back: bool,
}

fn write(
    db: &mut Connection,
    at_hand: &mut AtHand,
    epoch: Epoch,
    group: &[(Batch, u64)],
    want: Want,
) -> Result<Wrote, Obstacle> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest: i64 = tx.prepare_cached("SELECT epoch FROM meta")?.query_row([], |row| row.get(0))?;
    if newest.cast_unsigned() != epoch.0 {
        return Err(Obstacle::Fenced(Epoch(newest.cast_unsigned())));
    }
    let mut hands = Hands::new(&tx, at_hand);
    for op in group.iter().flat_map(|(batch, _)| &batch.ops) {
        hands.apply(op)?;
    }
    hands.finish()?;
    let erased = apply::erase(&tx)?;
    let (pages, gave_back) = space::give_back(&tx, want, group.is_empty())?;
    tx.commit()?;
    Ok(Wrote { pages, leftover: erased || gave_back, gave_back })
}

/// Notes that nothing is missing, if that is known, and leaves one file behind.
fn close(db: Connection, clean: bool) {
    let closed = db
        .execute("UPDATE meta SET clean = ?1", [clean])
        .and_then(|_| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    if let Err(error) = closed {
        tracing::warn!(%error, "the store was not closed properly; it is checked at the next start");
    }
}

/// The disk of a test: so many pages, of which the reserve is a part.
#[cfg(test)]
fn limit_pages(shared: &Shared, db: &Connection, room: &Room) {
    let reserve = if room.want() == Want::Spare { shared.reserve_pages() } else { 0 };
    let limit = shared.page_limit.load(Ordering::Relaxed).saturating_sub(reserve);
    db.pragma_update_and_check(None, "max_page_count", limit.cast_signed(), |_| Ok(())).unwrap();
}

#[cfg(test)]
fn fits_reserve(shared: &Shared, db: &Connection) -> bool {
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    pages.cast_unsigned() + shared.reserve_pages() <= shared.page_limit.load(Ordering::Relaxed)
}

#[cfg(test)]
impl Shared {
    fn reserve_pages(&self) -> u64 {
        self.options.reserve_bytes / 16_384
    }
}
