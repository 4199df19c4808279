//! One JSON object per WebSocket text frame, over any byte stream, in both roles.
//!
//! Both halves share the socket behind a lock that is held for one poll at a time, because reading may have to
//! write (pongs, the answer to a close) and closing has to read. Each connection's buffers are small and bounded;
//! see the constants.

mod connect;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tokio::TokioAdapter;
use async_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::{CloseNotice, CloseReason, Ended, FrameFault, FrameReader, FrameWriter, Received, Transport};
use crate::wire::limits::Limits;

pub use connect::{ClientStream, ConnectError, check_url, connect, dial};

/// Bytes read at once, allocated for every connection.
pub const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Bytes that are fed before they are written without waiting for a flush.
pub const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// Room for frame heads and pongs beside the largest frame in the write buffer.
pub const CONTROL_BUFFER_BYTES: usize = 4 * 1024;

/// Pings and pongs handled in a row before other tasks get their turn.
pub const CONTROL_BURST: usize = 64;

/// Time that a closing side waits for the peer's own close, in milliseconds.
pub const CLOSE_LINGER_MS: u64 = 1_000;

/// Bytes that a closing side still takes from a peer that goes on sending.
pub const CLOSE_DRAIN_BYTES: usize = 4 * 1024 * 1024;

/// A WebSocket after its handshake.
#[derive(Debug)]
pub struct WebSocketTransport<S> {
    shared: Arc<Mutex<Shared<S>>>,
    frame_bytes: usize,
    send_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketTransport<S> {
    /// The server's side of a stream on which the HTTP upgrade has been answered.
    pub async fn server(stream: S, limits: &Limits) -> Self {
        let config = Some(config(limits));
        let stream = TokioAdapter::new(stream);
        Self::new(WebSocketStream::from_raw_socket(stream, Role::Server, config).await, limits)
    }

    fn new(socket: WebSocketStream<TokioAdapter<S>>, limits: &Limits) -> Self {
        WebSocketTransport {
            shared: Arc::new(Mutex::new(Shared {
                socket,
                reading: None,
                closing: false,
                faulty: false,
                notice: None,
            })),
            frame_bytes: limits.frame_bytes,
            send_timeout: Duration::from_millis(limits.send_timeout_ms),
        }
    }
}

/// Small buffers, and nothing larger than a frame of the limit in either direction.
fn config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES + limits.frame_bytes + CONTROL_BUFFER_BYTES)
        .max_message_size(Some(limits.frame_bytes))
        .max_frame_size(Some(limits.frame_bytes))
}

impl<S> Transport for WebSocketTransport<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Reader = WebSocketReader<S>;
    type Writer = WebSocketWriter<S>;

    fn split(self) -> (WebSocketReader<S>, WebSocketWriter<S>) {
        let reader = WebSocketReader { shared: self.shared.clone(), frame_bytes: self.frame_bytes };
        let writer = WebSocketWriter {
            shared: self.shared,
            frame_bytes: self.frame_bytes,
            send_timeout: self.send_timeout,
        };
        (reader, writer)
    }
}

