//! The client's side of one session: raw frames, looked at no closer than counting them needs.

use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::BenchError;
use super::server::Endpoint;
use crate::transport::websocket::{ClientStream, WebSocketReader, WebSocketWriter, connect};
use crate::transport::{FrameReader as _, FrameWriter as _, Received, Transport as _};
use crate::wire::decode::server_frame;
use crate::wire::limits::Limits;
use crate::wire::message::ServerMessage;
use crate::wire::session::Token;

/// What stands before the type in an envelope.
const TYPE: &[u8] = br#""type":""#;

/// The text in echoes and events: with it, a frame is about 390 bytes long.
pub(super) const TEXT_BYTES: usize = 96;

/// What a frame is, as far as a measurement cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `job.accepted`
    Accepted,
    /// `job.event`
    Event,
    /// `job.result`
    Result,
    /// `session.pong`
    Pong,
    /// Anything else that may come while measuring.
    Other,
}

/// A session and its connection.
pub(super) struct Session {
    reader: WebSocketReader<ClientStream>,
    writer: WebSocketWriter<ClientStream>,
    token: Token,
    ids: u64,
    /// Where the type stood in the last frame: mostly where it stands in the next.
    type_at: usize,
}

impl Session {
    /// Connects and says hello.
    pub(super) async fn open(endpoint: &Endpoint, features: &[&str]) -> Result<Session, BenchError> {
        let hello = json!({
            "client": { "name": "arcpd bench", "version": env!("CARGO_PKG_VERSION") },
            "auth": { "scheme": "bearer", "token": endpoint.token.expose() },
            "capabilities": { "encodings": ["json"], "features": features },
        });
        Session::begin(endpoint, "session.hello", &hello).await
    }

    /// Loses the connection, makes another one, and asks for everything once more.
    pub(super) async fn again(self, endpoint: &Endpoint) -> Result<Session, BenchError> {
        let resume = json!({ "resume_token": self.token.expose(), "last_event_seq": 0 });
        drop(self);
        Session::begin(endpoint, "session.resume", &resume).await
    }

    async fn begin(endpoint: &Endpoint, kind: &str, payload: &Value) -> Result<Session, BenchError> {
        let limits = Limits::default();
        let (reader, writer) = connect(&endpoint.url, None, &limits).await?.split();
        let mut session = Session { reader, writer, token: Token::new(String::new()), ids: 0, type_at: 0 };
        session.feed(kind, &payload.to_string()).await?;
        session.flush().await?;
        let frame = session.frame().await?;
        match server_frame(&frame, &limits).map_err(BenchError::Unexpected)?.message {
            Some(ServerMessage::Welcome(welcome)) => Ok(Session { token: welcome.resume_token, ..session }),
            Some(ServerMessage::Error(error)) => Err(BenchError::Unexpected(error.error().message)),
            _ => Err(unexpected("session.welcome", &frame)),
        }
    }

