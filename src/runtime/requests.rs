//! What each request of a client leads to, once it is decoded and admitted.
//!
//! Everything that has to be waited for is fetched first; then the decision, its batch and its reply happen under
//! the session's lock, so that replies leave in the order of the requests and before what they lead to.

use std::sync::Arc;

use super::Core;
use super::attempt;
use super::following;
use super::job::JobCell;
use super::session::{Inner, Reply, SessionCell};
use crate::agent::catalogue::Resolved;
use crate::proto::authority::{self, Steering};
use crate::proto::idempotency::{Keyed, Keys, Repeat};
use crate::proto::listing::Query;
use crate::proto::session::Generation;
use crate::proto::stream::Stream;
use crate::proto::submit::{Order, Spec};
use crate::store::{Full, Op, Ticket, Unreadable};
use crate::wire::encode::json;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::feature::Feature;
use crate::wire::id::{JobId, ResultId, SessionId, TraceId};
use crate::wire::job::{Accepted, Cancel, Cancelled, Subscribe, Subscribed};
use crate::wire::message::{ClientMessage, Request, ServerMessage};
use crate::wire::session::{Ack, Close, Closed, JobSummary, Jobs, ListJobs, Pong};

/// Does what a request asks for.
///
/// # Errors
/// Why it is refused; nothing has changed then.
pub(super) async fn handle(
    core: &Arc<Core>,
    session: &Arc<SessionCell>,
    generation: Generation,
    request: Request,
) -> Result<(), ErrorBody> {
    let Request { id, trace_id, message, .. } = request;
    match message {
        ClientMessage::Ping(ping) => {
            let received_at = Some(core.ambient.now().to_string());
            session.say(ServerMessage::Pong(Pong { ping_nonce: ping.nonce, received_at }));
            Ok(())
        }
        ClientMessage::Ack(Ack { last_processed_seq }) => ack(session, last_processed_seq),
        ClientMessage::ListJobs(list) => list_jobs(core, session, id, list).await,
        ClientMessage::Close(Close { reason }) => {
            let closed = Closed { reply_to: Some(id.clone()), request_id: Some(id), reason };
            session.goodbye(generation, ServerMessage::Closed(closed));
            Ok(())
        }
        ClientMessage::Submit(submit) => {
            let order = Order::new(submit, trace_id, &core.limits)?;
            submit_order(core, session, Asked { id, trace_id }, order).await
        }
        ClientMessage::Cancel(cancel) => cancel_job(core, session, id, cancel).await,
        ClientMessage::Subscribe(subscribe) => subscribe_job(core, session, id, subscribe).await,
        ClientMessage::Unsubscribe(unsubscribe) => {
            if let Some(job) = unsubscribe.job_id.and_then(|text| text.parse().ok()) {
                session.detach(job);
            }
            Ok(())
        }
        ClientMessage::Follow(_) => following::begin(core, session, generation, id),
        ClientMessage::Unfollow(_) => {
            following::end(core, session);
            Ok(())
        }
        // A pong has been noted as a sign of life already; a second hello was not admitted.
        ClientMessage::Pong(_) | ClientMessage::Hello(_) | ClientMessage::Resume(_) => Ok(()),
    }
}

fn ack(session: &SessionCell, seq: u64) -> Result<(), ErrorBody> {
    let mut inner = session.lock();
    inner.proto.stream.ack(seq).map_err(|out| {
        let newest = out.newest;
        ErrorBody::invalid(format!("payload.last_processed_seq: the newest event_seq is {newest}, got {seq}"))
    })?;
    drop(inner);
    // The writer knows what of it was sent on its connection, and frees that.
    session.wake();
    Ok(())
}

async fn list_jobs(core: &Core, session: &SessionCell, id: String, list: ListJobs) -> Result<(), ErrorBody> {
    let query = Query::new(list, Some(session.principal.clone()), &core.cursors, &core.limits)?;
    let (listed, mut more) = core.store.list(query.clone()).await.map_err(unreadable)?;
    let mut jobs: Vec<JobSummary> = listed.into_iter().map(|listed| listed.summary).collect();
    let mut bytes = 0;
    let fits = jobs.iter().take_while(|job| {
        bytes += json(job).len();
        bytes <= core.limits.list_page_bytes
    });
    let fits = fits.count().max(1);
    if fits < jobs.len() {
        jobs.truncate(fits);
        more = true;
    }
    let next_cursor = jobs.last().filter(|_| more).map(|last| core.cursors.cursor(&query, last.job_id));
    session.say(ServerMessage::Jobs(Jobs { reply_to: id.clone(), request_id: id, jobs, next_cursor }));
    Ok(())
}

