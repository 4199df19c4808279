//! The file's layout, and how it changes from version to version: forward only, with a copy beforehand.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::OpenError;
use super::backup::Draft;
use crate::store::Epoch;

/// Says whose file it is: "arcp".
const APPLICATION_ID: i64 = 0x6172_6370;
/// Bytes of a page: with larger groups of records in fewer pages, commits have shorter tails.
const PAGE_BYTES: u32 = 16_384;

/// What makes each version out of the one before; the first out of nothing. A file's `user_version` counts them.
///
/// `record` has no key beside its place. What a record adds to is in `job`, so that a commit touches few pages:
/// the newest run of a gate and the newest group; older ones are in `gate_run` and `weight`. `erase` names jobs (by
/// the keys that they had) whose records up to a position are deleted step by step.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, clean INTEGER NOT NULL);
INSERT INTO meta VALUES (1, 0, 1);

CREATE TABLE job (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    agent_version TEXT,
    created_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    ended_at INTEGER,
    first_pos INTEGER NOT NULL,
    last_pos INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    gate INTEGER,
    gate_first INTEGER,
    gate_last INTEGER,
    group_first INTEGER,
    group_bytes INTEGER
);
CREATE INDEX job_of ON job (principal, id);

CREATE TABLE job_order (
    job INTEGER PRIMARY KEY,
    asked TEXT NOT NULL,
    max_runtime_sec INTEGER,
    idempotency_key TEXT,
    trace TEXT,
    fingerprint BLOB NOT NULL,
    expires_at INTEGER,
    lease TEXT NOT NULL,
    input TEXT NOT NULL
);

CREATE TABLE record (
    job INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    gate INTEGER,
    at INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (job, pos)
) WITHOUT ROWID;

CREATE TABLE gate_run (
    job INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    gate INTEGER NOT NULL,
    PRIMARY KEY (job, first)
) WITHOUT ROWID;

CREATE TABLE weight (
    job INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (job, first)
) WITHOUT ROWID;

CREATE TABLE erase (job INTEGER PRIMARY KEY, below INTEGER NOT NULL);

CREATE TABLE session (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    features TEXT NOT NULL,
    tokens BLOB NOT NULL,
    released INTEGER NOT NULL
);

CREATE TABLE attachment (
    session INTEGER NOT NULL,
    job BLOB NOT NULL,
    pos INTEGER NOT NULL,
    submitter INTEGER NOT NULL,
    PRIMARY KEY (session, job)
) WITHOUT ROWID;

CREATE TABLE extent (
    session INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    len INTEGER NOT NULL,
    job BLOB NOT NULL,
    first_pos INTEGER,
    payload BLOB,
    PRIMARY KEY (session, first_seq)
) WITHOUT ROWID;
",
    "
ALTER TABLE job ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN started_at INTEGER;
ALTER TABLE job ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN cancel_reason TEXT;
UPDATE job SET attempts = 1, started_at = created_at WHERE status <> 0;

ALTER TABLE session ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;

ALTER TABLE attachment ADD COLUMN done INTEGER NOT NULL DEFAULT 0;
UPDATE attachment SET done = NOT EXISTS (
    SELECT 1 FROM job WHERE job.id = attachment.job AND (NOT ended OR last_pos > pos)
);
",
];

/// Makes the file of this version's layout, or says why that cannot be.
pub(super) fn prepare(db: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), OpenError> {
    let failed = |source| refuse(path, source);
    let version = version(db).map_err(failed)?;
    let known = migrations.len();
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(OpenError::NotAStore { path: path.into() });
    }
    if version > known {
        return Err(OpenError::Newer { path: path.into(), found: version, known });
    }
    if tables == 0 {
        db.pragma_update(None, "page_size", PAGE_BYTES).map_err(failed)?;
        // Before there are tables: later only a vacuum changes it.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
    }
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(failed)?;
    if version == known {
        return Ok(());
    }
    if tables > 0 {
        let copy = beside(path, &format!(".bak-v{version}"));
        let copied = Draft::of(db, &copy).and_then(|draft| draft.publish(&copy, true));
        copied.map_err(|error| OpenError::Failed { path: copy, source: Box::new(error) })?;
        tracing::info!(store = %path.display(), from = version, to = known, "the store is brought up to date");
    }
    migrate(db, version, migrations).map_err(failed)
}

