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

/// Judges how many events a session is behind. One that never acknowledged anything is not measured by what it
/// does not do.
pub fn lag(behind: u64, acknowledges: bool, signalled: bool, limits: &Limits) -> Lag {
    if !acknowledges || behind < limits.lag_signal_events {
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
        assert_eq!(lag(1_000, false, false, &limits), Lag::Fine, "never acknowledged anything");
        assert_eq!(lag(9, true, false, &limits), Lag::Fine);
        assert_eq!(lag(10, true, false, &limits), Lag::Signal);
        assert_eq!(lag(11, true, true, &limits), Lag::Fine);
        assert_eq!(lag(20, true, true, &limits), Lag::Detach);
    }
}
