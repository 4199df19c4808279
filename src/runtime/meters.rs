//! What the runtime counts, and the page on which operators see it.

use super::tally::Tally;
use super::{Core, Daemon};
use crate::telemetry::metrics::{Count, Counts, Page};
use crate::transport::CloseReason;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::job::JobStatus;
use crate::wire::limits::Limits;

/// Values of the label `reason` of closed connections.
const CLOSES: &[&str] = &{
    let mut reasons = [""; CloseReason::ALL.len()];
    let mut at = 0;
    while at < reasons.len() {
        reasons[at] = close(CloseReason::ALL[at]);
        at += 1;
    }
    reasons
};

const fn close(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Done => "done",
        CloseReason::GoingAway => "going_away",
        CloseReason::Protocol => "protocol",
        CloseReason::NotUtf8 => "not_utf8",
        CloseReason::Policy => "policy",
        CloseReason::TooBig => "too_big",
        CloseReason::Failed => "failed",
        CloseReason::TakenOver => "taken_over",
        CloseReason::HeartbeatLost => "heartbeat_lost",
        CloseReason::TooSlow => "too_slow",
    }
}

/// Values of the label `code` of refusals.
const CODES: &[&str] = &{
    let mut codes = [""; ErrorCode::ALL.len()];
    let mut at = 0;
    while at < codes.len() {
        codes[at] = ErrorCode::ALL[at].as_str();
        at += 1;
    }
    codes
};

/// Why a finished job was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    /// It was kept as long as it should be.
    Age,
    /// There were too many.
    Count,
    /// Its principal's jobs, or all together, weighed too much.
    Bytes,
}

impl Swept {
    fn as_str(self) -> &'static str {
        match self {
            Swept::Age => "finished_age_sec",
            Swept::Count => "finished_jobs",
            Swept::Bytes => "bytes",
        }
    }
}

/// What the runtime counts.
pub(super) struct Meters {
    /// Sessions that were opened.
    pub(super) sessions_opened: Count,
    /// Sessions past their window.
    pub(super) sessions_expired: Count,
    /// Jobs that were accepted.
    pub(super) jobs_accepted: Count,
    /// Events that agents have sent and that were taken.
    pub(super) events_in: Count,
    resumes: Counts,
    closes: Counts,
    ended: Counts,
    swept: Counts,
    limits: Counts,
    codes: Counts,
    events_out: Count,
    replayed: Count,
}

impl Default for Meters {
    fn default() -> Self {
        Meters {
            sessions_opened: Count::default(),
            sessions_expired: Count::default(),
            jobs_accepted: Count::default(),
            events_in: Count::default(),
            resumes: Counts::by(&["ok", "refused"]),
            closes: Counts::by(CLOSES),
            ended: Counts::by(&["success", "error", "cancelled", "timed_out"]),
            swept: Counts::by(&["finished_age_sec", "finished_jobs", "bytes"]),
            limits: Counts::by(Limits::NAMES),
            codes: Counts::by(CODES),
            events_out: Count::default(),
            replayed: Count::default(),
        }
    }
}

impl Meters {
    /// A request or a connection was refused.
    pub(super) fn refused(&self, error: &ErrorBody) {
        self.codes.one(error.code.as_str());
        if let Some(limit) = error.details.as_ref().and_then(|details| details.get("limit")?.as_str()) {
            self.limits.one(limit);
        }
    }

    /// Somebody wanted to resume a session.
    pub(super) fn resumed(&self, ok: bool) {
        self.resumes.one(if ok { "ok" } else { "refused" });
    }

    /// A connection of a session has ended.
    pub(super) fn closed(&self, reason: CloseReason) {
        self.closes.one(close(reason));
    }

    /// A job has ended.
    pub(super) fn ended(&self, status: JobStatus) {
        self.ended.one(status.as_str());
    }

    /// So many finished jobs are kept no longer.
    pub(super) fn swept(&self, why: Swept, jobs: usize) {
        self.swept.add(why.as_str(), jobs as u64);
    }

    /// A connection was sent the numbers after `from` up to `to`; those up to `old` had been given out before it began.
    pub(super) fn delivered(&self, from: u64, to: u64, old: u64) {
        self.replayed.add(to.min(old).saturating_sub(from));
        self.events_out.add(to.saturating_sub(from));
    }

    fn measure(&self, page: &mut Page) {
        page.count("arcpd_sessions_opened", "Sessions that were opened", self.sessions_opened.get());
        let help = "Sessions that were not resumed within their window";
        page.count("arcpd_sessions_expired", help, self.sessions_expired.get());
        page.counts("arcpd_sessions_resumed", "Attempts to resume a session", "outcome", self.resumes.get());
        let help =
            "Connections of sessions that were closed; too_slow: its client did not read or acknowledge";
        page.counts("arcpd_connections_closed", help, "reason", self.closes.get());
        page.count("arcpd_jobs_accepted", "Jobs that were accepted", self.jobs_accepted.get());
        page.counts("arcpd_jobs_ended", "Jobs that have ended", "status", self.ended.get());
        let help =
            "Finished jobs that are kept no longer, by the limit; bytes: bytes_per_principal or store_bytes";
        page.counts("arcpd_jobs_evicted", help, "by", self.swept.get());
        page.count("arcpd_events_in", "Events that agents have sent", self.events_in.get());
        let help = "Numbered messages that connections were sent, each time that they were";
        page.count("arcpd_events_out", help, self.events_out.get());
        let help = "Those of arcpd_events_out that had been numbered before their connection began";
        page.count("arcpd_events_replayed", help, self.replayed.get());
        let help = "Requests and connections that were refused, by the code of the error";
        page.counts("arcpd_refusals", help, "code", self.codes.get());
        let help = "Requests and connections that were refused because of a limit";
        page.counts("arcpd_limit_refusals", help, "limit", self.limits.get());
    }
}

