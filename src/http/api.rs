//! `/api`: from a request to what an operator asks for, and from the answer to JSON.
//!
//! Who may ask is decided before anything is looked at, so that nobody learns more of the door than that it is
//! there. The rest is a pure function of the request's head and body.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::Serialize;

use super::Operations;
use crate::auth::{Caller, Role, Unauthenticated};
use crate::wire::api::{Ask, CancelRequest, Page, Refusal};
use crate::wire::encode::json;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::id::{JobId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::session::{JobFilter, ListJobs, StatusFilter, Token};
use crate::wire::time::Timestamp;

/// Largest body of a request to `/api`, in bytes.
pub const API_BODY_BYTES: usize = 8 * 1024;

/// Lets in whoever shows a token with one of these roles.
pub(super) fn admit(
    headers: &HeaderMap,
    operations: &dyn Operations,
    roles: &[Role],
) -> Result<Caller, Refusal> {
    // One answer for no token, another scheme and a wrong token; a token that is not there is compared like any other.
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, token) = shown.trim().split_once(' ').unwrap_or_default();
    let caller = operations.caller(scheme, &Token::new(token.trim())).map_err(|Unauthenticated| Refusal {
        status: 401,
        error: ErrorBody::new(
            ErrorCode::Unauthenticated,
            "expected `Authorization: Bearer TOKEN` with a token that this daemon knows",
        ),
    })?;
    if roles.iter().any(|role| caller.roles.contains(role)) {
        return Ok(caller);
    }
    let needed = roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ");
    let message =
        format!("the token has not the role that this needs ({needed}); see `roles` in auth.tokens");
    Err(Refusal { status: 403, error: ErrorBody::new(ErrorCode::PermissionDenied, message) })
}

/// What a request asks for.
pub(super) fn route(head: &Parts, body: &[u8]) -> Result<Ask, Refusal> {
    let path = head.uri.path().strip_prefix("/api").unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let query = Query::of(head);
    let ask = match segments[..] {
        ["status"] => read(head, || Ok(Ask::Status)),
        ["sessions"] => return read(head, || query.sessions()),
        ["sessions", id] => read(head, || session_id(id).map(Ask::Session)),
        ["jobs"] => return read(head, || query.jobs()),
        ["jobs", id] => read(head, || job_id(id).map(Ask::Job)),
        ["jobs", id, "cancel"] => {
            if head.method != Method::POST {
                return Err(method("POST"));
            }
            cancel(id, body)
        }
        ["store"] => read(head, || Ok(Ask::Store)),
        ["limits"] => read(head, || Ok(Ask::Limits)),
        _ => Err(Refusal::missing(
            ErrorCode::InvalidRequest,
            "nothing is here; there are /api/status, /api/sessions, /api/jobs, /api/store and /api/limits",
        )),
    }?;
    query.only(&[])?;
    Ok(ask)
}

fn read(head: &Parts, ask: impl FnOnce() -> Result<Ask, Refusal>) -> Result<Ask, Refusal> {
    if head.method == Method::GET || head.method == Method::HEAD { ask() } else { Err(method("GET, HEAD")) }
}

fn method(allowed: &'static str) -> Refusal {
    Refusal { status: 405, error: ErrorBody::invalid(format!("expected {allowed}")).with("allow", allowed) }
}

fn session_id(text: &str) -> Result<SessionId, Refusal> {
    text.parse().map_err(|error| Refusal::invalid(format!("session: {error}")))
}

fn job_id(text: &str) -> Result<JobId, Refusal> {
    text.parse().map_err(|error| Refusal::invalid(format!("job: {error}")))
}

fn cancel(id: &str, body: &[u8]) -> Result<Ask, Refusal> {
    let job = job_id(id)?;
    let CancelRequest { reason } = if body.is_empty() {
        CancelRequest::default()
    } else {
        // An object and nothing else: a list of its values would pass for one otherwise.
        let object = serde_json::from_slice(body).map(serde_json::Value::Object);
        object.and_then(serde_json::from_value).map_err(|error| {
            Refusal::invalid(format!("the body: expected nothing or {{\"reason\": TEXT}}: {error}"))
        })?
    };
    Ok(Ask::Cancel { job, reason })
}

/// The parameters of a request, in their order.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(head: &Parts) -> Query {
        let text = head.uri.query().unwrap_or_default();
        Query(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// Refuses every parameter but these.
    fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let name: String = name.chars().take(64).collect();
        let expected = if known.is_empty() { "no parameters".into() } else { known.join(", ") };
        Err(Refusal::invalid(format!("there is no parameter {name:?} here; expected {expected}")))
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut found = self.all(name);
        let first = found.next();
        match found.next() {
            Some(_) => Err(Refusal::invalid(format!("{name}: expected once, got several times"))),
            None => Ok(first),
        }
    }

    fn page(&self) -> Result<Page, Refusal> {
        let number = |text: &str| text.parse().ok().filter(|limit| *limit > 0);
        let limit = match self.one("limit")? {
            None => None,
            Some(text) => Some(
                number(text).ok_or_else(|| Refusal::invalid("limit: expected a whole number from 1 on"))?,
            ),
        };
        Ok(Page { limit, cursor: self.one("cursor")?.map(str::to_owned) })
    }

    fn sessions(&self) -> Result<Ask, Refusal> {
        self.only(&["limit", "cursor"])?;
        self.page().map(Ask::Sessions)
    }

    fn jobs(&self) -> Result<Ask, Refusal> {
        self.only(&["limit", "cursor", "status", "principal", "agent", "created_after", "created_before"])?;
        let Page { limit, cursor } = self.page()?;
        let wrong = |name: &str, error: &dyn std::fmt::Display| Refusal::invalid(format!("{name}: {error}"));
        let statuses: Vec<JobStatus> = self
            .all("status")
            .map(|text| text.parse().map_err(|e| wrong("status", &e)))
            .collect::<Result<_, _>>()?;
        let agent =
            self.one("agent")?.map(|text| text.parse().map_err(|e| wrong("agent", &e))).transpose()?;
        let principal = self
            .one("principal")?
            .map(|text| text.parse().map_err(|e| wrong("principal", &e)))
            .transpose()?;
        let status = (!statuses.is_empty()).then_some(StatusFilter(statuses));
        let instant = |name| {
            let read = |text| Timestamp::parse(text).map_err(|e| wrong(name, &e));
            self.one(name)?.map(read).transpose()
        };
        let (created_after, created_before) = (instant("created_after")?, instant("created_before")?);
        let filter = Some(JobFilter { status, agent, created_after, created_before });
        Ok(Ask::Jobs { list: ListJobs { filter, limit, cursor }, principal })
    }
}

