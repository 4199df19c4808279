//! The contract of the demo agents, field by field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::agent::testing::{BOUND, FakePort, run, run_until, start, stopping};
use crate::agent::{AgentHost, AttemptEnd, Stopper};

fn host(agent: &str) -> Arc<dyn AgentHost> {
    let mut catalogue = Catalogue::default();
    register(&mut catalogue, &Arc::default()).unwrap();
    catalogue.resolve(&agent.parse().unwrap()).unwrap().host
}

/// What an agent says to an input, to its end.
async fn told(agent: &str, input: &str) -> Vec<(String, Value)> {
    let port = FakePort::open();
    let end = run(&*host(agent), start(input, &Limits::default()), port.clone()).await;
    assert_eq!(end, AttemptEnd::Finished, "{agent} {input}");
    port.messages()
}

async fn result(agent: &str, input: &str) -> Value {
    told(agent, input).await.pop().unwrap().1["result"].take()
}

#[test]
fn the_inventory_is_the_contracts() {
    let mut catalogue = Catalogue::default();
    register(&mut catalogue, &Arc::default()).unwrap();
    let inventory = serde_json::to_value(catalogue.inventory()).unwrap();
    let one = |name: &str| json!({ "name": name, "versions": ["1.0.0"], "default": "1.0.0" });
    let echo = json!({ "name": "echo", "versions": ["1.0.0", "2.0.0"], "default": "2.0.0" });
    let rest = ["failer", "sleeper", "spender", "ticker"].map(one);
    assert_eq!(inventory, json!([one("chunker"), echo, rest[0], rest[1], rest[2], rest[3]]));
    assert!(register(&mut catalogue, &Arc::default()).is_err());
}

#[tokio::test]
async fn without_input_the_defaults_are_taken() {
    for input in ["null", "{}"] {
        assert_eq!(result("ticker", input).await, json!({ "ticks": 3 }));
        assert_eq!(result("sleeper", input).await, json!({ "slept_ms": 100 }));
        assert_eq!(result("spender", input).await, json!({ "calls_made": 10, "exhausted": false }));
        let failed = told("failer", input).await;
        assert_eq!((failed.len(), &failed[0].1["code"]), (1, &json!("INTERNAL_ERROR")));
        assert_eq!(told("chunker", input).await.len(), 4);
    }
}

