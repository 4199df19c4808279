//! The actors that move data between the decisions, the store, the agents and the transports.
//!
//! The order is always the same: input → decide (pure) → batch → store applies → outputs leave. Owners are locks
//! around pure machines; a lock is held for one decision and never across a wait. Locks are taken in the order
//! session → keys → registry → job → store, and the marks that wake a session are leaves.

mod accounts;
mod ambient;
mod attempt;
mod connection;
mod following;
mod inline;
mod job;
mod meters;
mod operate;
mod registry;
mod requests;
mod restore;
mod session;
mod sweep;
mod tally;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use ambient::{Ambient, System};

use crate::agent::catalogue::Catalogue;
use crate::auth::Authenticator;
use crate::proto::idempotency::Keys;
use crate::proto::job::Afterlife;
use crate::proto::listing::CursorKey;
use crate::store::{Store, Unreadable};
use crate::transport::Transport;
use crate::wire::id::MessageId;
use crate::wire::limits::Limits;
use crate::wire::session::Software;
use crate::wire::time::Timestamp;
use accounts::Accounts;
use job::JobCell;
use meters::Meters;
use registry::Registry;

/// What a runtime is made of.
pub struct Parts {
    /// Every limit.
    pub limits: Arc<Limits>,
    /// How often each side speaks where heartbeats are negotiated (§6.4).
    pub heartbeat_interval: Duration,
    /// For how long a session without a connection can be resumed at least (§6.3).
    pub resume_window: Duration,
    /// Who lets clients in.
    pub authenticator: Authenticator,
    /// Which agents there are.
    pub catalogue: Catalogue,
    /// Where everything is recorded.
    pub store: Arc<dyn Store>,
    /// Time and chance.
    pub ambient: Arc<dyn Ambient>,
}

/// What is known of a connection before it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who is at the other side, for logs.
    pub name: String,
    /// The dialect that it asked for by name, instead of being told by its first frame.
    pub dialect: Option<String>,
}

impl From<&str> for Peer {
    fn from(name: &str) -> Self {
        Peer { name: name.into(), dialect: None }
    }
}

struct Core {
    limits: Arc<Limits>,
    heartbeat_interval: Duration,
    resume_window: Duration,
    authenticator: Authenticator,
    catalogue: Catalogue,
    store: Arc<dyn Store>,
    ambient: Arc<dyn Ambient>,
    started_at: Timestamp,
    registry: Registry,
    accounts: Accounts,
    meters: Meters,
    keys: Mutex<Keys>,
    cursors: CursorKey,
    software: Software,
    /// Stops accepting work.
    draining: CancellationToken,
    /// Ends connections.
    stopping: CancellationToken,
    attempts: TaskTracker,
    connections: TaskTracker,
}

impl Core {
    /// Ends or suspends a job because the daemon stops.
    fn shut_down(&self, job: &JobCell) {
        let afterlife = match (self.store.outlives(), self.catalogue.resolve(&job.spec.agent)) {
            (false, _) => Afterlife::None,
            (true, Ok(version)) if version.restartable => Afterlife::Restartable,
            (true, _) => Afterlife::Known,
        };
        job.shut_down(afterlife, self.ambient.now());
    }

    fn message_id(&self) -> MessageId {
        MessageId::new(self.ambient.now().as_millis(), self.ambient.random())
    }
}

/// A running daemon, without any listener of its own: connections are handed to it. Cheap to clone.
#[derive(Clone)]
pub struct Daemon {
    core: Arc<Core>,
}

impl Daemon {
    /// Starts a daemon, which goes on from what its store holds. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Unreadable`] when what the store holds cannot be read.
    pub fn start(parts: Parts) -> Result<Daemon, Unreadable> {
        let Parts { limits, heartbeat_interval, resume_window, authenticator, catalogue, store, ambient } =
            parts;
        let cursors = CursorKey::new(ambient.secret());
        let software = Software { name: "arcpd".into(), version: env!("CARGO_PKG_VERSION").into() };
        let started_at = ambient.now();
        let core = Arc::new(Core {
            limits,
            heartbeat_interval,
            resume_window,
            authenticator,
            catalogue,
            store,
            ambient,
            started_at,
            registry: Registry::default(),
            accounts: Accounts::default(),
            meters: Meters::default(),
            keys: Mutex::new(Keys::default()),
            cursors,
            software,
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            attempts: TaskTracker::new(),
            connections: TaskTracker::new(),
        });
        restore::restore(&core)?;
        tokio::spawn(sweep::run(Arc::downgrade(&core)));
        Ok(Daemon { core })
    }

    /// The limits in force.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.core.limits
    }

    /// Serves one connection to its end (§4).
    pub async fn serve<T: Transport>(&self, transport: T, peer: Peer) {
        let work = connection::serve(self.core.clone(), transport, peer);
        self.core.connections.track_future(work).await;
    }

    /// Whether new work is taken.
    ///
    /// # Errors
    /// Why not, in words for an operator.
    pub fn ready(&self) -> Result<(), String> {
        if self.core.draining.is_cancelled() {
            return Err("the daemon is stopping".into());
        }
        self.core.store.admits().map_err(|full| full.to_string())
    }

    /// Stops: no new work, agents are told and given their time (what can go on in a later life of the daemon is
    /// suspended, the rest ends), clients are told, and everything is waited for as
    /// long as `shutdown_grace_ms` allows beyond the agents' own deadlines.
    pub async fn stop(&self) {
        let core = &self.core;
        core.draining.cancel();
        for job in core.registry.live_jobs() {
            core.shut_down(&job);
        }
        core.attempts.close();
        let limits = &core.limits;
        let agents = Duration::from_millis(limits.cancel_grace_ms + 2 * limits.kill_grace_ms);
        let grace = Duration::from_millis(limits.shutdown_grace_ms);
        if tokio::time::timeout(agents + grace, core.attempts.wait()).await.is_err() {
            tracing::warn!(left = core.attempts.len(), "agents did not stop in time");
        }
        core.stopping.cancel();
        core.connections.close();
        if tokio::time::timeout(grace, core.connections.wait()).await.is_err() {
            tracing::warn!(left = core.connections.len(), "connections did not close in time");
        }
    }
}
