//! The decisions of a client, without IO: what comes in and what time it is → what goes out.
//!
//! The core outlives connections. It knows the newest resume token and the last `event_seq`, where each followed
//! job is, and which requests wait. The driver moves frames and hands [`Output`]s on; it decides nothing.
//!
//! **Positions.** A job's history counts its events and its end from 1. A session that negotiated `progress` and
//! `result_chunk` is sent all of them, so the core knows a handle's position by counting from where it began
//! (0 for a submit, `subscribed_from` otherwise); the daemon's own `back_pressure` status belongs to the session,
//! not to the history, and does not count. Without these two features the count is no position; then a new
//! session replays from where the handle began, and as many updates as were handed out are skipped.

mod jobs;
mod liveness;
mod requests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ulid::Ulid;

use self::jobs::Track;
use self::liveness::Liveness;
use self::requests::Requests;
pub(super) use self::requests::{Answer, Ask, Ticket};
use super::error::{Cut, RequestError};
use super::options::ClientOptions;
use super::update::{JobUpdate, Resumed};
use crate::transport::CloseReason;
use crate::wire::decode;
use crate::wire::encode;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::feature::{Feature, FeatureSet};
use crate::wire::id::{JobId, SessionId, TraceId};
use crate::wire::message::{ClientMessage, ServerMessage};
use crate::wire::session::{
    AgentEntry, Auth, ClientCapabilities, Closed, Hello, LastSeen, Pong, ResumeRequest, SessionError,
    Software, Token, Welcome,
};

/// What the runtime said when the session was opened or resumed (§6.2), without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcomed {
    /// The session.
    pub session_id: SessionId,
    /// Who answers.
    pub runtime: Software,
    /// The features in effect: offered by both.
    pub features: FeatureSet,
    /// The agents that can be asked for.
    pub agents: Vec<AgentEntry>,
    /// The heartbeat interval, where heartbeats are in effect.
    pub heartbeat: Option<Duration>,
    /// How long after a drop the session can be resumed at least.
    pub resume_window: Duration,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output {
    /// Send this frame.
    Send(Bytes),
    /// The session is open, or open again.
    Welcomed(Welcomed),
    /// A request is answered.
    Answer(Ticket, Result<Answer, RequestError>),
    /// A handle has something to tell.
    Update(JobId, JobUpdate),
    /// Close the connection. [`Session::next_dial`] says what then.
    Hangup(CloseReason),
    /// The client is over.
    Over(Cut),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No connection.
    Down,
    /// Hello or resume is sent.
    Greeting { resuming: bool, by: Instant },
    /// In conversation.
    Up,
    /// For good.
    Over,
}

/// The session that can be resumed.
struct Identity {
    session_id: SessionId,
    resume_token: Token,
}

/// A time without a working connection.
struct Outage {
    began: Instant,
    attempts: u32,
    why: String,
}

/// The core; see the module.
pub(super) struct Session {
    options: ClientOptions,
    mint: Box<dyn FnMut() -> Ulid + Send>,
    phase: Phase,
    identity: Option<Identity>,
    /// Whether there ever was a welcome; before it nothing is tried twice.
    welcomed: bool,
    features: FeatureSet,
    last_seq: u64,
    jobs: HashMap<JobId, Track>,
    requests: Requests,
    liveness: Liveness,
    outage: Option<Outage>,
    /// Whether the connection was good for anything yet; one that was not does not end an outage.
    progressed: bool,
    /// What the runtime said before it ends the connection.
    last_words: Option<ErrorBody>,
    out: Vec<Output>,
}

impl Session {
    /// Before the first connection. `mint` makes the ids of requests.
    pub(super) fn new(
        options: ClientOptions,
        now: Instant,
        mint: impl FnMut() -> Ulid + Send + 'static,
    ) -> Self {
        Session {
            options,
            mint: Box::new(mint),
            phase: Phase::Down,
            identity: None,
            welcomed: false,
            features: FeatureSet::EMPTY,
            last_seq: 0,
            jobs: HashMap::new(),
            requests: Requests::default(),
            liveness: Liveness::new(now),
            outage: None,
            progressed: false,
            last_words: None,
            out: Vec::new(),
        }
    }

