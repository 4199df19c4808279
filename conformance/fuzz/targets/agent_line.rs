//! Lines of agents: no panic, errors with words, and what is accepted as an event has a body that is an object.
//! Data: one line.

use arcpd::proto::result::ResultStream;
use arcpd::wire::agent_port::{AgentMessage, PortChunk};
use arcpd::wire::event::EventKind;
use arcpd::wire::id::ResultId;
use arcpd::wire::limits::Limits;
use serde_json::Value;
use serde_json::value::RawValue;

pub fn check(data: &[u8]) {
    let limits = Limits { chunk_bytes: 16, result_bytes: 40, ..Limits::default() };
    match AgentMessage::parse(data, &limits) {
        Ok(AgentMessage::Event(event)) => {
            if let Some(kind) = EventKind::parse(&event.kind) {
                body(kind, &event.body);
            }
            chunk(&event.body, &limits);
        }
        Ok(AgentMessage::Result(result)) => {
            let text = result.result.as_deref().map_or("null", RawValue::get);
            cut(text, &limits);
        }
        Ok(
            AgentMessage::Hello(_)
            | AgentMessage::Error(_)
            | AgentMessage::Op(_)
            | AgentMessage::Ping(_)
            | AgentMessage::Pong(_),
        ) => {}
        Err(broken) => assert!(!broken.0.trim().is_empty(), "an error without words"),
    }
}

fn body(kind: EventKind, body: &RawValue) {
    match kind.check(body) {
        Ok(()) => assert!(body.get().starts_with('{')),
        Err(error) => assert!(error.starts_with("body"), "{error}"),
    }
}

fn chunk(body: &RawValue, limits: &Limits) {
    let Ok(chunk) = serde_json::from_str::<PortChunk>(body.get()) else { return };
    let mut stream = ResultStream::new(ResultId::new(1, 1));
    let mut total = 0;
    for seq in 0..3 {
        let Ok(placed) = stream.chunk(chunk.clone(), limits) else { break };
        assert_eq!((placed.chunk_seq, &placed.data), (seq, &chunk.data));
        total = stream.reference().1;
        assert!(total <= limits.result_bytes);
        if !chunk.more {
            assert!(stream.chunk(chunk.clone(), limits).is_err(), "a chunk after the last one");
            break;
        }
    }
    assert_eq!(stream.reference().1, total, "a refused chunk does not count");
}

fn cut(text: &str, limits: &Limits) {
    let mut stream = ResultStream::new(ResultId::new(1, 1));
    match stream.cut(text, limits) {
        Ok(chunks) => {
            assert_eq!(chunks.iter().map(|chunk| chunk.data.as_str()).collect::<String>(), text);
            assert!(chunks.iter().all(|chunk| chunk.data.len() <= limits.chunk_bytes));
            assert_eq!(chunks.iter().position(|chunk| !chunk.more), Some(chunks.len() - 1));
            assert_eq!(stream.reference().1, text.len() as u64);
        }
        Err(_) => assert!(text.len() as u64 > limits.result_bytes),
    }
    let _: Value = serde_json::from_str(text).unwrap_or_default();
}
