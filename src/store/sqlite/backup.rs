//! Copies of a store: whole and checked, or not there.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rusqlite::Connection;

use super::OpenError;
use super::audit::{Finding, audit_open};
use super::lock::{create_private, real};
use super::schema::{self, beside, refuse};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Something is there.
    #[error("{} is there already: choose another name, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// It is the store itself, or belongs to it.
    #[error("{} belongs to the store: choose another name", .0.display())]
    Own(PathBuf),
    /// The file cannot be written.
    #[error("the backup {} cannot be written: {error}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What was copied is not whole, and so was not kept.
    #[error("the store is not whole, so there is no backup of it; `arcpd store check` says more: {0}")]
    Broken(Finding),
}

/// Copies the store at `path`, also while a daemon works on it, and checks the copy. Returns its bytes.
///
/// # Errors
/// [`BackupError`]; then there is no file `to`, or the one that was there before.
pub fn backup(path: &Path, to: &Path, replace: bool) -> Result<u64, BackupError> {
    let failed = |error| BackupError::Failed { path: to.into(), error };
    if belongs(to, path).map_err(failed)? {
        return Err(BackupError::Own(to.into()));
    }
    if !replace && fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::Exists(to.into()));
    }
    let (db, _) = schema::inspect(path)?;
    let draft = Draft::of(&db, to).map_err(failed)?;
    let copy = Connection::open(&draft.0).map_err(|error| refuse(&draft.0, error))?;
    // Nothing of it is under way, and it is looked at here and now.
    copy.execute("UPDATE meta SET clean = 1", []).map_err(|error| refuse(&draft.0, error))?;
    let found = audit_open(&copy).map_err(|error| refuse(&draft.0, error))?;
    drop(copy);
    if let Some(finding) = found.into_iter().next() {
        return Err(BackupError::Broken(finding));
    }
    match draft.publish(to, replace) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(BackupError::Exists(to.into())),
        published => published.map_err(failed),
    }
}

/// Whether a file is the store, or one that stands beside it for its sake.
fn belongs(to: &Path, store: &Path) -> io::Result<bool> {
    let (to, store) = (real(to)?, real(store)?);
    let beside =
        ["-wal", "-shm", ".lock", ".holder", ".holder.new", ".reserve"].map(|suffix| beside(&store, suffix));
    Ok(to == store || beside.contains(&to))
}

/// A copy that nobody sees yet; gone unless it is published.
pub(super) struct Draft(PathBuf);

impl Draft {
    /// Copies what an open store holds at this moment, to beside where it shall be.
    pub(super) fn of(db: &Connection, to: &Path) -> io::Result<Draft> {
        // A name of its own: two that are made at the same time do not meet.
        let mut path = beside(to, ".partial-");
        path.as_mut_os_string().push(hex::encode(rand::rng().random::<[u8; 8]>()));
        create_private(&path)?;
        let draft = Draft(path);
        db.execute("VACUUM INTO ?1", [draft.0.to_string_lossy()]).map_err(io::Error::other)?;
        Ok(draft)
    }

    /// Puts it in its place, in one step and for good. Returns its bytes.
    pub(super) fn publish(self, to: &Path, replace: bool) -> io::Result<u64> {
        let file = File::open(&self.0)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        if replace {
            fs::rename(&self.0, to)?;
        } else {
            // Unlike a rename this replaces nothing.
            fs::hard_link(&self.0, to)?;
            fs::remove_file(&self.0)?;
        }
        let directory = to.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // One that cannot be removed is only in the way.
        let _ = remove(&self.0);
        let _ = remove(&beside(&self.0, "-journal"));
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
