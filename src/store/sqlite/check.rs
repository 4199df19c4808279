//! Whether a store is whole.
//!
//! At each start that follows an unclean end, the tables that a daemon reads then are checked before it listens; the
//! records, which are most of the file, while it works: a crash of the daemon alone harms no file, and a look at every
//! page takes about half a second per GB.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, InterruptHandle};

use super::schema::refuse;
use super::writer::Shared;
use super::{OpenError, read};

/// The tables whose size is that of what happened; those of all others is that of what there is.
const LARGE: [&str; 4] = ["record", "extent", "gate_run", "weight"];

/// What operators are told of a store in which damage was found.
pub(super) const DAMAGED: &str = "it is damaged";

/// How often a look is told to end.
const AGAIN: Duration = Duration::from_millis(1);

/// Checks what a daemon reads when it starts.
pub(super) fn at_start(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = tables(db).and_then(|tables| {
        let small = tables.iter().filter(|table| !LARGE.contains(&table.as_str()));
        small
            .map(|table| quick_check(db, Some(table)))
            .find(|said| !matches!(said, Ok(None)))
            .unwrap_or(Ok(None))
    });
    match found.map_err(|source| refuse(path, source))? {
        None => Ok(()),
        Some(why) => Err(OpenError::Corrupt { path: path.into(), why }),
    }
}

/// Checks every page.
pub(super) fn all(db: &Connection, path: &Path) -> Result<(), OpenError> {
    match quick_check(db, None).map_err(|source| refuse(path, source))? {
        None => Ok(()),
        Some(why) => Err(OpenError::Corrupt { path: path.into(), why }),
    }
}

fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    select.query_map([], |row| row.get(0))?.collect()
}

/// The first thing that is wrong with the pages of a table, or of the file.
fn quick_check(db: &Connection, table: Option<&str>) -> rusqlite::Result<Option<String>> {
    let sql = match table {
        Some(table) => format!("PRAGMA quick_check('{table}')"),
        None => "PRAGMA quick_check(1)".into(),
    };
    let said: String = db.query_row(&sql, [], |row| row.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// A look at every page beside the daemon's work. Ends with the store.
pub(super) struct Background {
    interrupt: Arc<InterruptHandle>,
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Background {
    pub(super) fn start(path: &Path, shared: &Arc<Shared>) -> Result<Background, OpenError> {
        let db = read::open(path).map_err(|source| refuse(path, source))?;
        let interrupt = Arc::new(db.get_interrupt_handle());
        shared.checks(interrupt.clone());
        let (shared, file) = (shared.clone(), path.to_owned());
        let (end, ended) = mpsc::channel::<()>();
        let work = move || {
            look(&db, file, &shared);
            drop((db, end));
        };
        std::thread::Builder::new()
            .name("store-check".into())
            .spawn(work)
            .map_err(|source| OpenError::Failed { path: path.into(), source: Box::new(source) })?;
        Ok(Background { interrupt, ended: Mutex::new(ended) })
    }

    /// Ends the look; its connection is closed then.
    pub(super) fn stop(self) {
        let ended = self.ended.into_inner();
        self.interrupt.interrupt();
        // One that comes before the look has begun is not heard.
        while ended.recv_timeout(AGAIN) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.interrupt.interrupt();
        }
    }
}

fn look(db: &Connection, path: PathBuf, shared: &Shared) {
    let store = path.display().to_string();
    match quick_check(db, None) {
        Ok(None) => {
            tracing::info!(store, "the store was not closed properly before, and is whole");
            shared.found_whole();
        }
        Ok(Some(why)) => shared.hopeless(DAMAGED, &OpenError::Corrupt { path, why }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::warn!(
                store,
                "the check after the unclean end was broken off; `arcpd store check` does it"
            );
        }
        Err(error) => shared.hopeless(DAMAGED, &refuse(&path, error)),
    }
}