/// What goes out: a status, headers of its own, and JSON.
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl Said {
    /// An answer.
    pub(super) fn answer(answer: &impl Serialize) -> Said {
        Said { status: StatusCode::OK, headers: Vec::new(), body: json(answer) }
    }

    /// A refusal, with what HTTP wants beside some of them.
    pub(super) fn refusal(refusal: &Refusal) -> Said {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let allow = refusal.error.details.as_ref().and_then(|details| details.get("allow")?.as_str());
        let mut headers = Vec::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        headers.extend(allow.and_then(|allow| Some((header::ALLOW, HeaderValue::from_str(allow).ok()?))));
        Said { status, headers, body: json(&refusal.error) }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn routed(method: &str, uri: &str, body: &str) -> Result<Ask, (u16, String)> {
        let head = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0;
        route(&head, body.as_bytes()).map_err(|refusal| (refusal.status, refusal.error.message))
    }

    #[test]
    fn what_is_there_is_found() {
        let (job, session) = (JobId::new(7, 7), SessionId::new(8, 8));
        assert_eq!(routed("GET", "/api/status", ""), Ok(Ask::Status));
        assert_eq!(routed("HEAD", "/api/store", ""), Ok(Ask::Store));
        assert_eq!(routed("GET", "/api/limits", ""), Ok(Ask::Limits));
        assert_eq!(routed("GET", "/api/sessions", ""), Ok(Ask::Sessions(Page::default())));
        let page = Page { limit: Some(3), cursor: Some("a b".into()) };
        assert_eq!(routed("GET", "/api/sessions?limit=3&cursor=a%20b", ""), Ok(Ask::Sessions(page)));
        assert_eq!(routed("GET", &format!("/api/sessions/{session}"), ""), Ok(Ask::Session(session)));
        assert_eq!(routed("GET", &format!("/api/jobs/{job}"), ""), Ok(Ask::Job(job)));
        let cancel = format!("/api/jobs/{job}/cancel");
        assert_eq!(routed("POST", &cancel, ""), Ok(Ask::Cancel { job, reason: None }));
        let reason = Some("enough".into());
        assert_eq!(routed("POST", &cancel, r#"{"reason":"enough"}"#), Ok(Ask::Cancel { job, reason }));
        let filter = JobFilter {
            status: Some(StatusFilter(vec![JobStatus::Running, JobStatus::TimedOut])),
            agent: Some("echo@1".parse().unwrap()),
            created_after: Some(Timestamp::from_micros(0)),
            created_before: None,
        };
        let list = ListJobs { filter: Some(filter), ..ListJobs::default() };
        let asked = Ask::Jobs { list, principal: Some("bob".parse().unwrap()) };
        let uri = "/api/jobs?status=running&status=timed_out&agent=echo@1&principal=bob&created_after=1970-01-01T00:00:00Z";
        assert_eq!(routed("GET", uri, ""), Ok(asked));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let job = JobId::new(7, 7);
        for (method, uri, body, status, words) in [
            ("GET", "/api", "", 404, "nothing is here"),
            ("GET", "/api/", "", 404, "/api/status"),
            ("GET", "/api/jobs/", "", 400, "job: expected an id like job_"),
            ("GET", "/api/nothing", "", 404, "nothing is here"),
            ("GET", "/api/sessions/job_1", "", 400, "session: expected an id like sess_"),
            ("GET", &format!("/api/jobs/{job}/cancel"), "", 405, "expected POST"),
            ("POST", "/api/jobs", "", 405, "expected GET, HEAD"),
            ("DELETE", &format!("/api/jobs/{job}"), "", 405, "expected GET, HEAD"),
            ("GET", "/api/jobs?limit=0", "", 400, "limit: expected a whole number from 1 on"),
            ("GET", "/api/jobs?limit=1&limit=2", "", 400, "limit: expected once"),
            ("GET", "/api/jobs?state=running", "", 400, "no parameter \"state\""),
            ("GET", "/api/jobs?status=alive", "", 400, "status: expected pending, running"),
            ("GET", "/api/jobs?agent=Not%20One", "", 400, "agent: "),
            ("GET", "/api/jobs?principal=a%20b", "", 400, "principal: expected a name"),
            ("GET", "/api/jobs?created_before=now", "", 400, "created_before: expected an instant"),
            ("GET", "/api/store?x=1", "", 400, "expected no parameters"),
            ("POST", &format!("/api/jobs/{job}/cancel"), "[]", 400, "the body: expected nothing or"),
            ("POST", &format!("/api/jobs/{job}/cancel"), r#"{"why":"x"}"#, 400, "unknown field"),
        ] {
            let (got, message) = routed(method, uri, body).unwrap_err();
            assert!(got == status && message.contains(words), "{method} {uri}: {got} {message}");
        }
    }
}
