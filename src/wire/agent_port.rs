//! The agent port: what an agent and the daemon say to one another, one JSON object a line.
//!
//! `docs/agent-port.md` tells it to people who write agents; ARCP itself leaves this side open.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::agent_ref::AgentRef;
use super::error::{ErrorBody, ErrorCode};
use super::event::ChunkEncoding;
use super::id::{JobId, TraceId};
use super::lease::{Lease, LeaseConstraints};
use super::limits::Limits;
use super::object::{words, wrong};
use super::time::Timestamp;

/// The limits that an agent has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortLimits {
    /// Longest line, in bytes.
    pub line_bytes: usize,
    /// Largest chunk of a result, in decoded bytes.
    pub chunk_bytes: usize,
    /// Largest inline result, in bytes of JSON; a larger one is streamed by the daemon.
    pub inline_result_bytes: usize,
}

impl PortLimits {
    /// The part of the daemon's limits that agents are told.
    pub fn of(limits: &Limits) -> Self {
        PortLimits {
            line_bytes: limits.agent_line_bytes,
            chunk_bytes: limits.chunk_bytes,
            inline_result_bytes: limits.inline_result_bytes,
        }
    }
}

/// `job.start`: everything that an agent is told about its job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobStart {
    /// The job.
    pub job_id: JobId,
    /// `name@version`.
    pub agent: AgentRef,
    /// 1 for the first execution.
    pub attempt: u32,
    /// Fences this execution; a child that serves one job need not repeat it.
    pub fencing_token: String,
    /// The input, null when there was none.
    #[schemars(with = "serde_json::Value")]
    pub input: Box<RawValue>,
    /// What the job may do.
    pub lease: Lease,
    /// What bounds the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// When the job will be ended, by `max_runtime_sec` or the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The caller's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// What the agent has to keep to.
    pub limits: PortLimits,
}

/// `job.cancel`: the agent is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStop {
    /// Why.
    pub reason: String,
    /// When it will be ended by force.
    pub deadline: Timestamp,
}

/// `agent.hello`: who speaks. Optional for a child that serves one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentHello {
    /// The agent's name.
    pub name: String,
    /// Its versions.
    #[serde(default)]
    pub versions: Vec<String>,
}

/// `agent.welcome`: the answer to `agent.hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentWelcome {
    /// What the agent has to keep to.
    pub limits: PortLimits,
}

/// `job.event`: something to tell the observers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PortEvent {
    /// A kind of §8.2, or `x-…`.
    #[schemars(regex(pattern = super::event::KINDS))]
    pub kind: String,
    /// The kind's body.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub body: Box<RawValue>,
}

/// Body of a `result_chunk` as an agent sends it: the daemon adds `result_id` and `chunk_seq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortChunk {
    /// The piece.
    pub data: String,
    /// How it is written.
    pub encoding: ChunkEncoding,
    /// Whether another follows; when left out, the result's end closes the stream.
    #[serde(default = "yes")]
    pub more: bool,
}

fn yes() -> bool {
    true
}

/// `job.result`: the job is done.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct PortResult {
    /// The result, any JSON; left out when it was sent in chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub result: Option<Box<RawValue>>,
    /// A word about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// `job.error`: the job failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortError {
    /// One of the codes of §12; `INTERNAL_ERROR` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What happened.
    pub message: String,
    /// Whether trying again may help; the code's own answer when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
}

/// `op.request`: an operation that needs authority. No operation is offered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpRequest {
    /// Joins request and result.
    pub call_id: String,
    /// The operation.
    pub op: String,
}

/// `op.result`: the answer to `op.request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpResult {
    /// The request's.
    pub call_id: String,
    /// Why it was refused.
    pub error: ErrorBody,
}

/// `ping` and `pong`: liveness on the work stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Beat {
    /// Comes back.
    pub nonce: String,
}

/// A message of an agent.
#[derive(Debug, Clone)]
pub enum AgentMessage {
    /// `agent.hello`
    Hello(AgentHello),
    /// `job.event`
    Event(PortEvent),
    /// `job.result`
    Result(PortResult),
    /// `job.error`
    Error(PortError),
    /// `op.request`
    Op(OpRequest),
    /// `ping`
    Ping(Beat),
    /// `pong`
    Pong(Beat),
}

/// A message to an agent.
#[derive(Debug, Clone)]
pub enum DaemonMessage {
    /// `agent.welcome`
    Welcome(AgentWelcome),
    /// `job.start`
    Start(JobStart),
    /// `job.cancel`
    Cancel(JobStop),
    /// `op.result`
    OpResult(OpResult),
    /// `pong`
    Pong(Beat),
}

/// A line of an agent that breaks the contract, in words for whoever wrote the agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent broke the port contract: {0}")]
pub struct BrokenContract(pub String);

/// Characters of a line that are shown when it is no message.
const EXCERPT_CHARS: usize = 80;

impl BrokenContract {
    /// The same, with the number of the line on the agent's stdout.
    #[must_use]
    pub fn at_line(self, number: u64) -> Self {
        BrokenContract(format!("line {number} of its stdout: {}", self.0))
    }
}

/// A line that is no message at all is mostly a stray `print`.
fn no_message(line: &[u8], why: &dyn std::fmt::Display) -> BrokenContract {
    let mut chars = line.utf8_chunks().flat_map(|chunk| {
        let wrong = chunk.invalid().iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from);
        chunk.valid().chars().flat_map(char::escape_debug).chain(wrong)
    });
    let start: String = chars.by_ref().take(EXCERPT_CHARS).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    BrokenContract(format!(
        "expected a JSON object with type and payload, got \"{start}\"{more} ({why}); debugging output belongs on \
         stderr"
    ))
}

