//! What can be wrong with results: those that are inline, and those that come in chunks.

use serde_json::{Value, json};

use super::super::bent::Bend::{Any, Asked, Told};
use super::super::bent::{Frame, Wire, World, kind};
use super::listing::take;
use super::{Mutant, mutant};

pub(super) const TABLE: &[Mutant] = &[
    mutant(
        "results that are false or null are lost",
        &["ARCP-8.4-10"],
        Told("job.result", |end| {
            if matches!(end["payload"]["result"], Value::Null | Value::Bool(false)) {
                take(&mut end["payload"], "result");
            }
        }),
    ),
    mutant(
        "inputs that are false are lost",
        &["ARCP-8.4-10", "ARCP-7.1-1"],
        Asked("job.submit", |submit| {
            if submit["payload"]["input"] == false {
                take(&mut submit["payload"], "input");
            }
        }),
    ),
    mutant(
        "a result comes in chunks and inline",
        &["ARCP-8.4-3"],
        Told("job.result", |end| {
            if end["payload"]["result_id"].is_string() {
                end["payload"]["result"] = json!({ "inline": true });
            }
        }),
    ),
    mutant(
        "the end does not name the chunks",
        &["ARCP-8.4-2"],
        Told("job.result", |end| {
            if end["payload"]["result_id"].is_string() {
                take(&mut end["payload"], "result_id");
                end["payload"]["result"] = Value::Null;
            }
        }),
    ),
    mutant(
        "the end names other chunks",
        &["ARCP-8.4-2"],
        Told("job.result", |end| {
            if end["payload"]["result_id"].is_string() {
                end["payload"]["result_id"] = json!("res_01M7VVR1MSW45PAYMV9W1729G1");
            }
        }),
    ),
    mutant(
        "the size of a result is wrong",
        &["ARCP-8.4-11"],
        Told("job.result", |end| {
            if let Some(size) = end["payload"]["result_size"].as_u64() {
                end["payload"]["result_size"] = json!(size + 1);
            }
        }),
    ),
    mutant(
        "the size of a result is not told",
        &["ARCP-8.4-11"],
        Told("job.result", |end| {
            take(&mut end["payload"], "result_size");
        }),
    ),
    mutant(
        "chunks are counted from 1",
        &["ARCP-8.4-1", "ARCP-8.4-5"],
        Told("job.event", |event| {
            chunk(event, |body| {
                body["chunk_seq"] = json!(body["chunk_seq"].as_u64().unwrap_or(0) + 1);
            })
        }),
    ),
    mutant(
        "a chunk does not say how it is written",
        &["ARCP-8.4-1"],
        Told("job.event", |event| {
            chunk(event, |body| {
                take(body, "encoding");
            })
        }),
    ),
    mutant(
        "a chunk does not say whether there are more",
        &["ARCP-8.4-1", "ARCP-8.4-9"],
        Told("job.event", |event| {
            chunk(event, |body| take(body, "more"));
        }),
    ),
    mutant(
        "chunks are written in a way that there is not",
        &["ARCP-8.4-1"],
        Told("job.event", |event| {
            chunk(event, |body| {
                body["encoding"] = json!("hex");
            })
        }),
    ),
    mutant(
        "base64 has no padding",
        &["ARCP-8.4-1", "ARCP-8.4-7"],
        Told("job.event", |event| {
            chunk(event, |body| {
                if body["encoding"] == "base64" {
                    let data = body["data"].as_str().unwrap_or_default().trim_end_matches('=').to_owned();
                    body["data"] = json!(data);
                }
            })
        }),
    ),
    mutant(
        "base64 is broken into lines",
        &["ARCP-8.4-1", "ARCP-8.4-7"],
        Told("job.event", |event| {
            chunk(event, |body| {
                if body["encoding"] == "base64" {
                    let mut data = body["data"].as_str().unwrap_or_default().to_owned();
                    data.insert(data.len().min(8), '\n');
                    body["data"] = json!(data);
                }
            })
        }),
    ),
    mutant(
        "base64 has the letters of addresses",
        &["ARCP-8.4-1", "ARCP-8.4-7"],
        Told("job.event", |event| {
            chunk(event, |body| {
                if body["encoding"] == "base64" {
                    let data = body["data"].as_str().unwrap_or_default().replace('+', "-").replace('/', "_");
                    body["data"] = json!(data);
                }
            })
        }),
    ),
    mutant(
        "every chunk is said to be followed by more",
        &["ARCP-8.4-9"],
        Told("job.event", |event| {
            chunk(event, |body| {
                body["more"] = json!(true);
            })
        }),
    ),
    mutant(
        "every chunk is said to be the last",
        &["ARCP-8.4-9"],
        Told("job.event", |event| {
            chunk(event, |body| {
                body["more"] = json!(false);
            })
        }),
    ),
    mutant(
        "every chunk has a result_id of its own",
        &["ARCP-8.4-8"],
        Told("job.event", |event| {
            chunk(event, |body| {
                let n = body["chunk_seq"].as_u64().unwrap_or(0);
                body["result_id"] = json!(format!("res_01M7VVR1MSW45PAYMV9W1729G{n}"));
            })
        }),
    ),
    mutant("chunks come out of order", &["ARCP-8.4-5"], Any(swapped)),
    mutant("a chunk is lost", &["ARCP-8.4-7", "ARCP-8.4-5"], Any(lost)),
    mutant("a chunk comes twice", &["ARCP-8.4-5", "ARCP-8.4-7"], Any(doubled)),
    mutant(
        "a chunk holds other data",
        &["ARCP-8.4-7"],
        Told("job.event", |event| {
            chunk(event, |body| {
                let data = body["data"].as_str().unwrap_or_default().to_owned();
                body["data"] = json!(data.chars().rev().collect::<String>());
            })
        }),
    ),
];

fn is_chunk(event: &Value) -> bool {
    kind(event) == "job.event" && event["payload"]["kind"] == "result_chunk"
}

/// Changes the bodies of chunks.
fn chunk(event: &mut Value, change: fn(&mut Value)) {
    if is_chunk(event) {
        change(&mut event["payload"]["body"]);
    }
}

/// The first chunk comes after the second.
fn swapped(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(event) if is_chunk(&event) && event["payload"]["body"]["chunk_seq"] == 0 => {
            wire.held.push(event);
            Vec::new()
        }
        Frame::Told(told) if told["event_seq"].is_u64() => {
            let held = std::mem::take(&mut wire.held);
            std::iter::once(told).chain(held).map(Frame::Told).collect()
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn lost(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Told(event) if is_chunk(event) && event["payload"]["body"]["chunk_seq"] == 1 => Vec::new(),
        Frame::Told(_) | Frame::Asked(_) => vec![frame],
    }
}

fn doubled(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Told(event) if is_chunk(event) => vec![frame.clone(), frame],
        Frame::Told(_) | Frame::Asked(_) => vec![frame],
    }
}
