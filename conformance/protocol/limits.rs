//! Every limit is reached by a test, which asserts what is answered then.

use std::time::Duration;

use arcpd::store::Full;
use arcpd::transport::FrameWriter;
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::gated::Gated;
use crate::common::peer::{FEATURES, Peer, frame, hello};
use crate::fixture::{Raw, World, pass};

/// Where each limit is reached: a test of this module or another one here, or a unit test in `src/`.
const REACHED: &[(&str, &str)] = &[
    ("frame_bytes", "abuse::a_line_over_the_limit_costs_that_line"),
    ("hello_bytes", "handshake::a_first_frame_over_its_limit_is_refused_whatever_it_says"),
    ("json_depth", "limits::json_depth"),
    ("hello_timeout_ms", "handshake::a_hello_that_never_comes_is_not_waited_for"),
    ("send_timeout_ms", "flow::who_does_not_read_is_given_up_and_nobody_else_notices"),
    (
        "connections",
        "src/http/tests.rs: at_the_limit_of_connections_one_more_is_told_so_and_health_still_answers",
    ),
    ("sessions_per_principal", "limits::sessions_per_principal"),
    ("jobs_per_principal", "limits::jobs_per_principal"),
    ("jobs_running", "limits::jobs_running"),
    ("attachments_per_session", "limits::attachments_per_session"),
    ("followers_per_principal", "follow::so_many_sessions_of_a_principal_follow_it_and_no_more"),
    (
        "generic_subscriptions",
        "conformance/dialects/rust2/subscriptions.rs: a_subscription_that_cannot_be_kept_is_refused_or_closed",
    ),
    ("replies_pending", "limits::replies_pending"),
    ("refusals_per_sec", "abuse::refusals_are_answered_at_a_bounded_rate_and_only_the_sender_waits"),
    ("duplicate_window", "limits::duplicate_window"),
    ("session_buffer_events", "resume::events_beyond_the_buffer_are_gone_and_the_owner_is_told_what_is_left"),
    ("session_buffer_bytes", "limits::session_buffer_bytes"),
    ("lag_signal_events", "flow::a_session_that_acknowledges_is_told_once_each_time_that_it_falls_behind"),
    ("lag_detach_events", "flow::a_session_that_falls_too_far_behind_is_detached_and_can_resume"),
    ("history_events", "subscribe::a_position_that_is_trimmed_is_told_with_the_oldest_that_is_kept"),
    ("history_bytes", "limits::history_bytes"),
    ("bytes_per_principal", "limits::bytes_per_principal"),
    ("store_bytes", "limits::store_bytes"),
    ("store_queue_bytes", "limits::store_queue_bytes"),
    (
        "store_hot_bytes",
        "src/store/sqlite/hot.rs: it_answers_like_the_whole_or_not_at_all_and_never_keeps_more_than_it_may",
    ),
    (
        "store_reserve_bytes",
        "src/store/sqlite/tests.rs: a_removal_behind_what_does_not_fit_goes_ahead_in_the_reserve",
    ),
    ("finished_jobs", "limits::finished_jobs"),
    ("finished_age_sec", "limits::finished_age_sec"),
    ("idempotency_key_chars", "idempotency::a_key_has_to_make_sense"),
    ("idempotency_keys", "limits::idempotency_keys"),
    ("idempotency_age_sec", "idempotency::a_key_is_remembered_for_its_time_and_while_its_job_runs"),
    ("lease_namespaces", "limits::lease_sizes"),
    ("lease_patterns", "limits::lease_sizes"),
    ("lease_pattern_chars", "limits::lease_sizes"),
    ("max_runtime_sec", "limits::max_runtime_sec"),
    ("list_page_jobs", "listing::a_page_is_never_empty_for_want_of_a_sensible_limit"),
    ("list_default_jobs", "listing::a_page_is_never_empty_for_want_of_a_sensible_limit"),
    ("list_page_bytes", "listing::a_page_ends_by_bytes_too_and_holds_at_least_one_job"),
    ("inline_result_bytes", "features::beyond_the_inline_limit_a_result_is_named_only"),
    ("chunk_bytes", "limits::chunk_bytes_and_result_bytes"),
    ("result_bytes", "limits::chunk_bytes_and_result_bytes"),
    ("agent_line_bytes", "src/agent/child/tests.rs: what_breaks_the_contract_ends_the_attempt_and_says_why"),
    ("agent_stderr_bytes", "src/agent/child/tests.rs: stderr_is_logged_up_to_its_limit_and_the_rest_counted"),
    ("job_attempts", "restart::a_job_is_not_begun_for_ever"),
    ("cancel_grace_ms", "limits::cancel_grace_ms"),
    ("kill_grace_ms", "src/agent/child/tests.rs: the_ladder_ends_what_does_not_listen"),
    ("shutdown_grace_ms", "shutdown::neither_a_deaf_agent_nor_a_client_that_does_not_read_holds_it_up"),
];