    /// What has to be done, in this order.
    pub(super) fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether jobs can be followed from their history.
    pub(super) fn can_subscribe(&self) -> bool {
        self.features.has(Feature::Subscribe)
    }

    /// There is a connection: says hello, or resumes.
    pub(super) fn connected(&mut self, now: Instant) {
        let auth = || Auth { scheme: "bearer".into(), token: Some(self.options.token.clone()) };
        let message = match &self.identity {
            Some(identity) => ClientMessage::Resume(ResumeRequest {
                resume_token: identity.resume_token.clone(),
                last_event_seq: LastSeen::Number(self.last_seq),
                session_id: Some(identity.session_id.to_string()),
                auth: Some(auth()),
            }),
            None => ClientMessage::Hello(Hello {
                client: Some(self.options.client.clone()),
                auth: Some(auth()),
                capabilities: ClientCapabilities {
                    encodings: vec!["json".into()],
                    features: self.options.features.iter().map(|f| f.as_str().into()).collect(),
                },
                resume: None,
                resume_token: None,
                last_event_seq: None,
                session_id: None,
            }),
        };
        let resuming = self.identity.is_some();
        self.phase = Phase::Greeting { resuming, by: now + self.options.request_timeout };
        self.last_words = None;
        self.progressed = false;
        self.liveness = Liveness::new(now);
        self.send(now, &message);
    }

    /// A frame came.
    pub(super) fn frame(&mut self, now: Instant, frame: &[u8]) {
        self.liveness.received(now);
        let reply = match decode::server_frame(frame, &self.options.limits) {
            Ok(reply) => reply,
            Err(why) => return self.undecodable(now, frame, why),
        };
        match self.phase {
            Phase::Down | Phase::Over => {}
            Phase::Greeting { resuming, .. } => match reply.message {
                Some(ServerMessage::Welcome(welcome)) => self.welcome(now, welcome, resuming),
                Some(ServerMessage::Error(error)) => self.handshake_refused(now, &error, resuming),
                Some(ServerMessage::Closed(closed)) => self.closed(now, closed),
                Some(_) | None => tracing::debug!("a frame before the welcome is ignored"),
            },
            Phase::Up => {
                if let Some(seq) = reply.event_seq
                    && !self.in_order(now, seq)
                {
                    return;
                }
                // An error that was not the last word did not end the connection.
                self.last_words = None;
                self.message(now, reply);
            }
        }
    }

    fn message(&mut self, now: Instant, reply: decode::Reply) {
        let numbered = reply.event_seq.is_some();
        match reply.message {
            Some(ServerMessage::Ping(ping)) => {
                let pong = Pong { ping_nonce: ping.nonce, received_at: None };
                self.send(now, &ClientMessage::Pong(pong));
            }
            Some(ServerMessage::Error(error)) => self.refused(now, error),
            Some(ServerMessage::Closed(closed)) => self.closed(now, closed),
            Some(ServerMessage::Accepted(accepted)) => self.accepted(now, accepted),
            Some(ServerMessage::Subscribed(subscribed)) => self.subscribed(now, subscribed),
            Some(ServerMessage::Jobs(jobs)) => {
                let id = jobs.request_id.clone();
                self.answer(&id, Answer::Jobs(jobs));
            }
            Some(ServerMessage::Cancelled(cancelled)) => {
                self.answer(&cancelled.request_id, Answer::Done);
            }
            Some(ServerMessage::Event(event)) if numbered => self.event(now, event),
            Some(ServerMessage::Result(result)) if numbered => self.result(result),
            Some(ServerMessage::JobError(error)) if numbered => self.job_error(error),
            // A type that this client does not know; numbered, it still has its place in its job's history.
            None if numbered => self.skipped(reply.job_id.as_deref()),
            Some(
                ServerMessage::Pong(_)
                | ServerMessage::Welcome(_)
                | ServerMessage::Refused(_)
                | ServerMessage::Following(_)
                | ServerMessage::Event(_)
                | ServerMessage::Result(_)
                | ServerMessage::JobError(_),
            )
            | None => {}
        }
    }

