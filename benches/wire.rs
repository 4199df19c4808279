//! Reading and writing single frames: what every message costs before anything is decided about it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;

use arcpd::wire::decode::{client_frame, server_frame};
use arcpd::wire::encode::{server_frame as write, stream_frame};
use arcpd::wire::envelope::{Envelope, Head};
use arcpd::wire::frame::too_deep;
use arcpd::wire::id::{JobId, MessageId, SessionId};
use arcpd::wire::limits::Limits;
use arcpd::wire::message::{ServerMessage, StreamKind};
use arcpd::wire::time::Timestamp;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SUBMIT: &str = r#"{"arcp":"1.1","id":"01M7VVR1MMVA7JMPGPDZDT4F5V","type":"job.submit","session_id":"sess_01M7VVR1M2Z0JQTXHFE3V8DGK6","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","payload":{"agent":"spender@1.0.0","input":{"calls":10,"usd_per_call":0.3},"lease_request":{"tool.call":["spend"],"cost.budget":["USD:1.00"],"model.use":["tier-fast/*"]},"lease_constraints":{"expires_at":"2026-11-20T06:59:17.235926Z"},"idempotency_key":"K1"}}"#;
const ACK: &str = r#"{"arcp":"1.1","id":"01M7VVR35TEW8VWZSGEZ4NRE7D","type":"session.ack","session_id":"sess_01M7VVR1M2Z0JQTXHFE3V8DGK6","payload":{"last_processed_seq":30}}"#;
const WELCOME: &str = r#"{"arcp":"1.1","id":"msg_01M7VVR35TEW8VWZSGEZ4NRE7D","type":"session.welcome","session_id":"sess_01M7VVR1M2Z0JQTXHFE3V8DGK6","payload":{"session_id":"sess_01M7VVR1M2Z0JQTXHFE3V8DGK6","runtime":{"name":"arcpd","version":"0.1.0"},"runtime_name":"arcpd","runtime_version":"0.1.0","resume_token":"0123456789abcdef0123456789abcdef0123456789a","resume_window_sec":600,"heartbeat_interval_sec":30,"capabilities":{"encodings":["json"],"features":["heartbeat","ack","list_jobs","subscribe","lease_expires_at","progress","result_chunk","agent_versions"],"agents":[{"name":"chunker","versions":["1.0.0"],"default":"1.0.0"},{"name":"echo","versions":["1.0.0","2.0.0"],"default":"2.0.0"},{"name":"failer","versions":["1.0.0"],"default":"1.0.0"},{"name":"sleeper","versions":["1.0.0"],"default":"1.0.0"},{"name":"spender","versions":["1.0.0"],"default":"1.0.0"},{"name":"ticker","versions":["1.0.0"],"default":"1.0.0"}]},"accepted_at":"2026-11-20T06:54:19.220936Z"}}"#;

fn head() -> Head {
    Head {
        id: MessageId::new(1_794_000_000_000, 42),
        session_id: SessionId::new(1_794_000_000_000, 43),
        job_id: Some(JobId::new(1_794_000_000_000, 44)),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap()),
        event_seq: Some(1_234_567),
        at: Timestamp::from_micros(0),
    }
}

fn read(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("read");
    for (name, frame) in [("submit", SUBMIT), ("ack", ACK)] {
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(format!("{name}: envelope, borrowed"), |b| {
            b.iter(|| serde_json::from_str::<Envelope<'_>>(black_box(frame)).unwrap().id.is_some());
        });
        group.bench_function(format!("{name}: request, checked and typed"), |b| {
            b.iter(|| client_frame(black_box(frame.as_bytes()), &limits).unwrap());
        });
    }
    group.finish();
}

fn written(c: &mut Criterion) {
    let head = head();
    let body = r#"{"kind":"log","ts":"2026-11-20T06:54:19.220936Z","job_id":"job_01M7VVR1MSW45PAYMV9W1729G1","body":{"level":"info","message":""#;
    let payload = format!("{body}{}\"}}}}", "x".repeat(300 - body.len() - 3));
    assert_eq!(payload.len(), 300);
    let Some(welcome @ ServerMessage::Welcome(_)) =
        server_frame(WELCOME.as_bytes(), &Limits::default()).unwrap().message
    else {
        panic!("no welcome");
    };
    let mut group = c.benchmark_group("write");
    group.bench_function("event of 300 bytes, spliced", |b| {
        b.iter(|| stream_frame(StreamKind::Event, black_box(&head), black_box(payload.as_bytes())));
    });
    group.bench_function("welcome", |b| b.iter(|| write(black_box(&head), black_box(&welcome))));
    group.finish();
}

fn depth(c: &mut Criterion) {
    let text = format!(r#"{{"a":"{}","b":[{}]}}"#, "x\\\"".repeat(8 * 1024), "[1,2],".repeat(4 * 1024));
    let mut group = c.benchmark_group("depth");
    for (name, frame) in [("a submit", SUBMIT), ("48 KiB of strings and brackets", text.as_str())] {
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(name, |b| b.iter(|| too_deep(black_box(frame.as_bytes()), 64)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = read, written, depth
}
criterion_main!(benches);
