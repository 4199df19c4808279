//! A submit that cannot be read fails alone, whatever is wrong with it: every client would take another answer for the end
//! of everything, or wait for ever.

use arcpd::runtime::Peer;
use arcpd::transport::stdio::LineTransport;
use serde_json::json;
use tokio::io::{duplex, split};

use crate::fixture::{Client, World};
use crate::readers::{Reader, Told, go, java, python, ruby, typescript};

/// A client over lines, which are cut where they are too long; over WebSocket the connection would be over.
fn over_lines(world: &World) -> Client {
    let (ours, theirs) = duplex(64 * 1024);
    let runtime = world.runtime.clone();
    let max = runtime.limits().frame_bytes;
    tokio::spawn(async move {
        let (input, output) = split(ours);
        runtime.serve(LineTransport::new(input, output, max), Peer::from("lines")).await;
    });
    let (input, output) = split(theirs);
    Client::over(LineTransport::new(input, output, 2 * max))
}

/// Submits that no decoder takes, with the beginning that every client gives them.
fn unreadable(id: &str, session: &str) -> [String; 5] {
    let whole = |payload: &str| {
        format!(
            r#"{{"arcp":"1.1","id":"{id}","type":"job.submit","session_id":"{session}","payload":{payload}}}"#
        )
    };
    let deep = format!(r#"{{"agent":"echo","input":{}{}}}"#, "[".repeat(80), "]".repeat(80));
    [
        whole(&deep),
        whole(r#"{"agent":"echo","input":NaN}"#),
        whole(r#"{"agent":"echo"},"payload":{}"#),
        whole(r#"{"agent":"echo"},"trace_id":7"#),
        whole(&format!(r#"{{"agent":"echo","input":"{}"}}"#, "x".repeat(1_100_000))),
    ]
}

async fn fails_alone<R: Reader>(captured: &str, mut reader: R) {
    let world = World::new();
    let mut client = over_lines(&world);
    client.send(&crate::fixture::hello_in(captured));
    let welcome = client.expect("session.welcome").await;
    reader.read(&welcome).unwrap();
    client.session = welcome["session_id"].as_str().unwrap().into();
    reader.asked(&json!({ "id": "running", "type": "job.submit", "payload": { "agent": "puppet" } }));
    client.ask("running", "job.submit", json!({ "agent": "puppet" }));
    let accepted = client.expect("job.accepted").await;
    reader.read(&accepted).unwrap();
    let running = accepted["job_id"].as_str().unwrap().to_owned();
    for n in 0..unreadable("", "").len() {
        let id = format!("bad-{n}");
        reader.asked(&json!({ "id": id, "type": "job.submit", "payload": {} }));
        client.send_text(unreadable(&id, &client.session.clone())[n].clone());
        while !reader.waiting().is_empty() {
            let frame = client.frame().await;
            let told = reader.read(&frame).unwrap_or_else(|wrong| panic!("{n}: {wrong}: {frame}"));
            let over = |told: &Told| matches!(told, Told::Ended { job, .. } if *job == running);
            assert!(!over(&told), "{n}: {frame}");
        }
        assert!(reader.waiting().is_empty(), "{n}");
    }
    world.puppets.finish(&running, json!(1)).await.unwrap();
    loop {
        let frame = client.frame().await;
        if (reader.read(&frame).unwrap() == Told::Ended { job: running.clone(), how: "success".into() })
            && frame["job_id"] == running.as_str()
        {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_submit_that_cannot_be_read_fails_alone_in_every_dialect() {
    fails_alone(include_str!("captured/python.jsonl"), python::Python::default()).await;
    fails_alone(include_str!("captured/typescript.jsonl"), typescript::TypeScript::default()).await;
    fails_alone(include_str!("captured/go.jsonl"), go::Go::default()).await;
    fails_alone(include_str!("captured/java.jsonl"), java::Java::default()).await;
    fails_alone(include_str!("captured/ruby-1.0.0.jsonl"), ruby::Ruby::first_release()).await;
    fails_alone(include_str!("captured/ruby.jsonl"), ruby::Ruby::default()).await;
}
