//! Handles: slow ones, dropped ones, and results.

use super::*;

fn chunk(seq: u64, data: &str, encoding: &str, more: bool) -> Value {
    let result = crate::wire::id::ResultId::new(1, 1);
    let body =
        json!({"result_id": result, "chunk_seq": seq, "data": data, "encoding": encoding, "more": more});
    json!({"kind": "result_chunk", "ts": "2026-01-01T00:00:00Z", "job_id": job(1), "body": body})
}

fn whole(size: u64) -> Value {
    json!({"job_id": job(1), "final_status": "success", "result_id": crate::wire::id::ResultId::new(1, 1),
        "result_size": size, "completed_at": "2026-01-01T00:00:00Z"})
}

async fn collected(chunks: &[Value], end: Value, max: u64) -> Result<Vec<u8>, CollectError> {
    let (_client, _server, mut peer, handle) = following(options()).await;
    let mut seq = 0;
    for chunk in chunks {
        seq += 1;
        peer.numbered("job.event", seq, chunk.clone()).await;
    }
    peer.numbered("job.result", seq + 1, end).await;
    bounded(handle.collect(max)).await
}

#[tokio::test]
async fn a_result_is_put_together_and_checked() {
    let good = [chunk(0, "aGVs", "base64", true), chunk(1, "lo", "utf8", false)];
    assert_eq!(collected(&good, whole(5), 5).await.unwrap(), b"hello");
    assert_eq!(collected(&[], success(job(1)), 100).await.unwrap(), br#"{"ok":1}"#);
    assert_eq!(collected(&good, whole(5), 4).await, Err(CollectError::TooLarge { max: 4 }));
    assert_eq!(collected(&good, whole(6), 9).await, Err(CollectError::WrongSize { announced: 6, got: 5 }));
    assert_eq!(collected(&good[..1], whole(3), 9).await, Err(CollectError::Unfinished));
    let swapped = [good[1].clone(), good[0].clone()];
    assert_eq!(collected(&swapped, whole(5), 9).await, Err(CollectError::OutOfOrder { expected: 0, got: 1 }));
    for wrong in ["aGVs=", "aGV", "aG Vs", "aGV-"] {
        let bad = collected(&[chunk(0, wrong, "base64", false)], whole(3), 9).await;
        assert!(matches!(bad, Err(CollectError::BadData { chunk_seq: 0, .. })), "{wrong}: {bad:?}");
    }
    let more = [good[0].clone(), good[1].clone(), chunk(2, "", "utf8", false)];
    assert_eq!(collected(&more, whole(5), 9).await, Err(CollectError::AfterLast(2)));
}

#[tokio::test]
async fn the_result_of_an_agent_that_began_again_is_its_last_attempts() {
    let mut other = chunk(0, "lost", "utf8", true);
    other["body"]["result_id"] = json!(crate::wire::id::ResultId::new(1, 2));
    let good = [other.clone(), chunk(0, "aGVs", "base64", true), chunk(1, "lo", "utf8", false)];
    assert_eq!(collected(&good, whole(5), 9).await.unwrap(), b"hello");
    assert_eq!(collected(&[other], success(job(1)), 100).await.unwrap(), br#"{"ok":1}"#);
    let ended_otherwise = [good[1].clone(), good[2].clone(), good[0].clone()];
    assert!(matches!(collected(&ended_otherwise, whole(5), 9).await, Err(CollectError::OtherResult { .. })));
}

#[tokio::test]
async fn a_slow_handle_stops_the_reading_and_loses_nothing() {
    let mut small = options();
    small.handle_buffer = 2;
    small.slow_handle_patience = Duration::from_secs(3_600);
    let (_client, _server, mut peer, mut handle) = following(small).await;
    for n in 1..=50 {
        peer.log(job(1), n, n).await;
    }
    peer.succeed(job(1), 51).await;
    let expected: Vec<String> = (1..=50).map(|n| n.to_string()).collect();
    for expected in &expected {
        assert_eq!(word(&mut handle).await, *expected);
    }
    tells(&mut handle, &["ended success", "none"]).await;
}

#[tokio::test]
async fn a_forgotten_handle_is_set_aside_and_catches_up_when_it_is_read() {
    let mut small = options();
    small.handle_buffer = 2;
    small.slow_handle_patience = Duration::from_millis(20);
    let (client, _server, mut peer, mut forgotten) = following(small).await;
    for n in 1..=4 {
        peer.log(job(1), n, n).await;
    }
    // The other job gets its turn although nobody reads the first handle.
    let (other, _) = tokio::join!(client.submit(echo()), peer.accept_job(job(2)));
    peer.succeed(job(2), 5).await;
    tells(&mut other.unwrap(), &["ended success"]).await;
    tells(&mut forgotten, &["1", "2"]).await;
    assert_eq!(peer.grant(job(1), 2).await["payload"]["from_event_seq"], 2);
    peer.log(job(1), 6, 3).await;
    peer.log(job(1), 7, 4).await;
    tells(&mut forgotten, &["3", "4"]).await;
}

#[tokio::test]
async fn a_dropped_subscription_is_ended_and_can_be_made_again() {
    let (client, _server, mut peer) = connected(options()).await;
    let (first, _) = tokio::join!(client.subscribe(job(1), Since::Now), peer.grant(job(1), 4));
    let first = first.unwrap();
    assert_eq!(first.subscribed().unwrap().subscribed_from, 4);
    let twice = bounded(client.subscribe(job(1), Since::After(0))).await;
    assert_eq!(twice.unwrap_err(), RequestError::AlreadyFollowed(job(1)));
    drop(first);
    assert_eq!(peer.expect("job.unsubscribe").await["payload"]["job_id"], json!(job(1)));
    let (again, _) = tokio::join!(client.subscribe(job(1), Since::After(0)), peer.grant(job(1), 0));
    peer.log(job(1), 1, 1).await;
    tells(&mut again.unwrap(), &["1"]).await;
}

/// A subscription to a job that has ended, which replays nothing of it or its end.
async fn grant_ended(peer: &mut Peer, from: u64, replayed: bool) -> Value {
    let subscribe = peer.expect("job.subscribe").await;
    let mut payload = subscribed(job(1), &subscribe["id"], from);
    (payload["current_status"], payload["replayed"]) = (json!("success"), json!(replayed));
    peer.send("job.subscribed", payload).await;
    subscribe["payload"].clone()
}

#[tokio::test]
async fn a_handle_of_a_job_that_has_ended_tells_its_end_wherever_it_began() {
    for since in [Since::Now, Since::After(9)] {
        let (client, _server, mut peer) = connected(options()).await;
        let (handle, _) = tokio::join!(client.subscribe(job(1), since), grant_ended(&mut peer, 4, false));
        let asked = grant_ended(&mut peer, 3, true).await;
        assert_eq!((&asked["from_event_seq"], &asked["history"]), (&json!(3), &json!(true)));
        peer.succeed(job(1), 1).await;
        tells(&mut handle.unwrap(), &["ended success", "none"]).await;
    }
}

#[tokio::test]
async fn the_end_is_asked_for_again_when_the_connection_breaks_meanwhile() {
    let (client, mut server, mut peer) = connected(options()).await;
    let (handle, _) = tokio::join!(client.subscribe(job(1), Since::Now), grant_ended(&mut peer, 4, false));
    drop(peer);
    let (mut peer, _) = server.resume("token-2").await;
    grant_ended(&mut peer, 4, false).await;
    assert_eq!(grant_ended(&mut peer, 3, true).await["from_event_seq"], 3);
    peer.succeed(job(1), 1).await;
    tells(&mut handle.unwrap(), &["interrupted", "Subscribed", "ended success"]).await;
}

#[tokio::test]
async fn an_end_that_is_not_sent_is_a_cut_and_not_a_wait() {
    let (client, _server, mut peer) = connected(options()).await;
    let (handle, _) = tokio::join!(client.subscribe(job(1), Since::Now), grant_ended(&mut peer, 4, false));
    grant_ended(&mut peer, 3, false).await;
    tells(&mut handle.unwrap(), &["cut", "none"]).await;
    let (handle, _) = tokio::join!(client.subscribe(job(1), Since::Now), grant_ended(&mut peer, 0, false));
    tells(&mut handle.unwrap(), &["cut"]).await;
}
