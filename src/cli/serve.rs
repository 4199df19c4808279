//! `arcpd serve`: the daemon on a socket.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::daemon::{self, StartError};
use crate::auth::token_file::FirstToken;
use crate::config::{Config, ServeArgs};
use crate::embed::Runtime;
use crate::http::{Health, Listener, ListenerConfig};
use crate::runtime::Peer;
use crate::transport::tls;

impl Health for Runtime {
    fn ready(&self) -> Result<(), String> {
        Runtime::ready(self)
    }
}

/// Serves until told to stop. The line with the address goes to `out` once connections are accepted; what a person
/// can paste goes to `talk`.
///
/// # Errors
/// [`StartError`] when it cannot start.
pub async fn run(args: &ServeArgs, out: &mut dyn Write, talk: &mut dyn Write) -> Result<(), StartError> {
    let config = daemon::configure(args)?;
    let own = daemon::own_token(&config)?;
    let runtime = daemon::start(&config, own.as_ref())?;
    let listener = bind(&config).await?;
    let url = url_of(&config, listener.local_addr());
    // Whoever closed our stdout does not want to know; the daemon serves all the same.
    let _ = writeln!(out, "arcpd listening on {url}").and_then(|()| out.flush());
    let _ = hints(talk, &url, own.as_ref());

    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let accepting = runtime.clone();
    let accept = move |transport, info: crate::http::ConnectionInfo| {
        let runtime = accepting.clone();
        let peer = Peer { name: info.peer.to_string(), dialect: info.dialect };
        async move { runtime.serve(transport, peer).await }
    };
    let serving = listener.serve(accept, Arc::new(runtime.clone()), tracker.clone(), stop.clone());
    tokio::select! {
        () = serving => {}
        told = daemon::told_to_stop() => told?,
    }
    stop.cancel();
    runtime.stop().await;
    tracker.close();
    tracker.wait().await;
    tracing::info!("stopped");
    Ok(())
}

async fn bind(config: &Config) -> Result<Listener, StartError> {
    let tls =
        config.tls.as_ref().map(|files| tls::server_config(&files.certificate, &files.key)).transpose()?;
    let address = resolve(config).await?;
    let listening = ListenerConfig {
        limits: config.limits.clone(),
        allowed_origins: config.allowed_origins.iter().map(|origin| origin.as_str().to_owned()).collect(),
        tls,
    };
    Ok(Listener::bind(address, listening).await?)
}

async fn resolve(config: &Config) -> Result<SocketAddr, StartError> {
    let refuse = |problem: String| StartError::Address { address: config.listen.to_string(), problem };
    let mut found = tokio::net::lookup_host((config.listen.host.as_str(), config.listen.port))
        .await
        .map_err(|error| refuse(error.to_string()))?;
    found.next().ok_or_else(|| refuse("the host has no address".into()))
}

fn url_of(config: &Config, local: SocketAddr) -> String {
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    format!("{scheme}://{local}/arcp")
}

/// The lines to paste into another terminal.
fn hints(talk: &mut dyn Write, url: &str, own: Option<&FirstToken>) -> std::io::Result<()> {
    let Some(own) = own else { return Ok(()) };
    let made = if own.new { "made a token" } else { "using the token" };
    writeln!(talk, "No token is configured: {made} in {}", own.path.display())?;
    writeln!(talk, "To connect from another terminal, paste:")?;
    writeln!(talk, "  export ARCPD_URL={url} ARCPD_TOKEN=\"$(cat '{}')\"", own.path.display())
}
