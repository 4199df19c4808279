//! What goes with time: sessions past their window, finished jobs past their age, keys past theirs.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::iter;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Core;
use super::job::JobCell;
use super::meters::Swept;
use super::registry::Finished;
use super::session::SessionCell;
use crate::proto::session::TokenHash;
use crate::store::{Batch, Full, Op};
use crate::wire::id::JobId;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// Which part of a full store the heaviest principal gives up in one look round.
const RELIEF_PART: u64 = 8;

/// How often there is a look round.
const EVERY: Duration = Duration::from_millis(500);

/// Sweeps until the daemon is gone.
pub(super) async fn run(core: Weak<Core>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(core) = core.upgrade() else { return };
        let now = core.ambient.now();
        sessions(&core, now);
        jobs(&core, now);
        core.keys.lock().sweep(&core.limits, now, |job| core.registry.live(job).is_some());
    }
}

fn sessions(core: &Arc<Core>, now: Timestamp) {
    for cell in core.registry.sessions() {
        let mut inner = cell.lock();
        if !inner.proto.expire(core.resume_window, now) {
            continue;
        }
        let tokens: Vec<TokenHash> = inner.proto.tokens().collect();
        drop(inner);
        core.registry.close(&cell, &tokens);
        cell.retire();
        cell.submit(vec![Op::RemoveSession(cell.id)]);
        core.meters.sessions_expired.one();
        tracing::info!(session = %cell.id, principal = %cell.principal, "session expired");
    }
}

fn jobs(core: &Core, now: Timestamp) {
    let window = core.resume_window;
    let age = Duration::from_secs(core.limits.finished_age_sec).max(window);
    let old: Vec<Finished> =
        iter::from_fn(|| core.registry.forget_finished(|oldest, _| now.since(oldest.at) >= age)).collect();
    if !old.is_empty() {
        let needed = needed(core);
        let (stay, gone): (Vec<_>, Vec<_>) = old.into_iter().partition(|job| needed.contains(&job.job));
        core.meters.swept(Swept::Age, gone.len());
        gone.iter().for_each(|job| forget(core, job));
        core.registry.keep_on(stay, now);
    }
    while let Some(gone) = core
        .registry
        .forget_finished(|oldest, count| count > core.limits.finished_jobs && now.since(oldest.at) >= window)
    {
        core.meters.swept(Swept::Count, 1);
        forget(core, &gone);
    }
    // Count and age wait for the resume window; only bytes do not (§6.5).
    for (principal, excess) in core.accounts.over(core.limits.bytes_per_principal) {
        relieve(core, &principal, excess);
    }
    // One part a round: a store in a file says only after a while that something has gone.
    if let (Err(Full::Bytes { bytes, max }), Some((principal, weight))) =
        (core.store.admits(), core.accounts.heaviest())
    {
        let excess = bytes.saturating_sub(max).max(max / RELIEF_PART);
        relieve(core, &principal, excess.min(weight));
    }
    core.accounts.tidy();
}

/// The jobs that a session may still ask for. What was not acknowledged goes by count and bytes, never by age (§6.5).
fn needed(core: &Core) -> HashSet<JobId> {
    core.registry.sessions().iter().flat_map(|cell| cell.lock().proto.stream.jobs()).collect()
}

/// Makes what is kept for one principal weigh so much less: finished ones go first, then the oldest events of running
/// ones, then the oldest numbers of its sessions.
fn relieve(core: &Core, principal: &Principal, excess: u64) {
    let gone = core.registry.forget_of(principal, excess);
    let freed: u64 = gone.iter().map(|finished| finished.weight).sum();
    gone.iter().for_each(|finished| forget(core, finished));
    core.meters.swept(Swept::Bytes, gone.len());
    let left = excess.saturating_sub(freed);
    let mut trimmed = lighten(core.registry.live_of(principal), left, JobCell::weight, JobCell::lighten);
    let (sessions, left) = (core.registry.sessions_of(principal), left.saturating_sub(trimmed));
    trimmed += lighten(sessions, left, SessionCell::weight, SessionCell::lighten);
    tracing::warn!(%principal, excess, finished = gone.len(), trimmed, "too many bytes are kept; the oldest went");
}

/// Makes things weigh so much less together, the heaviest first; says how much less they do.
fn lighten<T>(mut things: Vec<Arc<T>>, less: u64, weight: fn(&T) -> u64, lighten: fn(&T, u64)) -> u64 {
    things.sort_by_cached_key(|thing| Reverse(weight(thing)));
    let mut done = 0;
    for thing in things {
        if done >= less {
            break;
        }
        let before = weight(&thing);
        lighten(&thing, less - done);
        done += before.saturating_sub(weight(&thing));
    }
    done
}

fn forget(core: &Core, gone: &Finished) {
    if let Some(key) = &gone.key {
        core.keys.lock().forget(&gone.principal, key, gone.job);
    }
    core.accounts.of(&gone.principal).take(gone.weight);
    core.store.submit(Batch { epoch: core.store.epoch(), ops: vec![Op::RemoveJob(gone.job)] });
}
