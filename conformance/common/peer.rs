//! A raw ARCP peer: sends JSON, waits for JSON, keeps nothing but what it was sent. Every wait is bounded.

use std::time::Duration;

use arcpd::transport::{Ended, FrameReader, FrameWriter, Received, Transport};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The bound of every wait.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Every feature of the specification that the daemon offers.
pub const FEATURES: &[&str] = &[
    "heartbeat",
    "ack",
    "list_jobs",
    "subscribe",
    "lease_expires_at",
    "progress",
    "result_chunk",
    "agent_versions",
];

/// What a peer gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    Frame(Value),
    End,
}

pub struct Peer {
    outgoing: mpsc::UnboundedSender<Bytes>,
    incoming: mpsc::UnboundedReceiver<Got>,
    task: tokio::task::JoinHandle<()>,
    next_id: u64,
    prefix: String,
    pub session_id: Option<String>,
    pub token: Option<String>,
    /// The newest number that [`numbered`](Peer::numbered) took.
    pub last_seq: u64,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A frame with an id of its own.
pub fn frame(id: &str, kind: &str, payload: Value) -> Value {
    json!({ "arcp": "1.1", "id": id, "type": kind, "payload": payload })
}

/// A hello with a token and features.
pub fn hello(token: &str, features: &[&str]) -> Value {
    json!({
        "client": { "name": "test", "version": "1" },
        "auth": { "scheme": "bearer", "token": token },
        "capabilities": { "encodings": ["json"], "features": features }
    })
}

impl Peer {
    /// A peer over a transport; nothing is sent yet.
    pub fn over<T: Transport>(transport: T) -> Peer
    where
        T::Reader: 'static,
        T::Writer: 'static,
    {
        let (mut reader, mut writer) = transport.split();
        let (outgoing, mut to_send) = mpsc::unbounded_channel::<Bytes>();
        let (got, incoming) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    received = reader.receive() => match received {
                        Ok(Received::Text(text)) => {
                            let value = serde_json::from_slice(&text).expect("the daemon writes JSON");
                            let _ = got.send(Got::Frame(value));
                        }
                        Ok(Received::Rejected(fault)) => panic!("the daemon sent a bad frame: {fault}"),
                        Err(Ended::Closed | Ended::Fault(_) | Ended::Broken(_)) => {
                            let _ = got.send(Got::End);
                            return;
                        }
                    },
                    next = to_send.recv() => match next {
                        Some(frame) => {
                            let _ = writer.feed(frame).await;
                            let _ = writer.flush().await;
                        }
                        None => return,
                    },
                }
            }
        });
        let prefix = format!("t{:x}", std::ptr::from_ref(&incoming) as usize);
        Peer { outgoing, incoming, task, next_id: 0, prefix, session_id: None, token: None, last_seq: 0 }
    }

    /// A peer whose hello was welcomed.
    pub async fn welcomed<T: Transport>(transport: T, token: &str, features: &[&str]) -> Peer
    where
        T::Reader: 'static,
        T::Writer: 'static,
    {
        let mut peer = Peer::over(transport);
        peer.send("session.hello", hello(token, features));
        peer.welcome().await;
        peer
    }

    /// Takes a welcome and remembers what it says.
    pub async fn welcome(&mut self) -> Value {
        let welcome = self.expect("session.welcome").await;
        self.session_id = Some(welcome["session_id"].as_str().unwrap().into());
        self.token = Some(welcome["payload"]["resume_token"].as_str().unwrap().into());
        welcome
    }

    /// Sends a message with a fresh id, which is returned.
    pub fn send(&mut self, kind: &str, payload: Value) -> String {
        self.next_id += 1;
        let id = format!("{}_{}", self.prefix, self.next_id);
        let mut message = frame(&id, kind, payload);
        if let Some(session_id) = &self.session_id {
            message["session_id"] = json!(session_id);
        }
        self.send_raw(message.to_string());
        id
    }

    /// Sends whatever this is.
    pub fn send_raw(&mut self, text: impl Into<Bytes>) {
        let _ = self.outgoing.send(text.into());
    }

    /// The next thing that comes, pings aside.
    pub async fn next(&mut self) -> Got {
        loop {
            let got = timeout(PATIENCE, self.incoming.recv())
                .await
                .expect("nothing came in time")
                .unwrap_or(Got::End);
            match &got {
                Got::Frame(frame) if frame["type"] == "session.ping" => {
                    let nonce = frame["payload"]["nonce"].clone();
                    self.send("session.pong", json!({ "ping_nonce": nonce }));
                }
                Got::Frame(_) | Got::End => return got,
            }
        }
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Value {
        match self.next().await {
            Got::Frame(frame) => frame,
            Got::End => panic!("the connection ended"),
        }
    }

    /// The next frame, which has to be of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next frame, which has to be a refusal of this request with this code.
    pub async fn refused(&mut self, request: &str, code: &str) -> Value {
        let error = self.expect("session.error").await;
        assert_eq!(error["payload"]["request_id"], request, "{error}");
        assert_eq!(error["payload"]["code"], code, "{error}");
        assert!(!error["payload"]["message"].as_str().unwrap().is_empty());
        error["payload"].clone()
    }

    /// Waits for the end of the connection; nothing else may come.
    pub async fn ended(&mut self) {
        let got = self.next().await;
        assert_eq!(got, Got::End);
    }

    /// Waits until everything sent before has been handled; nothing else may come.
    pub async fn barrier(&mut self) {
        self.send("session.ping", json!({ "nonce": "barrier" }));
        let pong = self.expect("session.pong").await;
        assert_eq!(pong["payload"]["ping_nonce"], "barrier");
    }

    /// Submits a job and returns its id.
    pub async fn submit(&mut self, payload: Value) -> String {
        let id = self.send("job.submit", payload);
        let accepted = self.expect("job.accepted").await;
        assert_eq!(accepted["payload"]["request_id"], id);
        accepted["payload"]["job_id"].as_str().unwrap().into()
    }

    /// A peer that asks for an old session after `last`; nothing is taken yet.
    pub fn resuming<T: Transport>(transport: T, token: &str, last: u64) -> (Peer, String)
    where
        T::Reader: 'static,
        T::Writer: 'static,
    {
        let mut peer = Peer::over(transport);
        let id = peer.send("session.resume", json!({ "resume_token": token, "last_event_seq": last }));
        (peer, id)
    }

    /// A peer that was welcomed back, and goes on after `last`.
    pub async fn resumed<T: Transport>(transport: T, token: &str, last: u64) -> Peer
    where
        T::Reader: 'static,
        T::Writer: 'static,
    {
        let (mut peer, _) = Peer::resuming(transport, token, last);
        peer.welcome().await;
        peer.last_seq = last;
        peer
    }

    /// Sends a request and takes the next frame, which has to be of this type and name the request.
    pub async fn ask(&mut self, kind: &str, payload: Value, answer: &str) -> Value {
        let id = self.send(kind, payload);
        let frame = self.expect(answer).await;
        assert_eq!(frame["payload"]["request_id"], id, "{frame}");
        assert_eq!(frame["payload"]["reply_to"], id, "{frame}");
        frame["payload"].clone()
    }

    /// Sends a request that has to be refused with this code; returns the error's payload.
    pub async fn ask_in_vain(&mut self, kind: &str, payload: Value, code: &str) -> Value {
        let id = self.send(kind, payload);
        self.refused(&id, code).await
    }

    /// The next frame, which has to carry the next number of this session.
    pub async fn numbered(&mut self) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["event_seq"], self.last_seq + 1, "gap or duplicate: {frame}");
        assert_eq!(frame["session_id"], self.session_id.as_deref().unwrap(), "{frame}");
        self.last_seq += 1;
        frame
    }

    /// The next frame, which has to be numbered and of this job.
    pub async fn numbered_of(&mut self, job: &str) -> Value {
        let frame = self.numbered().await;
        assert_eq!(frame["job_id"], job, "{frame}");
        assert_eq!(frame["payload"]["job_id"], job, "{frame}");
        frame
    }

    /// The numbered frames up to the end of this job. All have to be of it.
    pub async fn until_end(&mut self, job: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.numbered_of(job).await;
            let over = frame["type"] != "job.event";
            frames.push(frame);
            if over {
                return frames;
            }
        }
    }

    /// The next frame, which has to be the end of this job.
    pub async fn end_of(&mut self, job: &str) -> Value {
        let end = self.numbered().await;
        assert_ne!(end["type"], "job.event", "{end}");
        assert_eq!((&end["job_id"], &end["payload"]["job_id"]), (&json!(job), &json!(job)), "{end}");
        end
    }
}
