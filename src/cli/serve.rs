//! `arcpd serve`: the daemon on a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::daemon::{self, StartError};
use super::render::Terminal;
use crate::auth::token_file::FirstToken;
use crate::auth::{Caller, Principal, Unauthenticated};
use crate::config::{Config, ServeArgs};
use crate::embed::Runtime;
use crate::http::{ConnectionInfo, Health, Listener, ListenerConfig, Operations, ServerTransport};
use crate::runtime::Peer;
use crate::store::sqlite::Endpoint;
use crate::telemetry::{metrics::Page, process};
use crate::transport::tls;
use crate::wire::api::{Answer, Ask, Refusal};
use crate::wire::session::Token;

impl Health for Runtime {
    fn ready(&self) -> Result<(), String> {
        Runtime::ready(self)
    }
}

impl Operations for Runtime {
    fn caller(&self, scheme: &str, token: &Token) -> Result<Caller, Unauthenticated> {
        Runtime::caller(self, scheme, token)
    }

    fn operate(&self, by: Principal, ask: Ask) -> BoxFuture<'_, Result<Answer, Refusal>> {
        Box::pin(async move { Runtime::operate(self, &by, ask).await })
    }

    fn measure(&self, page: &mut Page) {
        process::measure(page);
        Runtime::measure(self, page);
    }
}

/// Serves until told to stop. The line with the address is data, written once connections are accepted; what a person
/// can paste is talk.
///
/// # Errors
/// [`StartError`] when it cannot start.
pub(super) async fn run(args: &ServeArgs, terminal: &mut Terminal) -> Result<(), StartError> {
    let config = daemon::configure(args)?;
    let own = daemon::own_token(&config)?;
    // The address first: whoever cannot have it must not begin to do jobs.
    let listener = bind(&config).await?;
    let runtime = daemon::start(&config, own.as_ref(), Some(endpoint(&config, listener.local_addr())?))?;
    let url = url_of(&config, listener.local_addr());
    // Whoever closed our stdout does not want to know; the daemon serves all the same.
    let _ = terminal.line(&format!("arcpd listening on {url}"));
    if let Some(own) = &own {
        terminal.say(&hints(&url, own));
    }

    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let serving = listener.serve(accept(&runtime), Arc::new(runtime.clone()), tracker.clone(), stop.clone());
    let serving = tokio::spawn(serving);
    daemon::told_to_stop().await?;
    // Meanwhile the listener goes on: `/readyz` says that the daemon is stopping, and so is whoever connects told.
    let stopping = async {
        runtime.stop().await;
        stop.cancel();
        // It ends by itself now, and has nothing to say.
        let _ = serving.await;
        // Whoever was asking just then is answered.
        tracker.close();
        let grace = Duration::from_millis(config.limits.shutdown_grace_ms);
        if tokio::time::timeout(grace, tracker.wait()).await.is_err() {
            tracing::warn!(left = tracker.len(), "requests were not answered in time");
        }
    };
    daemon::stop(stopping).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Hands a listener's connections to a runtime.
pub(super) fn accept(
    runtime: &Runtime,
) -> impl Fn(ServerTransport, ConnectionInfo) -> BoxFuture<'static, ()> + Send + Sync + 'static + use<> {
    let runtime = runtime.clone();
    move |transport, info| {
        let runtime = runtime.clone();
        let peer = Peer { name: info.peer.to_string(), dialect: info.dialect };
        Box::pin(async move { runtime.serve(transport, peer).await })
    }
}

async fn bind(config: &Config) -> Result<Listener, StartError> {
    let tls =
        config.tls.as_ref().map(|files| tls::server_config(&files.certificate, &files.key)).transpose()?;
    let address = resolve(config).await?;
    let listening = ListenerConfig {
        limits: config.limits.clone(),
        allowed_origins: config.allowed_origins.iter().map(|origin| origin.as_str().to_owned()).collect(),
        tls,
        metrics: config.metrics,
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

/// Where clients on this machine reach the daemon.
fn endpoint(config: &Config, mut local: SocketAddr) -> std::io::Result<Endpoint> {
    match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => local.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => local.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let certificate = config.tls.as_ref().map(|files| std::path::absolute(&files.certificate)).transpose()?;
    Ok(Endpoint { url: url_of(config, local), certificate })
}

/// The lines to paste into another terminal.
fn hints(url: &str, own: &FirstToken) -> String {
    let made = if own.new { "made a token" } else { "using the token" };
    let path = own.path.display();
    format!(
        "No token is configured: {made} in {path}\nTo connect from another terminal, paste:\n  \
         export ARCPD_URL={url} ARCPD_TOKEN=\"$(cat '{path}')\""
    )
}
