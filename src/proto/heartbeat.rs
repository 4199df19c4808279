//! Liveness of one connection (§6.4): when to ping, when to give up.

use std::time::Duration;

use crate::wire::time::Timestamp;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing before this instant.
    Wait(Timestamp),
    /// A ping.
    Ping,
    /// The peer was silent for two intervals.
    Lost,
}

/// The heartbeat of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    interval: Duration,
    heard: Timestamp,
    spoke: Timestamp,
    asked: Timestamp,
}

impl Heartbeat {
    /// A heartbeat that begins now.
    pub fn new(interval: Duration, now: Timestamp) -> Self {
        Heartbeat { interval, heard: now, spoke: now, asked: now }
    }

    /// The peer said something, whatever it was.
    pub fn heard(&mut self, now: Timestamp) {
        self.heard = now;
    }

    /// Something was said to the peer.
    pub fn spoke(&mut self, now: Timestamp) {
        self.spoke = now;
    }

    /// Says what is due, and takes a ping as sent.
    ///
    /// A ping is due when our side was silent for an interval, and also when the peer was, although we were not:
    /// clients that only listen speak when they are asked, so a stream of events must not starve the question.
    pub fn poll(&mut self, now: Timestamp) -> Beat {
        if now.since(self.heard) >= self.interval * 2 {
            return Beat::Lost;
        }
        let quiet = self.quiet();
        if now.since(quiet) >= self.interval {
            self.asked = now;
            self.spoke = now;
            return Beat::Ping;
        }
        Beat::Wait(self.due())
    }

    /// When something may be due next.
    pub fn due(&self) -> Timestamp {
        self.quiet().plus(self.interval).min(self.heard.plus(self.interval * 2))
    }

    /// Since when one side has been silent and the other has not been asked.
    fn quiet(&self) -> Timestamp {
        self.spoke.min(self.heard.max(self.asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1_000)
    }

    #[test]
    fn an_idle_peer_is_pinged_every_interval_and_lost_after_two() {
        let mut beat = Heartbeat::new(SECOND, at(0));
        assert_eq!(beat.poll(at(0)), Beat::Wait(at(1_000)));
        assert_eq!(beat.poll(at(1_000)), Beat::Ping);
        beat.heard(at(1_010));
        assert_eq!(beat.poll(at(1_500)), Beat::Wait(at(2_000)));
        assert_eq!(beat.poll(at(2_000)), Beat::Ping);
        assert_eq!(beat.poll(at(3_000)), Beat::Ping);
        assert_eq!(beat.poll(at(3_010)), Beat::Lost);
    }

    #[test]
    fn a_stream_of_events_does_not_starve_the_question_whether_the_peer_is_there() {
        let mut beat = Heartbeat::new(SECOND, at(0));
        let mut pings = 0;
        for ms in (0..1_999).step_by(10) {
            beat.spoke(at(ms));
            pings += u32::from(beat.poll(at(ms)) == Beat::Ping);
        }
        assert_eq!(pings, 1);
        assert_eq!(beat.poll(at(2_000)), Beat::Lost);
    }

    #[test]
    fn a_peer_that_speaks_by_itself_is_still_pinged_when_we_are_silent() {
        let mut beat = Heartbeat::new(SECOND, at(0));
        beat.heard(at(990));
        assert_eq!(beat.poll(at(1_000)), Beat::Ping);
    }
}
