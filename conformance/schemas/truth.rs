//! The schemas beside real frames: those of a runtime with the demo agents, those of the published Python client
//! (`client_frames.jsonl`), and frames that are wrong in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arcpd::embed::Runtime;
use arcpd::wire::agent_port::AgentMessage;
use arcpd::wire::decode::client_frame;
use arcpd::wire::event::EventKind;
use arcpd::wire::limits::Limits;
use arcpd::wire::schema;
use jsonschema::Validator;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::common::peer::{FEATURES, Got, PATIENCE, Peer, frame, hello};
use super::common::puppet::Puppets;

struct Schemas(BTreeMap<String, Validator>);

impl Schemas {
    fn load() -> Self {
        let compile = |file: schema::SchemaFile| {
            let schema = serde_json::from_str(&file.text).unwrap();
            (file.path, jsonschema::options().should_validate_formats(true).build(&schema).unwrap())
        };
        Schemas(schema::all().into_iter().map(compile).collect())
    }

    fn wrong(&self, path: &str, value: &Value) -> Vec<String> {
        let validator = self.0.get(path).unwrap_or_else(|| panic!("there is no schema {path}"));
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn accept(&self, path: &str, value: &Value) {
        let wrong = self.wrong(path, value);
        assert!(wrong.is_empty(), "{path} refuses {value}\n{}", wrong.join("\n"));
    }

    /// Checks a frame of the runtime, and notes its type and the kind of its event.
    fn hear(&self, frame: &Value, heard: &mut BTreeSet<String>) {
        let kind = frame["type"].as_str().unwrap();
        self.accept(&format!("runtime/{kind}.json"), frame);
        heard.insert(kind.into());
        if kind == "job.event" {
            let kind = frame["payload"]["kind"].as_str().unwrap();
            if !kind.starts_with("x-") {
                self.accept(&format!("event/{kind}.json"), &frame["payload"]["body"]);
            }
            heard.insert(kind.into());
        }
    }
}

/// Listens until a frame of this type has come; pings count too, when they are the ones waited for.
async fn until(peer: &mut Peer, kind: &str, schemas: &Schemas, heard: &mut BTreeSet<String>) -> Value {
    loop {
        let frame = peer.frame().await;
        schemas.hear(&frame, heard);
        if frame["type"] == kind {
            return frame;
        }
    }
}

fn runtime(puppets: &Puppets) -> Runtime {
    Runtime::builder()
        .token("alice", "tok-a")
        .demo_agents()
        .host("puppet@1.0.0", puppets.host())
        .heartbeat_interval(Duration::from_millis(200))
        .start()
        .unwrap()
}

/// Everything that the demo agents can bring about, and every request with its answer.
async fn exchange(runtime: &Runtime, schemas: &Schemas, heard: &mut BTreeSet<String>) {
    let mut peer = Peer::over(runtime.connect());
    let features: Vec<&str> = FEATURES.iter().copied().chain(["x-arcpd.follow"]).collect();
    peer.send("session.hello", hello("tok-a", &features));
    let welcome = peer.welcome().await;
    schemas.hear(&welcome, heard);
    let expires_at = "2999-01-01T00:00:00Z";
    for (payload, end) in [
        (json!({ "agent": "echo", "input": { "a": [1.5, null] } }), "job.result"),
        (json!({ "agent": "echo" }), "job.result"),
        (json!({ "agent": "ticker", "input": { "count": 2, "interval_ms": 0, "size": 3 } }), "job.result"),
        (json!({ "agent": "chunker", "input": { "encoding": "utf8" } }), "job.result"),
        (json!({ "agent": "chunker", "input": { "encoding": "base64" } }), "job.result"),
        (
            json!({
                "agent": "spender", "input": { "calls": 2 }, "lease_request": { "tool.call": ["spend"] },
                "lease_constraints": { "expires_at": expires_at }
            }),
            "job.result",
        ),
        (json!({ "agent": "failer", "input": { "after_events": 1, "message": "x" } }), "job.error"),
        (json!({ "agent": "sleeper", "input": { "ms": 60_000 }, "max_runtime_sec": 1 }), "job.error"),
    ] {
        peer.send("job.submit", payload);
        until(&mut peer, end, schemas, heard).await;
    }
    requests(&mut peer, schemas, heard).await;
    peer.send("session.close", json!({ "reason": "done" }));
    until(&mut peer, "session.closed", schemas, heard).await;
}

async fn requests(peer: &mut Peer, schemas: &Schemas, heard: &mut BTreeSet<String>) {
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut submit = frame("traced", "job.submit", json!({ "agent": "sleeper", "input": { "ms": 60_000 } }));
    submit["trace_id"] = json!(trace_id);
    peer.send_raw(submit.to_string());
    let accepted = until(peer, "job.accepted", schemas, heard).await;
    assert_eq!(accepted["trace_id"], trace_id);
    let job = &accepted["payload"]["job_id"];
    peer.send("job.subscribe", json!({ "job_id": job, "history": true }));
    until(peer, "job.subscribed", schemas, heard).await;
    peer.send("job.cancel", json!({ "job_id": job, "reason": "enough" }));
    until(peer, "job.cancelled", schemas, heard).await;
    until(peer, "job.error", schemas, heard).await;
    peer.send("job.submit", json!({ "agent": "nosuch" }));
    until(peer, "session.error", schemas, heard).await;
    peer.send("session.list_jobs", json!({ "limit": 1 }));
    let page = until(peer, "session.jobs", schemas, heard).await;
    peer.send("session.list_jobs", json!({ "cursor": page["payload"]["next_cursor"], "limit": 1_000 }));
    let rest = until(peer, "session.jobs", schemas, heard).await;
    assert_eq!(rest["payload"]["next_cursor"], Value::Null);
    peer.send("session.ping", json!({ "nonce": "n" }));
    until(peer, "session.pong", schemas, heard).await;
    peer.send("x-arcpd.follow", json!({}));
    until(peer, "x-arcpd.following", schemas, heard).await;
}

/// A body of each kind that no demo agent sends.
fn other_bodies() -> [(&'static str, Value); 6] {
    [
        ("thought", json!({ "text": "hm" })),
        ("status", json!({ "phase": "reading", "message": null })),
        ("artifact_ref", json!({ "uri": "file:x", "content_type": "text/plain", "byte_size": 3 })),
        (
            "tool_result",
            json!({ "call_id": "c", "error": { "code": "CANCELLED", "message": "m", "retryable": false } }),
        ),
        ("trace_span", json!({ "span_id": "s", "name": "n", "end_at": null })),
        ("x-vendor.thing", json!({ "anything": [] })),
    ]
}

#[tokio::test]
async fn what_the_runtime_says_is_what_the_schemas_say() {
    let (schemas, puppets) = (Schemas::load(), Puppets::default());
    let runtime = runtime(&puppets);
    let mut heard = BTreeSet::new();
    exchange(&runtime, &schemas, &mut heard).await;
    let mut peer = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
    let job = peer.submit(json!({ "agent": "puppet" })).await;
    for (kind, body) in other_bodies() {
        puppets.say(&job, "job.event", json!({ "kind": kind, "body": body })).await.unwrap();
    }
    puppets.finish(&job, Value::Null).await.unwrap();
    until(&mut peer, "job.result", &schemas, &mut heard).await;
    refused_hello(&runtime, &schemas, &mut heard).await;
    pinged(&runtime, &schemas, &mut heard).await;
    runtime.stop().await;
    let types = schemas.0.keys().filter_map(|path| path.strip_prefix("runtime/")?.strip_suffix(".json"));
    let kinds = schemas.0.keys().filter_map(|path| path.strip_prefix("event/")?.strip_suffix(".json"));
    let silent: Vec<&str> = types.chain(kinds).filter(|name| !heard.contains(*name)).collect();
    assert_eq!(silent, ["delegate"], "heard of everything but what this daemon does not offer yet");
}

async fn refused_hello(runtime: &Runtime, schemas: &Schemas, heard: &mut BTreeSet<String>) {
    let mut peer = Peer::over(runtime.connect());
    peer.send("session.hello", hello("wrong", FEATURES));
    let error = until(&mut peer, "session.error", schemas, heard).await;
    assert_eq!(error["payload"]["code"], "UNAUTHENTICATED");
    assert_eq!(peer.next().await, Got::End);
}

/// The peers of the tests answer pings by themselves, so this one listens without them.
async fn pinged(runtime: &Runtime, schemas: &Schemas, heard: &mut BTreeSet<String>) {
    use arcpd::transport::{FrameReader as _, FrameWriter as _, Received, Transport as _};
    let (mut reader, mut writer) = runtime.connect().split();
    let first = frame("h", "session.hello", hello("tok-a", &["heartbeat"]));
    writer.feed(first.to_string().into()).await.unwrap();
    writer.flush().await.unwrap();
    loop {
        let received =
            tokio::time::timeout(PATIENCE, reader.receive()).await.expect("a ping in time").unwrap();
        let Received::Text(text) = received else { panic!("{received:?}") };
        let frame: Value = serde_json::from_slice(&text).unwrap();
        schemas.hear(&frame, heard);
        if frame["type"] == "session.ping" {
            return;
        }
    }
}

#[test]
fn what_the_python_client_sends_passes_the_schemas_and_the_decoder() {
    let schemas = Schemas::load();
    let mut kinds = BTreeSet::new();
    for line in include_str!("client_frames.jsonl").lines() {
        let frame: Value = serde_json::from_str(line).unwrap();
        let kind = frame["type"].as_str().unwrap().to_owned();
        schemas.accept(&format!("client/{kind}.json"), &frame);
        assert!(client_frame(line.as_bytes(), &Limits::default()).is_ok(), "{line}");
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 9);
}

/// Frames of clients: what the schemas think of them is what the decoder thinks of them.
#[test]
fn schemas_and_decoder_agree_about_clients() {
    let schemas = Schemas::load();
    let job = "job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E";
    for (good, kind, payload) in [
        (true, "session.hello", json!({})),
        (true, "session.hello", json!({ "client": null, "resume": { "token": "t" } })),
        (true, "session.hello", json!({ "resume_token": "t", "last_event_seq": 3 })),
        (true, "session.hello", json!({ "auth": { "scheme": "bearer" } })),
        (false, "session.hello", json!({ "auth": { "token": 7 } })),
        (false, "session.hello", json!({ "capabilities": { "features": "ack" } })),
        (false, "session.hello", json!({ "resume": {} })),
        (true, "session.resume", json!({ "resume_token": "t", "last_event_seq": 3 })),
        (true, "session.resume", json!({ "token": "t" })),
        (false, "session.resume", json!({ "token": "t", "resume_token": "t" })),
        (false, "session.resume", json!({ "last_event_seq": 3 })),
        (false, "session.resume", json!({ "resume_token": "t", "last_event_seq": -3 })),
        (true, "session.resume", json!({ "resume_token": "t", "last_event_seq": -1 })),
        (true, "session.hello", json!({ "resume": { "token": "t", "last_event_seq": { "job_x": 3 } } })),
        (false, "session.hello", json!({ "resume": { "token": "t", "last_event_seq": { "job_x": "3" } } })),
        (false, "session.ping", json!({})),
        (false, "session.ping", json!({ "nonce": "" })),
        (false, "session.ping", json!({ "nonce": 7 })),
        (false, "session.pong", json!({ "nonce": "n" })),
        (false, "session.ack", json!({ "last_processed_seq": "3" })),
        (false, "session.ack", json!({ "last_processed_seq": 3.5 })),
        (true, "session.list_jobs", json!({ "filter": { "status": "running" }, "cursor": null })),
        (
            true,
            "session.list_jobs",
            json!({ "filter": { "status": ["running", "success"], "agent": "echo" } }),
        ),
        (false, "session.list_jobs", json!({ "filter": { "status": ["walking"] } })),
        (false, "session.list_jobs", json!({ "filter": { "created_after": "2026-05-13T19:42:13+00:00" } })),
        (false, "session.list_jobs", json!({ "filter": { "created_after": "2026-13-13T19:42:13Z" } })),
        (false, "session.list_jobs", json!({ "limit": -1 })),
        (true, "session.close", json!({})),
        (true, "session.bye", json!({ "reason": null })),
        (false, "session.close", json!({ "reason": [] })),
        (true, "job.submit", json!({ "agent": "e@1.0+x", "input": [1], "lease_request": null, "new": true })),
        (false, "job.submit", json!({ "input": 1 })),
        (false, "job.submit", json!({ "agent": "E" })),
        (false, "job.submit", json!({ "agent": "e@" })),
        (false, "job.submit", json!({ "agent": "e", "lease_request": { "fs.read": "x" } })),
        (false, "job.submit", json!({ "agent": "e", "lease_constraints": { "expires_at": "soon" } })),
        (false, "job.submit", json!({ "agent": "e", "max_runtime_sec": "3" })),
        (true, "job.cancel", json!({ "job_id": job, "reason": "r" })),
        (false, "job.cancel", json!({ "reason": "r" })),
        (false, "job.cancel", json!({ "job_id": "" })),
        (true, "job.subscribe", json!({ "job_id": job, "history": true, "from_event_seq": 0 })),
        (false, "job.subscribe", json!({ "job_id": job, "history": "yes" })),
        (false, "job.subscribe", json!({ "job_id": job, "from_event_seq": -1 })),
        (false, "job.unsubscribe", json!({})),
        (false, "job.unsubscribe", json!([])),
    ] {
        let frame = frame("a", kind, payload);
        agree(&schemas, good, kind, &frame);
    }
    let ping = || frame("a", "session.ping", json!({ "nonce": "n" }));
    for (good, field, value) in [
        (true, "session_id", json!("s")),
        (true, "session_id", Value::Null),
        (true, "x_new", json!({ "any": "thing" })),
        (true, "trace_id", json!("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        (false, "trace_id", json!("4bf92f")),
        (false, "session_id", json!("")),
        (false, "event_seq", json!(3)),
        (false, "arcp", json!("2")),
        (false, "arcp", Value::Null),
        (false, "id", json!("a\u{7}")),
        (false, "id", json!("")),
        (false, "id", json!("x".repeat(129))),
        (false, "id", json!(5)),
        (false, "payload", json!("x")),
    ] {
        let mut frame = ping();
        frame[field] = value;
        agree(&schemas, good, "session.ping", &frame);
    }
    let mut by_envelope = frame("a", "job.cancel", json!({}));
    by_envelope["job_id"] = json!(job);
    agree(&schemas, true, "job.cancel", &by_envelope);
}

fn agree(schemas: &Schemas, good: bool, kind: &str, frame: &Value) {
    let wrong = schemas.wrong(&format!("client/{kind}.json"), frame);
    assert_eq!(wrong.is_empty(), good, "the schema of {kind}: {frame}\n{wrong:?}");
    let decoded = client_frame(frame.to_string().as_bytes(), &Limits::default());
    assert_eq!(decoded.is_ok(), good, "the decoder of {kind}: {frame}");
}

/// Events: what the schemas think of a body is what the daemon thinks of an agent that sends it.
#[test]
fn schemas_and_checks_agree_about_agents() {
    let schemas = Schemas::load();
    for (good, kind, body) in [
        (true, "log", json!({ "level": "info", "message": "m", "more": 1 })),
        (false, "log", json!({ "level": "info" })),
        (false, "log", json!(["info", "m"])),
        (false, "thought", json!({ "text": 3 })),
        (true, "tool_call", json!({ "tool": "t", "call_id": "c" })),
        (false, "tool_call", json!({ "tool": "t", "args": {} })),
        (true, "tool_result", json!({ "call_id": "c", "result": null })),
        (true, "tool_result", json!({ "call_id": "c", "result": 1, "error": null })),
        (false, "tool_result", json!({ "call_id": "c", "error": "m" })),
        (
            false,
            "tool_result",
            json!({ "call_id": "c", "result": 1, "error": { "code": "CANCELLED", "message": "m", "retryable": true } }),
        ),
        (
            false,
            "tool_result",
            json!({ "call_id": "c", "error": { "code": "NO", "message": "m", "retryable": true } }),
        ),
        (false, "status", json!({ "message": "m" })),
        (true, "metric", json!({ "name": "n", "value": -0.5, "unit": null, "dimensions": { "a": 1 } })),
        (false, "metric", json!({ "name": "n", "value": "1" })),
        (false, "artifact_ref", json!({ "uri": "u", "content_type": "c", "byte_size": -1 })),
        (true, "delegate", json!({ "delegate_id": "d", "agent": "echo", "child_job_id": null })),
        (false, "delegate", json!({ "agent": "a" })),
        (true, "progress", json!({ "current": 0, "total": null })),
        (false, "progress", json!({ "current": -1 })),
        (false, "progress", json!({ "current": 1, "total": -1 })),
        (
            true,
            "result_chunk",
            json!({ "result_id": "res_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E", "chunk_seq": 0, "data": "", "encoding": "utf8", "more": true }),
        ),
        (
            false,
            "result_chunk",
            json!({ "result_id": "01J8ZQ5R8M3X4Y5Z6A7B8C9D0E", "chunk_seq": 0, "data": "", "encoding": "utf8", "more": true }),
        ),
        (
            false,
            "result_chunk",
            json!({ "result_id": "res_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E", "chunk_seq": 0, "data": "", "encoding": "hex", "more": true }),
        ),
    ] {
        let wrong = schemas.wrong(&format!("event/{kind}.json"), &body);
        assert_eq!(wrong.is_empty(), good, "the schema of {kind}: {body}\n{wrong:?}");
        let raw = RawValue::from_string(body.to_string()).unwrap();
        assert_eq!(EventKind::parse(kind).unwrap().check(&raw).is_ok(), good, "the check of {kind}: {body}");
    }
    for (good, kind, payload) in [
        (true, "agent.hello", json!({ "name": "a" })),
        (true, "job.event", json!({ "kind": "x-a", "body": {} })),
        (false, "job.event", json!({ "kind": "log" })),
        (true, "job.result", json!({})),
        (true, "job.result", json!({ "result": null, "summary": null })),
        (false, "job.result", json!({ "summary": 1 })),
        (true, "job.error", json!({ "message": "m" })),
        (false, "job.error", json!({ "code": "NO", "message": "m" })),
        (true, "op.request", json!({ "call_id": "c", "op": "tool.call" })),
        (false, "op.request", json!({ "op": "tool.call" })),
        (true, "ping", json!({ "nonce": "n" })),
        (false, "pong", json!({})),
    ] {
        let line = json!({ "type": kind, "payload": payload });
        let wrong = schemas.wrong(&format!("agent/{kind}.json"), &line);
        assert_eq!(wrong.is_empty(), good, "the schema of {kind}: {line}\n{wrong:?}");
        let parsed = AgentMessage::parse(line.to_string().as_bytes(), &Limits::default());
        assert_eq!(parsed.is_ok(), good, "{line}");
    }
}

/// What the runtime promises is required of it, and what it never does is refused.
#[test]
fn wrong_frames_of_a_runtime_are_refused() {
    let schemas = Schemas::load();
    let (job, session) = ("job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E", "sess_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E");
    let at = "2026-05-13T19:42:13.000001Z";
    let envelope = |kind: &str, payload: Value| {
        json!({
            "arcp": "1.1", "id": "msg_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E", "type": kind, "session_id": session, "job_id": job,
            "event_seq": 1, "payload": payload
        })
    };
    let good = [
        envelope("job.event", json!({ "kind": "log", "ts": at, "job_id": job, "body": {} })),
        envelope(
            "job.result",
            json!({ "job_id": job, "final_status": "success", "result": null, "completed_at": at }),
        ),
        envelope(
            "job.error",
            json!({ "job_id": job, "final_status": "error", "code": "TIMEOUT", "message": "m", "retryable": false, "completed_at": at }),
        ),
    ];
    for frame in &good {
        schemas.accept(&format!("runtime/{}.json", frame["type"].as_str().unwrap()), frame);
    }
    for (which, pointer, value) in [
        (0, "/event_seq", json!(0)),
        (0, "/event_seq", Value::Null),
        (0, "/id", json!("01J8ZQ5R8M3X4Y5Z6A7B8C9D0E")),
        (0, "/session_id", json!("sess_01j8zq5r8m3x4y5z6a7b8c9d0e")),
        (0, "/job_id", json!("job_I")),
        (0, "/payload/kind", json!("banana")),
        (0, "/payload/ts", json!("2026-05-13T19:42:13")),
        (0, "/payload/body", json!([])),
        (1, "/payload/final_status", json!("done")),
        (1, "/payload/completed_at", Value::Null),
        (
            1,
            "/payload",
            json!({ "job_id": job, "final_status": "success", "completed_at": at, "result_id": "res_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E" }),
        ),
        (2, "/payload/final_status", json!("success")),
        (2, "/payload/code", json!("OOPS")),
        (2, "/payload/message", json!("")),
        (2, "/payload/retryable", Value::Null),
    ] {
        let mut frame = good[which].clone();
        *frame.pointer_mut(pointer).unwrap() = value;
        let path = format!("runtime/{}.json", frame["type"].as_str().unwrap());
        assert!(!schemas.wrong(&path, &frame).is_empty(), "{pointer} of {frame}");
    }
    for whole in &good {
        let path = format!("runtime/{}.json", whole["type"].as_str().unwrap());
        for field in ["arcp", "id", "type", "session_id", "job_id", "event_seq", "payload"] {
            let mut frame = whole.clone();
            frame.as_object_mut().unwrap().remove(field);
            assert!(!schemas.wrong(&path, &frame).is_empty(), "without {field}: {frame}");
        }
    }
}
