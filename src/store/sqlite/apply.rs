//! Mutations as statements, in the writer's transaction.
//!
//! What grows record by record (a job's end, a session's newest extent) is kept at hand and written once per
//! transaction, so that a burst costs one row per record and little beside.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use super::rows::{self, int};
use crate::proto::job::Cancellation;
use crate::proto::record::{Record, Tail};
use crate::proto::stream::{Extent, Numbers, Piece, Place};
use crate::proto::submit::Spec;
use crate::store::{Op, number};
use crate::wire::encode::json;
use crate::wire::feature::FeatureSet;
use crate::wire::id::{JobId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::lease::LeaseConstraints;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// How many jobs and how many sessions are kept at hand between transactions.
const KEPT: usize = 4_096;
/// How many positions one step erases.
const ERASE_STEP: i64 = 2_048;

/// Where a job stands at the end of what was applied.
struct Job {
    n: i64,
    status: JobStatus,
    attempts: u32,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    /// Its newest run and group, and those before them that are not written yet.
    edge: Tail,
    changed: bool,
}

/// Where a session stands at the end of what was applied.
struct Session {
    n: i64,
    /// Its newest extent, and those before it that are not written yet.
    extents: Vec<Extent>,
    /// The last number of the newest extent that is written.
    written: u64,
    places: BTreeMap<JobId, Place>,
}

/// What is kept at hand. Good for as long as the transaction that filled it is not rolled back.
#[derive(Default)]
pub(super) struct AtHand {
    jobs: HashMap<JobId, Job>,
    sessions: HashMap<SessionId, Session>,
    changed_jobs: Vec<JobId>,
    changed_sessions: Vec<SessionId>,
}

/// One transaction's hands.
pub(super) struct Hands<'a> {
    db: &'a Connection,
    at_hand: &'a mut AtHand,
}

type Done = rusqlite::Result<()>;

impl<'a> Hands<'a> {
    pub(super) fn new(db: &'a Connection, at_hand: &'a mut AtHand) -> Self {
        Hands { db, at_hand }
    }

