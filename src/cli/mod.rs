//! The commands of `arcpd`.

pub mod check;
