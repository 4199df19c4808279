//! One connection: the handshake, then reading and writing side by side until one of them ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::following;
use super::requests;
use super::session::SessionCell;
use super::writer::{self, Outbox};
use super::{Core, Peer};
use crate::auth::{Caller, Unauthenticated};
use crate::proto::flow::Refusals;
use crate::proto::handshake::{self, Opening};
use crate::proto::heartbeat::Heartbeat;
use crate::proto::record::Tail;
use crate::proto::session::{Generation, Session, TokenHash};
use crate::proto::stream::OutOfReach;
use crate::store::{Full, Op};
use crate::transport::{CloseReason, Ended, FrameFault, FrameReader, Received, Transport};
use crate::wire::agent_ref::AgentRef;
use crate::wire::decode::Undecodable;
use crate::wire::dialect::{self, Dialect};
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::feature::{Feature, FeatureSet};
use crate::wire::id::{JobId, SessionId};
use crate::wire::limits::Limits;
use crate::wire::message::{ClientMessage, Refused, RequestKind, ServerMessage};
use crate::wire::principal::Principal;
use crate::wire::session::{
    Auth, Closed, LastSeen, Resume, RuntimeCapabilities, SessionError, Token, Welcome,
};

/// A connection that has been welcomed.
pub(super) struct Link {
    pub(super) core: Arc<Core>,
    pub(super) session: Arc<SessionCell>,
    pub(super) generation: Generation,
    pub(super) dialect: Arc<dyn Dialect>,
    pub(super) heartbeat: Option<Mutex<Heartbeat>>,
    /// The last number that the client has, when the connection begins.
    pub(super) from: u64,
    /// The last number that was given out before the connection began.
    pub(super) given: u64,
    /// Positions of jobs that the client has beyond the number that it resumed after.
    seen: BTreeMap<JobId, u64>,
}

/// A connection that was not let in.
struct Turned {
    dialect: Arc<dyn Dialect>,
    request_id: Option<String>,
    error: ErrorBody,
    reason: CloseReason,
}

/// Serves a connection to its end.
pub(super) async fn serve<T: Transport>(core: Arc<Core>, transport: T, peer: Peer) {
    let Peer { name: peer, dialect: wanted } = peer;
    let (mut reader, writer) = transport.split();
    let mut outbox = Outbox::new(writer, Duration::from_millis(core.limits.send_timeout_ms));
    // Boxed, so that what the handshake needs is not kept for as long as the connection; so with the refusal.
    let opened = tokio::select! {
        // Who has said hello is told of a stop in words.
        biased;
        opened = Box::pin(open(&core, &mut reader, wanted.as_deref())) => opened,
        () = core.stopping.cancelled() => return outbox.close(CloseReason::GoingAway).await,
    };
    let (link, welcome) = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => return,
        Err(turned) => return Box::pin(turn_away(&core, outbox, turned, &peer)).await,
    };
    let session = &link.session;
    session.came_from(link.generation, &peer, link.dialect.name());
    tracing::info!(
        session = %session.id, principal = %session.principal, peer, dialect = link.dialect.name(),
        resumed = link.generation > 1, "connected"
    );
    let welcome = ServerMessage::Welcome(welcome);
    let welcomed = outbox.say(&link, &welcome).await;
    drop(welcome);
    let reason = match welcomed {
        Err(reason) => reason,
        Ok(()) => tokio::select! {
            // What was asked is heard first, so that its answer leaves at once.
            biased;
            never = read(&link, reader) => match never {},
            reason = writer::write(&link, &mut outbox) => reason,
        },
    };
    if reason == CloseReason::TakenOver {
        let closed = Closed { request_id: None, reply_to: None, reason: Some(reason.as_str().into()) };
        let _ = outbox.say(&link, &ServerMessage::Closed(closed)).await;
    }
    outbox.close(reason).await;
    core.meters.closed(reason);
    following::gone(&core, session, link.generation);
    session.lock().proto.detach(link.generation, core.ambient.now());
    tracing::info!(session = %session.id, principal = %session.principal, peer, reason = reason.as_str(), "disconnected");
}

async fn turn_away<W: crate::transport::FrameWriter>(
    core: &Core,
    mut outbox: Outbox<W>,
    turned: Turned,
    peer: &str,
) {
    let Turned { dialect, request_id, error, reason } = turned;
    core.meters.refused(&error);
    tracing::warn!(peer, dialect = dialect.name(), code = %error.code, "connection refused: {}", error.message);
    // Clients drop a refusal that names no session, so it names one that never was.
    let session = SessionId::new(core.ambient.now().as_millis(), core.ambient.random());
    let message = ServerMessage::Error(SessionError::new(error, request_id));
    let _ = outbox.say_to(core, session, &*dialect, &message).await;
    outbox.close(reason).await;
}

