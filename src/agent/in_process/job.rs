//! The job as the function of an agent sees it: what it is asked, and how it tells what it does.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::coop::consume_budget;

use super::chunk::ChunkSize;
use super::{AgentError, Outcome};
use crate::agent::{JobPort, PortClosed, StopSignal};
use crate::wire::agent_port::{AgentMessage, BrokenContract, JobStart, JobStop, PortEvent};
use crate::wire::agent_ref::AgentRef;
use crate::wire::error::ErrorBody;
use crate::wire::event::ChunkEncoding;
use crate::wire::id::{JobId, TraceId};
use crate::wire::lease::{Lease, LeaseConstraints};
use crate::wire::limits::Limits;
use crate::wire::object::wrong;
use crate::wire::time::Timestamp;

/// One attempt of a job. Cheap to clone, so that parts of an agent's work can tell what they do.
///
/// Everything that is told waits until the daemon can take it, which is how an agent is slowed down to what its
/// observers can follow, and fails with [`PortClosed`] once nothing more is wanted; `?` then ends the function.
///
/// ```
/// use arcpd::agent::in_process::{AgentError, Job, Outcome};
///
/// async fn count(job: Job) -> Result<Outcome, AgentError> {
///     let lines: Vec<String> = job.input()?;
///     for (done, line) in lines.iter().enumerate() {
///         if job.is_stopped() {
///             return Err(AgentError::cancelled());
///         }
///         job.progress(done as u64, Some(lines.len() as u64), None).await?;
///         job.chunk_text(&format!("{}\n", line.len())).await?;
///     }
///     Ok(job.finish_chunks(format!("counted {} lines", lines.len())))
/// }
/// ```
#[derive(Clone)]
pub struct Job(Arc<Inner>);

struct Inner {
    start: JobStart,
    port: Arc<dyn JobPort>,
    stop: StopSignal,
    chunk: ChunkSize,
}

impl Job {
    pub(super) fn new(start: JobStart, port: Arc<dyn JobPort>, stop: StopSignal, limits: &Limits) -> Self {
        let chunk = ChunkSize::of(start.limits.chunk_bytes, limits);
        Job(Arc::new(Inner { start, port, stop, chunk }))
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.0.start.job_id
    }

    /// The agent and the version that was asked for.
    pub fn agent(&self) -> &AgentRef {
        &self.0.start.agent
    }

