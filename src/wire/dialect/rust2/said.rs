//! What the daemon says outside the numbered stream, in this client's words.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::Encoded;
use super::asked::Question;
use super::capabilities::Shared;
use super::codes::{Code, code};
use super::frame::{Frame, copy};
use super::jobs::REQUESTS_PER_JOB;
use super::words::Word;
use super::{State, lease, status, told};
use crate::wire::agent_ref::AgentRef;
use crate::wire::encode::json;
use crate::wire::envelope::Head;
use crate::wire::error::ErrorBody;
use crate::wire::id::{JobId, SessionId, TraceId};
use crate::wire::job::{Accepted, Cancelled, Subscribed};
use crate::wire::message::{Refused, RequestKind, ServerMessage, StreamKind};
use crate::wire::session::{Closed, Jobs, Pong, SessionError, Welcome};
use crate::wire::time::Timestamp;

/// For the client's own bookkeeping, as for other clients.
const PAUSE_AFTER_SUBSCRIBED: Duration = Duration::from_millis(20);

/// The payload of `job.failed`, and of `nack`, which says nothing of trying again.
#[derive(Debug, Serialize)]
pub(super) struct Failed<'a> {
    pub(super) code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retryable: Option<bool>,
    pub(super) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<&'a Map<String, Value>>,
}

/// Writes one message.
pub(super) fn message(state: &mut State, head: &Head, message: &ServerMessage) -> Encoded {
    match message {
        ServerMessage::Welcome(welcome) => one(accepted(state, head, welcome)),
        ServerMessage::Error(error) => one(ended(state, head, error)),
        ServerMessage::Refused(refused) => refusal(state, head, refused),
        ServerMessage::Pong(answer) => pong(state, head, answer),
        ServerMessage::Jobs(listed) => one(jobs(head, listed)),
        ServerMessage::Closed(closed) => goodbye(head, closed),
        ServerMessage::Accepted(accepted) => begun(state, head, accepted),
        ServerMessage::Cancelled(cancelled) => one(cancel_accepted(state, head, cancelled)),
        ServerMessage::Subscribed(subscribed) => observed(state, head, subscribed),
        ServerMessage::Following(following) => subscribed(state, head, &following.request_id),
        ServerMessage::Event(event) => numbered(state, StreamKind::Event, head, event),
        ServerMessage::Result(result) => numbered(state, StreamKind::Result, head, result),
        ServerMessage::JobError(error) => numbered(state, StreamKind::Error, head, error),
        // It has no answer to a ping, and is never sent one.
        ServerMessage::Ping(_) => Encoded::default(),
    }
}

fn one(frame: Bytes) -> Encoded {
    frame.into()
}

fn numbered(state: &mut State, kind: StreamKind, head: &Head, payload: &impl Serialize) -> Encoded {
    let mut encoded = Encoded::default();
    told::numbered(state, kind, head, &json(payload), &mut encoded.frames);
    encoded
}

fn accepted(state: &mut State, head: &Head, welcome: &Welcome) -> Bytes {
    #[derive(Serialize)]
    struct Runtime<'a> {
        kind: &'a str,
        version: &'a str,
    }
    #[derive(Serialize)]
    struct Payload<'a> {
        session_id: SessionId,
        runtime: Runtime<'a>,
        capabilities: Shared<'a>,
    }
    state.session = Some(welcome.session_id);
    let payload = Payload {
        session_id: welcome.session_id,
        runtime: Runtime { kind: &welcome.runtime.name, version: &welcome.runtime.version },
        capabilities: Shared { both: state.offered.and_ours(), agents: &welcome.capabilities.agents },
    };
    Frame::new(Word::SessionAccepted, head, payload).answering(state.opened_by.as_deref()).bytes()
}

/// A refused handshake, or the end of a connection, which has no word but an eviction.
fn ended(state: &State, head: &Head, error: &SessionError) -> Bytes {
    #[derive(Serialize)]
    struct Rejected<'a> {
        code: Code,
        message: &'a str,
    }
    let (code, message) = (code(error.code, error.details.as_ref()), error.message.as_str());
    if state.session.is_some() {
        return evicted(head, code, message);
    }
    let frame = Frame::new(Word::SessionRejected, head, Rejected { code, message });
    frame.answering(error.request_id.as_deref()).outside().bytes()
}

fn evicted(head: &Head, code: Code, reason: &str) -> Bytes {
    #[derive(Serialize)]
    struct Evicted<'a> {
        code: Code,
        reason: &'a str,
    }
    Frame::new(Word::SessionEvicted, head, Evicted { code, reason }).bytes()
}

