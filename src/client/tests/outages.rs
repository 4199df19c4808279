//! Broken connections: nothing is lost or doubled, and ended is told apart from cut.

use super::*;

#[tokio::test]
async fn after_a_drop_the_session_goes_on_without_gap_or_double() {
    let (_client, mut server, mut peer, mut handle) = following(options()).await;
    peer.log(job(1), 1, 1).await;
    peer.log(job(1), 2, 2).await;
    tells(&mut handle, &["1", "2"]).await;
    drop(peer);
    let (mut peer, resume) = server.resume("token-2").await;
    assert_eq!((&resume["resume_token"], &resume["last_event_seq"]), (&json!("token-1"), &json!(2)));
    for n in [2, 3, 3, 4] {
        peer.log(job(1), n, n).await;
    }
    peer.succeed(job(1), 5).await;
    tells(&mut handle, &["interrupted", "Session", "3", "4", "ended success", "none"]).await;
}

#[tokio::test]
async fn a_lost_welcome_is_resumed_with_the_same_token() {
    let (_client, mut server, mut peer, mut handle) = following(options()).await;
    peer.log(job(1), 1, 1).await;
    tells(&mut handle, &["1"]).await;
    drop(peer);
    let lost = server.accept().await.expect("session.resume").await;
    let (mut peer, resume) = server.resume("token-3").await;
    assert_eq!(lost["payload"], resume);
    peer.succeed(job(1), 2).await;
    tells(&mut handle, &["interrupted", "Session", "ended success"]).await;
    drop(peer);
    assert_eq!(server.resume("token-4").await.1["resume_token"], "token-3");
}

#[tokio::test]
async fn a_gap_is_resumed_from_the_last_good_number() {
    let (_client, mut server, mut peer, mut handle) = following(options()).await;
    peer.log(job(1), 1, 1).await;
    peer.log(job(1), 3, 3).await;
    let (mut peer, resume) = server.resume("token-2").await;
    assert_eq!(resume["last_event_seq"], 1);
    peer.log(job(1), 2, 2).await;
    peer.log(job(1), 3, 3).await;
    tells(&mut handle, &["1", "interrupted", "Session", "2", "3"]).await;
}

#[tokio::test]
async fn an_expired_session_is_replaced_and_its_jobs_go_on_where_they_were() {
    let (_client, mut server, mut peer, mut handle) = following(options()).await;
    peer.log(job(1), 1, 1).await;
    let pressure = json!({"kind": "status", "ts": "2026-01-01T00:00:00Z", "job_id": job(1), "body": {"phase": "back_pressure"}});
    peer.numbered("job.event", 2, pressure).await;
    peer.log(job(1), 3, 2).await;
    tells(&mut handle, &["1", "2"]).await;
    drop(peer);
    let mut peer = server.accept().await;
    peer.expect("session.resume").await;
    peer.refuse(None, "RESUME_WINDOW_EXPIRED").await;
    drop(peer);
    let mut peer = server.greet(ALL).await;
    let subscribe = peer.grant(job(1), 2).await;
    assert_eq!(subscribe["payload"], json!({"job_id": job(1), "from_event_seq": 2, "history": true}));
    peer.log(job(1), 1, 3).await;
    peer.succeed(job(1), 2).await;
    tells(&mut handle, &["interrupted", "Subscribed", "3", "ended success"]).await;
}

#[tokio::test]
async fn history_that_is_gone_is_told() {
    let (_client, mut server, mut peer, mut handle) = following(options()).await;
    peer.log(job(1), 1, 1).await;
    tells(&mut handle, &["1"]).await;
    drop(peer);
    let mut peer = server.accept().await;
    peer.expect("session.resume").await;
    peer.refuse(None, "RESUME_WINDOW_EXPIRED").await;
    let mut peer = server.greet(ALL).await;
    let first = peer.expect("job.subscribe").await;
    peer.refuse(Some(&first["id"]), "RESUME_WINDOW_EXPIRED").await;
    assert_eq!(peer.grant(job(1), 7).await["payload"]["from_event_seq"], 0);
    peer.log(job(1), 1, 8).await;
    tells(&mut handle, &["interrupted", "Subscribed", "missed 1..8", "8"]).await;
}

