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
use crate::store::{JobRow, Restored, SessionRow, Unreadable};
use crate::wire::id::{JobId, ResultId};
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// Brings back what the store holds. Comes before any connection is served.
pub(super) fn restore(core: &Arc<Core>) -> Result<(), Unreadable> {
    let Restored { sessions, unfinished, finished } = core.store.restore()?;
    let now = core.ambient.now();
    let (kept, open, over) = (sessions.len(), unfinished.len(), finished.len());
    for row in finished {
        remember_key(core, &row.principal, row.job, row.key.clone());
        core.accounts.of(&row.principal).add(row.weight);
        core.registry.restore_finished(row);
    }
    let jobs: BTreeMap<JobId, Arc<JobCell>> =
        unfinished.into_iter().map(|row| restore_job(core, row, now)).collect();
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

fn remember_key(core: &Core, principal: &Principal, job: JobId, key: Option<Keyed>) {
    if let Some(keyed) = key {
        core.keys.lock().remember(principal, job, keyed);
    }
}

fn restore_job(core: &Core, row: JobRow, now: Timestamp) -> (JobId, Arc<JobCell>) {
    let (spec, result) = (row.spec.clone(), ResultId::new(now.as_millis(), core.ambient.random()));
    remember_key(core, &spec.principal, spec.id, Keyed::of(&spec));
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
