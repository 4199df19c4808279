//! Input that must not hurt: a clear error to its sender, and nothing else changes. Over every carrier.

use arcpd::wire::limits::{ENVELOPE_HEADROOM_BYTES, Limits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::common::peer::{FEATURES, PATIENCE, Peer, frame, hello};
use crate::fixture::{World, websocket};

/// What is sent, whether its refusal can name it, and what the refusal's message contains.
type Case = (Vec<u8>, Id, &'static str);

/// `Some` where the refusal has to name the request.
type Id = Option<&'static str>;

fn case(text: impl Into<String>, id: Id, names: &'static str) -> Case {
    (text.into().into_bytes(), id, names)
}

/// A request with one field of its envelope replaced.
fn envelope(field: &str, value: Value) -> String {
    let mut request = frame("a", "job.submit", json!({ "agent": "echo" }));
    request[field] = value;
    request.to_string()
}

fn request(kind: &str, payload: Value) -> String {
    frame("a", kind, payload).to_string()
}

fn nested(depth: usize) -> String {
    // The envelope and its payload are two of them.
    let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
    format!(
        r#"{{"arcp":"1.1","id":"a","type":"job.submit","payload":{{"agent":"echo","input":{open}{close}}}}}"#
    )
}

fn no_json() -> Vec<Case> {
    let keys: String = (0..10_000).map(|n| format!("\"k{n}\":0,")).collect();
    vec![
        case(r#"{"arcp":"1.1","id":"a","type":"job.su"#, Some("a"), "not an envelope"),
        case(
            r#"{"arcp":"1.1","id":"a","type":"session.ping","payload":{"nonce":"n"}}}"#,
            Some("a"),
            "not an envelope",
        ),
        case("hello", None, "not an envelope"),
        case("[]", None, "not an envelope"),
        case(r#"["a"]"#, None, "not an envelope"),
        case("42", None, "not an envelope"),
        case("null", None, "not an envelope"),
        case(r#""a""#, None, "not an envelope"),
        (b"{\"arcp\":\"1.1\",\"id\":\"a\xff\"}".to_vec(), None, "UTF-8"),
        case(r#"{"id":"a","id":"b"}"#, Some("a"), "twice"),
        case(format!("{{{keys}\"id\":\"a\"}}"), Some("a"), "at most 64"),
        case(nested(65), Some("a"), "nests deeper than 64"),
        case(nested(100_000), Some("a"), "nests deeper than 64"),
        case("[".repeat(1_000_000), None, "nests deeper than 64"),
        case("{\"a\":".repeat(200_000), None, "nests deeper than 64"),
    ]
}

fn wrong_envelopes() -> Vec<Case> {
    let long = || json!("x".repeat(1_000_000));
    let mut cases: Vec<Case> = Vec::new();
    for field in ["arcp", "type", "session_id", "trace_id", "job_id"] {
        for value in [json!(7), json!([]), json!({}), json!(true)] {
            cases.push(case(envelope(field, value), Some("a"), "expected a string"));
        }
    }
    for id in [json!(7), json!([]), json!({})] {
        cases.push(case(envelope("id", id), None, "expected a string"));
    }
    for id in [json!(""), json!("a\u{0}"), json!("a\n"), json!("\u{85}"), json!("x".repeat(129)), Value::Null]
    {
        cases.push(case(envelope("id", id), None, "id: "));
    }
    for payload in [json!("{}"), json!([]), json!(7), json!(false)] {
        cases.push(case(envelope("payload", payload), Some("a"), "payload: expected an object"));
    }
    for version in [json!("1.0"), json!("2.0"), json!(""), json!("1.1 "), long()] {
        cases.push(case(envelope("arcp", version), Some("a"), "arcp: this runtime speaks"));
    }
    for kind in [json!("job.fly"), json!(""), json!("JOB.SUBMIT"), json!("session.welcome"), long()] {
        cases.push(case(envelope("type", kind), Some("a"), "type: this runtime knows no message"));
    }
    for seq in [json!(5), json!(0), json!(-1), json!("5"), json!([1])] {
        cases.push(case(envelope("event_seq", seq), Some("a"), "event_seq: only the runtime numbers"));
    }
    cases.push(case(envelope("session_id", long()), Some("a"), "session_id: "));
    cases.push(case(envelope("session_id", json!("sess_x")), Some("a"), "session_id: "));
    cases.push(case(envelope("job_id", json!("a\u{7}")), Some("a"), "job_id: "));
    cases.push(case(envelope("trace_id", long()), Some("a"), "trace_id: "));
    cases.push(case(envelope("id", long()), None, "id: "));
    cases.push(case(r#"{"arcp":"1.1","id":"a"}"#, Some("a"), "type: missing"));
    cases
}

fn wrong_payloads() -> Vec<Case> {
    let long = || json!("x".repeat(1_000_000));
    let submit = |field: &str, value: Value| {
        let mut payload = json!({ "agent": "echo" });
        payload[field] = value;
        request("job.submit", payload)
    };
    let mut cases: Vec<Case> = Vec::new();
    for (field, names, values) in [
        (
            "agent",
            "payload.agent",
            vec![json!(7), json!(["echo"]), json!(""), json!("e@@"), Value::Null, long()],
        ),
        (
            "lease_request",
            "lease_request",
            vec![json!(7), json!([]), json!("x"), json!({ "fs.read": [7] }), long()],
        ),
        (
            "lease_constraints",
            "lease_constraints",
            vec![json!(7), json!([]), json!({ "expires_at": 7 }), long()],
        ),
        ("idempotency_key", "idempotency_key", vec![json!(7), json!([]), json!("k".repeat(10_240)), long()]),
        (
            "max_runtime_sec",
            "max_runtime_sec",
            vec![
                json!(0),
                json!(-1),
                json!(1.5),
                json!(1e300),
                json!(u64::MAX),
                json!("9"),
                json!([]),
                long(),
            ],
        ),
    ] {
        cases.extend(values.into_iter().map(|value| case(submit(field, value), Some("a"), names)));
    }
    let wrong = |kind: &str, field: &str, value: Value| request(kind, json!({ field: value }));
    for (kind, field, values) in [
        ("session.ping", "nonce", vec![json!(7), json!(""), json!("n\u{0}"), long()]),
        ("session.pong", "ping_nonce", vec![json!(7), Value::Null]),
        (
            "session.ack",
            "last_processed_seq",
            vec![json!(-1), json!(u64::MAX), json!(1e300), json!("1"), Value::Null, long()],
        ),
        (
            "session.list_jobs",
            "filter",
            vec![json!([]), json!(7), json!({ "status": long() }), json!({ "agent": long() })],
        ),
        ("session.list_jobs", "limit", vec![json!(0), json!(-1), json!("1"), long()]),
        ("session.list_jobs", "cursor", vec![json!(7), json!("x"), long()]),
        ("session.close", "reason", vec![json!(7), json!([])]),
        ("job.cancel", "job_id", vec![json!(7), json!(""), Value::Null, long()]),
        ("job.subscribe", "job_id", vec![json!([]), json!("\n"), Value::Null, long()]),
        ("job.unsubscribe", "job_id", vec![json!({}), Value::Null, long()]),
        ("session.hello", "auth", vec![json!("tok-a"), json!(["bearer", "tok-a"]), json!({ "token": 7 })]),
        ("session.resume", "resume_token", vec![json!(7), Value::Null]),
    ] {
        cases.extend(values.into_iter().map(|value| case(wrong(kind, field, value), Some("a"), field)));
    }
    cases.push(case(request("session.hello", hello("tok-a", FEATURES)), Some("a"), "a second hello"));
    cases
}

/// A session with a job in it, and another one that watches the job.
struct Bystanders {
    world: World,
    sender: Peer,
    watcher: Peer,
    job: String,
    events: u64,
}

impl Bystanders {
    async fn new(world: World, mut sender: Peer) -> Self {
        let mut watcher = world.alice().await;
        let job = sender.submit(json!({ "agent": "puppet" })).await;
        watcher.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
        Bystanders { world, sender, watcher, job, events: 0 }
    }

    async fn survive(&mut self, (bytes, id, names): Case) {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        // Each has an id of its own, so that it is refused for what is wrong with it.
        let own = format!("a{}", self.events);
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => text.replacen(r#""id":"a""#, &format!(r#""id":"{own}""#), 1).into_bytes(),
            Err(no_text) => no_text.into_bytes(),
        };
        self.sender.send_raw(bytes);
        let error = self.sender.expect("session.error").await;
        let payload = &error["payload"];
        assert_eq!(payload.get("request_id"), id.map(|_| json!(own)).as_ref(), "{shown}: {payload}");
        assert_eq!(payload.get("reply_to"), payload.get("request_id"), "{shown}");
        assert_eq!(payload["code"], "INVALID_REQUEST", "{shown}: {payload}");
        assert_eq!(payload["retryable"], false, "{shown}");
        let message = payload["message"].as_str().unwrap();
        assert!(message.contains(names), "{shown}: {message}");
        assert!(message.chars().count() <= 1_024, "{shown}: {} characters", message.len());
        self.events += 1;
        self.world.puppets.log(&self.job, &self.events.to_string()).await.unwrap();
        for peer in [&mut self.sender, &mut self.watcher] {
            let event = peer.numbered().await;
            assert_eq!(event["payload"]["body"]["message"], self.events.to_string(), "after {shown}");
        }
    }

    async fn finish(mut self) {
        self.world.puppets.finish(&self.job, json!("unhurt")).await.unwrap();
        for peer in [&mut self.sender, &mut self.watcher] {
            assert_eq!(peer.end_of(&self.job).await["payload"]["result"], "unhurt");
            peer.barrier().await;
            let jobs = peer.ask("session.list_jobs", json!({}), "session.jobs").await;
            assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "nothing of it became a job");
        }
    }
}

fn patient() -> World {
    World::with(Limits { refusals_per_sec: u32::MAX, ..Limits::default() })
}

async fn survive_all(world: World, sender: Peer) {
    let mut bystanders = Bystanders::new(world, sender).await;
    for case in no_json().into_iter().chain(wrong_envelopes()).chain(wrong_payloads()) {
        bystanders.survive(case).await;
    }
    bystanders.finish().await;
}

#[tokio::test]
async fn bad_input_hurts_nobody_over_memory() {
    let world = patient();
    let sender = world.alice().await;
    survive_all(world, sender).await;
}

#[tokio::test]
async fn bad_input_hurts_nobody_over_lines() {
    let world = patient();
    let sender = Peer::welcomed(world.lines(1 << 16), "tok-a", FEATURES).await;
    survive_all(world, sender).await;
}

#[tokio::test]
async fn bad_input_hurts_nobody_over_websocket() {
    let world = patient();
    let sender = Peer::welcomed(websocket(world.listen().await).await, "tok-a", FEATURES).await;
    let mut bystanders = Bystanders::new(world, sender).await;
    let all = no_json().into_iter().chain(wrong_envelopes()).chain(wrong_payloads());
    // Text that is no UTF-8 is no WebSocket message: it ends the connection, which is another test's subject.
    for case in all.filter(|(bytes, ..)| std::str::from_utf8(bytes).is_ok()) {
        bystanders.survive(case).await;
    }
    bystanders.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_looks_bad_and_is_not_is_served() {
    let world = World::new();
    let mut alice = Peer::welcomed(world.lines(1 << 20), "tok-a", FEATURES).await;
    let long = "é\u{1f600}\"\\".repeat(100_000);
    let job = alice.submit(json!({ "agent": "echo", "input": long })).await;
    let frames = alice.until_end(&job).await;
    let text: String = frames.iter().filter_map(|f| f["payload"]["body"]["data"].as_str()).collect();
    assert_eq!(
        serde_json::from_str::<String>(&text).unwrap(),
        long,
        "by chunks, as it is too large for a frame"
    );
    let many: serde_json::Map<String, Value> = (0..10_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let mut payload = json!({ "agent": "echo", "input": many.clone() });
    payload.as_object_mut().unwrap().extend(many.iter().map(|(k, v)| (k.clone(), v.clone())));
    let job = alice.submit(payload).await;
    assert_eq!(alice.end_of(&job).await["payload"]["result"], Value::Object(many));
    alice.send_raw(nested(64));
    let job = alice.expect("job.accepted").await["job_id"].as_str().unwrap().to_owned();
    alice.end_of(&job).await;
    alice.send_raw("  \r\n\n \t ");
    let mut odd = frame("ñ\"\\", "job.submit", json!({ "agent": "echo", "x": 1 }));
    odd["x-unknown"] = json!({ "y": [null] });
    odd["event_seq"] = Value::Null;
    odd["session_id"] = Value::Null;
    alice.send_raw(odd.to_string());
    let accepted = alice.expect("job.accepted").await;
    assert_eq!(accepted["payload"]["request_id"], "ñ\"\\");
    alice.end_of(accepted["job_id"].as_str().unwrap()).await;
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_id_is_refused_and_its_first_use_stands() {
    let world = World::new();
    let mut alice = world.alice().await;
    alice.send_raw(frame("twice", "job.submit", json!({ "agent": "puppet" })).to_string());
    let job = alice.expect("job.accepted").await["job_id"].as_str().unwrap().to_owned();
    for (kind, payload) in [
        ("job.submit", json!({ "agent": "puppet" })),
        ("job.cancel", json!({ "job_id": job })),
        ("session.list_jobs", json!({})),
    ] {
        alice.send_raw(frame("twice", kind, payload).to_string());
        let error = alice.refused("twice", "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains("used before"), "{error}");
    }
    world.puppets.finish(&job, json!(1)).await.unwrap();
    assert_eq!(alice.end_of(&job).await["type"], "job.result");
}

#[tokio::test(start_paused = true)]
async fn long_words_come_back_short_enough_for_a_frame() {
    let world = World::new();
    let mut alice = Peer::welcomed(world.lines(1 << 20), "tok-a", FEATURES).await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    // As much as a frame holds.
    let bare = frame("long", "job.cancel", json!({ "job_id": job, "reason": "" })).to_string().len();
    let reason = "r".repeat(Limits::default().frame_bytes - bare);
    alice.send_raw(frame("long", "job.cancel", json!({ "job_id": job, "reason": reason })).to_string());
    let cancelled = alice.expect("job.cancelled").await;
    assert_eq!(cancelled["payload"]["reason"], "r".repeat(1_024));
    let end = alice.end_of(&job).await;
    assert_eq!(end["payload"]["message"], format!("cancelled: {}", "r".repeat(1_024)));

    alice.send("session.close", json!({ "reason": "c".repeat(1_040_000) }));
    assert_eq!(alice.expect("session.closed").await["payload"]["reason"], "c".repeat(1_024));
    alice.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_taken_up_to_what_can_be_echoed_in_a_frame() {
    let world = World::with(Limits { frame_bytes: 10_000, ..Limits::default() });
    let mut alice = Peer::welcomed(world.lines(1 << 16), "tok-a", FEATURES).await;
    // The longest id there is, which comes back twice.
    let id = |n: u32| format!("{n}{}", "𝄞".repeat(127));
    let lease = |bytes: usize| {
        let bare = json!({ "fs.read": ["x".repeat(4_000), ""] }).to_string().len();
        json!({ "fs.read": ["x".repeat(4_000), "é".repeat((bytes - bare) / 2) + &"y".repeat((bytes - bare) % 2)] })
    };
    let most = 10_000 - ENVELOPE_HEADROOM_BYTES;
    for (n, bytes) in [(1, most + 1), (2, 9_300)] {
        let submit = json!({ "agent": "puppet", "lease_request": lease(bytes) });
        alice.send_raw(frame(&id(n), "job.submit", submit).to_string());
        let error = alice.refused(&id(n), "INVALID_REQUEST").await;
        let message =
            format!("payload.lease_request: expected at most {most} bytes, got {bytes}; it is echoed");
        assert_eq!(error["message"], message);
    }
    let mut submit = frame(&id(3), "job.submit", json!({ "agent": "puppet", "lease_request": lease(most) }));
    submit["trace_id"] = json!("4bf92f3577b34da6a3ce929d0e0e4736");
    alice.send_raw(submit.to_string());
    let accepted = alice.expect("job.accepted").await;
    assert_eq!(accepted["payload"]["lease"], lease(most));
    alice.send_raw(frame(&id(4), "session.list_jobs", json!({})).to_string());
    assert_eq!(alice.expect("session.jobs").await["payload"]["jobs"][0]["lease"], lease(most));
    let ask = json!({ "job_id": accepted["job_id"] });
    alice.send_raw(frame(&id(5), "job.subscribe", ask).to_string());
    assert_eq!(alice.expect("job.subscribed").await["payload"]["lease"], lease(most));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_answered_at_a_bounded_rate_and_only_the_sender_waits() {
    let world = World::with(Limits { refusals_per_sec: 5, ..Limits::default() });
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    let start = Instant::now();
    for n in 0..20 {
        alice.send_raw(frame(&format!("bad{n}"), "session.fly", json!({})).to_string());
    }
    // The sixth is answered too, and then its sender has to wait: its events come, its requests are not read.
    for n in 0..6 {
        alice.refused(&format!("bad{n}"), "INVALID_REQUEST").await;
    }
    assert_eq!(start.elapsed().as_millis(), 0, "the time is paused: nothing waited so far");
    world.puppets.log(&job, "meanwhile").await.unwrap();
    alice.numbered().await;
    other.barrier().await;
    let echo = other.submit(json!({ "agent": "echo" })).await;
    other.end_of(&echo).await;
    assert_eq!(start.elapsed().as_millis(), 0);
    let mut seconds = Vec::new();
    for n in 6..20 {
        alice.refused(&format!("bad{n}"), "INVALID_REQUEST").await;
        seconds.push(start.elapsed().as_secs());
    }
    assert_eq!(seconds, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3], "none is lost, none is early");
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_no_to_what_makes_sense_makes_nobody_wait() {
    let world = World::with(Limits { refusals_per_sec: 5, ..Limits::default() });
    let mut alice = world.alice().await;
    let start = Instant::now();
    for n in 0..300 {
        alice.send_raw(frame(&format!("no{n}"), "job.submit", json!({ "agent": "nosuch" })).to_string());
    }
    for n in 0..300 {
        alice.refused(&format!("no{n}"), "AGENT_NOT_AVAILABLE").await;
    }
    let echo = alice.submit(json!({ "agent": "echo" })).await;
    alice.end_of(&echo).await;
    assert_eq!(start.elapsed().as_millis(), 0, "clients give up on a submit after five seconds");
}

#[tokio::test(start_paused = true)]
async fn a_line_over_the_limit_costs_that_line() {
    let world = World::with(Limits { frame_bytes: 100_000, refusals_per_sec: 1_000, ..Limits::default() });
    let sender = Peer::welcomed(world.lines(1 << 16), "tok-a", FEATURES).await;
    let mut bystanders = Bystanders::new(world, sender).await;
    let message = "expected a frame of at most 100000 bytes";
    for size in [100_001, 200_000, 5_000_000] {
        bystanders.survive((vec![b'x'; size], None, message)).await;
    }
    let exact = frame("a", "session.fly", json!({ "pad": "" })).to_string().len();
    let fits = frame("a", "session.fly", json!({ "pad": "x".repeat(100_000 - 1 - exact) })).to_string();
    // Its own id makes it one longer.
    assert_eq!(fits.len(), 99_999);
    bystanders.survive(case(fits, Some("a"), "session.fly")).await;
    bystanders.finish().await;
}

#[tokio::test]
async fn a_websocket_frame_over_the_limit_ends_the_connection_and_nothing_else() {
    let world = World::with(Limits { frame_bytes: 100_000, ..Limits::default() });
    let address = world.listen().await;
    let mut sender = Peer::welcomed(websocket(address).await, "tok-a", FEATURES).await;
    let mut watcher = world.alice().await;
    let job = sender.submit(json!({ "agent": "puppet" })).await;
    watcher.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
    sender.send_raw(vec![b'x'; 100_001]);
    let error = sender.expect("session.error").await;
    assert_eq!(error["payload"]["code"], "INVALID_REQUEST");
    assert_eq!(error["payload"]["message"], "expected a frame of at most 100000 bytes");
    sender.ended().await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    watcher.end_of(&job).await;
    let token = sender.token.clone().unwrap();
    let mut again = Peer::resumed(websocket(address).await, &token, 0).await;
    again.end_of(&job).await;
    again.barrier().await;
}

/// A WebSocket client without a library: it can send what no library would.
struct RawSocket(TcpStream);

impl RawSocket {
    async fn open(address: std::net::SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let offer = "GET /arcp HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.write_all(offer.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        RawSocket(socket)
    }

    /// Sends a frame whose mask changes nothing.
    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode];
        match u16::try_from(payload.len()).unwrap() {
            short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                bytes.push(0x80 | 126);
                bytes.extend(long.to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        self.0.write_all(&bytes).await.unwrap();
    }

    /// The next frame: its opcode and payload; none at the end.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(PATIENCE, async {
            let opcode = self.0.read_u8().await.ok()? & 0x0f;
            let size = match self.0.read_u8().await.ok()? {
                126 => usize::from(self.0.read_u16().await.ok()?),
                127 => usize::try_from(self.0.read_u64().await.ok()?).unwrap(),
                short => usize::from(short),
            };
            let mut payload = vec![0; size];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((opcode, payload))
        })
        .await
        .expect("nothing came in time")
    }

    async fn json(&mut self, kind: &str) -> Value {
        let (opcode, payload) = self.next().await.unwrap();
        assert_eq!(opcode, 1, "text");
        let value: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(value["type"], kind, "{value}");
        value
    }

    /// A refusal of what was no request, a close with this code, and nothing more.
    async fn told_and_closed(&mut self, names: &str, code: u16) {
        let error = self.json("session.error").await;
        assert_eq!(error["payload"]["code"], "INVALID_REQUEST");
        assert!(error["payload"]["message"].as_str().unwrap().contains(names), "{error}");
        let (opcode, close) = self.next().await.expect("it is told why");
        assert_eq!((opcode, &close[..2]), (8, &code.to_be_bytes()[..]), "{close:?}");
        assert_eq!(self.next().await, None);
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_told_before_the_close_and_before_the_hello_too() {
    let address = World::new().listen().await;
    let first = frame("h", "session.hello", hello("tok-a", &[])).to_string();
    for welcomed in [true, false] {
        for (opcode, payload, names, code) in [
            (1, &b"\xff\xfe"[..], "UTF-8", 1007),
            (3, b"{}", "WebSocket protocol", 1002),
            (0, b"{}", "WebSocket protocol", 1002),
        ] {
            let mut raw = RawSocket::open(address).await;
            if welcomed {
                raw.send(1, first.as_bytes()).await;
                raw.json("session.welcome").await;
            }
            raw.send(opcode, payload).await;
            raw.told_and_closed(names, code).await;
        }
    }
}

#[tokio::test]
async fn a_binary_frame_costs_that_frame_and_broken_text_its_connection() {
    let world = World::new();
    let address = world.listen().await;
    let mut raw = RawSocket::open(address).await;
    let first = frame("h", "session.hello", hello("tok-a", &["heartbeat", "list_jobs"]));
    raw.send(1, first.to_string().as_bytes()).await;
    let token = raw.json("session.welcome").await["payload"]["resume_token"].as_str().unwrap().to_owned();
    raw.send(1, frame("s", "job.submit", json!({ "agent": "puppet" })).to_string().as_bytes()).await;
    let job = raw.json("job.accepted").await["job_id"].as_str().unwrap().to_owned();

    raw.send(2, frame("b", "job.cancel", json!({ "job_id": job })).to_string().as_bytes()).await;
    let error = raw.json("session.error").await;
    let message = "expected a text frame with one JSON object, got a binary frame";
    assert_eq!(error["payload"]["message"], message);
    world.puppets.log(&job, "unhurt").await.unwrap();
    assert_eq!(raw.json("job.event").await["event_seq"], 1);

    raw.send(1, b"{\"id\":\"\xff\"}").await;
    raw.told_and_closed("UTF-8", 1007).await;
    let mut again = Peer::resumed(websocket(address).await, &token, 1).await;
    world.puppets.finish(&job, json!(1)).await.unwrap();
    again.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_before_the_hello_is_answered_once() {
    let world = World::new();
    let mut peer = Peer::over(world.runtime.connect());
    for _ in 0..200 {
        peer.send_raw("x");
    }
    peer.expect("session.error").await;
    peer.ended().await;
    world.alice().await.barrier().await;
}