/// The receiving half of a [`WebSocketTransport`]. It ends when the other half is closed.
#[derive(Debug)]
pub struct WebSocketReader<S> {
    shared: Arc<Mutex<Shared<S>>>,
    frame_bytes: usize,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> FrameReader for WebSocketReader<S> {
    async fn receive(&mut self) -> Result<Received, Ended> {
        poll_fn(|cx| self.shared.lock().poll_receive(cx, self.frame_bytes)).await
    }

    fn close_notice(&self) -> Option<CloseNotice> {
        self.shared.lock().notice.clone()
    }
}

/// The sending half of a [`WebSocketTransport`].
#[derive(Debug)]
pub struct WebSocketWriter<S> {
    shared: Arc<Mutex<Shared<S>>>,
    frame_bytes: usize,
    send_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> WebSocketWriter<S> {
    async fn send(&mut self, message: Message) -> Result<(), WsError> {
        let mut message = Some(message);
        poll_fn(|cx| self.shared.lock().poll_feed(cx, &mut message)).await
    }

    async fn say_goodbye(&mut self, reason: CloseReason) {
        let frame =
            CloseFrame { code: reason.code().into(), reason: Utf8Bytes::from_static(reason.as_str()) };
        let said = match self.send(Message::Close(Some(frame))).await {
            // A peer that closed first is owed only the answer, which a flush sends.
            Ok(()) | Err(WsError::Protocol(ProtocolError::SendAfterClosing)) => self.flush().await,
            Err(error) => Err(broken(error)),
        };
        if let Err(error) = said {
            tracing::debug!(%error, reason = reason.as_str(), "the peer was not told why");
        }
    }

    /// Waits for the peer's close, so that the reset which a socket with unread data sends when it is dropped
    /// cannot overtake what was said.
    async fn linger(&mut self) {
        let mut left = CLOSE_DRAIN_BYTES;
        let answered = poll_fn(|cx| self.shared.lock().poll_answer(cx, &mut left)).await;
        let ended = poll_fn(|cx| Pin::new(self.shared.lock().stream()).poll_shutdown(cx)).await;
        if !answered && ended.is_ok() {
            poll_fn(|cx| self.shared.lock().poll_drain(cx, &mut left)).await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> FrameWriter for WebSocketWriter<S> {
    async fn feed(&mut self, frame: Bytes) -> io::Result<()> {
        if frame.len() > self.frame_bytes {
            return Err(super::too_long(frame.len(), self.frame_bytes));
        }
        let text =
            Utf8Bytes::try_from(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.send(Message::Text(text)).await.map_err(broken)
    }

    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.shared.lock().socket.poll_flush_unpin(cx)).await.map_err(broken)
    }

    async fn close(&mut self, reason: CloseReason) {
        self.shared.lock().take_over();
        let linger = Duration::from_millis(CLOSE_LINGER_MS);
        let patience = match reason {
            // It has been waited for long enough.
            CloseReason::HeartbeatLost | CloseReason::TooSlow => linger,
            CloseReason::Done
            | CloseReason::GoingAway
            | CloseReason::Protocol
            | CloseReason::NotUtf8
            | CloseReason::Policy
            | CloseReason::TooBig
            | CloseReason::Failed
            | CloseReason::TakenOver => self.send_timeout,
        };
        // Running out of either time is no error: the socket goes when both halves are dropped.
        if timeout(patience, self.say_goodbye(reason)).await.is_ok() {
            let _ = timeout(linger, self.linger()).await;
        }
    }
}

/// What both halves work on.
#[derive(Debug)]
struct Shared<S> {
    socket: WebSocketStream<TokioAdapter<S>>,
    /// Whom to tell that the reading half is out of work.
    reading: Option<Waker>,
    /// The writing half is closing and reads what still comes.
    closing: bool,
    /// Reading failed: what the peer still sends is not taken any more, and can only be drained.
    faulty: bool,
    notice: Option<CloseNotice>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    fn stream(&mut self) -> &mut S {
        self.socket.get_mut().get_mut()
    }

    fn take_over(&mut self) {
        self.closing = true;
        if let Some(reader) = self.reading.take() {
            reader.wake();
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Received, Ended>> {
        if self.closing {
            return Poll::Ready(Err(Ended::Closed));
        }
        for _ in 0..CONTROL_BURST {
            let Poll::Ready(next) = self.socket.poll_next_unpin(cx) else {
                self.reading = Some(cx.waker().clone());
                return Poll::Pending;
            };
            return Poll::Ready(match next {
                Some(Ok(Message::Text(text))) => Ok(Received::Text(text.into())),
                Some(Ok(Message::Binary(_))) => Ok(Received::Rejected(FrameFault::Binary)),
                // The next turn's poll sends the pong before it reads, so it leaves though nobody writes.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(frame))) => {
                    self.notice = frame.map(notice);
                    // Sends the answer as far as the peer takes it; there is nothing more to read.
                    let _ = self.socket.poll_next_unpin(cx);
                    Err(Ended::Closed)
                }
                Some(Err(error)) => {
                    self.faulty = true;
                    Err(ended(error, max))
                }
                None => Err(Ended::Closed),
            });
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the message when there is room for it.
    fn poll_feed(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), WsError>> {
        ready!(self.socket.poll_ready_unpin(cx))?;
        while let Some(next) = message.take() {
            match self.socket.start_send_unpin(next) {
                // Pongs that the peer does not read are in the way; an empty buffer has room for any message.
                Err(WsError::WriteBufferFull(refused)) => {
                    *message = Some(*refused);
                    ready!(self.socket.poll_flush_unpin(cx))?;
                }
                sent => return Poll::Ready(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads up to the peer's close; false if it does not come.
    fn poll_answer(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<bool> {
        loop {
            match ready!(self.socket.poll_next_unpin(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(!self.faulty),
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(message)) if message.len() < *left => *left -= message.len(),
                Some(Ok(_)) => return Poll::Ready(false),
            }
        }
    }

    /// Takes raw bytes until the stream's end; what they mean is of no interest any more.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let mut room = [0_u8; 4 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(self.stream()).poll_read(cx, &mut buffer));
            let taken = buffer.filled().len();
            if read.is_err() || taken == 0 || taken >= *left {
                return Poll::Ready(());
            }
            *left -= taken;
        }
    }
}

fn notice(frame: CloseFrame) -> CloseNotice {
    CloseNotice { code: frame.code.into(), text: frame.reason.as_str().to_owned() }
}

/// Why the stream of frames ended.
fn ended(error: WsError, max: usize) -> Ended {
    // Its process ended, or it does not bother to say goodbye.
    let silently = matches!(error, WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake));
    if silently || matches!(error, WsError::ConnectionClosed | WsError::AlreadyClosed) {
        Ended::Closed
    } else {
        match error {
            WsError::Capacity(_) => Ended::Fault(FrameFault::TooLong { max, beginning: Bytes::new() }),
            WsError::Utf8(why) => Ended::Fault(FrameFault::NotUtf8(why)),
            WsError::Protocol(why) => Ended::Fault(FrameFault::Protocol(why.to_string())),
            WsError::ConnectionClosed
            | WsError::AlreadyClosed
            | WsError::Io(_)
            | WsError::Tls(_)
            | WsError::WriteBufferFull(_)
            | WsError::AttackAttempt
            | WsError::Url(_)
            | WsError::Http(_)
            | WsError::HttpFormat(_) => Ended::Broken(broken(error)),
        }
    }
}

fn broken(error: WsError) -> io::Error {
    let kind = match error {
        WsError::Io(error) => return error,
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::SendAfterClosing) => io::ErrorKind::BrokenPipe,
        WsError::Protocol(_) | WsError::Utf8(_) => io::ErrorKind::InvalidData,
        WsError::Capacity(_)
        | WsError::WriteBufferFull(_)
        | WsError::AttackAttempt
        | WsError::Tls(_)
        | WsError::Url(_)
        | WsError::Http(_)
        | WsError::HttpFormat(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}
