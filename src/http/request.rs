//! What is answered to an HTTP request: a pure decision over its head.
//!
//! A browser's request is refused unless its origin is configured, because a page anywhere could otherwise speak
//! to a daemon on its visitor's own machine. Everything that is neither the WebSocket nor a health check is told
//! where to go.

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

/// The WebSocket subprotocol that is echoed when it is offered.
const SUBPROTOCOL: &str = "arcp.v1";

/// Bytes of a `Sec-WebSocket-Key` once decoded (RFC 6455, 4.1).
const KEY_BYTES: usize = 16;

/// What is said where nothing is.
pub(super) const NOTHING: &str = "nothing is here; the WebSocket is at /arcp";

/// What is done with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Answer 101 and speak WebSocket.
    Upgrade {
        /// The value of `Sec-WebSocket-Accept`.
        accept: String,
        /// The value of `Sec-WebSocket-Protocol`.
        subprotocol: Option<&'static str>,
    },
    /// Say whether the daemon is ready.
    Readiness,
    /// Answer an operator.
    Api,
    /// Show the numbers.
    Metrics,
    /// Answer with this text.
    Text(StatusCode, &'static str),
}

/// Decides what is done with the request of this head.
pub(super) fn decide(head: &Parts, allowed_origins: &[String]) -> Decision {
    if !origin_allowed(&head.headers, allowed_origins) {
        let text = "this origin is not allowed; see `allowed_origins` in the daemon's configuration";
        return Decision::Text(StatusCode::FORBIDDEN, text);
    }
    let path = head.uri.path();
    if path == "/api" || path.starts_with("/api/") {
        return Decision::Api;
    }
    if !matches!(path, "/" | "/arcp" | "/healthz" | "/metrics" | "/readyz") {
        return Decision::Text(StatusCode::NOT_FOUND, NOTHING);
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        return Decision::Text(StatusCode::METHOD_NOT_ALLOWED, "expected GET");
    }
    match path {
        "/healthz" => Decision::Text(StatusCode::OK, "ok"),
        "/readyz" => Decision::Readiness,
        "/metrics" => Decision::Metrics,
        _ if has_token(&head.headers, header::UPGRADE, "websocket") => upgrade(head),
        "/" => Decision::Text(
            StatusCode::OK,
            "arcpd, a runtime for the Agent Runtime Control Protocol; connect by WebSocket to /arcp",
        ),
        _ => Decision::Text(StatusCode::UPGRADE_REQUIRED, "expected a WebSocket upgrade"),
    }
}

/// The checks of RFC 6455, 4.2.1. Extensions are not spoken, so none is answered.
fn upgrade(head: &Parts) -> Decision {
    let headers = &head.headers;
    if head.method != Method::GET
        || head.version != Version::HTTP_11
        || !has_token(headers, header::CONNECTION, "upgrade")
    {
        let text = "expected GET, HTTP/1.1 and `Connection: Upgrade` with `Upgrade: websocket`";
        return Decision::Text(StatusCode::BAD_REQUEST, text);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Decision::Text(StatusCode::UPGRADE_REQUIRED, "expected `Sec-WebSocket-Version: 13`");
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES));
    let Some(key) = key else {
        let text = "expected a `Sec-WebSocket-Key` of 16 bytes in base64";
        return Decision::Text(StatusCode::BAD_REQUEST, text);
    };
    Decision::Upgrade {
        accept: derive_accept_key(key.as_bytes()),
        subprotocol: tokens(headers, header::SEC_WEBSOCKET_PROTOCOL)
            .any(|offered| offered == SUBPROTOCOL)
            .then_some(SUBPROTOCOL),
    }
}

/// Whether no browser sent this, or one that shows a page of a configured origin.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        allowed.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    })
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