    fn welcome(&mut self, now: Instant, welcome: Welcome, resuming: bool) {
        let before = self.identity.take().map(|identity| identity.session_id);
        let same = resuming && before == Some(welcome.session_id);
        let again = std::mem::replace(&mut self.welcomed, true);
        self.features =
            FeatureSet::from_flags(&welcome.capabilities.features).intersect(self.options.features);
        if !same {
            self.last_seq = 0;
        }
        let seconds =
            if self.features.has(Feature::Heartbeat) { welcome.heartbeat_interval_sec } else { None };
        let heartbeat = seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        self.liveness.start(now, heartbeat, self.last_seq);
        self.phase = Phase::Up;
        self.identity = Some(Identity { session_id: welcome.session_id, resume_token: welcome.resume_token });
        self.out.push(Output::Welcomed(Welcomed {
            session_id: welcome.session_id,
            runtime: welcome.runtime,
            features: self.features,
            agents: welcome.capabilities.agents,
            heartbeat,
            resume_window: Duration::from_secs(welcome.resume_window_sec),
        }));
        if again {
            self.rejoin(now, same);
        }
        self.send_waiting(now);
    }

    /// The followed jobs after a break: they go on where the session does, or are subscribed to anew.
    fn rejoin(&mut self, now: Instant, same: bool) {
        let mut behind = Vec::new();
        for (job_id, track) in &mut self.jobs {
            if !same {
                track.lost_session();
            }
            if track.is_attached() && track.noticed() {
                self.out.push(Output::Update(*job_id, JobUpdate::Resumed(Resumed::Session)));
            }
            if track.is_behind() {
                behind.push(*job_id);
            }
        }
        for job_id in behind {
            self.reattach(now, job_id);
        }
    }

    fn handshake_refused(&mut self, now: Instant, error: &SessionError, resuming: bool) {
        let body = error.error();
        if resuming && body.code == ErrorCode::ResumeWindowExpired {
            tracing::info!("the session cannot be resumed; opening a new one");
            self.identity = None;
            return self.break_off(now, &body.to_string(), CloseReason::Done);
        }
        if self.welcomed && body.retryable {
            return self.break_off(now, &body.to_string(), CloseReason::Done);
        }
        self.over(Cut::Refused(body));
    }

    /// `session.closed`: the answer to our close, or the runtime's own wish.
    fn closed(&mut self, now: Instant, closed: Closed) {
        if self.requests.closing() {
            return self.over(Cut::Closed);
        }
        let reason = closed.reason.unwrap_or_else(|| "no reason given".into());
        let passing = [CloseReason::GoingAway, CloseReason::TooSlow, CloseReason::HeartbeatLost];
        if passing.iter().any(|passing| passing.as_str() == reason) {
            return self.break_off(now, &reason, CloseReason::Done);
        }
        self.over(Cut::ClosedByRuntime(reason));
    }

    /// `session.error` in an open session.
    fn refused(&mut self, now: Instant, error: SessionError) {
        let body = error.error();
        match error.request_id.or(error.reply_to) {
            Some(request_id) => self.request_refused(now, &request_id, body),
            // The end of the connection follows; what it means is decided when it comes.
            None => self.last_words = Some(body),
        }
    }

    /// The connection is gone.
    pub(super) fn broken(&mut self, now: Instant, why: &str) {
        if matches!(self.phase, Phase::Down | Phase::Over) {
            return;
        }
        if self.requests.closing() {
            return self.over(Cut::Closed);
        }
        let was_up = self.phase == Phase::Up;
        let why = match self.last_words.take() {
            Some(body) if is_final(body.code) => return self.over(Cut::Refused(body)),
            Some(body) => body.to_string(),
            None => why.to_owned(),
        };
        if !self.welcomed || self.options.reconnect.budget.is_zero() {
            return self.over(Cut::Lost(why));
        }
        self.phase = Phase::Down;
        let settled =
            was_up && (self.progressed || self.liveness.up_for(now) > self.options.reconnect.longest);
        match &mut self.outage {
            Some(outage) if !settled => outage.why.clone_from(&why),
            Some(_) | None => self.outage = Some(Outage { began: now, attempts: 0, why: why.clone() }),
        }
        for ticket in self.requests.connection_lost() {
            self.out.push(Output::Answer(ticket, Err(RequestError::Unanswered)));
        }
        for (job_id, track) in &mut self.jobs {
            if track.connection_lost(self.last_seq) {
                self.out.push(Output::Update(*job_id, JobUpdate::Interrupted(why.clone())));
            }
        }
    }

