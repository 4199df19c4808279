//! What is fuzzed: one function per target, which panics when a promise is broken. Used by the libFuzzer binaries
//! and, over the committed corpora, by the test `corpus`.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod agent_line;
pub mod canonical;
pub mod cursor;
pub mod dialect;
pub mod envelope;
pub mod frame;
pub mod input;
pub mod stream;

/// Panics when these data break a promise.
pub type Check = fn(&[u8]);

/// Every target by the name of its corpus.
pub const ALL: &[(&str, Check)] = &[
    ("agent_line", agent_line::check),
    ("canonical", canonical::check),
    ("cursor", cursor::check),
    ("dialect", dialect::check),
    ("envelope", envelope::check),
    ("frame", frame::check),
    ("stream", stream::check),
];
