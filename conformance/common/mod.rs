//! What the test targets share: a raw peer that speaks frames over any transport, and an agent on strings.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

pub mod clock;
pub mod gated;
pub mod peer;
pub mod process;
pub mod puppet;
