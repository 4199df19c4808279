//! Putting a result together (§8.4): inline, or from chunks whose order, encoding and size are checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::error::CollectError;
use super::update::{JobUpdate, Outcome};
use crate::wire::event::{ChunkEncoding, ResultChunk};
use crate::wire::id::ResultId;
use crate::wire::job::JobResult;

/// A part of a result, as decoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// What comes next.
    More(Bytes),
    /// What comes first: the agent began again and this is its result, so everything before is void.
    Anew(Bytes),
}

/// Puts a job's result together from its updates, one after the other, without keeping any of it.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    result_id: Option<ResultId>,
    next_chunk: u64,
    size: u64,
    last_seen: bool,
}

impl Collector {
    /// Before the first update.
    pub fn new() -> Self {
        Collector::default()
    }

    /// Takes the next update: what it adds to the result, none for updates that add nothing. An inline
    /// result comes as its JSON text. Once [`JobUpdate::Ended`] was taken without an error, the result is whole.
    ///
    /// # Errors
    /// [`CollectError`] when the result is not whole, or the job did not end in success.
    pub fn take(&mut self, update: &JobUpdate) -> Result<Option<Piece>, CollectError> {
        match update {
            JobUpdate::Event(event) if event.event.kind == "result_chunk" => {
                let chunk: ResultChunk = serde_json::from_str(event.event.body.get()).map_err(|error| {
                    CollectError::BadData { chunk_seq: self.next_chunk, why: error.to_string() }
                })?;
                self.chunk(&chunk).map(Some)
            }
            JobUpdate::Event(_) | JobUpdate::Interrupted(_) | JobUpdate::Resumed(_) => Ok(None),
            JobUpdate::Missed { after, before } => {
                Err(CollectError::Missed { after: *after, before: *before })
            }
            JobUpdate::Ended(Outcome::Success(result)) => self.finish(result),
            JobUpdate::Ended(Outcome::Failed(error)) => Err(CollectError::Failed(error.error())),
            JobUpdate::Cut(cut) => Err(CollectError::Cut(cut.clone())),
        }
    }

    fn chunk(&mut self, chunk: &ResultChunk) -> Result<Piece, CollectError> {
        let anew = self.result_id.is_some_and(|seen| seen != chunk.result_id);
        if anew {
            *self = Collector::new();
        }
        self.result_id = Some(chunk.result_id);
        if self.last_seen {
            return Err(CollectError::AfterLast(chunk.chunk_seq));
        }
        if chunk.chunk_seq != self.next_chunk {
            return Err(CollectError::OutOfOrder { expected: self.next_chunk, got: chunk.chunk_seq });
        }
        let data = match chunk.encoding {
            ChunkEncoding::Utf8 => chunk.data.clone().into_bytes(),
            ChunkEncoding::Base64 => STANDARD.decode(&chunk.data).map_err(|error| CollectError::BadData {
                chunk_seq: chunk.chunk_seq,
                why: error.to_string(),
            })?,
        };
        self.next_chunk += 1;
        self.size += data.len() as u64;
        self.last_seen = !chunk.more;
        Ok(if anew { Piece::Anew(data.into()) } else { Piece::More(data.into()) })
    }

    fn finish(&mut self, result: &JobResult) -> Result<Option<Piece>, CollectError> {
        match (result.result_id, self.result_id) {
            (None, seen) => {
                let text = result.result.as_ref().map_or("null", |json| json.get());
                let text = Bytes::copy_from_slice(text.as_bytes());
                Ok(Some(if seen.is_some() { Piece::Anew(text) } else { Piece::More(text) }))
            }
            (Some(named), Some(seen)) if named != seen => Err(other(seen, named)),
            (Some(_), _) if !self.last_seen => Err(CollectError::Unfinished),
            (Some(_), _) => match result.result_size {
                Some(announced) if announced != self.size => {
                    Err(CollectError::WrongSize { announced, got: self.size })
                }
                Some(_) | None => Ok(None),
            },
        }
    }
}

fn other(expected: ResultId, got: ResultId) -> CollectError {
    CollectError::OtherResult { expected: expected.to_string(), got: got.to_string() }
}
