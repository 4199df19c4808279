//! The crate's public face: a runtime inside a Rust program, with agents as async functions.
//!
//! ```
//! use arcpd::embed::Runtime;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder()
//!     .token("alice", "a-secret")
//!     .agent("greet@1.0.0", |job| async move {
//!         let name: String = job.input()?;
//!         Ok(serde_json::json!(format!("hello {name}")))
//!     })
//!     .start()?;
//! # runtime.stop().await; Ok(()) }
//! ```

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::AgentHost;
use crate::agent::catalogue::{BadAgent, Catalogue};
use crate::agent::demo;
use crate::agent::in_process::in_process_with;
pub use crate::agent::in_process::{AgentError, Job, Outcome};
use crate::auth::{Authenticator, Caller, NotAPrincipal, TokenEntry, Unauthenticated, hash};
use crate::runtime::{Ambient, Daemon, Parts, Peer, System};
use crate::store::memory::MemoryStore;
use crate::store::{Store, Unreadable};
pub use crate::telemetry::metrics::Page;
use crate::transport::Transport;
use crate::transport::memory::{MemoryTransport, pair};
pub use crate::wire::api::{Answer, Ask, Refusal};
pub use crate::wire::error::ErrorCode;
pub use crate::wire::limits::Limits;
pub use crate::wire::principal::Principal;
pub use crate::wire::session::Token;

