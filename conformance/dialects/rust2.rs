//! The Rust crate 2.0.0, by what it was captured to send. Its reader dies of a word, a code or an id that it does not
//! know, so every frame that the daemon sends it is held against all of its requirements.

use std::time::Duration;

use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::fixture::{Client, World};
use crate::readers::rust2::{Rust2, legible};
use crate::replay::replay;

const CAPTURED: &str = include_str!("captured/rust2.jsonl");

#[tokio::test(start_paused = true)]
async fn what_was_captured_gets_what_the_client_can_read() {
    let told = replay(CAPTURED, Rust2::default).await;
    assert_eq!(
        told,
        [
            "1 refused UNAUTHENTICATED",
            "2 refused UNAUTHENTICATED",
            "3 accepted",
            "3 ended job.completed",
            "4 refused NOT_FOUND",
            "5 refused AGENT_VERSION_NOT_AVAILABLE",
            "6 accepted",
            "6 ended PERMISSION_DENIED",
            "7 accepted",
            "7 ended job.completed",
            "8 accepted",
            "8 ended job.cancelled",
            "9 accepted",
            "9 ended job.cancelled",
            "10 refused cancel",
            "13 accepted",
            "14 accepted",
            "14 ended job.completed",
            "14 accepted",
            "14 ended job.completed",
            "15 accepted",
            "15 ended job.completed",
            "15 refused FAILED_PRECONDITION",
            "16 accepted",
            "18 accepted",
            "18 ended job.completed",
            "19 refused UNIMPLEMENTED",
            "19 refused UNIMPLEMENTED",
            "13 ended job.completed",
            "16 ended job.completed",
            "17 ended job.completed"
        ]
    );
}

/// The crate's half: numbers its requests as it does, and takes nothing that it would die of.
struct Crate {
    client: Client,
    session: String,
    sent: u32,
}

impl Crate {
    /// What its `authenticate` sends.
    fn opens(world: &World, token: &str, capabilities: Value) -> Crate {
        let mut opened = Crate { client: world.client(), session: String::new(), sent: 0 };
        opened.ask(
            "session.open",
            json!({
                "auth": { "scheme": "bearer", "token": token },
                "client": { "kind": "interop", "version": "2.0.0" },
                "capabilities": capabilities
            }),
        );
        opened
    }

    /// A session as its applications have it.
    async fn open(world: &World, token: &str) -> Crate {
        let mut opened = Crate::opens(
            world,
            token,
            json!({ "streaming": true, "artifacts": true, "subscriptions": true }),
        );
        opened.accepted().await;
        opened
    }

    /// One whose results come whole.
    async fn whole(world: &World, token: &str) -> Crate {
        let mut opened = Crate::opens(world, token, json!({ "subscriptions": true }));
        opened.accepted().await;
        opened
    }

    async fn accepted(&mut self) -> Value {
        let accepted = self.takes("session.accepted").await;
        self.session = accepted["session_id"].as_str().unwrap().into();
        assert_eq!(accepted["payload"]["session_id"], accepted["session_id"]);
        accepted
    }

    fn id(&mut self) -> String {
        self.sent += 1;
        format!("msg_01M7VY1V4SSWHDAVR0ZV{:06}", self.sent)
    }

    /// Sends a request; returns its id.
    fn ask(&mut self, word: &str, payload: Value) -> String {
        self.ask_with(word, payload, &json!({}))
    }

    /// Sends a request with more in its envelope.
    fn ask_with(&mut self, word: &str, payload: Value, beside: &Value) -> String {
        let id = self.id();
        let mut frame = json!({
            "arcp": "1.1", "id": id, "timestamp": "2026-11-20T07:34:35.417889428Z", "type": word, "payload": payload
        });
        if !self.session.is_empty() {
            frame["session_id"] = json!(self.session);
        }
        for (field, value) in beside.as_object().unwrap() {
            frame[field] = value.clone();
        }
        self.client.send(&frame);
        id
    }

