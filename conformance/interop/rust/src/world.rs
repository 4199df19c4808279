//! How a scenario gets its connections: through the crate's client, or through its transport and envelopes.

use std::time::Duration;

use arcp::ARCPClient;
use arcp::client::{Authenticated, Session};
use arcp::envelope::Envelope;
use arcp::error::ARCPError;
use arcp::ids::{MessageId, SessionId};
use arcp::messages::{
    AuthScheme, Capabilities, ClientIdentity, Credentials, MessageType, SessionOpenPayload,
};
use arcp::transport::Transport;
use arcp::transport::stdio::StdioTransport;
use arcp::transport::websocket::WebSocketTransport;
use async_trait::async_trait;
use tokio::process::{Child, Command};

pub type Outcome = Result<(), String>;

/// Ends a scenario unless this holds.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

/// Where the daemon is.
#[derive(Clone)]
pub enum Endpoint {
    WebSocket(String),
    Stdio(Vec<String>),
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; start this with with_daemon.py"))
}

impl Endpoint {
    pub fn of(transport: &str) -> Endpoint {
        match transport {
            "stdio" => {
                let command = variable("ARCPD_STDIO");
                Endpoint::Stdio(serde_json::from_str(&command).expect("ARCPD_STDIO is a list of strings"))
            }
            _ => Endpoint::WebSocket(variable("ARCPD_URL")),
        }
    }
}

/// The crate's transport, and the process at its other end if it is one.
pub struct Link {
    transport: Box<dyn Transport>,
    _child: Option<Child>,
}

#[async_trait]
impl Transport for Link {
    async fn send(&self, envelope: Envelope) -> Result<(), ARCPError> {
        self.transport.send(envelope).await
    }
    async fn recv(&self) -> Result<Option<Envelope>, ARCPError> {
        self.transport.recv().await
    }
    async fn close(&self) -> Result<(), ARCPError> {
        self.transport.close().await
    }
}

pub type Client = Session<Authenticated, Link>;

/// What a scenario has of the world.
pub struct World {
    endpoint: Endpoint,
    alice: String,
    bob: String,
    pub heartbeat: Duration,
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Capabilities of an application that takes results in chunks.
pub fn streaming() -> Capabilities {
    Capabilities {
        streaming: Some(true),
        artifacts: Some(true),
        subscriptions: Some(true),
        ..Capabilities::default()
    }
}

/// Capabilities of an application that takes results whole.
pub fn whole() -> Capabilities {
    Capabilities { subscriptions: Some(true), ..Capabilities::default() }
}

impl World {
    pub fn new(endpoint: Endpoint) -> World {
        let seconds = variable("ARCPD_HEARTBEAT_SEC").parse().expect("ARCPD_HEARTBEAT_SEC is a number");
        World {
            endpoint,
            alice: variable("ARCPD_TOKEN_ALICE"),
            bob: variable("ARCPD_TOKEN_BOB"),
            heartbeat: Duration::from_secs(seconds),
        }
    }

    pub async fn link(&self) -> Result<Link, String> {
        match &self.endpoint {
            Endpoint::WebSocket(url) => {
                let transport = WebSocketTransport::dial(url).await.map_err(text)?;
                Ok(Link { transport: Box::new(transport), _child: None })
            }
            Endpoint::Stdio(command) => {
                let mut child = Command::new(&command[0])
                    .args(&command[1..])
                    .stdin(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(text)?;
                let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
                    return Err("the process has no pipes".into());
                };
                let transport = Box::new(StdioTransport::from_streams(output, input));
                Ok(Link { transport, _child: Some(child) })
            }
        }
    }

    /// The crate's client with any token.
    pub async fn with(&self, token: &str, capabilities: Capabilities) -> Result<Client, ARCPError> {
        let link = self.link().await.map_err(|detail| ARCPError::Unavailable { detail })?;
        let credentials = Credentials { scheme: AuthScheme::Bearer, token: Some(token.into()) };
        ARCPClient::new(link).open()?.authenticate(credentials, identity(), capabilities).await
    }

    pub async fn alice(&self) -> Result<Client, String> {
        self.with(&self.alice, whole()).await.map_err(text)
    }

    pub async fn alice_streaming(&self) -> Result<Client, String> {
        self.with(&self.alice, streaming()).await.map_err(text)
    }

    pub async fn bob(&self) -> Result<Client, String> {
        self.with(&self.bob, whole()).await.map_err(text)
    }

    /// A session of alice's in the crate's own envelopes, for what its client has no method for.
    pub async fn envelopes(&self) -> Result<Talk, String> {
        self.talk(&self.alice).await
    }

    /// A session of bob's in envelopes.
    pub async fn bobs_envelopes(&self) -> Result<Talk, String> {
        self.talk(&self.bob).await
    }

    async fn talk(&self, token: &str) -> Result<Talk, String> {
        let mut talk = Talk { link: self.link().await?, session: None };
        let credentials = Credentials { scheme: AuthScheme::Bearer, token: Some(token.into()) };
        let open = SessionOpenPayload { auth: credentials, client: identity(), capabilities: streaming() };
        let request = talk.send(MessageType::SessionOpen(open)).await?;
        match talk.answer(&request).await? {
            MessageType::SessionAccepted(accepted) => talk.session = Some(accepted.session_id),
            other => return Err(format!("expected session.accepted, got {other:?}")),
        }
        Ok(talk)
    }
}

fn identity() -> ClientIdentity {
    ClientIdentity { kind: "interop".into(), version: "2.0.0".into(), fingerprint: None, principal: None }
}

/// A conversation in the crate's envelopes. Whatever it cannot decode ends it, as in its client.
pub struct Talk {
    link: Link,
    session: Option<SessionId>,
}

impl Talk {
    pub async fn send(&mut self, message: MessageType) -> Result<MessageId, String> {
        self.send_keyed(message, None).await
    }

    pub async fn send_keyed(&mut self, message: MessageType, key: Option<&str>) -> Result<MessageId, String> {
        let mut envelope = Envelope::new(message);
        envelope.session_id = self.session.clone();
        envelope.idempotency_key = key.map(|key| key.parse().expect("a key has characters"));
        let id = envelope.id.clone();
        self.link.send(envelope).await.map_err(text)?;
        Ok(id)
    }

    pub async fn next(&mut self) -> Result<Envelope, String> {
        self.link.recv().await.map_err(text)?.ok_or_else(|| "the connection ended".into())
    }

    /// The next message, which has to answer this request.
    pub async fn answer(&mut self, request: &MessageId) -> Result<MessageType, String> {
        let envelope = self.next().await?;
        ensure!(envelope.correlation_id.as_ref() == Some(request), "no answer to {request}: {envelope:?}");
        Ok(envelope.payload)
    }

    /// Nothing more comes.
    pub async fn ended(&mut self) -> Outcome {
        match self.link.recv().await {
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(envelope)) => Err(format!("expected the end, got {envelope:?}")),
        }
    }
}
