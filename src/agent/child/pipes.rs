//! The three pipes of a child: job.start and answers in, messages out, stderr into the job's log.
//!
//! Every wait here is cancel-safe, so that one loop can drive all three pipes next to the process and its deadlines.
//! Each keeps to a bound: answers are counted, lines are limited, stderr is cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};

use crate::agent::{JobPort, PortClosed};
use crate::wire::agent_port::{
    AgentMessage, AgentWelcome, Beat, BrokenContract, DaemonMessage, OpRequest, OpResult, PortLimits,
};
use crate::wire::error::ErrorBody;
use crate::wire::frame::{Line, Lines};
use crate::wire::limits::{
    AGENT_LAST_BYTES, AGENT_REPLIES_PENDING, AGENT_STDERR_LINE_BYTES, ID_CHARS, Limits,
};

/// Bytes that are read at once of what is thrown away.
const SCRATCH_BYTES: usize = 16 * 1024;

/// The agent's stdin.
pub(super) struct Stdin {
    pipe: Option<ChildStdin>,
    unwritten: BytesMut,
    /// Messages handed over since the agent had read everything.
    pending: usize,
}

impl Stdin {
    pub(super) fn new(pipe: ChildStdin) -> Self {
        Stdin { pipe: Some(pipe), unwritten: BytesMut::new(), pending: 0 }
    }

    /// Whether an answer may be handed over; what makes an agent read its stdin.
    pub(super) fn has_room(&self) -> bool {
        self.pending < AGENT_REPLIES_PENDING
    }

    /// Hands a message over; [`pump`](Self::pump) writes it. Never waits.
    pub(super) fn push(&mut self, message: &DaemonMessage) {
        if self.pipe.is_some() {
            self.unwritten.extend_from_slice(&message.to_line());
            self.pending += 1;
        }
    }

    /// Writes what was handed over, and goes on waiting when there is nothing to write. Returns when there is room
    /// again.
    pub(super) async fn pump(&mut self) {
        while let Some(pipe) = self.pipe.as_mut().filter(|_| !self.unwritten.is_empty()) {
            match pipe.write(&self.unwritten).await {
                Ok(written) if written > 0 => self.unwritten.advance(written),
                // The agent has closed its stdin and does not want to know.
                Ok(_) | Err(_) => self.close(),
            }
            if self.unwritten.is_empty() {
                let had_room = self.has_room();
                self.unwritten = BytesMut::new();
                self.pending = 0;
                if !had_room {
                    return;
                }
            }
        }
        std::future::pending().await
    }

    /// Closes it: nothing more will come. Unwritten messages are dropped.
    pub(super) fn close(&mut self) {
        *self = Stdin { pipe: None, unwritten: BytesMut::new(), pending: 0 };
    }
}

/// What came out of an agent's stdout.
pub(super) enum Said {
    /// It wants an answer.
    Reply(DaemonMessage),
    /// It will say no more, or nothing more is wanted.
    Over(Over),
}

/// Why an agent's stdout is read no further.
#[derive(Debug)]
pub(super) enum Over {
    /// It has said its result or error.
    Told,
    /// It ended.
    Eof,
    /// The port takes no more.
    Closed,
    /// It wrote something that is no message, or a message that is not allowed.
    Broken(BrokenContract),
    /// The guard could not start the program: why.
    NotStarted(String),
}

/// The agent's stdout.
pub(super) struct Stdout {
    pipe: ChildStdout,
    lines: Lines,
    port: Arc<dyn JobPort>,
    limits: Arc<Limits>,
    /// Whether a guard starts the program, and its first line is still to come.
    guarded: bool,
    /// What may still be read, once the leader has exited.
    last: Option<Last>,
    eof: bool,
}

/// What is still taken of a pipe that an escaped grandchild may write to for ever.
struct Last {
    bytes: usize,
    /// From here on only what is in the pipe already.
    until: Instant,
}

impl Stdout {
    pub(super) fn new(pipe: ChildStdout, port: Arc<dyn JobPort>, limits: Arc<Limits>, guarded: bool) -> Self {
        let lines = Lines::new(limits.agent_line_bytes);
        Stdout { pipe, lines, port, limits, guarded, last: None, eof: false }
    }

    /// The leader has exited: what is in the pipe is all there is, even if a grandchild keeps the pipe open.
    pub(super) fn drain(&mut self) {
        let until = Instant::now() + Duration::from_millis(self.limits.kill_grace_ms);
        self.last.get_or_insert(Last { bytes: AGENT_LAST_BYTES, until });
    }

    /// Whether only the rest is read.
    pub(super) fn draining(&self) -> bool {
        self.last.is_some()
    }

    /// Reads and delivers until there is something to do about it. Nothing is read, and no line is taken, before
    /// the port is ready.
    pub(super) async fn next(&mut self) -> Said {
        loop {
            self.port.ready().await;
            let line = match self.lines.next_line() {
                Some(line) => line,
                None if !self.eof => {
                    self.read().await;
                    continue;
                }
                None => match self.lines.rest() {
                    Some(line) => line,
                    None => return Said::Over(Over::Eof),
                },
            };
            if let Some(said) = self.take(&line) {
                return said;
            }
        }
    }

    async fn read(&mut self) {
        let read = self.pipe.read_buf(self.lines.buffer());
        let read = match &mut self.last {
            None => read.await.unwrap_or(0),
            Some(last) => {
                let read = timeout_at(last.until, read).await.ok().and_then(Result::ok).unwrap_or(0);
                last.bytes = last.bytes.saturating_sub(read);
                if last.bytes == 0 { 0 } else { read }
            }
        };
        self.eof = read == 0;
    }