/// The handshake: nothing about jobs or agents leaks before it has succeeded. None when the peer went away.
async fn open<R: FrameReader>(
    core: &Arc<Core>,
    reader: &mut R,
    wanted: Option<&str>,
) -> Result<Option<(Link, Welcome)>, Turned> {
    let wanted = wanted.map(str::parse::<dialect::Choice>).transpose().map_err(|unknown| Turned {
        dialect: dialect::canonical(),
        request_id: None,
        error: ErrorBody::invalid(format!("dialect: {unknown}")),
        reason: CloseReason::Policy,
    })?;
    // Before there is a frame to tell by, only the address may.
    let early = || wanted.map_or_else(dialect::canonical, |choice| choice.open(b""));
    let turn = |error, reason| Turned { dialect: early(), request_id: None, error, reason };
    let first = first_frame(core, reader).await.map_err(|(error, reason)| turn(error, reason))?;
    let Some(frame) = first else { return Ok(None) };
    let dialect = wanted.map_or_else(|| dialect::detect(&frame), |choice| choice.open(&frame));
    let turn = |request_id, error| Turned {
        dialect: dialect.clone(),
        request_id,
        error,
        reason: CloseReason::Policy,
    };
    let request = match dialect.read(&frame, &core.limits) {
        Ok(Some(request)) => request,
        Ok(None) => return Err(turn(None, handshake::not_an_opening())),
        Err(bad) => return Err(turn(bad.request_id, bad.error)),
    };
    let request_id = Some(request.id.clone());
    let turn = |error| turn(request_id.clone(), error);
    takes_sessions(core).map_err(turn)?;
    let opening = handshake::open(request).map_err(turn)?;
    let caller = match &opening {
        Opening::New { auth, .. } => Some(authenticate(core, auth.as_ref()).map_err(turn)?),
        Opening::Resume { auth: Some(auth), .. } => Some(authenticate(core, Some(auth)).map_err(turn)?),
        Opening::Resume { auth: None, .. } => None,
    };
    // What the address says stands; then what the token says; then what the first frame shows.
    let by_token = caller.as_ref().and_then(|caller| caller.dialect).filter(|_| wanted.is_none());
    let (dialect, opening) = match by_token.filter(|choice| choice.to_string() != dialect.name()) {
        Some(choice) => again(core, choice, &frame).map_err(turn)?,
        None => (dialect.clone(), opening),
    };
    match opening {
        Opening::New { client, features, .. } => {
            let principal = caller.ok_or_else(|| turn(unauthenticated(Unauthenticated)))?.principal;
            let client = client.map(|c| format!("{} {}", c.name, c.version)).unwrap_or_default();
            tracing::debug!(%principal, client, "authenticated");
            begin(core, principal, features, dialect).await.map(Some).map_err(turn)
        }
        Opening::Resume { resume, .. } => {
            let resumed = go_on(core, &resume, caller.map(|caller| caller.principal), dialect).await;
            core.meters.resumed(resumed.is_ok());
            resumed.map(Some).map_err(turn)
        }
    }
}

/// Reads the first frame in the dialect that the token asks for.
fn again(
    core: &Core,
    choice: dialect::Choice,
    frame: &[u8],
) -> Result<(Arc<dyn Dialect>, Opening), ErrorBody> {
    let dialect = choice.open(frame);
    let read = dialect.read(frame, &core.limits).map_err(|bad| bad.error);
    let opening = read.and_then(|request| handshake::open(request.ok_or_else(handshake::not_an_opening)?));
    let opening = opening.map_err(|error| {
        let message = format!("the token's dialect {choice} cannot read this first frame: {}", error.message);
        ErrorBody { message, ..error }
    })?;
    Ok((dialect, opening))
}

