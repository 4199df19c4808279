//! The decisions of the protocol, without IO: `(state, input, now) → outputs`.
//!
//! Time and chance are arguments; effects are data. Nothing here waits, locks, logs or knows where bytes go.

pub mod authority;
pub mod flow;
pub mod handshake;
pub mod heartbeat;
pub mod idempotency;
pub mod job;
pub mod listing;
pub mod record;
pub mod result;
pub mod session;
pub mod stream;
pub mod submit;
