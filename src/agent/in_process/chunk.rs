//! Cutting a streamed result into chunks that fit into a frame, whatever JSON makes of the text.

use crate::wire::limits::{ENVELOPE_HEADROOM_BYTES, Limits};

/// Room for the fields of a chunk's body apart from its data, `result_id` and `chunk_seq` included, in bytes.
const BODY_HEADROOM_BYTES: usize = 256;

/// The longest that JSON makes of one character.
const ESCAPE_BYTES: usize = 6;

/// How large a chunk may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkSize {
    /// In decoded bytes.
    decoded: usize,
    /// In bytes of the JSON string, without its quotes.
    written: usize,
}

impl ChunkSize {
    /// The size that keeps to the agent's chunk limit and leaves an envelope room in a frame.
    pub(super) fn of(chunk_bytes: usize, limits: &Limits) -> Self {
        let frame = limits.frame_bytes.saturating_sub(ENVELOPE_HEADROOM_BYTES + BODY_HEADROOM_BYTES);
        // Even under senseless limits a chunk holds a character, so that cutting comes to an end.
        ChunkSize { decoded: chunk_bytes.max(4), written: frame.max(ESCAPE_BYTES) }
    }

    /// The length of the first chunk of a text, which ends with a whole character.
    pub(super) fn text(self, text: &str) -> usize {
        if text.len() <= self.decoded.min(self.written / ESCAPE_BYTES) {
            return text.len();
        }
        let mut written = 0;
        for (at, char) in text.char_indices() {
            written += written_bytes(char);
            if written > self.written || at + char.len_utf8() > self.decoded {
                return at;
            }
        }
        text.len()
    }

    /// The most bytes of one chunk in base64.
    pub(super) fn bytes(self) -> usize {
        self.decoded.min(self.written / 4 * 3)
    }
}

/// How many bytes a character takes in a JSON string.
fn written_bytes(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => ESCAPE_BYTES,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ChunkSize = ChunkSize { decoded: 8, written: 12 };

    #[test]
    fn a_character_takes_what_serde_writes() {
        for char in (0..0x3000).filter_map(char::from_u32).chain(['\u{10ffff}']) {
            let json = serde_json::to_string(&char).unwrap();
            assert_eq!(written_bytes(char), json.len() - 2, "{char:?}");
        }
    }

    #[test]
    fn a_text_is_cut_by_either_size_and_between_characters() {
        for (text, length) in [
            ("", 0),
            ("short", 5),
            ("12345678", 8),
            ("123456789", 8),
            ("1234567é", 7),
            ("\u{1}\u{1}\u{1}", 2),
            ("\"\"\"\"\"\"\"", 6),
            ("\u{10ffff}\u{10ffff}\u{10ffff}", 8),
        ] {
            assert_eq!(SIZE.text(text), length, "{text:?}");
        }
        assert_eq!(SIZE.bytes(), 8);
        assert_eq!(ChunkSize { decoded: 100, written: 13 }.bytes(), 9);
    }

    #[test]
    fn cutting_comes_to_an_end_under_senseless_limits() {
        let size = ChunkSize::of(0, &Limits { frame_bytes: 0, ..Limits::default() });
        assert_eq!(size.text("\u{10ffff}\u{10ffff}"), 4);
        assert_eq!(size.text("\u{1}\u{1}"), 1);
        assert!(size.bytes() > 0);
    }
}
