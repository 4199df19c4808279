//! From a configuration to a running daemon: what `serve`, `stdio` and `demo` have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use crate::agent::child::guard::Guard;
use crate::agent::child::{ChildCommand, ChildHost};
use crate::auth::token_file::{FirstToken, TokenFileError, first_token};
use crate::config::{AgentConfig, Config, ConfigErrors, Environment, Resolved, ServeArgs, StoreKind, load};
use crate::embed::{BuildError, Builder, Runtime};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{Endpoint, OpenError, SqliteOptions, SqliteStore};
use crate::telemetry;
use crate::wire::agent_ref::AgentRef;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The log cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] telemetry::TelemetryError),
    /// No token is configured and none can be made.
    #[error(transparent)]
    Token(#[from] TokenFileError),
    /// No token is configured and there is no place to keep one.
    #[error(
        "no token is configured, and there is no home directory to keep one in; set --token or auth.token_file"
    )]
    NoTokenFile,
    /// The store cannot be opened.
    #[error("{0}{hint}", hint = elsewhere(.0))]
    Store(#[from] OpenError),
    /// There is no place for the store.
    #[error(
        "there is no home directory to keep the store in; name a file with --store-path or store.path, or keep \
         everything in memory with --store memory"
    )]
    NoStorePath,
    /// The runtime cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The address has no host of that name.
    #[error("cannot listen on {address}: {problem}")]
    Address {
        /// What was configured.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The socket cannot be bound.
    #[error("{0}{hint}", hint = taken(.0))]
    Bind(#[from] crate::http::BindError),
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::transport::tls::TlsError),
    /// A signal handler or the guard of children cannot be set up.
    #[error("cannot set up the process: {0}")]
    Process(#[from] std::io::Error),
}

/// What to do about an address that somebody else has.
fn taken(error: &crate::http::BindError) -> &'static str {
    if error.source.kind() != std::io::ErrorKind::AddrInUse {
        return "";
    }
    "; is another arcpd running there? choose another address with --listen"
}

/// What to do where a store cannot be had.
fn elsewhere(error: &OpenError) -> &'static str {
    match error {
        OpenError::InUse { .. } => " with --store-path",
        OpenError::Failed { .. } => " with --store-path; --store memory keeps nothing in files",
        OpenError::Newer { .. } | OpenError::NotAStore { .. } | OpenError::Corrupt { .. } => "",
    }
}

impl StartError {
    /// What the exit code says of it: what the user wrote is wrong, or the machine refuses it.
    pub fn exit(&self) -> Exit {
        match self {
            StartError::Build(BuildError::Unreadable(_)) => Exit::Local,
            StartError::Config(_)
            | StartError::Build(BuildError::Agent(_) | BuildError::Principal(..))
            | StartError::Address { .. }
            | StartError::Tls(_) => Exit::Usage,
            StartError::Telemetry(_)
            | StartError::Token(_)
            | StartError::NoTokenFile
            | StartError::Store(_)
            | StartError::NoStorePath
            | StartError::Bind(_)
            | StartError::Process(_) => Exit::Local,
        }
    }
}

/// Reads the configuration, sets the log up and says what is worrying.
///
/// # Errors
/// [`StartError`] with every mistake of the configuration.
pub fn configure(args: &ServeArgs) -> Result<Config, StartError> {
    let loaded = load(args, &Environment::of_process());
    let file = loaded.search.file().map(|path| path.display().to_string());
    let Resolved { config, warnings, .. } = loaded.outcome?;
    telemetry::init(&config.log.filter, config.log.format)?;
    for warning in warnings {
        tracing::warn!("{}", warning.0);
    }
    if let Some(warning) = no_agents(&config) {
        tracing::warn!("{warning}");
    }
    tracing::info!(config = file.as_deref().unwrap_or("none; defaults, environment and flags"), "configured");
    Ok(config)
}

/// The token that is made when none is configured: the daemon is never open.
///
/// # Errors
/// [`StartError`] when it cannot be kept.
pub fn own_token(config: &Config) -> Result<Option<FirstToken>, StartError> {
    if !config.tokens.is_empty() {
        return Ok(None);
    }
    let path = config.token_file.as_deref().ok_or(StartError::NoTokenFile)?;
    Ok(Some(first_token(path, |bytes| *bytes = rand::rng().random())?))
}

