//! One listener: the WebSocket at `/arcp`, the operators' `/api` and `/metrics`, and the health checks beside them.
//!
//! What speaks the protocol is passed in; this knows sockets, TLS and HTTP only. A socket carries one request, has
//! [`Limits::hello_timeout_ms`] for its TLS handshake and as much again for that request and its answer, and then
//! either is a WebSocket or is closed.

mod api;
pub mod client;
mod metrics;
mod refusals;
mod request;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Caller, Role, Unauthenticated};
use crate::config::MetricsAccess;
use crate::telemetry::metrics::{CONTENT_TYPE, Page};
use crate::transport::tcp;
use crate::transport::websocket::WebSocketTransport;
use crate::wire::api::{Answer, Ask, Refusal};
use crate::wire::error::ErrorBody;
use crate::wire::limits::Limits;
use crate::wire::principal::Principal;
use crate::wire::session::Token;
use api::Said;
use metrics::{Meters, Needs};
use refusals::Refusals;
use request::Decision;

pub use api::API_BODY_BYTES;
pub use refusals::REFUSAL_LOG_SEC;

/// Largest head of an HTTP request, in bytes.
pub const HTTP_HEAD_BYTES: usize = 16 * 1024;

/// Sockets taken beyond [`Limits::connections`], so that a full daemon can say so and its health can be asked.
pub const SPARE_CONNECTIONS: usize = 64;

/// Time without accepting after the system refused to, as it does when file descriptors run out, in milliseconds.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// A client's WebSocket, as the listener hands it over.
pub type ServerTransport = WebSocketTransport<TokioIo<Upgraded>>;

/// Whether the daemon can serve.
pub trait Health: Send + Sync {
    /// An error says what is missing, in words for an operator; `/readyz` shows them to anybody who asks.
    fn ready(&self) -> Result<(), String>;
}

/// What operators can ask the daemon for.
pub trait Operations: Health {
    /// Whose token this is, and what it allows. Takes the same time for every token of a length.
    ///
    /// # Errors
    /// [`Unauthenticated`], whatever was wrong.
    fn caller(&self, scheme: &str, token: &Token) -> Result<Caller, Unauthenticated>;

    /// Answers an operator.
    ///
    /// # Errors
    /// [`Refusal`] when it is not there, comes too late, or cannot be read now.
    fn operate(&self, by: Principal, ask: Ask) -> BoxFuture<'_, Result<Answer, Refusal>>;

    /// Puts what the daemon counts on a page. May take a while, but waits for nobody.
    fn measure(&self, page: &mut Page);
}

/// What is known of a connection before its first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Where it comes from; an IPv4 address is one also on a socket that takes both.
    pub peer: SocketAddr,
    /// The path it asked for.
    pub path: String,
    /// The value of `dialect` in the query.
    pub dialect: Option<String>,
    /// Whether it is encrypted by this listener.
    pub tls: bool,
}

/// How a listener is set up.
#[derive(Debug, Clone, Default)]
pub struct ListenerConfig {
    /// The daemon's limits.
    pub limits: Limits,
    /// The origins whose pages may connect from a browser, such as `https://console.example.org`.
    pub allowed_origins: Vec<String>,
    /// What to show TLS clients, from [`crate::transport::tls::server_config`]; none for plain TCP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Where it should have been.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A bound socket; from now on clients can connect, and wait until [`serve`](Self::serve) runs.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    config: ListenerConfig,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one, and `[::]` takes IPv4 too where the system allows it.
    pub async fn bind(address: SocketAddr, config: ListenerConfig) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, local, config })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `stop`. Each WebSocket is handed to `accept` in a task of its own on `tracker`; that future owns
    /// the connection, counts against [`Limits::connections`] until it ends, and is not cut off by `stop`; neither is
    /// a request that is being answered, which `tracker` waits for.
    pub async fn serve<A, F>(
        self,
        accept: A,
        operations: Arc<dyn Operations>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) where
        A: Fn(ServerTransport, ConnectionInfo) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Listener { socket, config, .. } = self;
        let connections = config.limits.connections.min(Semaphore::MAX_PERMITS - SPARE_CONNECTIONS);
        let server = Arc::new(Server {
            accept,
            operations,
            tracker,
            stop,
            sockets: Arc::new(Semaphore::new(connections + SPARE_CONNECTIONS)),
            most_sockets: connections + SPARE_CONNECTIONS,
            conversations: Arc::new(Semaphore::new(connections)),
            refusals: Refusals::default(),
            meters: Meters::default(),
            metrics: config.metrics,
            tls: config.tls.map(TlsAcceptor::from),
            limits: config.limits,
            allowed_origins: config.allowed_origins,
        });
        loop {
            let accepted = tokio::select! {
                biased;
                () = server.stop.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => server.take(stream, peer),
                Err(error) if concerns_one_client(&error) => tracing::debug!(%error, "a client left early"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    let pause = tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS));
                    let _ = server.stop.run_until_cancelled(pause).await;
                }
            }
        }
    }
}

