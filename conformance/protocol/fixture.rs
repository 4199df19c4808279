//! What the protocol tests stand on: a runtime with the demo agents, two principals and puppets, and a clock that
//! follows tokio's, so that a paused test moves the daemon's time too.

use std::sync::Arc;
use std::time::Duration;

use arcpd::embed::{Builder, Runtime};
use arcpd::http::{Listener, ListenerConfig};
use arcpd::transport::stdio::LineTransport;
use arcpd::transport::websocket::{ClientStream, WebSocketTransport, connect};
use arcpd::transport::{FrameReader, FrameWriter, Received, Transport};
use arcpd::wire::limits::Limits;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::common::clock::Clock;
use crate::common::peer::{FEATURES, PATIENCE, Peer, frame, hello};
use crate::common::puppet::Puppets;

/// What a client of ours can send: more than what the daemon takes.
const GENEROUS_BYTES: usize = 8 * 1024 * 1024;

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) puppets: Puppets,
    pub(crate) clock: Arc<Clock>,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> World {
        World::built(|builder| builder.limits(limits))
    }

    pub(crate) fn built(change: impl FnOnce(Builder) -> Builder) -> World {
        let (puppets, clock) = (Puppets::default(), Clock::new());
        let builder = Runtime::builder()
            .token("alice", "tok-a")
            .token("bob", "tok-b")
            .demo_agents()
            .host("puppet@1.0.0", puppets.host())
            .ambient(clock.clone());
        World { runtime: change(builder).start().unwrap(), puppets, clock }
    }

    /// A session of alice's with every feature.
    pub(crate) async fn alice(&self) -> Peer {
        Peer::welcomed(self.runtime.connect(), "tok-a", FEATURES).await
    }

    /// A session of bob's with every feature.
    pub(crate) async fn bob(&self) -> Peer {
        Peer::welcomed(self.runtime.connect(), "tok-b", FEATURES).await
    }

    /// A connection by lines over a pipe of this many bytes; also its raw far end.
    pub(crate) fn lines(
        &self,
        room: usize,
    ) -> LineTransport<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>> {
        let (input, output) = split(self.pipe(room));
        LineTransport::new(input, output, GENEROUS_BYTES)
    }

    /// The client's end of a connection by lines.
    pub(crate) fn pipe(&self, room: usize) -> DuplexStream {
        let (near, far) = duplex(room);
        let (input, output) = split(far);
        let theirs = LineTransport::new(input, output, self.runtime.limits().frame_bytes);
        let runtime = self.runtime.clone();
        tokio::spawn(async move { runtime.serve(theirs, "pipe".into()).await });
        near
    }

    /// A listener on a free port of the loopback; returns its address. It ends with the test's runtime.
    pub(crate) async fn listen(&self) -> std::net::SocketAddr {
        let limits = (**self.runtime.limits()).clone();
        let config = ListenerConfig { limits, ..ListenerConfig::default() };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
        let address = listener.local_addr();
        let runtime = self.runtime.clone();
        let accept = move |transport, _| {
            let runtime = runtime.clone();
            async move { runtime.serve(transport, "websocket".into()).await }
        };
        let operations = Arc::new(self.runtime.clone());
        tokio::spawn(listener.serve(accept, operations, TaskTracker::new(), CancellationToken::new()));
        address
    }
}

/// A WebSocket to a listener, with room for frames beyond what the daemon takes.
pub(crate) async fn websocket(address: std::net::SocketAddr) -> WebSocketTransport<ClientStream> {
    let generous = Limits { frame_bytes: GENEROUS_BYTES, ..Limits::default() };
    connect(&format!("ws://{address}/arcp"), None, &generous).await.unwrap()
}

/// Lets the (paused) time pass.
pub(crate) async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A frame without what names this very exchange: two refusals that tell nothing apart are equal then.
pub(crate) fn anonymous(frame: &Value) -> Value {
    let mut frame = frame.clone();
    for field in ["id", "session_id"] {
        frame[field] = json!("…");
    }
    for field in ["request_id", "reply_to"] {
        frame["payload"][field] = json!("…");
    }
    frame
}

/// The fields of an object, in alphabetical order.
pub(crate) fn fields(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// A client that reads only when it is told to, and answers no ping.
pub(crate) struct Raw<T: Transport> {
    pub(crate) reader: T::Reader,
    pub(crate) writer: T::Writer,
    pub(crate) token: String,
    sent: u64,
}

impl<T: Transport> Raw<T> {
    /// Says hello over a transport and takes the welcome.
    pub(crate) async fn welcomed(transport: T, features: &[&str]) -> Self {
        let (reader, writer) = transport.split();
        let mut raw = Raw { reader, writer, token: String::new(), sent: 0 };
        raw.send("session.hello", hello("tok-a", features)).await;
        let welcome = raw.next().await.unwrap();
        raw.token = welcome["payload"]["resume_token"].as_str().unwrap().into();
        raw
    }

    /// Resumes over a transport and takes the welcome.
    pub(crate) async fn resumed(transport: T, token: &str, last: u64) -> Self {
        let (reader, writer) = transport.split();
        let mut raw = Raw { reader, writer, token: String::new(), sent: 0 };
        raw.send("session.resume", json!({ "resume_token": token, "last_event_seq": last })).await;
        let welcome = raw.next().await.unwrap();
        raw.token = welcome["payload"]["resume_token"].as_str().unwrap().into();
        raw
    }

    pub(crate) async fn send(&mut self, kind: &str, payload: Value) -> String {
        self.sent += 1;
        let id = format!("raw_{}", self.sent);
        let message = frame(&id, kind, payload).to_string();
        let sent = async {
            self.writer.feed(message.into()).await?;
            self.writer.flush().await
        };
        tokio::time::timeout(PATIENCE, sent).await.expect("the daemon does not read").unwrap();
        id
    }

    /// The next frame as it came; none at the end.
    pub(crate) async fn bytes(&mut self) -> Option<Bytes> {
        match tokio::time::timeout(PATIENCE, self.reader.receive()).await.expect("nothing came in time") {
            Ok(Received::Text(bytes)) => Some(bytes),
            Ok(Received::Rejected(fault)) => panic!("the daemon sent a bad frame: {fault}"),
            Err(_) => None,
        }
    }

    /// The next frame; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        self.bytes().await.map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }
}
