//! The numbered stream (§8.3) and where each followed job is in its history.

use std::time::Instant;

use super::requests::{Ask, Ticket};
use super::{Output, Phase, Session};
use crate::client::error::Cut;
use crate::client::update::{JobEvent, JobUpdate, Outcome, Resumed};
use crate::transport::CloseReason;
use crate::wire::envelope::Envelope;
use crate::wire::event::{Event, Status};
use crate::wire::feature::Feature;
use crate::wire::id::JobId;
use crate::wire::job::{JobError, JobResult, Subscribed, Unsubscribe};
use crate::wire::message::ClientMessage;

/// The phase of the status event that a runtime sends for itself (§6.5).
const BACK_PRESSURE: &str = "back_pressure";

/// Whether what comes of a job is for its handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is.
    Attached,
    /// Not before this subscription is answered; the answer to an earlier one means nothing.
    Asked(Ticket),
    /// Not before it is subscribed to again, which waits for a connection.
    Behind,
    /// Not before its handle has room again.
    Aside,
}

/// Where one followed job is.
#[derive(Debug)]
pub(super) struct Track {
    /// The position that the count starts from.
    base: u64,
    /// What was handed out since.
    seen: u64,
    /// What comes next and was handed out before.
    skip: u64,
    state: State,
    /// The last number of the session's stream when its subscription was answered.
    since: Option<u64>,
    /// Whether its handle was told that the connection broke.
    interrupted: bool,
    /// Whether this connection was asked for the end of a job that had ended before it was followed.
    end_asked: bool,
    /// Whether this session submitted it; unsubscribing means nothing then (our decision 8).
    submitted: bool,
}

impl Track {
    /// A job of our own.
    pub(super) fn submitted(base: u64) -> Self {
        Track {
            base,
            seen: 0,
            skip: 0,
            state: State::Attached,
            since: None,
            interrupted: false,
            end_asked: false,
            submitted: true,
        }
    }

    /// A subscription that was answered after the session's frame `since`.
    pub(super) fn subscribed(base: u64, since: u64) -> Self {
        Track { since: Some(since), submitted: false, ..Track::submitted(base) }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.state == State::Attached
    }

    pub(super) fn is_behind(&self) -> bool {
        self.state == State::Behind
    }

    fn position(&self) -> u64 {
        self.base + self.seen
    }

    /// Whether its handle is still to be told that the connection is back.
    pub(super) fn noticed(&mut self) -> bool {
        std::mem::take(&mut self.interrupted)
    }

    /// The answer to a pending subscription will not come, and one after which no numbered frame came says
    /// nothing: frames that stood before it may be lost. Returns whether the break is news.
    pub(super) fn connection_lost(&mut self, last_seq: u64) -> bool {
        match self.state {
            State::Asked(_) => self.state = State::Behind,
            State::Attached if self.since == Some(last_seq) => self.state = State::Behind,
            State::Attached | State::Behind | State::Aside => {}
        }
        self.end_asked = false;
        !std::mem::replace(&mut self.interrupted, true)
    }

    /// The new session knows nothing of the job.
    pub(super) fn lost_session(&mut self) {
        match self.state {
            State::Attached | State::Asked(_) | State::Behind => self.state = State::Behind,
            State::Aside => {}
        }
    }

    /// One more of the history: its position, if it was not handed out before.
    fn count(&mut self) -> Option<u64> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.seen += 1;
        Some(self.position())
    }

    /// The replay begins after `from`. With `exact` counts are positions. Returns what is lost, if anything is.
    fn replays_from(&mut self, from: u64, exact: bool) -> Option<JobUpdate> {
        self.state = State::Attached;
        let known = if exact { self.position() } else { self.base };
        if from > known {
            let missed = JobUpdate::Missed { after: self.position(), before: from + 1 };
            (self.base, self.seen, self.skip) = (from, 0, 0);
            return Some(missed);
        }
        self.skip = self.position() - from;
        None
    }
}

impl Session {
    /// Whether a numbered frame is the next one. An old one is a duplicate; a later one means that frames are
    /// lost, so that the session is resumed from the last good one.
    pub(super) fn in_order(&mut self, now: Instant, seq: u64) -> bool {
        if seq <= self.last_seq {
            return false;
        }
        if seq > self.last_seq + 1 {
            let why = format!("event {} came where {} was expected", seq, self.last_seq + 1);
            self.break_off(now, &why, CloseReason::Done);
            return false;
        }
        self.last_seq = seq;
        self.progressed = true;
        self.liveness.counted(now);
        self.acknowledge(now);
        true
    }

    fn counted(&mut self, job_id: JobId) -> Option<u64> {
        self.jobs.get_mut(&job_id).filter(|track| track.is_attached())?.count()
    }

    pub(super) fn event(&mut self, now: Instant, event: Event) {
        if is_back_pressure(&event) {
            tracing::warn!("the runtime says that this client reads too slowly");
            return self.acknowledge_now(now);
        }
        let job_id = event.job_id;
        if let Some(position) = self.counted(job_id) {
            self.out.push(Output::Update(job_id, JobUpdate::Event(JobEvent { position, event })));
        }
    }

    pub(super) fn result(&mut self, result: JobResult) {
        self.ended(result.job_id, Outcome::Success(result));
    }

    pub(super) fn job_error(&mut self, error: JobError) {
        self.ended(error.job_id, Outcome::Failed(error));
    }

    fn ended(&mut self, job_id: JobId, outcome: Outcome) {
        // Whatever is to be skipped, an end was not handed out before: the job would not be followed any more.
        if self.jobs.get(&job_id).is_some_and(Track::is_attached) {
            self.jobs.remove(&job_id);
            self.out.push(Output::Update(job_id, JobUpdate::Ended(outcome)));
        }
    }

