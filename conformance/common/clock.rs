//! A clock that follows tokio's, so that a paused test moves the daemon's time too.

use std::sync::Arc;
use std::time::SystemTime;

use arcpd::runtime::{Ambient, System};
use arcpd::wire::time::Timestamp;
use tokio::time::Instant;

/// The daemon's time as tokio tells it.
pub struct Clock {
    began: Timestamp,
    start: Instant,
    system: System,
}

impl Clock {
    pub fn new() -> Arc<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Arc::new(Clock {
            began: Timestamp::default().plus(now),
            start: Instant::now(),
            system: System::default(),
        })
    }
}

impl Ambient for Clock {
    fn now(&self) -> Timestamp {
        self.began.plus(self.start.elapsed())
    }
    fn random(&self) -> u128 {
        self.system.random()
    }
    fn secret(&self) -> [u8; 32] {
        self.system.secret()
    }
}
