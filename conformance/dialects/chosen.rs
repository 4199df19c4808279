//! Who decides on a dialect: the address before the token, the token before the first frame.

use std::collections::BTreeSet;

use arcpd::auth::{TokenEntry, hash};
use arcpd::runtime::Peer;
use arcpd::transport::memory;
use arcpd::wire::dialect::Choice;
use serde_json::{Value, json};

use crate::fixture::{Client, World, hello_in};

const GO: &str = include_str!("captured/go.jsonl");

fn world() -> World {
    let entry = |token: &str, dialect: &str| TokenEntry {
        principal: "alice".parse().unwrap(),
        roles: BTreeSet::new(),
        dialect: Some(dialect.parse().unwrap()),
        hash: hash(token),
    };
    World::built(|builder| {
        builder.tokens([entry("tok-spec", "spec"), entry("tok-go", "go"), entry("tok-rust2", "rust2")])
    })
}

/// A client at an address that names a dialect, or none, with its hello sent.
fn at(world: &World, address: Option<&str>, hello: &Value) -> Client {
    let (ours, theirs) = memory::pair();
    let (runtime, peer) =
        (world.runtime.clone(), Peer { name: "test".into(), dialect: address.map(String::from) });
    tokio::spawn(async move { runtime.serve(ours, peer).await });
    let mut client = Client::over(theirs);
    client.send(hello);
    client
}

/// Whether the result of a job is called as the Go client calls it.
async fn speaks_go(client: &mut Client) -> bool {
    client.session = client.expect("session.welcome").await["session_id"].as_str().unwrap().into();
    client.begun("1", json!({ "agent": "echo", "input": 1 })).await;
    let ended = client.expect("job.result").await;
    ended["payload"].get("output").is_some()
}

#[tokio::test(start_paused = true)]
async fn the_address_is_stronger_than_the_token_and_the_token_than_the_first_frame() {
    let world = world();
    for (address, token, id, go) in [
        (None, "tok-a", None, true),
        (None, "tok-a", Some("1"), false),
        (None, "tok-spec", None, false),
        (None, "tok-go", Some("1"), true),
        (Some("go"), "tok-spec", None, true),
        (Some("spec"), "tok-go", None, false),
        (Some("java"), "tok-a", None, false),
    ] {
        let mut hello = hello_in(GO);
        hello["payload"]["auth"]["token"] = json!(token);
        if let Some(id) = id {
            hello["id"] = json!(id);
        }
        let mut client = at(&world, address, &hello);
        assert_eq!(speaks_go(&mut client).await, go, "{address:?} {token} {id:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_is_told_apart_like_a_hello() {
    let world = world();
    let mut client = at(&world, None, &hello_in(GO));
    let welcome = client.expect("session.welcome").await;
    drop(client);
    let mut hello = hello_in(GO);
    hello["payload"]["resume"] = json!({
        "session_id": welcome["session_id"], "resume_token": welcome["payload"]["resume_token"], "last_event_seq": 0
    });
    assert!(speaks_go(&mut at(&world, None, &hello)).await);
}

#[tokio::test(start_paused = true)]
async fn an_address_tells_the_dialect_before_a_frame_does() {
    let world = world();
    let mut hello = hello_in(GO);
    hello["pad"] = json!("x".repeat(70_000));
    let mut client = at(&world, Some("java"), &hello);
    let refused = client.expect("job.error").await;
    assert!(refused.get("job_id").is_none(), "it is what the Java client takes for a reason");
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_with_a_dialect_that_there_is_not_is_refused_with_the_names_of_those_there_are() {
    let world = world();
    let mut client = at(&world, Some("perl"), &hello_in(GO));
    let refused = client.expect("session.error").await;
    let message = refused["payload"]["message"].as_str().unwrap();
    assert!(Choice::all().all(|choice| message.contains(&choice.to_string())), "{message}");
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_tokens_dialect_reads_the_first_frame_or_turns_it_away() {
    let world = world();
    let open = json!({
        "arcp": "1.1", "id": "msg_01M7VY1V4SSWHDAVR0ZVMT8KQN", "timestamp": "2026-11-20T07:34:35.417889428Z",
        "type": "session.open", "payload": {
            "auth": { "scheme": "bearer", "token": "tok-rust2" }, "client": { "kind": "interop", "version": "2.0.0" },
            "capabilities": { "streaming": true }
        }
    });
    let accepted = at(&world, None, &open).expect("session.accepted").await;
    assert_eq!(accepted["correlation_id"], open["id"]);
    assert_eq!(accepted["payload"]["capabilities"]["streaming"], true);
    let mut hello = hello_in(GO);
    hello["payload"]["auth"]["token"] = json!("tok-rust2");
    let mut client = at(&world, None, &hello);
    let refused = client.expect("session.error").await;
    let message = refused["payload"]["message"].as_str().unwrap();
    assert!(message.starts_with("the token's dialect rust2 cannot read this first frame"), "{message}");
    client.ended().await;
}

#[test]
fn every_dialect_has_its_row_in_the_compatibility_page() {
    let page = include_str!("../../docs/compatibility.md");
    for choice in Choice::all() {
        assert!(page.contains(&format!("\n| `{choice}` | ")), "{choice}");
    }
}
