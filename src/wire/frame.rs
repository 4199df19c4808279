//! Framing of byte streams: lines on stdio, and the depth of a JSON text before it is parsed.

use bytes::{Buf, Bytes, BytesMut};

/// Whether arrays and objects nest deeper than `max` in a JSON text. Looks at bytes only; needs no valid JSON.
pub fn too_deep(json: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// One line taken out of a byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line without its end.
    Text(Bytes),
    /// A line longer than allowed; it is dropped up to its end and the stream goes on. What it began with.
    TooLong(Bytes),
}

/// Bytes of a line that is too long which are kept, to tell what it was.
const BEGINNING_BYTES: usize = 4 * 1024;

/// Cuts a byte stream into lines; blank ones are skipped, `\r\n` is a line end too.
#[derive(Debug)]
pub struct Lines {
    buffer: BytesMut,
    scanned: usize,
    max: usize,
    dropping: bool,
    /// Line ends that were passed.
    ends: u64,
    /// The number of the line that was given out last, from 1.
    number: u64,
}

impl Lines {
    /// Lines of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Lines { buffer: BytesMut::new(), scanned: 0, max, dropping: false, ends: 0, number: 0 }
    }

    /// Where to read more bytes into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(8 * 1024);
        &mut self.buffer
    }

    /// The number of the line that was given out last, from 1; blank lines count.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next whole line, if there is one.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let end =
                self.buffer[self.scanned..].iter().position(|b| *b == b'\n').map(|at| at + self.scanned);
            let Some(end) = end else {
                self.scanned = self.buffer.len();
                return self.overflow();
            };
            let mut line = self.buffer.split_to(end);
            self.buffer.advance(1);
            self.scanned = 0;
            self.ends += 1;
            self.number = self.ends;
            if std::mem::take(&mut self.dropping) {
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.len() > self.max {
                line.truncate(BEGINNING_BYTES);
                return Some(Line::TooLong(Bytes::copy_from_slice(&line)));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Line::Text(line.freeze()));
            }
        }
    }

    /// What stands after the last line end, once the stream has ended.
    pub fn rest(&mut self) -> Option<Line> {
        let mut rest = self.buffer.split();
        self.scanned = 0;
        self.number = self.ends + 1;
        if rest.last() == Some(&b'\r') {
            rest.truncate(rest.len() - 1);
        }
        if self.dropping || rest.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        Some(Line::Text(rest.freeze()))
    }

    /// An unfinished line that is too long already is reported once and then dropped as it comes.
    fn overflow(&mut self) -> Option<Line> {
        // A `\r` that came last may belong to the line's end.
        let half_an_end = usize::from(self.buffer.last() == Some(&b'\r'));
        if self.buffer.len() - half_an_end <= self.max {
            return None;
        }
        let kept = BEGINNING_BYTES.min(self.buffer.len());
        let beginning = Bytes::copy_from_slice(&self.buffer[..kept]);
        self.buffer.clear();
        self.scanned = 0;
        self.number = self.ends + 1;
        let first = !std::mem::replace(&mut self.dropping, true);
        first.then_some(Line::TooLong(beginning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(max: usize, pieces: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::new(max);
        let mut out = Vec::new();
        for piece in pieces {
            lines.buffer().extend_from_slice(piece);
            while let Some(line) = lines.next_line() {
                out.push(line);
            }
        }
        out.extend(lines.rest());
        out
    }

    /// Whatever a line that is too long began with depends on the pieces.
    fn shown(lines: Vec<Line>) -> Vec<Line> {
        let each = lines.into_iter().map(|line| match line {
            Line::Text(_) => line,
            Line::TooLong(_) => text("?"),
        });
        each.collect()
    }

    fn text(t: &'static str) -> Line {
        Line::Text(Bytes::from_static(t.as_bytes()))
    }

    #[test]
    fn lines_come_whole_whatever_the_pieces_and_blank_ones_are_skipped() {
        let whole = lines(10, &[b"ab\r\n\n  \ncd\nef"]);
        assert_eq!(whole, [text("ab"), text("cd"), text("ef")]);
        let pieces: Vec<&[u8]> = b"ab\r\n\n  \ncd\nef".chunks(1).collect();
        assert_eq!(lines(10, &pieces), whole);
    }

    #[test]
    fn lines_are_numbered_as_an_editor_numbers_them() {
        let mut lines = Lines::new(3);
        lines.buffer().extend_from_slice(b"ab\n\n  \ncd\naaaaaa\nef\naaaa");
        let mut numbers = Vec::new();
        while lines.next_line().is_some() {
            numbers.push(lines.number());
        }
        assert_eq!(numbers, [1, 4, 5, 6, 7]);
        lines.buffer().extend_from_slice(b"a\nx");
        assert_eq!((lines.next_line(), lines.rest(), lines.number()), (None, Some(text("x")), 8));
    }

    #[test]
    fn an_over_long_line_is_told_once_and_the_stream_goes_on() {
        let told = |beginning: &'static [u8]| Line::TooLong(Bytes::from_static(beginning));
        assert_eq!(lines(3, &[b"aaaa", b"aaaaaaa", b"a\nok\n"]), [told(b"aaaa"), text("ok")]);
        assert_eq!(lines(3, &[b"aaaab\nok\n"]), [told(b"aaaab"), text("ok")]);
        let long = "x".repeat(2 * BEGINNING_BYTES);
        let Line::TooLong(beginning) = &lines(3, &[long.as_bytes()])[0] else { panic!("it is too long") };
        assert_eq!(beginning.len(), BEGINNING_BYTES);
    }

    #[test]
    fn a_line_of_the_limit_passes_however_its_end_is_written_and_cut() {
        for end in ["\n", "\r\n"] {
            let input = format!("abc{end}abcd{end}ab{end}abc{end}");
            for size in 1..=input.len() {
                let pieces: Vec<&[u8]> = input.as_bytes().chunks(size).collect();
                assert_eq!(
                    shown(lines(3, &pieces)),
                    [text("abc"), text("?"), text("ab"), text("abc")],
                    "{size}"
                );
            }
        }
        assert_eq!(lines(3, &[b"abc\r"]), [text("abc")]);
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(!too_deep(br#"["[[[[","\"[[[["]"#, 1));
        assert!(too_deep(b"[[1]]", 1));
        assert!(!too_deep(b"[[1],[2],[3]]", 2));
    }
}
