//! What a handle tells about its job.

use super::error::Cut;
use crate::wire::event::Event;
use crate::wire::job::{JobError, JobResult, JobStatus};

/// One thing that a [`super::JobHandle`] tells.
#[derive(Debug, Clone)]
pub enum JobUpdate {
    /// Something happened in the job.
    Event(JobEvent),
    /// The connection broke; the client tries to get it back and goes on where it was. A notice: it is left out
    /// for a handle whose buffer is full.
    Interrupted(String),
    /// The connection is back; nothing was lost or doubled in between. A notice as well.
    Resumed(Resumed),
    /// The runtime no longer has part of the job's history: what stands between these positions is lost.
    Missed {
        /// The last position that was handed out.
        after: u64,
        /// The first one that follows.
        before: u64,
    },
    /// The job has ended. Nothing follows.
    Ended(Outcome),
    /// Nothing more will be heard here, though the job may go on. Nothing follows.
    Cut(Cut),
}

/// An event with its place.
#[derive(Debug, Clone)]
pub struct JobEvent {
    /// Its position in the job's history, from 1; what a later `subscribe` may start from.
    ///
    /// Counted here, as the wire does not carry it: a handle knows the position that it began at, and each event
    /// and the end are one further. A session that did not negotiate `progress` and `result_chunk` is not sent
    /// these kinds, and its positions are then only a count of what came.
    pub position: u64,
    /// The event.
    pub event: Event,
}

/// How the connection came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// The session went on (§6.3).
    Session,
    /// The job was subscribed to anew where the handle was (§7.6), as when the session was gone.
    Subscribed,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With a result, inline or streamed.
    Success(JobResult),
    /// Otherwise: by an error, a cancellation or its time.
    Failed(JobError),
}

impl Outcome {
    /// The job's final status.
    pub fn status(&self) -> JobStatus {
        match self {
            Outcome::Success(result) => result.final_status,
            Outcome::Failed(error) => error.final_status,
        }
    }
}
