//! The operators' door over real sockets: what is answered, to whom, and that it is what the schemas say.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code.

#[path = "../common/mod.rs"]
mod common;

mod api;
mod door;
mod memory;
mod metrics;