/// A runtime that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An agent that cannot be registered.
    #[error(transparent)]
    Agent(#[from] BadAgent),
    /// A token for nobody.
    #[error("the token of {0:?}: {1}")]
    Principal(String, NotAPrincipal),
    /// What the store holds cannot be read.
    #[error("{0}; look at the disk, then restore a backup or begin with another store")]
    Unreadable(#[from] Unreadable),
}

/// Says something of a version once everything is registered.
type Mark = Box<dyn FnOnce(&mut Catalogue) -> Result<(), BadAgent> + Send>;
type MakeHost = Box<dyn FnOnce(&Arc<Limits>) -> Arc<dyn AgentHost> + Send>;

/// Gathers what a runtime is made of.
#[must_use]
pub struct Builder {
    limits: Limits,
    heartbeat_interval: Duration,
    resume_window: Duration,
    tokens: Vec<TokenEntry>,
    agents: Vec<(String, MakeHost)>,
    marks: Vec<Mark>,
    demo_agents: bool,
    store: Option<Arc<dyn Store>>,
    ambient: Arc<dyn Ambient>,
    wrong: Option<BuildError>,
}

/// A running daemon inside this process. Cheap to clone; runs until [`stop`](Runtime::stop).
#[derive(Clone)]
pub struct Runtime {
    daemon: Daemon,
}

impl Runtime {
    /// A builder with every default: no token, no agent, the memory store.
    pub fn builder() -> Builder {
        Builder {
            limits: Limits::default(),
            heartbeat_interval: Duration::from_secs(30),
            resume_window: Duration::from_secs(600),
            tokens: Vec::new(),
            agents: Vec::new(),
            marks: Vec::new(),
            demo_agents: false,
            store: None,
            ambient: Arc::new(System::default()),
            wrong: None,
        }
    }

    /// Opens a connection inside the process; the client's end is returned. It speaks ARCP like any other (§4):
    /// the first frame is a hello with a token.
    pub fn connect(&self) -> MemoryTransport {
        let (ours, theirs) = pair();
        let daemon = self.daemon.clone();
        tokio::spawn(async move { daemon.serve(ours, Peer::from("memory")).await });
        theirs
    }

    /// Serves a connection that came some other way, to its end.
    pub async fn serve<T: Transport>(&self, transport: T, peer: Peer) {
        self.daemon.serve(transport, peer).await;
    }

    /// The limits in force.
    pub fn limits(&self) -> &Arc<Limits> {
        self.daemon.limits()
    }

    /// Whether new work is taken.
    ///
    /// # Errors
    /// Why not, in words for an operator.
    pub fn ready(&self) -> Result<(), String> {
        self.daemon.ready()
    }

    /// Whose token this is, and what it allows.
    ///
    /// # Errors
    /// [`Unauthenticated`], whatever was wrong.
    pub fn caller(&self, scheme: &str, token: &Token) -> Result<Caller, Unauthenticated> {
        self.daemon.caller(scheme, token)
    }

    /// Answers an operator, whose name goes into the log where something changes. Asks for no token: who may ask is
    /// for the caller to decide.
    ///
    /// # Errors
    /// [`Refusal`] when it is not there, comes too late, or cannot be read now.
    pub async fn operate(&self, by: &Principal, ask: Ask) -> Result<Answer, Refusal> {
        self.daemon.operate(by, ask).await
    }

    /// Puts what the runtime counts on a page, for a `/metrics` of your own.
    pub fn measure(&self, page: &mut Page) {
        self.daemon.measure(page);
    }

    /// Stops: agents get their time, clients are told, everything is waited for within the limits.
    pub async fn stop(&self) {
        self.daemon.stop().await;
    }
}

impl Builder {
    /// Lets a principal in by a bearer token (§6.1).
    pub fn token(mut self, principal: &str, token: &str) -> Self {
        match principal.parse() {
            Ok(principal) => self.tokens.push(TokenEntry {
                principal,
                roles: BTreeSet::new(),
                dialect: None,
                hash: hash(token),
            }),
            Err(not) => self.wrong = self.wrong.or(Some(BuildError::Principal(principal.into(), not))),
        }
        self
    }

    /// Lets principals in by tokens of which only the hashes are known, with their roles.
    pub fn tokens(mut self, entries: impl IntoIterator<Item = TokenEntry>) -> Self {
        self.tokens.extend(entries);
        self
    }

    /// Registers an async function as the agent `name@version` (§7.5). The first version of a name is its default.
    pub fn agent<F, R, T>(mut self, agent: &str, function: F) -> Self
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, AgentError>> + Send + 'static,
        T: Into<Outcome> + Send + 'static,
    {
        // Made at the start, when the limits are known.
        let make: MakeHost = Box::new(move |limits| in_process_with(limits, function));
        self.agents.push((agent.into(), make));
        self
    }

    /// Registers whatever runs the agent `name@version`, a child process for example.
    pub fn host(mut self, agent: &str, host: Arc<dyn AgentHost>) -> Self {
        self.agents.push((agent.into(), Box::new(|_| host)));
        self
    }

    /// Makes a registered version the default of its name.
    pub fn default_version(mut self, name: &str, version: &str) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        self.marks.push(Box::new(move |catalogue| catalogue.set_default(&name, &version)));
        self
    }

    /// Lets a registered version begin a job again that was cut off because the daemon ended; without it, such a job
    /// ends with a retryable error. Whatever the agent did before, it may do once more. Needs a store that stays.
    pub fn restartable(mut self, name: &str, version: &str) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        self.marks.push(Box::new(move |catalogue| catalogue.set_restartable(&name, &version)));
        self
    }

    /// Registers the demo agents, for trying out and for conformance.
    pub fn demo_agents(mut self) -> Self {
        self.demo_agents = true;
        self
    }

    /// Replaces every limit.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How often each side speaks where heartbeats are negotiated (§6.4).
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// For how long a session without a connection can be resumed at least (§6.3).
    pub fn resume_window(mut self, window: Duration) -> Self {
        self.resume_window = window;
        self
    }

    /// Where everything is recorded; without it, in memory.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Another source of time and chance than the machine's.
    pub fn ambient(mut self, ambient: Arc<dyn Ambient>) -> Self {
        self.ambient = ambient;
        self
    }

    /// Everything for which [`start`](Self::start) would refuse to start, without starting anything.
    pub fn problems(self) -> Vec<BuildError> {
        let (_, bad) = catalogue(self.demo_agents, self.agents, self.marks, &Arc::new(self.limits));
        self.wrong.into_iter().chain(bad.into_iter().map(BuildError::from)).collect()
    }

    /// Starts the runtime. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// The first thing that was wrong with what was gathered.
    pub fn start(self) -> Result<Runtime, BuildError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let limits = Arc::new(self.limits);
        let (catalogue, bad) = catalogue(self.demo_agents, self.agents, self.marks, &limits);
        if let Some(bad) = bad.into_iter().next() {
            return Err(bad.into());
        }
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new(limits.store_bytes)));
        let daemon = Daemon::start(Parts {
            limits,
            heartbeat_interval: self.heartbeat_interval,
            resume_window: self.resume_window,
            authenticator: Authenticator::new(self.tokens),
            catalogue,
            store,
            ambient: self.ambient,
        })?;
        Ok(Runtime { daemon })
    }
}

/// Registers everything; also tells what cannot be.
fn catalogue(
    demo_agents: bool,
    agents: Vec<(String, MakeHost)>,
    marks: Vec<Mark>,
    limits: &Arc<Limits>,
) -> (Catalogue, Vec<BadAgent>) {
    let mut catalogue = Catalogue::default();
    let mut bad = Vec::new();
    if demo_agents {
        bad.extend(demo::register(&mut catalogue, limits).err());
    }
    for (agent, make) in agents {
        bad.extend(catalogue.register(&agent, make(limits)).err());
    }
    for mark in marks {
        bad.extend(mark(&mut catalogue).err());
    }
    (catalogue, bad)
}
