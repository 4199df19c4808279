//! Handles of followed jobs.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::collect::{Collector, Piece};
use super::driver::Command;
use super::error::{CollectError, Cut};
use super::update::{JobUpdate, Outcome};
use crate::wire::agent_ref::AgentRef;
use crate::wire::id::JobId;
use crate::wire::job::{Accepted, Subscribed};

/// The last word on a handle.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Ended(Outcome),
    Cut(Cut),
}

/// How a handle came to its job.
#[derive(Debug, Clone)]
pub(super) enum Attached {
    Submitted(Box<Accepted>),
    Subscribed(Box<Subscribed>),
}

/// One followed job: its updates in the order of its history, each once, through any number of broken
/// connections.
///
/// A handle buffers [`handle_buffer`](super::ClientOptions::handle_buffer) updates. When one is full the client
/// stops reading its connection, so that the runtime feels the back-pressure and memory stays bounded; pings and
/// requests go on. A handle that is not read at all for
/// [`slow_handle_patience`](super::ClientOptions::slow_handle_patience) is set aside, so that it cannot hold up
/// the others: once it has been emptied, it goes on from the job's history, where it was. (Without the `subscribe`
/// feature there is no way back into the history, and a handle that is not read holds up all.)
///
/// A handle of a job that has ended already tells its end, wherever in the history it began.
///
/// Dropping a handle ends the subscription, never the job.
#[derive(Debug)]
pub struct JobHandle {
    job_id: JobId,
    attached: Attached,
    updates: mpsc::Receiver<JobUpdate>,
    fate: Arc<OnceLock<Fate>>,
    told: bool,
    /// Keeps the client alive as long as the handle is.
    back: Option<mpsc::Sender<Command>>,
}

impl JobHandle {
    pub(super) fn new(
        job_id: JobId,
        attached: Attached,
        buffer: usize,
        back: Option<mpsc::Sender<Command>>,
    ) -> (HandleEnd, JobHandle) {
        let (sender, updates) = mpsc::channel(buffer.max(1));
        let fate = Arc::new(OnceLock::new());
        let end = HandleEnd { sender, fate: Arc::clone(&fate) };
        (end, JobHandle { job_id, attached, updates, fate, told: false, back })
    }

    /// The job.
    pub fn job_id(&self) -> JobId {
        self.job_id
    }

    /// The agent with its version.
    pub fn agent(&self) -> &AgentRef {
        match &self.attached {
            Attached::Submitted(accepted) => &accepted.agent,
            Attached::Subscribed(subscribed) => &subscribed.agent,
        }
    }

    /// What the runtime answered to the submit; none for a subscription.
    pub fn accepted(&self) -> Option<&Accepted> {
        match &self.attached {
            Attached::Submitted(accepted) => Some(accepted),
            Attached::Subscribed(_) => None,
        }
    }

    /// What the runtime answered to the subscribe; none for a submit.
    pub fn subscribed(&self) -> Option<&Subscribed> {
        match &self.attached {
            Attached::Submitted(_) => None,
            Attached::Subscribed(subscribed) => Some(subscribed),
        }
    }

    /// The next update. The last one is [`JobUpdate::Ended`], or [`JobUpdate::Cut`] where the job's end was not
    /// seen; after it there is none. Cancel-safe.
    pub async fn next(&mut self) -> Option<JobUpdate> {
        if let Some(update) = self.updates.recv().await {
            return Some(update);
        }
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        Some(match self.fate.get() {
            Some(Fate::Ended(outcome)) => JobUpdate::Ended(outcome.clone()),
            Some(Fate::Cut(cut)) => JobUpdate::Cut(cut.clone()),
            // The task that would have said more is gone, as when its executor was shut down.
            None => JobUpdate::Cut(Cut::Closed),
        })
    }

    /// Waits for the job's end and lets all else pass.
    ///
    /// # Errors
    /// [`Cut`] when the end was not seen; the job may go on.
    pub async fn outcome(&mut self) -> Result<Outcome, Cut> {
        loop {
            match self.next().await {
                Some(JobUpdate::Ended(outcome)) => return Ok(outcome),
                Some(JobUpdate::Cut(cut)) => return Err(cut),
                Some(
                    JobUpdate::Event(_)
                    | JobUpdate::Interrupted(_)
                    | JobUpdate::Resumed(_)
                    | JobUpdate::Missed { .. },
                ) => {}
                None => return Err(Cut::Closed),
            }
        }
    }

    /// The job's result, piece by piece as it comes.
    pub fn into_result(self) -> ResultReader {
        ResultReader { handle: self, collector: Collector::new(), whole: false }
    }

    /// Waits for the job's result, in memory: its decoded chunks, or the JSON text of an inline one.
    ///
    /// # Errors
    /// [`CollectError`], [`CollectError::TooLarge`] for one of more than `max` bytes included.
    pub async fn collect(self, max: u64) -> Result<Vec<u8>, CollectError> {
        let mut reader = self.into_result();
        let mut result = Vec::new();
        while let Some(piece) = reader.next().await? {
            let bytes = match piece {
                Piece::More(bytes) => bytes,
                Piece::Anew(bytes) => {
                    result.clear();
                    bytes
                }
            };
            if (result.len() + bytes.len()) as u64 > max {
                return Err(CollectError::TooLarge { max });
            }
            result.extend_from_slice(&bytes);
        }
        Ok(result)
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.updates.close();
        // With its queue full the client notices at the job's next event instead.
        if let Some(back) = &self.back {
            let _ = back.try_send(Command::Forget(self.job_id));
        }
    }
}

/// A job's result as it comes; from [`JobHandle::into_result`].
#[derive(Debug)]
pub struct ResultReader {
    handle: JobHandle,
    collector: Collector,
    whole: bool,
}

impl ResultReader {
    /// The next part; none once the result is whole and its size is what the runtime says.
    ///
    /// # Errors
    /// [`CollectError`]; what came before is not the whole result then.
    pub async fn next(&mut self) -> Result<Option<Piece>, CollectError> {
        while !self.whole {
            let Some(update) = self.handle.next().await else {
                return Err(CollectError::Cut(Cut::Closed));
            };
            let piece = self.collector.take(&update)?;
            self.whole = matches!(update, JobUpdate::Ended(_));
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }
}

/// The driver's end of a handle.
pub(super) struct HandleEnd {
    sender: mpsc::Sender<JobUpdate>,
    fate: Arc<OnceLock<Fate>>,
}

impl HandleEnd {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Hands an update over, or gives it back when the handle is full. For a handle that is gone it is dropped.
    pub(super) fn try_send(&self, update: JobUpdate) -> Option<JobUpdate> {
        match self.sender.try_send(update) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(update)) => Some(update),
        }
    }

    /// Waits for room for one update.
    pub(super) async fn room(&self) {
        drop(self.sender.reserve().await);
    }

    /// Waits until the handle is empty, or gone.
    pub(super) fn drained(&self, job_id: JobId) -> BoxFuture<'static, JobId> {
        let sender = self.sender.clone();
        Box::pin(async move {
            drop(sender.reserve_many(sender.max_capacity()).await);
            job_id
        })
    }

    pub(super) fn end(self, fate: Fate) {
        // There is one last word, and it is said once: `self` is gone with it.
        let _ = self.fate.set(fate);
    }
}
