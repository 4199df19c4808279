//! A full check: every page, and what we promise of what is in them.

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, Row};
use ulid::Ulid;

use super::OpenError;
use super::schema::{inspect, refuse};
use crate::wire::id::{JobId, SessionId};

/// Violations of one promise that are told one by one.
const EXAMPLES: usize = 5;
/// Lines about pages that SQLite gives at most.
const PAGE_LINES: usize = 20;

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What should be so.
    pub promise: &'static str,
    /// Where it is not: some of the places.
    pub examples: Vec<String>,
    /// How many there are.
    pub count: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not so that {}: {}", self.promise, self.examples.join("; "))?;
        match self.count - self.examples.len() as u64 {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Checks the store or backup at `path`, in one view of it, also while a daemon works on it. Empty: it is whole.
///
/// # Errors
/// [`OpenError`] when it cannot be read at all.
pub fn audit(path: &Path) -> Result<Vec<Finding>, OpenError> {
    let (db, _) = inspect(path)?;
    let failed = |source| refuse(path, source);
    let view = db.unchecked_transaction().map_err(failed)?;
    audit_open(&view).map_err(failed)
}

pub(super) fn audit_open(db: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let pages = pages(db)?;
    // What is on damaged pages says nothing.
    if pages.is_some() {
        return Ok(pages.into_iter().collect());
    }
    let found = PROMISES.iter().map(|promise| promise.look(db));
    found.filter_map(Result::transpose).collect()
}

fn pages(db: &Connection) -> rusqlite::Result<Option<Finding>> {
    let mut check = db.prepare(&format!("PRAGMA integrity_check({PAGE_LINES})"))?;
    let lines: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    if lines == ["ok"] {
        return Ok(None);
    }
    let count = lines.len() as u64;
    Ok(Some(Finding { promise: "the pages of the file are sound", examples: lines, count }))
}

/// Whose id a query gives.
#[derive(Clone, Copy)]
enum Of {
    Job,
    Session,
    Store,
}

/// Something that holds for every store, and a query for where it does not: an id and what is wrong.
struct Promise {
    what: &'static str,
    of: Of,
    broken: &'static str,
}

impl Promise {
    fn look(&self, db: &Connection) -> rusqlite::Result<Option<Finding>> {
        let mut select = db.prepare(self.broken)?;
        let mut rows = select.query([])?;
        let (mut examples, mut count) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            count += 1;
            if examples.len() < EXAMPLES {
                examples.push(self.example(row)?);
            }
        }
        Ok((count > 0).then_some(Finding { promise: self.what, examples, count }))
    }

    fn example(&self, row: &Row<'_>) -> rusqlite::Result<String> {
        let id = row.get::<_, Option<[u8; 16]>>(0)?.map(Ulid::from_bytes);
        let detail: String = row.get(1)?;
        Ok(match (self.of, id) {
            (Of::Job, Some(id)) => format!("{} {detail}", JobId(id)),
            (Of::Session, Some(id)) => format!("{} {detail}", SessionId(id)),
            (Of::Store, _) | (Of::Job | Of::Session, None) => detail,
        })
    }
}