    /// The next frame, which has to be of this word.
    async fn takes(&mut self, word: &str) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["type"], word, "{frame}");
        frame
    }

    async fn frame(&mut self) -> Value {
        let frame = self.client.frame().await;
        legible(&frame).unwrap_or_else(|wrong| panic!("the crate dies of this ({wrong}): {frame}"));
        if frame["type"] != "session.rejected" && !self.session.is_empty() {
            assert_eq!(frame["session_id"], self.session, "{frame}");
        }
        frame
    }

    /// The next frame, which has to be of this word and answer this request.
    async fn answer(&mut self, request: &str, word: &str) -> Value {
        let frame = self.takes(word).await;
        assert_eq!(frame["correlation_id"], request, "{frame}");
        frame["payload"].clone()
    }

    /// `tool.invoke` as its `invoke` sends it, up to what its `JobHandle` is made of.
    async fn invoke(&mut self, tool: &str, arguments: Value) -> (String, String) {
        let request = self.ask("tool.invoke", json!({ "tool": tool, "arguments": arguments }));
        let job = self.begun(&request).await;
        (request, job)
    }

    async fn begun(&mut self, request: &str) -> String {
        let accepted = self.answer(request, "job.accepted").await;
        self.answer(request, "job.started").await;
        accepted["job_id"].as_str().unwrap().into()
    }

    /// `subscribe` as the crate sends it; returns the subscription.
    async fn subscribe(&mut self, filter: Value) -> String {
        let request = self.ask("subscribe", json!({ "filter": filter }));
        let accepted = self.takes("subscribe.accepted").await;
        let id = accepted["payload"]["subscription_id"].as_str().unwrap().to_owned();
        assert_eq!(
            (&accepted["correlation_id"], &accepted["subscription_id"]),
            (&json!(request), &json!(id))
        );
        id
    }

    /// The next frame, which has to tell this subscription of something.
    async fn told(&mut self, subscription: &str) -> Value {
        let event = self.takes("subscribe.event").await;
        assert_eq!(event["subscription_id"], subscription, "{event}");
        event["payload"]["event"].clone()
    }

    /// Everything asked before is done, and nothing else came of it.
    async fn barrier(&mut self) {
        let request = self.ask("ping", json!({ "nonce": "barrier" }));
        assert_eq!(self.answer(&request, "pong").await, json!({}));
    }
}

