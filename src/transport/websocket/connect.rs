//! The client's way in: from a URL to an open WebSocket.
//!
//! The whole way (resolving, TCP, TLS, HTTP upgrade) has one time limit. What goes wrong is told in the words of
//! the person who typed the URL.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tokio::{TokioAdapter, client_async_with_config};
use async_tungstenite::tungstenite::Error as WsError;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use url::{Host, Url};

use super::{WebSocketTransport, config};
use crate::transport::tcp;
use crate::transport::tls::{self, TlsError};
use crate::wire::limits::Limits;

/// What a client's WebSocket runs on.
pub type ClientStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Characters of a refusal's body that are shown.
const REFUSAL_CHARS: usize = 200;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be connected to.
    #[error("cannot connect to `{url}`: {problem}; expected ws://host:port/arcp or wss://host/arcp")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody listens there, or the name is unknown.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The trusted roots cannot be loaded.
    #[error(transparent)]
    TlsSetup(#[from] TlsError),
    /// There is no secure connection.
    #[error("no secure connection to {address}: {source}{hint}")]
    Tls {
        /// Host and port.
        address: String,
        /// What the TLS library said.
        source: io::Error,
        /// What to try.
        hint: &'static str,
    },
    /// Somebody answered in HTTP, but does not take the connection.
    #[error("{address} refused the connection with HTTP {status}: {text}")]
    Refused {
        /// Host and port.
        address: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of its explanation.
        text: String,
    },
    /// What answered does not speak WebSocket.
    #[error("{address} does not speak WebSocket: {problem} (is it wss:// instead of ws://?)")]
    Handshake {
        /// Host and port.
        address: String,
        /// What was wrong with the answer.
        problem: String,
    },
    /// There was no answer in time.
    #[error("no answer from {address} within {ms} ms")]
    Timeout {
        /// Host and port.
        address: String,
        /// The limit in milliseconds.
        ms: u64,
    },
}

/// Connects to a `ws://` or `wss://` URL. For `wss://` the platform's roots are trusted and, if given, the
/// certificates in the PEM file `extra_ca`. Gives up after [`Limits::hello_timeout_ms`].
pub async fn connect(
    url: &str,
    extra_ca: Option<&Path>,
    limits: &Limits,
) -> Result<WebSocketTransport<ClientStream>, ConnectError> {
    let target = Target::parse(url)?;
    let tls = target.trust(extra_ca).await?;
    within(&target, limits, Box::pin(open(&target, tls, limits))).await
}

/// Connects to the host of a `ws://` or `wss://` URL, and says nothing yet; trusts and gives up like [`connect`].
///
/// # Errors
/// [`ConnectError`] when it cannot be reached.
pub async fn dial(url: &str, extra_ca: Option<&Path>, limits: &Limits) -> Result<ClientStream, ConnectError> {
    let target = Target::parse(url)?;
    let tls = target.trust(extra_ca).await?;
    within(&target, limits, Box::pin(reach(&target, tls))).await
}

async fn within<T>(
    target: &Target,
    limits: &Limits,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let ms = limits.hello_timeout_ms;
    let late = |_| Err(ConnectError::Timeout { address: target.address(), ms });
    timeout(Duration::from_millis(ms), work).await.unwrap_or_else(late)
}

/// Whether [`connect`] can make sense of a URL.
///
/// # Errors
/// [`ConnectError::Url`] when it cannot.
pub fn check_url(url: &str) -> Result<(), ConnectError> {
    Target::parse(url).map(drop)
}

/// Reading the platform's roots takes a while and touches files.
async fn trust(extra_ca: Option<&Path>) -> Result<Arc<ClientConfig>, ConnectError> {
    let extra_ca: Option<PathBuf> = extra_ca.map(Path::to_owned);
    match tokio::task::spawn_blocking(move || tls::client_config(extra_ca.as_deref())).await {
        Ok(config) => Ok(config?),
        Err(stopped) => {
            Err(TlsError::Roots(rustls::Error::General(format!("loading was stopped: {stopped}"))).into())
        }
    }
}

async fn open(
    target: &Target,
    tls: Option<Arc<ClientConfig>>,
    limits: &Limits,
) -> Result<WebSocketTransport<ClientStream>, ConnectError> {
    let stream = reach(target, tls).await?;
    let socket = upgrade(target, stream, limits).await?;
    Ok(WebSocketTransport::new(socket, limits))
}

/// The way to the host: TCP, and TLS where it is wanted.
async fn reach(target: &Target, tls: Option<Arc<ClientConfig>>) -> Result<ClientStream, ConnectError> {
    let address = || target.address();
    let unreachable = |source| ConnectError::Unreachable { address: address(), source };
    let tcp = match &target.host {
        Host::Domain(name) => TcpStream::connect((name.as_str(), target.port)).await,
        Host::Ipv4(ip) => TcpStream::connect((*ip, target.port)).await,
        Host::Ipv6(ip) => TcpStream::connect((*ip, target.port)).await,
    }
    .map_err(unreachable)?;
    tcp::tune(&tcp).map_err(unreachable)?;
    match tls {
        None => Ok(Either::Left(tcp)),
        Some(config) => {
            let secure = TlsConnector::from(config).connect(target.server_name()?, tcp).await;
            Ok(Either::Right(Box::new(secure.map_err(|error| tls_error(address(), error))?)))
        }
    }
}