/// A job that this principal may observe; to it, others do not exist.
async fn find(core: &Core, session: &SessionCell, named: Option<&str>) -> Result<Arc<JobCell>, ErrorBody> {
    let named = named.unwrap_or_default();
    let found = match named.parse::<JobId>() {
        Ok(job) => load(core, job).await?,
        Err(_) => None,
    };
    found
        .filter(|cell| authority::may_observe(&session.principal, &cell.spec.principal))
        .ok_or_else(|| authority::no_such_job(named))
}

/// A job that is alive or kept.
pub(super) async fn load(core: &Core, job: JobId) -> Result<Option<Arc<JobCell>>, ErrorBody> {
    if let Some(live) = core.registry.live(job) {
        return Ok(Some(live));
    }
    let row = core.store.job(job).await.map_err(unreadable)?;
    Ok(row.map(|row| Arc::new(JobCell::stored(row, core.store.clone(), core.limits.clone()))))
}

/// A submit as its answer names it.
#[derive(Clone)]
struct Asked {
    id: String,
    trace_id: Option<TraceId>,
}

fn accepted(cell: &JobCell, asked: Asked, repeated: bool, ticket: Ticket) -> Reply {
    let spec = &cell.spec;
    let message = ServerMessage::Accepted(Accepted {
        job_id: spec.id,
        reply_to: asked.id.clone(),
        request_id: asked.id,
        agent: spec.agent.clone(),
        lease: spec.order.lease.clone(),
        lease_constraints: spec.order.constraints.clone(),
        accepted_at: spec.created_at,
        trace_id: spec.order.trace_id,
        repeated,
    });
    // In the head the trace of this submit: clients match an answer by it.
    Reply { message, job_id: Some(spec.id), trace_id: asked.trace_id.or(spec.order.trace_id), ticket }
}

async fn submit_order(
    core: &Arc<Core>,
    session: &Arc<SessionCell>,
    asked: Asked,
    order: Order,
) -> Result<(), ErrorBody> {
    let raced = match repeated(core, session, &order).await? {
        Some(original) => return repeat(core, session, asked, &original),
        None => begin(core, session, asked.clone(), order)?,
    };
    // Another session came first with the same key while this one was deciding.
    match raced {
        None => Ok(()),
        Some(known) => match original(core, known).await? {
            Some(original) => repeat(core, session, asked, &original),
            None => Err(ErrorBody::new(
                ErrorCode::InternalError,
                "the job of this key is gone already; submit again",
            )),
        },
    }
}

/// Answers a submit that was made before, and attaches its session to the job.
fn repeat(
    core: &Core,
    session: &Arc<SessionCell>,
    asked: Asked,
    original: &Arc<JobCell>,
) -> Result<(), ErrorBody> {
    let mut inner = session.lock();
    room_for_attachment(core, &inner.proto.stream, original.id())?;
    let ticket = session.reattach(&mut inner, original);
    inner.reply(accepted(original, asked, true, ticket));
    drop(inner);
    session.wake();
    Ok(())
}

/// The job that an earlier submit with the same key and parameters began.
async fn repeated(
    core: &Core,
    session: &SessionCell,
    order: &Order,
) -> Result<Option<Arc<JobCell>>, ErrorBody> {
    let Some(key) = &order.key else { return Ok(None) };
    let resolved = core.catalogue.resolve(&order.asked).ok().map(|version| version.agent);
    let known = core.keys.lock().look_up(&session.principal, key, order, resolved.as_ref());
    original(core, known).await
}

/// The job of a repeated submit, if it is kept.
async fn original(core: &Core, known: Repeat) -> Result<Option<Arc<JobCell>>, ErrorBody> {
    match known {
        Repeat::New => Ok(None),
        Repeat::Same(job) => load(core, job).await,
        Repeat::Conflict(job, error) => {
            // That the key is taken is true once its job is stored.
            let ticket = core.registry.live(job).map(|cell| cell.ticket()).unwrap_or_default();
            stored(core, ticket).await?;
            Err(error)
        }
    }
}

/// Waits until what an answer depends on is stored.
pub(super) async fn stored(core: &Core, ticket: Ticket) -> Result<(), ErrorBody> {
    core.store
        .applied(ticket)
        .await
        .map_err(|fenced| ErrorBody::new(ErrorCode::InternalError, fenced.to_string()))
}

