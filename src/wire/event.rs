//! Event payloads and the bodies of the event kinds (§8).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ErrorBody;
use super::feature::Feature;
use super::id::{JobId, ResultId};
use super::object::wrong;
use super::time::Timestamp;

/// What [`EventKind::parse`] knows, for schemas.
pub(super) const KINDS: &str = "^(log|thought|tool_call|tool_result|status|metric|artifact_ref|delegate|progress\
                                |result_chunk|trace_span|x-[A-Za-z0-9._-]{1,126})$";

/// The payload of `job.event` (§8.1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The kind, which says what the body is.
    #[schemars(regex(pattern = KINDS))]
    pub kind: String,
    /// When it happened.
    pub ts: Timestamp,
    /// The job.
    pub job_id: JobId,
    /// The kind's body; unknown fields are kept.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub body: Box<RawValue>,
}

/// The kinds of events (§8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `log`
    Log,
    /// `thought`
    Thought,
    /// `tool_call`
    ToolCall,
    /// `tool_result`
    ToolResult,
    /// `status`
    Status,
    /// `metric`
    Metric,
    /// `artifact_ref`
    ArtifactRef,
    /// `delegate`
    Delegate,
    /// `progress`
    Progress,
    /// `result_chunk`
    ResultChunk,
    /// `trace_span`: not the specification's, but a published client's.
    TraceSpan,
    /// `x-…`: a vendor's own kind; its body is any object.
    Vendor,
}

impl EventKind {
    /// The kind of this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "log" => EventKind::Log,
            "thought" => EventKind::Thought,
            "tool_call" => EventKind::ToolCall,
            "tool_result" => EventKind::ToolResult,
            "status" => EventKind::Status,
            "metric" => EventKind::Metric,
            "artifact_ref" => EventKind::ArtifactRef,
            "delegate" => EventKind::Delegate,
            "progress" => EventKind::Progress,
            "result_chunk" => EventKind::ResultChunk,
            "trace_span" => EventKind::TraceSpan,
            vendor if is_vendor(vendor) => EventKind::Vendor,
            _ => return None,
        })
    }

    /// The feature without which a session is not sent this kind.
    pub fn gate(self) -> Option<Feature> {
        match self {
            EventKind::Progress => Some(Feature::Progress),
            EventKind::ResultChunk => Some(Feature::ResultChunk),
            EventKind::Log
            | EventKind::Thought
            | EventKind::ToolCall
            | EventKind::ToolResult
            | EventKind::Status
            | EventKind::Metric
            | EventKind::ArtifactRef
            | EventKind::Delegate
            | EventKind::TraceSpan
            | EventKind::Vendor => None,
        }
    }

    /// Checks the body of an event of this kind.
    ///
    /// # Errors
    /// A sentence that names the field and what was expected.
    pub fn check(self, body: &RawValue) -> Result<(), String> {
        if !body.get().starts_with('{') {
            return Err("body: expected an object".into());
        }
        match self {
            EventKind::Log => shape::<Log>(body).map(drop),
            EventKind::Thought => shape::<Thought>(body).map(drop),
            EventKind::ToolCall => shape::<ToolCall>(body).map(drop),
            EventKind::ToolResult => shape::<ToolResult>(body)?.check(),
            EventKind::Status => shape::<Status>(body).map(drop),
            EventKind::Metric => shape::<Metric>(body).map(drop),
            EventKind::ArtifactRef => shape::<ArtifactRef>(body).map(drop),
            EventKind::Delegate => shape::<Delegate>(body).map(drop),
            EventKind::Progress => shape::<Progress>(body)?.check(),
            EventKind::ResultChunk => shape::<ResultChunk>(body).map(drop),
            EventKind::TraceSpan => shape::<TraceSpan>(body).map(drop),
            EventKind::Vendor => shape::<serde_json::Map<String, serde_json::Value>>(body).map(drop),
        }
    }
}

fn shape<'a, T: Deserialize<'a>>(body: &'a RawValue) -> Result<T, String> {
    // The path to the wrong field is looked for only when there is one.
    serde_json::from_str(body.get()).or_else(|_| {
        let mut json = serde_json::Deserializer::from_str(body.get());
        serde_path_to_error::deserialize(&mut json).map_err(|error| wrong("body", &error))
    })
}

fn is_vendor(name: &str) -> bool {
    name.len() <= 128
        && name.strip_prefix("x-").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        })
}

/// Body of `log` (§8.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// `debug`, `info`, `warn`, `error`; free text.
    pub level: String,
    /// What there is to say.
    pub message: String,
}

/// Body of `thought` (§8.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Thought {
    /// The agent's reasoning.
    pub text: String,
}

