//! Functions that behave well and badly.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout as within;

use super::*;
use crate::agent::Stopper;
use crate::agent::testing::{BOUND, FakePort, run, run_until, start, stopping};
use crate::wire::agent_port::BrokenContract;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::limits::ENVELOPE_HEADROOM_BYTES;

fn limits() -> Limits {
    Limits { kill_grace_ms: 200, ..Limits::default() }
}

async fn end_of(host: Arc<dyn AgentHost>, input: &str, port: &Arc<FakePort>) -> AttemptEnd {
    run(&*host, start(input, &limits()), port.clone()).await
}

/// Tells that it was dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

/// An agent that says `up`, hangs for ever, and a sign that it was ended.
fn hanging() -> (Arc<dyn AgentHost>, oneshot::Receiver<()>) {
    let (sender, dropped) = oneshot::channel();
    let sender = parking_lot::Mutex::new(Some(sender));
    let host = in_process(move |job: Job| {
        let dropped = Dropped(sender.lock().take());
        async move {
            let _dropped = dropped;
            job.log("info", "up").await?;
            std::future::pending::<Result<Value, AgentError>>().await
        }
    });
    (host, dropped)
}

#[tokio::test]
async fn a_function_sees_its_job_and_returns_its_result() {
    let host = in_process(|job: Job| async move {
        let input: BTreeMap<String, u32> = job.input()?;
        let about = (job.id(), job.agent().to_string(), job.attempt(), job.trace_id());
        assert_eq!((job.deadline(), job.lease_constraints()), (None, None));
        assert_eq!((job.raw_input().get(), job.lease().grants().count()), (r#"{"a":1}"#, 0));
        Ok(json!({ "input": input, "about": about }))
    });
    let port = FakePort::open();
    assert_eq!(end_of(host, r#"{"a":1}"#, &port).await, AttemptEnd::Finished);
    let job = start("null", &limits());
    let expected =
        json!({ "input": {"a": 1}, "about": [job.job_id, "test@1.0.0", 1, job.trace_id.unwrap()] });
    assert_eq!(port.messages(), [("result".into(), json!({ "result": expected }))]);
}

#[tokio::test]
async fn each_emitter_tells_its_kind() {
    let host = in_process(|job: Job| async move {
        job.log("warn", "m").await?;
        job.thought("t").await?;
        job.progress(1, None, None).await?;
        job.progress(2, Some(3), Some("m")).await?;
        job.status("p", None).await?;
        job.metric("cost.x", 0.25, Some("USD")).await?;
        job.tool_call("tool", [1], "c1").await?;
        job.tool_result("c1", true).await?;
        job.tool_error("c2", &ErrorBody::new(ErrorCode::Timeout, "late")).await?;
        job.artifact("file:///x", "text/plain", Some(3), None).await?;
        job.event("x-own", json!({ "a": 1 })).await?;
        job.chunk_text("text").await?;
        job.chunk_bytes(&[0, 255]).await?;
        job.chunk_text("").await?;
        Ok(job.finish_chunks("done"))
    });
    let port = FakePort::open();
    assert_eq!(end_of(host, "null", &port).await, AttemptEnd::Finished);
    let expected = [
        ("log", json!({ "level": "warn", "message": "m" })),
        ("thought", json!({ "text": "t" })),
        ("progress", json!({ "current": 1 })),
        ("progress", json!({ "current": 2, "total": 3, "message": "m" })),
        ("status", json!({ "phase": "p" })),
        ("metric", json!({ "name": "cost.x", "value": 0.25, "unit": "USD" })),
        ("tool_call", json!({ "tool": "tool", "args": [1], "call_id": "c1" })),
        ("tool_result", json!({ "call_id": "c1", "result": true })),
        (
            "tool_result",
            json!({ "call_id": "c2", "error": { "code": "TIMEOUT", "message": "late", "retryable": false } }),
        ),
        ("artifact_ref", json!({ "uri": "file:///x", "content_type": "text/plain", "byte_size": 3 })),
        ("x-own", json!({ "a": 1 })),
        ("result_chunk", json!({ "data": "text", "encoding": "utf8", "more": true })),
        ("result_chunk", json!({ "data": "AP8=", "encoding": "base64", "more": true })),
        ("result", json!({ "summary": "done" })),
    ];
    assert_eq!(port.messages(), expected.map(|(kind, body)| (kind.to_owned(), body)));
}

#[tokio::test]
async fn chunks_keep_to_the_limits_whatever_json_makes_of_them() {
    let small = Arc::new(Limits { frame_bytes: 4_096, chunk_bytes: 1_000, ..limits() });
    let text = "\u{1}".repeat(3_000) + &"é".repeat(3_000) + &"\"".repeat(3_000);
    let given = text.clone();
    let host = in_process_with(&small, move |job: Job| {
        let text = given.clone();
        async move {
            job.chunk_text(&text).await?;
            Ok(Outcome::chunked())
        }
    });
    let port = FakePort::open();
    assert_eq!(run(&*host, start("null", &small), port.clone()).await, AttemptEnd::Finished);
    let chunks = port.bodies("result_chunk");
    let data: Vec<&str> = chunks.iter().map(|chunk| chunk["data"].as_str().unwrap()).collect();
    assert_eq!(data.concat(), text);
    assert!(data.iter().all(|data| data.len() <= small.chunk_bytes));
    let longest = chunks.iter().map(|chunk| chunk.to_string().len()).max().unwrap();
    assert!(longest <= small.frame_bytes - ENVELOPE_HEADROOM_BYTES, "{longest}");
}

#[tokio::test]
async fn an_error_is_told_and_a_panic_is_an_end_without_a_word() {
    let port = FakePort::open();
    let wrong = in_process(|job: Job| async move {
        let input: BTreeMap<String, u32> = job.input()?;
        Ok(json!(input))
    });
    assert_eq!(end_of(wrong, r#"{"a":"b"}"#, &port).await, AttemptEnd::Finished);
    let error = &port.bodies("error")[0];
    assert_eq!(error["code"], "INVALID_REQUEST");
    assert!(error["message"].as_str().unwrap().starts_with("input.a: invalid type"), "{error}");

    let port = FakePort::open();
    let fails = in_process(|_| async move {
        Err::<Outcome, _>(AgentError::new(ErrorCode::Timeout, "late").with_retryable(true))
    });
    assert_eq!(end_of(fails, "null", &port).await, AttemptEnd::Finished);
    assert_eq!(port.bodies("error"), [json!({ "code": "TIMEOUT", "message": "late", "retryable": true })]);

    let keys: BTreeMap<Vec<u8>, u8> = BTreeMap::from([(vec![1], 1)]);
    assert!(Outcome::json(&keys).unwrap_err().message.contains("JSON"));

    let panics = in_process(|job: Job| async move {
        let number = job.attempt();
        if number == 1 {
            panic!("number {number}");
        }
        Ok(json!(null))
    });
    assert_eq!(end_of(panics, "null", &port).await, AttemptEnd::Lost("panicked: number 1".into()));
    let panics_at_once = in_process(|job: Job| {
        assert!(job.attempt() == 0, "at once");
        async { Ok(json!(null)) }
    });
    assert_eq!(end_of(panics_at_once, "null", &port).await, AttemptEnd::Lost("panicked: at once".into()));
}

#[tokio::test]
async fn a_function_that_listens_ends_by_itself_and_one_that_hangs_by_force() {
    let listens = in_process(|job: Job| async move {
        job.log("info", "up").await?;
        assert!(!job.is_stopped());
        let stop = job.stopped().await;
        assert!(job.is_stopped());
        job.log("info", &stop.reason).await?;
        Err::<Value, _>(AgentError::cancelled())
    });
    let (hangs, dropped) = hanging();
    for (host, ahead, messages) in [(listens, BOUND, 3), (hangs, Duration::ZERO, 1)] {
        let port = FakePort::open();
        let (stopper, stop) = Stopper::new();
        let run = run_until(&*host, start("null", &limits()), port.clone(), stop);
        let stop = async {
            port.until(|port| port.messages().len() == 1).await;
            stopper.stop(stopping(), ahead);
        };
        assert_eq!(tokio::join!(run, stop).0, AttemptEnd::Stopped);
        assert_eq!(port.messages().len(), messages);
    }
    within(BOUND, dropped).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_attempt_ends_the_function() {
    let (host, dropped) = hanging();
    let port = FakePort::open();
    let (_stopper, stop) = Stopper::new();
    let attempt = tokio::spawn(host.run(start("null", &limits()), port.clone(), stop));
    port.until(|port| port.messages().len() == 1).await;
    attempt.abort();
    within(BOUND, dropped).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_closed_port_ends_the_function() {
    let contract = BrokenContract("body.level: no".into());
    for (closed, end) in [
        (PortClosed::Ended, AttemptEnd::Stopped),
        (PortClosed::Broken(contract.clone()), AttemptEnd::Broken(contract)),
    ] {
        let port = FakePort::open();
        port.close(closed);
        let host = in_process(|job: Job| async move {
            job.log("info", "too late").await?;
            Ok(json!(null))
        });
        assert_eq!(end_of(host, "null", &port).await, end);
        assert_eq!(port.messages().len(), 1);
    }
}

#[tokio::test]
async fn a_function_waits_until_the_port_is_ready_and_lets_others_run_meanwhile() {
    let floods = || {
        in_process(|job: Job| async move {
            loop {
                job.log("info", "flood").await?;
            }
            #[allow(unreachable_code)] // Says what the function would return.
            Ok(json!(null))
        })
    };
    for port in [FakePort::limited(5), FakePort::open()] {
        let (stopper, stop) = Stopper::new();
        let host = floods();
        let run = run_until(&*host, start("null", &limits()), port.clone(), stop);
        let stop = async {
            port.until(|port| port.messages().len() >= 5).await;
            stopper.stop(stopping(), Duration::ZERO);
        };
        assert_eq!(tokio::join!(run, stop).0, AttemptEnd::Stopped);
    }
}
