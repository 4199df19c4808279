//! Refused connections, counted, and logged once per burst.
//!
//! A crowd at the door must not fill the log as well. The first refusal is told at once; what follows within
//! [`REFUSAL_LOG_SEC`] is told as a number with the next one after it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Shortest time between two log lines about refused connections, in seconds.
pub const REFUSAL_LOG_SEC: u64 = 10;

/// The refusals not yet told.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Burst>);

#[derive(Debug, Default)]
struct Burst {
    untold: u64,
    told_at: Option<Instant>,
}

impl Refusals {
    /// A connection was refused. Returns how many were since the last time that it is due to tell.
    pub(super) fn refused(&self, now: Instant) -> Option<u64> {
        let mut burst = self.0.lock();
        burst.untold += 1;
        let quiet = Duration::from_secs(REFUSAL_LOG_SEC);
        if burst.told_at.is_some_and(|told| now.saturating_duration_since(told) < quiet) {
            return None;
        }
        burst.told_at = Some(now);
        Some(std::mem::take(&mut burst.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_at_its_start_and_then_as_a_number() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let at = |sec| start + Duration::from_secs(sec);
        assert_eq!(refusals.refused(at(0)), Some(1));
        assert_eq!(refusals.refused(at(1)), None);
        assert_eq!(refusals.refused(at(REFUSAL_LOG_SEC - 1)), None);
        assert_eq!(refusals.refused(at(REFUSAL_LOG_SEC)), Some(3));
        assert_eq!(refusals.refused(at(REFUSAL_LOG_SEC + 1)), None);
    }
}
