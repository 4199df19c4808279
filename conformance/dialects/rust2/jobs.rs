//! Invocations of the Rust crate: their jobs, events and ends, each filed under its request.

use std::time::Duration;

use serde_json::{Value, json};

use super::Crate;
use crate::fixture::World;

#[tokio::test(start_paused = true)]
async fn a_job_is_filed_under_the_request_that_began_it() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (request, job) = alice.invoke("echo", json!({ "msg": "hi", "n": 1 })).await;
    let end = alice.takes("job.completed").await;
    assert_eq!((&end["correlation_id"], &end["job_id"]), (&json!(request), &json!(job)));
    assert_eq!(
        (&end["payload"], &end["event_seq"]),
        (&json!({ "value": { "msg": "hi", "n": 1 } }), &json!(1))
    );
    // Versions, and arguments of any sort.
    for (tool, arguments) in
        [("echo@1.0.0", json!(null)), ("echo@2.0.0", json!([1, "é", 2.5])), ("echo", json!("x"))]
    {
        let (request, _) = alice.invoke(tool, arguments.clone()).await;
        let value = alice.answer(&request, "job.completed").await.get("value").cloned();
        assert_eq!(value.unwrap_or_default(), arguments);
    }
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn refused_invocations_fail_for_their_request_and_touch_no_other() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (running, job) = alice.invoke("puppet", json!({})).await;
    for (tool, code) in [
        ("no-such-tool", "NOT_FOUND"),
        ("echo@99.0.0", "AGENT_VERSION_NOT_AVAILABLE"),
        ("Not A Tool", "INVALID_ARGUMENT"),
    ] {
        let request = alice.ask("tool.invoke", json!({ "tool": tool, "arguments": {} }));
        let failed = alice.takes("job.failed").await;
        assert_eq!(failed["correlation_id"], request, "{failed}");
        assert_eq!(
            (&failed["payload"]["code"], &failed["payload"]["retryable"]),
            (&json!(code), &json!(false))
        );
        assert!(failed.get("job_id").is_none() && failed.get("event_seq").is_none(), "{failed}");
    }
    world.puppets.finish(&job, json!("whole")).await.unwrap();
    assert_eq!(alice.answer(&running, "job.completed").await["value"], "whole");
}

