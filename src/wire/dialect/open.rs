//! What is open on a connection, for clients that reject everything on one `session.error`, and how they are refused.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::wire::decode::{self, Undecodable};
use crate::wire::id::JobId;
use crate::wire::limits::Limits;
use crate::wire::message::{ClientMessage, Request, RequestKind, ServerMessage, StreamKind};

/// What is open on one connection, for both of its sides.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Open>);

impl Watch {
    /// Reads a frame of the client.
    pub(super) fn read(&self, frame: &[u8], limits: &Limits) -> Result<Option<Request>, Box<Undecodable>> {
        let read = decode::client_frame(frame, limits);
        self.0.lock().read(&read);
        read.map(Some)
    }

    /// A message goes to the client. Says whether anything is open besides what it answers.
    pub(super) fn says(&self, message: &ServerMessage) -> bool {
        let mut open = self.0.lock();
        open.says(message);
        !open.is_empty()
    }

    /// A numbered message about a job goes to the client.
    pub(super) fn streams(&self, kind: StreamKind, job: Option<JobId>) {
        self.0.lock().streams(kind, job);
    }
}

/// How such a client is told that a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// As the end of a job that never was.
    AsAJob,
    /// Not at all: nobody waits for it.
    Nothing,
    /// As a subscription that there is nothing to follow for.
    AsASubscription,
    /// As a listing that ends.
    AsAListing,
    /// By a `session.error`.
    AsAnError,
}

impl Tell {
    /// The way for a request of this kind, while something else is open or nothing is.
    pub(super) fn of(kind: RequestKind, open: bool) -> Tell {
        match kind {
            RequestKind::Submit => Tell::AsAJob,
            RequestKind::Cancel | RequestKind::Unsubscribe | RequestKind::Ack | RequestKind::Pong => {
                Tell::Nothing
            }
            RequestKind::Subscribe if open => Tell::AsASubscription,
            RequestKind::ListJobs if open => Tell::AsAListing,
            RequestKind::Subscribe
            | RequestKind::ListJobs
            | RequestKind::Hello
            | RequestKind::Resume
            | RequestKind::Ping
            | RequestKind::Close
            | RequestKind::Follow
            | RequestKind::Unfollow
            | RequestKind::Unknown => Tell::AsAnError,
        }
    }
}

/// How a client came to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Submitted,
    Watched,
}

/// Requests and jobs that a client waits for.
#[derive(Debug, Default)]
struct Open {
    requests: u64,
    /// Subscriptions that wait for their answer, in order; none where it was taken back meanwhile. As many as the
    /// session's replies.
    subscribing: VecDeque<Option<JobId>>,
    /// As many as a session may follow.
    jobs: BTreeMap<JobId, Held>,
}

impl Open {
    /// Whether nobody waits for anything.
    fn is_empty(&self) -> bool {
        self.requests == 0 && self.jobs.is_empty()
    }

    /// A frame came from the client.
    fn read(&mut self, read: &Result<Request, Box<Undecodable>>) {
        let kind = read.as_ref().map_or_else(|bad| bad.kind, |request| request.message.kind());
        self.requests += u64::from(is_awaited(kind));
        let named = |job_id: &Option<String>| job_id.as_ref().and_then(|text| text.parse::<JobId>().ok());
        if let Ok(Request { message: ClientMessage::Unsubscribe(unsubscribe), .. }) = read
            && let Some(job) = named(&unsubscribe.job_id)
        {
            self.unsubscribed(job);
        }
        if kind == RequestKind::Subscribe {
            let job = match read {
                Ok(Request { message: ClientMessage::Subscribe(subscribe), .. }) => named(&subscribe.job_id),
                Ok(_) | Err(_) => None,
            };
            self.subscribing.push_back(job);
        }
    }

    fn unsubscribed(&mut self, job: JobId) {
        for waiting in self.subscribing.iter_mut().filter(|waiting| **waiting == Some(job)) {
            *waiting = None;
        }
        if self.jobs.get(&job) == Some(&Held::Watched) {
            self.jobs.remove(&job);
        }
    }

    /// A message goes to the client. What it answers is not open any more.
    fn says(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Refused(refused) if is_awaited(refused.kind) => {
                self.answered();
                if refused.kind == RequestKind::Subscribe {
                    self.subscribing.pop_front();
                }
            }
            ServerMessage::Accepted(accepted) => {
                self.answered();
                self.jobs.insert(accepted.job_id, Held::Submitted);
            }
            ServerMessage::Subscribed(subscribed) => {
                self.answered();
                if self.subscribing.pop_front().flatten().is_some() {
                    self.jobs.entry(subscribed.job_id).or_insert(Held::Watched);
                }
            }
            ServerMessage::Jobs(_) => self.answered(),
            ServerMessage::Refused(_)
            | ServerMessage::Welcome(_)
            | ServerMessage::Error(_)
            | ServerMessage::Ping(_)
            | ServerMessage::Pong(_)
            | ServerMessage::Closed(_)
            | ServerMessage::Cancelled(_)
            | ServerMessage::Following(_)
            | ServerMessage::Event(_)
            | ServerMessage::Result(_)
            | ServerMessage::JobError(_) => {}
        }
    }

    /// A numbered message about a job goes to the client.
    fn streams(&mut self, kind: StreamKind, job: Option<JobId>) {
        match kind {
            StreamKind::Event => {}
            StreamKind::Result | StreamKind::Error => {
                job.map(|job| self.jobs.remove(&job));
            }
        }
    }

    fn answered(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }
}

/// Whether somebody waits for the answer.
fn is_awaited(kind: RequestKind) -> bool {
    match kind {
        RequestKind::Submit | RequestKind::ListJobs | RequestKind::Subscribe => true,
        RequestKind::Hello
        | RequestKind::Resume
        | RequestKind::Ping
        | RequestKind::Pong
        | RequestKind::Ack
        | RequestKind::Close
        | RequestKind::Cancel
        | RequestKind::Unsubscribe
        | RequestKind::Follow
        | RequestKind::Unfollow
        | RequestKind::Unknown => false,
    }
}
