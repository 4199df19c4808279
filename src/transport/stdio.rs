//! One JSON object a line, over any pair of byte streams: the process's own stdin and stdout, a child's pipes.
//!
//! A line that is too long costs that line and is never held whole in memory; blank lines are skipped. Nothing
//! is lost when a call is dropped while it waits: what was read and not yet returned, or fed and not yet
//! written, stays in the half.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Stdin, Stdout};

use super::{CloseReason, Ended, FrameFault, FrameReader, FrameWriter, Received, Transport};
use crate::wire::frame::{Line, Lines};
use crate::wire::limits::Limits;

/// Bytes that are fed before they are written without waiting for a flush.
pub const LINE_BUFFER_BYTES: usize = 32 * 1024;

/// The client that started this process, on its stdin and stdout.
///
/// Tokio reads stdin on a thread that cannot be interrupted: a process that wants to end while its stdin is still
/// open has to shut its runtime down in the background or exit.
pub fn stdio(limits: &Limits) -> LineTransport<Stdin, Stdout> {
    LineTransport::new(tokio::io::stdin(), tokio::io::stdout(), limits.frame_bytes)
}

/// Lines over a pair of byte streams.
#[derive(Debug)]
pub struct LineTransport<R, W> {
    reader: LineReader<R>,
    writer: LineWriter<W>,
}

impl<R, W> LineTransport<R, W> {
    /// Speaks over `input` and `output` in lines of at most `max` bytes, line end not counted.
    pub fn new(input: R, output: W, max: usize) -> Self {
        LineTransport { reader: LineReader::new(input, max), writer: LineWriter::new(output, max) }
    }
}

impl<R, W> Transport for LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Reader = LineReader<R>;
    type Writer = LineWriter<W>;

    fn split(self) -> (LineReader<R>, LineWriter<W>) {
        (self.reader, self.writer)
    }
}

/// The receiving half of a [`LineTransport`].
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    lines: Lines,
    max: usize,
}

impl<R> LineReader<R> {
    /// Reads lines of at most `max` bytes from `input`.
    pub fn new(input: R, max: usize) -> Self {
        LineReader { input, lines: Lines::new(max), max }
    }

    fn received(&self, line: Line) -> Received {
        match line {
            Line::Text(text) => Received::Text(text),
            Line::TooLong(beginning) => Received::Rejected(FrameFault::TooLong { max: self.max, beginning }),
        }
    }
}

impl<R: AsyncRead + Send + Unpin> FrameReader for LineReader<R> {
    async fn receive(&mut self) -> Result<Received, Ended> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return Ok(self.received(line));
            }
            // Dropped here, nothing was read; after it, what was read is in `lines`.
            if self.input.read_buf(self.lines.buffer()).await? == 0 {
                let rest = self.lines.rest().ok_or(Ended::Closed)?;
                return Ok(self.received(rest));
            }
        }
    }
}

/// The sending half of a [`LineTransport`].
#[derive(Debug)]
pub struct LineWriter<W> {
    output: W,
    buffer: BytesMut,
    max: usize,
}

impl<W> LineWriter<W> {
    /// Writes lines of at most `max` bytes to `output`.
    pub fn new(output: W, max: usize) -> Self {
        LineWriter { output, buffer: BytesMut::new(), max }
    }
}

