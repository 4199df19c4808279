#![doc = include_str!("ARCHITECTURE.md")]

pub mod agent;
pub mod transport;
pub mod wire;
