//! What goes on when the daemon is started again: sessions wait for their clients, jobs that had not begun begin,
//! and jobs whose agents died with the daemon end with the truth.

use std::collections::HashMap;
use std::sync::Arc;

use super::Core;
use super::attempt;
use super::job::JobCell;
use super::session::SessionCell;
use crate::proto::session::Session;
use crate::proto::stream::{Attachment, Stream};
use crate::proto::submit::Spec;
use crate::store::{JobRow, Restored, SessionRow, Unreadable};
use crate::wire::id::{JobId, ResultId};
use crate::wire::job::JobStatus;
use crate::wire::time::Timestamp;

/// Why a job ends that was running when the daemon went.
const RESTARTED: &str = "died with the daemon, which was started again; submit the job again";

/// Brings back what the store holds. Comes before any connection is served.
pub(super) fn restore(core: &Arc<Core>) -> Result<(), Unreadable> {
    let Restored { sessions, unfinished, finished } = core.store.restore()?;
    let now = core.ambient.now();
    let (kept, open) = (sessions.len(), unfinished.len());
    let mut last: HashMap<JobId, u64> = HashMap::with_capacity(finished.len());
    for row in finished {
        last.insert(row.spec.id, row.last_pos);
        remember_key(core, &row.spec);
        core.registry.restore_finished(&row.spec, row.ended_at);
    }
    let jobs: Vec<(Arc<JobCell>, JobStatus)> =
        unfinished.into_iter().map(|row| restore_job(core, row, now)).collect();
    let cells: HashMap<JobId, Arc<JobCell>> =
        jobs.iter().map(|(cell, _)| (cell.id(), cell.clone())).collect();
    for row in sessions {
        restore_session(core, row, &cells, &last, now);
    }
    for (cell, status) in jobs {
        go_on(core, cell, status, now);
    }
    if kept + open + last.len() > 0 {
        tracing::info!(sessions = kept, unfinished = open, finished = last.len(), "restored");
    }
    Ok(())
}

fn remember_key(core: &Core, spec: &Spec) {
    if let Some(key) = &spec.order.key {
        core.keys.lock().remember(&spec.principal, key, &spec.order, &spec.agent, spec.id, spec.created_at);
    }
}

fn restore_job(core: &Core, row: JobRow, now: Timestamp) -> (Arc<JobCell>, JobStatus) {
    let status = row.status;
    remember_key(core, &row.spec);
    let principal = row.spec.principal.clone();
    let result = ResultId::new(now.as_millis(), core.ambient.random());
    let cell = Arc::new(JobCell::restored(
        row,
        result,
        core.accounts.of(&principal),
        core.store.clone(),
        core.limits.clone(),
    ));
    core.registry.restore_live(&cell);
    (cell, status)
}

fn restore_session(
    core: &Core,
    row: SessionRow,
    cells: &HashMap<JobId, Arc<JobCell>>,
    last: &HashMap<JobId, u64>,
    now: Timestamp,
) {
    let SessionRow { id, principal, features, tokens, attached, extents, released } = row;
    let attachments = attached.into_iter().map(|(job, (pos, submitter))| {
        let live = cells.get(&job);
        if let Some(cell) = live.filter(|_| submitter) {
            cell.add_submitter(id);
        }
        // A job that is not kept any more has nothing to say.
        let done = live.is_none() && last.get(&job).is_none_or(|last| pos >= *last);
        (job, Attachment { pos, submitter, done })
    });
    let stream = Stream::restored(released, extents, attachments);
    if let Some(session) = Session::restored(id, principal, features, &tokens, stream, now) {
        let cell = SessionCell::new(session, core.store.clone(), core.limits.clone());
        core.registry.restore_session(&cell, &tokens);
    }
}

/// Begins a job that had not begun; ends one that had.
fn go_on(core: &Arc<Core>, cell: Arc<JobCell>, status: JobStatus, now: Timestamp) {
    let host = match (status, core.catalogue.resolve(&cell.spec.agent)) {
        (JobStatus::Pending, Ok((_, host))) => Some(host),
        (JobStatus::Pending, Err(gone)) => {
            cell.lost(&gone.message, now);
            None
        }
        (JobStatus::Running | JobStatus::Success | JobStatus::Error, _)
        | (JobStatus::Cancelled | JobStatus::TimedOut, _) => {
            cell.lost(&format!("the agent {RESTARTED}"), now);
            None
        }
    };
    match host {
        Some(host) => core.attempts.spawn(attempt::run(core.clone(), cell, host)),
        None => core.attempts.spawn(attempt::finish(core.clone(), cell)),
    };
}
