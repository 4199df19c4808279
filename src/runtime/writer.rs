//! The sending side of a connection: one cursor over the session's stream, for replay and live alike.
//!
//! What a client may rely on, in every dialect, and published clients do:
//! - The first frame is the welcome, or says why there is none.
//! - Every request that has an answer gets exactly one, in the order of the requests. Clients that match a submit and its
//!   answer by their order would else take every later answer for another submit's.
//! - An answer waits for no more of the stream than about one read of the store ([`READ_BYTES`]), however much there is to
//!   replay: clients give up on a submit after five seconds.
//! - Nothing about a job comes before the answer that names it, and nothing comes after its end.
//! - The numbered stream has no gap and no repetition, and a replay repeats the ids of its frames.
//! - What is told is stored: a message waits for the batch that it depends on.

use std::collections::HashMap;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::Core;
use super::connection::Link;
use super::inline;
use super::requests;
use super::session::{Reply, Work};
use crate::proto::handshake::cannot_resume;
use crate::proto::heartbeat::Beat;
use crate::proto::record::Record;
use crate::proto::stream::{Extent, Piece};
use crate::store::Unreadable;
use crate::transport::{CloseReason, FrameWriter};
use crate::wire::dialect::{Dialect, Encoded};
use crate::wire::envelope::Head;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::feature::Feature;
use crate::wire::id::{JobId, MessageId, SessionId, TraceId};
use crate::wire::message::{ServerMessage, StreamKind};
use crate::wire::session::{Ping, SessionError};

/// Payload bytes that are read from the store at a time.
const READ_BYTES: usize = 64 * 1024;

/// Turns in which a connection is still answered while the daemon stops: who asks and asks is not heard for ever.
const LAST_ANSWERS: u32 = 64;

/// Traces of jobs that a connection remembers, at most.
const TRACES: usize = 4_096;

/// Writes frames, and gives up on a peer that does not read.
pub(super) struct Outbox<W> {
    writer: W,
    patience: Duration,
}

impl<W: FrameWriter> Outbox<W> {
    pub(super) fn new(writer: W, patience: Duration) -> Self {
        Outbox { writer, patience }
    }

    /// Sends a message of a session, at once.
    pub(super) async fn say(&mut self, link: &Link, message: &ServerMessage) -> Result<(), CloseReason> {
        self.say_to(&link.core, link.session.id, &*link.dialect, message).await
    }

    /// Sends a message, at once.
    pub(super) async fn say_to(
        &mut self,
        core: &Core,
        session_id: SessionId,
        dialect: &dyn Dialect,
        message: &ServerMessage,
    ) -> Result<(), CloseReason> {
        let (id, at) = (core.message_id(), core.ambient.now());
        let head = Head { id, session_id, job_id: None, trace_id: None, event_seq: None, at };
        self.feed(dialect.message(&head, message)).await?;
        self.flush().await
    }

    /// Sends what a message became, to the last frame.
    async fn feed(&mut self, encoded: Encoded) -> Result<(), CloseReason> {
        let Encoded { frames, pause, later } = encoded;
        for frame in frames {
            self.frame(frame).await?;
        }
        self.rest(pause).await?;
        for frame in later {
            self.frame(frame).await?;
        }
        Ok(())
    }

    /// Lets the peer have what was written, and a moment with it.
    async fn rest(&mut self, pause: Duration) -> Result<(), CloseReason> {
        if !pause.is_zero() {
            self.flush().await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn frame(&mut self, frame: Bytes) -> Result<(), CloseReason> {
        within(self.patience, self.writer.feed(frame)).await
    }

    async fn flush(&mut self) -> Result<(), CloseReason> {
        within(self.patience, self.writer.flush()).await
    }

    /// Says why and closes.
    pub(super) async fn close(mut self, reason: CloseReason) {
        // Whoever does not read a goodbye in time does not get one.
        let _ = timeout(self.patience, self.writer.close(reason)).await;
    }
}

async fn within(patience: Duration, write: impl Future<Output = io::Result<()>>) -> Result<(), CloseReason> {
    let mut write = pin!(write);
    // Most writes are done at once, and need no timer.
    let written = match poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await {
        Poll::Ready(written) => Ok(written),
        Poll::Pending => timeout(patience, write).await,
    };
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!("cannot write: {error}");
            Err(CloseReason::Done)
        }
        Err(_) => Err(CloseReason::TooSlow),
    }
}

/// The writer of one connection and its place in the stream.
struct Cursor<'a> {
    link: &'a Link,
    sent: u64,
    traces: HashMap<JobId, Option<TraceId>>,
    /// What one numbered message became; kept for its memory.
    frames: Vec<Bytes>,
    /// Payload bytes of the stream since the last answers.
    turn_bytes: usize,
    /// Turns of answers alone since the daemon stops.
    last_answers: u32,
}

