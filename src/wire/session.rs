//! Payloads of the session messages (§6).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::agent_ref::AgentRef;
use super::error::ErrorBody;
use super::id::{JobId, SessionId, TraceId};
use super::job::JobStatus;
use super::lease::{Lease, LeaseConstraints};
use super::object::{object, optional_object};
use super::time::Timestamp;

/// A secret text of the handshake: a bearer token (§6.1) or a resume token (§6.3). Cannot be printed.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// Takes a secret in.
    pub fn new(secret: impl Into<String>) -> Self {
        Token(SecretString::from(secret.into()))
    }

    /// The secret itself, for comparing, hashing or sending it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Token::new)
    }
}

/// A name and a version: of a client (§6.2) or of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Software {
    /// Its name.
    pub name: String,
    /// Its version; free text.
    #[serde(default)]
    pub version: String,
}

/// How the client proves who it is (§6.1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Auth {
    /// `bearer` is the only scheme.
    #[serde(default)]
    pub scheme: String,
    /// The bearer token; whoever has none is not let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub token: Option<Token>,
}

/// What a client can do (§6.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClientCapabilities {
    /// Encodings that it reads; `json` is the only one there is.
    #[serde(default)]
    pub encodings: Vec<String>,
    /// Feature flags that it knows.
    #[serde(default)]
    pub features: Vec<String>,
}

/// What a client has of a session that it resumes (§6.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastSeen {
    /// Everything up to this `event_seq`; 0 for nothing, for which one published client says -1.
    Number(u64),
    /// Of each job everything up to this position of the job's own history, of other jobs nothing: one published client
    /// counts so.
    Positions(BTreeMap<JobId, u64>),
}

impl Default for LastSeen {
    fn default() -> Self {
        LastSeen::Number(0)
    }
}

impl Serialize for LastSeen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LastSeen::Number(seq) => serializer.serialize_u64(*seq),
            LastSeen::Positions(positions) => serializer.collect_map(positions),
        }
    }
}

impl<'de> Deserialize<'de> for LastSeen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = LastSeen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the last event_seq that was processed, or an object with a position for each job",
                )
            }
            fn visit_u64<E>(self, seq: u64) -> Result<LastSeen, E> {
                Ok(LastSeen::Number(seq))
            }
            fn visit_i64<E: serde::de::Error>(self, seq: i64) -> Result<LastSeen, E> {
                match seq {
                    -1 => Ok(LastSeen::Number(0)),
                    other => Err(E::invalid_value(serde::de::Unexpected::Signed(other), &self)),
                }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<LastSeen, A::Error> {
                let mut positions = BTreeMap::new();
                while let Some((job, position)) = map.next_entry::<String, u64>()? {
                    // A job of a name that is none of ours was never part of the session.
                    positions.extend(job.parse::<JobId>().ok().map(|job| (job, position)));
                }
                Ok(LastSeen::Positions(positions))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for LastSeen {
    fn schema_name() -> Cow<'static, str> {
        "LastSeen".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": -1 },
            { "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } }
        ] })
    }
}

/// Where a session is to go on (§6.3).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::either_token)]
pub struct Resume {
    /// The newest resume token that the client has.
    #[serde(alias = "token")]
    #[schemars(with = "String")]
    pub resume_token: Token,
    /// What it has processed.
    #[serde(default)]
    pub last_event_seq: LastSeen,
    /// The session that it believes to resume; checked where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// `session.hello` (§6.2), with the two places in which clients put a resume.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// Who the client says it is.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub client: Option<Software>,
    /// Its bearer token.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What it can do.
    #[serde(default, deserialize_with = "object")]
    pub capabilities: ClientCapabilities,
    /// A resume inside the hello.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// A resume flat in the hello: the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub resume_token: Option<Token>,
    /// A resume flat in the hello: the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_seq: Option<LastSeen>,
    /// A resume flat in the hello: the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// `session.resume` (§6.3) as a first frame.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::either_token)]
pub struct ResumeRequest {
    /// The newest resume token that the client has.
    #[serde(alias = "token")]
    #[schemars(with = "String")]
    pub resume_token: Token,
    /// What it has processed.
    #[serde(default)]
    pub last_event_seq: LastSeen,
    /// The session that it believes to resume; checked where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Not needed; where present it must be the same principal's.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// One agent of the inventory (§6.2, §7.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentEntry {
    /// Its name.
    pub name: String,
    /// Its versions, in the order of their registration.
    pub versions: Vec<String>,
    /// What a bare name resolves to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// What the runtime offers to this session (§6.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RuntimeCapabilities {
    /// `["json"]`.
    #[serde(default)]
    pub encodings: Vec<String>,
    /// The effective features: the intersection.
    #[serde(default)]
    pub features: Vec<String>,
    /// The agents that can be asked for.
    #[serde(default)]
    pub agents: Vec<AgentEntry>,
}

/// `session.welcome` (§6.2), with the fields that published clients look for beside the specification's.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// The session; the same after a resume.
    pub session_id: SessionId,
    /// Who answers.
    pub runtime: Software,
    /// `runtime.name` again.
    #[serde(default)]
    pub runtime_name: String,
    /// `runtime.version` again.
    #[serde(default)]
    pub runtime_version: String,
    /// The token for the next resume; new at every welcome (§6.3).
    #[schemars(with = "String")]
    pub resume_token: Token,
    /// For how long after a drop the session can be resumed at least, in seconds.
    pub resume_window_sec: u64,
    /// The heartbeat interval in seconds; absent where heartbeats were not negotiated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_sec: Option<u64>,
    /// What is offered.
    pub capabilities: RuntimeCapabilities,
    /// When the session was opened or resumed.
    pub accepted_at: Timestamp,
}

