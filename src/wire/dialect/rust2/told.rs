//! What happens in a job, in this client's words, once for every request that waits for it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::State;
use super::codes::{Code, code};
use super::frame::{Frame, copy};
use super::said::Failed;
use super::words::Word;
use crate::wire::envelope::Head;
use crate::wire::error::ErrorCode;
use crate::wire::event::{Event, EventKind, Log, Metric, Progress, ResultChunk, TraceSpan};
use crate::wire::id::TraceId;
use crate::wire::job::{JobError, JobResult, JobStatus};
use crate::wire::message::StreamKind;
use crate::wire::time::Timestamp;

/// Its levels; what is at another is told as `info`, with the level among the attributes.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

/// What a numbered message becomes, but for whom it is for.
struct Told {
    word: Word,
    at: Timestamp,
    payload: Box<RawValue>,
}

/// Writes a message of the numbered stream.
pub(super) fn numbered(
    state: &mut State,
    kind: StreamKind,
    head: &Head,
    payload: &[u8],
    frames: &mut Vec<Bytes>,
) {
    let Some(job) = head.job_id else { return };
    let told = match kind {
        StreamKind::Event => event(payload, head.trace_id),
        StreamKind::Result => Some(completed(payload, head.at)),
        StreamKind::Error => Some(failed(payload, head.at)),
    };
    let waiting = state.jobs.told(job, kind != StreamKind::Event);
    let own = waiting.requests.first().map(String::as_str);
    let Some(Told { word, at, payload }) = told else { return };
    let head = Head { at, ..*head };
    let named = waiting.requests.iter().map(|request| Some(request.as_str()));
    // Who observes a job that others began is told without a name.
    let unnamed = (waiting.observed && waiting.requests.is_empty()).then_some(None);
    for (n, request) in named.chain(unnamed).enumerate() {
        frames.push(Frame::new(word, &copy(&head, n), &payload).answering(request).bytes());
    }
    state.subscriptions.tell(&head, word, &payload, own, frames);
}

/// Whether its parser, which is ours, takes this as JSON: one number that is too large, or half a surrogate, would end
/// its connection.
fn readable(raw: &RawValue) -> bool {
    serde_json::from_str::<Value>(raw.get()).is_ok()
}

fn told(word: Word, at: Timestamp, payload: &impl Serialize) -> Option<Told> {
    Some(Told { word, at, payload: to_raw_value(payload).ok()? })
}

fn event(payload: &[u8], trace_id: Option<TraceId>) -> Option<Told> {
    let event: Event = serde_json::from_slice(payload).ok()?;
    let (at, body) = (event.ts, &*event.body);
    let own = match EventKind::parse(&event.kind) {
        Some(EventKind::Progress) => {
            read(body).and_then(|progress| told(Word::JobProgress, at, &of_progress(&progress)))
        }
        Some(EventKind::Log) => read(body).and_then(|log| of_log(&log, at)),
        Some(EventKind::Metric) => read(body).and_then(|metric| of_metric(&metric, at)),
        Some(EventKind::ResultChunk) => {
            read::<ResultChunk>(body).and_then(|chunk| told(Word::JobResultChunk, at, &chunk))
        }
        Some(EventKind::TraceSpan) => read(body).and_then(|span| of_span(&span, trace_id?, at)),
        Some(
            EventKind::Thought
            | EventKind::ToolCall
            | EventKind::ToolResult
            | EventKind::Status
            | EventKind::ArtifactRef
            | EventKind::Delegate
            | EventKind::Vendor,
        )
        | None => None,
    };
    own.or_else(|| emitted(&event, at))
}

fn read<'a, T: Deserialize<'a>>(body: &'a RawValue) -> Option<T> {
    serde_json::from_str(body.get()).ok()
}

/// A kind without a word of its own, under its name.
fn emitted(event: &Event, at: Timestamp) -> Option<Told> {
    #[derive(Serialize)]
    struct Payload<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
    }
    let data = Some(&*event.body).filter(|body| readable(body));
    told(Word::EventEmit, at, &Payload { name: &event.kind, data })
}

/// Its percentage, and beside it what was counted, which it passes over.
fn of_progress(progress: &Progress) -> impl Serialize {
    #[derive(Serialize)]
    struct Payload {
        #[serde(skip_serializing_if = "Option::is_none")]
        percent: Option<f64>,
        #[serde(flatten)]
        counted: Progress,
    }
    let percent = progress.total.filter(|total| *total > 0.0).map(|total| 100.0 * progress.current / total);
    Payload { percent: percent.map(|percent| percent.clamp(0.0, 100.0)), counted: progress.clone() }
}

