//! Heartbeats (§6.4) and acknowledgements (§6.5).

use std::time::{Duration, Instant};

use super::{Phase, Session};
use crate::transport::CloseReason;
use crate::wire::feature::Feature;
use crate::wire::message::ClientMessage;
use crate::wire::session::{Ack, Ping};

/// Events after which an acknowledgement is due …
const ACK_EVENTS: u64 = 256;
/// … but not before this time has passed since the last one …
const ACK_EVERY: Duration = Duration::from_millis(250);
/// … unless so many wait that the runtime might take this client for a slow one.
const ACK_EVENTS_AT_ONCE: u64 = 4_096;
/// How long fewer events wait for an acknowledgement.
const ACK_REST: Duration = Duration::from_secs(2);
/// Silent heartbeat intervals after which the runtime counts as gone (§6.4).
const SILENT_INTERVALS: u32 = 2;

/// When what was last heard and said.
pub(super) struct Liveness {
    interval: Option<Duration>,
    up_since: Instant,
    received: Instant,
    sent: Instant,
    pinged: Instant,
    acked: u64,
    acked_at: Instant,
    unacked_since: Option<Instant>,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Liveness {
            interval: None,
            up_since: now,
            received: now,
            sent: now,
            pinged: now,
            acked: 0,
            acked_at: now,
            unacked_since: None,
        }
    }

    pub(super) fn start(&mut self, now: Instant, interval: Option<Duration>, acked: u64) {
        *self = Liveness { interval, acked, ..Liveness::new(now) };
    }

    pub(super) fn up_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.up_since)
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.received = now;
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// A numbered frame was taken in.
    pub(super) fn counted(&mut self, now: Instant) {
        self.unacked_since.get_or_insert(now);
    }

    /// A ping is due when either side was silent for an interval.
    fn ping_at(&self) -> Option<Instant> {
        self.interval.map(|interval| (self.sent.min(self.received) + interval).max(self.pinged + interval))
    }

    fn lost_at(&self) -> Option<Instant> {
        self.interval.map(|interval| self.received + interval * SILENT_INTERVALS)
    }

    fn ack_at(&self, last_seq: u64) -> Option<Instant> {
        let since = self.unacked_since?;
        Some(match last_seq.saturating_sub(self.acked) {
            ACK_EVENTS_AT_ONCE.. => since,
            ACK_EVENTS.. => self.acked_at + ACK_EVERY,
            _ => since + ACK_REST,
        })
    }

    pub(super) fn deadline(&self, last_seq: u64, acks: bool) -> Option<Instant> {
        let ack = if acks { self.ack_at(last_seq) } else { None };
        self.ping_at().into_iter().chain(self.lost_at()).chain(ack).min()
    }
}

impl Session {
    /// Whether events are acknowledged.
    pub(super) fn acks(&self) -> bool {
        self.options.ack && self.features.has(Feature::Ack)
    }

    pub(super) fn heartbeat(&mut self, now: Instant) {
        if self.liveness.lost_at().is_some_and(|at| now >= at) {
            let why = format!("heartbeat lost: the runtime was silent for {SILENT_INTERVALS} intervals");
            return self.break_off(now, &why, CloseReason::HeartbeatLost);
        }
        if self.liveness.ping_at().is_some_and(|at| now >= at) {
            self.liveness.pinged = now;
            let nonce = (self.mint)().to_string();
            self.send(now, &ClientMessage::Ping(Ping { nonce, sent_at: None }));
        }
    }

    /// Acknowledges what was taken in, when that is due.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        if self.acks() && self.liveness.ack_at(self.last_seq).is_some_and(|at| now >= at) {
            self.acknowledge_now(now);
        }
    }

    /// Acknowledges what was taken in.
    pub(super) fn acknowledge_now(&mut self, now: Instant) {
        if self.phase != Phase::Up || !self.acks() || self.liveness.acked == self.last_seq {
            return;
        }
        self.liveness.acked = self.last_seq;
        self.liveness.acked_at = now;
        self.liveness.unacked_since = None;
        self.send(now, &ClientMessage::Ack(Ack { last_processed_seq: self.last_seq }));
    }
}