/// The members of a comma-separated header that may occur several times.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// The value of `dialect` in the query, for a client that names its own.
pub(super) fn dialect_hint(head: &Parts) -> Option<String> {
    let query = head.uri.query()?;
    let hint = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "dialect");
    hint.map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn decided(method: &str, uri: &str, headers: &[(&str, &str)]) -> Decision {
        decide(&head(method, uri, headers), &["https://App.example".to_owned()])
    }

    fn status(method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
        match decided(method, uri, headers) {
            Decision::Text(status, _) => status.as_u16(),
            Decision::Readiness | Decision::Api | Decision::Metrics => 0,
            Decision::Upgrade { .. } => 101,
        }
    }

    const OFFER: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn offer_with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let kept = OFFER.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| name != other));
        kept.chain(more.iter().copied()).filter(|(_, value)| !value.is_empty()).collect()
    }

    #[test]
    fn every_path_and_method_has_its_answer() {
        assert_eq!(status("GET", "/", &[]), 200);
        assert_eq!(status("HEAD", "/healthz", &[]), 200);
        assert_eq!(status("GET", "/readyz", &[]), 0);
        assert_eq!(status("GET", "/arcp", &[]), 426);
        assert_eq!(status("GET", "/arcp/", &OFFER), 404);
        assert_eq!(status("POST", "/nowhere", &[]), 404);
        assert_eq!(status("POST", "/arcp", &OFFER), 405);
        assert_eq!(status("DELETE", "/healthz", &[]), 405);
    }

    #[test]
    fn an_upgrade_is_accepted_with_the_key_of_the_rfc_and_the_subprotocol_if_offered() {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        let plain = Decision::Upgrade { accept: accept.clone(), subprotocol: None };
        assert_eq!(decided("GET", "/", &OFFER), plain);
        assert_eq!(decided("GET", "/arcp", &offer_with(&[("sec-websocket-protocol", "mqtt")])), plain);
        for offered in ["arcp.v1", "mqtt, arcp.v1"] {
            assert_eq!(
                decided("GET", "/arcp?dialect=x", &offer_with(&[("sec-websocket-protocol", offered)])),
                Decision::Upgrade { accept: accept.clone(), subprotocol: Some("arcp.v1") }
            );
        }
    }

    #[test]
    fn a_flawed_upgrade_is_refused() {
        assert_eq!(status("GET", "/arcp", &offer_with(&[("sec-websocket-version", "8")])), 426);
        assert_eq!(status("GET", "/arcp", &offer_with(&[("sec-websocket-version", "")])), 426);
        assert_eq!(status("GET", "/arcp", &offer_with(&[("sec-websocket-key", "")])), 400);
        assert_eq!(status("GET", "/arcp", &offer_with(&[("sec-websocket-key", "c2hvcnQ=")])), 400);
        assert_eq!(status("GET", "/arcp", &offer_with(&[("connection", "keep-alive")])), 400);
        assert_eq!(status("HEAD", "/arcp", &OFFER), 400);
        let mut old = head("GET", "/arcp", &OFFER);
        old.version = Version::HTTP_10;
        assert!(matches!(decide(&old, &[]), Decision::Text(StatusCode::BAD_REQUEST, _)));
    }

    #[test]
    fn an_origin_must_be_configured_whatever_is_asked_for() {
        assert_eq!(status("GET", "/arcp", &offer_with(&[("origin", "https://app.example")])), 101);
        for origin in ["https://evil.example", "null", "https://app.example.evil.example"] {
            assert_eq!(status("GET", "/arcp", &offer_with(&[("origin", origin)])), 403, "{origin}");
            assert_eq!(status("GET", "/healthz", &[("origin", origin)]), 403, "{origin}");
        }
        let both = [("origin", "https://app.example"), ("origin", "https://evil.example")];
        assert_eq!(status("GET", "/", &both), 403);
    }

    #[test]
    fn the_dialect_hint_is_taken_from_the_query() {
        assert_eq!(dialect_hint(&head("GET", "/arcp?x=1&dialect=py%74hon", &[])).as_deref(), Some("python"));
        assert_eq!(dialect_hint(&head("GET", "/arcp?dialects=python", &[])), None);
        assert_eq!(dialect_hint(&head("GET", "/arcp", &[])), None);
    }
}
