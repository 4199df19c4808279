//! Lines are the same however the stream is cut, equal to a naive splitting, and never cost more than their limit.
//!
//! Data: the limit, a cut, its sizes; then the stream.

use arcpd::wire::frame::{Line, Lines};
use bytes::Bytes;

use super::input::Input;

pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let max = 1 + input.below(64);
    let sizes: Vec<usize> = input.bytes(8).iter().map(|size| 1 + usize::from(*size)).collect();
    let stream = input.rest();
    let expected = naive(stream, max);
    assert_eq!(read(stream, max, &[stream.len().max(1)]), expected, "in one piece");
    assert_eq!(read(stream, max, &[1]), expected, "byte by byte");
    if !sizes.is_empty() {
        assert_eq!(read(stream, max, &sizes), expected, "in pieces of {sizes:?}");
    }
}

fn read(stream: &[u8], max: usize, sizes: &[usize]) -> Vec<Line> {
    let mut lines = Lines::new(max);
    let mut out = Vec::new();
    let (mut rest, mut turn) = (stream, 0);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
        (rest, turn) = (tail, turn + 1);
        lines.buffer().extend_from_slice(piece);
        while let Some(line) = lines.next_line() {
            out.push(line);
        }
        // One byte more for a `\r` that may belong to the line's end.
        assert!(
            lines.buffer().len() <= max + 1,
            "{} bytes are kept of a line of {max}",
            lines.buffer().len()
        );
    }
    out.extend(lines.rest());
    // What is kept of a line that is too long depends on the pieces.
    for line in &mut out {
        if let Line::TooLong(beginning) = line {
            assert!(beginning.len() <= 4 * 1024);
            *beginning = Bytes::new();
        }
    }
    out
}

fn naive(stream: &[u8], max: usize) -> Vec<Line> {
    let mut out = Vec::new();
    for line in stream.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > max {
            out.push(Line::TooLong(Bytes::new()));
        } else if !line.iter().all(u8::is_ascii_whitespace) {
            out.push(Line::Text(line.to_vec().into()));
        }
    }
    out
}
