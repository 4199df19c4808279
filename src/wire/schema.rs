//! The JSON Schemas of every message and event body, as they are written to `schemas/`.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::json;

use super::{agent_port, event, job, lease, session};

/// A schema and the file it belongs in, below `schemas/`.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaFile {
    /// Its path below `schemas/`.
    pub path: String,
    /// Its text, as JSON with a line end.
    pub text: String,
}

/// Every schema of the wire (§5–§9): `client/` and `runtime/` envelopes by message type, `event/` bodies by kind,
/// `agent/` lines of the agent port.
pub fn all() -> Vec<SchemaFile> {
    let mut files = Vec::new();
    let mut envelope = |from: &str, kind: &str, numbered: bool, payload: Schema| {
        files.push(file(&format!("{from}/{kind}.json"), &envelope_schema(from, kind, numbered, &payload)));
    };
    envelope("client", "session.hello", false, of::<session::Hello>());
    envelope("client", "session.resume", false, of::<session::ResumeRequest>());
    envelope("client", "session.ping", false, of::<session::Ping>());
    envelope("client", "session.pong", false, of::<session::Pong>());
    envelope("client", "session.ack", false, of::<session::Ack>());
    envelope("client", "session.list_jobs", false, of::<session::ListJobs>());
    envelope("client", "session.close", false, of::<session::Close>());
    envelope("client", "job.submit", false, of::<job::Submit>());
    envelope("client", "job.cancel", false, of::<job::Cancel>());
    envelope("client", "job.subscribe", false, of::<job::Subscribe>());
    envelope("client", "job.unsubscribe", false, of::<job::Unsubscribe>());
    envelope("runtime", "session.welcome", false, of::<session::Welcome>());
    envelope("runtime", "session.error", false, of::<session::SessionError>());
    envelope("runtime", "session.ping", false, of::<session::Ping>());
    envelope("runtime", "session.pong", false, of::<session::Pong>());
    envelope("runtime", "session.jobs", false, of::<session::Jobs>());
    envelope("runtime", "session.closed", false, of::<session::Closed>());
    envelope("runtime", "job.accepted", false, of::<job::Accepted>());
    envelope("runtime", "job.cancelled", false, of::<job::Cancelled>());
    envelope("runtime", "job.subscribed", false, of::<job::Subscribed>());
    envelope("runtime", "job.event", true, of::<event::Event>());
    envelope("runtime", "job.result", true, of::<job::JobResult>());
    envelope("runtime", "job.error", true, of::<job::JobError>());
    let mut body = |path: &str, schema: Schema| files.push(file(path, schema.as_value()));
    body("event/log.json", of::<event::Log>());
    body("event/thought.json", of::<event::Thought>());
    body("event/tool_call.json", of::<event::ToolCall>());
    body("event/tool_result.json", of::<event::ToolResult>());
    body("event/status.json", of::<event::Status>());
    body("event/metric.json", of::<event::Metric>());
    body("event/artifact_ref.json", of::<event::ArtifactRef>());
    body("event/delegate.json", of::<event::Delegate>());
    body("event/progress.json", of::<event::Progress>());
    body("event/result_chunk.json", of::<event::ResultChunk>());
    body("lease.json", of::<lease::Lease>());
    body("lease_constraints.json", of::<lease::LeaseConstraints>());
    body("agent/job.start.json", of::<agent_port::JobStart>());
    body("agent/job.cancel.json", of::<agent_port::JobStop>());
    body("agent/agent.hello.json", of::<agent_port::AgentHello>());
    body("agent/agent.welcome.json", of::<agent_port::AgentWelcome>());
    body("agent/job.event.json", of::<agent_port::PortEvent>());
    body("agent/result_chunk.json", of::<agent_port::PortChunk>());
    body("agent/job.result.json", of::<agent_port::PortResult>());
    body("agent/job.error.json", of::<agent_port::PortError>());
    body("agent/op.request.json", of::<agent_port::OpRequest>());
    body("agent/op.result.json", of::<agent_port::OpResult>());
    body("agent/ping.json", of::<agent_port::Beat>());
    files
}

fn of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    SchemaGenerator::new(settings).into_root_schema_for::<T>()
}

fn envelope_schema(from: &str, kind: &str, numbered: bool, payload: &Schema) -> serde_json::Value {
    let mut payload = payload.clone();
    payload.remove("$schema");
    let text = json!({ "type": "string", "minLength": 1 });
    let mut required = vec!["arcp", "id", "type", "payload"];
    let mut properties = json!({
        "arcp": { "const": super::envelope::VERSION },
        "id": text, "type": { "const": kind }, "session_id": text, "job_id": text,
        "trace_id": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
        "payload": payload,
    });
    if from == "runtime" {
        required.push("session_id");
    }
    if numbered {
        required.extend(["job_id", "event_seq"]);
        properties["event_seq"] = json!({ "type": "integer", "minimum": 1 });
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("{kind} from the {from}"),
        "type": "object", "properties": properties, "required": required,
    })
}

fn file(path: &str, schema: &serde_json::Value) -> SchemaFile {
    // A serde_json::Value always has a text.
    let text = serde_json::to_string_pretty(schema).unwrap_or_default();
    SchemaFile { path: path.into(), text: text + "\n" }
}
