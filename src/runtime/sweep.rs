//! What goes with time: sessions past their window, finished jobs past their age, keys past theirs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Core;
use crate::proto::session::TokenHash;
use crate::store::{Batch, Op};
use crate::wire::time::Timestamp;

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
        tracing::info!(session = %cell.id, principal = %cell.principal, "session expired");
    }
}

fn jobs(core: &Core, now: Timestamp) {
    let window = core.resume_window;
    let age = Duration::from_secs(core.limits.finished_age_sec).max(window);
    loop {
        // Count and age wait for the resume window; only a full store does not (§6.5).
        let full = core.store.admits().is_err();
        let gone = core.registry.forget_finished(|oldest, count| {
            let old = now.since(oldest.at);
            full || old >= age || (count > core.limits.finished_jobs && old >= window)
        });
        let Some(gone) = gone else { return };
        if let Some(key) = &gone.key {
            core.keys.lock().forget(&gone.principal, key, gone.job);
        }
        core.store.submit(Batch { epoch: core.store.epoch(), ops: vec![Op::RemoveJob(gone.job)] });
    }
}
