//! The program as its users have it: real processes, real sockets, real agents. Whatever needs Python says so when
//! there is none.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)] // Test code.

mod daemon;
mod jobs;
mod operators;
mod outside;
mod stdio;
mod store;
mod suite;
