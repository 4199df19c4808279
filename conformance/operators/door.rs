//! A daemon with its listener, and requests to it as plain HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use arcpd::auth::{Role, TokenEntry, hash};
use arcpd::embed::{Builder, Runtime};
use arcpd::http::{Listener, ListenerConfig};
use arcpd::wire::limits::Limits;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::common::peer::{FEATURES, Peer};
use crate::common::puppet::Puppets;

/// A daemon that knows alice (`tok-a`), bob (`tok-b`), olga the operator (`tok-o`) and a scraper (`tok-m`).
pub struct Door {
    pub runtime: Runtime,
    pub puppets: Puppets,
    pub address: SocketAddr,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

fn entry(name: &str, token: &str, role: Option<Role>) -> TokenEntry {
    TokenEntry {
        principal: name.parse().unwrap(),
        roles: role.into_iter().collect(),
        dialect: None,
        hash: hash(token),
    }
}

impl Door {
    pub async fn open() -> Door {
        Door::with(Limits::default(), |builder| builder).await
    }

    pub async fn with(limits: Limits, change: impl FnOnce(Builder) -> Builder) -> Door {
        let puppets = Puppets::default();
        let builder = Runtime::builder()
            .tokens([entry("alice", "tok-a", None), entry("bob", "tok-b", None)])
            .tokens([entry("olga", "tok-o", Some(Role::Operator))])
            .tokens([entry("scraper", "tok-m", Some(Role::Metrics))])
            .limits(limits.clone())
            .demo_agents()
            .host("puppet@1.0.0", puppets.host());
        let runtime = change(builder).start().unwrap();
        let config = ListenerConfig { limits, ..ListenerConfig::default() };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
        let address = listener.local_addr();
        let serves = runtime.clone();
        let accept = move |transport, _| {
            let runtime = serves.clone();
            async move { runtime.serve(transport, "websocket".into()).await }
        };
        let operations = Arc::new(runtime.clone());
        tokio::spawn(listener.serve(accept, operations, TaskTracker::new(), CancellationToken::new()));
        Door { runtime, puppets, address }
    }

    /// A session of a principal's with every feature.
    pub async fn session(&self, token: &str) -> Peer {
        Peer::welcomed(self.runtime.connect(), token, FEATURES).await
    }

    /// Asks with a token, or without one.
    pub async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n{token}\r\n",
            self.address
        );
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.into() }
    }

    /// Asks as the operator.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, Some("tok-o"), "").await
    }
}
