//! What the transcripts stand on: a runtime with the demo agents and puppets, a clock that a paused test moves, and
//! a client that sends frames as they were captured.

use std::time::Duration;

use arcpd::embed::{Builder, Runtime};
use arcpd::transport::Transport;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::clock::Clock;
use crate::common::peer::{Got, Peer};
use crate::common::puppet::Puppets;

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) puppets: Puppets,
}

impl World {
    pub(crate) fn new() -> World {
        World::built(|builder| builder)
    }

    pub(crate) fn built(change: impl FnOnce(Builder) -> Builder) -> World {
        let puppets = Puppets::default();
        let builder = Runtime::builder()
            .token("alice", "tok-a")
            .token("bob", "tok-b")
            .demo_agents()
            .host("puppet@1.0.0", puppets.host())
            .ambient(Clock::new());
        World { runtime: change(builder).start().unwrap(), puppets }
    }

    /// A client of which nothing is known yet.
    pub(crate) fn client(&self) -> Client {
        Client::over(self.runtime.connect())
    }
}

/// The first hello of a capture that the daemon lets in.
pub(crate) fn hello_in(captured: &str) -> Value {
    let steps = captured.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["send"].take());
    let mut hellos = steps.filter(|frame| frame["payload"]["auth"]["token"] == "tok-a");
    hellos.next().expect("a hello with the token of alice")
}

/// The client's half of a transcript.
pub(crate) struct Client {
    peer: Peer,
    pub(crate) session: String,
    pub(crate) welcome: Value,
}

impl Client {
    pub(crate) fn over<T: Transport>(transport: T) -> Client
    where
        T::Reader: 'static,
        T::Writer: 'static,
    {
        Client { peer: Peer::over(transport), session: String::new(), welcome: Value::Null }
    }

    /// Sends a captured frame.
    pub(crate) fn send(&mut self, frame: &Value) {
        self.peer.send_raw(frame.to_string());
    }

    /// The next frame, which has to be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        self.peer.expect(kind).await
    }

    /// The next frame, or none where the connection is over; nothing at all when none of it comes so soon.
    pub(crate) async fn within(&mut self, wait: Duration) -> Option<Option<Value>> {
        match timeout(wait, self.peer.next()).await {
            Ok(Got::Frame(frame)) => Some(Some(frame)),
            Ok(Got::End) => Some(None),
            Err(_) => None,
        }
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Value {
        self.peer.frame().await
    }

    /// A client whose captured hello was welcomed; the hello may be changed before it is sent.
    pub(crate) async fn welcomed(world: &World, captured: &str, change: impl FnOnce(&mut Value)) -> Client {
        let mut client = world.client();
        let mut hello = hello_in(captured);
        change(&mut hello);
        client.send(&hello);
        let welcome = client.expect("session.welcome").await;
        client.session = welcome["session_id"].as_str().unwrap().into();
        client.welcome = welcome;
        client
    }

    /// Sends a request under an id.
    pub(crate) fn ask(&mut self, id: &str, kind: &str, payload: Value) {
        let session = self.session.clone();
        self.send(
            &json!({ "arcp": "1.1", "id": id, "type": kind, "session_id": session, "payload": payload }),
        );
    }

    /// Sends a text as it is.
    pub(crate) fn send_text(&mut self, text: String) {
        self.peer.send_raw(text);
    }

    /// Submits, and gives the job of the acceptance.
    pub(crate) async fn begun(&mut self, id: &str, payload: Value) -> String {
        self.ask(id, "job.submit", payload);
        self.expect("job.accepted").await["job_id"].as_str().unwrap().into()
    }

    /// Nothing comes for a while.
    pub(crate) async fn hears_nothing(&mut self) {
        let heard = self.within(Duration::from_millis(200)).await;
        assert_eq!(heard, None);
    }

    /// Nothing more comes: the connection is over.
    pub(crate) async fn ended(&mut self) {
        assert_eq!(self.peer.next().await, Got::End);
    }
}
