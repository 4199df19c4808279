//! Questions: on connections of their own, which never write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};
use serde_json::value::RawValue;

use super::check::DAMAGED;
use super::rows::{self, int};
use super::schema::refuse;
use super::writer::Shared;
use crate::proto::listing::{Listed, Query, listed};
use crate::proto::record::{Record, Tail};
use crate::proto::stream::Attachment;
use crate::store::{JobRow, Restored, SessionRow, Unreadable};
use crate::wire::id::{JobId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// How many questions are answered at the same time.
const READERS: usize = 2;
/// Later than every id.
const NO_CURSOR: &[u8] = &[0xff; 17];

/// The connections for reading.
pub(super) struct Readers {
    path: PathBuf,
    shared: Arc<Shared>,
    /// Those that nobody uses; none any more once the store is closed.
    idle: Mutex<Option<Vec<Connection>>>,
    returned: Condvar,
}

impl Readers {
    pub(super) fn open(path: &Path, shared: Arc<Shared>) -> rusqlite::Result<Self> {
        let idle = (0..READERS).map(|_| open(path)).collect::<rusqlite::Result<_>>()?;
        Ok(Readers { path: path.into(), shared, idle: Mutex::new(Some(idle)), returned: Condvar::new() })
    }

    /// Asks on a connection that nobody uses, in one view of the store; waits for one if need be. What cannot be
    /// read is told and logged; damage that is met has new work refused.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Unreadable> {
        let ask = || {
            let lent = self.lend()?;
            let db = lent.db.as_ref().ok_or_else(closed)?;
            let view = db.unchecked_transaction()?;
            question(&view)
        };
        ask().map_err(|error| {
            let why = error.to_string().into();
            if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            {
                self.shared.hopeless(DAMAGED, &refuse(&self.path, error));
            } else {
                tracing::error!(store = %self.path.display(), %error, "the store cannot be read");
            }
            Unreadable(why)
        })
    }

    fn lend(&self) -> rusqlite::Result<Lent<'_>> {
        let mut idle = self.idle.lock();
        loop {
            match idle.as_mut().ok_or_else(closed)?.pop() {
                Some(db) => return Ok(Lent { readers: self, db: Some(db) }),
                None => self.returned.wait(&mut idle),
            }
        }
    }

    /// Closes the connections, so that the writer is the last to close the file. Whoever asks later is told.
    pub(super) fn close(&self) {
        self.idle.lock().take();
        self.returned.notify_all();
    }

    /// Asks where waiting harms nobody.
    pub(super) async fn answer<T: Send + 'static>(
        self: Arc<Self>,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unreadable> {
        let asked = tokio::task::spawn_blocking(move || self.ask(question)).await;
        // The question is dropped unasked when the program ends.
        asked.unwrap_or_else(|dropped| Err(Unreadable(dropped.to_string().into())))
    }
}

fn closed() -> rusqlite::Error {
    let misuse = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE);
    rusqlite::Error::SqliteFailure(misuse, Some("the store is closed".into()))
}

/// A connection that goes back whatever happens.
struct Lent<'a> {
    readers: &'a Readers,
    db: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(idle) = &mut *self.readers.idle.lock() {
            idle.extend(self.db.take());
        }
        self.readers.returned.notify_one();
    }
}

pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(super::BUSY)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// A job as it is stored.
pub(super) fn job(db: &Connection, id: JobId) -> rusqlite::Result<Option<JobRow>> {
    let sql = format!("{} WHERE id = ?1", job_columns());
    let mut select = db.prepare_cached(&sql)?;
    let found = select.query_row([id.0.to_bytes()], job_row).optional()?;
    found.map(|(n, row)| whole(db, n, row)).transpose()
}

fn job_columns() -> String {
    let (spec, history, edge) = (rows::SPEC, rows::HISTORY, rows::EDGE);
    format!("SELECT {spec}, input, n, {history}, {edge} FROM job JOIN job_order ON job = n")
}

/// A job and its key; of its tail only the edge.
fn job_row(row: &Row<'_>) -> rusqlite::Result<(i64, JobRow)> {
    let at = rows::SPEC_COLUMNS;
    let spec = Arc::new(rows::spec(row, rows::input(row, at)?)?);
    let tail = rows::edge(row, at + 2 + rows::HISTORY_COLUMNS)?;
    Ok((row.get(at + 1)?, rows::history(row, at + 2, spec, tail)?))
}

/// The same job with the whole of its tail.
fn whole(db: &Connection, n: i64, row: JobRow) -> rusqlite::Result<JobRow> {
    let edge = &row.tail;
    let kept = params![n, int(edge.first())];
    let sql = "SELECT gate, first, last FROM gate_run WHERE job = ?1 AND last >= ?2 ORDER BY first";
    let mut gates =
        db.prepare_cached(sql)?.query_map(kept, rows::gate_run)?.collect::<rusqlite::Result<Vec<_>>>()?;
    gates.extend(edge.gates());
    let sql = "SELECT first, last, bytes FROM weight WHERE job = ?1 AND last >= ?2 ORDER BY first";
    let mut groups =
        db.prepare_cached(sql)?.query_map(kept, rows::group)?.collect::<rusqlite::Result<Vec<_>>>()?;
    groups.extend(edge.groups());
    let tail = Tail::from_parts(edge.first(), edge.last(), edge.ended(), gates, groups);
    Ok(JobRow { tail, ..row })
}