#[tokio::test]
async fn a_job_that_the_runtime_has_forgotten_is_cut_alone() {
    let (client, mut server, mut peer, mut first) = following(options()).await;
    let (second, _) = tokio::join!(client.submit(echo()), peer.accept_job(job(2)));
    let mut second = second.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    peer.expect("session.resume").await;
    peer.refuse(None, "RESUME_WINDOW_EXPIRED").await;
    let mut peer = server.greet(ALL).await;
    for _ in 0..2 {
        let subscribe = peer.expect("job.subscribe").await;
        if subscribe["payload"]["job_id"] == json!(job(1)) {
            peer.refuse(Some(&subscribe["id"]), "JOB_NOT_FOUND").await;
        } else {
            peer.send("job.subscribed", subscribed(job(2), &subscribe["id"], 0)).await;
        }
    }
    peer.succeed(job(2), 1).await;
    tells(&mut first, &["interrupted", "cut", "none"]).await;
    tells(&mut second, &["interrupted", "Subscribed", "ended success"]).await;
}

#[tokio::test]
async fn a_session_that_was_taken_over_is_not_fought_for() {
    let (client, mut server, mut peer, mut handle) = following(options()).await;
    peer.send("session.closed", json!({"reason": CloseReason::TakenOver.as_str()})).await;
    tells(&mut handle, &["cut", "none"]).await;
    let Err(RequestError::Cut(Cut::ClosedByRuntime(why))) = bounded(client.submit(echo())).await else {
        panic!("not closed by the runtime")
    };
    assert_eq!(why, CloseReason::TakenOver.as_str());
    assert!(bounded(server.links.recv()).await.is_none(), "the client dialled again");
}

#[tokio::test]
async fn a_daemon_that_restarts_is_waited_for() {
    let (_client, mut server, mut peer, mut handle) = following(options()).await;
    peer.send("session.closed", json!({"reason": CloseReason::GoingAway.as_str()})).await;
    let (mut peer, _) = server.resume("token-2").await;
    peer.succeed(job(1), 1).await;
    tells(&mut handle, &["interrupted", "Session", "ended success"]).await;
}

#[tokio::test]
async fn without_a_budget_a_broken_connection_is_a_cut() {
    let mut never = options();
    never.reconnect = ReconnectPolicy::NEVER;
    let (_client, _server, peer, mut handle) = following(never).await;
    drop(peer);
    let Some(JobUpdate::Cut(Cut::Lost(why))) = bounded(handle.next()).await else { panic!("not lost") };
    assert!(why.contains("closed the connection"), "{why}");
}

#[tokio::test]
async fn a_runtime_that_does_not_come_back_is_given_up() {
    let mut short = options();
    short.reconnect.budget = Duration::from_millis(50);
    let (_client, server, peer, mut handle) = following(short).await;
    drop((server, peer));
    tells(&mut handle, &["interrupted", "cut", "none"]).await;
}

#[tokio::test]
async fn a_keyed_submit_is_repeated_and_an_unkeyed_one_is_not() {
    let (client, mut server, mut peer) = connected(options()).await;
    let script = async {
        let (first, second) = (peer.expect("job.submit").await, peer.expect("job.submit").await);
        assert!(first["payload"].get("idempotency_key").is_none());
        drop(peer);
        let (mut peer, _) = server.resume("token-2").await;
        // The runtime had accepted it, and its first event passes before the answer does.
        peer.log(job(1), 1, 1).await;
        let again = peer.accept_job(job(1)).await;
        assert_eq!(again["payload"], second["payload"]);
        assert_ne!(again["id"], second["id"]);
        assert_eq!(peer.grant(job(1), 0).await["payload"]["from_event_seq"], 0);
        peer.log(job(1), 2, 1).await;
        peer.succeed(job(1), 3).await;
        peer
    };
    let (unkeyed, keyed, _peer) =
        tokio::join!(client.submit(echo()), client.submit(echo().idempotency_key("k")), script);
    assert_eq!(unkeyed.unwrap_err(), RequestError::Unanswered);
    tells(&mut keyed.unwrap(), &["1", "ended success"]).await;
}

#[tokio::test]
async fn requests_made_during_an_outage_wait_for_its_end() {
    let (client, mut server, peer, mut handle) = following(options()).await;
    drop(peer);
    tells(&mut handle, &["interrupted"]).await;
    let (second, _) = tokio::join!(client.submit(echo()), async {
        let (mut peer, _) = server.resume("token-2").await;
        peer.accept_job(job(2)).await;
        peer
    });
    assert_eq!(second.unwrap().job_id(), job(2));
}