fn version(db: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn migrate(db: &mut Connection, from: usize, migrations: &[&str]) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    for step in &migrations[from..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", i64::try_from(migrations.len()).unwrap_or(i64::MAX))?;
    tx.commit()
}

/// Opens a store that is there for reading, also while a daemon works on it. Returns the version of its format too.
pub(super) fn inspect(path: &Path) -> Result<(Connection, usize), OpenError> {
    let failed = |source| refuse(path, source);
    // What SQLite says of a missing file does not tell.
    if let Err(error) = std::fs::File::open(path) {
        return Err(OpenError::Failed { path: path.into(), source: Box::new(error) });
    }
    let db = super::read::open(path).map_err(failed)?;
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if application != APPLICATION_ID {
        return Err(OpenError::NotAStore { path: path.into() });
    }
    let (found, known) = (version(&db).map_err(failed)?, MIGRATIONS.len());
    if found > known { Err(OpenError::Newer { path: path.into(), found, known }) } else { Ok((db, found)) }
}

/// The path with something appended to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Takes the next epoch and notes that the file is in use. Says whether it was closed properly before.
pub(super) fn begin(db: &mut Connection) -> rusqlite::Result<(Epoch, bool)> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let clean = tx.query_row("SELECT clean FROM meta", [], |row| row.get(0))?;
    let sql = "UPDATE meta SET epoch = epoch + 1, clean = 0 RETURNING epoch";
    let epoch: i64 = tx.query_row(sql, [], |row| row.get(0))?;
    tx.commit()?;
    Ok((Epoch(epoch.cast_unsigned()), clean))
}

/// What an error of SQLite means to whoever opens the file.
pub(super) fn refuse(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.into();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Corrupt { path, why: source.to_string() },
        _ => OpenError::Failed { path, source: Box::new(source) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[&str] = &["CREATE TABLE a (x); INSERT INTO a VALUES (7);"];
    const NEW: &[&str] = &[OLD[0], "CREATE TABLE b AS SELECT x FROM a;", "DROP TABLE a;"];

    #[test]
    fn an_older_file_is_copied_and_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let mut db = Connection::open(&path).unwrap();
        prepare(&mut db, &path, OLD).unwrap();
        prepare(&mut db, &path, OLD).unwrap();
        let backup = dir.path().join("store.db.bak-v1");
        assert!(!backup.exists(), "a file of this version is left alone");
        std::fs::write(&backup, "of an attempt that failed").unwrap();
        prepare(&mut db, &path, NEW).unwrap();
        let x = |db: &Connection, table: &str| -> rusqlite::Result<i64> {
            db.query_row(&format!("SELECT x FROM {table}"), [], |row| row.get(0))
        };
        assert_eq!((x(&db, "b").unwrap(), version(&db).unwrap()), (7, 3));
        let mut old = Connection::open(&backup).unwrap();
        assert_eq!((x(&old, "a").unwrap(), version(&old).unwrap()), (7, 1));
        prepare(&mut old, &backup, OLD).unwrap();
        let refused = prepare(&mut db, &path, OLD);
        assert!(matches!(refused, Err(OpenError::Newer { found: 3, known: 1, .. })), "{refused:?}");
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let mut db = Connection::open(&path).unwrap();
        prepare(&mut db, &path, OLD).unwrap();
        assert!(prepare(&mut db, &path, &[OLD[0], "CREATE TABLE b (x);", "nonsense"]).is_err());
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!((tables, version(&db).unwrap()), (1, 1));
    }
}