    /// Hands a message over; it leaves with the next flush.
    pub(super) async fn feed(&mut self, kind: &str, payload: &str) -> Result<(), BenchError> {
        self.ids += 1;
        let frame = format!(r#"{{"arcp":"1.1","id":"b{}","type":"{kind}","payload":{payload}}}"#, self.ids);
        Ok(self.writer.feed(frame.into()).await?)
    }

    /// Sends what was handed over.
    pub(super) async fn flush(&mut self) -> Result<(), BenchError> {
        Ok(self.writer.flush().await?)
    }

    /// Waits for the next frame.
    pub(super) async fn next(&mut self) -> Result<(Kind, Bytes), BenchError> {
        let frame = self.frame().await?;
        Ok((self.kind(&frame)?, frame))
    }

    /// The next frame, if it is there already.
    pub(super) fn ready(&mut self) -> Option<Result<(Kind, Bytes), BenchError>> {
        let frame = self.frame().now_or_never()?;
        Some(frame.and_then(|frame| Ok((self.kind(&frame)?, frame))))
    }

    /// Waits for a frame of this kind; others are of no interest.
    pub(super) async fn wait_for(&mut self, wanted: Kind) -> Result<Bytes, BenchError> {
        loop {
            let (kind, frame) = self.next().await?;
            if kind == wanted {
                return Ok(frame);
            }
        }
    }

    /// Submits a job, at once.
    pub(super) async fn submit(&mut self, submit: &str) -> Result<(), BenchError> {
        self.feed("job.submit", submit).await?;
        self.flush().await
    }

    /// Reads one job to its end, which comes after exactly so many events.
    pub(super) async fn read_events(&mut self, expected: u64) -> Result<(), BenchError> {
        let mut events = 0;
        loop {
            match self.next().await?.0 {
                Kind::Event => events += 1,
                Kind::Result if events == expected => return Ok(()),
                Kind::Result => {
                    let message = format!("the job ended after {events} events instead of {expected}");
                    return Err(BenchError::Unexpected(message));
                }
                Kind::Accepted | Kind::Pong | Kind::Other => {}
            }
        }
    }

    async fn frame(&mut self) -> Result<Bytes, BenchError> {
        match self.reader.receive().await? {
            Received::Text(frame) => Ok(frame),
            Received::Rejected(fault) => Err(BenchError::Unexpected(fault.to_string())),
        }
    }

    fn kind(&mut self, frame: &Bytes) -> Result<Kind, BenchError> {
        if frame.get(self.type_at..).is_none_or(|rest| !rest.starts_with(TYPE)) {
            // The daemon writes the payload last, so the first type is the envelope's.
            self.type_at = frame.windows(TYPE.len()).position(|part| part == TYPE).unwrap_or_default();
        }
        let rest = frame.get(self.type_at + TYPE.len()..).unwrap_or_default();
        let kind = rest.split(|byte| *byte == b'"').next().unwrap_or_default();
        match kind {
            b"job.event" => Ok(Kind::Event),
            b"job.accepted" => Ok(Kind::Accepted),
            b"job.result" => Ok(Kind::Result),
            b"session.pong" => Ok(Kind::Pong),
            b"job.error" | b"session.error" | b"session.closed" => Err(unexpected("a result", frame)),
            _ => Ok(Kind::Other),
        }
    }
}

fn unexpected(expected: &str, frame: &[u8]) -> BenchError {
    let got: String = String::from_utf8_lossy(frame).chars().take(500).collect();
    BenchError::Unexpected(format!("expected {expected}, got {got}"))
}

/// The payload of a submit of `echo`.
pub(super) fn echo() -> String {
    json!({ "agent": "echo", "input": { "text": "x".repeat(TEXT_BYTES) } }).to_string()
}

/// The payload of a submit of `ticker`.
pub(super) fn ticker(count: u64, interval_ms: u64) -> String {
    let input = json!({ "count": count, "interval_ms": interval_ms, "size": TEXT_BYTES });
    json!({ "agent": "ticker", "input": input }).to_string()
}

/// The payload of a subscription to a job from its beginning.
pub(super) fn from_the_beginning(accepted: &[u8]) -> Result<String, BenchError> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let payload = serde_json::from_slice::<Envelope<'_>>(accepted).ok();
    let payload = payload.and_then(|envelope| serde_json::from_str::<Value>(envelope.payload.get()).ok());
    let job_id = payload.as_ref().and_then(|payload| payload.get("job_id"));
    let job_id = job_id.ok_or_else(|| unexpected("a job_id", accepted))?;
    Ok(json!({ "job_id": job_id, "history": true, "from_event_seq": 0 }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_names_the_job_that_was_accepted() {
        let accepted = br#"{"arcp":"1.1","type":"job.accepted","payload":{"job_id":"job_1","lease":{}}}"#;
        let subscribe: Value = serde_json::from_str(&from_the_beginning(accepted).unwrap()).unwrap();
        assert_eq!(subscribe, json!({ "job_id": "job_1", "history": true, "from_event_seq": 0 }));
        assert!(from_the_beginning(br#"{"payload":{}}"#).is_err());
    }
}