impl<W: AsyncWrite + Send + Unpin> LineWriter<W> {
    async fn write_out(&mut self) -> io::Result<()> {
        while self.buffer.has_remaining() {
            if self.output.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        // One large frame is no reason to keep its room for the life of the connection.
        if self.buffer.capacity() > 2 * LINE_BUFFER_BYTES {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Send + Unpin> FrameWriter for LineWriter<W> {
    async fn feed(&mut self, frame: Bytes) -> io::Result<()> {
        if frame.len() > self.max {
            return Err(super::too_long(frame.len(), self.max));
        }
        if self.buffer.len() >= LINE_BUFFER_BYTES {
            self.write_out().await?;
        }
        self.buffer.reserve(frame.len() + 1);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&frame);
        // In JSON a bare line end is only ever white space between tokens, as in a payload that its author
        // indented; here it would cut the frame in two.
        for byte in &mut self.buffer[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.buffer.extend_from_slice(b"\n");
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write_out().await?;
        self.output.flush().await
    }

    async fn close(&mut self, reason: CloseReason) {
        if let Err(error) = self.flush().await {
            tracing::debug!(%error, reason = reason.as_str(), "the peer did not read to the end");
        }
        // A pipe cannot say why; its end is the message.
        let _ = self.output.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const MAX: usize = 16;

    fn text(t: &'static str) -> Received {
        Received::Text(Bytes::from_static(t.as_bytes()))
    }

    /// A reader of lines, and the stream that feeds it.
    fn reader() -> (DuplexStream, LineReader<DuplexStream>) {
        let (ours, theirs) = duplex(1 << 20);
        (ours, LineReader::new(theirs, MAX))
    }

    #[tokio::test]
    async fn both_directions_carry_lines_until_the_end() {
        let (near, far) = duplex(64);
        let ((near_in, near_out), (far_in, far_out)) = (tokio::io::split(near), tokio::io::split(far));
        let (mut near_in, mut near_out) = LineTransport::new(near_in, near_out, MAX).split();
        let (mut far_in, mut far_out) = LineTransport::new(far_in, far_out, MAX).split();
        near_out.feed("{\"a\":1}".into()).await.unwrap();
        near_out.flush().await.unwrap();
        assert_eq!(far_in.receive().await.unwrap(), text("{\"a\":1}"));
        far_out.feed("{}".into()).await.unwrap();
        far_out.close(CloseReason::Done).await;
        assert_eq!(near_in.receive().await.unwrap(), text("{}"));
        assert!(matches!(near_in.receive().await, Err(Ended::Closed)));
        assert!(matches!(near_in.receive().await, Err(Ended::Closed)), "it stays ended");
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_rejected_and_the_stream_goes_on() {
        let (mut out, mut reader) = reader();
        let (exact, over) = ("x".repeat(MAX), "x".repeat(MAX + 1));
        out.write_all(format!("\n{exact}\n{over}\r\n  \n{exact}\r\nend").as_bytes()).await.unwrap();
        drop(out);
        assert_eq!(reader.receive().await.unwrap(), Received::Text(exact.clone().into()));
        let fault = FrameFault::TooLong { max: MAX, beginning: over.clone().into() };
        assert_eq!(reader.receive().await.unwrap(), Received::Rejected(fault));
        assert_eq!(reader.receive().await.unwrap(), Received::Text(exact.into()));
        assert_eq!(reader.receive().await.unwrap(), text("end"), "half a line at the end is a line");
        assert!(matches!(reader.receive().await, Err(Ended::Closed)));
    }

    #[tokio::test]
    async fn a_hostile_line_is_not_gathered_in_memory() {
        let (mut out, mut reader) = reader();
        let writer = tokio::spawn(async move {
            for _ in 0..64 {
                out.write_all(&[b'x'; 64 * 1024]).await.unwrap();
            }
            out.write_all(b"\nok\n").await.unwrap();
        });
        assert!(matches!(reader.receive().await, Ok(Received::Rejected(_))));
        assert_eq!(reader.receive().await.unwrap(), text("ok"));
        writer.await.unwrap();
        assert!(reader.lines.buffer().capacity() <= 64 * 1024, "{}", reader.lines.buffer().capacity());
    }

    #[tokio::test]
    async fn a_receive_dropped_between_pieces_loses_nothing() {
        let (mut out, mut reader) = reader();
        for piece in ["{\"n", "\":", "1", "}"] {
            out.write_all(piece.as_bytes()).await.unwrap();
            tokio::select! {
                biased;
                _ = reader.receive() => panic!("there is no whole line yet"),
                () = std::future::ready(()) => {}
            }
        }
        out.write_all(b"\n{}\n").await.unwrap();
        assert_eq!(reader.receive().await.unwrap(), text("{\"n\":1}"));
        assert_eq!(reader.receive().await.unwrap(), text("{}"));
    }

    #[tokio::test]
    async fn frames_are_buffered_up_to_the_bound_and_a_dropped_feed_leaves_no_half_line() {
        let (near, far) = duplex(7);
        let mut writer = LineWriter::new(near, LINE_BUFFER_BYTES);
        let large = "y".repeat(LINE_BUFFER_BYTES);
        writer.feed(large.clone().into()).await.unwrap();
        // The buffer is full and the pipe takes seven bytes at a time: this call waits, and is given up.
        tokio::select! {
            biased;
            _ = writer.feed("lost".into()) => panic!("the buffer is not bounded"),
            () = std::future::ready(()) => {}
        }
        let mut reader = LineReader::new(far, LINE_BUFFER_BYTES);
        let (sent, received) = tokio::join!(
            async {
                for n in 0..1_000 {
                    writer.feed(n.to_string().into()).await?;
                }
                writer.flush().await
            },
            async {
                assert_eq!(reader.receive().await.unwrap(), Received::Text(large.into()));
                for n in 0..1_000 {
                    assert_eq!(reader.receive().await.unwrap(), Received::Text(n.to_string().into()));
                }
            }
        );
        sent.unwrap();
        received
    }

    #[tokio::test]
    async fn a_frame_with_line_ends_between_its_tokens_stays_one_line() {
        let (near, far) = duplex(64);
        let (mut writer, mut reader) = (LineWriter::new(near, 64), LineReader::new(far, 64));
        writer.feed("{\n  \"a\": \"b\\n\"\r\n}".into()).await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(reader.receive().await.unwrap(), text("{   \"a\": \"b\\n\"  }"));
        let long = writer.feed("x".repeat(65).into()).await.unwrap_err();
        assert_eq!(long.to_string(), "expected to send a frame of at most 64 bytes, got 65");
        drop(reader);
        writer.feed("x".into()).await.unwrap();
        assert!(writer.flush().await.is_err());
    }
}
