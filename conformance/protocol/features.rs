//! What a session did not negotiate is not sent to it, and takes no number (§6.2; design 5).

use arcpd::agent::in_process::Job;
use arcpd::wire::limits::Limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Peer};
use crate::fixture::World;

async fn without(world: &World, withheld: &[&str]) -> Peer {
    let features: Vec<&str> = FEATURES.iter().copied().filter(|f| !withheld.contains(f)).collect();
    Peer::welcomed(world.runtime.connect(), "tok-a", &features).await
}

#[tokio::test(start_paused = true)]
async fn withheld_events_take_no_number_and_no_place_in_another_sessions_stream() {
    let world = World::new();
    let mut plain = without(&world, &["progress"]).await;
    let mut full = world.alice().await;
    let job = plain.submit(json!({ "agent": "puppet" })).await;
    full.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
    for n in 1..=4 {
        let progress = json!({ "kind": "progress", "body": { "current": n } });
        world.puppets.say(&job, "job.event", progress).await.unwrap();
        world.puppets.log(&job, &n.to_string()).await.unwrap();
    }
    world.puppets.finish(&job, json!(1)).await.unwrap();
    let theirs = full.until_end(&job).await;
    let own = plain.until_end(&job).await;
    assert_eq!((theirs.len(), own.len()), (9, 5));
    let logs = theirs.iter().filter(|frame| frame["payload"]["kind"] != "progress");
    assert!(logs.map(|f| &f["payload"]).eq(own.iter().map(|f| &f["payload"])));
    // A replay withholds the same, under the same numbers.
    let mut again = Peer::resumed(world.runtime.connect(), &plain.token.clone().unwrap(), 2).await;
    assert_eq!(again.until_end(&job).await, own[2..]);
    again.barrier().await;
    // Positions are the job's own: those of the withheld events count.
    let ask = json!({ "job_id": job, "history": true, "from_event_seq": 6 });
    let subscribed = again.ask("job.subscribe", ask, "job.subscribed").await;
    assert_eq!(subscribed["subscribed_from"], 6);
    let last: Vec<Value> = again.until_end(&job).await.iter().map(|f| f["payload"].clone()).collect();
    assert_eq!(last, [own[3]["payload"].clone(), own[4]["payload"].clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_chunked_result_reaches_a_client_without_chunks_inline() {
    let world = World::new();
    let mut plain = without(&world, &["result_chunk"]).await;
    let bytes: Vec<u8> = (0..192_u32).map(|j| u8::try_from(j % 251).unwrap()).collect();
    for (input, result) in [
        (json!({}), json!(STANDARD.encode(bytes))),
        (json!({ "encoding": "utf8", "chunks": 2, "chunk_bytes": 4 }), json!("abcdefgh")),
    ] {
        let job = plain.submit(json!({ "agent": "chunker", "input": input })).await;
        let end = plain.end_of(&job).await;
        assert_eq!(end["payload"]["result"], result);
        assert!(end["payload"].get("result_id").is_none() && end["payload"].get("result_size").is_none());
        assert!(end["payload"]["summary"].is_string(), "{end}");
    }
    plain.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn text_chunks_that_are_json_arrive_as_json() {
    let world = World::built(|b| {
        b.agent("texts@1.0.0", |job: Job| async move {
            let text: String = job.input()?;
            let (head, tail) = text.split_at(text.len() / 2);
            job.chunk_text(head).await?;
            job.chunk_text(tail).await?;
            Ok(job.finish_chunks("text"))
        })
    });
    let mut plain = without(&world, &["result_chunk"]).await;
    for (text, result) in [
        (r#"{"a": [1, null]}"#, json!({ "a": [1, null] })),
        (r#"["x"]"#, json!(["x"])),
        (r#""quoted""#, json!("quoted")),
        ("{not json", json!("{not json")),
        ("42", json!("42")),
        ("null", json!("null")),
        ("line\nline\u{0}", json!("line\nline\u{0}")),
    ] {
        let job = plain.submit(json!({ "agent": "texts", "input": text })).await;
        assert_eq!(plain.end_of(&job).await["payload"]["result"], result, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_inline_limit_a_result_is_named_only() {
    let world = World::with(Limits { inline_result_bytes: 100, ..Limits::default() });
    let (mut plain, mut full) = (without(&world, &["result_chunk"]).await, world.alice().await);
    let chunked = |bytes: usize| {
        let input = json!({ "chunks": 1, "chunk_bytes": bytes, "encoding": "utf8" });
        json!({ "agent": "chunker", "input": input })
    };
    // With its quotes, 98 letters are 100 bytes of JSON.
    let job = plain.submit(chunked(98)).await;
    assert_eq!(plain.end_of(&job).await["payload"]["result"].as_str().unwrap().len(), 98);
    for bytes in [99, 100, 101] {
        let job = plain.submit(chunked(bytes)).await;
        let end = plain.end_of(&job).await;
        assert!(end["payload"].get("result").is_none(), "{end}");
        assert!(end["payload"]["result_id"].as_str().unwrap().starts_with("res_"));
        assert_eq!(end["payload"]["result_size"], bytes);
        full.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
        let frames = full.until_end(&job).await;
        assert_eq!(frames[0]["payload"]["body"]["result_id"], end["payload"]["result_id"]);
    }
    // An inline result that is too large is streamed: by chunks to who knows them, named to who does not.
    let long = "z".repeat(200);
    let job = plain.submit(json!({ "agent": "echo", "input": long })).await;
    let end = plain.end_of(&job).await;
    assert!(end["payload"].get("result").is_none(), "{end}");
    assert_eq!(end["payload"]["result_size"], 202);
    full.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
    let frames = full.until_end(&job).await;
    let text: String =
        frames[..frames.len() - 1].iter().map(|f| f["payload"]["body"]["data"].as_str().unwrap()).collect();
    assert_eq!(text, format!("\"{long}\""));
}