/// A close is answered by the end of the connection; one that the daemon began is told.
fn goodbye(head: &Head, closed: &Closed) -> Encoded {
    match closed.request_id {
        Some(_) => Encoded::default(),
        None => one(evicted(head, Code::Aborted, closed.reason.as_deref().unwrap_or_default())),
    }
}

fn refusal(state: &mut State, head: &Head, refused: &Refused) -> Encoded {
    let request = refused.request_id.as_deref();
    let asked = request.and_then(|id| state.asked.take(id));
    let ErrorBody { message, retryable, details, .. } = &refused.error;
    let known = code(refused.error.code, details.as_ref());
    one(match (refused.kind, asked) {
        (RequestKind::Submit, _) => {
            failed(head, request, known, *retryable, message, details.as_ref()).bytes()
        }
        (RequestKind::Cancel, Some(Question::Cancel(target))) => {
            cancel_refused(head, request, &target, message)
        }
        // It was accepted before: the daemon can follow no more jobs.
        (RequestKind::Follow, None) if request.is_some_and(|id| state.subscriptions.depend_on(id)) => {
            return Encoded { frames: state.subscriptions.close(head, known, message), ..Encoded::default() };
        }
        (_, Some(Question::Unimplemented)) => nack(head, request, Code::Unimplemented, &refused.error),
        (
            _,
            Some(Question::Cancel(_) | Question::Ping(_) | Question::Observe | Question::Subscribe(_)) | None,
        ) => nack(head, request, known, &refused.error),
    })
}

fn failed<'a>(
    head: &Head,
    request: Option<&'a str>,
    code: Code,
    retryable: bool,
    message: &'a str,
    details: Option<&'a Map<String, Value>>,
) -> Frame<'a, Failed<'a>> {
    let payload = Failed { code, retryable: Some(retryable), message, details };
    Frame::new(Word::JobFailed, head, payload).answering(request)
}

fn nack(head: &Head, request: Option<&str>, code: Code, error: &ErrorBody) -> Bytes {
    let payload = Failed { code, retryable: None, message: &error.message, details: error.details.as_ref() };
    Frame::new(Word::Nack, head, payload).answering(request).bytes()
}

fn cancel_refused(head: &Head, request: Option<&str>, target_id: &str, reason: &str) -> Bytes {
    #[derive(Serialize)]
    struct Payload<'a> {
        target_id: &'a str,
        reason: &'a str,
    }
    Frame::new(Word::CancelRefused, head, Payload { target_id, reason }).answering(request).bytes()
}

fn cancel_accepted(state: &mut State, head: &Head, cancelled: &Cancelled) -> Bytes {
    #[derive(Serialize)]
    struct Payload {
        target_id: JobId,
    }
    state.asked.take(&cancelled.request_id);
    let payload = Payload { target_id: cancelled.job_id };
    Frame::new(Word::CancelAccepted, head, payload).answering(Some(&cancelled.request_id)).bytes()
}

/// Pings are answered in the order in which they came, and only here it is known by which word.
fn pong(state: &mut State, head: &Head, pong: &Pong) -> Encoded {
    #[derive(Serialize)]
    struct Empty {}
    match state.asked.take_ping() {
        Some((request, word @ Word::SessionPong)) => {
            one(Frame::new(word, head, pong).answering(Some(&request)).bytes())
        }
        Some((request, word)) => one(Frame::new(word, head, Empty {}).answering(Some(&request)).bytes()),
        None => Encoded::default(),
    }
}

fn jobs(head: &Head, listed: &Jobs) -> Bytes {
    #[derive(Serialize)]
    struct Row {
        job_id: JobId,
        agent: String,
        status: &'static str,
        created_at: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        trace_id: Option<TraceId>,
        last_event_seq: u64,
    }
    #[derive(Serialize)]
    struct Payload<'a> {
        request_id: &'a str,
        jobs: Vec<Row>,
        next_cursor: Option<&'a str>,
    }
    let rows = listed.jobs.iter().map(|job| Row {
        job_id: job.job_id,
        agent: job.agent.to_string(),
        status: status::word(job.status),
        created_at: job.created_at,
        trace_id: job.trace_id,
        last_event_seq: job.last_event_seq,
    });
    let payload = Payload {
        request_id: &listed.request_id,
        jobs: rows.collect(),
        next_cursor: listed.next_cursor.as_deref(),
    };
    Frame::new(Word::SessionJobs, head, payload).answering(Some(&listed.request_id)).bytes()
}

