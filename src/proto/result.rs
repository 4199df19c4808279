//! Streamed results: order, one kind of result per job, sizes (§8.4, §14).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wire::agent_port::{BrokenContract, PortChunk};
use crate::wire::event::{ChunkEncoding, ResultChunk};
use crate::wire::id::ResultId;
use crate::wire::limits::Limits;

/// Text of a result is cut into pieces of at most this many bytes when the daemon does the cutting: its escapes
/// at most double a JSON text, and a frame has to hold the piece.
const CUT_BYTES: usize = 256 * 1024;

/// The chunks of one job's result so far.
#[derive(Debug, Clone)]
pub struct ResultStream {
    id: ResultId,
    next_seq: u64,
    bytes: u64,
    encoding: ChunkEncoding,
    closed: bool,
}

impl ResultStream {
    /// An empty one; `id` is used if there ever is a chunk.
    pub fn new(id: ResultId) -> Self {
        ResultStream { id, next_seq: 0, bytes: 0, encoding: ChunkEncoding::Utf8, closed: false }
    }

    /// Whether there was a chunk: then the result is never inline.
    pub fn started(&self) -> bool {
        self.next_seq > 0
    }

    /// The result's id and its size in decoded bytes.
    pub fn reference(&self) -> (ResultId, u64) {
        (self.id, self.bytes)
    }

    /// Takes an agent's chunk and gives it its place.
    ///
    /// # Errors
    /// [`BrokenContract`] when it comes after the last one, is no strict base64, or is too large.
    pub fn chunk(&mut self, chunk: PortChunk, limits: &Limits) -> Result<ResultChunk, BrokenContract> {
        if self.closed {
            return Err(BrokenContract("a result_chunk came after the last one (more: false)".into()));
        }
        let size = match chunk.encoding {
            ChunkEncoding::Utf8 => chunk.data.len(),
            ChunkEncoding::Base64 => STANDARD
                .decode(&chunk.data)
                .map_err(|e| {
                    BrokenContract(format!("body.data: expected standard base64 with padding: {e}"))
                })?
                .len(),
        };
        if size > limits.chunk_bytes {
            let max = limits.chunk_bytes;
            return Err(BrokenContract(format!("a result_chunk of {size} bytes; chunk_bytes allows {max}")));
        }
        let bytes = self.bytes.saturating_add(size as u64);
        if bytes > limits.result_bytes {
            let max = limits.result_bytes;
            return Err(BrokenContract(format!(
                "a result of more than {max} bytes; result_bytes allows no more"
            )));
        }
        self.bytes = bytes;
        Ok(self.place(chunk))
    }

    fn place(&mut self, chunk: PortChunk) -> ResultChunk {
        let PortChunk { data, encoding, more } = chunk;
        let chunk_seq = self.next_seq;
        self.next_seq += 1;
        self.encoding = encoding;
        self.closed = !more;
        ResultChunk { result_id: self.id, chunk_seq, data, encoding, more }
    }

    /// The empty chunk that says "no more", where the agent has not said so itself.
    pub fn close(&mut self) -> Option<ResultChunk> {
        if self.closed || !self.started() {
            return None;
        }
        let encoding = self.encoding;
        Some(self.place(PortChunk { data: String::new(), encoding, more: false }))
    }

    /// Cuts an inline result that is too large to be sent as one into chunks of its JSON text.
    ///
    /// # Errors
    /// [`BrokenContract`] when it is larger than a result may be.
    pub fn cut(&mut self, json: &str, limits: &Limits) -> Result<Vec<ResultChunk>, BrokenContract> {
        let max = CUT_BYTES.min(limits.chunk_bytes).max(1);
        let mut chunks = Vec::with_capacity(json.len() / max + 1);
        let mut rest = json;
        while !rest.is_empty() {
            // At least one character: a limit below that refuses it as a chunk.
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let fits = (first..=max.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at));
            let at = fits.unwrap_or(first);
            let (piece, tail) = rest.split_at(at);
            rest = tail;
            let chunk =
                PortChunk { data: piece.into(), encoding: ChunkEncoding::Utf8, more: !rest.is_empty() };
            chunks.push(self.chunk(chunk, limits)?);
        }
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(data: &str, encoding: ChunkEncoding, more: bool) -> PortChunk {
        PortChunk { data: data.into(), encoding, more }
    }

    #[test]
    fn chunks_are_numbered_and_the_last_one_is_the_last() {
        let limits = Limits::default();
        let mut stream = ResultStream::new(ResultId::new(1, 1));
        assert!(stream.close().is_none());
        let first = stream.chunk(chunk("añ", ChunkEncoding::Utf8, true), &limits).unwrap();
        assert_eq!((first.chunk_seq, first.more, stream.reference().1), (0, true, 3));
        let closing = stream.close().unwrap();
        assert_eq!((closing.chunk_seq, closing.more, closing.data.as_str()), (1, false, ""));
        assert!(stream.chunk(chunk("b", ChunkEncoding::Utf8, false), &limits).is_err());
        assert!(stream.close().is_none());
    }