#[test]
fn every_limit_has_a_test_that_reaches_it() {
    let reached: Vec<&str> = REACHED.iter().map(|(name, _)| *name).collect();
    assert_eq!(reached, Limits::NAMES, "a limit without its test here, or the other way round");
    let sources = [
        ("abuse", include_str!("abuse.rs")),
        ("features", include_str!("features.rs")),
        ("flow", include_str!("flow.rs")),
        ("follow", include_str!("follow.rs")),
        ("handshake", include_str!("handshake.rs")),
        ("idempotency", include_str!("idempotency.rs")),
        ("limits", include_str!("limits.rs")),
        ("listing", include_str!("listing.rs")),
        ("restart", include_str!("restart.rs")),
        ("resume", include_str!("resume.rs")),
        ("shutdown", include_str!("shutdown.rs")),
        ("subscribe", include_str!("subscribe.rs")),
        ("conformance/dialects/rust2/subscriptions.rs", include_str!("../dialects/rust2/subscriptions.rs")),
        ("src/http/tests.rs", include_str!("../../src/http/tests.rs")),
        ("src/store/sqlite/hot.rs", include_str!("../../src/store/sqlite/hot.rs")),
        ("src/store/sqlite/tests.rs", include_str!("../../src/store/sqlite/tests.rs")),
        ("src/agent/child/tests.rs", include_str!("../../src/agent/child/tests.rs")),
    ];
    for (name, test) in REACHED {
        let (file, test) = test.split_once(": ").or_else(|| test.split_once("::")).unwrap();
        let (_, source) = sources.iter().find(|(known, _)| *known == file).unwrap();
        assert!(source.contains(&format!("fn {test}(")), "{name}: no test {test} in {file}");
    }
}

/// Asserts that a request is refused because of this limit.
async fn capped(peer: &mut Peer, kind: &str, payload: Value, limit: &str) -> Value {
    let error = peer.ask_in_vain(kind, payload, "INTERNAL_ERROR").await;
    assert_eq!(error["retryable"], true, "{error}");
    assert_eq!(error["details"]["limit"], limit, "{error}");
    assert!(error["details"]["retry_after_ms"].as_u64().is_some(), "{error}");
    assert!(error["message"].as_str().unwrap().contains(limit), "{error}");
    error
}

fn puppet() -> Value {
    json!({ "agent": "puppet" })
}

#[tokio::test(start_paused = true)]
async fn json_depth() {
    let world = World::with(Limits { json_depth: 4, ..Limits::default() });
    let mut alice = Peer::over(world.runtime.connect());
    // A hello is four deep.
    alice.send("session.hello", hello("tok-a", FEATURES));
    alice.welcome().await;
    let job = alice.submit(json!({ "agent": "echo", "input": [[1]] })).await;
    alice.end_of(&job).await;
    let deep = json!({ "agent": "echo", "input": [[[1]]] });
    let error = alice.ask_in_vain("job.submit", deep, "INVALID_REQUEST").await;
    assert_eq!(error["message"], "the frame nests deeper than 4 arrays and objects");
    let text = json!({ "agent": "echo", "input": "[[[[[[[[[[\\\"[[[[" });
    let job = alice.submit(text).await;
    alice.end_of(&job).await;
}