/// A page of a listing, and whether more follow.
pub(super) fn list(db: &Connection, query: &Query) -> rusqlite::Result<(Vec<Listed>, bool)> {
    // Two statements, because an index serves each of them and none would serve both in one.
    let whose = if query.principal.is_some() { "principal = ?1" } else { "?1 IS NULL" };
    let sql = format!(
        "SELECT {}, status, last_pos, ended_at FROM job JOIN job_order ON job = n \
         WHERE {whose} AND id < ?2 AND (?3 >> status) & 1 AND (?4 IS NULL OR agent_name = ?4) \
         AND (?5 IS NULL OR agent_version = ?5) AND created_at > ?6 AND created_at < ?7 ORDER BY id DESC",
        rows::SPEC
    );
    let filter = &query.filter;
    let statuses = match &filter.status {
        Some(wanted) => wanted.0.iter().fold(0, |bits, status| bits | 1_i64 << rows::status_code(*status)),
        None => !0,
    };
    let before = query.before.map(|job| job.0.to_bytes());
    let mut select = db.prepare_cached(&sql)?;
    let mut found = select.query(params![
        query.principal.as_ref().map(Principal::subject),
        before.as_ref().map_or(NO_CURSOR, |id| &id[..]),
        statuses,
        filter.agent.as_ref().map(|agent| &agent.name),
        filter.agent.as_ref().and_then(|agent| agent.version.as_ref()),
        filter.created_after.map_or(i64::MIN, Timestamp::as_micros),
        filter.created_before.map_or(i64::MAX, Timestamp::as_micros),
    ])?;
    let none: Arc<RawValue> = RawValue::NULL.to_owned().into();
    let mut page = Vec::new();
    while let Some(row) = found.next()? {
        let spec = rows::spec(row, none.clone())?;
        let status: JobStatus = rows::status(row, rows::SPEC_COLUMNS)?;
        if !query.admits(&spec, status) {
            continue;
        }
        if page.len() == query.limit {
            return Ok((page, true));
        }
        let last_pos = rows::uint(row, rows::SPEC_COLUMNS + 1)?;
        let ended_at = row.get::<_, Option<i64>>(rows::SPEC_COLUMNS + 2)?.map(Timestamp::from_micros);
        page.push(listed(&spec, status, ended_at, last_pos));
    }
    Ok((page, false))
}

/// Records of a job after a position: so many, and so many bytes, but at least one.
pub(super) fn records(
    db: &Connection,
    id: JobId,
    after: u64,
    max_events: u64,
    max_bytes: usize,
) -> rusqlite::Result<Vec<Record>> {
    let mut select = db.prepare_cached(
        "SELECT pos, kind, record.gate, at, payload FROM job JOIN record ON record.job = n \
         WHERE id = ?1 AND first_pos <= ?2 + 1 AND pos > ?2 ORDER BY pos LIMIT ?3",
    )?;
    let mut found =
        select.query(params![id.0.to_bytes(), int(after.min(i64::MAX as u64 - 1)), int(max_events)])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        bytes += row.get_ref(4)?.as_blob()?.len();
        if !records.is_empty() && bytes > max_bytes {
            break;
        }
        records.push(rows::record(row)?);
    }
    Ok(records)
}

/// Everything that a daemon finds when it starts.
pub(super) fn restored(db: &Connection) -> rusqlite::Result<Restored> {
    let mut restored = Restored { sessions: sessions(db)?, ..Restored::default() };
    let order = "WHERE ended_at IS NULL ORDER BY created_at, id";
    let mut select = db.prepare(&format!("{} {order}", job_columns()))?;
    for found in select.query_map([], job_row)? {
        let (n, row) = found?;
        restored.unfinished.push(whole(db, n, row)?);
    }
    let order = "FROM job JOIN job_order ON job = n WHERE ended_at IS NOT NULL ORDER BY ended_at, id";
    let mut select = db.prepare(&format!("SELECT {} {order}", rows::FINISHED))?;
    for found in select.query_map([], rows::finished)? {
        restored.finished.push(found?);
    }
    Ok(restored)
}

fn sessions(db: &Connection) -> rusqlite::Result<Vec<SessionRow>> {
    let mut select =
        db.prepare("SELECT n, id, principal, features, tokens, released, closed FROM session ORDER BY n")?;
    let mut attached = db.prepare("SELECT job, pos, submitter, done FROM attachment WHERE session = ?1")?;
    let newest = "FROM extent WHERE session = ?1 ORDER BY first_seq";
    let mut extents = db.prepare(&format!("SELECT {} {newest}", rows::EXTENT))?;
    let mut sessions = Vec::new();
    let mut found = select.query([])?;
    while let Some(row) = found.next()? {
        let n: i64 = row.get(0)?;
        sessions.push(SessionRow {
            id: SessionId(rows::ulid(row, 1)?),
            principal: rows::parsed(row, 2, "principal")?,
            features: rows::features(row, 3)?,
            tokens: rows::tokens(row, 4)?,
            released: rows::uint(row, 5)?,
            closed: row.get(6)?,
            attached: attached.query_map([n], attachment)?.collect::<rusqlite::Result<_>>()?,
            extents: extents.query_map([n], rows::extent)?.collect::<rusqlite::Result<_>>()?,
        });
    }
    Ok(sessions)
}

/// A job that a session follows or followed, of the columns `job, pos, submitter, done`.
fn attachment(row: &Row<'_>) -> rusqlite::Result<(JobId, Attachment)> {
    let attachment = Attachment { pos: rows::uint(row, 1)?, submitter: row.get(2)?, done: row.get(3)? };
    Ok((JobId(rows::ulid(row, 0)?), attachment))
}