#[derive(Serialize)]
struct JobAccepted {
    job_id: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<Map<String, Value>>,
}

#[derive(Serialize)]
struct JobStarted {
    description: String,
}

impl JobStarted {
    fn of(agent: &AgentRef) -> Self {
        JobStarted { description: format!("invoking {agent}") }
    }
}

/// A job is accepted and, as this client has it, started: its agent is begun at once.
fn begun(state: &mut State, head: &Head, accepted: &Accepted) -> Encoded {
    let request = Some(accepted.request_id.as_str());
    let head = Head { job_id: Some(accepted.job_id), trace_id: accepted.trace_id, ..*head };
    let lease = lease::granted(&accepted.lease, accepted.lease_constraints.as_ref());
    let answer = JobAccepted { job_id: accepted.job_id, lease };
    let started = JobStarted::of(&accepted.agent);
    let next = copy(&head, 1);
    let mut frames = vec![Frame::new(Word::JobAccepted, &head, &answer).answering(request).bytes()];
    if state.jobs.began(accepted.job_id, &accepted.request_id) {
        frames.push(Frame::new(Word::JobStarted, &next, &started).answering(request).bytes());
    } else {
        let message = format!("{REQUESTS_PER_JOB} requests of this connection wait for the job already");
        frames.push(failed(&next, request, Code::ResourceExhausted, true, &message, None).bytes());
    }
    if !accepted.repeated {
        state.subscriptions.tell(&head, Word::JobAccepted, &answer, request, &mut frames);
        state.subscriptions.tell(&next, Word::JobStarted, &started, request, &mut frames);
    }
    Encoded { frames, ..Encoded::default() }
}

/// A job that began elsewhere and is followed from its beginning.
fn begun_elsewhere(state: &State, head: &Head, subscribed: &Subscribed) -> Encoded {
    let mut frames = Vec::new();
    if subscribed.subscribed_from == 0 {
        let head = Head { job_id: Some(subscribed.job_id), trace_id: subscribed.trace_id, ..*head };
        let answer = JobAccepted { job_id: subscribed.job_id, lease: None };
        let started = JobStarted::of(&subscribed.agent);
        state.subscriptions.tell(&head, Word::JobAccepted, &answer, None, &mut frames);
        state.subscriptions.tell(&copy(&head, 1), Word::JobStarted, &started, None, &mut frames);
    }
    Encoded { frames, ..Encoded::default() }
}

/// A subscription is accepted. Its client registers it a moment after it has read so.
fn subscribed(state: &mut State, head: &Head, request: &str) -> Encoded {
    #[derive(Serialize)]
    struct Payload<'a> {
        subscription_id: &'a str,
    }
    let Some(Question::Subscribe(filter)) = state.asked.take(request) else { return Encoded::default() };
    let id = state.subscriptions.begin(head, filter, request);
    let frame = Frame::new(Word::SubscribeAccepted, head, Payload { subscription_id: &id });
    let frames = vec![frame.answering(Some(request)).of(&id).bytes()];
    Encoded { frames, pause: PAUSE_AFTER_SUBSCRIBED, ..Encoded::default() }
}

fn observed(state: &mut State, head: &Head, subscribed: &Subscribed) -> Encoded {
    #[derive(Serialize)]
    struct Payload {
        job_id: JobId,
        current_status: &'static str,
        agent: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        trace_id: Option<TraceId>,
        subscribed_from: u64,
        replayed: bool,
    }
    let Some(Question::Observe) = state.asked.take(&subscribed.request_id) else {
        return begun_elsewhere(state, head, subscribed);
    };
    // A job that is over, and of which nothing is replayed, has nothing to be told of.
    if !subscribed.current_status.is_terminal() || subscribed.replayed {
        state.jobs.observed(subscribed.job_id);
    }
    let payload = Payload {
        job_id: subscribed.job_id,
        current_status: status::word(subscribed.current_status),
        agent: subscribed.agent.to_string(),
        trace_id: subscribed.trace_id,
        subscribed_from: subscribed.subscribed_from,
        replayed: subscribed.replayed,
    };
    let head = Head { job_id: Some(subscribed.job_id), trace_id: subscribed.trace_id, ..*head };
    one(Frame::new(Word::JobSubscribed, &head, payload).answering(Some(&subscribed.request_id)).bytes())
}