/// Begins a new job, unless another session has just begun one with the same key: then what that makes of this
/// submit is returned, and nothing has happened.
fn begin(
    core: &Arc<Core>,
    session: &Arc<SessionCell>,
    asked: Asked,
    order: Order,
) -> Result<Option<Repeat>, ErrorBody> {
    let now = core.ambient.now();
    if core.draining.is_cancelled() {
        return Err(ErrorBody::new(ErrorCode::InternalError, "the daemon is stopping; submit again"));
    }
    core.store.admits().map_err(|full| refusal(&full))?;
    let account = core.accounts.of(&session.principal);
    if account.bytes() > core.limits.bytes_per_principal {
        return Err(ErrorBody::limit("bytes_per_principal", core.limits.bytes_per_principal, 1_000));
    }
    if order.asked.version.is_some() && !session.features.has(Feature::AgentVersions) {
        let message =
            "payload.agent: name@version needs the feature agent_versions, which was not negotiated";
        return Err(ErrorBody::invalid(message).with("feature", Feature::AgentVersions.as_str()));
    }
    order.check_start(now)?;
    let Resolved { agent, host, restartable: _ } = core.catalogue.resolve(&order.asked)?;
    let id = JobId::new(now.as_millis(), core.ambient.random());
    let result = ResultId::new(now.as_millis(), core.ambient.random());
    let spec = Arc::new(Spec { id, principal: session.principal.clone(), agent, order, created_at: now });
    let cell =
        Arc::new(JobCell::accepted(spec.clone(), result, account, core.store.clone(), core.limits.clone()));

    let mut inner = session.lock();
    room_for_attachment(core, &inner.proto.stream, id)?;
    // The keys stay locked until the job is on its way to the store: whoever repeats this submit waits behind it.
    let mut keys = spec.order.key.is_some().then(|| core.keys.lock());
    if let Some(known) = take_in(core, &cell, keys.as_deref_mut())? {
        return Ok(Some(known));
    }
    let mut ops = vec![Op::JobAccepted { spec }];
    ops.extend(session.attach(&mut inner, &cell, 0, true));
    let ticket = session.submit(ops);
    drop(keys);
    inner.reply(accepted(&cell, asked, false, ticket));
    drop(inner);
    session.wake();
    following::began(core, &cell);
    core.meters.jobs_accepted.one();
    tracing::info!(job = %id, agent = %cell.spec.agent, principal = %session.principal, "job accepted");
    core.attempts.spawn(attempt::run(core.clone(), cell, host));
    Ok(None)
}

/// Takes a new job into the registry and its key into memory, both or neither. Two sessions may have come this far
/// with one key: the first to get here has it, and the second is told.
fn take_in(core: &Core, cell: &Arc<JobCell>, keys: Option<&mut Keys>) -> Result<Option<Repeat>, ErrorBody> {
    let Spec { principal, agent, order, id, .. } = &*cell.spec;
    let (Some(keyed), Some(keys)) = (Keyed::of(&cell.spec), keys) else {
        return core.registry.accept(cell, &core.limits).map(|()| None);
    };
    match keys.look_up(principal, &keyed.key, order, Some(agent)) {
        Repeat::New => {
            core.registry.accept(cell, &core.limits)?;
            keys.remember(principal, *id, keyed);
            Ok(None)
        }
        known @ (Repeat::Same(_) | Repeat::Conflict(..)) => Ok(Some(known)),
    }
}

pub(super) fn room_for_attachment(core: &Core, stream: &Stream, job: JobId) -> Result<(), ErrorBody> {
    let max = core.limits.attachments_per_session;
    if stream.attachment(job).is_none() && stream.followed_count() >= max {
        return Err(ErrorBody::limit("attachments_per_session", max as u64, 1_000));
    }
    Ok(())
}

async fn cancel_job(
    core: &Arc<Core>,
    session: &Arc<SessionCell>,
    request_id: String,
    cancel: Cancel,
) -> Result<(), ErrorBody> {
    let Cancel { job_id, reason } = cancel;
    let cell = find(core, session, job_id.as_deref()).await?;
    let steering = steering(core, session.id, &cell.submitters());
    let mut inner = session.lock();
    authority::may_cancel(steering)?;
    let ticket = match cell.cancel(reason.clone(), core.ambient.now()) {
        Ok(ticket) => ticket,
        Err(status) => {
            drop(inner);
            // That it has ended is true once its end is stored.
            stored(core, cell.ticket()).await?;
            return Err(authority::too_late(status));
        }
    };
    let message = ServerMessage::Cancelled(Cancelled {
        job_id: cell.id(),
        reply_to: request_id.clone(),
        request_id,
        reason,
    });
    inner.reply(Reply { message, job_id: Some(cell.id()), trace_id: cell.spec.order.trace_id, ticket });
    drop(inner);
    session.wake();
    tracing::info!(job = %cell.id(), principal = %session.principal, session = %session.id, "job cancelled");
    Ok(())
}

