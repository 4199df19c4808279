//! The client against a scripted runtime: expect this frame, send that one.

mod core;
mod handles;
mod outages;
mod sessions;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::transport::{CloseReason, Ended, FrameReader, FrameWriter, Received, Transport};
use crate::wire::id::SessionId;
use crate::wire::session::Token;

/// How long a test waits for what has to come.
const BOUND: Duration = Duration::from_secs(10);

pub(crate) const ALL: &[&str] = &["heartbeat", "ack", "list_jobs", "subscribe", "progress", "result_chunk"];

struct Wire {
    incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Bytes>,
}

struct WireReader(mpsc::Receiver<Bytes>);
struct WireWriter(mpsc::Sender<Bytes>);

impl FrameReader for WireReader {
    async fn receive(&mut self) -> Result<Received, Ended> {
        self.0.recv().await.map(Received::Text).ok_or(Ended::Closed)
    }
}

impl FrameWriter for WireWriter {
    async fn feed(&mut self, frame: Bytes) -> std::io::Result<()> {
        self.0.send(frame).await.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
    async fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    async fn close(&mut self, _: CloseReason) {}
}

impl Transport for Wire {
    type Reader = WireReader;
    type Writer = WireWriter;
    fn split(self) -> (WireReader, WireWriter) {
        (WireReader(self.incoming), WireWriter(self.outgoing))
    }
}

/// The runtime's side of all connections.
pub(crate) struct Server {
    links: mpsc::Receiver<Peer>,
}

/// The runtime's side of one connection; dropping it breaks the connection.
pub(crate) struct Peer {
    incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Bytes>,
    session: SessionId,
}

pub(crate) fn network() -> (impl Connector, Server) {
    let (dialed, links) = mpsc::channel(8);
    let connector = move || {
        let dialed = dialed.clone();
        async move {
            let (to_client, from_server) = mpsc::channel(4_096);
            let (to_server, from_client) = mpsc::channel(4_096);
            let peer = Peer { incoming: from_client, outgoing: to_client, session: SessionId::new(1, 1) };
            dialed.send(peer).await.map_err(|_| DialError("nobody listens".into()))?;
            Ok(Link::new(Wire { incoming: from_server, outgoing: to_server }))
        }
    };
    (connector, Server { links })
}

pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.expect("what the test waits for did not come")
}

impl Server {
    pub(crate) async fn accept(&mut self) -> Peer {
        bounded(self.links.recv()).await.unwrap()
    }

    /// Accepts a connection and its hello.
    pub(crate) async fn greet(&mut self, features: &[&str]) -> Peer {
        let mut peer = self.accept().await;
        peer.expect("session.hello").await;
        peer.welcome("token-1", features).await;
        peer
    }

    /// Accepts a connection and its resume; returns the resume's payload, too.
    pub(crate) async fn resume(&mut self, token: &str) -> (Peer, Value) {
        let mut peer = self.accept().await;
        let frame = peer.expect("session.resume").await;
        peer.welcome(token, ALL).await;
        (peer, frame["payload"].clone())
    }
}

impl Peer {
    pub(crate) async fn frame(&mut self) -> Option<Value> {
        let frame = bounded(self.incoming.recv()).await?;
        Some(serde_json::from_slice(&frame).unwrap())
    }

    /// The next frame, which is of this type; acknowledgements and pings pass.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await.expect("the client hung up");
            let got = frame["type"].as_str().unwrap();
            if got == kind {
                assert!(frame["id"].as_str().unwrap().starts_with("req_"));
                return frame;
            }
            assert!(matches!(got, "session.ack" | "session.ping"), "expected {kind}, got {frame}");
        }
    }

    pub(crate) async fn raw(&mut self, frame: Value) {
        // The client may have hung up meanwhile, which the test will see elsewhere.
        let _ = self.outgoing.send(frame.to_string().into()).await;
    }

    pub(crate) async fn send(&mut self, kind: &str, payload: Value) {
        let session_id = self.session;
        self.raw(
            json!({"arcp": "1.1", "id": "msg_x", "type": kind, "session_id": session_id, "payload": payload}),
        )
        .await;
    }

    pub(crate) async fn numbered(&mut self, kind: &str, seq: u64, payload: Value) {
        let session_id = self.session;
        self.raw(json!({"arcp": "1.1", "id": "msg_x", "type": kind, "session_id": session_id,
            "job_id": payload["job_id"], "event_seq": seq, "payload": payload}))
            .await;
    }

    pub(crate) async fn welcome(&mut self, token: &str, features: &[&str]) {
        let payload = welcome(self.session, token, features);
        self.send("session.welcome", payload).await;
    }

    pub(crate) async fn refuse(&mut self, request_id: Option<&Value>, code: &str) {
        let retryable = code == "INTERNAL_ERROR";
        let payload =
            json!({"code": code, "message": "no", "retryable": retryable, "request_id": request_id});
        self.send("session.error", payload).await;
    }

    /// Expects a submit and accepts it.
    pub(crate) async fn accept_job(&mut self, job: JobId) -> Value {
        let submit = self.expect("job.submit").await;
        self.send("job.accepted", accepted(job, &submit["id"])).await;
        submit
    }

    /// Expects a subscribe and grants it.
    pub(crate) async fn grant(&mut self, job: JobId, from: u64) -> Value {
        let subscribe = self.expect("job.subscribe").await;
        self.send("job.subscribed", subscribed(job, &subscribe["id"], from)).await;
        subscribe
    }

    /// A log event that says its number.
    pub(crate) async fn log(&mut self, job: JobId, seq: u64, n: u64) {
        self.numbered("job.event", seq, log(job, n)).await;
    }

    pub(crate) async fn succeed(&mut self, job: JobId, seq: u64) {
        self.numbered("job.result", seq, success(job)).await;
    }
}

