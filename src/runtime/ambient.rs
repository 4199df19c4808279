//! What comes from outside: time and chance.

use std::time::Instant;

use rand::RngExt as _;
use time::OffsetDateTime;

use crate::wire::time::Timestamp;

/// The daemon's only source of time and randomness.
pub trait Ambient: Send + Sync + 'static {
    /// The time. Never goes back (§14).
    fn now(&self) -> Timestamp;

    /// 80 or more random bits, for identifiers.
    fn random(&self) -> u128;

    /// 256 random bits fit for secrets.
    fn secret(&self) -> [u8; 32];
}

/// The machine's monotonic clock and its cryptographic generator.
///
/// Time is the wall clock's at the start and goes on with the monotonic clock, which the system keeps at the right
/// rate but never sets (§14): a wall clock that is set ends no lease and stops no heartbeat. Time that the machine
/// spends suspended does not count.
#[derive(Debug)]
pub struct System {
    wall: Timestamp,
    start: Instant,
}

impl Default for System {
    fn default() -> Self {
        let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let wall = Timestamp::from_micros(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX));
        System { wall, start: Instant::now() }
    }
}

impl Ambient for System {
    fn now(&self) -> Timestamp {
        self.wall.plus(self.start.elapsed())
    }

    fn random(&self) -> u128 {
        rand::rng().random()
    }

    fn secret(&self) -> [u8; 32] {
        rand::rng().random()
    }
}