    /// A numbered frame of a type that is not known here.
    pub(super) fn skipped(&mut self, job_id: Option<&str>) {
        if let Some(job_id) = job_id.and_then(|id| id.parse().ok()) {
            self.counted(job_id);
        }
    }

    /// A frame that cannot be read. Where its envelope can, it costs no more than itself.
    pub(super) fn undecodable(&mut self, now: Instant, frame: &[u8], why: String) {
        let envelope: Envelope<'_> = match serde_json::from_slice(frame) {
            Ok(envelope) => envelope,
            Err(_) => return self.break_off(now, &why, CloseReason::Policy),
        };
        tracing::warn!(kind = envelope.kind.as_deref(), "a frame cannot be read: {why}");
        if matches!(self.phase, Phase::Greeting { .. }) {
            if let Some("session.welcome" | "session.error") = envelope.kind.as_deref() {
                self.over(Cut::Protocol(why));
            }
            return;
        }
        let Some(seq) = envelope.event_seq.and_then(|raw| raw.get().parse().ok()) else { return };
        if self.phase != Phase::Up || !self.in_order(now, seq) {
            return;
        }
        let job_id = envelope.job_id.as_deref().and_then(|id| id.parse().ok());
        match (job_id, envelope.kind.as_deref()) {
            (Some(job_id), Some("job.result" | "job.error")) => self.cut_job(job_id, Cut::Protocol(why)),
            (Some(_), _) => self.skipped(envelope.job_id.as_deref()),
            (None, _) => {}
        }
    }

    /// A handle will hear nothing more.
    pub(super) fn cut_job(&mut self, job_id: JobId, cut: Cut) {
        if self.jobs.remove(&job_id).is_some() {
            self.out.push(Output::Update(job_id, JobUpdate::Cut(cut)));
        }
    }

    /// Whether counts are positions; see the module.
    fn exact(&self) -> bool {
        self.features.has(Feature::Progress) && self.features.has(Feature::ResultChunk)
    }

    /// Subscribes again to a job that is followed already.
    pub(super) fn reattach(&mut self, now: Instant, job_id: JobId) {
        let exact = self.exact();
        let Some(track) = self.jobs.get(&job_id) else { return };
        let from = if exact { track.position() } else { track.base };
        self.reattach_from(now, job_id, from);
    }

    pub(super) fn reattach_from(&mut self, now: Instant, job_id: JobId, from: u64) {
        let ticket = self.ask(now, Ask::Reattach { job_id, from });
        if let Some(track) = self.jobs.get_mut(&job_id) {
            track.state = State::Asked(ticket);
        }
    }

    /// A subscription whose job had ended by then, with nothing to replay: the end stands where it begins and will
    /// not come by itself, so that it is asked for.
    pub(super) fn fetch_end(&mut self, now: Instant, subscribed: &Subscribed) {
        let Subscribed { job_id, current_status, subscribed_from, replayed, .. } = subscribed;
        if !current_status.is_terminal() || *replayed {
            return;
        }
        let Some(track) = self.jobs.get_mut(job_id) else { return };
        match subscribed_from.checked_sub(1).filter(|_| !std::mem::replace(&mut track.end_asked, true)) {
            Some(from) => self.reattach_from(now, *job_id, from),
            None => {
                let why = format!("the job is {current_status}, and its end is not sent");
                self.cut_job(*job_id, Cut::Protocol(why));
            }
        }
    }

    /// Whether the job waits for the answer to this very request.
    pub(super) fn awaits(&self, job_id: JobId, ticket: Ticket) -> bool {
        self.jobs.get(&job_id).is_some_and(|track| track.state == State::Asked(ticket))
    }

    /// The job is replayed from here on.
    pub(super) fn reattached(&mut self, job_id: JobId, from: u64) {
        let exact = self.exact();
        let Some(track) = self.jobs.get_mut(&job_id) else { return };
        let missed = track.replays_from(from, exact);
        track.since = Some(self.last_seq);
        let resumed = track.noticed().then_some(JobUpdate::Resumed(Resumed::Subscribed));
        self.out.extend(resumed.into_iter().chain(missed).map(|update| Output::Update(job_id, update)));
    }

    /// Nobody listens to this job any more.
    pub(in crate::client) fn forget(&mut self, now: Instant, job_id: JobId) {
        let Some(track) = self.jobs.remove(&job_id) else { return };
        if !track.submitted && self.phase == Phase::Up && self.can_subscribe() {
            let message = Unsubscribe { job_id: Some(job_id.to_string()) };
            self.send(now, &ClientMessage::Unsubscribe(message));
        }
    }

    /// The handle of this job is full and holds up the others: it is left where it is, without the last
    /// `undelivered` events, until it has room.
    pub(in crate::client) fn set_aside(&mut self, job_id: JobId, undelivered: u64) {
        if let Some(track) = self.jobs.get_mut(&job_id) {
            track.seen = track.seen.saturating_sub(undelivered);
            track.state = State::Aside;
        }
    }

    /// The handle has room again.
    pub(in crate::client) fn catch_up(&mut self, now: Instant, job_id: JobId) {
        let Some(track) = self.jobs.get_mut(&job_id).filter(|track| track.state == State::Aside) else {
            return;
        };
        track.state = State::Behind;
        if self.phase == Phase::Up {
            self.reattach(now, job_id);
        }
    }
}

fn is_back_pressure(event: &Event) -> bool {
    event.kind == "status"
        && serde_json::from_str::<Status>(event.body.get()).is_ok_and(|status| status.phase == BACK_PRESSURE)
}
