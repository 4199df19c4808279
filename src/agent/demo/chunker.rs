//! `chunker`: streams a result whose every byte is known beforehand.

use serde::Deserialize;

use super::{input, within};
use crate::agent::in_process::{AgentError, Job, Outcome};
use crate::wire::event::ChunkEncoding;

const CHUNKS: usize = 1_000_000;
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// Bytes after which the stream repeats itself, in base64.
const BYTES_PERIOD: usize = 251;

/// Letters after which the stream repeats itself, as text.
const TEXT_PERIOD: usize = 26;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Input {
    chunks: usize,
    chunk_bytes: usize,
    encoding: ChunkEncoding,
}

impl Default for Input {
    fn default() -> Self {
        Input { chunks: 3, chunk_bytes: 64, encoding: ChunkEncoding::Base64 }
    }
}

pub(super) async fn run(job: Job) -> Result<Outcome, AgentError> {
    let input: Input = input(&job)?;
    let chunks = within("chunks", input.chunks, 1..=CHUNKS)?;
    let chunk_bytes = within("chunk_bytes", input.chunk_bytes, 1..=CHUNK_BYTES)?;
    match input.encoding {
        ChunkEncoding::Base64 => {
            let pattern: Vec<u8> = (0..=250).cycle().take(chunk_bytes + BYTES_PERIOD).collect();
            for chunk in 0..chunks {
                let start = chunk * chunk_bytes % BYTES_PERIOD;
                job.chunk_bytes(&pattern[start..start + chunk_bytes]).await?;
            }
        }
        ChunkEncoding::Utf8 => {
            let pattern: String = ('a'..='z').cycle().take(chunk_bytes + TEXT_PERIOD).collect();
            for chunk in 0..chunks {
                let start = chunk * chunk_bytes % TEXT_PERIOD;
                job.chunk_text(&pattern[start..start + chunk_bytes]).await?;
            }
        }
    }
    let bytes = chunks * chunk_bytes;
    Ok(job.finish_chunks(format!("{bytes} bytes, {chunk_bytes} at a time")))
}
