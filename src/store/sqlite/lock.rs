//! Who has a store: the lock that keeps others out, and the note beside it that says who holds it.
//!
//! Both are files that their owner keeps locked for as long as it lives, and the system lets go of locks whatever
//! way a process ends. So a note that can be locked is a dead one's, and is not believed.

use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::OpenError;
use super::schema::beside;

/// Bytes of a note.
const NOTE_BYTES: u64 = 16 * 1024;

/// Where a daemon can be reached, and what its clients need for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its WebSocket.
    pub url: String,
    /// The certificates to trust beside those of the system, where it has TLS.
    pub certificate: Option<PathBuf>,
}

/// Who holds a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Where it listens, if it does.
    pub endpoint: Option<Endpoint>,
}

impl Holder {
    /// Who holds the store in the file at `path` now. None where nobody does, or the holder has not said yet who it
    /// is.
    pub fn of(path: &Path) -> Option<Holder> {
        let path = &real(path).ok()?;
        let note = File::open(note_path(path)).ok()?;
        // Whoever may write notes decides where clients send their tokens: it must be whose the store is.
        if !private_and_same_owner(&note.metadata().ok()?, &path.metadata().ok()?) {
            return None;
        }
        let Err(TryLockError::WouldBlock) = note.try_lock_shared() else { return None };
        let mut text = Vec::new();
        note.take(NOTE_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(Endpoint { url, .. }) => write!(f, "process {}, which listens on {url}", self.pid),
            None => write!(f, "process {}, which does not listen", self.pid),
        }
    }
}

#[cfg(unix)]
fn private_and_same_owner(note: &Metadata, store: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    note.uid() == store.uid() && note.mode() & 0o077 == 0
}

#[cfg(not(unix))]
fn private_and_same_owner(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// What the holder of a store says of itself, for as long as this lives.
pub(super) struct Note {
    path: PathBuf,
    /// Keeps the note locked, and so true.
    file: File,
}

impl Note {
    pub(super) fn write(store: &Path, holder: &Holder) -> io::Result<Note> {
        let path = note_path(store);
        Ok(Note { file: publish(&path, holder)?, path })
    }

    pub(super) fn rewrite(&mut self, holder: &Holder) -> io::Result<()> {
        self.file = publish(&self.path, holder)?;
        Ok(())
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // One that stays is not believed.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Puts a note in place in one step: locked before anybody can find it.
fn publish(path: &Path, holder: &Holder) -> io::Result<File> {
    let draft = beside(path, ".new");
    let mut file = create_private(&draft)?;
    file.lock()?;
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(holder)?)?;
    std::fs::rename(&draft, path)?;
    Ok(file)
}

fn note_path(store: &Path) -> PathBuf {
    beside(store, ".holder")
}

/// Makes the directory of a file, for its owner only.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Makes a file of ours for its owner only; an empty one if there is none.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        // Whoever was let in by others' hands is let out again; on a file that is not ours that is not for us to say.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
    Ok(file)
}

/// The path of a file by which everybody knows it, however it was spelled and through whatever links it was reached.
pub(super) fn real(path: &Path) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = std::fs::canonicalize(directory.unwrap_or(Path::new(".")))?;
    Ok(path.file_name().map_or_else(|| directory.clone(), |name| directory.join(name)))
}

/// A store that has several names could be opened under each of them: what belongs to it stands beside one.
pub(super) fn has_one_name(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let names = std::fs::metadata(path)?.nlink();
        if names > 1 {
            let why = format!("it has {names} names (hard links), and must have one");
            return Err(io::Error::other(why));
        }
    }
    Ok(())
}

/// Keeps other daemons out, for as long as the file is open.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = beside(path, ".lock");
    let failed = |source: io::Error| OpenError::Failed { path: beside.clone(), source: Box::new(source) };
    let file = create_private(&beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(OpenError::InUse { path: path.into(), holder: Holder::of(path) })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(url: &str) -> Holder {
        let endpoint = Endpoint { url: url.into(), certificate: Some("/cert.pem".into()) };
        Holder { pid: 7, endpoint: Some(endpoint) }
    }

    #[test]
    fn a_note_is_believed_while_its_writer_lives() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store.db");
        create_private(&store).unwrap();
        assert_eq!(Holder::of(&store), None);
        let mut note = Note::write(&store, &Holder { pid: 7, endpoint: None }).unwrap();
        assert_eq!(Holder::of(&store).unwrap().to_string(), "process 7, which does not listen");
        note.rewrite(&holder("ws://a")).unwrap();
        assert_eq!(Holder::of(&store), Some(holder("ws://a")));
        let left = dir.path().join("left");
        std::fs::hard_link(note_path(&store), &left).unwrap();
        drop(note);
        assert_eq!(Holder::of(&store), None);
        // As a crash leaves it.
        std::fs::rename(left, note_path(&store)).unwrap();
        assert_eq!(Holder::of(&store), None);
        let next = Note::write(&store, &holder("ws://b")).unwrap();
        assert_eq!(Holder::of(&store), Some(holder("ws://b")));
        drop(next);
    }

    #[cfg(unix)]
    #[test]
    fn a_note_that_others_can_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store.db");
        create_private(&store).unwrap();
        let note = Note::write(&store, &holder("ws://a")).unwrap();
        note.file.set_permissions(std::fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(Holder::of(&store), None);
    }
}