    #[test]
    fn lax_base64_large_chunks_and_large_results_are_refused() {
        let limits = Limits { chunk_bytes: 4, result_bytes: 6, ..Limits::default() };
        let mut stream = ResultStream::new(ResultId::new(1, 1));
        for lax in ["YQ", "YQ==\n", "Y Q==", "YR=="] {
            assert!(stream.chunk(chunk(lax, ChunkEncoding::Base64, true), &limits).is_err(), "{lax:?}");
        }
        assert!(stream.chunk(chunk("aaaaa", ChunkEncoding::Utf8, true), &limits).is_err());
        assert!(stream.chunk(chunk("aaaa", ChunkEncoding::Utf8, true), &limits).is_ok());
        assert!(stream.chunk(chunk("aaa", ChunkEncoding::Utf8, true), &limits).is_err());
    }

    #[test]
    fn a_limit_smaller_than_a_character_refuses_and_cuts_none_in_two() {
        for chunk_bytes in 0..=2 {
            let limits = Limits { chunk_bytes, ..Limits::default() };
            assert!(ResultStream::new(ResultId::new(1, 1)).cut("😀", &limits).is_err(), "{chunk_bytes}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_small_whole_and_the_text_again(
            text in "(a|\"|é|日|😀){0,60}", chunk_bytes in 1..20_usize, result_bytes in 0..200_u64,
        ) {
            let limits = Limits { chunk_bytes, result_bytes, ..Limits::default() };
            let mut stream = ResultStream::new(ResultId::new(1, 1));
            match stream.cut(&text, &limits) {
                Ok(chunks) => {
                    prop_assert_eq!(chunks.iter().map(|chunk| chunk.data.as_str()).collect::<String>(), text.as_str());
                    prop_assert_eq!(stream.reference().1, text.len() as u64);
                    for (seq, chunk) in chunks.iter().enumerate() {
                        prop_assert!((1..=chunk_bytes).contains(&chunk.data.len()));
                        prop_assert_eq!((chunk.chunk_seq, chunk.more), (seq as u64, seq + 1 < chunks.len()));
                    }
                    prop_assert!(stream.close().is_none());
                }
                Err(_) => {
                    let wide = text.chars().any(|char| char.len_utf8() > chunk_bytes);
                    prop_assert!(wide || text.len() as u64 > result_bytes);
                }
            }
        }

        #[test]
        fn refused_chunks_leave_the_stream_as_it_was(
            chunks in proptest::collection::vec(("[A-Za-z=]{0,12}", any::<bool>(), 0..8_u8), 0..12),
        ) {
            let limits = Limits { chunk_bytes: 8, result_bytes: 24, ..Limits::default() };
            let mut stream = ResultStream::new(ResultId::new(1, 1));
            let (mut seq, mut bytes, mut closed) = (0, 0, false);
            for (data, base64, more) in chunks {
                let encoding = if base64 { ChunkEncoding::Base64 } else { ChunkEncoding::Utf8 };
                let size = if base64 { STANDARD.decode(&data).ok().map(|raw| raw.len()) } else { Some(data.len()) };
                let fits = size.filter(|size| !closed && *size <= 8 && bytes + size <= 24);
                let placed = stream.chunk(chunk(&data, encoding, more > 0), &limits);
                prop_assert_eq!(placed.is_ok(), fits.is_some());
                if let (Ok(placed), Some(size)) = (placed, fits) {
                    prop_assert_eq!(placed.chunk_seq, seq);
                    (seq, bytes, closed) = (seq + 1, bytes + size, more == 0);
                }
                prop_assert_eq!((stream.reference().1, stream.started()), (bytes as u64, seq > 0));
            }
            prop_assert_eq!(stream.close().is_some(), seq > 0 && !closed);
        }
    }

    #[test]
    fn a_large_inline_result_is_cut_between_characters() {
        let limits = Limits { chunk_bytes: 5, ..Limits::default() };
        let json = "\"ñññññ\"";
        let mut stream = ResultStream::new(ResultId::new(1, 1));
        let chunks = stream.cut(json, &limits).unwrap();
        assert_eq!(chunks.iter().map(|c| c.data.as_str()).collect::<String>(), json);
        assert_eq!(chunks.iter().filter(|c| !c.more).count(), 1);
        assert!(!chunks.last().unwrap().more && stream.close().is_none());
    }
}
