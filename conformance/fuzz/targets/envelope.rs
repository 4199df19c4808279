//! Frames of clients and runtimes: no panic, errors with words, and a request that is written and read again is
//! the same request. Data: one frame.

use arcpd::wire::decode::{Undecodable, client_frame, server_frame};
use arcpd::wire::encode;
use arcpd::wire::error::ErrorCode;
use arcpd::wire::frame::too_deep;
use arcpd::wire::limits::{ID_CHARS, Limits};
use arcpd::wire::message::Request;
use serde_json::Value;

pub fn check(data: &[u8]) {
    let limits = Limits::default();
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let depth = depth(&value);
        assert!(depth == 0 || too_deep(data, depth - 1), "deeper than the scan saw");
    }
    match client_frame(data, &limits) {
        Ok(request) => round_trip(&request, &limits),
        Err(bad) => refused(&bad),
    }
    if let Err(message) = server_frame(data, &limits) {
        assert!(!message.trim().is_empty(), "an error without words");
    }
}

fn refused(bad: &Undecodable) {
    assert_eq!(bad.error.code, ErrorCode::InvalidRequest);
    assert!(!bad.error.message.trim().is_empty(), "an error without words");
    assert!(bad.request_id.as_ref().is_none_or(|id| !id.is_empty() && id.chars().count() <= ID_CHARS));
}

fn round_trip(request: &Request, limits: &Limits) {
    let frame = write(request);
    let again = client_frame(&frame, limits)
        .unwrap_or_else(|bad| panic!("{}: {}", bad.error.message, String::from_utf8_lossy(&frame)));
    assert_eq!(again.id, request.id);
    assert_eq!(again.session_id, request.session_id);
    assert_eq!(again.trace_id, request.trace_id);
    assert_eq!(again.message.kind(), request.message.kind());
    assert_eq!(again.message.payload().unwrap(), request.message.payload().unwrap());
    assert_eq!(write(&again), frame);
}

fn write(request: &Request) -> bytes::Bytes {
    let trace = request.trace_id.map(|trace| trace.to_string());
    encode::client_frame(&request.id, request.session_id.as_deref(), trace.as_deref(), &request.message)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