    fn take(&mut self, line: &Line) -> Option<Said> {
        let number = self.lines.number();
        let broken = |broken: BrokenContract| Some(Said::Over(Over::Broken(broken.at_line(number))));
        let line = match line {
            Line::Text(line) => line,
            Line::TooLong(_) => {
                let max = self.limits.agent_line_bytes;
                return broken(BrokenContract(format!("a line is longer than {max} bytes; split it")));
            }
        };
        if std::mem::take(&mut self.guarded)
            && let Some(reason) = super::guard::failure(line)
        {
            return Some(Said::Over(Over::NotStarted(reason)));
        }
        let message = match AgentMessage::parse(line, &self.limits) {
            Ok(message) => message,
            Err(contract) => return broken(contract),
        };
        let last_word = match &message {
            AgentMessage::Result(_) | AgentMessage::Error(_) => true,
            AgentMessage::Event(_) => false,
            AgentMessage::Hello(_) => {
                let limits = PortLimits::of(&self.limits);
                return Some(Said::Reply(DaemonMessage::Welcome(AgentWelcome { limits })));
            }
            AgentMessage::Ping(Beat { nonce }) => {
                return Some(match short(nonce, "payload.nonce") {
                    Ok(nonce) => Said::Reply(DaemonMessage::Pong(Beat { nonce })),
                    Err(contract) => return broken(contract),
                });
            }
            AgentMessage::Op(request) => {
                return Some(match refusal(request) {
                    Ok(refusal) => Said::Reply(DaemonMessage::OpResult(refusal)),
                    Err(contract) => return broken(contract),
                });
            }
            // Nobody has pinged, and an answer too many does no harm.
            AgentMessage::Pong(_) => return None,
        };
        match self.port.deliver(message) {
            Ok(()) => last_word.then_some(Said::Over(Over::Told)),
            Err(PortClosed::Ended) => Some(Said::Over(Over::Closed)),
            Err(PortClosed::Broken(contract)) => broken(contract),
        }
    }

    /// Reads on and throws it away, so that an agent that ends does not hang on a full pipe. Never returns.
    pub(super) async fn discard(&mut self) {
        let mut scratch = vec![0; SCRATCH_BYTES];
        while !self.eof {
            self.eof = !self.pipe.read(&mut scratch).await.is_ok_and(|read| read > 0);
        }
        std::future::pending().await
    }
}

/// The same text, unless it is longer than what comes back to the agent may be.
fn short(text: &str, field: &str) -> Result<String, BrokenContract> {
    if text.len() <= ID_CHARS {
        return Ok(text.into());
    }
    Err(BrokenContract(format!("{field}: expected at most {ID_CHARS} bytes, got {}", text.len())))
}

fn refusal(request: &OpRequest) -> Result<OpResult, BrokenContract> {
    let call_id = short(&request.call_id, "payload.call_id")?;
    let op: String = request.op.chars().take(64).collect();
    let error = ErrorBody::invalid(format!("no operation {op:?} is offered; none is offered yet"));
    Ok(OpResult { call_id, error })
}

/// The agent's stderr, on its way into the job's log.
pub(super) struct Stderr {
    pipe: ChildStderr,
    port: Arc<dyn JobPort>,
    line: BytesMut,
    /// Bytes that may still be logged.
    left: usize,
    dropped: u64,
    eof: bool,
}

impl Stderr {
    pub(super) fn new(pipe: ChildStderr, port: Arc<dyn JobPort>, limits: &Limits) -> Self {
        Stderr { pipe, port, line: BytesMut::new(), left: limits.agent_stderr_bytes, dropped: 0, eof: false }
    }

    /// Logs lines as they come. Never returns; after the end of stderr there is just nothing to do.
    pub(super) async fn pump(&mut self) {
        self.read_all().await;
        std::future::pending().await
    }

    /// Logs the rest, waiting at most `within` for it, and says what was dropped.
    pub(super) async fn finish(&mut self, within: Duration) {
        // A grandchild that has left the group may hold the pipe open; it is not waited for.
        let _ = timeout(within, self.read_all()).await;
        self.cut(true);
        if self.dropped > 0 {
            self.port.log(&format!("[{} more bytes of stderr were dropped]", self.dropped));
        }
    }

    async fn read_all(&mut self) {
        while !self.eof {
            self.line.reserve(AGENT_STDERR_LINE_BYTES);
            let read = self.pipe.read_buf(&mut self.line).await.unwrap_or(0);
            self.eof = read == 0;
            self.cut(self.eof);
        }
    }

    /// Logs the whole lines that were read; an over-long one in pieces, an unfinished one only at the end.
    fn cut(&mut self, at_end: bool) {
        while !self.line.is_empty() {
            let end = self.line.iter().take(AGENT_STDERR_LINE_BYTES).position(|b| *b == b'\n');
            let (length, skip) = match end {
                Some(end) => (end, 1),
                None if self.line.len() > AGENT_STDERR_LINE_BYTES => (piece(&self.line), 0),
                None if at_end => (self.line.len(), 0),
                None => return,
            };
            let line = self.line.split_to(length);
            self.line.advance(skip);
            let logged = line.len().min(self.left);
            self.left -= logged;
            self.dropped += (line.len() - logged) as u64;
            let text = String::from_utf8_lossy(&line[..logged]);
            let text = text.trim_end();
            if !text.is_empty() {
                self.port.log(text);
            }
        }
    }
}

/// The length of a piece of an over-long line that does not end within a character.
fn piece(line: &[u8]) -> usize {
    let inside = |at: &usize| line.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
    let end = (AGENT_STDERR_LINE_BYTES - 3..=AGENT_STDERR_LINE_BYTES).rev().find(|at| !inside(at));
    end.unwrap_or(AGENT_STDERR_LINE_BYTES)
}