#[tokio::test(start_paused = true)]
async fn whatever_an_agent_says_has_a_word() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (request, job) = alice.invoke("puppet", json!({})).await;
    for (kind, body, word, payload) in [
        (
            "progress",
            json!({ "current": 1, "total": 4, "message": "m" }),
            "job.progress",
            json!({ "percent": 25.0, "current": 1.0, "total": 4.0, "message": "m" }),
        ),
        ("progress", json!({ "current": 3 }), "job.progress", json!({ "current": 3.0 })),
        (
            "progress",
            json!({ "current": 9, "total": 3 }),
            "job.progress",
            json!({ "percent": 100.0, "current": 9.0, "total": 3.0 }),
        ),
        (
            "log",
            json!({ "level": "INFO", "message": "x" }),
            "log",
            json!({ "level": "info", "message": "x" }),
        ),
        (
            "log",
            json!({ "level": "warning", "message": "x" }),
            "log",
            json!({ "level": "warn", "message": "x" }),
        ),
        (
            "log",
            json!({ "level": "loud", "message": "x" }),
            "log",
            json!({ "level": "info", "message": "x", "attributes": { "level": "loud" } }),
        ),
        (
            "metric",
            json!({ "name": "cost.tool", "value": 0.25, "unit": "USD", "dimensions": { "a": 1 } }),
            "metric",
            json!({ "name": "cost.tool", "value": 0.25, "unit": "USD", "dims": { "a": 1 } }),
        ),
        (
            "metric",
            json!({ "name": "n", "value": 3 }),
            "metric",
            json!({ "name": "n", "value": 3.0, "unit": "" }),
        ),
        (
            "thought",
            json!({ "text": "t" }),
            "event.emit",
            json!({ "name": "thought", "data": { "text": "t" } }),
        ),
        (
            "tool_call",
            json!({ "tool": "t", "args": {}, "call_id": "c" }),
            "event.emit",
            json!({ "name": "tool_call", "data": { "tool": "t", "args": {}, "call_id": "c" } }),
        ),
        (
            "status",
            json!({ "phase": "p" }),
            "event.emit",
            json!({ "name": "status", "data": { "phase": "p" } }),
        ),
        (
            "x-vendor.k",
            json!({ "a": [1] }),
            "event.emit",
            json!({ "name": "x-vendor.k", "data": { "a": [1] } }),
        ),
    ] {
        world.puppets.say(&job, "job.event", json!({ "kind": kind, "body": body })).await.unwrap();
        assert_eq!(alice.answer(&request, word).await, payload, "{kind}");
    }
    // A span is one where it has everything that the crate wants of it.
    let beside = json!({ "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736" });
    let traced = alice.ask_with("tool.invoke", json!({ "tool": "puppet", "arguments": 1 }), &beside);
    let span_job = alice.begun(&traced).await;
    let mut span =
        json!({ "span_id": "00f067aa0ba902b7", "name": "plan", "start_at": "2026-11-20T07:34:37Z" });
    for word in ["event.emit", "trace.span"] {
        let body = json!({ "kind": "trace_span", "body": span });
        world.puppets.say(&span_job, "job.event", body).await.unwrap();
        let told = alice.answer(&traced, word).await;
        assert_eq!(if word == "trace.span" { &told["name"] } else { &told["data"]["name"] }, "plan");
        span["end_at"] = json!("2026-11-20T07:34:38Z");
    }
    // What its parser cannot hold is left out rather than sent.
    let line = r#"{"type":"job.event","payload":{"kind":"thought","body":{"text":"t","n":1e999}}}"#;
    world.puppets.line(&job, line).await.unwrap();
    assert_eq!(alice.answer(&request, "event.emit").await, json!({ "name": "thought" }));
    world.puppets.line(&job, r#"{"type":"job.result","payload":{"result":{"s":"\ud800"}}}"#).await.unwrap();
    world.puppets.leave(&job);
    let end = alice.answer(&request, "job.completed").await;
    assert!(end.get("value").is_none() && end["summary"].is_string(), "{end}");
}

