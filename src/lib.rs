//! A runtime daemon for ARCP, the Agent Runtime Control Protocol.
#![doc = include_str!("ARCHITECTURE.md")]

pub mod agent;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod conformance;
pub mod embed;
pub mod http;
pub mod proto;
pub mod runtime;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod wire;
