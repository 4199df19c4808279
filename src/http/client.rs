//! The other side of `/api`: one request and its answer, over the same TCP and TLS as the WebSocket client.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use crate::transport::websocket::{ClientStream, ConnectError, dial};
use crate::wire::api::Refusal;
use crate::wire::error::ErrorBody;
use crate::wire::limits::Limits;
use crate::wire::session::Token;

/// Longest answer that is taken, in bytes: a page of the most sessions or jobs that a daemon may be configured to give.
pub const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Characters of an answer that is no daemon's that are shown.
const FOREIGN_CHARS: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no connection; nothing was asked.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The daemon refused.
    #[error("{}", .0.error)]
    Refused(Refusal),
    /// What was said is no answer of a daemon that has the operators' door.
    #[error("the answer of {at} is not a daemon's (HTTP {status}): {text}")]
    Foreign {
        /// What was asked.
        at: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of what was said, or what is wrong with it.
        text: String,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {at} broke before the answer had come: {problem}")]
    Broken {
        /// What was asked.
        at: String,
        /// What happened.
        problem: String,
    },
    /// The answer did not come in time.
    #[error("no answer from {at} within {ms} ms")]
    Timeout {
        /// What was asked.
        at: String,
        /// The limit in milliseconds.
        ms: u64,
    },
}

/// A daemon whose `/api` is asked.
#[derive(Debug, Clone)]
pub struct Operator<'a> {
    /// Where its clients connect: a `ws://` or `wss://` URL. `/api` is beside its `/arcp`.
    pub url: &'a str,
    /// A token with the role.
    pub token: &'a Token,
    /// Certificates to trust beside those of the system.
    pub ca: Option<&'a Path>,
}

impl Operator<'_> {
    /// Asks for something; `path` is what follows `/api`, with its parameters.
    ///
    /// # Errors
    /// [`ApiError`], also when the answer is not what was expected.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Asks for a change, with a body in JSON.
    ///
    /// # Errors
    /// [`ApiError`], also when the answer is not what was expected.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, ApiError> {
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ApiError> {
        let limits = Limits::default();
        let ms = limits.hello_timeout_ms;
        let time = Duration::from_millis(ms);
        // Reaching it has its own time, and what to say when it has run out.
        let stream = dial(self.url, self.ca, &limits).await?;
        let (at, request) = self.request(method, path, body);
        let answered = timeout(time, exchange(stream, request)).await;
        let (status, answer) = answered
            .map_err(|_| ApiError::Timeout { at: at.clone(), ms })?
            .map_err(|problem| ApiError::Broken { at: at.clone(), problem })?;
        if status != 200 {
            return Err(refused(at, status, &answer));
        }
        serde_json::from_slice(&answer).map_err(|error| ApiError::Foreign {
            at,
            status,
            text: format!("{error}: {}", beginning(&answer)),
        })
    }

    /// The request, and what it is called when something goes wrong.
    fn request(&self, method: Method, path: &str, body: Bytes) -> (String, Request<Full<Bytes>>) {
        // The URL was understood when it was dialled.
        let url = Url::parse(self.url).ok();
        let host = url.as_ref().map(|url| url.authority().to_owned()).unwrap_or_default();
        let beside = url.as_ref().map(Url::path).unwrap_or_default();
        let beside = beside.strip_suffix("/arcp").unwrap_or(beside).trim_end_matches('/');
        let target = format!("{beside}/api{path}");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // What is no path asks for the root, and is answered with what is there.
        *request.uri_mut() = target.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.extend(HeaderValue::from_str(&host).map(|host| (header::HOST, host)));
        if let Ok(mut shown) = HeaderValue::from_str(&format!("Bearer {}", self.token.expose())) {
            shown.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, shown);
        }
        (format!("{host}{target}"), request)
    }
}

async fn exchange(stream: ClientStream, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let answer = async move {
        let response: Response<_> = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    // The connection moves the bytes, and ends when the sender is gone.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn refused(at: String, status: u16, answer: &[u8]) -> ApiError {
    match serde_json::from_slice::<ErrorBody>(answer) {
        Ok(error) => ApiError::Refused(Refusal { status, error }),
        Err(_) => ApiError::Foreign { at, status, text: beginning(answer) },
    }
}

fn beginning(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).trim().chars().take(FOREIGN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::wire::api::LimitList;

    /// Asks a server that answers with `answer`; returns what it was asked, and what came of it.
    async fn asked(path: &str, answer: &'static str) -> (String, Result<LimitList, ApiError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}{path}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4_096];
            let n = socket.read(&mut head).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head[..n].to_vec()).unwrap()
        });
        let token = Token::new("tok");
        let operator = Operator { url: &url, token: &token, ca: None };
        let got = operator.get("/limits?x=1").await;
        (server.await.unwrap(), got)
    }

    #[tokio::test]
    async fn api_is_beside_arcp_and_the_token_is_shown() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{\"limits\":[]}";
        for (path, target) in
            [("/arcp", "/api"), ("", "/api"), ("/", "/api"), ("/x/arcp?dialect=spec", "/x/api")]
        {
            let (head, got) = asked(path, answer).await;
            assert!(head.starts_with(&format!("GET {target}/limits?x=1 HTTP/1.1\r\n")), "{head}");
            assert!(head.to_ascii_lowercase().contains("\r\nauthorization: bearer tok\r\n"), "{head}");
            assert!(got.unwrap().limits.is_empty());
        }
    }

    #[tokio::test]
    async fn refusals_strangers_and_cuts_are_told_apart() {
        let refused = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n\
                       {\"code\":\"PERMISSION_DENIED\",\"message\":\"it needs a r\",\"retryable\":false}";
        let (_, got) = asked("/arcp", refused).await;
        let error = got.unwrap_err();
        assert!(matches!(&error, ApiError::Refused(Refusal { status: 403, .. })), "{error}");
        let (_, got) = asked("/arcp", "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nnope\n").await;
        let text = got.unwrap_err().to_string();
        assert!(text.ends_with("is not a daemon's (HTTP 404): nope"), "{text}");
        let (_, got) = asked("/arcp", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        assert!(matches!(got.unwrap_err(), ApiError::Foreign { status: 200, .. }));
        let (_, got) = asked("/arcp", "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"lim").await;
        let error = got.unwrap_err();
        assert!(matches!(error, ApiError::Broken { .. }), "{error}");
        assert!(!error.to_string().contains("tok"), "{error}");
    }
}
