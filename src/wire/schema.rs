//! The JSON Schemas of every message and event body, as they are written to `schemas/`.
//!
//! They tell other languages what this runtime takes and writes in the canonical encoding. What a client sends may
//! have nulls and less than everything; what the runtime writes has every field that it promises, and no null where
//! a field can be left out. Unknown fields are open everywhere (§5).

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::id::{JobId, MessageId, SessionId, TraceId};
use super::limits::ID_CHARS;
use super::{agent_port, api, error, event, extension, job, lease, session};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema and the file it belongs in, below `schemas/`.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaFile {
    /// Its path below `schemas/`.
    pub path: String,
    /// Its text, as JSON with a line end.
    pub text: String,
}

/// Every schema of the wire (§5–§9): `client/` and `runtime/` envelopes by message type, `event/` bodies by kind,
/// `agent/` lines of the agent port by type, the lease and its constraints; and `api/`, the operators' door.
pub fn all() -> Vec<SchemaFile> {
    let mut files = Vec::new();
    files.extend(client());
    files.extend(runtime());
    files.extend(events());
    files.extend(agents());
    files.extend(operators());
    files.push(file("lease", &root(read::<lease::Lease>())));
    files.push(file("lease_constraints", &root(read::<lease::LeaseConstraints>())));
    files
}

fn client() -> Vec<SchemaFile> {
    let file = |kind: &str, payload: Value| file(&format!("client/{kind}"), &client_envelope(kind, payload));
    vec![
        file("session.hello", read::<session::Hello>()),
        file("session.resume", read::<session::ResumeRequest>()),
        file("session.ping", read::<session::Ping>()),
        file("session.pong", read::<session::Pong>()),
        file("session.ack", read::<session::Ack>()),
        file("session.list_jobs", read::<session::ListJobs>()),
        file("session.close", read::<session::Close>()),
        file("session.bye", read::<session::Close>()),
        file("job.submit", read::<job::Submit>()),
        file("job.cancel", read::<job::Cancel>()),
        file("job.subscribe", read::<job::Subscribe>()),
        file("job.unsubscribe", read::<job::Unsubscribe>()),
        file("x-arcpd.follow", read::<extension::Follow>()),
        file("x-arcpd.unfollow", read::<extension::Unfollow>()),
    ]
}

fn runtime() -> Vec<SchemaFile> {
    let file =
        |kind: &str, payload: Value| file(&format!("runtime/{kind}"), &runtime_envelope(kind, payload));
    vec![
        file("session.welcome", written::<session::Welcome>()),
        file("session.error", written::<session::SessionError>()),
        file("session.ping", written::<session::Ping>()),
        file("session.pong", written::<session::Pong>()),
        file("session.jobs", written::<session::Jobs>()),
        file("session.closed", written::<session::Closed>()),
        file("job.accepted", written::<job::Accepted>()),
        file("job.cancelled", written::<job::Cancelled>()),
        file("job.subscribed", written::<job::Subscribed>()),
        file("job.event", written::<event::Event>()),
        file("job.result", written::<job::JobResult>()),
        file("job.error", written::<job::JobError>()),
        file("x-arcpd.following", written::<extension::Following>()),
    ]
}

/// Bodies go through as the agent wrote them, nulls included.
fn events() -> Vec<SchemaFile> {
    let file = |kind: &str, body: Value| file(&format!("event/{kind}"), &root(body));
    vec![
        file("log", read::<event::Log>()),
        file("thought", read::<event::Thought>()),
        file("tool_call", read::<event::ToolCall>()),
        file("tool_result", read::<event::ToolResult>()),
        file("status", read::<event::Status>()),
        file("metric", read::<event::Metric>()),
        file("artifact_ref", read::<event::ArtifactRef>()),
        file("delegate", read::<event::Delegate>()),
        file("progress", read::<event::Progress>()),
        file("result_chunk", read::<event::ResultChunk>()),
        file("trace_span", read::<event::TraceSpan>()),
    ]
}

fn agents() -> Vec<SchemaFile> {
    let line = |kind: &str, from: &str, payload: Value| {
        let schema = json!({
            "$schema": DIALECT,
            "title": format!("{kind} from the {from}"),
            "type": "object",
            "properties": { "type": { "const": kind }, "payload": payload },
            "required": ["type", "payload"],
        });
        file(&format!("agent/{kind}"), &schema)
    };
    vec![
        line("agent.hello", "agent", read::<agent_port::AgentHello>()),
        line("agent.welcome", "daemon", written::<agent_port::AgentWelcome>()),
        line("job.start", "daemon", written::<agent_port::JobStart>()),
        line("job.cancel", "daemon", written::<agent_port::JobStop>()),
        line("job.event", "agent", read::<agent_port::PortEvent>()),
        line("job.result", "agent", read::<agent_port::PortResult>()),
        line("job.error", "agent", read::<agent_port::PortError>()),
        line("op.request", "agent", read::<agent_port::OpRequest>()),
        line("op.result", "daemon", written::<agent_port::OpResult>()),
        line("ping", "agent", read::<agent_port::Beat>()),
        line("pong", "agent or the daemon", read::<agent_port::Beat>()),
        file("agent/result_chunk", &root(read::<agent_port::PortChunk>())),
    ]
}

