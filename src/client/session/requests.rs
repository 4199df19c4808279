//! Requests and their answers, matched by the envelope id.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::jobs::Track;
use super::{Output, Phase, Session};
use crate::client::error::{Cut, RequestError};
use crate::client::request::Since;
use crate::transport::CloseReason;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::id::{JobId, TraceId};
use crate::wire::job::{Accepted, Cancel, Submit, Subscribe, Subscribed};
use crate::wire::message::ClientMessage;
use crate::wire::session::{Close, Jobs, ListJobs};

/// Requests that wait for their answers at once; beyond it callers wait.
const REQUESTS_PENDING: usize = 256;

/// Names a request on this side.
pub(in crate::client) type Ticket = u64;

/// What is asked for.
#[derive(Debug, Clone)]
pub(in crate::client) enum Ask {
    /// A job.
    Submit { submit: Box<Submit>, trace_id: Option<TraceId> },
    /// The history of a job whose submit was sent twice: nobody knows which of its events passed before.
    Attach(Box<Accepted>),
    /// A job that is followed already, from a position; the session's own request.
    Reattach { job_id: JobId, from: u64 },
    /// To follow a job.
    Subscribe { job_id: JobId, since: Since },
    /// A page of jobs.
    List(ListJobs),
    /// A job's end.
    Cancel(Cancel),
    /// The session's end.
    Close(Close),
}

impl Ask {
    fn message(&self) -> ClientMessage {
        let history = |job_id: JobId, from: u64| {
            ClientMessage::Subscribe(Subscribe {
                job_id: Some(job_id.to_string()),
                from_event_seq: Some(from),
                history: Some(true),
            })
        };
        match self {
            Ask::Submit { submit, .. } => ClientMessage::Submit((**submit).clone()),
            Ask::Attach(accepted) => history(accepted.job_id, 0),
            Ask::Reattach { job_id, from } => history(*job_id, *from),
            Ask::Subscribe { job_id, since: Since::After(from) } => history(*job_id, *from),
            Ask::Subscribe { job_id, since: Since::Now } => ClientMessage::Subscribe(Subscribe {
                job_id: Some(job_id.to_string()),
                from_event_seq: None,
                history: None,
            }),
            Ask::List(list) => ClientMessage::ListJobs(list.clone()),
            Ask::Cancel(cancel) => ClientMessage::Cancel(cancel.clone()),
            Ask::Close(close) => ClientMessage::Close(close.clone()),
        }
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(in crate::client) enum Answer {
    Accepted(Box<Accepted>),
    Subscribed(Box<Subscribed>),
    Jobs(Jobs),
    /// Recorded, or closed.
    Done,
}

struct Pending {
    ask: Ask,
    by: Instant,
    sent_as: Option<String>,
    /// Whether it was sent on an earlier connection, too.
    repeated: bool,
}

/// What waits for an answer.
#[derive(Default)]
pub(super) struct Requests {
    next: Ticket,
    pending: BTreeMap<Ticket, Pending>,
    sent: HashMap<String, Ticket>,
}

impl Requests {
    fn add(&mut self, ask: Ask, by: Instant) -> Ticket {
        self.next += 1;
        self.pending.insert(self.next, Pending { ask, by, sent_as: None, repeated: false });
        self.next
    }

    fn by_id(&self, id: &str) -> Option<(Ticket, &Pending)> {
        let ticket = *self.sent.get(id)?;
        self.pending.get(&ticket).map(|pending| (ticket, pending))
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.pending.remove(&ticket)?;
        if let Some(id) = &pending.sent_as {
            self.sent.remove(id);
        }
        Some(pending)
    }

    /// Whether the session is to be closed.
    pub(super) fn closing(&self) -> bool {
        self.pending.values().any(|pending| matches!(pending.ask, Ask::Close(_)))
    }

    /// Tickets are given in the order of time and wait equally long.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|(_, pending)| pending.by)
    }

    /// What can be sent again waits for the next connection; the submits that cannot are returned.
    pub(super) fn connection_lost(&mut self) -> Vec<Ticket> {
        self.sent.clear();
        let mut unanswered = Vec::new();
        self.pending.retain(|ticket, pending| {
            let sent = pending.sent_as.take().is_some();
            pending.repeated |= sent;
            match &pending.ask {
                Ask::Submit { submit, .. } if sent && submit.idempotency_key.is_none() => {
                    unanswered.push(*ticket);
                    false
                }
                Ask::Reattach { .. } => false,
                Ask::Submit { .. }
                | Ask::Attach(_)
                | Ask::Subscribe { .. }
                | Ask::List(_)
                | Ask::Cancel(_)
                | Ask::Close(_) => true,
            }
        });
        unanswered
    }

    /// All that wait, each with whether it was to close the session.
    pub(super) fn drain(&mut self) -> Vec<(Ticket, bool)> {
        self.sent.clear();
        let pending = std::mem::take(&mut self.pending).into_iter();
        pending.map(|(ticket, pending)| (ticket, matches!(pending.ask, Ask::Close(_)))).collect()
    }
}

impl Session {
    /// Whether another request may be made.
    pub(in crate::client) fn has_room(&self) -> bool {
        self.requests.pending.len() < REQUESTS_PENDING
    }

