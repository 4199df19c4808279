//! The protocol by transcript: what is sent, and the exact frames that come back. One module per area.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod features;
mod fixture;
mod handshake;
mod idempotency;
mod jobs;
mod listing;
mod resume;
mod subscribe;