    fn sql(&self, sql: &str) -> rusqlite::Result<CachedStatement<'a>> {
        self.db.prepare_cached(sql)
    }

    pub(super) fn apply(&mut self, op: &Op) -> Done {
        match op {
            Op::JobAccepted { spec } => self.accept(spec),
            Op::JobStarted { job, attempt, at } => self.with_job(*job, |_, stored| {
                (stored.status, stored.attempts) = (JobStatus::Running, *attempt);
                stored.started_at.get_or_insert(*at);
                Ok(())
            }),
            Op::JobCancelling { job, cancellation: Cancellation { reason } } => {
                self.with_job(*job, |db, stored| {
                    let mut update =
                        db.prepare_cached("UPDATE job SET cancelled = 1, cancel_reason = ?2 WHERE n = ?1")?;
                    update.execute(params![stored.n, reason]).map(drop)
                })
            }
            Op::JobEnded { job, status, at } => self.with_job(*job, |_, stored| {
                (stored.status, stored.ended_at) = (*status, Some(*at));
                Ok(())
            }),
            Op::Append { job, record } => self.with_job(*job, |db, stored| append(db, stored, record)),
            Op::Trim { job, first } => self.with_job(*job, |db, stored| {
                stored.edge.trim(*first);
                erase_below(db, stored.n, int(*first))
            }),
            Op::RemoveJob(job) => self.remove_job(*job),
            Op::SessionOpened { session, principal, features, token } => {
                self.open_session(*session, principal, *features, token)
            }
            Op::Tokens { session, hashes } => self.with_session(*session, |db, stored| {
                let mut update = db.prepare_cached("UPDATE session SET tokens = ?2 WHERE n = ?1")?;
                update.execute(params![stored.n, hashes.as_flattened()]).map(drop)
            }),
            Op::Closed { session, closed } => self.with_session(*session, |db, stored| {
                let mut update = db.prepare_cached("UPDATE session SET closed = ?2 WHERE n = ?1")?;
                update.execute(params![stored.n, closed]).map(drop)
            }),
            Op::Attached { session, job, pos, submitter } => self.with_session(*session, |db, stored| {
                stored.places.remove(job);
                let mut upsert = db.prepare_cached(
                    "INSERT INTO attachment (session, job, pos, submitter) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET pos = excluded.pos, submitter = submitter OR excluded.submitter, \
                     done = 0",
                )?;
                upsert.execute(params![stored.n, job.0.to_bytes(), int(*pos), submitter]).map(drop)
            }),
            Op::Detached { session, job } => self.with_session(*session, |db, stored| {
                stored.places.remove(job);
                let mut delete =
                    db.prepare_cached("DELETE FROM attachment WHERE session = ?1 AND job = ?2")?;
                delete.execute(params![stored.n, job.0.to_bytes()]).map(drop)
            }),
            Op::Numbered { session, numbers } => self.with_session(*session, |_, stored| {
                stored.number(numbers);
                Ok(())
            }),
            Op::Released { session, through } => {
                self.with_session(*session, |db, stored| stored.release(db, *through))
            }
            Op::RemoveSession(session) => self.remove_session(*session),
        }
    }

    /// Writes what is kept at hand and has changed.
    pub(super) fn finish(&mut self) -> Done {
        let AtHand { jobs, sessions, changed_jobs, changed_sessions } = &mut *self.at_hand;
        for job in changed_jobs.drain(..) {
            if let Some(stored) = jobs.get_mut(&job) {
                stored.write(self.db)?;
            }
        }
        for session in changed_sessions.drain(..) {
            if let Some(stored) = sessions.get_mut(&session) {
                stored.write(self.db)?;
            }
        }
        if jobs.len() > KEPT {
            jobs.clear();
        }
        if sessions.len() > KEPT {
            sessions.clear();
        }
        Ok(())
    }

    /// Changes a job that there is.
    fn with_job(&mut self, id: JobId, change: impl FnOnce(&Connection, &mut Job) -> Done) -> Done {
        if !self.at_hand.jobs.contains_key(&id) {
            let Some(job) = load_job(self.db, id)? else { return Ok(()) };
            self.at_hand.jobs.insert(id, job);
        }
        let Some(job) = self.at_hand.jobs.get_mut(&id) else { return Ok(()) };
        if !job.changed {
            job.changed = true;
            self.at_hand.changed_jobs.push(id);
        }
        change(self.db, job)
    }

    /// Changes a session that there is.
    fn with_session(
        &mut self,
        id: SessionId,
        change: impl FnOnce(&Connection, &mut Session) -> Done,
    ) -> Done {
        if !self.at_hand.sessions.contains_key(&id) {
            let Some(session) = load_session(self.db, id)? else { return Ok(()) };
            self.at_hand.sessions.insert(id, session);
        }
        let Some(session) = self.at_hand.sessions.get_mut(&id) else { return Ok(()) };
        if self.at_hand.changed_sessions.last() != Some(&id) {
            self.at_hand.changed_sessions.push(id);
        }
        change(self.db, session)
    }

    fn accept(&mut self, spec: &Spec) -> Done {
        let Spec { id, principal, agent, order, created_at } = spec;
        let edge = Tail::default();
        let mut insert = self.sql(
            "INSERT OR REPLACE INTO job (id, principal, agent_name, agent_version, created_at, status, first_pos, \
             last_pos, ended) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)",
        )?;
        let n = insert.insert(params![
            id.0.to_bytes(),
            principal.subject(),
            agent.name,
            agent.version,
            created_at.as_micros(),
            rows::status_code(JobStatus::Pending),
            int(edge.first()),
            int(edge.last()),
        ])?;
        let expires_at = order.constraints.as_ref().and_then(|LeaseConstraints { expires_at }| *expires_at);
        let lease = String::from_utf8_lossy(&json(&order.lease)).into_owned();
        let mut insert = self.sql("INSERT INTO job_order VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
        insert.execute(params![
            n,
            order.asked.to_string(),
            order.max_runtime_sec.map(int),
            order.key,
            order.trace_id.map(|trace| trace.to_string()),
            order.fingerprint,
            expires_at.map(Timestamp::as_micros),
            lease,
            order.input.get(),
        ])?;
        let job = Job {
            n,
            status: JobStatus::Pending,
            attempts: 0,
            started_at: None,
            ended_at: None,
            edge,
            changed: false,
        };
        self.at_hand.jobs.insert(*id, job);
        Ok(())
    }

    fn remove_job(&mut self, id: JobId) -> Done {
        self.at_hand.jobs.remove(&id);
        let mut delete = self.sql("DELETE FROM job WHERE id = ?1 RETURNING n")?;
        let Some(n) = delete.query_row([id.0.to_bytes()], |row| row.get(0)).optional()? else {
            return Ok(());
        };
        self.sql("DELETE FROM job_order WHERE job = ?1")?.execute([n])?;
        erase_below(self.db, n, i64::MAX)
    }

    fn open_session(
        &mut self,
        id: SessionId,
        principal: &Principal,
        features: FeatureSet,
        token: &[u8],
    ) -> Done {
        let mut insert = self.sql(
            "INSERT OR REPLACE INTO session (id, principal, features, tokens, released) VALUES (?1, ?2, ?3, ?4, 0)",
        )?;
        let flags = rows::flags(features);
        let n = insert.insert(params![id.0.to_bytes(), principal.subject(), flags, token])?;
        let session = Session { n, extents: Vec::new(), written: 0, places: BTreeMap::new() };
        self.at_hand.sessions.insert(id, session);
        Ok(())
    }

    fn remove_session(&mut self, id: SessionId) -> Done {
        self.at_hand.sessions.remove(&id);
        let mut delete = self.sql("DELETE FROM session WHERE id = ?1 RETURNING n")?;
        let Some(n) = delete.query_row([id.0.to_bytes()], |row| row.get::<_, i64>(0)).optional()? else {
            return Ok(());
        };
        self.sql("DELETE FROM attachment WHERE session = ?1")?.execute([n])?;
        self.sql("DELETE FROM extent WHERE session = ?1")?.execute([n]).map(drop)
    }
}

