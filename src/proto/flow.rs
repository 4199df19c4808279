//! Flow control: how fast refusals are answered, and what a session's lag leads to (§6.5).

use std::time::Duration;

use crate::wire::limits::Limits;
use crate::wire::time::Timestamp;

/// Bounds the rate at which one connection is told that its frames are wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refusals {
    window: Timestamp,
    count: u32,
}

impl Refusals {
    /// Counts a refusal. Returns until when nothing more of this connection is to be read, if it sent too many:
    /// the sender waits, nobody else does, and nothing goes unanswered.
    pub fn count(&mut self, per_sec: u32, now: Timestamp) -> Option<Timestamp> {
        const SECOND: Duration = Duration::from_secs(1);
        if now.since(self.window) >= SECOND {
            *self = Refusals { window: now, count: 0 };
        }
        self.count += 1;
        (self.count > per_sec).then(|| self.window.plus(SECOND))
    }
}

/// What a session's lag leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// Nothing.
    Fine,
    /// The session is told once, in a `status` event of phase `back_pressure`.
    Signal,
    /// The connection is given up; the session can resume.
    Detach,
}

/// Judges the unacknowledged events of a session. One that never acknowledged anything is not measured by what it
/// does not do.
pub fn lag(sent: u64, acked: u64, signalled: bool, limits: &Limits) -> Lag {
    let behind = sent.saturating_sub(acked);
    if acked == 0 || behind < limits.lag_signal_events {
        Lag::Fine
    } else if behind >= limits.lag_detach_events {
        Lag::Detach
    } else if signalled {
        Lag::Fine
    } else {
        Lag::Signal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_wrong_frames_makes_its_sender_wait() {
        let mut refusals = Refusals::default();
        let now = Timestamp::from_micros(10_000_000);
        for _ in 0..3 {
            assert_eq!(refusals.count(3, now), None);
        }
        let until = refusals.count(3, now).unwrap();
        assert_eq!(until, now.plus(Duration::from_secs(1)));
        assert_eq!(refusals.count(3, until), None, "a new second");
    }

    #[test]
    fn lag_is_told_once_and_then_detaches() {
        let limits = Limits { lag_signal_events: 10, lag_detach_events: 20, ..Limits::default() };
        assert_eq!(lag(1_000, 0, false, &limits), Lag::Fine, "never acknowledged anything");
        assert_eq!(lag(10, 1, false, &limits), Lag::Fine);
        assert_eq!(lag(11, 1, false, &limits), Lag::Signal);
        assert_eq!(lag(12, 1, true, &limits), Lag::Fine);
        assert_eq!(lag(21, 1, true, &limits), Lag::Detach);
    }
}
