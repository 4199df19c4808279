//! What operators are answered: a view of what there is, and the one wish that they have.
//!
//! Nothing here decides who is an operator; whoever opens the door asks [`Daemon::caller`] first.

use std::sync::Arc;

use super::job::JobCell;
use super::session::SessionCell;
use super::tally::Tally;
use super::{Core, Daemon};
use crate::auth::{Caller, Unauthenticated};
use crate::proto::authority;
use crate::proto::listing::{Listed, Query};
use crate::store::Unreadable;
use crate::wire::api::{
    Answer, Ask, CancelRecorded, DaemonStatus, FollowedJob, JobDetail, JobPage, JobRow, LimitList, LimitRow,
    Page, Refusal, SessionDetail, SessionPage, SessionSummary, StoreStatus,
};
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::id::{JobId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::limits::{Limits, unit};
use crate::wire::principal::Principal;
use crate::wire::session::{JobSummary, ListJobs, Token};
use crate::wire::time::Timestamp;

/// Characters of a reason for a cancellation that are kept.
const REASON_CHARS: usize = 1_024;

impl Daemon {
    /// Whose token this is, and what it allows.
    ///
    /// # Errors
    /// [`Unauthenticated`], whatever was wrong.
    pub fn caller(&self, scheme: &str, token: &Token) -> Result<Caller, Unauthenticated> {
        self.core.authenticator.authenticate(scheme, token)
    }

    /// Answers an operator, whose name goes into the log where something changes.
    ///
    /// # Errors
    /// [`Refusal`] when it is not there, comes too late, or cannot be read now.
    pub async fn operate(&self, by: &Principal, ask: Ask) -> Result<Answer, Refusal> {
        let core = &self.core;
        Ok(match ask {
            Ask::Status => Answer::Status(self.status()),
            Ask::Sessions(page) => Answer::Sessions(sessions(core, &page)?),
            Ask::Session(id) => Answer::Session(session(core, id)?),
            Ask::Jobs { list, principal } => Answer::Jobs(jobs(core, list, principal).await?),
            Ask::Job(id) => Answer::Job(job(core, id).await?),
            Ask::Cancel { job, reason } => Answer::Cancelled(cancel(core, by, job, reason).await?),
            Ask::Store => Answer::Store(store(core)),
            Ask::Limits => Answer::Limits(limits(core)),
        })
    }

    fn status(&self) -> DaemonStatus {
        let core = &self.core;
        let not_ready_because = self.ready().err();
        let Tally { connections, sessions, jobs, .. } = Tally::of(core);
        DaemonStatus {
            version: core.software.version.clone(),
            started_at: core.started_at,
            uptime_sec: core.ambient.now().since(core.started_at).as_secs(),
            ready: not_ready_because.is_none(),
            not_ready_because,
            connections,
            sessions,
            jobs,
        }
    }
}

fn no_such_session() -> Refusal {
    Refusal::missing(ErrorCode::InvalidRequest, "there is no such session, or no longer")
}

fn no_such_job() -> Refusal {
    Refusal::missing(ErrorCode::JobNotFound, "there is no such job, or no longer")
}

/// What the disk said is for the log, and for an operator.
fn unreadable(Unreadable(why): Unreadable) -> Refusal {
    Refusal::unavailable(format!("the store cannot be read: {why}"))
}

/// How many rows a page may have that asks for `asked`.
fn rows(limits: &Limits, asked: Option<u64>) -> usize {
    let asked = asked.map_or(limits.list_default_jobs, |asked| usize::try_from(asked).unwrap_or(usize::MAX));
    asked.clamp(1, limits.list_page_jobs)
}

fn sessions(core: &Core, page: &Page) -> Result<SessionPage, Refusal> {
    let before = match &page.cursor {
        Some(cursor) => {
            let read = cursor.parse::<SessionId>();
            Some(read.map_err(|_| Refusal::invalid("cursor: expected the next_cursor of a page, unchanged"))?)
        }
        None => None,
    };
    let mut cells = core.registry.sessions();
    cells.retain(|cell| before.is_none_or(|before| cell.id < before));
    cells.sort_unstable_by_key(|cell| std::cmp::Reverse(cell.id));
    let rows = rows(&core.limits, page.limit);
    let more = cells.len() > rows;
    cells.truncate(rows);
    let next_cursor = cells.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(SessionPage { sessions: cells.iter().map(|cell| summary(core, cell)).collect(), next_cursor })
}

fn session(core: &Core, id: SessionId) -> Result<SessionDetail, Refusal> {
    let cell = core.registry.session(id).ok_or_else(no_such_session)?;
    let session = summary(core, &cell);
    let inner = cell.lock();
    let stream = &inner.proto.stream;
    let followed = stream.followed().filter_map(|job| Some((job, stream.attachment(job)?)));
    let jobs = followed.map(|(job_id, at)| FollowedJob { job_id, pos: at.pos, submitter: at.submitter });
    Ok(SessionDetail { session, jobs: jobs.collect() })
}

fn summary(core: &Core, cell: &SessionCell) -> SessionSummary {
    let lag_events = cell.lag();
    let inner = cell.lock();
    let (proto, stream) = (&inner.proto, &inner.proto.stream);
    let detached_at = proto.detached_at();
    let peer = inner.peer.as_ref().filter(|_| detached_at.is_none());
    let millis = i64::try_from(cell.id.0.timestamp_ms()).unwrap_or(i64::MAX);
    SessionSummary {
        session_id: cell.id,
        principal: cell.principal.to_string(),
        features: cell.features.iter().map(|feature| feature.as_str().into()).collect(),
        opened_at: Timestamp::from_micros(millis.saturating_mul(1_000)),
        connected: proto.connected(),
        peer: peer.map(|(peer, _)| peer.to_string()),
        dialect: inner.peer.as_ref().map(|(_, dialect)| (*dialect).to_owned()),
        detached_at,
        expires_at: detached_at.map(|at| at.plus(core.resume_window)),
        resumes: proto.generation() - 1,
        following: stream.followed_count() as u64,
        newest_event_seq: stream.newest(),
        acked_event_seq: stream.acked(),
        released_event_seq: stream.released(),
        lag_events,
    }
}

async fn jobs(core: &Core, list: ListJobs, principal: Option<Principal>) -> Result<JobPage, Refusal> {
    let query = Query::new(list, principal, &core.cursors, &core.limits).map_err(|_| {
        Refusal::invalid("cursor: expected the next_cursor of a page with the same filter, unchanged")
    })?;
    let (listed, more) = core.store.list(query.clone()).await.map_err(unreadable)?;
    let next_cursor =
        listed.last().filter(|_| more).map(|last| core.cursors.cursor(&query, last.summary.job_id));
    Ok(JobPage { jobs: listed.into_iter().map(row).collect(), next_cursor })
}

fn row(listed: Listed) -> JobRow {
    let Listed { principal, ended_at, summary } = listed;
    let JobSummary { job_id, agent, status, created_at, trace_id, last_event_seq, .. } = summary;
    let principal = principal.to_string();
    JobRow { job_id, principal, agent, status, created_at, ended_at, trace_id, last_event_seq }
}

async fn job(core: &Core, id: JobId) -> Result<JobDetail, Refusal> {
    let stored = core.store.job(id).await.map_err(unreadable)?.ok_or_else(no_such_job)?;
    let (spec, tail) = (&stored.spec, &stored.tail);
    let ended_badly = match stored.status {
        JobStatus::Pending | JobStatus::Running | JobStatus::Success => false,
        JobStatus::Error | JobStatus::Cancelled | JobStatus::TimedOut => true,
    };
    // The last record of a job that ended badly is its error (§8.4).
    let last = match ended_badly {
        true => {
            let after = tail.last().saturating_sub(1);
            core.store.records(id, after, 1, usize::MAX).await.map_err(unreadable)?.pop()
        }
        false => None,
    };
    let error: Option<ErrorBody> = last.and_then(|record| serde_json::from_slice(&record.payload).ok());
    Ok(JobDetail {
        job: JobRow {
            job_id: spec.id,
            principal: spec.principal.to_string(),
            agent: spec.agent.clone(),
            status: stored.status,
            created_at: spec.created_at,
            ended_at: stored.ended_at,
            trace_id: spec.order.trace_id,
            last_event_seq: tail.last(),
        },
        first_event_seq: tail.first(),
        history_bytes: tail.weight(),
        input_bytes: spec.order.input.get().len() as u64,
        attempts: stored.attempts,
        max_runtime_sec: spec.order.max_runtime_sec,
        lease: spec.order.lease.clone(),
        lease_constraints: spec.order.constraints.clone(),
        error,
    })
}

/// An operator's cancel needs no session's authority, and is a cancel like any other from there on (§7.4).
async fn cancel(
    core: &Core,
    by: &Principal,
    id: JobId,
    reason: Option<String>,
) -> Result<CancelRecorded, Refusal> {
    let cell = match core.registry.live(id) {
        Some(cell) => cell,
        None => {
            let row = core.store.job(id).await.map_err(unreadable)?.ok_or_else(no_such_job)?;
            Arc::new(JobCell::stored(row, core.store.clone(), core.limits.clone()))
        }
    };
    let reason = reason.map(|reason| reason.chars().take(REASON_CHARS).collect());
    let answer = cell.cancel(reason, core.ambient.now());
    // An end that is told is stored, as a cancellation is.
    let ticket = answer.unwrap_or_else(|_| cell.ticket());
    core.store.applied(ticket).await.map_err(|fenced| Refusal::unavailable(fenced.to_string()))?;
    answer.map_err(|status| Refusal::conflict(authority::too_late(status)))?;
    tracing::info!(job = %id, principal = %cell.spec.principal, operator = %by, "job cancelled by an operator");
    Ok(CancelRecorded { job_id: id })
}

fn store(core: &Core) -> StoreStatus {
    let health = core.store.health();
    let refuses_because = core.store.admits().err().map(|full| full.to_string());
    StoreStatus {
        kind: health.kind.to_string(),
        path: health.path.map(|path| path.display().to_string()),
        durability: health.durability.map(|durability| durability.to_string()),
        format: health.format.map(|format| format as u64),
        epoch: core.store.epoch().0,
        used_bytes: health.used_bytes,
        free_bytes: health.free_bytes,
        disk_bytes: health.disk_bytes,
        max_bytes: core.limits.store_bytes,
        queue_batches: health.queue_batches,
        queue_bytes: health.queue_bytes,
        admits: refuses_because.is_none(),
        refuses_because,
    }
}

fn limits(core: &Core) -> LimitList {
    let tally = Tally::of(core);
    let row = |((name, value), (_, default))| {
        let used = tally.used.iter().find(|(counted, _)| *counted == name).map(|(_, used)| *used);
        LimitRow { name: str::to_owned(name), unit: unit(name).into(), value, default, used }
    };
    LimitList { limits: core.limits.values().zip(Limits::default().values()).map(row).collect() }
}
