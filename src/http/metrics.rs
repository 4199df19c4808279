//! `/metrics`: who may read it, and what the listener itself counts.

use std::net::IpAddr;

use hyper::Version;
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

use crate::config::MetricsAccess;
use crate::telemetry::metrics::{Count, Counts, Page};

/// Headers that a proxy adds to what it passes on, beside those that begin with [`FORWARDED`].
const OF_PROXIES: [&str; 6] =
    ["forwarded", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip", "via"];
/// What many more of them begin with.
const FORWARDED: &str = "x-forwarded-";

/// What is needed to read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing.
    Nothing,
    /// A token with the role.
    Token,
    /// It is not there for anybody.
    NotThere,
}

/// What a request from `peer` needs.
pub(super) fn needs(access: MetricsAccess, peer: IpAddr, head: &Parts) -> Needs {
    let headers = &head.headers;
    // What a proxy passes on comes from somewhere else, as does a page whose name was made to mean this machine; and who
    // shows a token wants it looked at.
    let of_proxy = |name: &str| OF_PROXIES.contains(&name) || name.starts_with(FORWARDED);
    let passed_on = headers.keys().any(|name| of_proxy(name.as_str()));
    // Proxies that say nothing of themselves speak HTTP/1.0 unless they are told otherwise; scrapers do not.
    let passed_on = passed_on || head.version < Version::HTTP_11 || head.uri.authority().is_some();
    let local = peer.is_loopback() && asks_for_this_machine(headers) && !passed_on;
    let local = local && !headers.contains_key(header::AUTHORIZATION);
    match access {
        MetricsAccess::Open => Needs::Nothing,
        MetricsAccess::Local if local => Needs::Nothing,
        MetricsAccess::Local | MetricsAccess::Token => Needs::Token,
        MetricsAccess::Off => Needs::NotThere,
    }
}

/// Whether the host that is asked for is an address or `localhost`: nobody else can give that name.
fn asks_for_this_machine(headers: &HeaderMap) -> bool {
    headers.contains_key(header::HOST)
        && headers.get_all(header::HOST).iter().all(|host| {
            let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
            authority.is_some_and(|authority| {
                let name = authority.host().trim_matches(['[', ']']);
                name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
            })
        })
}

/// What the listener counts.
#[derive(Debug)]
pub(super) struct Meters {
    /// Requests by what they were for.
    pub(super) requests: Counts,
    /// Sockets and WebSockets that were one too many.
    pub(super) refused: Count,
}

impl Default for Meters {
    fn default() -> Self {
        let requests = Counts::by(&["arcp", "api", "metrics", "readyz", "other"]);
        Meters { requests, refused: Count::default() }
    }
}

impl Meters {
    /// Puts it on the page; `sockets` are those that are open.
    pub(super) fn measure(&self, page: &mut Page, sockets: usize) {
        page.gauge("arcpd_http_sockets", "Sockets that the listener has open", sockets as u64);
        let help =
            "Requests to the listener; arcp: offers of a WebSocket, other: healthz and what is not there";
        page.counts("arcpd_http_requests", help, "endpoint", self.requests.get());
        let help = "Sockets and WebSockets that were refused because there were as many as may be";
        page.count("arcpd_http_connections_refused", help, self.refused.get());
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(uri: &str, version: Version, headers: &[(&'static str, &str)]) -> Parts {
        let request = Request::builder().uri(uri).version(version);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_name_that_somebody_else_can_give_is_not_this_machine() {
        for (host, local) in [
            ("127.0.0.1:7878", true),
            ("[::1]:7878", true),
            ("localhost", true),
            ("LocalHost:80", true),
            ("evil.example:7878", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let head = head("/metrics", Version::HTTP_11, &[("host", host)]);
            let expected = if local { Needs::Nothing } else { Needs::Token };
            assert_eq!(needs(MetricsAccess::Local, [127, 0, 0, 1].into(), &head), expected, "{host:?}");
        }
    }

    #[test]
    fn what_a_silent_proxy_passes_on_is_not_from_this_machine() {
        let local = [("host", "127.0.0.1:7878")];
        for (uri, version, headers) in [
            ("/metrics", Version::HTTP_10, &local[..]),
            ("/metrics", Version::HTTP_11, &[]),
            ("http://evil.example/metrics", Version::HTTP_11, &local),
        ] {
            let head = head(uri, version, headers);
            assert_eq!(needs(MetricsAccess::Local, [127, 0, 0, 1].into(), &head), Needs::Token, "{head:?}");
        }
    }

    #[test]
    fn nobody_reads_from_afar_without_a_token_unless_that_is_configured() {
        let needs = |access, peer: &str, named: &[&'static str]| {
            let mut headers = vec![("host", "localhost")];
            headers.extend(named.iter().map(|name| (*name, "x")));
            needs(access, peer.parse().unwrap(), &head("/metrics", Version::HTTP_11, &headers))
        };
        for (peer, headers, local) in [
            ("127.0.0.1", &[][..], true),
            ("127.9.9.9", &["accept"], true),
            ("::1", &[], true),
            ("127.0.0.1", &["x-forwarded-for"], false),
            ("127.0.0.1", &["forwarded"], false),
            ("127.0.0.1", &["via"], false),
            ("127.0.0.1", &["x-forwarded-proto"], false),
            ("127.0.0.1", &["cf-connecting-ip"], false),
            ("127.0.0.1", &["authorization"], false),
            ("10.0.0.1", &[], false),
            ("2001:db8::1", &[], false),
        ] {
            let expected = if local { Needs::Nothing } else { Needs::Token };
            assert_eq!(needs(MetricsAccess::Local, peer, headers), expected, "{peer} {headers:?}");
            assert_eq!(needs(MetricsAccess::Token, peer, headers), Needs::Token);
            assert_eq!(needs(MetricsAccess::Open, peer, headers), Needs::Nothing);
            assert_eq!(needs(MetricsAccess::Off, peer, headers), Needs::NotThere);
        }
    }
}
