//! Where frames come from and go to: one trait, three carriers.
//!
//! A transport moves text frames and knows nothing of what they mean. What is wrong with a single frame costs that
//! frame ([`Received::Rejected`]); what is wrong with the stream itself ends it ([`Ended`]).

pub mod memory;
pub mod stdio;
pub mod tcp;
pub mod tls;
pub mod websocket;

use std::future::Future;
use std::io;

use bytes::Bytes;

/// What came from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// One frame; not yet known to be UTF-8 or JSON.
    Text(Bytes),
    /// A frame that was dropped; the stream goes on.
    Rejected(FrameFault),
}

/// What was wrong with what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// ARCP is spoken in text frames.
    #[error("expected a text frame with one JSON object, got a binary frame")]
    Binary,
    /// Longer than allowed.
    #[error("expected a frame of at most {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: usize,
        /// What it began with, as far as that was kept.
        beginning: Bytes,
    },
    /// Text that is none.
    #[error("the frame is not UTF-8: {0}")]
    NotUtf8(String),
    /// The carrier's own rules are broken.
    #[error("the WebSocket protocol is broken: {0}")]
    Protocol(String),
}

/// Why nothing more comes from the peer.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed, or its process ended.
    #[error("the peer closed the connection")]
    Closed,
    /// A fault after which the stream cannot go on, to be told before it is closed.
    #[error("{0}")]
    Fault(FrameFault),
    /// The carrier broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// Why the daemon closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The conversation is over (WebSocket 1000).
    Done,
    /// The daemon stops (1001).
    GoingAway,
    /// The peer broke the carrier's rules (1002).
    Protocol,
    /// The peer sent text that is not UTF-8 (1007).
    NotUtf8,
    /// The peer broke the rules, or was not let in (1008).
    Policy,
    /// A frame was too big (1009).
    TooBig,
    /// The daemon cannot go on with this connection, by no fault of the peer's (1011).
    Failed,
    /// Another connection took the session over (4001).
    TakenOver,
    /// The peer was silent for too long (4002).
    HeartbeatLost,
    /// The peer reads too slowly (4003).
    TooSlow,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: &'static [CloseReason] = &[
        CloseReason::Done,
        CloseReason::GoingAway,
        CloseReason::Protocol,
        CloseReason::NotUtf8,
        CloseReason::Policy,
        CloseReason::TooBig,
        CloseReason::Failed,
        CloseReason::TakenOver,
        CloseReason::HeartbeatLost,
        CloseReason::TooSlow,
    ];

    /// The WebSocket close code that says it.
    pub fn code(self) -> u16 {
        match self {
            CloseReason::Done => 1000,
            CloseReason::GoingAway => 1001,
            CloseReason::Protocol => 1002,
            CloseReason::NotUtf8 => 1007,
            CloseReason::Policy => 1008,
            CloseReason::TooBig => 1009,
            CloseReason::Failed => 1011,
            CloseReason::TakenOver => 4001,
            CloseReason::HeartbeatLost => 4002,
            CloseReason::TooSlow => 4003,
        }
    }

    /// A few words, for the peer and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Done => "done",
            CloseReason::GoingAway => "the daemon is stopping",
            CloseReason::Protocol => "protocol error",
            CloseReason::NotUtf8 => "not UTF-8",
            CloseReason::Policy => "refused",
            CloseReason::TooBig => "frame too big",
            CloseReason::Failed => "the daemon failed; resume to go on",
            CloseReason::TakenOver => "the session was resumed on another connection",
            CloseReason::HeartbeatLost => "heartbeat lost",
            CloseReason::TooSlow => "reading too slowly; resume to go on",
        }
    }
}

/// What the peer said when it closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseNotice {
    /// A WebSocket close code; see [`CloseReason::code`].
    pub code: u16,
    /// A few words.
    pub text: String,
}

impl From<CloseReason> for CloseNotice {
    fn from(reason: CloseReason) -> Self {
        CloseNotice { code: reason.code(), text: reason.as_str().to_owned() }
    }
}

/// The receiving half of a connection.
pub trait FrameReader: Send {
    /// Waits for the next frame. Cancel-safe: a dropped call loses nothing.
    fn receive(&mut self) -> impl Future<Output = Result<Received, Ended>> + Send;

    /// What the peer said when it closed, once [`Ended::Closed`] was received. Some carriers cannot say anything.
    fn close_notice(&self) -> Option<CloseNotice> {
        None
    }
}

/// The sending half of a connection.
pub trait FrameWriter: Send {
    /// Hands a frame over; it may stay in a bounded buffer until [`flush`](Self::flush). Waits while that is full.
    /// When this call is dropped while it waits, the frame has not been handed over.
    fn feed(&mut self, frame: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends what was handed over.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends what was handed over, says why, and closes. Errors are of no interest any more.
    fn close(&mut self, reason: CloseReason) -> impl Future<Output = ()> + Send;
}

/// A connection before it is split into its halves.
pub trait Transport: Send + 'static {
    /// Its receiving half.
    type Reader: FrameReader;
    /// Its sending half.
    type Writer: FrameWriter;

    /// Takes it apart, to read and write independently.
    fn split(self) -> (Self::Reader, Self::Writer);
}

/// The error of a writer that was handed a frame over its limit.
fn too_long(got: usize, max: usize) -> io::Error {
    let text = format!("expected to send a frame of at most {max} bytes, got {got}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