#[tokio::test]
async fn every_field_of_the_contract_is_known_and_in_the_docs() {
    let docs = include_str!("../../../docs/demo-agents.md");
    for (agent, input) in [
        ("ticker", r#"{"count":1,"interval_ms":1,"size":1}"#),
        ("chunker", r#"{"chunks":1,"chunk_bytes":1,"encoding":"utf8"}"#),
        ("spender", r#"{"calls":1,"usd_per_call":0.3}"#),
        ("sleeper", r#"{"ms":1}"#),
        ("failer", r#"{"code":"CANCELLED","message":"m","retryable":false,"after_events":1}"#),
    ] {
        let told = told(agent, input).await;
        assert!(told.last().unwrap().1["code"] != "INVALID_REQUEST", "{agent}: {told:?}");
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{agent}` "))).unwrap();
        let fields: serde_json::Map<String, Value> = serde_json::from_str(input).unwrap();
        assert!(fields.keys().all(|field| row.contains(&format!("`{field}`"))), "{row}");
    }
    assert!(docs.contains("| `echo` "));
}

#[tokio::test]
async fn echo_returns_its_input() {
    for input in ["null", "[1.50,\"é\"]", r#"{"a":{"b":null}}"#] {
        assert_eq!(result("echo", input).await, serde_json::from_str::<Value>(input).unwrap());
        assert_eq!(result("echo@1.0.0", input).await, serde_json::from_str::<Value>(input).unwrap());
    }
}

#[tokio::test]
async fn ticker_counts() {
    let told = told("ticker", r#"{"count":2,"interval_ms":0,"size":3}"#).await;
    let tick =
        |current: u64| ("progress".to_owned(), json!({ "current": current, "total": 2, "message": "xxx" }));
    assert_eq!(told, [tick(1), tick(2), ("result".into(), json!({ "result": { "ticks": 2 } }))]);
}

#[tokio::test]
async fn chunker_streams_the_bytes_of_the_contract() {
    for (chunks, chunk_bytes) in [(1, 1), (7, 100), (3, 251), (2, 600_000)] {
        for encoding in ["base64", "utf8"] {
            let input = json!({ "chunks": chunks, "chunk_bytes": chunk_bytes, "encoding": encoding });
            let mut told = told("chunker", &input.to_string()).await;
            let (last, end) = told.pop().unwrap();
            assert!(last == "result" && end.get("result").is_none(), "{end}");
            assert!(told.len() >= chunks, "{input}");
            let mut bytes = Vec::new();
            for (kind, body) in told {
                assert_eq!((kind.as_str(), &body["encoding"]), ("result_chunk", &json!(encoding)));
                let data = body["data"].as_str().unwrap();
                let decoded = if encoding == "utf8" { data.into() } else { STANDARD.decode(data).unwrap() };
                assert!(decoded.len() <= Limits::default().chunk_bytes);
                bytes.extend(decoded);
            }
            assert_eq!(bytes.len(), chunks * chunk_bytes);
            let of = |j: usize| if encoding == "utf8" { j % 26 + usize::from(b'a') } else { j % 251 };
            assert!(bytes.iter().enumerate().all(|(j, byte)| usize::from(*byte) == of(j)), "{input}");
        }
    }
}

#[tokio::test]
async fn spender_tells_each_call_and_its_exact_cost() {
    for (input, amount) in [
        (r#"{"calls":2}"#, "0.3"),
        (r#"{"calls":2,"usd_per_call":0.3}"#, "0.3"),
        (r#"{"calls":2,"usd_per_call":1}"#, "1"),
    ] {
        let told = told("spender", input).await;
        assert_eq!(told.len(), 7);
        for call in [&told[..3], &told[3..6]] {
            let call_id = &call[0].1["call_id"];
            assert_eq!((call[0].0.as_str(), &call[0].1["tool"]), ("tool_call", &json!("spend")));
            assert_eq!(call[1].0, "metric");
            assert_eq!(call[1].1["value"].to_string(), amount, "{input}");
            assert_eq!((&call[1].1["name"], &call[1].1["unit"]), (&json!("cost.tool"), &json!("USD")));
            let result = json!({ "call_id": call_id, "result": { "ok": true } });
            assert_eq!(call[2], ("tool_result".into(), result));
        }
        assert_ne!(told[0].1["call_id"], told[3].1["call_id"]);
        assert_eq!(told[6].1, json!({ "result": { "calls_made": 2, "exhausted": false } }));
    }
}

#[tokio::test]
async fn failer_fails_as_it_is_asked_to() {
    let input = r#"{"code":"TIMEOUT","message":"m","retryable":true,"after_events":2}"#;
    let told = told("failer", input).await;
    assert_eq!(told.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["log", "log", "error"]);
    assert_eq!(told[2].1, json!({ "code": "TIMEOUT", "message": "m", "retryable": true }));
}

#[tokio::test]
async fn wrong_input_is_refused_by_field() {
    for (agent, input, names) in [
        ("ticker", r#"{"count":"3"}"#, "input.count"),
        ("ticker", r#"{"count":-1}"#, "input.count"),
        ("ticker", r#"{"count":10000001}"#, "input.count: expected 0 to 10000000, got 10000001"),
        ("ticker", r#"{"interval_ms":3600001}"#, "input.interval_ms"),
        ("ticker", r#"{"size":524289}"#, "input.size"),
        ("ticker", "[1]", "input"),
        ("ticker", "7", "input"),
        ("ticker", r#"{"conut":1}"#, "unknown field `conut`, expected one of `count`, `interval_ms`, `size`"),
        ("chunker", r#"{"chunk":1}"#, "expected one of `chunks`, `chunk_bytes`, `encoding`"),
        ("sleeper", r#"{"s":1}"#, "expected `ms`"),
        ("spender", r#"{"call":1}"#, "expected `calls` or `usd_per_call`"),
        ("failer", r#"{"why":1}"#, "expected one of `code`, `message`, `retryable`, `after_events`"),
        ("chunker", r#"{"chunks":0}"#, "input.chunks"),
        ("chunker", r#"{"chunk_bytes":99999999999}"#, "input.chunk_bytes"),
        ("chunker", r#"{"encoding":"rot13"}"#, "input.encoding"),
        ("sleeper", r#"{"ms":86400001}"#, "input.ms"),
        ("spender", r#"{"calls":1e3}"#, "input.calls"),
        ("spender", r#"{"usd_per_call":"0.3"}"#, "input.usd_per_call"),
        ("spender", r#"{"usd_per_call":-0.3}"#, "input.usd_per_call"),
        ("spender", r#"{"usd_per_call":3e-1}"#, "input.usd_per_call"),
        ("failer", r#"{"code":"OOPS"}"#, "input.code"),
        ("failer", r#"{"after_events":1000001}"#, "input.after_events"),
    ] {
        let told = told(agent, input).await;
        assert_eq!((told.len(), &told[0].1["code"]), (1, &json!("INVALID_REQUEST")), "{agent} {input}");
        let message = told[0].1["message"].as_str().unwrap();
        assert!(message.contains(names), "{agent} {input}: {message}");
    }
}

#[tokio::test]
async fn those_that_take_time_end_at_once_when_stopped() {
    for (agent, input) in [
        ("sleeper", r#"{"ms":86400000}"#),
        ("ticker", r#"{"interval_ms":3600000}"#),
        ("ticker", r#"{"count":10000000,"interval_ms":0}"#),
        ("spender", r#"{"calls":100000}"#),
        ("failer", r#"{"after_events":1000000}"#),
    ] {
        let port = FakePort::open();
        let (stopper, stop) = Stopper::new();
        let host = host(agent);
        let run = run_until(&*host, start(input, &Limits::default()), port.clone(), stop);
        let stop = async { stopper.stop(stopping(), BOUND) };
        assert_eq!(tokio::join!(run, stop).0, AttemptEnd::Stopped);
        let last = port.messages().pop().unwrap();
        assert_eq!((last.0.as_str(), &last.1["code"]), ("error", &json!("CANCELLED")), "{agent}");
    }
}