fn steering(core: &Core, own: SessionId, submitters: &[SessionId]) -> Steering {
    if submitters.contains(&own) {
        Steering::Own
    } else if submitters
        .iter()
        .any(|session| core.registry.session(*session).is_some_and(|cell| !cell.lock().proto.closed()))
    {
        Steering::Others
    } else {
        Steering::Nobody
    }
}

async fn subscribe_job(
    core: &Arc<Core>,
    session: &Arc<SessionCell>,
    request_id: String,
    subscribe: Subscribe,
) -> Result<(), ErrorBody> {
    let Subscribe { job_id, from_event_seq, history } = subscribe;
    let found = find(core, session, job_id.as_deref()).await;
    tracing::info!(
        subscriber = %session.principal, session = %session.id, job = job_id.as_deref().unwrap_or_default(),
        owner = found.as_ref().map_or("", |cell| cell.spec.principal.subject()), allowed = found.is_ok(), "subscribe"
    );
    let cell = found?;
    let mut inner = session.lock();
    room_for_attachment(core, &inner.proto.stream, cell.id())?;
    let (first, last) = cell.tail(|tail| (tail.first(), tail.last()));
    let followed = inner.proto.stream.attachment(cell.id()).filter(|attachment| !attachment.done);
    let from = match (history.unwrap_or(false), from_event_seq.unwrap_or(0)) {
        // Who follows the job already goes on where it is; who does not begins after what has passed.
        (false, _) => followed.map_or(last, |attachment| attachment.pos),
        (true, 0) => first - 1,
        (true, from) if from < first - 1 => return Err(authority::trimmed(from, first)),
        // Nor does who follows it pass over what it was not sent yet.
        (true, from) => from.min(followed.map_or(last, |attachment| attachment.pos)),
    };
    let reply = subscribed(session, &mut inner, &cell, from, request_id);
    inner.reply(reply);
    drop(inner);
    session.wake();
    Ok(())
}

/// Attaches a session to a job from after a position; returns what it is told.
pub(super) fn subscribed(
    session: &Arc<SessionCell>,
    inner: &mut Inner,
    cell: &Arc<JobCell>,
    from: u64,
    request_id: String,
) -> Reply {
    let (last, ended) = cell.tail(|tail| (tail.last(), tail.ended()));
    // Of a job that is over, at least its end is sent: nobody is left to wait for it.
    let from = if ended { from.min(last - 1) } else { from };
    // Before the batch whose ticket it goes with: a status must not be told before it is stored.
    let current_status = cell.status();
    let ops = session.attach(inner, cell, from, false);
    let ticket = session.submit(ops);
    let spec = &cell.spec;
    let message = ServerMessage::Subscribed(Subscribed {
        job_id: spec.id,
        reply_to: request_id.clone(),
        request_id,
        current_status,
        agent: spec.agent.clone(),
        lease: spec.order.lease.clone(),
        lease_constraints: spec.order.constraints.clone(),
        trace_id: spec.order.trace_id,
        subscribed_from: from,
        replayed: from < last,
    });
    Reply { message, job_id: Some(spec.id), trace_id: spec.order.trace_id, ticket }
}

/// What a client is told when the store cannot be read: retryable. Why is for the operator, and in the log.
pub(super) fn unreadable(_: Unreadable) -> ErrorBody {
    let message = "the daemon cannot read its store now; try again after 1000 ms";
    ErrorBody::new(ErrorCode::InternalError, message).with("retry_after_ms", 1_000)
}

/// What a client is told when the store takes no new work: retryable in any case.
pub(super) fn refusal(full: &Full) -> ErrorBody {
    match full {
        Full::Bytes { max, .. } => ErrorBody::limit("store_bytes", *max, 1_000),
        Full::Behind { max, .. } => ErrorBody::limit("store_queue_bytes", *max, 1_000),
        Full::Failing { .. } => {
            let message = "the daemon cannot store anything now; try again after 1000 ms";
            ErrorBody::new(ErrorCode::InternalError, message).with("retry_after_ms", 1_000)
        }
    }
}
