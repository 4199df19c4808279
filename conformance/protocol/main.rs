//! The protocol by transcript: what is sent, and the exact frames that come back. One module per area.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod abuse;
mod agents;
mod faults;
mod features;
mod fixture;
mod flow;
mod follow;
mod handshake;
mod idempotency;
mod jobs;
mod limits;
mod listing;
mod order;
mod restart;
mod resume;
mod shutdown;
mod slow;
mod subscribe;
