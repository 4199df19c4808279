//! What is in a store, in figures.

use std::path::Path;

use rusqlite::Connection;

use super::schema::{self, beside, inspect, refuse};
use super::space::Pages;
use super::{Holder, OpenError, rows};
use crate::wire::id::JobId;
use crate::wire::job::JobStatus;
use crate::wire::time::Timestamp;

/// Jobs that are named.
const BIGGEST: i64 = 5;

/// What is in a store.
#[derive(Debug, Clone)]
pub struct Stats {
    /// The version of its format.
    pub format: usize,
    /// The newest version that is known here.
    pub newest_format: usize,
    /// How often it was opened by a daemon.
    pub epoch: u64,
    /// Whether it was closed properly. Not while a daemon has it.
    pub clean: bool,
    /// The daemon that has it.
    pub holder: Option<Holder>,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Bytes of its write-ahead log.
    pub log_bytes: u64,
    /// Bytes held in reserve.
    pub reserve_bytes: u64,
    /// Bytes of the file that hold something.
    pub used_bytes: u64,
    /// Bytes of the file that hold nothing.
    pub free_bytes: u64,
    /// Whether free bytes go back to the disk while a daemon works; else only a vacuum does that.
    pub gives_back: bool,
    /// Jobs by status.
    pub jobs: Vec<(JobStatus, u64)>,
    /// Records of all jobs.
    pub records: u64,
    /// Sessions.
    pub sessions: u64,
    /// Runs of numbers that sessions can be sent again.
    pub extents: u64,
    /// When the oldest job was accepted.
    pub oldest: Option<Timestamp>,
    /// When the newest was.
    pub newest: Option<Timestamp>,
    /// The jobs with the most bytes, the largest first.
    pub biggest: Vec<BigJob>,
}

/// A job that takes up room.
#[derive(Debug, Clone)]
pub struct BigJob {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub principal: String,
    /// Its agent's name.
    pub agent: String,
    /// Its records.
    pub records: u64,
    /// Their payload.
    pub bytes: u64,
}

/// Counts what is in the store or backup at `path`, in one view of it, also while a daemon works on it.
///
/// # Errors
/// [`OpenError`] when it cannot be read.
pub fn stats(path: &Path) -> Result<Stats, OpenError> {
    let (db, format) = inspect(path)?;
    let failed = |source| refuse(path, source);
    let view = db.unchecked_transaction().map_err(failed)?;
    let counted = count(&view, format).map_err(failed)?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    Ok(Stats {
        holder: Holder::of(path),
        file_bytes: size(path),
        log_bytes: size(&beside(path, "-wal")),
        reserve_bytes: size(&beside(path, ".reserve")),
        ..counted
    })
}

fn count(db: &Connection, format: usize) -> rusqlite::Result<Stats> {
    let one = |sql| db.query_row(sql, [], |row| rows::uint(row, 0));
    let pages = Pages::of(db)?;
    let time = |sql| -> rusqlite::Result<_> {
        let at: Option<i64> = db.query_row(sql, [], |row| row.get(0))?;
        Ok(at.map(Timestamp::from_micros))
    };
    let mut by_status = db.prepare("SELECT status, count(*) FROM job GROUP BY status ORDER BY status")?;
    let jobs = by_status.query_map([], |row| Ok((rows::status(row, 0)?, rows::uint(row, 1)?)))?;
    Ok(Stats {
        format,
        newest_format: schema::MIGRATIONS.len(),
        epoch: one("SELECT epoch FROM meta")?,
        clean: one("SELECT clean FROM meta")? != 0,
        holder: None,
        file_bytes: 0,
        log_bytes: 0,
        reserve_bytes: 0,
        used_bytes: pages.used(),
        free_bytes: pages.free(),
        gives_back: one("PRAGMA auto_vacuum")? == 2,
        jobs: jobs.collect::<rusqlite::Result<_>>()?,
        records: one("SELECT coalesce(sum(last_pos - first_pos + 1), 0) FROM job")?,
        sessions: one("SELECT count(*) FROM session")?,
        extents: one("SELECT count(*) FROM extent")?,
        oldest: time("SELECT min(created_at) FROM job")?,
        newest: time("SELECT max(created_at) FROM job")?,
        biggest: biggest(db)?,
    })
}

fn biggest(db: &Connection) -> rusqlite::Result<Vec<BigJob>> {
    let mut select = db.prepare(
        "SELECT id, principal, agent_name, last_pos - first_pos + 1, coalesce(group_bytes, 0) + \
         (SELECT coalesce(sum(bytes), 0) FROM weight WHERE weight.job = n AND weight.last >= first_pos) AS bytes \
         FROM job ORDER BY bytes DESC, id LIMIT ?1",
    )?;
    let found = select.query_map([BIGGEST], |row| {
        Ok(BigJob {
            id: JobId(rows::ulid(row, 0)?),
            principal: row.get(1)?,
            agent: row.get(2)?,
            records: rows::uint(row, 3)?,
            bytes: rows::uint(row, 4)?,
        })
    })?;
    found.collect()
}
