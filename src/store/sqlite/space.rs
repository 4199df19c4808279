//! Room on the disk: what is free in the file goes back bit by bit, the write-ahead log stays short, and a reserve is
//! kept for the day on which the disk is full.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::lock::create_private;
use super::schema::beside;

/// Free pages stay in the file up to this part of those in use: they will be needed again soon.
const SLACK_PART: i64 = 8;
/// Free pages stay in the file up to so many bytes, however few are in use.
const SLACK_BYTES: i64 = 16 * 1024 * 1024;
/// Pages that go back in one transaction while nothing waits to be written.
const STEP: i64 = 64;
/// The same while something does.
const SMALL_STEP: i64 = 8;
/// So much more than the reserve must be free for it to be taken: new work must not use up at once what was just found.
const MARGIN_BYTES: u64 = 16 * 1024 * 1024;
/// How often the store's file is looked for at most: who removed it is told soon, and commits cost no more.
const LOOK: Duration = Duration::from_secs(1);
/// Beyond so many bytes the writer waits for readers, so that the write-ahead log can begin anew.
const LOG_BYTES: u64 = 128 * 1024 * 1024;

/// The pages of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pages {
    total: i64,
    free: i64,
    bytes: i64,
}

impl Pages {
    pub(super) fn of(db: &Connection) -> rusqlite::Result<Pages> {
        let ask = |sql| db.prepare_cached(sql)?.query_row([], |row| row.get(0));
        Ok(Pages {
            total: ask("PRAGMA page_count")?,
            free: ask("PRAGMA freelist_count")?,
            bytes: ask("PRAGMA page_size")?,
        })
    }

    /// The bytes of those that hold something.
    pub(super) fn used(self) -> u64 {
        ((self.total - self.free) * self.bytes).cast_unsigned()
    }

    /// The bytes of those that hold nothing, and are used next.
    pub(super) fn free(self) -> u64 {
        (self.free * self.bytes).cast_unsigned()
    }

    /// The bytes of all.
    pub(super) fn file(self) -> u64 {
        (self.total * self.bytes).cast_unsigned()
    }

    /// How many are to go back.
    fn excess(self, want: Want) -> i64 {
        let slack = ((self.total - self.free) / SLACK_PART).max(SLACK_BYTES / self.bytes);
        match want {
            Want::Spare => self.free - slack,
            Want::Everything => self.free,
        }
    }
}

/// Which of the free pages are to go back to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Those that will not be needed soon.
    Spare,
    /// All of them: the disk is full.
    Everything,
}

/// Gives back one step's worth of free pages. Says what is left, and whether any went. A file that was made before there
/// was this keeps its pages until it is vacuumed.
pub(super) fn give_back(db: &Connection, want: Want, idle: bool) -> rusqlite::Result<(Pages, bool)> {
    let before = Pages::of(db)?;
    let step = before.excess(want).min(if idle { STEP } else { SMALL_STEP });
    if step <= 0 {
        return Ok((before, false));
    }
    let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
    // Each row is a page.
    let mut gone = vacuum.query([])?;
    while gone.next()?.is_some() {}
    let after = Pages::of(db)?;
    Ok((after, after.free < before.free))
}

/// Copies the write-ahead log into the file and empties it. Says whether no reader was in the way.
pub(super) fn cut_log(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

/// What one writer does for room.
pub(super) struct Room {
    store: PathBuf,
    /// Which file it is, and when it was last looked for.
    file: (Option<FileId>, Instant),
    log: PathBuf,
    /// The length at which the log is cut next.
    cut_at: u64,
    reserve: Reserve,
    /// Whether pages have gone back since the log was copied into the file: only then does it become shorter.
    gave_back: bool,
}

/// What tells a file from every other one on the machine.
type FileId = (u64, u64);

/// Which file is there; none where that cannot be told.
fn file_id(path: &Path) -> Option<FileId> {
    #[cfg(unix)]
    return fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    #[cfg(not(unix))]
    return fs::metadata(path).ok().map(|_| (0, 0));
}

impl Room {
    /// Whatever was in reserve is there to be used while the store is opened; [`Room::keep_reserve`] takes it again.
    ///
    /// # Errors
    /// When the old reserve cannot be given up.
    pub(super) fn new(store: &Path, reserve_bytes: u64) -> io::Result<Room> {
        let path = beside(store, ".reserve");
        let mut reserve = Reserve { path, bytes: reserve_bytes, held: true, allocate };
        reserve.give_up()?;
        let file = (file_id(store), Instant::now());
        let log = beside(store, "-wal");
        Ok(Room { store: store.into(), file, log, cut_at: LOG_BYTES, reserve, gave_back: false })
    }

    pub(super) fn store(&self) -> &Path {
        &self.store
    }

    /// Whether the store's file is no longer where it was. Looks now and then, and says no in between.
    pub(super) fn is_gone(&mut self) -> bool {
        let (file, looked) = &mut self.file;
        if looked.elapsed() < LOOK {
            return false;
        }
        *looked = Instant::now();
        *file != file_id(&self.store)
    }

    pub(super) fn want(&self) -> Want {
        if self.reserve.held { Want::Spare } else { Want::Everything }
    }

    /// Takes care of what a commit leaves: `gave_back` says whether pages went back with it. False when a reader is in
    /// the way of a log that has become too long.
    pub(super) fn settle(&mut self, db: &Connection, gave_back: bool) -> rusqlite::Result<bool> {
        if self.gave_back && !gave_back {
            // Waits for nobody: who reads meanwhile only delays it to the next time.
            db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        self.gave_back = gave_back;
        let length = fs::metadata(&self.log).map_or(0, |log| log.len());
        if length < self.cut_at {
            return Ok(true);
        }
        let cut = cut_log(db)?;
        // The next attempt is not at the next commit: it may have to wait in vain again.
        self.cut_at = if cut { LOG_BYTES } else { length * 2 };
        Ok(cut)
    }

    /// Gives the reserve up, for what was begun to be finished. Says whether there was one.
    pub(super) fn give_up_reserve(&mut self) -> bool {
        if !self.reserve.held || self.reserve.bytes == 0 {
            return false;
        }
        match self.reserve.give_up() {
            Ok(()) => tracing::warn!(
                bytes = self.reserve.bytes,
                "the disk is full; the reserve is given up so that what was begun can be finished"
            ),
            Err(error) => tracing::error!(%error, "the disk is full, and the reserve cannot be given up"),
        }
        !self.reserve.held
    }

    /// Has the reserve, if there is room for it.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn keep_reserve(&mut self) -> io::Result<()> {
        if self.reserve.held { Ok(()) } else { self.reserve.take() }
    }
}

/// Bytes on the disk that hold nothing.
struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
    /// Makes a file take up so many bytes on its disk.
    allocate: fn(&File, u64) -> io::Result<()>,
}

