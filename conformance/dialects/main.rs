//! The published clients by transcript: what each of them was seen to send, and what it has to get, field by field.
//! One file per dialect.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod chosen;
mod faults;
mod fixture;
mod go;
mod java;
mod python;
mod readers;
mod replay;
mod ruby;
mod rust2;
mod typescript;
