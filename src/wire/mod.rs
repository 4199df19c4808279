//! Bytes ⇄ typed messages: the envelope, every message of the protocol, event bodies, ids, errors and limits.
//!
//! Nothing here knows a clock, a socket or a task. What differs between published clients is confined to
//! [`dialect`]; everything else is the canonical encoding of the specification plus the superset fields that
//! all clients can live with.

pub mod agent_port;
pub mod agent_ref;
pub mod api;
pub mod canonical;
pub mod decode;
pub mod dialect;
pub mod encode;
pub mod envelope;
pub mod error;
pub mod event;
pub mod extension;
pub mod feature;
pub mod frame;
pub mod id;
pub mod job;
pub mod lease;
pub mod limits;
pub mod message;
pub mod object;
pub mod principal;
pub mod schema;
pub mod session;
pub mod time;
