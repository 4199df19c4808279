//! The published Rust crate, `arcp` 2.0.0: another generation of the protocol, in words of its own.
//!
//! Facts that shape it, measured with the crate:
//! - a word, code or enum value that it does not know, an id without its prefix, a missing timestamp or a number that
//!   no float holds ends its connection. So everything passes through [`words`], [`codes`] and typed payloads, and
//!   what an agent wrote is spliced in only if the crate's parser takes it;
//! - it files everything by the request that it answers (`correlation_id`), a job's events and end included. So the
//!   connection remembers the requests of each job (several, where a submit was repeated), the targets of cancels and
//!   the pings, for as long as they wait. A refused submit is a `job.failed` for its request and touches no other;
//! - it answers no ping, so `heartbeat` is never negotiated with it: it is neither pinged nor timed out;
//! - its `join()` returns the result that stands in `job.completed` and knows nothing of chunks, which only an
//!   application sees that asks for them. So `streaming` among its capabilities decides: who asks for it gets chunks
//!   (`job.result_chunk`, and null from `join()`, as from its own runtime), anybody else the whole result wherever it
//!   fits. It takes frames of 16 MiB, which the daemon never fills;
//! - its subscriptions by filter see what happens in every job of the principal, of whatever session: one
//!   `x-arcpd.follow` serves them all, and each job that it attaches is told to them only, in envelopes within
//!   envelopes. Its `subscribe` registers the subscription after it has read that it is accepted and loses what comes
//!   right behind, so there is a pause; it hangs on a refusal, for which there is no word that it would hear;
//! - a close is not answered but by the end of the connection, and the end of a connection by the daemon has no
//!   word: it is told as an eviction.

mod asked;
mod capabilities;
mod codes;
mod frame;
mod jobs;
mod lease;
mod read;
mod said;
mod status;
mod subscriptions;
mod told;
mod words;

use bytes::Bytes;
use parking_lot::Mutex;

use self::asked::Asked;
use self::capabilities::Capabilities;
use self::jobs::Jobs;
use self::subscriptions::Subscriptions;
use super::first::First;
use super::{Dialect, Encoded};
use crate::wire::decode::Undecodable;
use crate::wire::envelope::Head;
use crate::wire::id::SessionId;
use crate::wire::limits::Limits;
use crate::wire::message::{Request, RequestKind, ServerMessage, StreamKind};

/// Speaks with one connection of the Rust crate.
#[derive(Debug, Default)]
pub(super) struct Rust2 {
    state: Mutex<State>,
}

/// What the two sides of a connection have said to each other, as far as it is needed again.
#[derive(Debug, Default)]
struct State {
    /// The first request, which the handshake answers.
    opened_by: Option<String>,
    offered: Capabilities,
    /// The session, once the client was let in.
    session: Option<SessionId>,
    asked: Asked,
    jobs: Jobs,
    subscriptions: Subscriptions,
}

/// Whether this first frame is the crate's.
pub(super) fn wrote(first: &First) -> bool {
    first.is("session.open") && first.has("timestamp")
}

impl Dialect for Rust2 {
    fn name(&self) -> &'static str {
        "rust2"
    }

    fn read(&self, frame: &[u8], limits: &Limits) -> Result<Option<Request>, Box<Undecodable>> {
        read::request(&mut self.state.lock(), frame, limits)
    }

    fn kind(&self, word: &str) -> RequestKind {
        read::kind_of(word)
    }

    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        said::message(&mut self.state.lock(), head, message)
    }

    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes, frames: &mut Vec<Bytes>) {
        told::numbered(&mut self.state.lock(), kind, head, payload, frames);
    }
}