/// The first frame, if it comes in time and is small enough; none when the peer went away.
async fn first_frame<R: FrameReader>(
    core: &Core,
    reader: &mut R,
) -> Result<Option<Bytes>, (ErrorBody, CloseReason)> {
    let Limits { hello_timeout_ms, hello_bytes, .. } = *core.limits;
    let frame = match timeout(Duration::from_millis(hello_timeout_ms), reader.receive()).await {
        Ok(Ok(Received::Text(frame))) => frame,
        Ok(Ok(Received::Rejected(fault)) | Err(Ended::Fault(fault))) => {
            return Err((ErrorBody::invalid(fault.to_string()), close_reason(&fault)));
        }
        Ok(Err(Ended::Closed | Ended::Broken(_))) => return Ok(None),
        Err(_) => {
            let message = format!("expected session.hello within {hello_timeout_ms} ms");
            return Err((ErrorBody::invalid(message), CloseReason::Policy));
        }
    };
    if frame.len() > hello_bytes {
        let got = frame.len();
        let message = format!("expected a first frame of at most {hello_bytes} bytes, got {got}");
        return Err((ErrorBody::invalid(message), CloseReason::TooBig));
    }
    Ok(Some(frame))
}

/// Whether a session can be opened or resumed now.
fn takes_sessions(core: &Core) -> Result<(), ErrorBody> {
    if core.draining.is_cancelled() {
        return Err(ErrorBody::new(ErrorCode::InternalError, "the daemon is stopping; connect again later"));
    }
    match core.store.admits() {
        // A session that cannot be stored now would wait for its welcome without a word.
        Err(full @ Full::Failing { .. }) => Err(requests::refusal(&full)),
        Err(Full::Bytes { .. } | Full::Behind { .. }) | Ok(()) => Ok(()),
    }
}

fn close_reason(fault: &FrameFault) -> CloseReason {
    match fault {
        FrameFault::Binary => CloseReason::Policy,
        FrameFault::TooLong { .. } => CloseReason::TooBig,
        FrameFault::NotUtf8(_) => CloseReason::NotUtf8,
        FrameFault::Protocol(_) => CloseReason::Protocol,
    }
}

fn authenticate(core: &Core, auth: Option<&Auth>) -> Result<Caller, ErrorBody> {
    auth.and_then(|auth| Some((auth.scheme.as_str(), auth.token.as_ref()?)))
        .ok_or(Unauthenticated)
        .and_then(|(scheme, token)| core.authenticator.authenticate(scheme, token))
        .map_err(unauthenticated)
}

fn unauthenticated(refused: Unauthenticated) -> ErrorBody {
    ErrorBody::new(ErrorCode::Unauthenticated, refused.to_string())
}

fn hash(token: &Token) -> TokenHash {
    Sha256::digest(token.expose()).into()
}

fn new_token(core: &Core) -> Token {
    Token::new(format!("rt_{}", hex::encode(core.ambient.secret())))
}

/// Opens a new session.
async fn begin(
    core: &Arc<Core>,
    principal: Principal,
    features: FeatureSet,
    dialect: Arc<dyn Dialect>,
) -> Result<(Link, Welcome), ErrorBody> {
    let id = SessionId::new(core.ambient.now().as_millis(), core.ambient.random());
    let token = new_token(core);
    let session = Session::new(id, principal.clone(), features, hash(&token));
    let account = core.accounts.of(&session.principal);
    let cell = SessionCell::new(session, account, core.store.clone(), core.limits.clone());
    core.registry.open(&cell, hash(&token), &core.limits)?;
    let opened = Op::SessionOpened { session: id, principal, features, token: hash(&token) };
    requests::stored(core, cell.submit(vec![opened])).await?;
    core.meters.sessions_opened.one();
    Ok(welcome(core, cell, 1, token, dialect, 0))
}

/// Resumes a session (§6.3). Every refusal looks the same from outside.
async fn go_on(
    core: &Arc<Core>,
    resume: &Resume,
    principal: Option<Principal>,
    dialect: Arc<dyn Dialect>,
) -> Result<(Link, Welcome), ErrorBody> {
    let presented = hash(&resume.resume_token);
    let refuse = handshake::cannot_resume;
    let cell = core.registry.by_token(&presented).ok_or_else(refuse)?;
    let foreign = principal.is_some_and(|principal| principal != cell.principal);
    let other = resume.session_id.as_ref().is_some_and(|named| *named != cell.id.to_string());
    if foreign || other {
        return Err(refuse());
    }
    // Followed first: what goes from now on is missed in the stream, and what is gone already is missed here.
    follow_again(core, &cell).await?;
    let (after, seen) = match resume.last_event_seq.clone() {
        LastSeen::Number(seq) => (seq, BTreeMap::new()),
        LastSeen::Positions(positions) => (cell.lock().proto.stream.unseen_after(&positions), positions),
    };
    reaches(core, &cell, after)
        .await?
        .map_err(|out| refuse().with("oldest_event_seq", out.oldest).with("newest_event_seq", out.newest))?;
    let token = new_token(core);
    let next = hash(&token);
    let retoken = |void: &[TokenHash]| core.registry.retoken(cell.id, Some(next), void);
    let resumed = cell.resume(presented, next, after, retoken);
    let (generation, ticket) = resumed.ok_or_else(refuse)?;
    requests::stored(core, ticket).await?;
    let (mut link, welcome) = welcome(core, cell, generation, token, dialect, after);
    link.seen = seen;
    Ok((link, welcome))
}

