//! The JSON Schemas: what stands in `schemas/` is what the types say, and what the types say is true of frames that
//! a runtime and a published client really send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod drift;
mod truth;