fn load_job(db: &Connection, id: JobId) -> rusqlite::Result<Option<Job>> {
    let sql =
        format!("SELECT n, status, ended_at, attempts, started_at, {} FROM job WHERE id = ?1", rows::EDGE);
    let mut select = db.prepare_cached(&sql)?;
    let job = select.query_row([id.0.to_bytes()], |row| {
        Ok(Job {
            n: row.get(0)?,
            status: rows::status(row, 1)?,
            ended_at: rows::instant(row, 2)?,
            attempts: row.get(3)?,
            started_at: rows::instant(row, 4)?,
            edge: rows::edge(row, 5)?,
            changed: false,
        })
    });
    job.optional()
}

fn load_session(db: &Connection, id: SessionId) -> rusqlite::Result<Option<Session>> {
    let mut select = db.prepare_cached("SELECT n FROM session WHERE id = ?1")?;
    let Some(n) = select.query_row([id.0.to_bytes()], |row| row.get(0)).optional()? else {
        return Ok(None);
    };
    let newest = "FROM extent WHERE session = ?1 ORDER BY first_seq DESC LIMIT 1";
    let mut select = db.prepare_cached(&format!("SELECT {} {newest}", rows::EXTENT))?;
    let newest = select.query_row([n], rows::extent).optional()?;
    let written = newest.as_ref().map_or(0, Extent::last_seq);
    Ok(Some(Session { n, extents: newest.into_iter().collect(), written, places: BTreeMap::new() }))
}

fn append(db: &Connection, job: &mut Job, record: &Record) -> Done {
    job.edge.push(record);
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO record (job, pos, kind, gate, at, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert
        .execute(params![
            job.n,
            int(record.pos),
            rows::kind_code(record.kind),
            record.gate.map(rows::feature_code),
            record.at.as_micros(),
            &record.payload[..],
        ])
        .map(drop)
}

impl Job {
    fn write(&mut self, db: &Connection) -> Done {
        let closed = |len: usize| len.saturating_sub(1);
        for run in self.edge.gates().iter().take(closed(self.edge.gates().len())) {
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO gate_run (job, first, last, gate) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let code = rows::feature_code(run.feature);
            insert.execute(params![self.n, int(run.first), int(run.last), code])?;
        }
        for group in self.edge.groups().iter().take(closed(self.edge.groups().len())) {
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO weight (job, first, last, bytes) VALUES (?1, ?2, ?3, ?4)",
            )?;
            insert.execute(params![self.n, int(group.first), int(group.last), int(group.bytes)])?;
        }
        self.edge = self.edge.edge();
        let (gate, group) = (self.edge.gates().back(), self.edge.groups().back());
        let mut update = db.prepare_cached(
            "UPDATE job SET status = ?2, ended_at = ?3, first_pos = ?4, last_pos = ?5, ended = ?6, gate = ?7, \
             gate_first = ?8, gate_last = ?9, group_first = ?10, group_bytes = ?11, attempts = ?12, \
             started_at = ?13 WHERE n = ?1",
        )?;
        update.execute(params![
            self.n,
            rows::status_code(self.status),
            self.ended_at.map(Timestamp::as_micros),
            int(self.edge.first()),
            int(self.edge.last()),
            self.edge.ended(),
            gate.map(|run| rows::feature_code(run.feature)),
            gate.map(|run| int(run.first)),
            gate.map(|run| int(run.last)),
            group.map(|group| int(group.first)),
            group.map(|group| int(group.bytes)),
            self.attempts,
            self.started_at.map(Timestamp::as_micros),
        ])?;
        self.changed = false;
        Ok(())
    }
}