    /// Makes a request; it waits for a connection where there is none.
    pub(in crate::client) fn ask(&mut self, now: Instant, ask: Ask) -> Ticket {
        let closing = matches!(ask, Ask::Close(_));
        let twice = self.follows_already(&ask);
        let ticket = self.requests.add(ask, now + self.options.request_timeout);
        if let Some(job_id) = twice {
            self.requests.remove(ticket);
            self.out.push(Output::Answer(ticket, Err(RequestError::AlreadyFollowed(job_id))));
            return ticket;
        }
        match self.phase {
            Phase::Up => self.send_request(now, ticket),
            Phase::Down | Phase::Greeting { .. } if closing => self.over(Cut::Closed),
            Phase::Down | Phase::Greeting { .. } => {}
            Phase::Over => {
                self.requests.remove(ticket);
                let answer = if closing { Ok(Answer::Done) } else { Err(RequestError::Cut(Cut::Closed)) };
                self.out.push(Output::Answer(ticket, answer));
            }
        }
        ticket
    }

    /// The job that a subscription names, if it is followed or about to be: a second subscription would move the
    /// session's one attachment back and repeat events to the first handle.
    fn follows_already(&self, ask: &Ask) -> Option<JobId> {
        let Ask::Subscribe { job_id, .. } = ask else { return None };
        let asked = self.requests.pending.values().any(|pending| match &pending.ask {
            Ask::Subscribe { job_id: other, .. } => other == job_id,
            Ask::Attach(accepted) => accepted.job_id == *job_id,
            Ask::Submit { .. } | Ask::Reattach { .. } | Ask::List(_) | Ask::Cancel(_) | Ask::Close(_) => {
                false
            }
        });
        (asked || self.jobs.contains_key(job_id)).then_some(*job_id)
    }

    /// Sends what waited for a connection.
    pub(super) fn send_waiting(&mut self, now: Instant) {
        let unsent = self.requests.pending.iter().filter(|(_, pending)| pending.sent_as.is_none());
        let tickets: Vec<Ticket> = unsent.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.send_request(now, ticket);
        }
    }

    fn send_request(&mut self, now: Instant, ticket: Ticket) {
        let Some(pending) = self.requests.pending.get(&ticket) else { return };
        let trace_id = match &pending.ask {
            Ask::Submit { trace_id, .. } => *trace_id,
            Ask::Attach(_)
            | Ask::Reattach { .. }
            | Ask::Subscribe { .. }
            | Ask::List(_)
            | Ask::Cancel(_)
            | Ask::Close(_) => None,
        };
        let message = pending.ask.message();
        if let Some(feature) = message.kind().feature().filter(|feature| !self.features.has(*feature)) {
            return self.not_negotiated(ticket, feature.as_str());
        }
        let (id, frame) = self.encode(trace_id, &message);
        let max = self.options.limits.frame_bytes;
        if frame.len() > max {
            // The runtime would end the connection over it, each time anew.
            self.requests.remove(ticket);
            let too_large = RequestError::TooLarge { bytes: frame.len(), max };
            self.out.push(Output::Answer(ticket, Err(too_large)));
            return;
        }
        self.send_frame(now, frame);
        self.requests.sent.insert(id.clone(), ticket);
        if let Some(pending) = self.requests.pending.get_mut(&ticket) {
            pending.sent_as = Some(id);
        }
    }

    fn not_negotiated(&mut self, ticket: Ticket, feature: &'static str) {
        match self.requests.remove(ticket).map(|pending| pending.ask) {
            Some(Ask::Reattach { job_id, .. }) => {
                let why = format!("the session is gone and the runtime offers no {feature}");
                self.cut_job(job_id, Cut::Lost(why));
            }
            // It was accepted; what passed before cannot be had.
            Some(Ask::Attach(accepted)) => self.attach(ticket, *accepted, 0),
            Some(
                Ask::Submit { .. } | Ask::Subscribe { .. } | Ask::List(_) | Ask::Cancel(_) | Ask::Close(_),
            ) => {
                self.out.push(Output::Answer(ticket, Err(RequestError::NotNegotiated(feature))));
            }
            None => {}
        }
    }

    /// A plain answer.
    pub(super) fn answer(&mut self, request_id: &str, answer: Answer) {
        if let Some((ticket, _)) = self.requests.by_id(request_id) {
            self.requests.remove(ticket);
            self.progressed = true;
            self.out.push(Output::Answer(ticket, Ok(answer)));
        }
    }

