//! Handshakes, requests and their answers.

use super::*;
use crate::wire::error::ErrorCode;

#[tokio::test]
async fn the_handshake_says_who_we_are_and_learns_what_is_offered() {
    let (connector, mut server) = network();
    let script = async {
        let mut peer = server.accept().await;
        let hello = peer.expect("session.hello").await;
        assert_eq!(hello["payload"]["auth"], json!({"scheme": "bearer", "token": "secret"}));
        assert_eq!(hello["payload"]["capabilities"]["encodings"], json!(["json"]));
        peer.welcome("t", &["ack", "subscribe", "x-new"]).await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(connector, options()), script);
    let facts = client.unwrap().welcome().unwrap();
    assert_eq!(facts.features.iter().map(|f| f.as_str()).collect::<Vec<_>>(), ["ack", "subscribe"]);
    assert_eq!((facts.runtime.name.as_str(), facts.heartbeat), ("fake", None));
}

#[tokio::test]
async fn a_refused_handshake_is_told_and_not_tried_again() {
    let (connector, mut server) = network();
    let script = async {
        let mut peer = server.accept().await;
        peer.expect("session.hello").await;
        peer.refuse(None, "UNAUTHENTICATED").await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(connector, options()), script);
    assert!(client.unwrap_err().is_authentication());
    assert!(bounded(server.links.recv()).await.is_none(), "the client dialled again");
}

#[tokio::test]
async fn a_first_connection_that_fails_or_ends_is_an_error() {
    let nowhere = || async { Err::<Link, _>(DialError("refused".into())) };
    let error = bounded(Client::connect(nowhere, options())).await.unwrap_err();
    assert_eq!(error, ConnectError::Dial(DialError("refused".into())));
    let (connector, mut server) = network();
    let (client, ()) = tokio::join!(Client::connect(connector, options()), async {
        server.accept().await.expect("session.hello").await;
    });
    assert!(matches!(client.unwrap_err(), ConnectError::Cut(Cut::Lost(_))));
}

#[tokio::test]
async fn a_job_is_followed_from_its_submit_to_its_end() {
    let (client, _server, mut peer) = connected(options()).await;
    let request =
        echo().raw_input(serde_json::value::to_raw_value(&[1]).unwrap()).lease("fs.read", ["/a", "/b"]);
    let script = async {
        let submit = peer.accept_job(job(1)).await;
        assert_eq!(
            submit["payload"],
            json!({"agent": "echo", "input": [1], "lease_request": {"fs.read": ["/a", "/b"]}})
        );
        peer.log(job(1), 1, 1).await;
        peer.log(job(1), 2, 2).await;
        peer.succeed(job(1), 3).await;
    };
    let (handle, ()) = tokio::join!(client.submit(request), script);
    let mut handle = handle.unwrap();
    assert_eq!(handle.accepted().unwrap().job_id, job(1));
    tells(&mut handle, &["1", "2", "ended success", "none"]).await;
}

#[tokio::test]
async fn a_refused_submit_fails_alone() {
    let (client, _server, mut peer, mut first) = following(options()).await;
    let script = async {
        let submit = peer.expect("job.submit").await;
        peer.refuse(Some(&submit["id"]), "AGENT_NOT_AVAILABLE").await;
        peer.refuse(Some(&json!("req_of_somebody_else")), "INVALID_REQUEST").await;
    };
    let (refused, ()) = tokio::join!(client.submit(echo()), script);
    let RequestError::Refused(body) = refused.unwrap_err() else { panic!() };
    assert_eq!(body.code, ErrorCode::AgentNotAvailable);
    peer.succeed(job(1), 1).await;
    tells(&mut first, &["ended success"]).await;
}

#[tokio::test]
async fn concurrent_submits_get_their_own_jobs() {
    let (client, _server, mut peer) = connected(options()).await;
    let script = async {
        let a = peer.expect("job.submit").await;
        let b = peer.expect("job.submit").await;
        peer.send("job.accepted", accepted(job(1), &a["id"])).await;
        peer.send("job.accepted", accepted(job(2), &b["id"])).await;
        peer.log(job(2), 1, 1).await;
        peer.succeed(job(1), 2).await;
        peer.succeed(job(2), 3).await;
    };
    let (a, b, ()) = tokio::join!(client.submit(echo()), client.submit(echo()), script);
    let (mut a, mut b) = (a.unwrap(), b.unwrap());
    tells(&mut a, &["ended success", "none"]).await;
    tells(&mut b, &["1", "ended success", "none"]).await;
}