impl Reserve {
    fn take(&mut self) -> io::Result<()> {
        if self.bytes > 0 {
            let file = create_private(&self.path)?;
            let taken = (self.allocate)(&file, self.bytes.saturating_add(MARGIN_BYTES));
            // Part of it would only be in the way.
            file.set_len(if taken.is_ok() { self.bytes } else { 0 })?;
            taken?;
        }
        self.held = true;
        Ok(())
    }

    fn give_up(&mut self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.held = false;
        Ok(())
    }
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        // Some file systems cannot promise room; they are written to.
        Err(rustix::io::Errno::OPNOTSUPP) => {}
        done => return Ok(done?),
    }
    let mut zeros = io::Read::take(io::repeat(0), bytes);
    io::copy(&mut zeros, &mut &*file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> (PathBuf, Connection) {
        let path = dir.join("store.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; \
             CREATE TABLE a (x);",
        )
        .unwrap();
        (path, db)
    }

    fn fill(db: &Connection, pages: u32) {
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {pages}) \
             INSERT INTO a SELECT zeroblob(3500) FROM n"
        );
        db.execute_batch(&sql).unwrap();
    }

    #[test]
    fn pages_go_back_in_steps_and_some_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (path, db) = open(dir.path());
        fill(&db, 6_000);
        db.execute_batch("DELETE FROM a").unwrap();
        let free = |db: &Connection| Pages::of(db).unwrap().free;
        let before = free(&db);
        let step = |want, idle| give_back(&db, want, idle).unwrap().1;
        assert!(step(Want::Spare, false));
        assert_eq!(before - free(&db), SMALL_STEP);
        while step(Want::Spare, true) {}
        assert_eq!(free(&db), SLACK_BYTES / 4_096);
        while step(Want::Everything, true) {}
        assert_eq!(free(&db), 0);
        // The file itself becomes shorter when the log is copied into it, which is when nothing more goes back.
        let mut room = Room::new(&path, 0).unwrap();
        assert!(room.settle(&db, true).unwrap());
        assert!(fs::metadata(&path).unwrap().len() < 1_000_000 || cut_log(&db).unwrap());
        assert!(room.settle(&db, false).unwrap());
        assert!(fs::metadata(&path).unwrap().len() < 1_000_000);
    }

    #[test]
    fn a_log_that_is_too_long_is_cut_as_soon_as_no_reader_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let (path, db) = open(dir.path());
        db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        let mut room = Room { cut_at: 1_000_000, ..Room::new(&path, 0).unwrap() };
        let log = beside(&path, "-wal");
        let length = || fs::metadata(&log).unwrap().len();
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM a").unwrap();
        fill(&db, 100);
        assert!(room.settle(&db, false).unwrap(), "it is short enough");
        fill(&db, 300);
        assert!(!room.settle(&db, false).unwrap(), "somebody reads");
        assert_eq!(room.cut_at, length() * 2);
        reader.execute_batch("COMMIT").unwrap();
        assert!(room.settle(&db, false).unwrap(), "it does not wait every time");
        assert!(length() > 1_000_000);
        fill(&db, 600);
        assert!(room.settle(&db, false).unwrap());
        assert_eq!((length(), room.cut_at), (0, LOG_BYTES));
    }

    #[cfg(unix)]
    #[test]
    fn a_reserve_takes_up_room() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let mut room = Room::new(&path, 3_000_000).unwrap();
        let file = beside(&path, ".reserve");
        assert_eq!((room.want(), file.exists()), (Want::Everything, false));
        room.keep_reserve().unwrap();
        assert_eq!(room.want(), Want::Spare);
        assert!(fs::metadata(&file).unwrap().blocks() * 512 >= 3_000_000);
        assert!(room.give_up_reserve() && !file.exists());
        assert!(!room.give_up_reserve(), "there is only one");
        room.keep_reserve().unwrap();
        room.give_up_reserve();
        room.reserve.allocate = |_, bytes| {
            if bytes > 4_000_000 { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        assert!(room.keep_reserve().is_err(), "new work would use it up at once");
        let room = Room::new(&path, u64::MAX).unwrap().keep_reserve();
        assert!(room.is_err() && fs::metadata(&file).unwrap().len() == 0, "no disk is that large");
    }
}
