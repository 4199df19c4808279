//! How a client reaches its runtime: anything that makes a [`Transport`], again after each break.

use std::future::Future;
use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::error::DialError;
use crate::transport::{CloseReason, Ended, FrameReader, FrameWriter, Received, Transport};

/// Makes connections to one runtime.
///
/// Implemented for closures that return a future of a [`Link`]:
///
/// ```
/// use arcpd::client::{Connector, DialError, Link};
///
/// let nowhere = || async { Err::<Link, _>(DialError("there is nothing here".into())) };
/// fn takes(_: impl Connector) {}
/// takes(nowhere);
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Makes one connection.
    fn connect(&self) -> BoxFuture<'_, Result<Link, DialError>>;
}

impl<F, R> Connector for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<Link, DialError>> + Send + 'static,
{
    fn connect(&self) -> BoxFuture<'_, Result<Link, DialError>> {
        Box::pin(self())
    }
}

/// A connection whose sort no longer matters.
pub struct Link {
    pub(super) reader: Box<dyn AnyReader>,
    pub(super) writer: Box<dyn AnyWriter>,
}

impl Link {
    /// Takes a connection of any sort.
    pub fn new<T>(transport: T) -> Self
    where
        T: Transport,
        T::Reader: 'static,
        T::Writer: 'static,
    {
        let (reader, writer) = transport.split();
        Link { reader: Box::new(reader), writer: Box::new(writer) }
    }
}

impl Link {
    /// Sends one frame.
    ///
    /// # Errors
    /// When the other side takes nothing any more.
    pub async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.writer.send(vec![frame]).await
    }

    /// The next frame of the other side.
    ///
    /// # Errors
    /// [`Ended`] when none comes any more.
    pub async fn receive(&mut self) -> Result<Received, Ended> {
        self.reader.receive().await
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// [`FrameReader`] as an object.
pub(super) trait AnyReader: Send {
    fn receive(&mut self) -> BoxFuture<'_, Result<Received, Ended>>;
}

impl<R: FrameReader> AnyReader for R {
    fn receive(&mut self) -> BoxFuture<'_, Result<Received, Ended>> {
        Box::pin(FrameReader::receive(self))
    }
}

/// [`FrameWriter`] as an object.
pub(super) trait AnyWriter: Send {
    fn send(&mut self, frames: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>>;
    fn close(&mut self, reason: CloseReason) -> BoxFuture<'_, ()>;
}

impl<W: FrameWriter> AnyWriter for W {
    fn send(&mut self, frames: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            for frame in frames {
                self.feed(frame).await?;
            }
            self.flush().await
        })
    }

    fn close(&mut self, reason: CloseReason) -> BoxFuture<'_, ()> {
        Box::pin(FrameWriter::close(self, reason))
    }
}