/// What a session followed before the daemon was started again wakes it again.
async fn follow_again(core: &Core, cell: &Arc<SessionCell>) -> Result<(), ErrorBody> {
    let unfollowed = cell.lock().unfollowed();
    for job in unfollowed {
        if let Some(job) = requests::load(core, job).await? {
            cell.follow(&mut cell.lock(), &job);
        }
    }
    Ok(())
}

/// Whether everything after a number can be sent again.
async fn reaches(core: &Core, cell: &SessionCell, seq: u64) -> Result<Result<(), OutOfReach>, ErrorBody> {
    // The first position that is kept of each job; none of those that are gone.
    let mut oldest: HashMap<JobId, Option<u64>> = HashMap::new();
    loop {
        let mut stored = Vec::new();
        {
            let inner = cell.lock();
            for job in inner.proto.stream.jobs() {
                // What lives may be ahead of the store, or not be there yet; the rest may be gone from there.
                match core.registry.live(job) {
                    Some(live) => drop(oldest.insert(job, Some(live.tail(Tail::first)))),
                    None if oldest.contains_key(&job) => {}
                    None => stored.push(job),
                }
            }
            if stored.is_empty() {
                return Ok(inner.proto.stream.reaches(seq, |job| oldest.get(&job).copied().flatten()));
            }
        }
        // Meanwhile an older connection may begin more jobs: so there is another look.
        for job in stored {
            let row = core.store.job(job).await.map_err(requests::unreadable)?;
            oldest.insert(job, row.map(|row| row.tail.first()));
        }
    }
}

fn welcome(
    core: &Arc<Core>,
    cell: Arc<SessionCell>,
    generation: Generation,
    resume_token: Token,
    dialect: Arc<dyn Dialect>,
    from: u64,
) -> (Link, Welcome) {
    let now = core.ambient.now();
    let beats = cell.features.has(Feature::Heartbeat);
    let welcome = Welcome {
        session_id: cell.id,
        runtime: core.software.clone(),
        runtime_name: core.software.name.clone(),
        runtime_version: core.software.version.clone(),
        resume_token,
        resume_window_sec: core.resume_window.as_secs(),
        heartbeat_interval_sec: beats.then_some(core.heartbeat_interval.as_secs()),
        capabilities: RuntimeCapabilities {
            encodings: vec!["json".into()],
            features: cell.features.iter().map(|feature| feature.as_str().into()).collect(),
            agents: core.catalogue.inventory(),
        },
        accepted_at: now,
    };
    let heartbeat = beats.then(|| Mutex::new(Heartbeat::new(core.heartbeat_interval, now)));
    let given = cell.lock().proto.stream.newest();
    (
        Link {
            core: core.clone(),
            session: cell,
            generation,
            dialect,
            heartbeat,
            from,
            given,
            seen: BTreeMap::new(),
        },
        welcome,
    )
}

/// Reads requests until the connection is dropped. It ends by making the writer end, so that what was asked
/// before is still answered.
async fn read<R: FrameReader>(link: &Link, mut reader: R) -> std::convert::Infallible {
    let (core, session) = (&link.core, &link.session);
    let mut refusals = Refusals::default();
    loop {
        session.has_room().await;
        let nonsense = match reader.receive().await {
            Ok(Received::Text(frame)) => {
                if !heard(link) {
                    break;
                }
                match frame_came(link, &frame).await {
                    Ok(()) => None,
                    Err(Refusal::Answer(refused)) => {
                        refuse(link, refused);
                        None
                    }
                    Err(Refusal::Nonsense(refused)) => Some(refused),
                }
            }
            Ok(Received::Rejected(fault)) => Some(unreadable(&*link.dialect, &fault)),
            Err(Ended::Closed) => {
                link.end(CloseReason::Done);
                break;
            }
            Err(Ended::Fault(fault)) => {
                refuse(link, unreadable(&*link.dialect, &fault));
                link.end(close_reason(&fault));
                break;
            }
            Err(Ended::Broken(error)) => {
                tracing::debug!(session = %session.id, "connection broken: {error}");
                link.end(CloseReason::Policy);
                break;
            }
        };
        if let Some(refused) = nonsense {
            let now = core.ambient.now();
            let pause = refusals.count(core.limits.refusals_per_sec, now);
            refuse(link, refused);
            if let Some(until) = pause {
                tokio::time::sleep(until.since(now)).await;
            }
        }
    }
    std::future::pending().await
}

