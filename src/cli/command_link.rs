//! A runtime that is a command: each connection is a process of its own, spoken to by lines on its stdin and stdout.

use std::process::Stdio;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::client::{DialError, Link};
use crate::transport::stdio::{LineReader, LineWriter};
use crate::transport::{Ended, FrameReader, Received, Transport};
use crate::wire::limits::FRAME_BYTES;

/// Starts the command and speaks to it. It ends with the connection.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(command: &str) -> Result<Link, DialError> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = shell.spawn().map_err(|error| DialError(format!("cannot start {command:?}: {error}")))?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (input, output) = pipes.ok_or_else(|| DialError("the command has no pipes".into()))?;
    Ok(Link::new(Process { child, input, output }))
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

/// The receiving half; the process lives as long as somebody listens to it.
struct Listening {
    lines: LineReader<ChildStdout>,
    _child: Child,
}

impl FrameReader for Listening {
    async fn receive(&mut self) -> Result<Received, Ended> {
        self.lines.receive().await
    }
}

impl Transport for Process {
    type Reader = Listening;
    type Writer = LineWriter<ChildStdin>;

    fn split(self) -> (Listening, LineWriter<ChildStdin>) {
        let lines = LineReader::new(self.output, FRAME_BYTES);
        (Listening { lines, _child: self.child }, LineWriter::new(self.input, FRAME_BYTES))
    }
}