#[tokio::test(start_paused = true)]
async fn sessions_per_principal() {
    let world = World::built(|b| {
        b.limits(Limits { sessions_per_principal: 2, ..Limits::default() })
            .resume_window(Duration::from_secs(2))
    });
    let (first, mut second) = (world.alice().await, world.alice().await);
    let mut third = Peer::over(world.runtime.connect());
    capped(&mut third, "session.hello", hello("tok-a", FEATURES), "sessions_per_principal").await;
    third.ended().await;
    world.bob().await.barrier().await;
    // One that can be resumed counts as well, and its window makes room.
    drop(first);
    pass(1_000).await;
    let mut third = Peer::over(world.runtime.connect());
    capped(&mut third, "session.hello", hello("tok-a", FEATURES), "sessions_per_principal").await;
    pass(3_000).await;
    world.alice().await.barrier().await;
    second.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_per_principal() {
    let world = World::with(Limits { jobs_per_principal: 2, ..Limits::default() });
    let (mut alice, mut other, mut bob) = (world.alice().await, world.alice().await, world.bob().await);
    let first = alice.submit(puppet()).await;
    other.submit(puppet()).await;
    let keyed = json!({ "agent": "puppet", "idempotency_key": "k" });
    capped(&mut alice, "job.submit", keyed.clone(), "jobs_per_principal").await;
    bob.submit(puppet()).await;
    world.puppets.finish(&first, json!(1)).await.unwrap();
    alice.end_of(&first).await;
    pass(10).await;
    alice.submit(keyed).await;
    capped(&mut other, "job.submit", puppet(), "jobs_per_principal").await;
}

#[tokio::test(start_paused = true)]
async fn jobs_running() {
    let world = World::with(Limits { jobs_running: 2, ..Limits::default() });
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let first = alice.submit(puppet()).await;
    alice.submit(puppet()).await;
    capped(&mut bob, "job.submit", puppet(), "jobs_running").await;
    world.puppets.finish(&first, json!(1)).await.unwrap();
    alice.end_of(&first).await;
    pass(10).await;
    bob.submit(puppet()).await;
}

#[tokio::test(start_paused = true)]
async fn attachments_per_session() {
    let world = World::with(Limits { attachments_per_session: 2, ..Limits::default() });
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let first = alice.submit(puppet()).await;
    let second = alice.submit(json!({ "agent": "puppet", "idempotency_key": "k" })).await;
    capped(&mut alice, "job.submit", puppet(), "attachments_per_session").await;
    let theirs = other.submit(puppet()).await;
    capped(&mut alice, "job.subscribe", json!({ "job_id": theirs }), "attachments_per_session").await;
    // What is followed already needs no more room.
    alice.ask("job.subscribe", json!({ "job_id": second }), "job.subscribed").await;
    assert_eq!(alice.submit(json!({ "agent": "puppet", "idempotency_key": "k" })).await, second);
    other.ask("job.subscribe", json!({ "job_id": first }), "job.subscribed").await;
    capped(
        &mut other,
        "job.submit",
        json!({ "agent": "puppet", "idempotency_key": "k" }),
        "attachments_per_session",
    )
    .await;
    world.puppets.finish(&first, json!(1)).await.unwrap();
    alice.end_of(&first).await;
    alice.ask("job.subscribe", json!({ "job_id": theirs }), "job.subscribed").await;
}

#[tokio::test(start_paused = true)]
async fn replies_pending() {
    let world = World::with(Limits { replies_pending: 8, send_timeout_ms: 3_600_000, ..Limits::default() });
    let mut raw = Raw::welcomed(world.runtime.connect(), &["list_jobs"]).await;
    let mut sent = 0_usize;
    // Who asks and does not read is not read from either, sooner or later.
    loop {
        let ask = frame(&format!("ask{sent}"), "session.list_jobs", json!({})).to_string();
        if timeout(Duration::from_secs(1), raw.writer.feed(ask.into())).await.is_err() {
            break;
        }
        sent += 1;
        assert!(sent < 1_000, "the daemon reads on");
    }
    world.alice().await.barrier().await;
    for n in 0..sent {
        assert_eq!(raw.next().await.unwrap()["payload"]["request_id"], format!("ask{n}"));
    }
    raw.send("session.list_jobs", json!({})).await;
    assert_eq!(raw.next().await.unwrap()["type"], "session.jobs");
}

#[tokio::test(start_paused = true)]
async fn duplicate_window() {
    let world = World::with(Limits { duplicate_window: 2, ..Limits::default() });
    let mut alice = world.alice().await;
    for (id, refused) in [("a", false), ("b", false), ("a", true), ("c", false), ("a", false), ("c", true)] {
        alice.send_raw(frame(id, "session.list_jobs", json!({})).to_string());
        if refused {
            alice.refused(id, "INVALID_REQUEST").await;
        } else {
            assert_eq!(alice.expect("session.jobs").await["payload"]["request_id"], id);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn session_buffer_bytes() {
    let world = World::with(Limits { session_buffer_bytes: 1_000, ..Limits::default() });
    let mut alice = world.alice().await;
    let jobs = [alice.submit(puppet()).await, alice.submit(puppet()).await];
    // Two jobs in turn make an entry of every event.
    for n in 0..40 {
        world.puppets.log(&jobs[n % 2], "x").await.unwrap();
        alice.numbered().await;
    }
    let token = alice.token.clone().unwrap();
    let (mut peer, id) = Peer::resuming(world.runtime.connect(), &token, 0);
    let error = peer.refused(&id, "RESUME_WINDOW_EXPIRED").await;
    let oldest = error["details"]["oldest_event_seq"].as_u64().unwrap();
    assert!((10..40).contains(&oldest), "{error}");
    let mut again = Peer::resumed(world.runtime.connect(), &token, oldest - 1).await;
    while again.last_seq < 40 {
        again.numbered().await;
    }
    again.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn history_bytes() {
    let world = World::with(Limits { history_bytes: 3 * 1024 * 1024, ..Limits::default() });
    let mut alice = world.alice().await;
    let ticker = json!({ "count": 16, "interval_ms": 1, "size": 400_000 });
    let job = alice.submit(json!({ "agent": "ticker", "input": ticker })).await;
    alice.until_end(&job).await;
    let ask = json!({ "job_id": job, "history": true, "from_event_seq": 1 });
    let error = alice.ask_in_vain("job.subscribe", ask, "RESUME_WINDOW_EXPIRED").await;
    let oldest = error["details"]["oldest"].as_u64().unwrap();
    // Groups are of three of these events: what is left is two or three of those.
    assert!((8..=13).contains(&oldest), "{error}");
    let subscribed =
        alice.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
    assert_eq!(subscribed["subscribed_from"], oldest - 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_per_principal() {
    let world = World::with(Limits { bytes_per_principal: 2_000_000, ..Limits::default() });
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let his = bob.submit(json!({ "agent": "echo" })).await;
    bob.end_of(&his).await;
    let done = alice.submit(json!({ "agent": "echo" })).await;
    alice.end_of(&done).await;
    let flood = alice.submit(puppet()).await;
    for _ in 0..6 {
        world.puppets.log(&flood, &"x".repeat(600_000)).await.unwrap();
        alice.expect("job.event").await;
    }
    capped(&mut alice, "job.submit", puppet(), "bytes_per_principal").await;
    let another = bob.submit(json!({ "agent": "echo" })).await;
    bob.end_of(&another).await;
    // Her own finished job makes room, and the oldest events of her flood; nothing of his goes.
    pass(1_000).await;
    alice.ask_in_vain("job.subscribe", json!({ "job_id": done }), "JOB_NOT_FOUND").await;
    let ask = json!({ "job_id": flood, "history": true, "from_event_seq": 1 });
    alice.ask_in_vain("job.subscribe", ask, "RESUME_WINDOW_EXPIRED").await;
    alice.submit(json!({ "agent": "echo" })).await;
    for job in [his, another] {
        bob.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
        bob.end_of(&job).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_relieved_by_whoever_filled_it() {
    let world = World::with(Limits { store_bytes: 2_000_000, ..Limits::default() });
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let his = bob.submit(json!({ "agent": "echo" })).await;
    bob.end_of(&his).await;
    let flood = alice.submit(puppet()).await;
    for _ in 0..6 {
        world.puppets.log(&flood, &"x".repeat(600_000)).await.unwrap();
        alice.expect("job.event").await;
    }
    capped(&mut bob, "job.submit", puppet(), "store_bytes").await;
    pass(1_000).await;
    bob.ask("job.subscribe", json!({ "job_id": his }), "job.subscribed").await;
    bob.end_of(&his).await;
    let again = bob.submit(json!({ "agent": "echo" })).await;
    bob.end_of(&again).await;
}

#[tokio::test(start_paused = true)]
async fn store_bytes() {
    let world = World::with(Limits { store_bytes: 50_000, ..Limits::default() });
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let large = json!({ "agent": "echo", "input": "x".repeat(60_000), "idempotency_key": "k" });
    let job = alice.submit(large.clone()).await;
    let error = capped(&mut other, "job.submit", puppet(), "store_bytes").await;
    assert_eq!(error["details"]["retry_after_ms"], 1_000);
    assert!(world.runtime.ready().unwrap_err().contains("of 50000"));
    alice.end_of(&job).await;
    // Finished jobs make room, and their keys go with them.
    pass(1_000).await;
    world.runtime.ready().unwrap();
    alice.ask_in_vain("job.subscribe", json!({ "job_id": job }), "JOB_NOT_FOUND").await;
    assert_ne!(alice.submit(large).await, job);
}

#[tokio::test(start_paused = true)]
async fn what_sessions_keep_counts_and_goes_where_bytes_are_scarce() {
    const EVENTS: u64 = 2_000;
    let world = World::with(Limits { bytes_per_principal: 100_000, ..Limits::default() });
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let kept = bob.submit(json!({ "agent": "echo", "input": "x".repeat(20_000) })).await;
    bob.end_of(&kept).await;
    let jobs = [alice.submit(puppet()).await, alice.submit(puppet()).await];
    // In turns, so that each number is remembered by itself. Neither history is long enough to lose anything.
    for n in 0..EVENTS {
        world.puppets.log(&jobs[(n % 2) as usize], "x").await.unwrap();
        alice.numbered().await;
    }
    alice.barrier().await;
    pass(2_000).await;
    let token = alice.token.clone().unwrap();
    let (mut late, id) = Peer::resuming(world.runtime.connect(), &token, 0);
    let refused = late.refused(&id, "RESUME_WINDOW_EXPIRED").await;
    assert!(refused["details"]["oldest_event_seq"].as_u64().unwrap() > EVENTS / 2, "{refused}");
    Peer::resumed(world.runtime.connect(), &token, EVENTS).await.barrier().await;
    bob.ask("job.subscribe", json!({ "job_id": kept }), "job.subscribed").await;
}

#[tokio::test(start_paused = true)]
async fn finished_jobs() {
    let world = World::built(|b| {
        b.limits(Limits { finished_jobs: 2, ..Limits::default() }).resume_window(Duration::from_secs(2))
    });
    let mut alice = world.alice().await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let job = alice.submit(json!({ "agent": "echo" })).await;
        alice.end_of(&job).await;
        jobs.push(job);
        pass(10).await;
    }
    let listed = |page: Value| -> Vec<String> {
        page["jobs"].as_array().unwrap().iter().map(|row| row["job_id"].as_str().unwrap().into()).collect()
    };
    pass(1_000).await;
    let page = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert_eq!(listed(page).len(), 4, "none goes within the resume window");
    pass(3_000).await;
    let page = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
    assert_eq!(listed(page), [jobs[3].clone(), jobs[2].clone()]);
    alice.ask_in_vain("job.cancel", json!({ "job_id": jobs[0] }), "JOB_NOT_FOUND").await;
    // A stream that needs what is gone cannot be replayed; from behind it, it can.
    let token = alice.token.clone().unwrap();
    let (mut peer, id) = Peer::resuming(world.runtime.connect(), &token, 0);
    let error = peer.refused(&id, "RESUME_WINDOW_EXPIRED").await;
    assert_eq!(error["details"], json!({ "oldest_event_seq": 3, "newest_event_seq": 4 }));
    let mut again = Peer::resumed(world.runtime.connect(), &token, 2).await;
    again.end_of(&jobs[2]).await;
    again.end_of(&jobs[3]).await;
}

#[tokio::test(start_paused = true)]
async fn finished_age_sec() {
    let world = World::built(|b| {
        b.limits(Limits { finished_age_sec: 5, ..Limits::default() }).resume_window(Duration::from_secs(1))
    });
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "echo" })).await;
    alice.end_of(&job).await;
    alice.send("session.ack", json!({ "last_processed_seq": 1 }));
    pass(4_000).await;
    alice.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
    alice.end_of(&job).await;
    alice.send("session.ack", json!({ "last_processed_seq": 2 }));
    pass(2_000).await;
    alice.ask_in_vain("job.subscribe", json!({ "job_id": job }), "JOB_NOT_FOUND").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_session_has_not_acknowledged_does_not_go_by_age() {
    let world = World::built(|b| {
        b.limits(Limits { finished_age_sec: 5, ..Limits::default() }).resume_window(Duration::from_secs(1))
    });
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "echo" })).await;
    let end = alice.end_of(&job).await;
    pass(60_000).await;
    let mut alice = Peer::resumed(world.runtime.connect(), &alice.token.clone().unwrap(), 0).await;
    assert_eq!(alice.end_of(&job).await, end);
    alice.send("session.ack", json!({ "last_processed_seq": 1 }));
    pass(10_000).await;
    alice.ask_in_vain("job.subscribe", json!({ "job_id": job }), "JOB_NOT_FOUND").await;
}

#[tokio::test(start_paused = true)]
async fn idempotency_keys() {
    let world = World::with(Limits { idempotency_keys: 2, ..Limits::default() });
    let mut alice = world.alice().await;
    let keyed = |key: &str| json!({ "agent": "echo", "idempotency_key": key });
    let mut jobs = Vec::new();
    for key in ["a", "b", "c"] {
        let job = alice.submit(keyed(key)).await;
        alice.end_of(&job).await;
        jobs.push(job);
    }
    pass(1_000).await;
    for (key, job) in [("b", &jobs[1]), ("c", &jobs[2])] {
        assert_eq!(alice.submit(keyed(key)).await, *job);
        alice.end_of(job).await;
    }
    let again = alice.submit(keyed("a")).await;
    assert_ne!(again, jobs[0], "the oldest was forgotten");
    alice.end_of(&again).await;
}

#[tokio::test(start_paused = true)]
async fn lease_sizes() {
    let limits =
        Limits { lease_namespaces: 2, lease_patterns: 3, lease_pattern_chars: 4, ..Limits::default() };
    let world = World::with(limits);
    let mut alice = world.alice().await;
    for (lease, says) in [
        (json!({ "a": [], "b": [], "c": [] }), "lease_request has 3 namespaces; at most 2 are allowed"),
        (json!({ "a": ["1", "2"], "b": ["3", "4"] }), "lease_request has 4 patterns; at most 3 are allowed"),
        (json!({ "a": ["12345"] }), "lease_request has 5 characters in a pattern; at most 4 are allowed"),
        (json!({ "nnnnn": ["1"] }), "lease_request has 5 characters in a pattern; at most 4 are allowed"),
    ] {
        let submit = json!({ "agent": "echo", "lease_request": lease });
        let error = alice.ask_in_vain("job.submit", submit, "INVALID_REQUEST").await;
        assert_eq!(error["message"], format!("payload.{says}"));
    }
    let lease = json!({ "aaaa": ["1", "ñññ4"], "b": ["3"] });
    let accepted =
        alice.ask("job.submit", json!({ "agent": "echo", "lease_request": lease }), "job.accepted").await;
    assert_eq!(accepted["lease"], lease);
}

#[tokio::test(start_paused = true)]
async fn max_runtime_sec() {
    let world = World::with(Limits { max_runtime_sec: 10, ..Limits::default() });
    let mut alice = world.alice().await;
    let asked = |seconds: u64| json!({ "agent": "echo", "max_runtime_sec": seconds });
    for seconds in [0, 11, u64::MAX] {
        let error = alice.ask_in_vain("job.submit", asked(seconds), "INVALID_REQUEST").await;
        let message = format!("payload.max_runtime_sec: expected 1 to 10 seconds, got {seconds}");
        assert_eq!(error["message"], message);
    }
    for seconds in [1, 10] {
        let job = alice.submit(asked(seconds)).await;
        alice.end_of(&job).await;
    }
}

#[tokio::test(start_paused = true)]
async fn chunk_bytes_and_result_bytes() {
    let world = World::with(Limits { chunk_bytes: 10, result_bytes: 25, ..Limits::default() });
    let mut alice = world.alice().await;
    let chunk = |size: usize| json!({ "kind": "result_chunk", "body": { "data": "x".repeat(size), "encoding": "utf8", "more": true } });
    for (sizes, says) in [
        (vec![10, 10, 5], None),
        (vec![11], Some("chunk_bytes allows 10")),
        (vec![10, 10, 6], Some("result_bytes allows no more")),
    ] {
        let job = alice.submit(puppet()).await;
        for size in &sizes {
            let _ = world.puppets.say(&job, "job.event", chunk(*size)).await;
        }
        let said = world.puppets.say(&job, "job.result", json!({})).await;
        world.puppets.leave(&job);
        let end = alice.until_end(&job).await.pop().unwrap();
        match says {
            None => assert_eq!(end["payload"]["result_size"], 25),
            Some(says) => {
                assert!(said.is_err());
                assert_eq!(end["payload"]["code"], "INTERNAL_ERROR");
                assert!(end["payload"]["message"].as_str().unwrap().contains(says), "{end}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_grace_ms() {
    let world = World::built(|b| {
        let limits = Limits { cancel_grace_ms: 700, ..Limits::default() };
        b.limits(limits).agent("deaf@1.0.0", |_| {
            std::future::pending::<Result<Value, arcpd::agent::in_process::AgentError>>()
        })
    });
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "deaf" })).await;
    pass(10).await;
    alice.ask("job.cancel", json!({ "job_id": job }), "job.cancelled").await;
    pass(600).await;
    alice.barrier().await;
    pass(200).await;
    assert_eq!(alice.end_of(&job).await["payload"]["code"], "CANCELLED");
}

#[tokio::test(start_paused = true)]
async fn store_queue_bytes() {
    let store = Gated::new();
    store.refuse(Full::Behind { bytes: 11, max: 10 });
    let world = World::built(|builder| builder.store(store));
    let mut alice = world.alice().await;
    let error = capped(&mut alice, "job.submit", puppet(), "store_queue_bytes").await;
    assert_eq!(error["details"]["retry_after_ms"], 1_000);
    assert!(world.runtime.ready().unwrap_err().contains("11 bytes of at most 10"));
}