fn of_log(log: &Log, at: Timestamp) -> Option<Told> {
    #[derive(Serialize)]
    struct Payload<'a> {
        level: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        attributes: Option<Map<String, Value>>,
    }
    let lower = log.level.to_ascii_lowercase();
    let known = match lower.as_str() {
        "warning" => Some("warn"),
        "fatal" => Some("critical"),
        other => LEVELS.into_iter().find(|level| *level == other),
    };
    let attributes =
        known.is_none().then(|| Map::from_iter([("level".to_owned(), Value::from(log.level.as_str()))]));
    told(Word::Log, at, &Payload { level: known.unwrap_or("info"), message: &log.message, attributes })
}

/// Only what it can count with: a value in floats, and a unit in any case.
fn of_metric(metric: &Metric, at: Timestamp) -> Option<Told> {
    #[derive(Serialize)]
    struct Payload<'a> {
        name: &'a str,
        value: f64,
        unit: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        dims: Option<&'a Map<String, Value>>,
    }
    let value = metric.value.as_f64().filter(|value| value.is_finite())?;
    let (name, unit) = (metric.name.as_str(), metric.unit.as_deref().unwrap_or_default());
    told(Word::Metric, at, &Payload { name, value, unit, dims: metric.dimensions.as_ref() })
}

/// Only one that has both its times and its trace; it has no words for others.
fn of_span(span: &TraceSpan, trace_id: TraceId, at: Timestamp) -> Option<Told> {
    #[derive(Serialize)]
    struct Payload<'a> {
        name: &'a str,
        trace_id: TraceId,
        span_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_span_id: Option<&'a str>,
        start_time: Timestamp,
        end_time: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        attributes: Option<&'a Map<String, Value>>,
    }
    let instant = |text: &Option<String>| Timestamp::parse(text.as_deref()?).ok();
    if span.span_id.is_empty() || span.parent_span_id.as_deref() == Some("") {
        return None;
    }
    told(
        Word::TraceSpan,
        at,
        &Payload {
            name: &span.name,
            trace_id,
            span_id: span.span_id.as_str(),
            parent_span_id: span.parent_span_id.as_deref(),
            start_time: instant(&span.start_at)?,
            end_time: instant(&span.end_at)?,
            attributes: span.attributes.as_ref(),
        },
    )
}

fn completed(payload: &[u8], now: Timestamp) -> Told {
    #[derive(Serialize, Default)]
    struct Payload {
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Box<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result_size: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        summary: Option<String>,
    }
    let (at, payload) = match serde_json::from_slice::<JobResult>(payload) {
        Ok(end) if end.result.as_deref().is_none_or(readable) => {
            let result_id = end.result_id.map(|id| id.to_string());
            let JobResult { result: value, result_size, summary, completed_at, .. } = end;
            (completed_at, Payload { value, result_id, result_size, summary })
        }
        // Better an end without its result than none.
        Ok(_) | Err(_) => {
            let summary = Some("the result holds a number or text that this client cannot read".into());
            (now, Payload { summary, ..Payload::default() })
        }
    };
    Told { word: Word::JobCompleted, at, payload: raw(&payload) }
}

fn failed(payload: &[u8], now: Timestamp) -> Told {
    #[derive(Serialize)]
    struct Cancelled<'a> {
        reason: &'a str,
    }
    #[derive(Deserialize)]
    struct Least {
        code: ErrorCode,
    }
    match serde_json::from_slice::<JobError>(payload) {
        Ok(JobError { final_status: JobStatus::Cancelled, message, completed_at, .. }) => {
            Told { word: Word::JobCancelled, at: completed_at, payload: raw(&Cancelled { reason: &message }) }
        }
        Ok(JobError { code: canonical, message, retryable, details, completed_at, .. }) => {
            // The details are the agent's, and say nothing of the daemon.
            let (code, details) = (code(canonical, None), details.as_ref());
            let payload = raw(&Failed { code, retryable: Some(retryable), message: &message, details });
            Told { word: Word::JobFailed, at: completed_at, payload }
        }
        // Better an end without its details than none.
        Err(_) => {
            let least = serde_json::from_slice::<Least>(payload).ok();
            let code = least.map_or(Code::Internal, |least| code(least.code, None));
            let message = "the error holds a number or text that this client cannot read";
            let payload = raw(&Failed { code, retryable: None, message, details: None });
            Told { word: Word::JobFailed, at: now, payload }
        }
    }
}

fn raw(payload: &impl Serialize) -> Box<RawValue> {
    // Our payloads have string keys and serialisable fields only, so this cannot fail.
    to_raw_value(payload).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
