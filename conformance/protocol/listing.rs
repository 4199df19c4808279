//! Listing jobs (§6.6).

use std::collections::BTreeSet;

use arcpd::runtime::Ambient;
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::common::peer::Peer;
use crate::fixture::{World, fields, pass};

async fn list(peer: &mut Peer, ask: Value) -> (Vec<Value>, Option<String>) {
    let page = peer.ask("session.list_jobs", ask, "session.jobs").await;
    assert_eq!(
        fields(&page),
        ["jobs", "next_cursor", "reply_to", "request_id"],
        "next_cursor is never absent"
    );
    let next = page["next_cursor"].as_str().map(Into::into);
    (page["jobs"].as_array().unwrap().clone(), next)
}

fn ids(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().map(|row| row["job_id"].as_str().unwrap().to_owned()).collect()
}

async fn done(peer: &mut Peer, agent: &str) -> String {
    let job = peer.submit(json!({ "agent": agent })).await;
    peer.until_end(&job).await;
    job
}

#[tokio::test(start_paused = true)]
async fn a_row_tells_what_a_job_is_and_listing_does_not_subscribe() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = done(&mut alice, "ticker").await;
    let (rows, next) = list(&mut other, json!({})).await;
    assert_eq!((rows.len(), next), (1, None));
    assert_eq!(
        fields(&rows[0]),
        ["agent", "created_at", "job_id", "last_event_seq", "lease", "status", "submitted_at"]
    );
    assert_eq!((&rows[0]["job_id"], &rows[0]["agent"]), (&json!(job), &json!("ticker@1.0.0")));
    assert_eq!((&rows[0]["status"], &rows[0]["last_event_seq"]), (&json!("success"), &json!(4)));
    assert_eq!(rows[0]["created_at"], rows[0]["submitted_at"]);
    let running = alice.submit(json!({ "agent": "puppet" })).await;
    let (rows, _) = list(&mut other, json!({ "filter": { "agent": "puppet" } })).await;
    assert_eq!(rows[0]["last_event_seq"], 0);
    world.puppets.log(&running, "1").await.unwrap();
    alice.numbered().await;
    let (rows, _) = list(&mut other, json!({ "filter": { "status": "running" } })).await;
    assert_eq!((&rows[0]["job_id"], &rows[0]["last_event_seq"]), (&json!(running), &json!(1)));
    other.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn filters_choose() {
    let world = World::new();
    let mut alice = world.alice().await;
    let first = done(&mut alice, "echo@1.0.0").await;
    pass(1_000).await;
    let between = world.clock.now().to_string();
    pass(1_000).await;
    let second = done(&mut alice, "echo@2.0.0").await;
    let failed = done(&mut alice, "failer").await;
    let running = alice.submit(json!({ "agent": "puppet" })).await;
    world.puppets.log(&running, "started").await.unwrap();
    alice.numbered().await;
    let slow = alice.submit(json!({ "agent": "sleeper", "input": { "ms": 60_000 } })).await;
    alice.ask("job.cancel", json!({ "job_id": slow }), "job.cancelled").await;
    alice.end_of(&slow).await;
    let created = |job: &str, rows: &[Value]| {
        rows.iter().find(|row| row["job_id"] == job).unwrap()["created_at"].clone()
    };
    let (all, _) = list(&mut alice, json!({})).await;
    let exactly = created(&second, &all);
    for (filter, expected) in [
        (json!({}), vec![&first, &second, &failed, &running, &slow]),
        (Value::Null, vec![&first, &second, &failed, &running, &slow]),
        (json!({ "x-unknown": 1 }), vec![&first, &second, &failed, &running, &slow]),
        (json!({ "status": "success" }), vec![&first, &second]),
        (json!({ "status": ["error", "cancelled"] }), vec![&failed, &slow]),
        (json!({ "status": ["running", "running"] }), vec![&running]),
        (json!({ "status": [] }), vec![]),
        (json!({ "status": "pending" }), vec![]),
        (json!({ "agent": "echo" }), vec![&first, &second]),
        (json!({ "agent": "echo@1.0.0" }), vec![&first]),
        (json!({ "agent": "echo@1" }), vec![]),
        (json!({ "agent": "ech" }), vec![]),
        (json!({ "created_after": between }), vec![&second, &failed, &running, &slow]),
        (json!({ "created_before": between }), vec![&first]),
        (json!({ "created_after": between, "created_before": between }), vec![]),
        (json!({ "created_after": between, "status": "success", "agent": "echo" }), vec![&second]),
        (json!({ "created_before": exactly }), vec![&first]),
        (json!({ "created_after": "2099-01-01T00:00:00Z" }), vec![]),
    ] {
        let (rows, next) = list(&mut alice, json!({ "filter": filter })).await;
        assert_eq!(ids(&rows), expected.into_iter().cloned().collect(), "{filter}");
        assert_eq!((rows.len(), next), (ids(&rows).len(), None), "{filter}");
    }
    for (filter, names) in [
        (json!({ "status": "finished" }), "filter.status"),
        (json!({ "status": 7 }), "filter.status"),
        (json!({ "status": ["success", null] }), "filter.status"),
        (json!({ "agent": "Echo" }), "filter.agent"),
        (json!({ "agent": "" }), "filter.agent"),
        (json!({ "created_after": "yesterday" }), "filter.created_after"),
        (json!({ "created_before": "2026-01-01T00:00:00" }), "filter.created_before"),
        (json!([]), "filter"),
    ] {
        let ask = json!({ "filter": filter });
        let error = alice.ask_in_vain("session.list_jobs", ask, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains(names), "{filter}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_give_each_job_once_whatever_is_submitted_meanwhile() {
    let world = World::new();
    let mut alice = world.alice().await;
    let mut before = BTreeSet::new();
    for _ in 0..23 {
        before.insert(done(&mut alice, "echo").await);
        pass(1).await;
    }
    for size in [1, 5, 23] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let (rows, next) = list(&mut alice, json!({ "limit": size, "cursor": cursor })).await;
            assert!(rows.len() <= size);
            seen.extend(rows.iter().map(|row| row["job_id"].as_str().unwrap().to_owned()));
            pages += 1;
            pass(1).await;
            done(&mut alice, "echo").await;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "each once");
        let newest_first = seen.windows(2).all(|pair| pair[0] > pair[1]);
        assert!(newest_first, "{seen:?}");
        assert!(before.iter().all(|job| seen.contains(job)), "every one that was there at the start");
        assert!(pages > 1, "{pages}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_never_empty_for_want_of_a_sensible_limit() {
    let limits = Limits { list_page_jobs: 4, list_default_jobs: 3, ..Limits::default() };
    let world = World::with(limits);
    let mut alice = world.alice().await;
    for _ in 0..6 {
        done(&mut alice, "echo").await;
    }
    for (limit, rows) in [(Value::Null, 3), (json!(2), 2), (json!(5), 4), (json!(u64::MAX), 4)] {
        let (page, next) = list(&mut alice, json!({ "limit": limit })).await;
        assert_eq!((page.len(), next.is_some()), (rows, true), "{limit}");
    }
    for limit in [json!(0), json!(-1), json!(1.5), json!("10"), json!(1e30)] {
        let ask = json!({ "limit": limit });
        let error = alice.ask_in_vain("session.list_jobs", ask, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains("payload.limit"), "{limit}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_is_good_for_its_own_listing_only() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    for _ in 0..3 {
        done(&mut alice, "echo").await;
        done(&mut bob, "echo").await;
    }
    let (_, cursor) = list(&mut alice, json!({ "limit": 1 })).await;
    let cursor = cursor.unwrap();
    let mut flipped = cursor.clone();
    flipped.replace_range(..1, if cursor.starts_with('0') { "1" } else { "0" });
    for wrong in ["", ".", "null", &flipped, &cursor[1..], &format!("{cursor}0"), &"x".repeat(10_000)] {
        let ask = json!({ "limit": 1, "cursor": wrong });
        let error = alice.ask_in_vain("session.list_jobs", ask, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().starts_with("payload.cursor: "), "{error}");
    }
    let ask = json!({ "limit": 1, "cursor": cursor });
    bob.ask_in_vain("session.list_jobs", ask, "INVALID_REQUEST").await;
    let ask = json!({ "limit": 1, "cursor": cursor, "filter": { "agent": "echo" } });
    alice.ask_in_vain("session.list_jobs", ask, "INVALID_REQUEST").await;
    // Another session of the same principal may go on, with another page size too.
    let mut other = world.alice().await;
    let (rows, next) = list(&mut other, json!({ "limit": 2, "cursor": cursor })).await;
    assert_eq!((rows.len(), next), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_page_ends_by_bytes_too_and_holds_at_least_one_job() {
    let world = World::with(Limits { list_page_bytes: 2_000, ..Limits::default() });
    let mut alice = world.alice().await;
    let mut jobs = BTreeSet::new();
    for size in [100, 100, 5_000, 100, 100, 100] {
        let lease = json!({ "fs.read": ["x".repeat(size / 2), "y".repeat(size / 2)] });
        let job = alice.submit(json!({ "agent": "echo", "lease_request": lease })).await;
        alice.end_of(&job).await;
        jobs.insert(job);
        pass(1).await;
    }
    let (mut seen, mut sizes, mut cursor) = (BTreeSet::new(), Vec::new(), None::<String>);
    loop {
        let (rows, next) = list(&mut alice, json!({ "cursor": cursor })).await;
        sizes.push(rows.len());
        seen.extend(ids(&rows));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen, sizes), (jobs, vec![3, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_another_principals_jobs() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let hers = done(&mut alice, "echo").await;
    assert_eq!(list(&mut bob, json!({})).await, (vec![], None));
    let his = done(&mut bob, "echo").await;
    for (peer, own) in [(&mut alice, hers), (&mut bob, his)] {
        for ask in [json!({}), json!({ "filter": { "agent": "echo" } }), json!({ "limit": 1 })] {
            let (rows, next) = list(peer, ask).await;
            assert_eq!((ids(&rows), next), (BTreeSet::from([own.clone()]), None));
        }
    }
}
