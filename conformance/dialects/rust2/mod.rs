//! The Rust crate 2.0.0, by what it was captured to send. Its reader dies of a word, a code or an id that it does not
//! know, so every frame that the daemon sends it is held against all of its requirements.

mod jobs;
mod subscriptions;

use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::fixture::{Client, World};
use crate::readers::rust2::{Rust2, legible};
use crate::replay::replay;

const CAPTURED: &str = include_str!("../captured/rust2.jsonl");

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