#[tokio::test]
async fn all_pages_of_a_listing_come() {
    let (client, _server, mut peer) = connected(options()).await;
    let row = |n| {
        json!({"job_id": job(n), "agent": "echo@1", "status": "success", "lease": {}, "last_event_seq": 1,
            "created_at": "2026-01-01T00:00:00Z", "submitted_at": "2026-01-01T00:00:00Z"})
    };
    let script = async {
        for (cursor, next, n) in [(json!(null), json!("c"), 2), (json!("c"), json!(null), 1)] {
            let list = peer.expect("session.list_jobs").await;
            assert_eq!(list["payload"]["cursor"], cursor);
            peer.send(
                "session.jobs",
                json!({"request_id": list["id"], "jobs": [row(n)], "next_cursor": next}),
            )
            .await;
        }
    };
    let all = async {
        let mut pages = client.all_jobs(JobFilter::default(), Some(1));
        let mut seen = Vec::new();
        while let Some(page) = pages.next_page().await.unwrap() {
            seen.extend(page.into_iter().map(|row| row.job_id));
        }
        seen
    };
    let (seen, ()) = tokio::join!(bounded(all), script);
    assert_eq!(seen, [job(2), job(1)]);
}

#[tokio::test]
async fn a_cancel_is_answered_and_the_end_follows() {
    let (client, _server, mut peer, mut handle) = following(options()).await;
    let script = async {
        let cancel = peer.expect("job.cancel").await;
        assert_eq!(cancel["payload"], json!({"job_id": job(1), "reason": "enough"}));
        peer.send("job.cancelled", json!({"job_id": job(1), "request_id": cancel["id"]})).await;
        let error = json!({"job_id": job(1), "final_status": "cancelled", "code": "CANCELLED", "message": "m",
            "retryable": false, "completed_at": "2026-01-01T00:00:00Z"});
        peer.numbered("job.error", 1, error).await;
    };
    let (cancelled, ()) = tokio::join!(client.cancel(job(1), Some("enough".into())), script);
    cancelled.unwrap();
    tells(&mut handle, &["ended cancelled"]).await;
}

#[tokio::test]
async fn what_was_not_negotiated_is_not_sent() {
    let (connector, mut server) = network();
    let (client, _peer) = tokio::join!(Client::connect(connector, options()), server.greet(&["ack"]));
    let client = client.unwrap();
    let error = bounded(client.subscribe(job(1), Since::Now)).await.unwrap_err();
    assert_eq!(error, RequestError::NotNegotiated("subscribe"));
    let error = bounded(client.list_jobs(JobFilter::default(), None, None)).await.unwrap_err();
    assert_eq!(error, RequestError::NotNegotiated("list_jobs"));
}

#[tokio::test]
async fn unknown_messages_are_ignored_and_keep_their_numbers() {
    let (_client, _server, mut peer, mut handle) = following(options()).await;
    peer.send("session.news", json!({"x": 1})).await;
    peer.numbered("job.novelty", 1, json!({"job_id": job(1)})).await;
    peer.numbered("job.event", 2, json!({"job_id": job(1), "kind": 7})).await;
    peer.log(job(1), 3, 3).await;
    tells(&mut handle, &["3"]).await;
    peer.numbered("job.error", 4, json!({"job_id": job(1), "code": "NEW_CODE"})).await;
    tells(&mut handle, &["cut", "none"]).await;
}

#[tokio::test]
async fn a_closed_client_cuts_its_handles_and_refuses_more() {
    let (client, mut server, mut peer, mut handle) = following(options()).await;
    let ((), ()) = tokio::join!(client.close(), async {
        let close = peer.expect("session.close").await;
        peer.send("session.closed", json!({"request_id": close["id"]})).await;
    });
    tells(&mut handle, &["cut", "none"]).await;
    assert_eq!(bounded(client.submit(echo())).await.unwrap_err(), RequestError::Cut(Cut::Closed));
    assert!(bounded(server.links.recv()).await.is_none(), "the client dialled again");
}

#[tokio::test]
async fn a_client_that_nobody_has_any_more_closes_its_session() {
    let (client, _server, mut peer, handle) = following(options()).await;
    drop(client);
    peer.log(job(1), 1, 1).await;
    drop(handle);
    peer.expect("session.close").await;
}

#[tokio::test]
async fn pings_are_answered() {
    let (_client, _server, mut peer) = connected(options()).await;
    peer.send("session.ping", json!({"nonce": "n-1"})).await;
    assert_eq!(peer.expect("session.pong").await["payload"]["ping_nonce"], "n-1");
}