async fn upgrade(
    target: &Target,
    stream: ClientStream,
    limits: &Limits,
) -> Result<WebSocketStream<TokioAdapter<ClientStream>>, ConnectError> {
    // No subprotocol is offered: a server that knows none and says so by silence would then be refused.
    match client_async_with_config(target.url.as_str(), stream, Some(config(limits))).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let text: String = String::from_utf8_lossy(body).trim().chars().take(REFUSAL_CHARS).collect();
            Err(ConnectError::Refused { address: target.address(), status: answer.status().as_u16(), text })
        }
        Err(error) => Err(ConnectError::Handshake { address: target.address(), problem: error.to_string() }),
    }
}

fn tls_error(address: String, source: io::Error) -> ConnectError {
    let cause = source.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let hint = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => {
            " (a certificate of your own must be named as an extra CA file)"
        }
        Some(rustls::Error::InvalidMessage(_)) => " (is it ws:// instead of wss://?)",
        _ => "",
    };
    ConnectError::Tls { address, source, hint }
}

/// A URL that was understood.
#[derive(Debug)]
struct Target {
    url: Url,
    secure: bool,
    host: Host<String>,
    port: u16,
}

impl Target {
    fn parse(text: &str) -> Result<Self, ConnectError> {
        let wrong = |problem: String| ConnectError::Url { url: text.to_owned(), problem };
        let mut url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        let secure = match url.scheme() {
            "ws" => false,
            "wss" => true,
            other => return Err(wrong(format!("the scheme is `{other}`"))),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it has a user name or password, which nobody would check".to_owned()));
        }
        // It stays on this side, and must not reach the request line.
        url.set_fragment(None);
        let host = url.host().ok_or_else(|| wrong("it has no host".to_owned()))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| wrong("it has no port".to_owned()))?;
        Ok(Target { url, secure, host, port })
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What is trusted where the connection is secure.
    async fn trust(&self, extra_ca: Option<&Path>) -> Result<Option<Arc<ClientConfig>>, ConnectError> {
        if self.secure { trust(extra_ca).await.map(Some) } else { Ok(None) }
    }

    fn server_name(&self) -> Result<ServerName<'static>, ConnectError> {
        match &self.host {
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|error| ConnectError::Url { url: self.url.to_string(), problem: error.to_string() }),
            Host::Ipv4(ip) => Ok(ServerName::IpAddress((*ip).into())),
            Host::Ipv6(ip) => Ok(ServerName::IpAddress((*ip).into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn urls_are_understood_or_refused_with_the_reason() {
        let target = Target::parse("ws://[::1]:7/arcp?dialect=x#here").unwrap();
        assert_eq!((target.address().as_str(), target.secure), ("[::1]:7", false));
        assert_eq!(target.url.as_str(), "ws://[::1]:7/arcp?dialect=x");
        let target = Target::parse("wss://example.org").unwrap();
        assert_eq!((target.address().as_str(), target.secure), ("example.org:443", true));
        for (url, problem) in [
            ("localhost:7777", "the scheme is `localhost`"),
            ("http://localhost", "the scheme is `http`"),
            ("ws://", "empty host"),
            ("ws://me@host/", "it has a user name or password"),
            ("", "relative URL without a base"),
        ] {
            let text = Target::parse(url).unwrap_err().to_string();
            assert!(text.contains(problem) && text.contains("expected ws://host:port/arcp"), "{text}");
        }
    }

    /// Connects to a server that sends `answer` to whatever it is asked, or nothing.
    async fn answered(scheme: &str, answer: Option<&'static str>, hello_timeout_ms: u64) -> String {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let url = format!("{scheme}://{}/arcp", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let limits = Limits { hello_timeout_ms, ..Limits::default() };
        let error = connect(&url, None, &limits).await.unwrap_err().to_string();
        server.abort();
        error
    }

    #[tokio::test]
    async fn refusals_wrong_protocols_and_silence_are_told_apart() {
        let refused = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nfull\n";
        let text = answered("ws", Some(refused), 10_000).await;
        assert!(text.ends_with("refused the connection with HTTP 503: full"), "{text}");
        let text = answered("ws", Some("SSH-2.0-OpenSSH\r\n"), 10_000).await;
        assert!(text.contains("does not speak WebSocket"), "{text}");
        let text = answered("wss", Some("HTTP/1.1 400 Bad Request\r\n\r\n"), 10_000).await;
        assert!(text.ends_with("(is it ws:// instead of wss://?)"), "{text}");
        let text = answered("ws", None, 50).await;
        assert!(text.ends_with("within 50 ms"), "{text}");
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/arcp", listener.local_addr().unwrap());
        drop(listener);
        let error = connect(&url, None, &Limits::default()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    }
}