pub(crate) fn job(n: u128) -> JobId {
    JobId::new(1, n)
}

pub(crate) fn welcome(session: SessionId, token: &str, features: &[&str]) -> Value {
    json!({
        "session_id": session, "runtime": {"name": "fake", "version": "1"}, "resume_token": token,
        "resume_window_sec": 60, "heartbeat_interval_sec": 30, "accepted_at": "2026-01-01T00:00:00Z",
        "capabilities": {"encodings": ["json"], "features": features, "agents": []}
    })
}

pub(crate) fn accepted(job: JobId, request: &Value) -> Value {
    json!({"job_id": job, "request_id": request, "agent": "echo@1", "lease": {}, "accepted_at": "2026-01-01T00:00:00Z"})
}

pub(crate) fn subscribed(job: JobId, request: &Value, from: u64) -> Value {
    json!({"job_id": job, "request_id": request, "current_status": "running", "agent": "echo@1", "lease": {},
        "subscribed_from": from, "replayed": true})
}

pub(crate) fn log(job: JobId, n: u64) -> Value {
    json!({"kind": "log", "ts": "2026-01-01T00:00:00Z", "job_id": job, "body": {"level": "info", "message": n.to_string()}})
}

pub(crate) fn success(job: JobId) -> Value {
    json!({"job_id": job, "final_status": "success", "result": {"ok": 1}, "completed_at": "2026-01-01T00:00:00Z"})
}

pub(crate) fn options() -> ClientOptions {
    let mut options = ClientOptions::new(Token::new("secret"));
    options.reconnect.first = Duration::from_millis(1);
    options
}

pub(crate) fn echo() -> SubmitRequest {
    SubmitRequest::new("echo".parse().unwrap())
}

/// A client and its runtime, in conversation.
pub(crate) async fn connected(options: ClientOptions) -> (Client, Server, Peer) {
    let (connector, mut server) = network();
    let (client, peer) = tokio::join!(Client::connect(connector, options), server.greet(ALL));
    (client.unwrap(), server, peer)
}

/// A client that follows one job of its own.
pub(crate) async fn following(options: ClientOptions) -> (Client, Server, Peer, JobHandle) {
    let (client, server, mut peer) = connected(options).await;
    let (handle, _) = tokio::join!(client.submit(echo()), peer.accept_job(job(1)));
    (client, server, peer, handle.unwrap())
}

/// What a handle tells, in one word each: `1` for an event with its position, `ended`, `cut`, ….
pub(crate) async fn word(handle: &mut JobHandle) -> String {
    match bounded(handle.next()).await {
        Some(JobUpdate::Event(event)) => event.position.to_string(),
        Some(JobUpdate::Interrupted(_)) => "interrupted".into(),
        Some(JobUpdate::Resumed(how)) => format!("{how:?}"),
        Some(JobUpdate::Missed { after, before }) => format!("missed {after}..{before}"),
        Some(JobUpdate::Ended(outcome)) => format!("ended {}", outcome.status()),
        Some(JobUpdate::Cut(_)) => "cut".into(),
        None => "none".into(),
    }
}

/// As many words as there are in `expected`.
pub(crate) async fn tells(handle: &mut JobHandle, expected: &[&str]) {
    for expected in expected {
        assert_eq!(word(handle).await, *expected);
    }
}
