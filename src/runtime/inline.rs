//! A streamed result for a session that did not negotiate `result_chunk`: inline as far as that is allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::proto::record::Record;
use crate::store::{Store, Unreadable};
use crate::wire::encode::json;
use crate::wire::event::{ChunkEncoding, ResultChunk};
use crate::wire::feature::Feature;
use crate::wire::id::{JobId, ResultId};
use crate::wire::job::JobResult;
use crate::wire::limits::Limits;

/// Records that are read at a time while a result is put together.
const READ_EVENTS: u64 = 256;
/// Payload bytes that are read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// The payload of `job.result` with the result inside: text as the JSON that it is, or else as a string; bytes as
/// a base64 string. None when the result was inline anyway, or is too large: then it is named by its id and size.
///
/// # Errors
/// [`Unreadable`] when what it is made of cannot be read.
pub(super) async fn result(
    store: &dyn Store,
    limits: &Limits,
    job: JobId,
    record: &Record,
) -> Result<Option<Bytes>, Unreadable> {
    let Some((end, id)) = streamed(limits, record) else { return Ok(None) };
    let assembled = assemble(store, job, record.pos, id).await?;
    Ok(assembled.and_then(|(bytes, text)| inlined(end, bytes, text, limits)))
}

/// The end of a job whose result was streamed and is not too large to be inline, and that result's id.
fn streamed(limits: &Limits, record: &Record) -> Option<(JobResult, ResultId)> {
    #[derive(Deserialize)]
    struct Size {
        result_size: Option<u64>,
    }
    let Size { result_size } = serde_json::from_slice(&record.payload).ok()?;
    let size = usize::try_from(result_size?).ok()?;
    if size > limits.inline_result_bytes {
        return None;
    }
    let end: JobResult = serde_json::from_slice(&record.payload).ok()?;
    let id = end.result_id?;
    Some((end, id))
}

fn inlined(end: JobResult, bytes: Vec<u8>, text: bool, limits: &Limits) -> Option<Bytes> {
    let result =
        if text { as_json(&String::from_utf8(bytes).ok()?)? } else { string(&STANDARD.encode(bytes))? };
    if result.get().len() > limits.inline_result_bytes {
        return None;
    }
    let inline = JobResult { result: Some(result), result_id: None, result_size: None, ..end };
    Some(json(&inline).into())
}

fn as_json(text: &str) -> Option<Box<RawValue>> {
    let is_structured = text.starts_with(['{', '[', '"']);
    match RawValue::from_string(text.into()) {
        Ok(raw) if is_structured => Some(raw),
        Ok(_) | Err(_) => string(text),
    }
}

fn string(text: &str) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(text).ok()
}

/// What the chunks of a result come to, and whether all of it is text; none when part of the history is gone.
/// Chunks of an earlier attempt have another id.
async fn assemble(
    store: &dyn Store,
    job: JobId,
    end: u64,
    id: ResultId,
) -> Result<Option<(Vec<u8>, bool)>, Unreadable> {
    let (mut bytes, mut text, mut pos) = (Vec::new(), true, 0);
    while pos + 1 < end {
        let records = store.records(job, pos, READ_EVENTS.min(end - 1 - pos), READ_BYTES).await?;
        let Some(last) = records.last() else { return Ok(None) };
        pos = last.pos;
        for record in records.iter().filter(|record| record.gate == Some(Feature::ResultChunk)) {
            let Some((piece, is_text)) = piece(record, id) else { return Ok(None) };
            bytes.extend_from_slice(&piece);
            text &= is_text;
        }
    }
    Ok(Some((bytes, text)))
}

/// What a chunk adds to a result, and whether that is text; nothing if it belongs to another result.
fn piece(record: &Record, id: ResultId) -> Option<(Vec<u8>, bool)> {
    #[derive(Deserialize)]
    struct Chunked {
        body: ResultChunk,
    }
    let Chunked { body } = serde_json::from_slice(&record.payload).ok()?;
    if body.result_id != id {
        return Some((Vec::new(), true));
    }
    match body.encoding {
        ChunkEncoding::Utf8 => Some((body.data.into_bytes(), true)),
        ChunkEncoding::Base64 => Some((STANDARD.decode(&body.data).ok()?, false)),
    }
}