fn operators() -> Vec<SchemaFile> {
    let file = |name: &str, schema: Value| file(&format!("api/{name}"), &root(schema));
    vec![
        file("status", written::<api::DaemonStatus>()),
        file("sessions", written::<api::SessionPage>()),
        file("session", written::<api::SessionDetail>()),
        file("jobs", written::<api::JobPage>()),
        file("job", written::<api::JobDetail>()),
        file("cancel_request", read::<api::CancelRequest>()),
        file("cancelled", written::<api::CancelRecorded>()),
        file("store", written::<api::StoreStatus>()),
        file("limits", written::<api::LimitList>()),
        file("error", written::<error::ErrorBody>()),
    ]
}

/// The shape of what is read.
fn read<T: JsonSchema>() -> Value {
    of::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The shape of what is written: optional fields are left out rather than null.
fn written<T: JsonSchema>() -> Value {
    let mut schema = of::<T>(SchemaSettings::draft2020_12().for_serialize());
    each_object(&mut schema, &mut left_out_rather_than_null);
    schema
}

fn of<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    each_object(&mut schema, &mut |object| {
        // Rust's names of number types are no formats, and strict validators refuse what they do not know.
        if object.get("format").is_some_and(|format| format != "date-time") {
            object.remove("format");
        }
    });
    if let Value::Object(object) = &mut schema {
        object.remove("$schema");
    }
    schema
}

fn root(mut schema: Value) -> Value {
    if let Value::Object(object) = &mut schema {
        object.insert("$schema".into(), DIALECT.into());
    }
    schema
}

fn each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| each_object(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| each_object(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn left_out_rather_than_null(object: &mut Map<String, Value>) {
    let required = object.get("required").cloned().unwrap_or_default();
    let required = |name: &str| required.as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
    for (_, property) in properties.iter_mut().filter(|(name, _)| !required(name)) {
        let Value::Object(property) = property else { continue };
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                property.insert("type".into(), only);
            }
        }
        let Some(Value::Array(choices)) = property.get_mut("anyOf") else { continue };
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = choices.as_mut_slice() {
            let only = std::mem::take(only);
            property.remove("anyOf");
            for (key, value) in only {
                property.entry(key).or_insert(value);
            }
        }
    }
}

fn client_envelope(kind: &str, payload: Value) -> Value {
    let text = |description: &str| json!({ "type": ["string", "null"], "minLength": 1, "maxLength": ID_CHARS, "description": description });
    let mut schema = json!({
        "$schema": DIALECT,
        "title": format!("{kind} from the client"),
        "type": "object",
        "properties": {
            "arcp": { "const": super::envelope::VERSION, "description": "The protocol version." },
            "id": {
                "type": "string", "minLength": 1, "maxLength": ID_CHARS, "pattern": "^[^\\p{Cc}]*$",
                "description": "Names the message; answers refer to it. Another one for every message of a session.",
            },
            "type": { "const": kind },
            "session_id": text("The session; checked where given."),
            "job_id": text("The job, where the payload does not name it."),
            "trace_id": {
                "type": ["string", "null"],
                "pattern": "^([0-9a-fA-F]{32}|.{2}-[0-9a-fA-F]{32}-.{19})$",
                "description": "The caller's trace: 32 hex digits, or a W3C traceparent.",
            },
            "event_seq": { "type": "null", "description": "Only the runtime numbers messages." },
            "payload": payload,
        },
        "required": ["arcp", "id", "type", "payload"],
    });
    if matches!(kind, "job.cancel" | "job.subscribe" | "job.unsubscribe") {
        let named = json!({ "properties": { "job_id": { "type": "string" } }, "required": ["job_id"] });
        schema["anyOf"] = json!([{ "properties": { "payload": named } }, named]);
    }
    schema
}

fn runtime_envelope(kind: &str, payload: Value) -> Value {
    let mut required = vec!["arcp", "id", "type", "session_id", "payload"];
    if kind.starts_with("job.") {
        required.push("job_id");
    }
    let numbered = matches!(kind, "job.event" | "job.result" | "job.error");
    let event_seq = if numbered {
        required.push("event_seq");
        json!({ "type": "integer", "minimum": 1, "description": "The place in the session's stream; without gaps." })
    } else {
        json!(false)
    };
    json!({
        "$schema": DIALECT,
        "title": format!("{kind} from the runtime"),
        "type": "object",
        "properties": {
            "arcp": { "const": super::envelope::VERSION, "description": "The protocol version." },
            "id": read::<MessageId>(),
            "type": { "const": kind },
            "session_id": read::<SessionId>(),
            "job_id": read::<JobId>(),
            "trace_id": read::<TraceId>(),
            "event_seq": event_seq,
            "payload": payload,
        },
        "required": required,
    })
}

/// A resume names its token by one of two names.
pub(super) fn either_token(schema: &mut Schema) {
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| name != "resume_token");
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(
            "token".into(),
            json!({ "type": "string", "description": "`resume_token` by another name." }),
        );
    }
    let needs = |name: &str| json!({ "required": [name] });
    schema.insert("oneOf".into(), json!([needs("resume_token"), needs("token")]));
}

fn file(path: &str, schema: &Value) -> SchemaFile {
    // A serde_json::Value always has a text.
    let text = serde_json::to_string_pretty(schema).unwrap_or_default();
    SchemaFile { path: format!("{path}.json"), text: text + "\n" }
}