/// Whether an error of accept() is over with the client that caused it; any other will be there again at once.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

struct Server<A> {
    accept: A,
    operations: Arc<dyn Operations>,
    tracker: TaskTracker,
    stop: CancellationToken,
    sockets: Arc<Semaphore>,
    most_sockets: usize,
    conversations: Arc<Semaphore>,
    refusals: Refusals,
    meters: Meters,
    metrics: MetricsAccess,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    allowed_origins: Vec<String>,
}

/// What belongs to one socket for as long as it is open.
#[derive(Clone)]
struct Slot {
    peer: SocketAddr,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl<A, F> Server<A>
where
    A: Fn(ServerTransport, ConnectionInfo) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Ok(permit) = self.sockets.clone().try_acquire_owned() else {
            self.refuse();
            return;
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let slot = Slot { peer, _permit: Arc::new(permit) };
        let server = self.clone();
        self.tracker.spawn(server.exchange(stream, slot));
    }

    fn refuse(&self) {
        self.meters.refused.one();
        if let Some(refused) = self.refusals.refused(Instant::now()) {
            tracing::warn!(refused, limit = self.limits.connections, "refused connections over the limit");
        }
    }

    async fn exchange(self: Arc<Self>, stream: TcpStream, slot: Slot) {
        let peer = slot.peer;
        if let Err(error) = tcp::tune(&stream) {
            tracing::debug!(%peer, %error, "a socket cannot be set up");
            return;
        }
        let time = Duration::from_millis(self.limits.hello_timeout_ms);
        let Some(acceptor) = &self.tls else {
            return self.answer(stream, slot, time).await;
        };
        // Whoever has not asked for anything by then is not heard any more.
        let secure = self.stop.run_until_cancelled(timeout(time, acceptor.accept(stream)));
        let Some(secure) = secure.await else { return };
        match secure {
            Ok(Ok(secure)) => self.answer(secure, slot, time).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
            Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
        }
    }

