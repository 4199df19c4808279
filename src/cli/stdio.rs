//! `arcpd stdio`: one session on stdin and stdout, for clients that start the daemon themselves.
//!
//! Nothing but frames is ever written to stdout. With `--connect` the frames go to a daemon that is running
//! already and back; see the bridge. So they do when a daemon holds the store that would be opened here, and listens.
//! Where none does, the store is opened if somebody chose it; by default everything is kept in memory, since a process
//! that one client starts for itself should not keep the others out.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::bridge::{Cut, carry};
use super::connect::Interrupts;
use super::daemon::{self, StartError};
use super::exit::{Exit, Failure};
use super::render::Terminal;
use crate::config::{Config, ServeArgs, StoreKind};
use crate::runtime::Peer;
use crate::store::sqlite::{Endpoint, Holder};
use crate::transport::Transport;
use crate::transport::stdio::stdio;
use crate::transport::websocket::{ConnectError, connect};
use crate::wire::limits::Limits;

/// What `arcpd stdio` takes.
#[derive(Debug, Clone, Default, Args)]
pub struct StdioArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Pass frames on to a running daemon instead of being one.
    #[arg(long, value_name = "URL")]
    connect: Option<String>,
    /// With --connect: trust the certificates in this PEM file too.
    #[arg(long, value_name = "FILE", requires = "connect")]
    ca: Option<PathBuf>,
}

/// Why `arcpd stdio` fails.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The daemon does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The running daemon cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The daemon that holds the store cannot be reached.
    #[error(
        "cannot join the daemon that holds the store (process {pid}): {error}; with --store memory it is not asked"
    )]
    Join {
        /// Its process.
        pid: u32,
        /// Why.
        error: ConnectError,
    },
    /// The running daemon went away.
    #[error("{0}")]
    Cut(String),
}

impl StdioArgs {
    /// Whether frames are passed on to a daemon elsewhere.
    pub(super) fn is_bridge(&self) -> bool {
        self.connect.is_some()
    }
}

/// Serves one session, or bridges one, to its end.
///
/// # Errors
/// When there is nothing to talk to, or no longer.
pub(super) async fn run(args: &StdioArgs, context: &mut Context) -> Result<Exit, Failure> {
    let Context { terminal, interrupts, .. } = context;
    if let Some(url) = &args.connect {
        let link = connect(url, args.ca.as_deref(), &Limits::default()).await.map_err(StdioError::Connect)?;
        return Ok(bridge(link, terminal, interrupts).await?);
    }
    let mut config = daemon::configure(&args.serve)?;
    match place(&config) {
        Place::Joined(pid, Endpoint { url, certificate }) => {
            let link = connect(&url, certificate.as_deref(), &Limits::default()).await;
            let link = link.map_err(|error| StdioError::Join { pid, error })?;
            terminal.say(&format!(
                "joined the daemon that holds the store (process {pid}, {url}): its tokens and agents count, not those \
                 configured here"
            ));
            Ok(bridge(link, terminal, &mut Interrupts::from_signals()).await?)
        }
        Place::Own => Ok(serve(&config).await.map(|()| Exit::Success)?),
        Place::Memory => {
            terminal.say("no daemon holds the store and listens: sessions and jobs are kept in memory, and end with this process");
            config.store = StoreKind::Memory;
            Ok(serve(&config).await.map(|()| Exit::Success)?)
        }
    }
}

/// Where a session that nobody connects elsewhere takes place.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// At the daemon that holds the store: its process, and how it is reached.
    Joined(u32, Endpoint),
    /// Here, on the configured store.
    Own,
    /// Here, in memory.
    Memory,
}

fn place(config: &Config) -> Place {
    let holder = match config.store {
        StoreKind::Memory => return Place::Own,
        StoreKind::Sqlite => config.store_path.as_deref().and_then(Holder::of),
    };
    match holder {
        Some(Holder { pid, endpoint: Some(endpoint) }) => Place::Joined(pid, endpoint),
        // One that does not listen is in the way of whoever chose this store; opening it says so.
        Some(Holder { endpoint: None, .. }) | None if config.store_is_chosen => Place::Own,
        Some(Holder { endpoint: None, .. }) | None => Place::Memory,
    }
}

async fn serve(config: &Config) -> Result<(), StartError> {
    let own = daemon::own_token(config)?;
    if let Some(own) = &own {
        tracing::info!(file = %own.path.display(), "no token is configured; the client must send the one in this file");
    }
    let runtime = daemon::start(config, own.as_ref(), None)?;
    tokio::select! {
        () = runtime.serve(stdio(runtime.limits()), Peer::from("stdio")) => {}
        told = daemon::told_to_stop() => told?,
    }
    daemon::stop(runtime.stop()).await?;
    Ok(())
}

async fn bridge(
    daemon: impl Transport,
    terminal: &mut Terminal,
    interrupts: &mut Interrupts,
) -> Result<Exit, StdioError> {
    let limits = Limits::default();
    let client = stdio(&limits).split();
    tokio::select! {
        carried = carry(client, daemon.split(), &limits, terminal) => match carried {
            Ok(()) => Ok(Exit::Success),
            Err(Cut(why)) => Err(StdioError::Cut(why)),
        },
        interrupt = interrupts.next() => Ok(interrupt.into()),
    }
}