/// `session.error` (§12, and our decision 4): a refused handshake, a refused request, or the end of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionError {
    /// One of the codes of §12.
    pub code: super::error::ErrorCode,
    /// What was expected, what came, what to do.
    #[schemars(length(min = 1))]
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Facts for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
    /// The envelope id of the request that is refused; absent where no request is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `request_id` again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

impl SessionError {
    /// The error as the answer to a request, or to none.
    pub fn new(error: ErrorBody, request_id: Option<String>) -> Self {
        let ErrorBody { code, message, retryable, details } = error;
        SessionError { code, message, retryable, details, reply_to: request_id.clone(), request_id }
    }

    /// The error object without its addressing.
    pub fn error(&self) -> ErrorBody {
        ErrorBody {
            code: self.code,
            message: self.message.clone(),
            retryable: self.retryable,
            details: self.details.clone(),
        }
    }
}

/// `session.ping` (§6.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    /// Comes back in the pong.
    #[schemars(length(min = 1, max = 128))]
    pub nonce: String,
    /// When it was sent; not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
}

/// `session.pong` (§6.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// The ping's nonce.
    pub ping_nonce: String,
    /// When the ping came; not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
}

/// `session.ack` (§6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ack {
    /// The highest `event_seq` that the client has processed.
    pub last_processed_seq: u64,
}

/// One status or several (§6.6): clients send either.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct StatusFilter(pub Vec<JobStatus>);

impl<'de> Deserialize<'de> for StatusFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> serde::de::Visitor<'de> for OneOrMany {
            type Value = StatusFilter;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job status or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<StatusFilter, E> {
                JobStatus::deserialize(serde::de::value::StrDeserializer::new(text))
                    .map(|s| StatusFilter(vec![s]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<StatusFilter, A::Error> {
                let mut all = Vec::new();
                while let Some(status) = seq.next_element()? {
                    if !all.contains(&status) {
                        all.push(status);
                    }
                }
                Ok(StatusFilter(all))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for StatusFilter {
    fn schema_name() -> Cow<'static, str> {
        "StatusFilter".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (one, many) = (JobStatus::json_schema(generator), Vec::<JobStatus>::json_schema(generator));
        json_schema!({ "anyOf": [one, many] })
    }
}

/// Which jobs to list (§6.6). Absent fields do not filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct JobFilter {
    /// Any of these statuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusFilter>,
    /// This agent; a bare name means all its versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentRef>,
    /// Created after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Timestamp>,
    /// Created before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
}

/// `session.list_jobs` (§6.6).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListJobs {
    /// Which jobs.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub filter: Option<JobFilter>,
    /// How many at most on this page; from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
    /// Where the last page ended: its `next_cursor`, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One row of a listing (§6.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSummary {
    /// The job.
    pub job_id: JobId,
    /// `name@version`.
    pub agent: AgentRef,
    /// Where it stands.
    pub status: JobStatus,
    /// Its effective lease.
    pub lease: Lease,
    /// What bounds the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// `created_at` again.
    pub submitted_at: Timestamp,
    /// The submit's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The last position of the job's own history, from 1; 0 before its first event.
    pub last_event_seq: u64,
}

/// `session.jobs` (§6.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Jobs {
    /// The envelope id of the request.
    pub request_id: String,
    /// `request_id` again.
    #[serde(default)]
    pub reply_to: String,
    /// The page, newest first.
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins; null at the end.
    pub next_cursor: Option<String>,
}

/// `session.close`, and `session.bye` of other clients (§6.7).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Close {
    /// Why; free text, of which the first 1,024 characters are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `session.closed` (§6.7).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Closed {
    /// The envelope id of the close; absent where the daemon closes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `request_id` again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Why; free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
