//! What comes from outside: time and chance.

use std::sync::atomic::{AtomicI64, Ordering};

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

/// The machine's clock and its cryptographic generator.
#[derive(Debug, Default)]
pub struct System {
    latest: AtomicI64,
}

impl Ambient for System {
    fn now(&self) -> Timestamp {
        let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let micros = i64::try_from(nanos / 1_000).unwrap_or(i64::MAX);
        // A clock that is set back stands still for us until it has caught up.
        Timestamp::from_micros(self.latest.fetch_max(micros, Ordering::Relaxed).max(micros))
    }

    fn random(&self) -> u128 {
        rand::rng().random()
    }

    fn secret(&self) -> [u8; 32] {
        rand::rng().random()
    }
}