    /// Ends a connection that is of no use any more, and goes on as if it had broken.
    fn break_off(&mut self, now: Instant, why: &str, reason: CloseReason) {
        self.broken(now, why);
        if !self.is_over() {
            self.out.push(Output::Hangup(reason));
        }
    }

    /// No connection could be made.
    pub(super) fn dial_failed(&mut self, why: &str) {
        if let Some(outage) = &mut self.outage {
            why.clone_into(&mut outage.why);
        }
    }

    /// How long to wait before the next connection; none when it is over. `random` is between 0 and 1.
    pub(super) fn next_dial(&mut self, now: Instant, random: f64) -> Option<Duration> {
        let policy = self.options.reconnect;
        let outage =
            self.outage.get_or_insert_with(|| Outage { began: now, attempts: 0, why: String::new() });
        if now.saturating_duration_since(outage.began) >= policy.budget {
            let why = format!("{} (gave up after {} s)", outage.why, policy.budget.as_secs());
            self.over(Cut::Lost(why));
            return None;
        }
        let pause = policy.pause(outage.attempts, random);
        outage.attempts = outage.attempts.saturating_add(1);
        Some(pause)
    }

    /// Nothing more: every handle and every request is told.
    pub(super) fn over(&mut self, cut: Cut) {
        if self.is_over() {
            return;
        }
        let linked = self.phase != Phase::Down;
        self.phase = Phase::Over;
        for (job_id, _) in self.jobs.drain() {
            self.out.push(Output::Update(job_id, JobUpdate::Cut(cut.clone())));
        }
        for (ticket, closing) in self.requests.drain() {
            let answer = if closing { Ok(Answer::Done) } else { Err(RequestError::Cut(cut.clone())) };
            self.out.push(Output::Answer(ticket, answer));
        }
        if linked {
            self.out.push(Output::Hangup(CloseReason::Done));
        }
        self.out.push(Output::Over(cut));
    }

    /// Time has passed. `reading` is whether frames are being taken in; a runtime is not silent while they are
    /// not.
    pub(super) fn tick(&mut self, now: Instant, reading: bool) {
        self.requests_overdue(now);
        match self.phase {
            Phase::Greeting { by, .. } if now >= by => {
                let why = format!("no welcome within {:?}", self.options.request_timeout);
                self.break_off(now, &why, CloseReason::Done);
            }
            Phase::Up => {
                if !reading {
                    self.liveness.received(now);
                }
                self.heartbeat(now);
                self.acknowledge(now);
            }
            Phase::Greeting { .. } | Phase::Down | Phase::Over => {}
        }
    }

    /// When [`tick`](Self::tick) has something to do at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let requests = self.requests.first_deadline();
        let other = match self.phase {
            Phase::Greeting { by, .. } => Some(by),
            Phase::Up => self.liveness.deadline(self.last_seq, self.acks()),
            Phase::Down | Phase::Over => None,
        };
        requests.into_iter().chain(other).min()
    }

    /// Writes a message; answers name the id that is returned. `req_` and a ULID: like no published client's, so
    /// that no runtime takes us for one of them.
    fn encode(&mut self, trace_id: Option<TraceId>, message: &ClientMessage) -> (String, Bytes) {
        let id = format!("req_{}", (self.mint)());
        let session_id = match self.phase {
            Phase::Up => self.identity.as_ref().map(|identity| identity.session_id.to_string()),
            Phase::Greeting { .. } | Phase::Down | Phase::Over => None,
        };
        let trace_id = trace_id.map(|trace| trace.to_string());
        let frame = encode::client_frame(&id, session_id.as_deref(), trace_id.as_deref(), message);
        (id, frame)
    }

    fn send(&mut self, now: Instant, message: &ClientMessage) {
        let (_, frame) = self.encode(None, message);
        self.send_frame(now, frame);
    }

    fn send_frame(&mut self, now: Instant, frame: Bytes) {
        self.liveness.sent(now);
        self.out.push(Output::Send(frame));
    }
}

/// Whether a connection that ended with this error is better not made again.
fn is_final(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unauthenticated | ErrorCode::PermissionDenied | ErrorCode::InvalidRequest)
}