/// Notes a sign of life; says whether this connection is still the session's.
fn heard(link: &Link) -> bool {
    let now = link.core.ambient.now();
    if let Some(heartbeat) = &link.heartbeat {
        heartbeat.lock().heard(now);
    }
    let mut inner = link.session.lock();
    if inner.proto.generation() != link.generation {
        return false;
    }
    let void = inner.proto.heard();
    if !void.is_empty() {
        let hashes = inner.proto.tokens().collect();
        link.session.submit(vec![Op::Tokens { session: link.session.id, hashes }]);
        link.core.registry.retoken(link.session.id, None, &void);
    }
    true
}

/// How a frame is refused.
enum Refusal {
    /// It made sense, and the answer is no. That costs what any answer costs.
    Answer(Undecodable),
    /// It made none; so many of these and no more are answered at once.
    Nonsense(Undecodable),
}

/// Handles one frame.
async fn frame_came(link: &Link, frame: &[u8]) -> Result<(), Refusal> {
    let request = match link.dialect.read(frame, &link.core.limits) {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(()),
        Err(undecodable) => return Err(Refusal::Nonsense(*undecodable)),
    };
    let kind = request.message.kind();
    tracing::trace!(session = %link.session.id, kind = kind.as_str(), "request");
    let (request_id, trace_id) = (Some(request.id.clone()), request.trace_id);
    let (agent, job_id) = about(&request.message);
    let admitted = link.session.lock().proto.admit(&request, &link.core.limits);
    let handled = match admitted {
        Ok(()) => requests::handle(&link.core, &link.session, link.generation, request).await,
        Err(error) => Err(error),
    };
    handled.map_err(|error| Refusal::Answer(Undecodable { kind, request_id, trace_id, agent, job_id, error }))
}

/// The agent or the job that a request names, for whoever has to tell of its refusal.
fn about(message: &ClientMessage) -> (Option<AgentRef>, Option<String>) {
    match message {
        ClientMessage::Submit(submit) => (Some(submit.agent.clone()), None),
        ClientMessage::Cancel(cancel) => (None, cancel.job_id.clone()),
        ClientMessage::Subscribe(subscribe) => (None, subscribe.job_id.clone()),
        ClientMessage::Hello(_)
        | ClientMessage::Resume(_)
        | ClientMessage::Ping(_)
        | ClientMessage::Pong(_)
        | ClientMessage::Ack(_)
        | ClientMessage::ListJobs(_)
        | ClientMessage::Close(_)
        | ClientMessage::Unsubscribe(_)
        | ClientMessage::Follow(_)
        | ClientMessage::Unfollow(_) => (None, None),
    }
}

/// What cannot be read at all is refused as what it began as.
fn unreadable(dialect: &dyn Dialect, fault: &FrameFault) -> Undecodable {
    let error = ErrorBody::invalid(fault.to_string());
    let (kind, request_id) = match fault {
        FrameFault::TooLong { beginning, .. } => dialect.beginning(beginning),
        FrameFault::Binary | FrameFault::NotUtf8(_) | FrameFault::Protocol(_) => (RequestKind::Unknown, None),
    };
    Undecodable { kind, request_id, trace_id: None, agent: None, job_id: None, error }
}

fn refuse(link: &Link, refused: Undecodable) {
    let Undecodable { kind, request_id, trace_id, agent, job_id, error } = refused;
    link.core.meters.refused(&error);
    tracing::debug!(session = %link.session.id, kind = kind.as_str(), "refused: {error}");
    let at = link.core.ambient.now();
    link.session.say(ServerMessage::Refused(Refused {
        kind,
        request_id,
        error,
        agent,
        job_id,
        trace_id,
        at,
    }));
}

impl Link {
    /// Whether the client has this already, by what it said when it resumed. What was numbered since, it cannot have.
    pub(super) fn has(&self, job: JobId, pos: u64, seq: u64) -> bool {
        seq <= self.given && self.seen.get(&job).is_some_and(|seen| pos <= *seen)
    }

    /// Makes the writer of this connection end.
    fn end(&self, reason: CloseReason) {
        self.session.close(self.generation, reason);
    }
}