#[tokio::test(start_paused = true)]
async fn the_handshake() {
    let world = World::new();
    let offered = json!({ "streaming": true, "artifacts": true, "durable_jobs": true, "interrupt": false });
    let mut alice = Crate::opens(&world, "tok-a", offered);
    let accepted = alice.accepted().await;
    assert!(accepted["correlation_id"].as_str().unwrap().ends_with("000001"), "{accepted}");
    let payload = &accepted["payload"];
    assert_eq!(payload["runtime"]["kind"], "arcpd");
    assert!(payload["runtime"]["version"].is_string());
    let mut capabilities = payload["capabilities"].clone();
    let agents = capabilities.as_object_mut().unwrap().remove("agents").unwrap();
    let both = json!({ "streaming": true, "artifacts": false, "durable_jobs": true, "interrupt": false });
    assert_eq!(capabilities, both, "what it asked about, and no more");
    let echo = agents.as_array().unwrap().iter().find(|agent| agent["name"] == "echo").unwrap();
    assert_eq!(echo, &json!({ "name": "echo", "versions": ["1.0.0", "2.0.0"], "default": "2.0.0" }));
    // A second one changes nothing.
    let again = alice.ask(
        "session.open",
        json!({ "auth": { "scheme": "bearer" }, "client": { "kind": "x", "version": "1" } }),
    );
    assert_eq!(alice.answer(&again, "nack").await["code"], "INVALID_ARGUMENT");
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_handshake_is_a_rejection_without_a_session() {
    let world = World::new();
    let mut wrong = Crate::opens(&world, "definitely-wrong", json!({}));
    let rejected = wrong.takes("session.rejected").await;
    assert_eq!(rejected["payload"]["code"], "UNAUTHENTICATED");
    assert!(rejected.get("session_id").is_none() && rejected["correlation_id"].is_string(), "{rejected}");
    wrong.client.ended().await;
    // It has schemes without a token.
    let mut nobody = Crate { client: world.client(), session: String::new(), sent: 0 };
    nobody.ask(
        "session.open",
        json!({ "auth": { "scheme": "none" }, "client": { "kind": "x", "version": "1" } }),
    );
    assert_eq!(nobody.takes("session.rejected").await["payload"]["code"], "UNAUTHENTICATED");
    // What is wrong is told without what it was: it may be a secret in the wrong place.
    let mut odd = Crate { client: world.client(), session: String::new(), sent: 0 };
    odd.ask(
        "session.open",
        json!({ "auth": { "scheme": ["tok-a"] }, "client": { "kind": "x", "version": "1" } }),
    );
    let rejected = odd.takes("session.rejected").await;
    assert_eq!(rejected["payload"]["code"], "INVALID_ARGUMENT");
    assert!(!rejected.to_string().contains("tok-a"), "{rejected}");
}

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
async fn what_the_daemon_does_not_do_is_refused_and_the_session_goes_on() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    for (word, payload) in [
        ("artifact.put", json!({ "media_type": "text/plain", "data": "aGVsbG8=" })),
        ("artifact.fetch", json!({ "artifact_id": "art_01M7VY1WZWS4X9AKSTNBR8C4PB" })),
        ("artifact.release", json!({ "artifact_id": "art_01M7VY1WZWS4X9AKSTNBR8C4PB" })),
        ("stream.open", json!({ "kind": "text" })),
        ("interrupt", json!({ "target": "job", "target_id": "job_1", "prompt": "?" })),
        ("arcpx.example.v1", json!({ "hello": "world" })),
    ] {
        let request = alice.ask(word, payload);
        assert_eq!(alice.answer(&request, "nack").await["code"], "UNIMPLEMENTED", "{word}");
    }
    // What it may say of its own accord is heard.
    for (word, payload) in
        [("ack", json!({})), ("nack", json!({ "code": "OK", "message": "m" })), ("pong", json!({}))]
    {
        alice.ask(word, payload);
    }
    alice
        .client
        .send(&json!({ "arcp": "1.1", "id": "7", "timestamp": "2026-11-20T07:34:35Z", "type": "ping" }));
    let odd = alice.takes("nack").await;
    assert_eq!((&odd["payload"]["code"], odd.get("correlation_id")), (&json!("INVALID_ARGUMENT"), None));
    alice.client.send(&json!("no envelope"));
    alice.takes("nack").await;
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_session_is_observed_and_acknowledged() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let mut other = Crate::open(&world, "tok-a").await;
    let mut bob = Crate::open(&world, "tok-b").await;
    let (_, job) = alice.invoke("puppet", json!({})).await;
    world.puppets.log(&job, "1").await.unwrap();
    alice.takes("log").await;
    let foreign = bob.ask("job.subscribe", json!({ "job_id": job }));
    assert_eq!(bob.answer(&foreign, "nack").await["code"], "NOT_FOUND");
    let request = other.ask("job.subscribe", json!({ "job_id": job, "history": true }));
    let subscribed = other.answer(&request, "job.subscribed").await;
    let expected = json!({
        "job_id": job, "current_status": "running", "agent": "puppet@1.0.0", "subscribed_from": 0, "replayed": true
    });
    assert_eq!(subscribed, expected);
    let seen = other.takes("log").await;
    assert_eq!((&seen["job_id"], seen.get("correlation_id")), (&json!(job), None));
    other.ask("session.ack", json!({ "last_processed_seq": seen["event_seq"] }));
    let ahead = other.ask("session.ack", json!({ "last_processed_seq": 99 }));
    assert_eq!(other.answer(&ahead, "nack").await["code"], "INVALID_ARGUMENT");
    other.ask("job.unsubscribe", json!({ "job_id": job }));
    other.barrier().await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    alice.takes("job.completed").await;
    // It is over now, and can still be looked at.
    let request = other.ask("job.subscribe", json!({ "job_id": job, "history": true, "from_event_seq": 1 }));
    assert_eq!(other.answer(&request, "job.subscribed").await["current_status"], "completed");
    assert_eq!(other.takes("job.completed").await["payload"]["value"], 1);
    other.barrier().await;
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
async fn a_close_ends_the_connection_without_a_word_and_leaves_the_jobs() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (_, job) = alice.invoke("puppet", json!({})).await;
    alice.ask("session.close", json!({}));
    alice.client.ended().await;
    let mut later = Crate::open(&world, "tok-a").await;
    let request = later.ask("session.list_jobs", json!({}));
    let jobs = later.answer(&request, "session.jobs").await;
    assert_eq!((&jobs["jobs"][0]["job_id"], &jobs["jobs"][0]["status"]), (&json!(job), &json!("running")));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_sees_the_jobs_of_its_principal_whoever_began_them() {
    let world = World::new();
    let mut watching = Crate::open(&world, "tok-a").await;
    let mut alice = Crate::open(&world, "tok-a").await;
    let mut bob = Crate::open(&world, "tok-b").await;
    let (_, running) = alice.invoke("puppet", json!({})).await;
    world.puppets.log(&running, "before").await.unwrap();
    alice.takes("log").await;
    let all = watching.subscribe(json!({})).await;
    let (_, foreign) = bob.invoke("puppet", json!({})).await;
    // One that lives is told of from now on, a later one from its beginning.
    world.puppets.log(&running, "after").await.unwrap();
    let told = watching.told(&all).await;
    assert_eq!((&told["type"], &told["payload"]["message"]), (&json!("log"), &json!("after")));
    assert_eq!(told["job_id"], json!(running));
    alice.takes("log").await;
    let (_, later) = alice.invoke("puppet", json!({})).await;
    world.puppets.log(&foreign, "bob's").await.unwrap();
    world.puppets.finish(&foreign, json!(1)).await.unwrap();
    for word in ["job.accepted", "job.started"] {
        let told = watching.told(&all).await;
        assert_eq!((&told["type"], &told["job_id"]), (&json!(word), &json!(later)));
        assert!(told.get("correlation_id").is_none() && told.get("session_id").is_none(), "{told}");
    }
    world.puppets.finish(&later, json!({ "n": 1 })).await.unwrap();
    let told = watching.told(&all).await;
    assert_eq!((&told["type"], &told["payload"]), (&json!("job.completed"), &json!({ "value": { "n": 1 } })));
    // Its own come twice: as the answers to their requests, and as what happens.
    let (request, own) = watching.invoke("puppet", json!({})).await;
    for word in ["job.accepted", "job.started"] {
        let told = watching.told(&all).await;
        assert_eq!((&told["type"], &told["correlation_id"]), (&json!(word), &json!(request)));
        assert_eq!(told["session_id"], json!(watching.session));
    }
    world.puppets.finish(&own, json!(2)).await.unwrap();
    assert_eq!(watching.answer(&request, "job.completed").await["value"], 2);
    assert_eq!(watching.told(&all).await["type"], "job.completed");
    watching.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_told_what_they_asked_for_until_they_are_given_up() {
    let world = World::new();
    let mut watching = Crate::open(&world, "tok-a").await;
    let mut alice = Crate::open(&world, "tok-a").await;
    let (_, first) = alice.invoke("puppet", json!({})).await;
    let (_, second) = alice.invoke("puppet", json!({})).await;
    let ends = watching.subscribe(json!({ "types": ["job.completed", "job.failed"] })).await;
    let one = watching.subscribe(json!({ "job_id": [second], "min_priority": "normal" })).await;
    let own = watching.subscribe(json!({ "session_id": [watching.session] })).await;
    for nothing in [
        json!({ "types": ["stream.chunk"] }),
        json!({ "stream_id": ["str_1"] }),
        json!({ "min_priority": "high" }),
        json!({ "trace_id": ["t"] }),
    ] {
        watching.subscribe(nothing).await;
    }
    world.puppets.log(&first, "x").await.unwrap();
    world.puppets.log(&second, "y").await.unwrap();
    assert_eq!(watching.told(&one).await["payload"]["message"], "y");
    world.puppets.finish(&first, json!(1)).await.unwrap();
    assert_eq!(watching.told(&ends).await["job_id"], json!(first));
    watching.ask("unsubscribe", json!({ "subscription_id": ends }));
    watching.barrier().await;
    world.puppets.finish(&second, json!(2)).await.unwrap();
    assert_eq!(watching.told(&one).await["type"], "job.completed");
    let (request, _) = watching.invoke("echo", json!(3)).await;
    for word in ["job.accepted", "job.started"] {
        assert_eq!(watching.told(&own).await["type"], word);
    }
    watching.answer(&request, "job.completed").await;
    assert_eq!(watching.told(&own).await["type"], "job.completed");
    let gone = watching.ask("unsubscribe", json!({ "subscription_id": ends }));
    assert_eq!(watching.answer(&gone, "nack").await["code"], "INVALID_ARGUMENT");
}

#[tokio::test(start_paused = true)]
async fn without_subscriptions_nothing_is_followed() {
    let world = World::new();
    let mut watching = Crate::open(&world, "tok-a").await;
    let mut alice = Crate::open(&world, "tok-a").await;
    let all = watching.subscribe(json!({})).await;
    watching.ask("unsubscribe", json!({ "subscription_id": all }));
    watching.barrier().await;
    let (request, job) = alice.invoke("echo", json!(1)).await;
    alice.answer(&request, "job.completed").await;
    watching.barrier().await;
    // The next one begins with what happens then.
    let again = watching.subscribe(json!({ "types": ["job.completed"] })).await;
    assert_ne!(again, all);
    let (_, later) = alice.invoke("echo", json!(2)).await;
    assert_ne!(later, job);
    assert_eq!(watching.told(&again).await["job_id"], json!(later));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_kept_is_refused_or_closed() {
    let limits = Limits { generic_subscriptions: 2, attachments_per_session: 2, ..Limits::default() };
    let world = World::built(|builder| builder.limits(limits));
    let mut watching = Crate::open(&world, "tok-a").await;
    for (payload, code) in [
        (json!({ "filter": {}, "since": { "after_message_id": "msg_1" } }), "UNIMPLEMENTED"),
        (json!({ "filter": { "session_id": ["sess_01M7VY1VMME4C9AEXWEBQE3T4B"] } }), "UNIMPLEMENTED"),
        (json!({ "filter": { "types": "job.completed" } }), "INVALID_ARGUMENT"),
    ] {
        let request = watching.ask("subscribe", payload);
        assert_eq!(watching.answer(&request, "nack").await["code"], code);
    }
    let first = watching.subscribe(json!({ "types": ["job.completed"] })).await;
    let second = watching.subscribe(json!({})).await;
    let third = watching.ask("subscribe", json!({ "filter": {} }));
    let refused = watching.answer(&third, "nack").await;
    assert_eq!(
        (&refused["code"], &refused["details"]["limit"]),
        (&json!("RESOURCE_EXHAUSTED"), &json!("generic_subscriptions"))
    );
    // More jobs than a session may follow: its subscriptions end, and say so.
    let mut alice = Crate::open(&world, "tok-a").await;
    let mut other = Crate::open(&world, "tok-a").await;
    alice.invoke("puppet", json!({})).await;
    alice.invoke("puppet", json!({})).await;
    for _ in 0..4 {
        watching.told(&second).await;
    }
    other.invoke("puppet", json!({})).await;
    for subscription in [first, second] {
        let closed = watching.takes("subscribe.closed").await;
        assert_eq!(closed["subscription_id"], json!(subscription));
        assert_eq!(closed["payload"]["code"], "RESOURCE_EXHAUSTED", "{closed}");
    }
    watching.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_right_behind_an_accepted_subscription_waits_until_the_client_has_it() {
    let world = World::new();
    let mut alice = Crate::open(&world, "tok-a").await;
    let (_, job) = alice.invoke("puppet", json!({})).await;
    let request = alice.ask("subscribe", json!({ "filter": { "types": ["log"] } }));
    world.puppets.log(&job, "at once").await.unwrap();
    alice.answer(&request, "subscribe.accepted").await;
    let accepted = tokio::time::Instant::now();
    alice.takes("log").await;
    alice.takes("subscribe.event").await;
    assert!(accepted.elapsed() >= Duration::from_millis(20), "{:?}", accepted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_is_told_as_an_eviction() {
    let limits = Limits { lag_signal_events: 3, lag_detach_events: 6, ..Limits::default() };
    let world = World::built(|builder| builder.limits(limits));
    let mut alice = Crate::open(&world, "tok-a").await;
    let (_, job) = alice.invoke("puppet", json!({})).await;
    world.puppets.log(&job, "1").await.unwrap();
    let seq = alice.takes("log").await["event_seq"].clone();
    alice.ask("session.ack", json!({ "last_processed_seq": seq }));
    alice.barrier().await;
    for n in 2..20 {
        world.puppets.log(&job, &n.to_string()).await.unwrap();
    }
    let evicted = loop {
        let frame = alice.frame().await;
        if frame["type"] == "session.evicted" {
            break frame;
        }
    };
    assert_eq!(evicted["payload"]["code"], "RESOURCE_EXHAUSTED", "{evicted}");
    alice.client.ended().await;
}
