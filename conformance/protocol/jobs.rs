//! Jobs (§7.1, §7.3–7.5, §8): submitted, told of, ended; and what the demo agents promise.

use std::collections::HashSet;
use std::time::Duration;

use arcpd::agent::in_process::{AgentError, Job};
use arcpd::runtime::Ambient;
use arcpd::wire::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::peer::{Peer, frame};
use crate::fixture::{World, anonymous, fields, pass};

/// Submits a job to one agent and returns its numbered frames.
async fn run(peer: &mut Peer, agent: &str, input: Value) -> Vec<Value> {
    let job = peer.submit(json!({ "agent": agent, "input": input })).await;
    peer.until_end(&job).await
}

fn bodies<'a>(frames: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let of_kind = frames.iter().filter(|frame| frame["payload"]["kind"] == kind);
    of_kind.map(|frame| &frame["payload"]["body"]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_is_accepted_told_of_and_ended_with_every_field_in_its_place() {
    let world = World::new();
    let mut alice = world.alice().await;
    let id = alice.send("job.submit", json!({ "agent": "ticker", "input": { "count": 1 } }));
    let accepted = alice.expect("job.accepted").await;
    assert_eq!(fields(&accepted), ["arcp", "id", "job_id", "payload", "session_id", "type"]);
    let payload = &accepted["payload"];
    assert_eq!(
        fields(payload),
        ["accepted_at", "agent", "job_id", "lease", "reply_to", "request_id"],
        "optional fields are left out, not null"
    );
    let job = payload["job_id"].as_str().unwrap();
    assert!(job.starts_with("job_"));
    assert_eq!(accepted["job_id"], job);
    assert_eq!((&payload["request_id"], &payload["reply_to"]), (&json!(id), &json!(id)));
    assert_eq!((&payload["agent"], &payload["lease"]), (&json!("ticker@1.0.0"), &json!({})));
    Timestamp::parse(payload["accepted_at"].as_str().unwrap()).unwrap();

    let frames = alice.until_end(job).await;
    assert_eq!(frames.len(), 2);
    for told in &frames {
        assert_eq!(fields(told), ["arcp", "event_seq", "id", "job_id", "payload", "session_id", "type"]);
    }
    assert_eq!(fields(&frames[0]["payload"]), ["body", "job_id", "kind", "ts"]);
    assert_eq!(frames[0]["payload"]["kind"], "progress");
    assert_eq!(frames[0]["payload"]["body"], json!({ "current": 1, "total": 1 }));
    Timestamp::parse(frames[0]["payload"]["ts"].as_str().unwrap()).unwrap();
    let end = &frames[1];
    assert_eq!(end["type"], "job.result");
    assert_eq!(fields(&end["payload"]), ["completed_at", "final_status", "job_id", "result"]);
    assert_eq!(end["payload"]["final_status"], "success");
    assert_eq!(end["payload"]["result"], json!({ "ticks": 1 }));
    Timestamp::parse(end["payload"]["completed_at"].as_str().unwrap()).unwrap();
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn inputs_and_results_survive_whatever_they_are() {
    let world = World::new();
    let mut alice = world.alice().await;
    for value in [
        json!(null),
        json!(false),
        json!(0),
        json!(""),
        json!([]),
        json!({}),
        json!(-0.5),
        json!("\u{0}\u{7f}\u{2028}ñ𝄞\""),
        json!([null, { "a": [false, 0, ""] }]),
    ] {
        let frames = run(&mut alice, "echo", value.clone()).await;
        assert_eq!(frames[0]["payload"].get("result"), Some(&value), "{frames:?}");
    }
    let job = alice.submit(json!({ "agent": "echo" })).await;
    assert_eq!(alice.end_of(&job).await["payload"].get("result"), Some(&Value::Null), "absent means null");
    for (said, told) in [
        (json!({ "result": null }), json!(null)),
        (json!({}), json!(null)),
        (json!({ "result": false }), json!(false)),
        (json!({ "result": 0, "summary": "nothing" }), json!(0)),
    ] {
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        world.puppets.say(&job, "job.result", said.clone()).await.unwrap();
        let end = alice.end_of(&job).await;
        assert_eq!(end["payload"].get("result"), Some(&told), "{end}");
        assert_eq!(end["payload"].get("summary"), said.get("summary"), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn ticker_counts() {
    let world = World::new();
    let mut alice = world.alice().await;
    let frames = run(&mut alice, "ticker", json!({})).await;
    let progress: Vec<Value> = (1..=3).map(|i| json!({ "current": i, "total": 3 })).collect();
    assert_eq!(bodies(&frames, "progress"), progress.iter().collect::<Vec<_>>());
    assert_eq!(frames[3]["payload"]["result"], json!({ "ticks": 3 }));
    let frames = run(&mut alice, "ticker", json!({ "count": 2, "interval_ms": 0, "size": 4 })).await;
    assert_eq!(
        bodies(&frames, "progress"),
        [
            &json!({ "current": 1, "total": 2, "message": "xxxx" }),
            &json!({ "current": 2, "total": 2, "message": "xxxx" })
        ]
    );
    let frames = run(&mut alice, "ticker", json!({ "count": 0 })).await;
    assert_eq!(frames[0]["payload"]["result"], json!({ "ticks": 0 }));
}

#[tokio::test(start_paused = true)]
async fn chunker_streams_its_known_bytes() {
    let world = World::new();
    let mut alice = world.alice().await;
    for (input, encoding, chunks, size) in [
        (json!(null), "base64", 3, 192_usize),
        (json!({ "chunks": 5, "chunk_bytes": 1000 }), "base64", 5, 5_000),
        (json!({ "chunks": 4, "chunk_bytes": 33, "encoding": "utf8" }), "utf8", 4, 132),
    ] {
        let frames = run(&mut alice, "chunker", input).await;
        let (end, events) = frames.split_last().unwrap();
        let (mut bytes, result_id) = (Vec::new(), &end["payload"]["result_id"]);
        assert!(events.len() >= chunks);
        for (seq, event) in events.iter().enumerate() {
            assert_eq!(event["payload"]["kind"], "result_chunk");
            let body = &event["payload"]["body"];
            assert_eq!(fields(body), ["chunk_seq", "data", "encoding", "more", "result_id"]);
            assert_eq!((&body["chunk_seq"], &body["result_id"]), (&json!(seq), result_id));
            assert_eq!(
                (&body["encoding"], &body["more"]),
                (&json!(encoding), &json!(seq + 1 < events.len()))
            );
            let data = body["data"].as_str().unwrap();
            match encoding {
                "utf8" => bytes.extend(data.bytes()),
                _ => bytes.extend(STANDARD.decode(data).unwrap()),
            }
        }
        let (period, first) = if encoding == "utf8" { (26, b'a') } else { (251, 0) };
        let known: Vec<u8> = (0..size).map(|j| first + u8::try_from(j % period).unwrap()).collect();
        assert_eq!(bytes, known);
        let end = &end["payload"];
        assert_eq!(
            fields(end),
            ["completed_at", "final_status", "job_id", "result_id", "result_size", "summary"]
        );
        assert!(result_id.as_str().unwrap().starts_with("res_"));
        assert_eq!(end["result_size"], size);
    }
}

#[tokio::test(start_paused = true)]
async fn spender_calls_its_tool_and_tells_the_cost() {
    let world = World::new();
    let mut alice = world.alice().await;
    let frames = run(&mut alice, "spender", json!({ "calls": 2 })).await;
    let kinds: Vec<&Value> = frames[..6].iter().map(|frame| &frame["payload"]["kind"]).collect();
    assert_eq!(kinds, ["tool_call", "metric", "tool_result", "tool_call", "metric", "tool_result"]);
    let metric = json!({ "name": "cost.tool", "value": 0.3, "unit": "USD" });
    assert_eq!(bodies(&frames, "metric"), [&metric, &metric]);
    for (call, result) in bodies(&frames, "tool_call").iter().zip(bodies(&frames, "tool_result")) {
        assert_eq!((&call["tool"], &result["result"]), (&json!("spend"), &json!({ "ok": true })));
        assert_eq!(call["call_id"], result["call_id"]);
    }
    assert_eq!(frames[6]["payload"]["result"], json!({ "calls_made": 2, "exhausted": false }));
}

#[tokio::test(start_paused = true)]
async fn sleeper_sleeps_and_failer_fails_as_asked() {
    let world = World::new();
    let mut alice = world.alice().await;
    assert_eq!(
        run(&mut alice, "sleeper", json!(null)).await[0]["payload"]["result"],
        json!({ "slept_ms": 100 })
    );
    for (input, events, code, status, retryable) in [
        (json!(null), 0, "INTERNAL_ERROR", "error", true),
        (json!({ "after_events": 3, "message": "m" }), 3, "INTERNAL_ERROR", "error", true),
        (json!({ "code": "INTERNAL_ERROR", "retryable": false }), 0, "INTERNAL_ERROR", "error", true),
        (json!({ "code": "BUDGET_EXHAUSTED", "retryable": true }), 0, "BUDGET_EXHAUSTED", "error", false),
        (json!({ "code": "LEASE_EXPIRED", "retryable": true }), 0, "LEASE_EXPIRED", "error", false),
        (json!({ "code": "PERMISSION_DENIED" }), 0, "PERMISSION_DENIED", "error", false),
        (json!({ "code": "PERMISSION_DENIED", "retryable": true }), 0, "PERMISSION_DENIED", "error", true),
        (json!({ "code": "TIMEOUT" }), 0, "TIMEOUT", "timed_out", false),
        (json!({ "code": "CANCELLED" }), 0, "CANCELLED", "cancelled", false),
    ] {
        let message = input["message"].as_str().unwrap_or("failed, as it was asked to").to_owned();
        let frames = run(&mut alice, "failer", input).await;
        assert_eq!(bodies(&frames, "log").len(), events);
        let end = frames.last().unwrap();
        assert_eq!(end["type"], "job.error");
        let mut payload = end["payload"].clone();
        payload.as_object_mut().unwrap().retain(|key, _| key != "completed_at" && key != "job_id");
        assert_eq!(
            payload,
            json!({ "code": code, "final_status": status, "message": message, "retryable": retryable })
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_input_that_an_agent_cannot_use_ends_its_job_and_names_the_field() {
    let world = World::new();
    let mut alice = world.alice().await;
    for (agent, input, names) in [
        ("ticker", json!([]), "input"),
        ("ticker", json!({ "count": -1 }), "count"),
        ("ticker", json!({ "count": 1e30 }), "count"),
        ("sleeper", json!({ "ms": "long" }), "ms"),
        ("chunker", json!({ "chunks": 0 }), "chunks"),
        ("chunker", json!({ "encoding": "rot13" }), "encoding"),
        ("spender", json!({ "usd_per_call": -0.3 }), "usd_per_call"),
        ("failer", json!({ "code": "NO_SUCH_CODE" }), "code"),
    ] {
        let frames = run(&mut alice, agent, input.clone()).await;
        let end = &frames[0]["payload"];
        assert_eq!((frames.len(), &end["code"]), (1, &json!("INVALID_REQUEST")), "{agent} {input}");
        assert!(end["message"].as_str().unwrap().contains(names), "{agent} {input}: {end}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_event_passes_with_its_body_as_it_was_said() {
    let world = World::new();
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    for (kind, body) in [
        ("log", json!({ "level": "info", "message": "m", "unknown": [1] })),
        ("thought", json!({ "text": "t" })),
        ("tool_call", json!({ "tool": "t", "args": { "a": null }, "call_id": "c" })),
        ("tool_result", json!({ "call_id": "c", "result": null })),
        (
            "tool_result",
            json!({ "call_id": "c", "error": { "code": "TIMEOUT", "message": "m", "retryable": false } }),
        ),
        ("status", json!({ "phase": "p" })),
        ("metric", json!({ "name": "n", "value": 0.1, "dimensions": { "d": "e" } })),
        (
            "artifact_ref",
            json!({ "uri": "file:///x", "content_type": "a/b", "byte_size": 1, "sha256": "0".repeat(64) }),
        ),
        ("progress", json!({ "current": 0.5, "total": 1, "units": "u" })),
        ("trace_span", json!({ "span_id": "00f067aa0ba902b7", "name": "plan", "attributes": { "k": "v" } })),
        ("x-vendor.kind", json!({ "anything": { "goes": true } })),
    ] {
        let said = json!({ "kind": kind, "body": body });
        world.puppets.say(&job, "job.event", said).await.unwrap();
        let told = alice.numbered().await;
        assert_eq!(told["type"], "job.event");
        assert_eq!((&told["payload"]["kind"], &told["payload"]["body"]), (&json!(kind), &body));
    }
    world.puppets.finish(&job, json!(1)).await.unwrap();
    alice.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pipelined_submits_get_one_answer_each_in_order_and_events_come_after_it() {
    let world = World::new();
    let mut alice = world.alice().await;
    let kinds = [
        (json!({ "agent": "echo", "input": 1 }), true),
        (json!({ "agent": "nobody" }), false),
        (json!({ "agent": "ticker", "input": { "count": 2, "interval_ms": 0 } }), true),
        (json!({ "agent": "echo@9" }), false),
        (json!({ "agent": "failer" }), true),
        (json!({}), false),
        (json!({ "agent": "echo", "max_runtime_sec": 0 }), false),
    ];
    let sent: Vec<(String, bool)> = (0..100)
        .map(|n| {
            let (payload, good) = &kinds[n % kinds.len()];
            (alice.send("job.submit", payload.clone()), *good)
        })
        .collect();
    let (mut answers, mut open, mut ended) = (Vec::new(), HashSet::new(), 0);
    let good = sent.iter().filter(|(_, good)| *good).count();
    while answers.len() < sent.len() || ended < good {
        let told = alice.frame().await;
        match told["type"].as_str().unwrap() {
            "job.accepted" => {
                answers.push((told["payload"]["request_id"].as_str().unwrap().to_owned(), true));
                assert!(open.insert(told["job_id"].clone()), "accepted twice: {told}");
            }
            "session.error" => {
                answers.push((told["payload"]["request_id"].as_str().unwrap().to_owned(), false));
            }
            _ => {
                assert!(open.contains(&told["job_id"]), "before its acceptance or after its end: {told}");
                assert_eq!(told["event_seq"], alice.last_seq + 1);
                alice.last_seq += 1;
                if told["type"] != "job.event" {
                    open.remove(&told["job_id"]);
                    ended += 1;
                }
            }
        }
    }
    assert_eq!(answers, sent);
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_carried_through_in_either_of_its_forms() {
    let world = World::new();
    let mut alice = world.alice().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (n, written) in [trace.to_owned(), trace.to_uppercase(), format!("00-{trace}-00f067aa0ba902b7-01")]
        .into_iter()
        .enumerate()
    {
        let mut submit =
            frame(&format!("trace{n}"), "job.submit", json!({ "agent": "ticker", "input": { "count": 1 } }));
        submit["trace_id"] = json!(written);
        alice.send_raw(submit.to_string());
        let accepted = alice.expect("job.accepted").await;
        assert_eq!((&accepted["trace_id"], &accepted["payload"]["trace_id"]), (&json!(trace), &json!(trace)));
        for told in alice.until_end(accepted["job_id"].as_str().unwrap()).await {
            assert_eq!(told["trace_id"], trace, "{told}");
        }
    }
    let mut wrong = frame("trace-x", "job.submit", json!({ "agent": "echo" }));
    for bad in ["", "abc", "0".repeat(32).as_str(), "g".repeat(32).as_str()] {
        wrong["trace_id"] = json!(bad);
        alice.send_raw(wrong.to_string());
        let error = alice.refused("trace-x", "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().starts_with("trace_id: "), "{error}");
    }
    let row = alice.ask("session.list_jobs", json!({}), "session.jobs").await["jobs"][0].clone();
    assert_eq!(row["trace_id"], trace);
    let subscribed = alice.ask("job.subscribe", json!({ "job_id": row["job_id"] }), "job.subscribed").await;
    assert_eq!(subscribed["trace_id"], trace);
}

#[tokio::test(start_paused = true)]
async fn versions_resolve_exactly_or_not_at_all() {
    let world = World::built(|b| b.default_version("echo", "1.0.0"));
    let mut alice = world.alice().await;
    for (asked, got) in [("echo", "echo@1.0.0"), ("echo@1.0.0", "echo@1.0.0"), ("echo@2.0.0", "echo@2.0.0")] {
        let accepted = alice.ask("job.submit", json!({ "agent": asked }), "job.accepted").await;
        assert_eq!(accepted["agent"], got);
        alice.end_of(accepted["job_id"].as_str().unwrap()).await;
    }
    for (asked, code) in [
        ("echo@3.0.0", "AGENT_VERSION_NOT_AVAILABLE"),
        ("echo@1.0", "AGENT_VERSION_NOT_AVAILABLE"),
        ("nobody", "AGENT_NOT_AVAILABLE"),
        ("nobody@1.0.0", "AGENT_NOT_AVAILABLE"),
        ("", "INVALID_REQUEST"),
        ("Echo", "INVALID_REQUEST"),
        ("@1.0.0", "INVALID_REQUEST"),
        ("echo@", "INVALID_REQUEST"),
        ("echo@1@2", "INVALID_REQUEST"),
        ("echo @1.0.0", "INVALID_REQUEST"),
        (".echo", "INVALID_REQUEST"),
    ] {
        let error = alice.ask_in_vain("job.submit", json!({ "agent": asked }), code).await;
        assert_eq!(error["retryable"], false, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_too_long_times_out_once() {
    let world = World::new();
    let mut alice = world.alice().await;
    let slow = json!({ "agent": "sleeper", "input": { "ms": 5_000 }, "max_runtime_sec": 2 });
    let job = alice.submit(slow).await;
    let end = alice.end_of(&job).await;
    assert_eq!(end["type"], "job.error");
    let payload = &end["payload"];
    assert_eq!((&payload["code"], &payload["final_status"]), (&json!("TIMEOUT"), &json!("timed_out")));
    assert_eq!(payload["retryable"], false);
    let quick = json!({ "agent": "sleeper", "input": { "ms": 100 }, "max_runtime_sec": 1 });
    let job = alice.submit(quick).await;
    assert_eq!(alice.end_of(&job).await["type"], "job.result");
    pass(6_000).await;
    alice.barrier().await;
    let filter = json!({ "filter": { "status": "timed_out" } });
    let jobs = alice.ask("session.list_jobs", filter, "session.jobs").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "the watchdog dies with its job");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_begin_is_refused() {
    let world = World::new();
    let mut alice = world.alice().await;
    let now = world.clock.now().to_string();
    for at in [
        json!("2020-01-01T00:00:00Z"),
        json!(now),
        json!("2099-01-01T00:00:00"),
        json!("2099-01-01T00:00:00+00:00"),
        json!("2099-13-01T00:00:00Z"),
        json!("tomorrow"),
        json!(""),
        json!(4_102_444_800_u64),
    ] {
        let submit = json!({ "agent": "echo", "lease_constraints": { "expires_at": at } });
        let error = alice.ask_in_vain("job.submit", submit, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains("expires_at"), "{at}: {error}");
    }
    for lease in [
        json!({ "cost.budget": ["USD:-1"] }),
        json!({ "cost.budget": ["USD:1", "USD:2"] }),
        json!({ "fs.read": [""] }),
        json!({ "fs.read": "/x" }),
        json!([]),
    ] {
        let submit = json!({ "agent": "echo", "lease_request": lease });
        let error = alice.ask_in_vain("job.submit", submit, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains("lease_request"), "{lease}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_echoed_and_its_end_ends_the_job() {
    let world = World::new();
    let mut alice = world.alice().await;
    let lease = json!({
        "net.fetch": ["https://b/**", "https://a/**"],
        "cost.budget": ["USD:1.00", "EUR:2"],
        "x.unknown": ["kept"],
        "fs.read": [],
    });
    let at = world.clock.now().plus(Duration::from_millis(1_500));
    let constraints = json!({ "expires_at": at.to_string() });
    let submit = json!({ "agent": "puppet", "lease_request": lease, "lease_constraints": constraints });
    let accepted = alice.ask("job.submit", submit, "job.accepted").await;
    assert_eq!((&accepted["lease"], &accepted["lease_constraints"]), (&lease, &constraints));
    let row = alice.ask("session.list_jobs", json!({}), "session.jobs").await["jobs"][0].clone();
    assert_eq!((&row["lease"], &row["lease_constraints"]), (&lease, &constraints));
    let ask = json!({ "job_id": row["job_id"] });
    let subscribed = alice.ask("job.subscribe", ask, "job.subscribed").await;
    assert_eq!((&subscribed["lease"], &subscribed["lease_constraints"]), (&lease, &constraints));

    let end = alice.end_of(row["job_id"].as_str().unwrap()).await;
    let payload = &end["payload"];
    assert_eq!((&payload["code"], &payload["final_status"]), (&json!("LEASE_EXPIRED"), &json!("error")));
    assert_eq!(payload["retryable"], false);
    assert!(Timestamp::parse(payload["completed_at"].as_str().unwrap()).unwrap() >= at, "not before");

    // Without a lease_request it counts as well; in good time, and for all time, it changes nothing.
    let soon = world.clock.now().plus(Duration::from_millis(500)).to_string();
    let submit =
        json!({ "agent": "sleeper", "input": { "ms": 9_000 }, "lease_constraints": { "expires_at": soon } });
    let job = alice.submit(submit).await;
    assert_eq!(alice.end_of(&job).await["payload"]["code"], "LEASE_EXPIRED");
    for at in ["2099-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999Z"] {
        let submit = json!({ "agent": "sleeper", "lease_constraints": { "expires_at": at } });
        let job = alice.submit(submit).await;
        assert_eq!(alice.end_of(&job).await["type"], "job.result", "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_acknowledged_and_then_ends_the_job() {
    let world = World::new();
    let mut alice = world.alice().await;
    let sleep = json!({ "agent": "sleeper", "input": { "ms": 86_400_000 } });
    let job = alice.submit(sleep.clone()).await;
    let cancelled =
        alice.ask("job.cancel", json!({ "job_id": job, "reason": "enough" }), "job.cancelled").await;
    assert_eq!(fields(&cancelled), ["job_id", "reason", "reply_to", "request_id"]);
    assert_eq!((&cancelled["job_id"], &cancelled["reason"]), (&json!(job), &json!("enough")));
    let end = alice.end_of(&job).await;
    let payload = &end["payload"];
    assert_eq!((&payload["code"], &payload["final_status"]), (&json!("CANCELLED"), &json!("cancelled")));
    assert_eq!((&payload["retryable"], &payload["message"]), (&json!(false), &json!("cancelled: enough")));

    let error = alice.ask_in_vain("job.cancel", json!({ "job_id": job }), "INVALID_REQUEST").await;
    assert_eq!(error["details"]["current_status"], "cancelled");
    let done = alice.submit(json!({ "agent": "echo" })).await;
    alice.end_of(&done).await;
    let error = alice.ask_in_vain("job.cancel", json!({ "job_id": done }), "INVALID_REQUEST").await;
    assert_eq!(error["details"]["current_status"], "success", "and it is not rewritten:");
    let jobs = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert!(
        jobs["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["job_id"] == *done && row["status"] == "success")
    );

    // The id may stand in the envelope.
    let job = alice.submit(sleep).await;
    let mut cancel = frame("in-envelope", "job.cancel", json!({}));
    cancel["job_id"] = json!(job);
    alice.send_raw(cancel.to_string());
    assert_eq!(alice.expect("job.cancelled").await["payload"]["job_id"], *job);
    alice.end_of(&job).await;
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn while_a_job_is_being_cancelled_another_cancellation_is_acknowledged_too() {
    let world = World::built(|b| {
        b.agent("slow-to-stop@1.0.0", |job: Job| async move {
            job.stopped().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            job.log("info", "tidied up").await?;
            Err::<Value, _>(AgentError::cancelled())
        })
    });
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "slow-to-stop" })).await;
    pass(10).await;
    for _ in 0..3 {
        alice.ask("job.cancel", json!({ "job_id": job }), "job.cancelled").await;
    }
    let row = alice.ask("session.list_jobs", json!({}), "session.jobs").await["jobs"][0].clone();
    assert_eq!(row["status"], "running");
    let frames = alice.until_end(&job).await;
    assert_eq!(frames[0]["payload"]["body"]["message"], "tidied up", "last words count");
    assert_eq!((frames.len(), &frames[1]["payload"]["code"]), (2, &json!("CANCELLED")));
    pass(5_000).await;
    alice.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_submitting_session_cancels_until_it_is_gone() {
    let world = World::built(|b| b.resume_window(Duration::from_secs(2)));
    let (mut alice, mut other, mut bob) = (world.alice().await, world.alice().await, world.bob().await);
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    let cancel = json!({ "job_id": job });
    other.ask("job.subscribe", cancel.clone(), "job.subscribed").await;
    let denied = other.ask_in_vain("job.cancel", cancel.clone(), "PERMISSION_DENIED").await;
    assert_eq!(denied["retryable"], false);

    let foreign = bob.send("job.cancel", cancel.clone());
    let foreign_answer = bob.expect("session.error").await;
    assert_eq!(foreign_answer["payload"]["request_id"], foreign);
    assert_eq!(foreign_answer["payload"]["code"], "JOB_NOT_FOUND");
    let nobody = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    bob.send("job.cancel", json!({ "job_id": nobody }));
    let missing = bob.expect("session.error").await;
    let renamed = anonymous(&missing).to_string().replace(nobody, &job);
    assert_eq!(anonymous(&foreign_answer).to_string(), renamed, "no difference but the id that was sent");

    drop(alice);
    pass(1_000).await;
    other.ask_in_vain("job.cancel", cancel.clone(), "PERMISSION_DENIED").await;
    pass(2_000).await;
    other.ask("job.cancel", cancel, "job.cancelled").await;
    assert_eq!(other.end_of(&job).await["payload"]["code"], "CANCELLED");
}