    pub(super) fn accepted(&mut self, now: Instant, accepted: Accepted) {
        let Some((ticket, pending)) = self.requests.by_id(&accepted.request_id) else {
            return tracing::debug!(job = %accepted.job_id, "nobody waits for this job any more");
        };
        let (repeated, by) = (pending.repeated, pending.by);
        self.requests.remove(ticket);
        self.progressed = true;
        if !repeated || self.jobs.contains_key(&accepted.job_id) {
            return self.attach(ticket, accepted, 0);
        }
        let ask = Ask::Attach(Box::new(accepted));
        self.requests.pending.insert(ticket, Pending { ask, by, sent_as: None, repeated });
        self.send_request(now, ticket);
    }

    /// Follows a job of our own from a position.
    fn attach(&mut self, ticket: Ticket, accepted: Accepted, from: u64) {
        let job_id = accepted.job_id;
        let followed = self.follow(job_id, Track::submitted(from));
        self.out.push(Output::Answer(ticket, followed.map(|()| Answer::Accepted(Box::new(accepted)))));
    }

    fn follow(&mut self, job_id: JobId, track: Track) -> Result<(), RequestError> {
        match self.jobs.entry(job_id) {
            Entry::Occupied(_) => Err(RequestError::AlreadyFollowed(job_id)),
            Entry::Vacant(place) => {
                place.insert(track);
                Ok(())
            }
        }
    }

    pub(super) fn subscribed(&mut self, now: Instant, subscribed: Subscribed) {
        let Some((ticket, _)) = self.requests.by_id(&subscribed.request_id) else { return };
        self.progressed = true;
        match self.requests.remove(ticket).map(|pending| pending.ask) {
            Some(Ask::Attach(accepted)) => self.attach(ticket, *accepted, subscribed.subscribed_from),
            Some(Ask::Reattach { job_id, .. }) => {
                if self.awaits(job_id, ticket) {
                    self.reattached(job_id, subscribed.subscribed_from);
                    self.fetch_end(now, &subscribed);
                }
            }
            Some(Ask::Subscribe { .. }) => {
                let track = Track::subscribed(subscribed.subscribed_from, self.last_seq);
                let followed = self.follow(subscribed.job_id, track);
                let fresh = followed.is_ok();
                let answer = followed.map(|()| Answer::Subscribed(Box::new(subscribed.clone())));
                self.out.push(Output::Answer(ticket, answer));
                if fresh {
                    self.fetch_end(now, &subscribed);
                }
            }
            Some(Ask::Submit { .. } | Ask::List(_) | Ask::Cancel(_) | Ask::Close(_)) | None => {}
        }
    }

    /// A refusal fails the request that it names and nothing else.
    pub(super) fn request_refused(&mut self, now: Instant, request_id: &str, body: ErrorBody) {
        let Some((ticket, _)) = self.requests.by_id(request_id) else {
            return tracing::debug!(code = %body.code, "a message was refused: {}", body.message);
        };
        self.progressed = true;
        match self.requests.remove(ticket).map(|pending| pending.ask) {
            Some(Ask::Reattach { job_id, from }) => {
                if !self.awaits(job_id, ticket) {
                    tracing::debug!(job = %job_id, "the refusal of an earlier subscription is ignored");
                } else if body.code == ErrorCode::ResumeWindowExpired && from > 0 {
                    self.reattach_from(now, job_id, 0);
                } else {
                    self.cut_job(job_id, Cut::Refused(body));
                }
            }
            Some(Ask::Attach(accepted)) => self.attach(ticket, *accepted, 0),
            Some(
                Ask::Submit { .. } | Ask::Subscribe { .. } | Ask::List(_) | Ask::Cancel(_) | Ask::Close(_),
            ) => {
                self.out.push(Output::Answer(ticket, Err(RequestError::Refused(body))));
            }
            None => {}
        }
    }

    /// Requests that waited too long. One of our own means that the connection is of no use.
    pub(super) fn requests_overdue(&mut self, now: Instant) {
        while let Some((ticket, pending)) =
            self.requests.pending.first_key_value().filter(|(_, pending)| now >= pending.by)
        {
            let ticket = *ticket;
            match pending.ask {
                Ask::Close(_) => return self.over(Cut::Closed),
                Ask::Reattach { .. } => {
                    return self.break_off(now, "a subscription was not answered", CloseReason::Done);
                }
                Ask::Submit { .. }
                | Ask::Attach(_)
                | Ask::Subscribe { .. }
                | Ask::List(_)
                | Ask::Cancel(_) => {
                    self.requests.remove(ticket);
                    let late = RequestError::TimedOut(self.options.request_timeout);
                    self.out.push(Output::Answer(ticket, Err(late)));
                }
            }
        }
    }
}
