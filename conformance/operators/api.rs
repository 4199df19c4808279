//! `/api`: every endpoint, held against its schema.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arcpd::store::sqlite::{SqliteOptions, SqliteStore};
use arcpd::store::{Durability, Full};
use arcpd::wire::limits::Limits;
use arcpd::wire::schema;
use serde_json::{Value, json};

use crate::common::gated::Gated;
use crate::common::peer::PATIENCE;
use crate::door::{Answer, Door};

/// An answer that is what its schema says.
fn checked(name: &str, answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("content-type: application/json\r\n"), "{answer:?}");
    let file = schema::all().into_iter().find(|file| file.path == format!("api/{name}.json")).unwrap();
    let schema = serde_json::from_str(&file.text).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let value = answer.json();
    let wrong: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{name}: {wrong:?} in {value:#}");
    value
}

async fn ok(door: &Door, name: &str, path: &str) -> Value {
    checked(name, &door.get(path).await, 200)
}

async fn refused(door: &Door, path: &str, status: u16) -> String {
    let error = checked("error", &door.get(path).await, status);
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_endpoint_needs_the_role() {
    let door = Door::open().await;
    let job = "job_01J00000000000000000000000";
    let session = "sess_01J00000000000000000000000";
    for (method, path) in [
        ("GET", "/api/status"),
        ("GET", "/api/sessions"),
        ("GET", &format!("/api/sessions/{session}")),
        ("GET", "/api/jobs"),
        ("GET", &format!("/api/jobs/{job}")),
        ("POST", &format!("/api/jobs/{job}/cancel")),
        ("GET", "/api/store"),
        ("GET", "/api/limits"),
        ("GET", "/api/nothing"),
    ] {
        for (token, status, code) in [
            (None, 401, "UNAUTHENTICATED"),
            (Some("wrong"), 401, "UNAUTHENTICATED"),
            (Some("tok-a"), 403, "PERMISSION_DENIED"),
            (Some("tok-m"), 403, "PERMISSION_DENIED"),
        ] {
            let error = checked("error", &door.ask(method, path, token, "").await, status);
            assert_eq!(error["code"], code, "{method} {path} {token:?}");
        }
        assert!(![401, 403].contains(&door.ask(method, path, Some("tok-o"), "").await.status), "{path}");
    }
}

#[tokio::test]
async fn sessions_are_listed_newest_first_page_by_page() {
    let door = Door::open().await;
    let mut alice = door.session("tok-a").await;
    let mut ids = vec![alice.session_id.clone().unwrap()];
    for _ in 0..4 {
        let bob = door.session("tok-b").await;
        ids.push(bob.session_id.clone().unwrap());
    }
    let first = ids[0].clone();
    // An id begins with its time; within one millisecond the order is that of what follows.
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let (mut seen, mut path) = (Vec::new(), "/api/sessions?limit=2".to_owned());
    let pages = loop {
        let page = ok(&door, "sessions", &path).await;
        seen.extend(page["sessions"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/sessions?limit=2&cursor={cursor}"),
            None => break seen.len().div_ceil(2),
        }
    };
    assert_eq!(pages, 3);
    let listed: Vec<&str> = seen.iter().map(|row| row["session_id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    let whose: BTreeSet<(bool, &str)> = seen
        .iter()
        .map(|row| (row["session_id"] == first.as_str(), row["principal"].as_str().unwrap()))
        .collect();
    assert_eq!(whose, [(true, "alice"), (false, "bob")].into());

    let job = alice.submit(json!({ "agent": "puppet" })).await;
    door.puppets.log(&job, "one").await.unwrap();
    alice.numbered().await;
    let one = ok(&door, "session", &format!("/api/sessions/{first}")).await;
    assert_eq!(one["session"]["connected"], true);
    assert_eq!((&one["session"]["peer"], &one["session"]["dialect"]), (&json!("memory"), &json!("spec")));
    assert_eq!((&one["session"]["following"], &one["session"]["newest_event_seq"]), (&json!(1), &json!(1)));
    assert_eq!(one["jobs"], json!([{ "job_id": job, "pos": 1, "submitter": true }]));

    assert!(
        refused(&door, "/api/sessions/sess_01J00000000000000000000000", 404)
            .await
            .contains("no such session")
    );
    assert!(refused(&door, "/api/sessions?cursor=x", 400).await.starts_with("cursor: expected"));
}

#[tokio::test]
async fn jobs_of_everybody_are_listed_filtered_and_shown() {
    let door = Door::open().await;
    let (mut alice, mut bob) = (door.session("tok-a").await, door.session("tok-b").await);
    let done = alice.submit(json!({ "agent": "echo", "input": { "secret": "of alice" } })).await;
    alice.end_of(&done).await;
    let failed = bob.submit(json!({ "agent": "failer", "input": { "message": "boom" } })).await;
    bob.end_of(&failed).await;
    let running = bob.submit(json!({ "agent": "puppet", "max_runtime_sec": 60 })).await;
    door.puppets.log(&running, "at work").await.unwrap();
    bob.numbered().await;

    let newest_first = |mut ids: Vec<&String>| -> Vec<String> {
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids.into_iter().cloned().collect()
    };
    let ids = |page: &Value| -> Vec<String> {
        page["jobs"].as_array().unwrap().iter().map(|row| row["job_id"].as_str().unwrap().into()).collect()
    };
    for (query, expected) in [
        ("", vec![&running, &failed, &done]),
        ("?principal=bob", vec![&running, &failed]),
        ("?principal=alice&status=running", vec![]),
        ("?status=success&status=error", vec![&failed, &done]),
        ("?agent=echo", vec![&done]),
    ] {
        let page = ok(&door, "jobs", &format!("/api/jobs{query}")).await;
        assert_eq!(ids(&page), newest_first(expected), "{query}");
        assert_eq!(page["next_cursor"], Value::Null);
    }
    let first = ok(&door, "jobs", "/api/jobs?limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = ok(&door, "jobs", &format!("/api/jobs?limit=2&cursor={cursor}")).await;
    assert_eq!([ids(&first), ids(&second)].concat(), newest_first(vec![&running, &failed, &done]));
    assert_eq!(ids(&second).len(), 1);
    let other = format!("/api/jobs?principal=bob&cursor={cursor}");
    assert!(refused(&door, &other, 400).await.contains("with the same filter"), "a cursor is its listing's");

    let ended = ok(&door, "job", &format!("/api/jobs/{failed}")).await;
    assert_eq!((&ended["job"]["status"], &ended["job"]["principal"]), (&json!("error"), &json!("bob")));
    assert!(ended["error"]["message"].as_str().unwrap().contains("boom"), "{ended}");
    assert!(ended["job"]["ended_at"].is_string());
    let alive = door.get(&format!("/api/jobs/{running}")).await;
    let alive = checked("job", &alive, 200);
    assert_eq!((&alive["max_runtime_sec"], &alive["attempts"]), (&json!(60), &json!(1)));
    let of_alice = door.get(&format!("/api/jobs/{done}")).await;
    assert!(checked("job", &of_alice, 200)["input_bytes"].as_u64().unwrap() > 10);
    assert!(!of_alice.body.contains("of alice"), "inputs are their submitters': {of_alice:?}");
    let missing = refused(&door, "/api/jobs/job_01J00000000000000000000000", 404).await;
    assert!(missing.contains("no such job"), "{missing}");
}

#[tokio::test]
async fn an_operator_cancels_a_job_of_somebody_else_whose_session_is_there() {
    let door = Door::open().await;
    let mut alice = door.session("tok-a").await;
    let job = alice.submit(json!({ "agent": "sleeper", "input": { "ms": 60_000 } })).await;
    let path = format!("/api/jobs/{job}/cancel");
    let told = door.ask("POST", &path, Some("tok-o"), r#"{"reason":"maintenance"}"#).await;
    assert_eq!(checked("cancelled", &told, 200), json!({ "job_id": job }));
    let end = alice.end_of(&job).await;
    assert_eq!(end["payload"]["final_status"], "cancelled");
    assert!(end["payload"]["message"].as_str().unwrap().contains("maintenance"), "{end}");
    // Whoever knows the end by its event may be faster than the registry, which lets the job go after it.
    let late = checked("error", &door.ask("POST", &path, Some("tok-o"), "").await, 409);
    assert_eq!(late["details"]["current_status"], "cancelled");
    let path = "/api/jobs/job_01J00000000000000000000000/cancel";
    assert_eq!(
        checked("error", &door.ask("POST", path, Some("tok-o"), "").await, 404)["code"],
        "JOB_NOT_FOUND"
    );
}

#[tokio::test]
async fn an_operator_is_told_of_no_end_that_is_not_stored() {
    let store = Gated::new();
    let gated = store.clone();
    let door = Door::with(Limits::default(), |builder| builder.store(gated)).await;
    let mut alice = door.session("tok-a").await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    door.puppets.attempt(&job).await;
    store.hold();
    door.puppets.finish(&job, json!(1)).await.unwrap();
    let path = format!("/api/jobs/{job}/cancel");
    let mut asked = Box::pin(door.ask("POST", &path, Some("tok-o"), ""));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut asked).await;
    assert!(early.is_err(), "{early:?}");
    store.let_go();
    let late = checked("error", &tokio::time::timeout(PATIENCE, asked).await.unwrap(), 409);
    assert_eq!(late["details"]["current_status"], "success");
}

#[tokio::test]
async fn the_status_counts_what_there_is_and_says_why_it_is_not_ready() {
    let door = Door::open().await;
    let mut alice = door.session("tok-a").await;
    let echo = alice.submit(json!({ "agent": "echo" })).await;
    alice.end_of(&echo).await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    door.puppets.log(&job, "at work").await.unwrap();
    alice.numbered().await;
    // An end is spoken before the registry has let its job go.
    let counted = async {
        loop {
            let status = ok(&door, "status", "/api/status").await;
            if status["jobs"]["finished"] == 1 {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    let status = tokio::time::timeout(PATIENCE, counted).await.unwrap();
    assert_eq!(status["jobs"], json!({ "pending": 0, "running": 1, "finished": 1 }));
    assert_eq!(status["sessions"], json!({ "open": 1, "connected": 1 }));
    assert_eq!((&status["connections"], &status["ready"]), (&json!(1), &json!(true)));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));

    door.puppets.finish(&job, json!(1)).await.unwrap();
    alice.end_of(&job).await;
    door.runtime.stop().await;
    let status = ok(&door, "status", "/api/status").await;
    assert_eq!(status["not_ready_because"], "the daemon is stopping");
    assert_eq!(status["ready"], false);
}

#[tokio::test]
async fn the_store_tells_what_it_is_and_holds() {
    let door = Door::open().await;
    let store = ok(&door, "store", "/api/store").await;
    assert_eq!(
        (&store["kind"], &store["epoch"], &store["admits"]),
        (&json!("memory"), &json!(1), &json!(true))
    );

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arcpd.db");
    let options = SqliteOptions { durability: Durability::Process, ..SqliteOptions::UNBOUNDED };
    let sqlite = Arc::new(SqliteStore::open(&path, options).unwrap());
    let door = Door::with(Limits::default(), |builder| builder.store(sqlite)).await;
    let before = ok(&door, "store", "/api/store").await;
    let mut alice = door.session("tok-a").await;
    let input = "x".repeat(200_000);
    let echo = alice.submit(json!({ "agent": "echo", "input": input })).await;
    alice.end_of(&echo).await;
    let store = ok(&door, "store", "/api/store").await;
    assert_eq!((&store["kind"], &store["durability"]), (&json!("sqlite"), &json!("process")));
    assert_eq!(store["path"], path.display().to_string());
    assert!(store["format"].as_u64().unwrap() > 0 && store["epoch"] == 1);
    let grew = |name: &str| store[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    assert!(grew("used_bytes") > 300_000 && grew("disk_bytes") > 300_000, "{before} {store}");
}

#[tokio::test]
async fn a_store_that_ails_is_told() {
    let ailing = Gated::new();
    let store = ailing.clone();
    let door = Door::with(Limits::default(), |builder| builder.store(store)).await;
    ailing.readable(false);
    for path in ["/api/jobs", "/api/jobs/job_01J00000000000000000000000"] {
        let error = checked("error", &door.get(path).await, 503);
        assert_eq!((&error["code"], &error["retryable"]), (&json!("INTERNAL_ERROR"), &json!(true)));
        assert!(error["message"].as_str().unwrap().ends_with("the disk is gone"), "{error}");
    }
    ailing.refuse(Full::Behind { bytes: 11, max: 10 });
    let store = ok(&door, "store", "/api/store").await;
    assert_eq!(store["admits"], false);
    assert!(store["refuses_because"].as_str().unwrap().contains("11 bytes of at most 10"), "{store}");
    let status = ok(&door, "status", "/api/status").await;
    assert_eq!((&status["ready"], &status["not_ready_because"]), (&json!(false), &store["refuses_because"]));
}

#[tokio::test]
async fn limits_are_told_with_what_is_used_of_them() {
    let limits = Limits { jobs_per_principal: 3, ..Limits::default() };
    let door = Door::with(limits, |builder| builder).await;
    let mut alice = door.session("tok-a").await;
    for _ in 0..2 {
        alice.submit(json!({ "agent": "puppet" })).await;
    }
    let list = ok(&door, "limits", "/api/limits").await;
    let rows = list["limits"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, Limits::NAMES);
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    let expected =
        json!({ "name": "jobs_per_principal", "unit": "count", "value": 3, "default": 1_000, "used": 2 });
    assert_eq!(row("jobs_per_principal"), &expected);
    assert_eq!(row("jobs_running")["used"], 2);
    assert_eq!(row("connections")["used"], 1);
    assert_eq!(row("attachments_per_session")["used"], 2);
    assert!(row("store_bytes")["used"].as_u64().unwrap() > 2_000);
    assert_eq!((&row("frame_bytes")["unit"], &row("frame_bytes")["used"]), (&json!("bytes"), &Value::Null));
}

#[tokio::test]
async fn the_documentation_has_every_endpoint_and_no_other() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (method, path) = cells.next()?.trim_end_matches('`').split_once(" /api")?;
        Some((method, path, cells.last()?.trim_end_matches(" |").trim_matches('`')))
    });
    let door = Door::open().await;
    let (mut asked, mut named) = (BTreeSet::new(), BTreeSet::new());
    for (method, path, schema) in rows {
        let path = path
            .replace("{job_id}", "job_01J00000000000000000000000")
            .replace("{session_id}", "sess_01J00000000000000000000000");
        let answer = door.ask(method, &format!("/api{path}"), Some("tok-o"), "").await;
        assert!(
            answer.status == 200 || !answer.body.contains("nothing is here"),
            "{method} {path}: {answer:?}"
        );
        assert_ne!(answer.status, 405, "{method} {path}");
        asked.insert(path.split('/').nth(1).unwrap().to_owned());
        named.insert(schema.to_owned());
    }
    let nothing = refused(&door, "/api/x", 404).await;
    let there = nothing.split("/api/").skip(1).map(|rest| rest.split([',', ' ']).next().unwrap().to_owned());
    assert_eq!(asked, there.collect(), "{nothing}");
    let schemas = schema::all()
        .into_iter()
        .filter_map(|file| Some(file.path.strip_prefix("api/")?.trim_end_matches(".json").to_owned()));
    let of_answers = schemas.filter(|name| !["error", "cancel_request"].contains(&name.as_str()));
    assert_eq!(named, of_answers.collect());
}
