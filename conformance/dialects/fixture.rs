//! What the transcripts stand on: a runtime with the demo agents and puppets, a clock that a paused test moves, and
//! a client that sends frames as they were captured.

use arcpd::embed::{Builder, Runtime};
use arcpd::transport::memory::MemoryTransport;
use serde_json::Value;

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

/// The client's half of a transcript.
pub(crate) struct Client(Peer);

impl Client {
    fn over(transport: MemoryTransport) -> Client {
        Client(Peer::over(transport))
    }

    /// Sends a captured frame.
    pub(crate) fn send(&mut self, frame: &Value) {
        self.0.send_raw(frame.to_string());
    }

    /// The next frame, which has to be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        self.0.expect(kind).await
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Value {
        self.0.frame().await
    }

    /// Nothing more comes: the connection is over.
    pub(crate) async fn ended(&mut self) {
        assert_eq!(self.0.next().await, Got::End);
    }
}