/// Sends what there is to send until the connection has to close; returns why.
pub(super) async fn write<W: FrameWriter>(link: &Link, outbox: &mut Outbox<W>) -> CloseReason {
    let mut cursor = Cursor {
        link,
        sent: link.from,
        traces: HashMap::new(),
        frames: Vec::new(),
        turn_bytes: 0,
        last_answers: 0,
    };
    loop {
        if let Err(reason) = cursor.turn(outbox).await {
            return reason;
        }
    }
}

impl Cursor<'_> {
    async fn turn<W: FrameWriter>(&mut self, outbox: &mut Outbox<W>) -> Result<(), CloseReason> {
        let link = self.link;
        self.beat(outbox).await?;
        match link.session.work(link.generation, self.sent, link.core.ambient.now()) {
            Work::Idle => {
                outbox.flush().await?;
                tokio::select! {
                    // What there is to say is said before a stop is obeyed.
                    biased;
                    () = link.session.woken() => Ok(()),
                    () = self.next_beat() => Ok(()),
                    () = link.core.stopping.cancelled() => Err(CloseReason::GoingAway),
                }
            }
            Work::Send { replies, extents, ticket } => {
                let newest = replies.iter().map(|reply| reply.ticket).fold(ticket, Ord::max);
                link.core.store.applied(newest).await.map_err(|_| CloseReason::GoingAway)?;
                let only_answers = extents.is_empty();
                self.replies(outbox, replies).await?;
                self.extents(outbox, extents).await?;
                self.spoke();
                if only_answers && link.core.stopping.is_cancelled() {
                    self.last_answers += 1;
                }
                if self.last_answers > LAST_ANSWERS {
                    outbox.flush().await?;
                    return Err(CloseReason::GoingAway);
                }
                Ok(())
            }
            Work::Close { replies, reason } => {
                let newest = replies.iter().map(|reply| reply.ticket).max().unwrap_or_default();
                link.core.store.applied(newest).await.map_err(|_| CloseReason::GoingAway)?;
                self.replies(outbox, replies).await?;
                if reason == CloseReason::TooSlow {
                    let max = link.core.limits.lag_detach_events;
                    let error = ErrorBody::limit("lag_detach_events", max, 0);
                    outbox.say(link, &ServerMessage::Error(SessionError::new(error, None))).await?;
                }
                Err(reason)
            }
            Work::Lost(lost) => {
                let error = cannot_resume().with("job_id", lost.job.to_string()).with("oldest", lost.oldest);
                outbox.say(link, &ServerMessage::Error(SessionError::new(error, None))).await?;
                Err(CloseReason::TooSlow)
            }
        }
    }

    async fn replies<W: FrameWriter>(
        &mut self,
        outbox: &mut Outbox<W>,
        replies: Vec<Reply>,
    ) -> Result<(), CloseReason> {
        // One pause serves all of them: nobody waits for somebody else's.
        let mut rest = Encoded::default();
        for Reply { message, job_id, trace_id, .. } in replies {
            let (id, at) = (self.link.core.message_id(), self.link.core.ambient.now());
            let head = Head { id, session_id: self.link.session.id, job_id, trace_id, event_seq: None, at };
            let Encoded { frames, pause, later } = self.link.dialect.message(&head, &message);
            for frame in frames {
                outbox.frame(frame).await?;
            }
            rest.pause = rest.pause.max(pause);
            rest.later.extend(later);
        }
        outbox.feed(rest).await
    }

    async fn extents<W: FrameWriter>(
        &mut self,
        outbox: &mut Outbox<W>,
        extents: Vec<Extent>,
    ) -> Result<(), CloseReason> {
        let (from, link) = (self.sent, self.link);
        self.turn_bytes = 0;
        let mut written = Ok(());
        for extent in extents {
            written = self.extent(outbox, extent).await;
            if written.is_err() || self.yields() {
                break;
            }
        }
        link.core.meters.delivered(from, self.sent, link.given);
        written
    }

    /// Whether answers come first now: what is left of the turn is found again behind them.
    fn yields(&self) -> bool {
        self.turn_bytes >= READ_BYTES && self.link.session.has_replies()
    }

    async fn extent<W: FrameWriter>(
        &mut self,
        outbox: &mut Outbox<W>,
        extent: Extent,
    ) -> Result<(), CloseReason> {
        let trace_id = self.trace(extent.job()).await;
        let trace_id = self.read(outbox, trace_id).await?;
        let (job, first_pos, len) = match extent.piece {
            Piece::Private { job, payload } => {
                let head = self.head(job, trace_id, extent.first_seq);
                self.sent = extent.first_seq;
                return self.stream(outbox, StreamKind::Event, &head, &payload).await;
            }
            Piece::Run { job, first_pos, len } => (job, first_pos, len),
        };
        let mut pos = first_pos;
        while pos < first_pos + len {
            let records = self.link.core.store.records(job, pos - 1, first_pos + len - pos, READ_BYTES).await;
            let records = self.read(outbox, records).await?;
            if records.is_empty() {
                // Trimmed between numbering and sending.
                let error = cannot_resume().with("job_id", job.to_string());
                outbox.say(self.link, &ServerMessage::Error(SessionError::new(error, None))).await?;
                return Err(CloseReason::TooSlow);
            }
            for record in records {
                let seq = extent.first_seq + (pos - first_pos);
                if !self.link.has(job, pos, seq) {
                    let head = self.head(job, trace_id, seq);
                    self.record(outbox, head, job, &record).await?;
                }
                self.sent = seq;
                pos += 1;
            }
            if self.yields() {
                break;
            }
        }
        Ok(())
    }

    async fn record<W: FrameWriter>(
        &mut self,
        outbox: &mut Outbox<W>,
        head: Head,
        job: JobId,
        record: &Record,
    ) -> Result<(), CloseReason> {
        let link = self.link;
        let inlined = if record.kind == StreamKind::Result && !link.session.features.has(Feature::ResultChunk)
        {
            let result = inline::result(&*link.core.store, &link.core.limits, job, record).await;
            self.read(outbox, result).await?
        } else {
            None
        };
        let payload = inlined.as_ref().unwrap_or(&record.payload);
        self.stream(outbox, record.kind, &head, payload).await?;
        if record.kind != StreamKind::Event {
            self.traces.remove(&job);
        }
        Ok(())
    }

    async fn stream<W: FrameWriter>(
        &mut self,
        outbox: &mut Outbox<W>,
        kind: StreamKind,
        head: &Head,
        payload: &Bytes,
    ) -> Result<(), CloseReason> {
        self.turn_bytes += payload.len();
        self.link.dialect.stream(kind, head, payload, &mut self.frames);
        for frame in self.frames.drain(..) {
            outbox.frame(frame).await?;
        }
        Ok(())
    }

    /// The head of a numbered message. Its id is made of the session and the number, so a replay repeats it.
    fn head(&self, job: JobId, trace_id: Option<TraceId>, seq: u64) -> Head {
        let session_id = self.link.session.id;
        let id = MessageId(ulid::Ulid(session_id.0.0.wrapping_add(u128::from(seq))));
        let at = self.link.core.ambient.now();
        Head { id, session_id, job_id: Some(job), trace_id, event_seq: Some(seq), at }
    }

    /// What was read; what cannot be read is said, and ends the connection: its client resumes later.
    async fn read<T, W: FrameWriter>(
        &self,
        outbox: &mut Outbox<W>,
        answer: Result<T, Unreadable>,
    ) -> Result<T, CloseReason> {
        match answer {
            Ok(read) => Ok(read),
            Err(unreadable) => {
                let error = SessionError::new(requests::unreadable(unreadable), None);
                outbox.say(self.link, &ServerMessage::Error(error)).await?;
                Err(CloseReason::Failed)
            }
        }
    }

    async fn trace(&mut self, job: JobId) -> Result<Option<TraceId>, Unreadable> {
        if let Some(trace) = self.traces.get(&job) {
            return Ok(*trace);
        }
        let followed = self.link.session.lock().followed(job);
        let trace = match followed {
            Some(cell) => cell.spec.order.trace_id,
            None => self.link.core.store.job(job).await?.and_then(|row| row.spec.order.trace_id),
        };
        if self.traces.len() >= TRACES {
            self.traces.clear();
        }
        self.traces.insert(job, trace);
        Ok(trace)
    }

    fn spoke(&self) {
        if let Some(heartbeat) = &self.link.heartbeat {
            heartbeat.lock().spoke(self.link.core.ambient.now());
        }
    }

    /// Does what the heartbeat asks for now.
    async fn beat<W: FrameWriter>(&self, outbox: &mut Outbox<W>) -> Result<(), CloseReason> {
        let Some(heartbeat) = &self.link.heartbeat else { return Ok(()) };
        let core = &self.link.core;
        let now = core.ambient.now();
        let beat = heartbeat.lock().poll(now);
        match beat {
            Beat::Wait(_) => Ok(()),
            Beat::Ping => {
                let nonce = format!("p_{}", core.message_id().0);
                let ping = Ping { nonce, sent_at: Some(now.to_string()) };
                outbox.say(self.link, &ServerMessage::Ping(ping)).await
            }
            Beat::Lost => {
                let message = "nothing was heard for two heartbeat intervals; the session can be resumed";
                let error = ErrorBody::new(ErrorCode::HeartbeatLost, message);
                outbox.say(self.link, &ServerMessage::Error(SessionError::new(error, None))).await?;
                Err(CloseReason::HeartbeatLost)
            }
        }
    }

    /// Waits until the heartbeat may ask for something.
    async fn next_beat(&self) {
        let Some(heartbeat) = &self.link.heartbeat else { return pending().await };
        let now = self.link.core.ambient.now();
        let due = heartbeat.lock().due();
        tokio::time::sleep(due.since(now)).await;
    }
}