/// Body of `tool_call` (§8.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub args: serde_json::Value,
    /// Joins the call and its result.
    pub call_id: String,
}

/// Body of `tool_result` (§8.2): a result or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    { "properties": { "result": { "type": "null" } } },
    { "properties": { "error": { "type": "null" } } },
]))]
pub struct ToolResult {
    /// The call that is answered.
    pub call_id: String,
    /// What the tool returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

impl ToolResult {
    fn check(self) -> Result<(), String> {
        match (&self.result, &self.error) {
            (Some(_), Some(_)) => Err("body: expected result or error, got both".into()),
            (_, None) | (None, Some(_)) => Ok(()),
        }
    }
}

/// Body of `status` (§8.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// What the job is at; `back_pressure` is the daemon's own (§6.5).
    pub phase: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Body of `metric` (§8.2). Values are passed on as the text that the agent wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// What is measured; `cost.…` is money (§9.6).
    pub name: String,
    /// How much.
    pub value: serde_json::Number,
    /// In what unit; a currency for money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Body of `artifact_ref` (§8.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactRef {
    /// Where it is.
    pub uri: String,
    /// What it is.
    pub content_type: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_size: Option<u64>,
    /// Its SHA-256 in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Body of `delegate` (§10, and our decision 16).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delegate {
    /// Names the delegation.
    pub delegate_id: String,
    /// The child, once it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_job_id: Option<String>,
    /// Who is asked.
    pub agent: String,
}

/// Body of `progress` (§8.2.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// How far; not negative.
    #[schemars(range(min = 0.0))]
    pub current: f64,
    /// Of how much; absent when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub total: Option<f64>,
    /// Of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<String>,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Progress {
    fn check(self) -> Result<(), String> {
        for (field, number) in [("current", Some(self.current)), ("total", self.total)] {
            if let Some(number) = number.filter(|number| !number.is_finite() || *number < 0.0) {
                return Err(format!("body.{field}: expected a non-negative number, got {number}"));
            }
        }
        Ok(())
    }
}

/// How a chunk's data is written (§8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChunkEncoding {
    /// Text as it is.
    Utf8,
    /// Bytes as standard base64 with padding.
    Base64,
}

/// Body of `result_chunk` (§8.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResultChunk {
    /// The result; made by the daemon.
    pub result_id: ResultId,
    /// 0, 1, 2 … per result.
    pub chunk_seq: u64,
    /// The piece.
    pub data: String,
    /// How it is written.
    pub encoding: ChunkEncoding,
    /// Whether another follows.
    pub more: bool,
}

/// Body of `trace_span`: a piece of work in the sense of §11, for whoever draws traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceSpan {
    /// 16 hex digits, by convention.
    pub span_id: String,
    /// What was done.
    pub name: String,
    /// The span that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<serde_json::Map<String, serde_json::Value>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, body: &str) -> Result<(), String> {
        let raw = RawValue::from_string(body.into()).unwrap();
        EventKind::parse(kind).ok_or_else(|| format!("no kind {kind}"))?.check(&raw)
    }

    #[test]
    fn bodies_are_checked_and_unknown_fields_pass() {
        for (kind, body) in [
            ("log", r#"{"level":"info","message":"x","more":1}"#),
            ("progress", r#"{"current":0}"#),
            ("tool_result", r#"{"call_id":"c","result":{"ok":true}}"#),
            ("metric", r#"{"name":"cost.x","value":0.1000}"#),
            (
                "trace_span",
                r#"{"span_id":"00f067aa0ba902b7","name":"plan","start_at":"2026-01-01T00:00:00Z"}"#,
            ),
            ("x-vendor.thing", r#"{"a":1}"#),
        ] {
            assert_eq!(check(kind, body), Ok(()), "{kind}");
        }
        for (kind, body, names) in [
            ("log", r#"{"level":"info"}"#, "body: missing field `message`"),
            ("progress", r#"{"current":-1}"#, "current"),
            ("progress", r#"{"current":"1"}"#, "current"),
            ("progress", r#"{"current":1,"total":-2}"#, "body.total"),
            (
                "tool_result",
                r#"{"call_id":"c","result":1,"error":{"code":"CANCELLED","message":"m","retryable":false}}"#,
                "both",
            ),
            ("trace_span", r#"{"name":"plan"}"#, "span_id"),
            ("x-vendor", "[]", "body"),
            ("log", r#"["info","a list is no object"]"#, "body"),
            ("x-", "{}", "no kind"),
            ("banana", "{}", "no kind"),
        ] {
            assert!(check(kind, body).unwrap_err().contains(names), "{kind} {body}");
        }
    }
}
