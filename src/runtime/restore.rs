//! What goes on when the daemon is started again: sessions wait for their clients, jobs that had not begun begin,
//! and jobs whose agents died with the daemon end with the truth.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Core;
use super::attempt;
use super::job::JobCell;
use super::session::SessionCell;
use crate::proto::idempotency::Keyed;
use crate::proto::session::Session;
use crate::proto::stream::Stream;
use crate::store::{Batch, FinishedRow, JobRow, Op, Restored, SessionRow, Unreadable};
use crate::wire::id::{JobId, ResultId};
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// Brings back what the store holds. Comes before any connection is served.
pub(super) fn restore(core: &Arc<Core>) -> Result<(), Unreadable> {
    let Restored { sessions, unfinished, finished } = core.store.restore()?;
    let now = core.ambient.now();
    let (open, over) = (unfinished.len(), finished.len());
    restore_keys(core, &unfinished, &finished);
    for row in finished {
        core.accounts.of(&row.principal).add(row.weight);
        // A clock that was ahead then must not make it stay for longer.
        core.registry.restore_finished(FinishedRow { ended_at: row.ended_at.min(now), ..row });
    }
    let jobs: BTreeMap<JobId, Arc<JobCell>> =
        unfinished.into_iter().map(|row| restore_job(core, row, now)).collect();
    // Who may no longer come in may not come back either.
    let (sessions, void): (Vec<_>, Vec<_>) =
        sessions.into_iter().partition(|row| core.authenticator.knows(&row.principal));
    let ops: Vec<Op> = void.iter().map(|row| Op::RemoveSession(row.id)).collect();
    if !ops.is_empty() {
        tracing::info!(sessions = ops.len(), "sessions of principals without a token are over");
        core.store.submit(Batch { epoch: core.store.epoch(), ops });
    }
    let kept = sessions.len();
    for row in sessions {
        restore_session(core, row, &jobs, now);
    }
    for cell in jobs.into_values() {
        go_on(core, cell, now);
    }
    if kept + open + over > 0 {
        tracing::info!(sessions = kept, unfinished = open, finished = over, "restored");
    }
    Ok(())
}

/// Remembers the keys in the order in which they were used: a key that was forgotten and used again is the newer job's.
fn restore_keys(core: &Core, unfinished: &[JobRow], finished: &[FinishedRow]) {
    let open =
        unfinished.iter().filter_map(|row| Some((Keyed::of(&row.spec)?, row.spec.id, &row.spec.principal)));
    let over = finished.iter().filter_map(|row| Some((row.key.clone()?, row.job, &row.principal)));
    let mut used: Vec<(Keyed, JobId, &Principal)> = open.chain(over).collect();
    used.sort_by_key(|(keyed, job, _)| (keyed.at, *job));
    let mut keys = core.keys.lock();
    for (keyed, job, principal) in used {
        keys.remember(principal, job, keyed);
    }
}

fn restore_job(core: &Core, row: JobRow, now: Timestamp) -> (JobId, Arc<JobCell>) {
    let (spec, result) = (row.spec.clone(), ResultId::new(now.as_millis(), core.ambient.random()));
    let account = core.accounts.of(&spec.principal);
    let cell = Arc::new(JobCell::restored(row, result, account, core.store.clone(), core.limits.clone()));
    core.registry.restore_live(&cell);
    (spec.id, cell)
}

fn restore_session(core: &Core, row: SessionRow, jobs: &BTreeMap<JobId, Arc<JobCell>>, now: Timestamp) {
    let SessionRow { id, principal, features, tokens, closed, attached, extents, released } = row;
    let Some((newest, older)) = tokens.split_first() else { return };
    let steered = attached.iter().filter(|(_, attachment)| attachment.submitter);
    for cell in steered.filter_map(|(job, _)| jobs.get(job)) {
        cell.add_submitter(id);
    }
    let stream = Stream::restored(released, extents, attached);
    let session = Session::new(id, principal, features, *newest);
    let session = session.restored(older, stream, closed, now);
    let account = core.accounts.of(&session.principal);
    let cell = SessionCell::new(session, account, core.store.clone(), core.limits.clone());
    cell.charge();
    core.registry.restore_session(&cell, &tokens);
}

/// Begins a job that may begin; ends the others.
fn go_on(core: &Arc<Core>, cell: Arc<JobCell>, now: Timestamp) {
    let version = core.catalogue.resolve(&cell.spec.agent);
    cell.go_on(version.as_ref().map(|version| version.restartable).map_err(|gone| &*gone.message), now);
    match version {
        Ok(version) => core.attempts.spawn(attempt::run(core.clone(), cell, version.host)),
        Err(_) => core.attempts.spawn(attempt::finish(core.clone(), cell)),
    };
}