    async fn answer<S>(self: Arc<Self>, stream: S, slot: Slot, time: Duration)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let peer = slot.peer;
        let stop = self.stop.clone();
        let service = service_fn(move |request| {
            let (server, slot) = (self.clone(), slot.clone());
            async move { Ok::<_, Infallible>(server.respond(request, slot).await) }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .max_buf_size(HTTP_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let exchange = async {
            tokio::select! {
                biased;
                done = connection.as_mut() => return done,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            // A request that has come is still answered; a socket without one is closed at once.
            connection.await
        };
        match timeout(time, exchange).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no HTTP request"),
            Err(_) => tracing::debug!(%peer, "no HTTP request in time"),
        }
    }

    async fn respond(self: &Arc<Self>, request: Request<Incoming>, slot: Slot) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let decision = request::decide(&head, &self.allowed_origins);
        self.meters.requests.one(endpoint(&decision));
        match decision {
            Decision::Text(status, said) => text(status, said),
            Decision::Metrics => self.metrics(&head, &slot).await,
            Decision::Readiness => match self.operations.ready() {
                Ok(()) => text(StatusCode::OK, "ok"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
            },
            Decision::Api => {
                said(self.operate(&head, body).await.unwrap_or_else(|refused| Said::refusal(&refused)))
            }
            Decision::Upgrade { accept, subprotocol } => {
                let Ok(permit) = self.conversations.clone().try_acquire_owned() else {
                    self.refuse();
                    let said = "this daemon serves as many connections as it may; try again later";
                    return text(StatusCode::SERVICE_UNAVAILABLE, said);
                };
                let info = ConnectionInfo {
                    peer: slot.peer,
                    path: head.uri.path().to_owned(),
                    dialect: request::dialect_hint(&head),
                    tls: self.tls.is_some(),
                };
                self.converse(Request::from_parts(head, body), info, (slot, permit));
                switching(&accept, subprotocol)
            }
        }
    }

    /// Answers an operator.
    async fn operate(&self, head: &Parts, body: Incoming) -> Result<Said, Refusal> {
        let caller = api::admit(&head.headers, &*self.operations, &[Role::Operator])?;
        let body = Limited::new(body, API_BODY_BYTES).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let message = format!("expected a body of at most {API_BODY_BYTES} bytes");
                Refusal { status: 413, error: ErrorBody::invalid(message) }
            } else {
                Refusal::invalid(format!("the body did not come: {error}"))
            }
        })?;
        let ask = api::route(head, &body.to_bytes())?;
        let answer = self.operations.operate(caller.principal, ask).await?;
        Ok(Said::answer(&answer))
    }

    /// Shows the numbers to whoever may see them.
    async fn metrics(self: &Arc<Self>, head: &Parts, slot: &Slot) -> Response<Full<Bytes>> {
        match metrics::needs(self.metrics, slot.peer.ip(), head) {
            Needs::Nothing => {}
            Needs::NotThere => return text(StatusCode::NOT_FOUND, request::NOTHING),
            Needs::Token => {
                let roles = [Role::Operator, Role::Metrics];
                if let Err(refused) = api::admit(&head.headers, &*self.operations, &roles) {
                    return said(Said::refusal(&refused));
                }
            }
        }
        let server = self.clone();
        // Many sessions and jobs are looked at.
        let page = tokio::task::spawn_blocking(move || {
            let mut page = Page::default();
            server.operations.measure(&mut page);
            server.meters.measure(&mut page, server.open_sockets());
            page.text()
        });
        match page.await {
            Ok(page) => response(StatusCode::OK, CONTENT_TYPE, page),
            Err(_) => said(Said::refusal(&Refusal::unavailable("the numbers could not be gathered"))),
        }
    }

    fn open_sockets(&self) -> usize {
        self.most_sockets - self.sockets.available_permits()
    }

    /// Waits in a new task until the socket is free of HTTP, then lets the conversation begin.
    fn converse(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        info: ConnectionInfo,
        held: (Slot, OwnedSemaphorePermit),
    ) {
        let server = self.clone();
        let upgraded = hyper::upgrade::on(&mut request);
        self.tracker.spawn(async move {
            match upgraded.await {
                Ok(socket) => {
                    let transport = WebSocketTransport::server(TokioIo::new(socket), &server.limits).await;
                    (server.accept)(transport, info).await;
                }
                Err(error) => tracing::debug!(peer = %info.peer, %error, "no WebSocket"),
            }
            drop(held);
        });
    }
}

/// An answer in JSON, which nobody on the way is to keep.
fn said(said: Said) -> Response<Full<Bytes>> {
    let mut response = response(said.status, "application/json", said.body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().extend(said.headers);
    response
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // One request a socket. Hyper's own switch for that would also spoil the answer to an upgrade.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What a request is counted as.
fn endpoint(decision: &Decision) -> &'static str {
    match decision {
        Decision::Upgrade { .. } => "arcp",
        Decision::Api => "api",
        Decision::Metrics => "metrics",
        Decision::Readiness => "readyz",
        Decision::Text(..) => "other",
    }
}

fn text(status: StatusCode, said: &str) -> Response<Full<Bytes>> {
    let mut response = response(status, "text/plain; charset=utf-8", format!("{said}\n"));
    let also: &[(HeaderName, &'static str)] = match status {
        StatusCode::METHOD_NOT_ALLOWED => &[(header::ALLOW, "GET, HEAD")],
        StatusCode::UPGRADE_REQUIRED => {
            &[(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, "13")]
        }
        _ => &[],
    };
    for (name, value) in also {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn switching(accept: &str, subprotocol: Option<&'static str>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(subprotocol) = subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    response
}
