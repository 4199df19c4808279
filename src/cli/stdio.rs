//! `arcpd stdio`: one session on stdin and stdout, for clients that start the daemon themselves.
//!
//! Nothing but frames is ever written to stdout. With `--connect` the frames go to a daemon that is running
//! already and back; see the bridge.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::bridge::{Cut, carry};
use super::daemon::{self, StartError};
use super::exit::{Exit, Failure};
use crate::config::ServeArgs;
use crate::runtime::Peer;
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
    match &args.connect {
        Some(url) => Ok(bridge(url, args, context).await?),
        None => Ok(serve(&args.serve).await.map(|()| Exit::Success)?),
    }
}

async fn serve(args: &ServeArgs) -> Result<(), StartError> {
    let config = daemon::configure(args)?;
    let own = daemon::own_token(&config)?;
    if let Some(own) = &own {
        tracing::info!(file = %own.path.display(), "no token is configured; the client must send the one in this file");
    }
    let runtime = daemon::start(&config, own.as_ref())?;
    tokio::select! {
        () = runtime.serve(stdio(runtime.limits()), Peer::from("stdio")) => {}
        told = daemon::told_to_stop() => told?,
    }
    daemon::stop(&runtime).await?;
    Ok(())
}

async fn bridge(url: &str, args: &StdioArgs, context: &mut Context) -> Result<Exit, StdioError> {
    let limits = Limits::default();
    let daemon = connect(url, args.ca.as_deref(), &limits).await?.split();
    let client = stdio(&limits).split();
    let Context { terminal, interrupts, .. } = context;
    tokio::select! {
        carried = carry(client, daemon, &limits, terminal) => match carried {
            Ok(()) => Ok(Exit::Success),
            Err(Cut(why)) => Err(StdioError::Cut(why)),
        },
        interrupt = interrupts.next() => Ok(interrupt.into()),
    }
}
