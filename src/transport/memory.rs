//! A pair of transports inside one process, for embedding and for tests.
//!
//! Frames are passed on as they are, without a copy, through two bounded channels. A writer that is closed or
//! dropped ends the peer's reader after everything that was sent before.

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{CloseNotice, CloseReason, Ended, FrameReader, FrameWriter, Received, Transport};

/// Frames that wait in one direction before the sender has to wait.
pub const MEMORY_FRAMES: usize = 256;

/// Two transports, each the other's peer.
pub fn pair() -> (MemoryTransport, MemoryTransport) {
    let (there, here) = (direction(), direction());
    (MemoryTransport { reader: here.1, writer: there.0 }, MemoryTransport { reader: there.1, writer: here.0 })
}

fn direction() -> (MemoryWriter, MemoryReader) {
    let (sender, receiver) = mpsc::channel(MEMORY_FRAMES);
    let reason = Arc::new(OnceLock::new());
    (MemoryWriter { sender: Some(sender), reason: reason.clone() }, MemoryReader { receiver, reason })
}

/// One side of a [`pair`].
#[derive(Debug)]
pub struct MemoryTransport {
    reader: MemoryReader,
    writer: MemoryWriter,
}

impl Transport for MemoryTransport {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;

    fn split(self) -> (MemoryReader, MemoryWriter) {
        (self.reader, self.writer)
    }
}

/// The receiving half of a [`MemoryTransport`].
#[derive(Debug)]
pub struct MemoryReader {
    receiver: mpsc::Receiver<Bytes>,
    reason: Arc<OnceLock<CloseReason>>,
}

impl FrameReader for MemoryReader {
    async fn receive(&mut self) -> Result<Received, Ended> {
        self.receiver.recv().await.map(Received::Text).ok_or(Ended::Closed)
    }

    fn close_notice(&self) -> Option<CloseNotice> {
        self.reason.get().copied().map(CloseNotice::from)
    }
}

/// The sending half of a [`MemoryTransport`].
#[derive(Debug)]
pub struct MemoryWriter {
    sender: Option<mpsc::Sender<Bytes>>,
    reason: Arc<OnceLock<CloseReason>>,
}

impl FrameWriter for MemoryWriter {
    async fn feed(&mut self, frame: Bytes) -> io::Result<()> {
        let sender = self.sender.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        sender.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self, reason: CloseReason) {
        // Only the first close counts; a second one finds the reason set and the sender gone.
        let _ = self.reason.set(reason);
        self.sender = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_cross_in_order_and_a_close_comes_last_with_its_reason() {
        let (a, b) = pair();
        let ((mut a_reader, mut a_writer), (mut b_reader, mut b_writer)) = (a.split(), b.split());
        for n in 0..MEMORY_FRAMES {
            a_writer.feed(n.to_string().into()).await.unwrap();
        }
        a_writer.close(CloseReason::TakenOver).await;
        for n in 0..MEMORY_FRAMES {
            assert_eq!(b_reader.receive().await.unwrap(), Received::Text(n.to_string().into()));
        }
        assert!(matches!(b_reader.receive().await, Err(Ended::Closed)));
        assert_eq!(b_reader.close_notice(), Some(CloseReason::TakenOver.into()));
        assert_eq!(a_writer.feed("x".into()).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        b_writer.feed("back".into()).await.unwrap();
        drop(b_writer);
        assert_eq!(a_reader.receive().await.unwrap(), Received::Text("back".into()));
        assert!(matches!(a_reader.receive().await, Err(Ended::Closed)));
        assert_eq!(a_reader.close_notice(), None);
    }

    #[tokio::test]
    async fn a_full_channel_makes_the_writer_wait_and_a_dropped_reader_breaks_it() {
        let (a, b) = pair();
        let ((_, mut writer), (mut reader, _)) = (a.split(), b.split());
        for _ in 0..MEMORY_FRAMES {
            writer.feed("x".into()).await.unwrap();
        }
        tokio::select! {
            biased;
            _ = writer.feed("one too many".into()) => panic!("the channel is not bounded"),
            () = std::future::ready(()) => {}
        }
        reader.receive().await.unwrap();
        writer.feed("fits again".into()).await.unwrap();
        drop(reader);
        assert_eq!(writer.feed("x".into()).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