/// Starts the runtime that a configuration describes. Where it is to listen is noted beside its store.
///
/// # Errors
/// [`StartError`] when the store cannot be opened or an agent cannot be registered.
pub fn start(
    config: &Config,
    own: Option<&FirstToken>,
    endpoint: Option<Endpoint>,
) -> Result<Runtime, StartError> {
    Ok(builder(config, own)?.store(store(config, endpoint)?).start()?)
}

/// What [`start`] starts, but for the store.
///
/// # Errors
/// [`StartError`] when the guard of children cannot be set up.
pub fn builder(config: &Config, own: Option<&FirstToken>) -> Result<Builder, StartError> {
    let limits = Arc::new(config.limits.clone());
    let mut builder = Runtime::builder()
        .limits(config.limits.clone())
        .heartbeat_interval(Duration::from_secs(config.heartbeat_interval_sec))
        .resume_window(Duration::from_secs(config.resume_window_sec))
        .tokens(config.tokens.iter().cloned())
        .tokens(own.map(FirstToken::entry));
    if config.demo_agents {
        builder = builder.demo_agents();
    }
    for agent in &config.agents {
        let host = ChildHost::new(command(agent), limits.clone()).guarded(Guard::this_program()?);
        builder = register(builder, agent, host);
    }
    Ok(builder)
}

/// A daemon without agents is of little use.
pub fn no_agents(config: &Config) -> Option<&'static str> {
    let none = config.agents.is_empty() && !config.demo_agents;
    none.then_some(
        "no agent is configured, so every submit will be refused: add [[agents]] to the file, or --demo-agents",
    )
}

fn store(config: &Config, endpoint: Option<Endpoint>) -> Result<Arc<dyn Store>, StartError> {
    match config.store {
        StoreKind::Memory => {
            tracing::info!("sessions and jobs are kept in memory, and end with this process");
            Ok(Arc::new(MemoryStore::new(config.limits.store_bytes)))
        }
        StoreKind::Sqlite => {
            let path = config.store_path.as_deref().ok_or(StartError::NoStorePath)?;
            let options = SqliteOptions {
                durability: config.durability,
                max_bytes: config.limits.store_bytes,
                queue_bytes: config.limits.store_queue_bytes,
                hot_bytes: config.limits.store_hot_bytes,
                reserve_bytes: config.limits.store_reserve_bytes,
            };
            let made = !path.exists();
            let store = SqliteStore::open(path, options)?;
            if let Some(Err(error)) = endpoint.map(|endpoint| store.announce(endpoint)) {
                tracing::warn!(%error, "arcpd stdio will not find this daemon: its note beside the store cannot be written");
            }
            let file = if made { "new file" } else { "file" };
            tracing::info!(path = %path.display(), durability = %config.durability, "sessions and jobs are kept in a {file}");
            Ok(Arc::new(store))
        }
    }
}

fn register(builder: Builder, agent: &AgentConfig, host: ChildHost) -> Builder {
    let mut builder = builder.host(&agent.agent.to_string(), Arc::new(host));
    if let AgentRef { name, version: Some(version) } = &agent.agent {
        if agent.default {
            builder = builder.default_version(name, version);
        }
        if agent.restartable {
            builder = builder.restartable(name, version);
        }
    }
    builder
}

fn command(agent: &AgentConfig) -> ChildCommand {
    let env: BTreeMap<String, String> =
        agent.env.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
    ChildCommand {
        program: agent.program.clone(),
        args: agent.arguments.clone(),
        dir: Some(agent.dir.clone()),
        env,
        pass_env: agent.pass_env.clone(),
    }
}

/// Stops in peace, which is `stopping`; who asks a second time does not get to wait for it.
///
/// # Errors
/// When no signal handler can be installed.
pub async fn stop(stopping: impl Future<Output = ()>) -> std::io::Result<()> {
    tokio::select! {
        () = stopping => {}
        told = told_to_stop() => {
            told?;
            tracing::warn!("asked twice; leaving at once, agents are killed");
        }
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
///
/// # Errors
/// When no handler can be installed.
pub async fn told_to_stop() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("interrupted; stopping"),
        _ = terminate.recv() => tracing::info!("told to terminate; stopping"),
    }
    Ok(())
}
