//! A streamed result for a session that did not negotiate `result_chunk`: inline as far as that is allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::proto::record::Record;
use crate::store::Store;
use crate::wire::encode::json;
use crate::wire::event::{ChunkEncoding, ResultChunk};
use crate::wire::feature::Feature;
use crate::wire::id::JobId;
use crate::wire::job::JobResult;
use crate::wire::limits::Limits;

/// Records that are read at a time while a result is put together.
const READ_EVENTS: u64 = 256;
/// Payload bytes that are read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// The payload of `job.result` with the result inside: text as the JSON that it is, or else as a string; bytes as
/// a base64 string. None when the result was inline anyway, or is too large: then it is named by its id and size.
pub(super) async fn result(store: &dyn Store, limits: &Limits, job: JobId, record: &Record) -> Option<Bytes> {
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
    let (bytes, text) = assemble(store, job, record.pos).await?;
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

async fn assemble(store: &dyn Store, job: JobId, end: u64) -> Option<(Vec<u8>, bool)> {
    #[derive(Deserialize)]
    struct Chunked {
        body: ResultChunk,
    }
    let (mut bytes, mut text, mut pos) = (Vec::new(), true, 0);
    while pos + 1 < end {
        let records = store.records(job, pos, READ_EVENTS.min(end - 1 - pos), READ_BYTES).await;
        pos = records.last()?.pos;
        for record in records.iter().filter(|record| record.gate == Some(Feature::ResultChunk)) {
            let chunk: Chunked = serde_json::from_slice(&record.payload).ok()?;
            match chunk.body.encoding {
                ChunkEncoding::Utf8 => bytes.extend_from_slice(chunk.body.data.as_bytes()),
                ChunkEncoding::Base64 => {
                    text = false;
                    bytes.extend_from_slice(&STANDARD.decode(&chunk.body.data).ok()?);
                }
            }
        }
    }
    Some((bytes, text))
}