impl Daemon {
    /// Puts everything that the daemon counts on a page. Looks at every session and every job that has not ended.
    pub fn measure(&self, page: &mut Page) {
        let core = &self.core;
        page.info("arcpd_build", "The version that runs", "version", &core.software.version);
        let started = core.started_at.as_millis() / 1_000;
        page.gauge("process_start_time_seconds", "When the daemon was started, since the epoch", started);
        page.gauge("arcpd_ready", "1 while new work is taken", self.ready().is_ok().into());
        states(core, page);
        store(core, page);
        core.meters.measure(page);
        let help = "Events that are kept no longer, by the limit; bytes: bytes_per_principal or store_bytes; \
                    session_buffer: numbers of a session that were not acknowledged";
        page.counts("arcpd_events_evicted", help, "by", core.accounts.evicted().get());
    }
}

fn states(core: &Core, page: &mut Page) {
    let tally = Tally::of(core);
    let (sessions, jobs) = (tally.sessions, tally.jobs);
    let states = [("connected", sessions.connected), ("detached", sessions.open - sessions.connected)];
    page.gauges("arcpd_sessions", "Sessions that are open", "state", states);
    page.gauge("arcpd_connections", "Connections that are served", tally.connections);
    let states = [("pending", jobs.pending), ("running", jobs.running), ("finished", jobs.finished)];
    page.gauges("arcpd_jobs", "Jobs that are kept", "state", states);
    let help = "Events that the connected session that is furthest behind has not been sent";
    page.gauge("arcpd_slowest_subscriber_lag_events", help, tally.slowest);
    page.gauge("arcpd_replies", "Replies that wait to be sent, of all sessions", tally.replies);
    page.gauges("arcpd_limit", "Every limit, in its own unit", "limit", core.limits.values());
    let help =
        "What is used of the limits that are counted; of what each session, job or principal has, the most";
    page.gauges("arcpd_limit_used", help, "limit", tally.used);
}

fn store(core: &Core, page: &mut Page) {
    let health = core.store.health();
    page.gauge("arcpd_store_used_bytes", "Bytes that the store keeps", health.used_bytes);
    let help = "Bytes within the store's file that are free for more";
    page.gauge("arcpd_store_free_bytes", help, health.free_bytes);
    page.gauge(
        "arcpd_store_disk_bytes",
        "Bytes of the store's file, its log and its reserve on the disk",
        health.disk_bytes,
    );
    page.gauge("arcpd_store_queue_batches", "Batches that wait to be stored", health.queue_batches);
    page.gauge("arcpd_store_queue_bytes", "Bytes that wait to be stored", health.queue_bytes);
    page.gauge("arcpd_store_failing", "1 while the store cannot write", health.failing.into());
    page.gauge(
        "arcpd_store_hot_bytes",
        "Bytes of the newest records that are kept in memory beside a file",
        health.hot_bytes,
    );
    let commits = &health.commits;
    let help = "How long it took to make a group of batches durable, in seconds";
    page.histogram("arcpd_store_commit_seconds", help, &commits.seconds);
    page.histogram("arcpd_store_commit_batches", "Batches that were made durable together", &commits.batches);
    page.count(
        "arcpd_store_commit_failures",
        "Attempts to make a group of batches durable that failed",
        commits.failed.get(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_every_code_is_counted() {
        let meters = Meters::default();
        for reason in CloseReason::ALL {
            meters.closed(*reason);
        }
        assert!(meters.closes.get().all(|(_, n)| n == 1));
        ErrorCode::ALL.iter().for_each(|code| meters.refused(&ErrorBody::new(*code, "x")));
        assert!(meters.codes.get().all(|(_, n)| n == 1));
        Limits::NAMES.iter().for_each(|name| meters.refused(&ErrorBody::limit(name, 1, 1)));
        assert!(meters.limits.get().all(|(_, n)| n == 1));
        meters.refused(&ErrorBody::limit("of_somebody", 1, 1));
        assert_eq!(meters.limits.get().map(|(_, n)| n).sum::<u64>(), Limits::NAMES.len() as u64);
    }

    #[test]
    fn what_was_numbered_before_the_connection_is_replayed() {
        let meters = Meters::default();
        meters.delivered(0, 10, 4);
        meters.delivered(10, 12, 4);
        assert_eq!((meters.events_out.get(), meters.replayed.get()), (12, 4));
        meters.delivered(2, 3, 4);
        assert_eq!((meters.events_out.get(), meters.replayed.get()), (13, 5));
    }
}