impl Session {
    fn number(&mut self, numbers: &Numbers) {
        self.places.extend(numbers.places.iter().map(|place| (place.job, *place)));
        for extent in &numbers.extents {
            number(&mut self.extents, extent.clone());
        }
    }

    fn release(&mut self, db: &Connection, through: u64) -> Done {
        self.extents.retain(|extent| extent.last_seq() > through);
        let mut delete = db.prepare_cached(
            "DELETE FROM extent WHERE session = ?1 AND first_seq <= ?2 AND first_seq + len - 1 <= ?2",
        )?;
        delete.execute(params![self.n, int(through)])?;
        let mut update = db.prepare_cached("UPDATE session SET released = ?2 WHERE n = ?1")?;
        update.execute(params![self.n, int(through)]).map(drop)
    }

    fn write(&mut self, db: &Connection) -> Done {
        for Place { job, pos, done } in std::mem::take(&mut self.places).into_values() {
            let mut update = db.prepare_cached(
                "UPDATE attachment SET pos = ?3, done = ?4 WHERE session = ?1 AND job = ?2",
            )?;
            update.execute(params![self.n, job.0.to_bytes(), int(pos), done])?;
        }
        for extent in self.extents.iter().filter(|extent| extent.last_seq() > self.written) {
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO extent (session, first_seq, len, job, first_pos, payload) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let (first_pos, payload) = match &extent.piece {
                Piece::Run { first_pos, .. } => (Some(int(*first_pos)), None),
                Piece::Private { payload, .. } => (None, Some(&payload[..])),
            };
            let len = int(extent.last_seq() + 1 - extent.first_seq);
            let (first, job) = (int(extent.first_seq), extent.job().0.to_bytes());
            insert.execute(params![self.n, first, len, job, first_pos, payload])?;
        }
        self.written = self.extents.last().map_or(self.written, Extent::last_seq);
        self.extents.drain(..self.extents.len().saturating_sub(1));
        Ok(())
    }
}

/// Has everything of a job before a position deleted, in steps.
fn erase_below(db: &Connection, n: i64, below: i64) -> Done {
    let mut upsert = db.prepare_cached(
        "INSERT INTO erase (job, below) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET below = max(below, excluded.below)",
    )?;
    upsert.execute([n, below]).map(drop)
}

/// Deletes one step's worth of what is no longer kept. Says whether there was any.
pub(super) fn erase(db: &Connection) -> rusqlite::Result<bool> {
    let mut select = db.prepare_cached("SELECT job, below FROM erase LIMIT 1")?;
    let next = select.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
    let Some((n, below)) = next else { return Ok(false) };
    let mut select = db.prepare_cached("SELECT min(pos) FROM record WHERE job = ?1")?;
    let oldest: Option<i64> = select.query_row([n], |row| row.get(0))?;
    let until = oldest.map_or(below, |oldest| below.min(oldest.saturating_add(ERASE_STEP)));
    for sql in [
        "DELETE FROM record WHERE job = ?1 AND pos < ?2",
        "DELETE FROM gate_run WHERE job = ?1 AND first < ?2 AND last < ?2",
        "DELETE FROM weight WHERE job = ?1 AND first < ?2 AND last < ?2",
    ] {
        db.prepare_cached(sql)?.execute([n, until])?;
    }
    if until == below {
        db.prepare_cached("DELETE FROM erase WHERE job = ?1")?.execute([n])?;
    }
    Ok(true)
}