#[tokio::test(start_paused = true)]
async fn every_code_of_an_agent_is_told_in_the_crates_own() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    for (ours, theirs) in [
        ("PERMISSION_DENIED", "PERMISSION_DENIED"),
        ("LEASE_SUBSET_VIOLATION", "LEASE_SUBSET_VIOLATION"),
        ("JOB_NOT_FOUND", "NOT_FOUND"),
        ("DUPLICATE_KEY", "FAILED_PRECONDITION"),
        ("AGENT_NOT_AVAILABLE", "NOT_FOUND"),
        ("AGENT_VERSION_NOT_AVAILABLE", "AGENT_VERSION_NOT_AVAILABLE"),
        ("TIMEOUT", "DEADLINE_EXCEEDED"),
        ("RESUME_WINDOW_EXPIRED", "DATA_LOSS"),
        ("HEARTBEAT_LOST", "HEARTBEAT_LOST"),
        ("LEASE_EXPIRED", "LEASE_EXPIRED"),
        ("BUDGET_EXHAUSTED", "BUDGET_EXHAUSTED"),
        ("INVALID_REQUEST", "INVALID_ARGUMENT"),
        ("UNAUTHENTICATED", "UNAUTHENTICATED"),
        ("INTERNAL_ERROR", "INTERNAL"),
    ] {
        let (request, _) = alice.invoke("failer", json!({ "code": ours, "message": "m" })).await;
        let failed = alice.answer(&request, "job.failed").await;
        assert_eq!((&failed["code"], &failed["message"]), (&json!(theirs), &json!("m")), "{failed}");
        assert!(failed["retryable"].is_boolean(), "{failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_answered_and_its_job_ends_once() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (request, job) = alice.invoke("sleeper", json!({ "ms": 8000 })).await;
    let cancelling = json!({ "target": "job", "target_id": job, "reason": "user", "deadline_ms": 5000 });
    let cancel = alice.ask("cancel", cancelling.clone());
    assert_eq!(alice.answer(&cancel, "cancel.accepted").await, json!({ "target_id": job }));
    let end = alice.answer(&request, "job.cancelled").await;
    assert!(end["reason"].is_string(), "{end}");
    let late = alice.ask("cancel", cancelling);
    assert_eq!(alice.answer(&late, "cancel.refused").await["target_id"], json!(job));
    for (target, id) in
        [("job", "job_01M7VY1W0AFFECZYK9R19TBRM6"), ("stream", "str_1"), ("session", "sess_1")]
    {
        let cancel = alice.ask("cancel", json!({ "target": target, "target_id": id }));
        assert_eq!(alice.answer(&cancel, "cancel.refused").await["target_id"], json!(id));
    }
    let odd = alice.ask("cancel", json!({ "target": "moon", "target_id": "x" }));
    assert_eq!(alice.answer(&odd, "nack").await["code"], "INVALID_ARGUMENT");
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_in_their_own_words_and_an_idle_client_is_left_alone() {
    let world = World::built(|builder| builder.heartbeat_interval(Duration::from_secs(1)));
    let mut alice = Crate::open(&world, "tok-a").await;
    let first = alice.ask("session.ping", json!({ "nonce": "p_1", "sent_at": "2026-05-13T19:42:13Z" }));
    let second = alice.ask("ping", json!({ "nonce": "n" }));
    let third = alice.ask("ping", json!({}));
    assert_eq!(alice.answer(&first, "session.pong").await["ping_nonce"], "p_1");
    for request in [second, third] {
        assert_eq!(alice.answer(&request, "pong").await, json!({}));
    }
    let nameless = alice.ask("session.ping", json!({ "sent_at": "2026-05-13T19:42:13Z" }));
    assert_eq!(alice.answer(&nameless, "nack").await["code"], "INVALID_ARGUMENT");
    tokio::time::sleep(Duration::from_secs(10)).await;
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_in_its_words() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (done, _) = alice.invoke("echo", json!(1)).await;
    alice.answer(&done, "job.completed").await;
    // Jobs are listed by the milliseconds in which they began.
    let next = || tokio::time::sleep(Duration::from_millis(2));
    next().await;
    let (failed, _) = alice.invoke("failer", json!({})).await;
    alice.answer(&failed, "job.failed").await;
    next().await;
    let (_, running) = alice.invoke("puppet", json!({})).await;
    world.puppets.log(&running, "x").await.unwrap();
    alice.takes("log").await;
    let words = |jobs: &Value| -> Vec<Value> {
        jobs["jobs"].as_array().unwrap().iter().map(|job| job["status"].clone()).collect()
    };
    for (filter, expected) in [
        (json!({}), json!(["running", "failed", "completed"])),
        (json!({ "status": ["running"] }), json!(["running"])),
        (json!({ "status": ["failed", "completed"] }), json!(["failed", "completed"])),
        (json!({ "status": ["blocked"] }), json!([])),
        (json!({ "agent": "echo" }), json!(["completed"])),
        (json!({ "agent": "echo@1.0.0" }), json!([])),
        (json!({ "created_after": "2001-01-01T00:00:00Z" }), json!(["running", "failed", "completed"])),
    ] {
        let request = alice.ask("session.list_jobs", json!({ "filter": filter }));
        let jobs = alice.answer(&request, "session.jobs").await;
        assert_eq!((&json!(words(&jobs)), &jobs["request_id"]), (&expected, &json!(request)), "{filter}");
    }
    let request = alice.ask("session.list_jobs", json!({ "limit": 1 }));
    let page = alice.answer(&request, "session.jobs").await;
    let row = page["jobs"][0].as_object().unwrap();
    let mut fields: Vec<&str> = row.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["agent", "created_at", "job_id", "last_event_seq", "status"]);
    assert_eq!((&row["agent"], &row["last_event_seq"]), (&json!("puppet@1.0.0"), &json!(1)));
    let request = alice.ask("session.list_jobs", json!({ "limit": 1, "cursor": page["next_cursor"] }));
    assert_eq!(words(&alice.answer(&request, "session.jobs").await), ["failed"]);
    let request = alice.ask("session.list_jobs", json!({ "filter": { "status": ["pending"] } }));
    assert_eq!(alice.answer(&request, "nack").await["code"], "INVALID_ARGUMENT");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_invocation_is_the_same_job_and_each_of_its_requests_is_told() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let key = json!({ "idempotency_key": "req-42" });
    let invoke = json!({ "tool": "puppet", "arguments": { "a": 1 } });
    let first = alice.ask_with("tool.invoke", invoke.clone(), &key);
    let job = alice.begun(&first).await;
    world.puppets.log(&job, "before").await.unwrap();
    alice.answer(&first, "log").await;
    let second = alice.ask_with("tool.invoke", invoke.clone(), &key);
    assert_eq!(alice.begun(&second).await, job);
    world.puppets.log(&job, "both").await.unwrap();
    let copies = [alice.takes("log").await, alice.takes("log").await];
    assert_eq!(copies.clone().map(|copy| copy["correlation_id"].clone()), [json!(first), json!(second)]);
    assert_eq!(copies[0]["event_seq"], copies[1]["event_seq"]);
    assert_ne!(copies[0]["id"], copies[1]["id"]);
    let conflict = json!({ "tool": "puppet", "arguments": { "a": 2 } });
    let conflict = alice.ask_with("tool.invoke", conflict, &key);
    assert_eq!(alice.answer(&conflict, "job.failed").await["code"], "FAILED_PRECONDITION");
    world.puppets.finish(&job, json!("end")).await.unwrap();
    for request in [&first, &second] {
        assert_eq!(alice.answer(request, "job.completed").await, json!({ "value": "end" }));
    }
    let third = alice.ask_with("tool.invoke", invoke, &key);
    assert_eq!(alice.begun(&third).await, job);
    assert_eq!(alice.answer(&third, "job.completed").await, json!({ "value": "end" }));
    alice.barrier().await;
    let odd = alice.ask_with(
        "tool.invoke",
        json!({ "tool": "echo", "arguments": 1 }),
        &json!({ "idempotency_key": 7 }),
    );
    assert_eq!(alice.answer(&odd, "job.failed").await["code"], "INVALID_ARGUMENT");
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_may_wait_for_a_job_are_told_so() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let key = json!({ "idempotency_key": "k" });
    let invoke = json!({ "tool": "puppet", "arguments": {} });
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let request = alice.ask_with("tool.invoke", invoke.clone(), &key);
        alice.begun(&request).await;
        waiting.push(request);
    }
    let over = alice.ask_with("tool.invoke", invoke, &key);
    let job = alice.answer(&over, "job.accepted").await["job_id"].as_str().unwrap().to_owned();
    assert_eq!(alice.answer(&over, "job.failed").await["code"], "RESOURCE_EXHAUSTED");
    world.puppets.finish(&job, json!(1)).await.unwrap();
    for request in waiting {
        alice.answer(&request, "job.completed").await;
    }
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_asked_for_and_told_in_its_fields() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let asked = json!({
        "cost_budget": ["USD:1"], "model_use": ["tier-fast/*"], "expires_at": "2099-01-01T00:00:00Z",
        "fs.read": ["/x"]
    });
    let payload =
        json!({ "tool": "echo", "arguments": {}, "cost_budget": ["USD:9"], "lease_request": asked });
    let request = alice.ask("tool.invoke", payload);
    let lease = alice.answer(&request, "job.accepted").await["lease"].clone();
    let granted = json!({
        "cost_budget": ["USD:1"], "model_use": ["tier-fast/*"], "expires_at": "2099-01-01T00:00:00.000000Z",
        "fs.read": ["/x"]
    });
    assert_eq!(lease, granted);
    alice.takes("job.started").await;
    alice.answer(&request, "job.completed").await;
    let old = alice.ask("tool.invoke", json!({ "tool": "echo", "arguments": {}, "cost_budget": ["USD:9"] }));
    assert_eq!(alice.answer(&old, "job.accepted").await["lease"], json!({ "cost_budget": ["USD:9"] }));
    alice.takes("job.started").await;
    alice.answer(&old, "job.completed").await;
    for wrong in [
        json!({ "cost_budget": ["USD:-1"] }),
        json!({ "model_use": ["x"], "model.use": ["y"] }),
        json!({ "expires_at": "2001-01-01T00:00:00Z" }),
        json!({ "expires_at": "soon" }),
        json!({ "other": 7 }),
    ] {
        let request =
            alice.ask("tool.invoke", json!({ "tool": "echo", "arguments": {}, "lease_request": wrong }));
        assert_eq!(alice.answer(&request, "job.failed").await["code"], "INVALID_ARGUMENT", "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn results_come_whole_unless_streaming_is_asked_for() {
    let world = World::new();
    let mut whole = Crate::whole(&world, "tok-a").await;
    let text = json!({ "encoding": "utf8", "chunks": 2, "chunk_bytes": 4 });
    let (request, _) = whole.invoke("chunker", text.clone()).await;
    assert_eq!(whole.answer(&request, "job.completed").await["value"], "abcdefgh");
    let large = json!({ "encoding": "utf8", "chunks": 10, "chunk_bytes": 524_288 });
    let (request, _) = whole.invoke("chunker", large).await;
    let end = whole.answer(&request, "job.completed").await;
    assert!(end.get("value").is_none() && end["result_id"].is_string(), "{end}");
    assert_eq!(end["result_size"], 10 * 524_288);
    let (request, _) = whole.invoke("echo", json!("x".repeat(700_000))).await;
    assert_eq!(whole.answer(&request, "job.completed").await["value"].as_str().unwrap().len(), 700_000);

    let mut streaming = Crate::open(&world, "tok-a").await;
    let (request, _) = streaming.invoke("chunker", text).await;
    let (mut chunks, mut more) = (Vec::new(), true);
    while more {
        let chunk = streaming.answer(&request, "job.result_chunk").await;
        assert_eq!((&chunk["chunk_seq"], &chunk["encoding"]), (&json!(chunks.len()), &json!("utf8")));
        more = chunk["more"].as_bool().unwrap();
        chunks.push(chunk);
    }
    let data: String = chunks.iter().map(|chunk| chunk["data"].as_str().unwrap()).collect();
    assert_eq!(data, "abcdefgh");
    let end = streaming.answer(&request, "job.completed").await;
    assert!(end.get("value").is_none() && end["result_id"] == chunks[0]["result_id"], "{end}");
    assert_eq!(end["result_size"], 8);
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_cannot_be_read_fails_for_its_request() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let mut deep = json!(1);
    for _ in 0..80 {
        deep = json!([deep]);
    }
    let request = alice.ask("tool.invoke", json!({ "tool": "echo", "arguments": deep }));
    assert_eq!(alice.answer(&request, "job.failed").await["code"], "INVALID_ARGUMENT");
    let (request, _) = alice.invoke("echo", json!(1)).await;
    alice.answer(&request, "job.completed").await;
}
