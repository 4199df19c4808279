//! One look at everything that is alive: how many there are, and who uses most of what is bounded.

use super::Core;
use crate::wire::api::{JobCounts, SessionCounts};

/// What was found.
pub(super) struct Tally {
    pub(super) connections: u64,
    pub(super) sessions: SessionCounts,
    pub(super) jobs: JobCounts,
    /// Replies that wait to be sent, of all sessions.
    pub(super) replies: u64,
    /// Events that the connected session that is furthest behind has not been sent.
    pub(super) slowest: u64,
    /// What is used of the limits that are counted, by their names; of what each session, job or principal has, the
    /// most.
    pub(super) used: Vec<(&'static str, u64)>,
}

impl Tally {
    /// Looks at every session and every job that has not ended, one after the other.
    pub(super) fn of(core: &Core) -> Tally {
        let jobs = core.registry.job_counts();
        let connections = core.connections.len() as u64;
        let (sessions_of_one, jobs_of_one) = core.registry.most_of_one();
        let of_sessions = OfSessions::of(core);
        let (mut history_events, mut history_bytes) = (0, 0);
        for cell in core.registry.live_jobs() {
            let (kept, weight) = cell.tail(|tail| (tail.last() + 1 - tail.first(), tail.weight()));
            history_events = history_events.max(kept);
            history_bytes = history_bytes.max(weight);
        }
        let health = core.store.health();
        let OfSessions { sessions, replies, slowest, attached, pending, events, bytes } = of_sessions;
        let used = vec![
            ("connections", connections),
            ("sessions_per_principal", sessions_of_one as u64),
            ("jobs_per_principal", jobs_of_one as u64),
            ("jobs_running", jobs.pending + jobs.running),
            ("attachments_per_session", attached),
            ("replies_pending", pending),
            ("session_buffer_events", events),
            ("session_buffer_bytes", bytes),
            ("history_events", history_events),
            ("history_bytes", history_bytes),
            ("bytes_per_principal", core.accounts.heaviest().map_or(0, |(_, bytes)| bytes)),
            ("store_bytes", health.used_bytes),
            ("store_queue_bytes", health.queue_bytes),
            ("store_hot_bytes", health.hot_bytes),
            ("finished_jobs", jobs.finished),
            ("idempotency_keys", core.keys.lock().len() as u64),
        ];
        Tally { connections, sessions, jobs, replies, slowest, used }
    }
}

#[derive(Default)]
struct OfSessions {
    sessions: SessionCounts,
    replies: u64,
    slowest: u64,
    attached: u64,
    pending: u64,
    events: u64,
    bytes: u64,
}

impl OfSessions {
    fn of(core: &Core) -> OfSessions {
        let mut found = OfSessions::default();
        for cell in core.registry.sessions() {
            let lag = cell.lag();
            let inner = cell.lock();
            let stream = &inner.proto.stream;
            found.sessions.open += 1;
            if inner.proto.connected() {
                found.sessions.connected += 1;
                found.slowest = found.slowest.max(lag);
            }
            found.replies += inner.pending() as u64;
            found.pending = found.pending.max(inner.pending() as u64);
            found.attached = found.attached.max(stream.followed_count() as u64);
            found.events = found.events.max(stream.newest() - stream.released());
            found.bytes = found.bytes.max(stream.bytes() as u64);
        }
        found
    }
}