const PROMISES: &[Promise] = &[
    Promise {
        what: "the store knows its epoch",
        of: Of::Store,
        broken: "SELECT NULL, count(*) || ' rows instead of one' FROM meta HAVING count(*) <> 1",
    },
    Promise {
        what: "every job has its order",
        of: Of::Job,
        broken: "SELECT id, 'has none' FROM job WHERE n NOT IN (SELECT job FROM job_order)
            UNION ALL SELECT NULL, 'the order of key ' || job || ' has no job'
            FROM job_order WHERE job NOT IN (SELECT n FROM job)",
    },
    Promise {
        what: "a job's records go without a gap from its first position to its last",
        of: Of::Job,
        broken: "SELECT id, 'should have those from ' || first_pos || ' to ' || last_pos || ', and has ' || kept ||
                coalesce(' from ' || low || ' to ' || high, '')
            FROM (SELECT id, first_pos, last_pos,
                (SELECT count(*) FROM record WHERE job = n AND pos >= first_pos) AS kept,
                (SELECT min(pos) FROM record WHERE job = n AND pos >= first_pos) AS low,
                (SELECT max(pos) FROM record WHERE job = n AND pos >= first_pos) AS high FROM job)
            WHERE kept <> last_pos - first_pos + 1 OR low <> first_pos OR high <> last_pos",
    },
    Promise {
        what: "a job that has ended has one end, which is its last record, and no other job has one",
        of: Of::Job,
        broken: "SELECT id, 'has ' || ends || ' ends, is ' || iif(ended, '', 'not ') || 'said to have ended, and its last record is '
                || iif(last_kind, '', 'not ') || 'one'
            FROM (SELECT id, ended, first_pos, last_pos,
                (SELECT count(*) FROM record WHERE job = n AND pos >= first_pos AND kind <> 0) AS ends,
                (SELECT kind <> 0 FROM record WHERE job = n AND pos = last_pos) AS last_kind FROM job)
            WHERE last_pos >= first_pos AND (ends <> ended OR last_kind <> ended)",
    },
    Promise {
        what: "a job has a time of its end exactly when its status is final",
        of: Of::Job,
        broken: "SELECT id, 'has status ' || status || ' and ' || coalesce('ended at ' || ended_at, 'no end')
            FROM job WHERE (status >= 2) <> (ended_at IS NOT NULL)",
    },
    Promise {
        what: "only what is not kept waits to be erased",
        of: Of::Job,
        broken: "SELECT id, 'is kept from ' || first_pos || ', and is to be erased up to ' || below
            FROM erase JOIN job ON erase.job = n WHERE below > first_pos",
    },
    Promise {
        what: "every record is of a job, or waits to be erased",
        of: Of::Job,
        broken: "SELECT NULL, 'there are records of the key ' || job FROM (SELECT DISTINCT job FROM record)
            WHERE job NOT IN (SELECT n FROM job) AND job NOT IN (SELECT job FROM erase)",
    },
    Promise {
        what: "everything of a session has its session",
        of: Of::Store,
        broken: "SELECT NULL, 'there are numbers of the key ' || session FROM (SELECT DISTINCT session FROM extent)
            WHERE session NOT IN (SELECT n FROM session)
            UNION ALL SELECT NULL, 'the key ' || session || ' follows jobs' FROM (SELECT DISTINCT session FROM attachment)
            WHERE session NOT IN (SELECT n FROM session)",
    },
    Promise {
        what: "a session's numbers begin at the first that is not released",
        of: Of::Session,
        broken: "SELECT id, 'has released up to ' || released || ', and keeps numbers from ' || first
            FROM session JOIN (SELECT session, min(first_seq) AS first FROM extent GROUP BY session) ON session = n
            WHERE first > released + 1",
    },
    Promise {
        what: "a session's numbers have no gap",
        of: Of::Session,
        broken: "SELECT (SELECT id FROM session WHERE n = session), 'goes on at ' || first_seq || ' instead of ' || expected
            FROM (SELECT session, first_seq,
                lag(first_seq + len) OVER (PARTITION BY session ORDER BY first_seq) AS expected FROM extent)
            WHERE expected <> first_seq",
    },
    Promise {
        what: "a session's numbers stand for records that its jobs have, or had",
        of: Of::Session,
        broken: "SELECT (SELECT id FROM session WHERE n = session), 'has at ' || first_seq || ' positions ' ||
                extent.first_pos || ' to ' || (extent.first_pos + len - 1) || ' of a job that goes to ' || job.last_pos
            FROM extent JOIN job ON extent.job = job.id
            WHERE extent.first_pos < 1 OR extent.first_pos + len - 1 > job.last_pos OR len < 1",
    },
    Promise {
        what: "a session is nowhere beyond the end of a job that it follows",
        of: Of::Session,
        broken: "SELECT (SELECT id FROM session WHERE n = session), 'is at ' || pos || ' of a job that goes to ' || last_pos
            FROM attachment JOIN job ON attachment.job = job.id WHERE pos < 0 OR pos > last_pos",
    },
];