impl AgentMessage {
    /// Reads one line.
    ///
    /// # Errors
    /// [`BrokenContract`] naming the field and what was expected.
    pub fn parse(line: &[u8], limits: &Limits) -> Result<Self, BrokenContract> {
        #[derive(Deserialize)]
        struct Outer<'a> {
            r#type: String,
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        let text =
            std::str::from_utf8(line).map_err(|error| no_message(line, &format!("not UTF-8: {error}")))?;
        if super::frame::too_deep(line, limits.json_depth) {
            return Err(BrokenContract(format!(
                "a line nests deeper than {} arrays and objects",
                limits.json_depth
            )));
        }
        let outer: Outer<'_> =
            serde_json::from_str(text).map_err(|error| no_message(line, &words(&error)))?;
        let payload = outer.payload;
        Ok(match outer.r#type.as_str() {
            "agent.hello" => AgentMessage::Hello(field(payload)?),
            "job.event" => AgentMessage::Event(field(payload)?),
            "job.result" => {
                AgentMessage::Result(PortResult { result: explicit_result(payload)?, ..field(payload)? })
            }
            "job.error" => AgentMessage::Error(field(payload)?),
            "op.request" => AgentMessage::Op(field(payload)?),
            "ping" => AgentMessage::Ping(field(payload)?),
            "pong" => AgentMessage::Pong(field(payload)?),
            other => {
                let other: String = other.chars().take(64).collect();
                return Err(BrokenContract(format!(
                    "type: no message {other:?} goes from an agent to the daemon"
                )));
            }
        })
    }
}

/// A `result` of null is a result; a missing one is none. An `Option` alone could not tell them apart.
fn explicit_result(payload: &RawValue) -> Result<Option<Box<RawValue>>, BrokenContract> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(payload.get()).map_err(|e| BrokenContract(format!("payload: {}", words(&e))))?;
    Ok(fields.get("result").map(|raw| (*raw).to_owned()))
}

fn field<'a, T: Deserialize<'a>>(payload: &'a RawValue) -> Result<T, BrokenContract> {
    let mut json = serde_json::Deserializer::from_str(payload.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| BrokenContract(wrong("payload", &error)))
}

impl DaemonMessage {
    /// The message as one line, with its end.
    pub fn to_line(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Outer<'a, T> {
            r#type: &'a str,
            payload: &'a T,
        }
        fn line<T: Serialize>(r#type: &str, payload: &T) -> Vec<u8> {
            let mut line = super::encode::json(&Outer { r#type, payload });
            line.push(b'\n');
            line
        }
        match self {
            DaemonMessage::Welcome(payload) => line("agent.welcome", payload),
            DaemonMessage::Start(payload) => line("job.start", payload),
            DaemonMessage::Cancel(payload) => line("job.cancel", payload),
            DaemonMessage::OpResult(payload) => line("op.result", payload),
            DaemonMessage::Pong(payload) => line("pong", payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<AgentMessage, String> {
        AgentMessage::parse(line.as_bytes(), &Limits::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_null_result_is_a_result_and_a_missing_one_is_none() {
        for (payload, text) in
            [(r#"{"result":null}"#, Some("null")), ("{}", None), (r#"{"result":[1]}"#, Some("[1]"))]
        {
            let line = format!(r#"{{"type":"job.result","payload":{payload}}}"#);
            let Ok(AgentMessage::Result(result)) = parse(&line) else { panic!("{line}") };
            assert_eq!(result.result.as_deref().map(RawValue::get), text);
        }
    }

    #[test]
    fn a_stray_print_is_shown_and_sent_to_stderr() {
        for (line, names) in [
            ("hello \"you\"\t", r#"got "hello \"you\"\t" ("#),
            (&"é".repeat(90), &format!("\"{}\"… (", "é".repeat(80))),
            ("", r#"got "" ("#),
        ] {
            let told = parse(line).unwrap_err();
            assert!(told.contains(names) && told.contains("belongs on stderr"), "{told}");
        }
        let told = AgentMessage::parse(b"a\xffb", &Limits::default()).unwrap_err().at_line(7).to_string();
        assert!(told.contains("line 7 of its stdout") && told.contains(r#""a\xffb" (not UTF-8"#), "{told}");
    }

    #[test]
    fn the_place_of_a_mistake_is_a_path() {
        for (line, told) in [
            (r#"{"type":"job.event","payload":{"kind":"log"}}"#, "payload: missing field `body`"),
            (r#"{"type":"job.error","payload":{"message":7}}"#, "payload.message: invalid type"),
            (
                r#"{"type":"agent.hello","payload":{"name":"a","versions":[1]}}"#,
                "payload.versions[0]: invalid",
            ),
            (r#"{"type":"ping","payload":7}"#, "payload: invalid type"),
        ] {
            let got = parse(line).unwrap_err();
            assert!(got.contains(told) && !got.contains("column"), "{got}");
        }
    }

    #[test]
    fn what_breaks_the_contract_is_named() {
        for (line, names) in [
            ("hello", "JSON object"),
            ("[]", "JSON object"),
            (r#"{"type":"job.event"}"#, "payload"),
            (r#"{"type":"job.fly","payload":{}}"#, "job.fly"),
            (r#"{"type":"job.event","payload":{"kind":7}}"#, "payload.kind"),
            (r#"{"type":"job.error","payload":{}}"#, "message"),
        ] {
            assert!(parse(line).unwrap_err().contains(names), "{line}: {}", parse(line).unwrap_err());
        }
    }
}
