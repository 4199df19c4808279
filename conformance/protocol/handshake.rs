//! The first frames of a connection (§6.1–6.3), and how it ends (§6.7).

use std::time::Duration;

use arcpd::transport::CloseReason;
use arcpd::wire::limits::Limits;
use arcpd::wire::time::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::peer::{FEATURES, Peer, frame, hello};
use crate::fixture::{World, anonymous, fields};

/// Opens a connection with this text and returns the one frame that refuses it; the connection is closed then.
async fn turned_away(world: &World, first: impl Into<String>) -> Value {
    let mut peer = Peer::over(world.runtime.connect());
    peer.send_raw(first.into());
    let refusal = peer.expect("session.error").await;
    peer.ended().await;
    assert!(refusal["session_id"].as_str().unwrap().starts_with("sess_"), "{refusal}");
    assert_eq!(refusal["payload"]["retryable"], false, "{refusal}");
    refusal
}

#[tokio::test(start_paused = true)]
async fn a_welcome_has_every_field_of_the_superset() {
    let world = World::built(|b| b.resume_window(Duration::from_secs(77)));
    let mut peer = Peer::over(world.runtime.connect());
    peer.send_raw(frame("h1", "session.hello", hello("tok-a", FEATURES)).to_string());
    let welcome = peer.welcome().await;
    assert_eq!(fields(&welcome), ["arcp", "id", "payload", "session_id", "type"]);
    assert_eq!(welcome["arcp"], "1.1");
    assert!(welcome["id"].as_str().unwrap().starts_with("msg_"));
    assert!(welcome["session_id"].as_str().unwrap().starts_with("sess_"));
    let payload = &welcome["payload"];
    assert_eq!(
        fields(payload),
        [
            "accepted_at",
            "capabilities",
            "heartbeat_interval_sec",
            "resume_token",
            "resume_window_sec",
            "runtime",
            "runtime_name",
            "runtime_version",
            "session_id"
        ]
    );
    assert_eq!(payload["session_id"], welcome["session_id"]);
    assert_eq!(payload["runtime"], json!({ "name": "arcpd", "version": env!("CARGO_PKG_VERSION") }));
    assert_eq!(payload["runtime_name"], "arcpd");
    assert_eq!(payload["runtime_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(payload["resume_window_sec"], 77);
    assert_eq!(payload["heartbeat_interval_sec"], 30);
    assert_eq!(payload["resume_token"].as_str().unwrap().len(), "rt_".len() + 64, "256 bits in hex");
    Timestamp::parse(payload["accepted_at"].as_str().unwrap()).unwrap();
    let capabilities = &payload["capabilities"];
    assert_eq!(fields(capabilities), ["agents", "encodings", "features"]);
    assert_eq!(capabilities["encodings"], json!(["json"]));
    assert_eq!(capabilities["features"], json!(FEATURES));
    let one = |name: &str| json!({ "name": name, "versions": ["1.0.0"], "default": "1.0.0" });
    assert_eq!(
        capabilities["agents"],
        json!([
            one("chunker"),
            { "name": "echo", "versions": ["1.0.0", "2.0.0"], "default": "2.0.0" },
            one("failer"),
            one("puppet"),
            one("sleeper"),
            one("spender"),
            one("ticker"),
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn features_are_what_both_sides_know_and_nothing_outside_them_is_used() {
    let world = World::new();
    let mut peer = Peer::over(world.runtime.connect());
    peer.send("session.hello", hello("tok-a", &["ack", "cost.budget", "x-nonsense", "ack"]));
    let welcome = peer.welcome().await;
    assert_eq!(welcome["payload"]["capabilities"]["features"], json!(["ack"]), "each once, and only ours");
    assert!(welcome["payload"].get("heartbeat_interval_sec").is_none(), "heartbeats were not negotiated");
    for (kind, payload, feature) in [
        ("session.list_jobs", json!({}), "list_jobs"),
        ("job.subscribe", json!({ "job_id": "job_x" }), "subscribe"),
        ("job.unsubscribe", json!({ "job_id": "job_x" }), "subscribe"),
    ] {
        let error = peer.ask_in_vain(kind, payload, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains(feature), "{kind}: {error}");
    }
    let error = peer.ask_in_vain("job.submit", json!({ "agent": "echo@1.0.0" }), "INVALID_REQUEST").await;
    assert!(error["message"].as_str().unwrap().contains("agent_versions"), "{error}");
    // Published clients ping without having asked for heartbeats, and wait for the answer.
    peer.barrier().await;
    let job = peer.submit(json!({ "agent": "echo", "input": 1 })).await;
    assert_eq!(peer.end_of(&job).await["payload"]["result"], 1);
    let newest = peer.last_seq;
    peer.send("session.ack", json!({ "last_processed_seq": newest }));
    let error = peer.ask_in_vain("session.nothing", json!({}), "INVALID_REQUEST").await;
    assert!(error["message"].as_str().unwrap().contains("session.nothing"), "the ack was taken: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_bare_hello_gets_a_session_without_features() {
    let world = World::new();
    let mut peer = Peer::over(world.runtime.connect());
    peer.send("session.hello", json!({ "auth": { "scheme": "Bearer", "token": "tok-a" } }));
    let welcome = peer.welcome().await;
    assert_eq!(welcome["payload"]["capabilities"]["features"], json!([]));
    let odd = json!({ "auth": { "scheme": "bearer", "token": "tok-a" }, "client": { "name": "c" },
        "capabilities": { "encodings": ["cbor"], "agents": 7, "x": {} }, "x-more": [1] });
    let mut peer = Peer::over(world.runtime.connect());
    peer.send("session.hello", odd);
    peer.welcome().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_let_in_is_told_the_same_and_nothing_else() {
    let world = World::new();
    let mut answers = Vec::new();
    for auth in [
        json!({ "scheme": "bearer", "token": "tok-c" }),
        json!({ "scheme": "bearer", "token": "" }),
        json!({ "scheme": "bearer", "token": "alice" }),
        json!({ "scheme": "basic", "token": "tok-a" }),
        json!({ "scheme": "", "token": "tok-a" }),
        Value::Null,
    ] {
        let mut payload = hello("tok-a", FEATURES);
        payload["auth"] = auth;
        let refusal = turned_away(&world, frame("h1", "session.hello", payload).to_string()).await;
        assert_eq!(refusal["payload"]["request_id"], "h1");
        assert_eq!(refusal["payload"]["code"], "UNAUTHENTICATED");
        answers.push(anonymous(&refusal));
    }
    let missing = frame("h1", "session.hello", json!({ "capabilities": { "features": ["ack"] } }));
    answers.push(anonymous(&turned_away(&world, missing.to_string()).await));
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    let text = answers[0].to_string();
    for leak in ["echo", "alice", "tok-", "puppet"] {
        assert!(!text.contains(leak), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_never_comes_is_not_waited_for() {
    let world = World::with(Limits { hello_timeout_ms: 50, ..Limits::default() });
    let mut peer = Peer::over(world.runtime.connect());
    let refusal = peer.expect("session.error").await;
    assert_eq!(refusal["payload"]["code"], "INVALID_REQUEST");
    assert_eq!(refusal["payload"]["message"], "expected session.hello within 50 ms");
    assert!(refusal["payload"].get("request_id").is_none(), "{refusal}");
    peer.ended().await;
}

#[tokio::test(start_paused = true)]
async fn anything_else_before_the_hello_is_refused_and_starts_nothing() {
    let world = World::new();
    let mut answers = Vec::new();
    for (kind, payload) in [
        ("session.ping", json!({ "nonce": "n" })),
        ("session.list_jobs", json!({})),
        ("session.ack", json!({ "last_processed_seq": 0 })),
        ("session.close", json!({})),
        ("job.submit", json!({ "agent": "echo" })),
        ("job.submit", json!({ "agent": "no-such-agent" })),
        ("job.cancel", json!({ "job_id": "job_x" })),
        ("job.subscribe", json!({ "job_id": "job_x" })),
        ("job.unsubscribe", json!({ "job_id": "job_x" })),
    ] {
        let refusal = turned_away(&world, frame("f1", kind, payload).to_string()).await;
        assert_eq!(refusal["payload"]["code"], "INVALID_REQUEST");
        assert_eq!(refusal["payload"]["request_id"], "f1");
        answers.push(anonymous(&refusal));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let mut alice = world.alice().await;
    let jobs = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert_eq!(jobs["jobs"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_first_frame_that_is_no_request_is_refused() {
    let world = World::new();
    for (first, names) in [
        ("", "envelope"),
        ("{", "envelope"),
        ("[]", "envelope"),
        ("42", "envelope"),
        ("\u{feff}{}", "envelope"),
        ("{}", "id"),
        (r#"{"arcp":"1.1","id":"a"}"#, "type"),
        (r#"{"arcp":"2.0","id":"a","type":"session.hello","payload":{}}"#, "arcp"),
        (r#"{"id":"a","type":"session.hello","payload":{}}"#, "arcp"),
        (r#"{"arcp":"1.1","id":"a","type":"session.fly","payload":{}}"#, "session.fly"),
        (r#"{"arcp":"1.1","id":"a","type":"session.hello","payload":[]}"#, "payload"),
        (r#"{"arcp":"1.1","id":"a","type":"session.hello","payload":{"auth":7}}"#, "payload.auth"),
        (r#"{"arcp":"1.1","id":"a","type":"session.resume","payload":{}}"#, "resume_token"),
        (
            r#"{"arcp":"1.1","id":"a","type":"session.resume","payload":{"resume_token":"t","last_event_seq":-2}}"#,
            "last_event_seq",
        ),
    ] {
        let refusal = turned_away(&world, first).await;
        assert_eq!(refusal["payload"]["code"], "INVALID_REQUEST", "{first}");
        assert!(refusal["payload"]["message"].as_str().unwrap().contains(names), "{first}: {refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_in_the_wrong_place_is_not_quoted() {
    let world = World::new();
    for (field, value, expected) in [
        ("auth", json!("tok-secret"), "payload.auth: expected an object"),
        ("auth", json!(["bearer", "tok-secret"]), "payload.auth: expected an object"),
        (
            "auth",
            json!({ "scheme": "bearer", "token": ["tok-secret"] }),
            "payload.auth.token: expected a string",
        ),
        ("resume", json!("rt_tok-secret, expected "), "payload.resume: expected an object"),
        ("last_event_seq", json!("tok-secret"), "payload.last_event_seq: expected the last event_seq"),
    ] {
        let mut payload = hello("tok-a", FEATURES);
        payload[field] = value;
        let refusal = turned_away(&world, frame("h1", "session.hello", payload).to_string()).await;
        let message = refusal["payload"]["message"].as_str().unwrap();
        assert!(message.starts_with(expected) && !message.contains("secret"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_frame_over_its_limit_is_refused_whatever_it_says() {
    let world = World::with(Limits { hello_bytes: 512, ..Limits::default() });
    let text = |size: usize| {
        let mut first = frame("h1", "session.hello", hello("tok-a", FEATURES));
        let bare = first.to_string().len() + r#","pad":"""#.len();
        first["pad"] = json!("x".repeat(size - bare));
        let text = first.to_string();
        assert_eq!(text.len(), size);
        text
    };
    let refusal = turned_away(&world, text(513)).await;
    let message = "expected a first frame of at most 512 bytes, got 513";
    assert_eq!(refusal["payload"]["message"], message);
    let mut peer = Peer::over(world.runtime.connect());
    peer.send_raw(text(512));
    peer.welcome().await;
}

/// Sends raw bytes on a WebSocket and reads until the daemon closes.
async fn raw_websocket(world: &World, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(world.listen().await).await.unwrap();
    let offer = "GET /arcp HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(offer.as_bytes()).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    // A close of our own, so that the daemon need not wait for it.
    socket.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(crate::common::peer::PATIENCE, socket.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}

#[tokio::test]
async fn a_binary_first_frame_is_refused_with_the_code_for_broken_rules() {
    let answer = raw_websocket(&World::new(), &[0x82, 0x82, 0, 0, 0, 0, b'{', b'}']).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains(r#""type":"session.error""#), "{text}");
    assert!(text.contains("expected a text frame with one JSON object, got a binary frame"), "{text}");
    let mut close = vec![0x88, 2 + u8::try_from(CloseReason::Policy.as_str().len()).unwrap()];
    close.extend(CloseReason::Policy.code().to_be_bytes());
    close.extend(CloseReason::Policy.as_str().as_bytes());
    assert!(answer.ends_with(&close), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_second_hello_is_refused_and_the_session_goes_on() {
    let world = World::new();
    let mut alice = world.alice().await;
    let token = alice.token.clone().unwrap();
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    alice.ask_in_vain("session.hello", hello("tok-a", FEATURES), "INVALID_REQUEST").await;
    alice.ask_in_vain("session.hello", hello("tok-b", &[]), "INVALID_REQUEST").await;
    let resume = json!({ "resume_token": token, "last_event_seq": 0 });
    alice.ask_in_vain("session.resume", resume, "INVALID_REQUEST").await;
    world.puppets.finish(&job, json!("still here")).await.unwrap();
    assert_eq!(alice.end_of(&job).await["payload"]["result"], "still here");
    let jobs = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert_eq!(jobs["jobs"][0]["job_id"], *job, "it is still alice's session");
}

#[tokio::test(start_paused = true)]
async fn a_resume_is_understood_in_every_form_that_clients_write() {
    let world = World::new();
    let mut alice = world.alice().await;
    let session = alice.session_id.clone().unwrap();
    let job = alice.submit(json!({ "agent": "echo", "input": "x" })).await;
    let end = alice.end_of(&job).await;
    let mut token = alice.token.clone().unwrap();
    drop(alice);
    let auth = json!({ "scheme": "bearer", "token": "tok-a" });
    let forms: [&dyn Fn(&str) -> Value; 6] = [
        &|t| frame("r", "session.resume", json!({ "resume_token": t, "last_event_seq": 0 })),
        &|t| frame("r", "session.resume", json!({ "token": t })),
        &|t| {
            let resume =
                json!({ "resume_token": t, "last_event_seq": 0, "session_id": session, "auth": auth });
            frame("r", "session.resume", resume)
        },
        &|t| {
            let mut payload = hello("tok-a", &[]);
            payload["resume"] = json!({ "session_id": session, "resume_token": t, "last_event_seq": 0 });
            frame("r", "session.hello", payload)
        },
        &|t| {
            let resume = json!({ "resume": { "token": t } });
            frame("r", "session.hello", resume)
        },
        &|t| {
            let mut payload = hello("tok-a", FEATURES);
            payload["resume_token"] = json!(t);
            payload["last_event_seq"] = json!(0);
            payload["session_id"] = json!(session);
            frame("r", "session.hello", payload)
        },
    ];
    for form in forms {
        let mut peer = Peer::over(world.runtime.connect());
        let ask = form(&token);
        peer.send_raw(ask.to_string());
        let welcome = peer.welcome().await;
        assert_eq!(welcome["session_id"], *session, "{ask}");
        let features = &welcome["payload"]["capabilities"]["features"];
        assert_eq!(*features, json!(FEATURES), "fixed at the first welcome: {ask}");
        assert_eq!(peer.numbered().await, end, "the same frame, under the same id: {ask}");
        peer.barrier().await;
        token = peer.token.clone().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_is_answered_and_ends_the_connection_only() {
    for kind in ["session.close", "session.bye"] {
        let world = World::new();
        let mut alice = world.alice().await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        let closed = alice.ask(kind, json!({ "reason": "done for today" }), "session.closed").await;
        assert_eq!(closed["reason"], "done for today");
        alice.ended().await;
        world.puppets.finish(&job, json!(kind)).await.unwrap();
        let token = alice.token.clone().unwrap();
        let mut again = Peer::resumed(world.runtime.connect(), &token, 0).await;
        assert_eq!(again.end_of(&job).await["payload"]["result"], kind, "the job went on");
    }
}

#[tokio::test(start_paused = true)]
async fn another_sessions_id_in_the_envelope_is_refused() {
    let world = World::new();
    let (mut alice, bob) = (world.alice().await, world.bob().await);
    let own = alice.session_id.clone();
    alice.session_id = bob.session_id.clone();
    let error = alice.ask_in_vain("job.submit", json!({ "agent": "echo" }), "INVALID_REQUEST").await;
    assert!(error["message"].as_str().unwrap().starts_with("session_id: "), "{error}");
    alice.session_id = own;
    alice.barrier().await;
}
