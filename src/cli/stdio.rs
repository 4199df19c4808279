//! `arcpd stdio`: one session on stdin and stdout, for clients that start the daemon themselves.
//!
//! Nothing but frames is ever written to stdout. With `--connect` the frames go to a daemon that is running
//! already and back, and this process knows nothing of what they say.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::daemon::{self, StartError};
use crate::config::ServeArgs;
use crate::runtime::Peer;
use crate::transport::stdio::stdio;
use crate::transport::websocket::{ConnectError, connect};
use crate::transport::{CloseReason, FrameReader, FrameWriter, Received, Transport};
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
}

/// How long what is still on its way may take once one side has closed.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves one session, or bridges one, to its end.
///
/// # Errors
/// [`StdioError`] when there is nothing to talk to.
pub async fn run(args: &StdioArgs) -> Result<(), StdioError> {
    match &args.connect {
        Some(url) => bridge(url, args).await,
        None => Ok(serve(&args.serve).await?),
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

async fn bridge(url: &str, args: &StdioArgs) -> Result<(), StdioError> {
    let limits = Limits::default();
    let (from_daemon, to_daemon) = connect(url, args.ca.as_deref(), &limits).await?.split();
    let (from_client, to_client) = stdio(&limits).split();
    let up = pass(from_client, to_daemon);
    let down = pass(from_daemon, to_client);
    tokio::pin!(up, down);
    tokio::select! {
        () = &mut down => {}
        // The client has said everything; what is answered within a moment still reaches it.
        () = &mut up => {
            let _ = tokio::time::timeout(DRAIN, down).await;
        }
    }
    Ok(())
}

async fn pass<R: FrameReader, W: FrameWriter>(mut from: R, mut to: W) {
    loop {
        match from.receive().await {
            Ok(Received::Text(frame)) => {
                if to.feed(frame).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
            Ok(Received::Rejected(fault)) => tracing::warn!("dropped a frame: {fault}"),
            Err(_) => return to.close(CloseReason::Done).await,
        }
    }
}