    /// Which execution of the job this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.0.start.attempt
    }

    /// The input.
    ///
    /// # Errors
    /// `INVALID_REQUEST` naming the field and what was expected, when the input is no `T`.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        let mut json = serde_json::Deserializer::from_str(self.0.start.input.get());
        serde_path_to_error::deserialize(&mut json)
            .map_err(|error| AgentError::invalid(wrong("input", &error)))
    }

    /// The input, or the default when it is null or there was none.
    ///
    /// # Errors
    /// As [`input`](Self::input).
    pub fn input_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, AgentError> {
        if self.raw_input().get() == "null" { Ok(T::default()) } else { self.input() }
    }

    /// The input as the JSON text that the client sent; `null` when there was none.
    pub fn raw_input(&self) -> &RawValue {
        &self.0.start.input
    }

    /// What the job may do (§9).
    pub fn lease(&self) -> &Lease {
        &self.0.start.lease
    }

    /// What bounds the lease as a whole (§9.5).
    pub fn lease_constraints(&self) -> Option<&LeaseConstraints> {
        self.0.start.lease_constraints.as_ref()
    }

    /// When the job will be ended, if anything limits it.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.start.deadline
    }

    /// The caller's trace (§11).
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.start.trace_id
    }

    /// Waits until the job is to stop; for `tokio::select!`. The function may then tidy up and say its last words
    /// until the deadline that comes back.
    pub async fn stopped(&self) -> JobStop {
        self.0.stop.clone().stopped().await.said
    }

    /// Whether the job is to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.stop.is_stopped()
    }

    /// Tells an event of any kind of §8.2, or of a kind of one's own, `x-…`. Its body is written once, as an object.
    ///
    /// # Errors
    /// [`PortClosed`] when nothing more is wanted of this attempt, or when the body is none.
    pub async fn event(&self, kind: &str, body: impl Serialize) -> Result<(), PortClosed> {
        let body = to_raw_value(&body).map_err(|error| {
            BrokenContract(format!("the body of {kind} cannot be written as JSON: {error}"))
        })?;
        // An agent that only tells events must still let other tasks run, and be abortable.
        consume_budget().await;
        self.0.port.ready().await;
        self.0.port.deliver(AgentMessage::Event(PortEvent { kind: kind.into(), body }))
    }

    /// Tells a line of the job's log; `level` is `debug`, `info`, `warn` or `error`.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn log(&self, level: &str, message: &str) -> Result<(), PortClosed> {
        self.event("log", Log { level, message }).await
    }

    /// Tells a piece of the agent's reasoning.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn thought(&self, text: &str) -> Result<(), PortClosed> {
        self.event("thought", Thought { text }).await
    }

    /// Tells how far the job is, and of how much where that is known. For fractions and units, see
    /// [`event`](Self::event).
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn progress(
        &self,
        current: u64,
        total: Option<u64>,
        message: Option<&str>,
    ) -> Result<(), PortClosed> {
        self.event("progress", Progress { current, total, message }).await
    }

    /// Tells what the job is at.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn status(&self, phase: &str, message: Option<&str>) -> Result<(), PortClosed> {
        self.event("status", Status { phase, message }).await
    }

    /// Tells a measurement. A name that begins with `cost.` and a currency as unit is money (§9.6): to tell an exact
    /// amount, give the value as a [`RawValue`] of its decimal digits; it is passed on as it is.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn metric(
        &self,
        name: &str,
        value: impl Serialize,
        unit: Option<&str>,
    ) -> Result<(), PortClosed> {
        self.event("metric", Metric { name, value, unit }).await
    }

    /// Tells that a tool is called; `call_id` joins the call and its result.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn tool_call(&self, tool: &str, args: impl Serialize, call_id: &str) -> Result<(), PortClosed> {
        self.event("tool_call", ToolCall { tool, args, call_id }).await
    }

    /// Tells what a tool returned.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn tool_result(&self, call_id: &str, result: impl Serialize) -> Result<(), PortClosed> {
        self.event("tool_result", ToolReturned { call_id, result }).await
    }

    /// Tells why a tool returned nothing.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn tool_error(&self, call_id: &str, error: &ErrorBody) -> Result<(), PortClosed> {
        self.event("tool_result", ToolFailed { call_id, error }).await
    }

    /// Tells where something that the job made is, its size in bytes and its SHA-256 in hex.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn artifact(
        &self,
        uri: &str,
        content_type: &str,
        byte_size: Option<u64>,
        sha256: Option<&str>,
    ) -> Result<(), PortClosed> {
        self.event("artifact_ref", Artifact { uri, content_type, byte_size, sha256 }).await
    }

    /// Streams a piece of a result that is text. It is cut into as many chunks as it takes for each to keep to the
    /// chunk limit and, with what JSON has to escape, to fit into a frame; an empty piece makes no chunk.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn chunk_text(&self, mut text: &str) -> Result<(), PortClosed> {
        while !text.is_empty() {
            let (data, rest) = text.split_at(self.0.chunk.text(text));
            self.event("result_chunk", Chunk { data, encoding: ChunkEncoding::Utf8, more: true }).await?;
            text = rest;
        }
        Ok(())
    }

    /// Streams a piece of a result that is bytes. It is cut into as many chunks as it takes for each to keep to the
    /// chunk limit and, in base64, to fit into a frame; an empty piece makes no chunk.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn chunk_bytes(&self, bytes: &[u8]) -> Result<(), PortClosed> {
        for piece in bytes.chunks(self.0.chunk.bytes()) {
            let data = &STANDARD.encode(piece);
            self.event("result_chunk", Chunk { data, encoding: ChunkEncoding::Base64, more: true }).await?;
        }
        Ok(())
    }

    /// What to return after the last chunk: the end of the function closes the stream.
    pub fn finish_chunks(&self, summary: impl Into<String>) -> Outcome {
        Outcome::chunked().with_summary(summary)
    }
}

// The bodies of the events (§8.2), borrowed from the caller. Fields that the caller leaves out are left out.

#[derive(Serialize)]
struct Log<'a> {
    level: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Thought<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct Progress<'a> {
    current: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct Status<'a> {
    phase: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct Metric<'a, V> {
    name: &'a str,
    value: V,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
}

#[derive(Serialize)]
struct ToolCall<'a, A> {
    tool: &'a str,
    args: A,
    call_id: &'a str,
}

#[derive(Serialize)]
struct ToolReturned<'a, R> {
    call_id: &'a str,
    result: R,
}

#[derive(Serialize)]
struct ToolFailed<'a> {
    call_id: &'a str,
    error: &'a ErrorBody,
}

#[derive(Serialize)]
struct Artifact<'a> {
    uri: &'a str,
    content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    data: &'a str,
    encoding: ChunkEncoding,
    more: bool,
}
