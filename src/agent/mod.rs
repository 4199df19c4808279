//! Agents: the code that does jobs, and the one contract by which the daemon talks to it.
//!
//! An [`AgentHost`] runs one attempt of a job and says how it went; it knows processes and tasks, and nothing of
//! sessions, stores or clients. Everything that the agent says goes through its [`JobPort`].

pub mod catalogue;
pub mod child;
pub mod demo;
pub mod in_process;
#[cfg(test)]
pub(crate) mod testing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::agent_port::{AgentMessage, BrokenContract, JobStart, JobStop};

/// A future on the heap, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where an attempt's messages go. Implemented by the runtime.
pub trait JobPort: Send + Sync + 'static {
    /// Takes a message of the agent.
    ///
    /// # Errors
    /// [`PortClosed`] once nothing more of this attempt is wanted.
    fn deliver(&self, message: AgentMessage) -> Result<(), PortClosed>;

    /// Waits until more messages may be delivered; the daemon's back-pressure on an agent.
    fn ready(&self) -> BoxFuture<'_, ()>;

    /// One line for the job's log: what the agent wrote to stderr.
    fn log(&self, line: &str);
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortClosed {
    /// The job has ended, or this attempt has been replaced.
    #[error("the job has ended; nothing more is taken from this attempt")]
    Ended,
    /// The message broke the contract; the job ends with this error.
    #[error(transparent)]
    Broken(#[from] BrokenContract),
}

/// How an attempt came to its end, apart from what the agent said through the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The agent has ended by itself. If it has said neither result nor error, that is an error of its own.
    Finished,
    /// It could not be started.
    NotStarted(String),
    /// It ended without a word: how.
    Lost(String),
    /// It wrote something that is no message.
    Broken(BrokenContract),
    /// It was stopped, by itself or by force.
    Stopped,
}

/// That an attempt is to stop, and by when.
#[derive(Debug, Clone)]
pub struct Stop {
    /// What the agent is told.
    pub said: JobStop,
    /// When its time is over: the deadline it is told, by the clock that nobody sets (§14).
    pub by: Instant,
}

/// Tells a running attempt to stop.
#[derive(Clone)]
pub struct StopSignal(tokio::sync::watch::Receiver<Option<Stop>>);

/// The other end of a [`StopSignal`].
pub struct Stopper(tokio::sync::watch::Sender<Option<Stop>>);

impl Stopper {
    /// A pair of ends.
    pub fn new() -> (Stopper, StopSignal) {
        let (sender, receiver) = tokio::sync::watch::channel(None);
        (Stopper(sender), StopSignal(receiver))
    }

    /// Says stop, within `grace` from now. The first word counts.
    pub fn stop(&self, said: JobStop, grace: Duration) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(Stop { said, by: Instant::now() + grace });
            first
        });
    }
}

impl StopSignal {
    /// Waits until the attempt is to stop.
    pub async fn stopped(&mut self) -> Stop {
        loop {
            if let Some(stop) = self.0.borrow_and_update().clone() {
                return stop;
            }
            if self.0.changed().await.is_err() {
                // Nobody can say stop any more; whoever runs the attempt drops it instead.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether the attempt is to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// Runs attempts of one agent version.
pub trait AgentHost: Send + Sync + 'static {
    /// Runs one attempt to its end. After `stop` it gives the agent until the stop's deadline, then ends it by
    /// force. Dropping the future ends the attempt at once and leaves nothing running.
    fn run(
        &self,
        start: JobStart,
        port: Arc<dyn JobPort>,
        stop: StopSignal,
    ) -> BoxFuture<'static, AttemptEnd>;
}
