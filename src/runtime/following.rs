//! Sessions that follow their principal (`x-arcpd.follow`): they are attached to each of its jobs as it begins.
//!
//! One session is locked at a time: whoever begins a job has let its own go before the others are told.

use std::sync::Arc;

use super::Core;
use super::job::JobCell;
use super::requests::{room_for_attachment, subscribed};
use super::session::{Reply, SessionCell};
use crate::proto::session::Generation;
use crate::store::Ticket;
use crate::wire::error::ErrorBody;
use crate::wire::extension;
use crate::wire::message::{Refused, RequestKind, ServerMessage};

/// That a session follows, since which request of which connection.
pub(super) struct Following {
    generation: Generation,
    request_id: String,
}

/// From where a job is sent to a session that follows.
#[derive(Clone, Copy)]
enum From {
    Beginning,
    Now,
}

/// Begins to follow, or says again that the session does.
///
/// # Errors
/// When as many sessions as may follow the principal do.
pub(super) fn begin(
    core: &Core,
    session: &Arc<SessionCell>,
    generation: Generation,
    request_id: String,
) -> Result<(), ErrorBody> {
    // Those of before, then the session is told of new ones, then those in between: none is missed.
    let before = live(core, session);
    let mut inner = session.lock();
    let first = inner.following.as_ref().is_none_or(|following| following.generation != generation);
    if first {
        core.registry.follow(session, core.limits.followers_per_principal)?;
        inner.following = Some(Following { generation, request_id: request_id.clone() });
    }
    let message = ServerMessage::Following(extension::Following { reply_to: request_id.clone(), request_id });
    inner.reply(Reply { message, job_id: None, trace_id: None, ticket: Ticket::default() });
    drop(inner);
    session.wake();
    if first {
        tracing::info!(session = %session.id, principal = %session.principal, "follows its principal");
        for job in live(core, session) {
            let known = before.iter().any(|old| Arc::ptr_eq(old, &job));
            attach(core, session, &job, if known { From::Now } else { From::Beginning });
        }
    }
    Ok(())
}

fn live(core: &Core, session: &SessionCell) -> Vec<Arc<JobCell>> {
    core.registry.live_of(&session.principal)
}

/// A job began: those who follow its principal follow it from its beginning.
pub(super) fn began(core: &Core, job: &Arc<JobCell>) {
    for session in core.registry.followers(&job.spec.principal) {
        attach(core, &session, job, From::Beginning);
    }
}

/// Stops following; what is attached stays so.
pub(super) fn end(core: &Core, session: &SessionCell) {
    let mut inner = session.lock();
    inner.following = None;
    core.registry.unfollow(session);
}

/// A connection is gone, and with it what it followed.
pub(super) fn gone(core: &Core, session: &SessionCell, generation: Generation) {
    let mut inner = session.lock();
    if inner.following.as_ref().is_some_and(|following| following.generation == generation) {
        inner.following = None;
        core.registry.unfollow(session);
    }
}

/// Attaches a session that follows to a job, unless it is. Where there is no room for it the following ends.
fn attach(core: &Core, session: &Arc<SessionCell>, job: &Arc<JobCell>, from: From) {
    let mut inner = session.lock();
    let generation = inner.proto.generation();
    let Some(following) = inner.following.take_if(|following| following.generation == generation) else {
        return;
    };
    if inner.proto.stream.attachment(job.id()).is_some() {
        inner.following = Some(following);
        return;
    }
    if let Err(error) = room_for_attachment(core, &inner.proto.stream, job.id()) {
        core.registry.unfollow(session);
        let (kind, at) = (RequestKind::Follow, core.ambient.now());
        let request_id = Some(following.request_id);
        let refused = Refused { kind, request_id, error, agent: None, job_id: None, trace_id: None, at };
        let message = ServerMessage::Refused(refused);
        inner.reply(Reply { message, job_id: None, trace_id: None, ticket: Ticket::default() });
    } else {
        let request_id = following.request_id.clone();
        inner.following = Some(following);
        let pos = job.tail(|tail| match from {
            From::Beginning => tail.first() - 1,
            From::Now => tail.last(),
        });
        let reply = subscribed(session, &mut inner, job, pos, request_id);
        inner.reply(reply);
    }
    drop(inner);
    session.wake();
}
