#![doc = include_str!("ARCHITECTURE.md")]

pub mod agent;
pub mod proto;
pub mod store;
pub mod transport;
pub mod wire;
