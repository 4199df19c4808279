//! Following one's principal, which is our own (decision 17): every job of it, from where it is or from its beginning.

use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Peer};
use crate::fixture::{World, pass};

async fn follower(world: &World, token: &str) -> Peer {
    let features: Vec<&str> = FEATURES.iter().copied().chain(["x-arcpd.follow"]).collect();
    Peer::welcomed(world.runtime.connect(), token, &features).await
}

async fn follow(peer: &mut Peer) -> String {
    let id = peer.send("x-arcpd.follow", json!({}));
    let following = peer.expect("x-arcpd.following").await;
    assert_eq!(following["payload"], json!({ "request_id": id, "reply_to": id }));
    id
}

/// The next frame, which has to tell that this job is attached by this follow.
async fn attached(peer: &mut Peer, follow: &str, job: &str) -> Value {
    let subscribed = peer.expect("job.subscribed").await;
    assert_eq!((&subscribed["payload"]["request_id"], &subscribed["job_id"]), (&json!(follow), &json!(job)));
    subscribed["payload"].clone()
}

fn puppet() -> Value {
    json!({ "agent": "puppet" })
}

#[tokio::test(start_paused = true)]
async fn it_is_off_unless_it_was_negotiated() {
    let world = World::new();
    let mut alice = world.alice().await;
    for kind in ["x-arcpd.follow", "x-arcpd.unfollow"] {
        let error = alice.ask_in_vain(kind, json!({}), "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains("x-arcpd.follow"), "{error}");
    }
    let mut peer = Peer::over(world.runtime.connect());
    peer.send("session.hello", crate::common::peer::hello("tok-a", &["x-arcpd.follow"]));
    let welcome = peer.welcome().await;
    assert_eq!(welcome["payload"]["capabilities"]["features"], json!(["x-arcpd.follow"]));
}

#[tokio::test(start_paused = true)]
async fn live_jobs_are_followed_from_now_and_later_ones_from_their_beginning() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let mut watching = follower(&world, "tok-a").await;
    let own = watching.submit(puppet()).await;
    let live = alice.submit(puppet()).await;
    let over = alice.submit(json!({ "agent": "echo" })).await;
    assert_eq!(alice.end_of(&over).await["type"], "job.result");
    bob.submit(puppet()).await;
    world.puppets.log(&live, "before").await.unwrap();
    alice.numbered_of(&live).await;
    let id = follow(&mut watching).await;
    let subscribed = attached(&mut watching, &id, &live).await;
    assert_eq!((&subscribed["subscribed_from"], &subscribed["replayed"]), (&json!(1), &json!(false)));
    let later = alice.submit(puppet()).await;
    assert_eq!(attached(&mut watching, &id, &later).await["subscribed_from"], 0);
    bob.submit(puppet()).await;
    // Its own are answered like any submit, and not told of again.
    let another = watching.submit(puppet()).await;
    for job in [&live, &later, &another, &own] {
        world.puppets.finish(job, json!(job)).await.unwrap();
        assert_eq!(watching.end_of(job).await["payload"]["result"], json!(job));
    }
    watching.barrier().await;
    // Who follows has no authority over what it follows.
    let mut other = world.alice().await;
    let job = other.submit(puppet()).await;
    attached(&mut watching, &id, &job).await;
    watching.ask_in_vain("job.cancel", json!({ "job_id": job }), "PERMISSION_DENIED").await;
}

#[tokio::test(start_paused = true)]
async fn following_twice_is_one_following_and_ends_with_one_word() {
    let world = World::new();
    let mut alice = world.alice().await;
    let mut watching = follower(&world, "tok-a").await;
    let first = follow(&mut watching).await;
    let second = follow(&mut watching).await;
    assert_ne!(first, second);
    let job = alice.submit(puppet()).await;
    attached(&mut watching, &first, &job).await;
    watching.send("x-arcpd.unfollow", json!({}));
    watching.barrier().await;
    alice.submit(json!({ "agent": "echo" })).await;
    // What is attached stays attached, and can be let go by itself.
    world.puppets.log(&job, "still").await.unwrap();
    assert_eq!(watching.numbered_of(&job).await["payload"]["body"]["message"], "still");
    watching.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
    watching.send("job.unsubscribe", json!({ "job_id": job }));
    watching.barrier().await;
    world.puppets.log(&job, "unheard").await.unwrap();
    watching.barrier().await;
    // Again: under the new request.
    let third = follow(&mut watching).await;
    attached(&mut watching, &third, &job).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_connection() {
    let world = World::new();
    let mut alice = world.alice().await;
    let mut watching = follower(&world, "tok-a").await;
    let id = follow(&mut watching).await;
    let job = alice.submit(puppet()).await;
    attached(&mut watching, &id, &job).await;
    world.puppets.log(&job, "1").await.unwrap();
    watching.numbered_of(&job).await;
    let token = watching.token.clone().unwrap();
    let mut again = Peer::resumed(world.runtime.connect(), &token, 1).await;
    let mut other = world.alice().await;
    let unfollowed = other.submit(puppet()).await;
    // The stream goes on, the following does not.
    world.puppets.log(&job, "2").await.unwrap();
    assert_eq!(again.numbered_of(&job).await["payload"]["body"]["message"], "2");
    again.barrier().await;
    let second = follow(&mut again).await;
    attached(&mut again, &second, &unfollowed).await;
    let later = other.submit(puppet()).await;
    attached(&mut again, &second, &later).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_where_no_more_can_be_attached_and_says_so() {
    let world = World::with(Limits { attachments_per_session: 2, ..Limits::default() });
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let mut watching = follower(&world, "tok-a").await;
    let id = follow(&mut watching).await;
    for _ in 0..2 {
        let job = alice.submit(puppet()).await;
        attached(&mut watching, &id, &job).await;
    }
    other.submit(puppet()).await;
    let error = watching.refused(&id, "INTERNAL_ERROR").await;
    assert_eq!(error["details"]["limit"], "attachments_per_session");
    other.submit(puppet()).await;
    watching.barrier().await;
    // So does one that has no room to begin with.
    let again = follow(&mut watching).await;
    let error = watching.refused(&again, "INTERNAL_ERROR").await;
    assert_eq!(error["details"]["limit"], "attachments_per_session");
}

#[tokio::test(start_paused = true)]
async fn so_many_sessions_of_a_principal_follow_it_and_no_more() {
    let world = World::with(Limits { followers_per_principal: 2, ..Limits::default() });
    let (mut first, mut second) = (follower(&world, "tok-a").await, follower(&world, "tok-a").await);
    for peer in [&mut first, &mut second] {
        follow(peer).await;
        follow(peer).await;
    }
    let mut third = follower(&world, "tok-a").await;
    let error = third.ask_in_vain("x-arcpd.follow", json!({}), "INTERNAL_ERROR").await;
    assert_eq!(error["details"]["limit"], "followers_per_principal");
    follow(&mut follower(&world, "tok-b").await).await;
    drop(first);
    pass(1_000).await;
    follow(&mut third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_that_begin_side_by_side_are_each_told_of_once_and_whole() {
    const SESSIONS: usize = 4;
    const JOBS: usize = 25;
    let world = World::new();
    let mut watching = follower(&world, "tok-a").await;
    let id = follow(&mut watching).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut alice = world.alice().await;
        sessions.push(tokio::spawn(async move {
            for _ in 0..JOBS {
                let ticker = json!({ "agent": "ticker", "input": { "count": 3, "interval_ms": 0 } });
                let job = alice.submit(ticker).await;
                alice.until_end(&job).await;
            }
        }));
    }
    let mut seen: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for _ in 0..SESSIONS * JOBS * 5 {
        let frame = watching.frame().await;
        let job = frame["job_id"].as_str().unwrap().to_owned();
        if frame["type"] == "job.subscribed" {
            assert_eq!(
                (&frame["payload"]["request_id"], &frame["payload"]["subscribed_from"]),
                (&json!(id), &json!(0))
            );
        } else {
            watching.last_seq += 1;
            assert_eq!(frame["event_seq"], watching.last_seq, "{frame}");
        }
        seen.entry(job).or_default().push(frame["type"].as_str().unwrap().into());
    }
    assert_eq!(seen.len(), SESSIONS * JOBS);
    let whole = ["job.subscribed", "job.event", "job.event", "job.event", "job.result"];
    assert!(seen.values().all(|types| types[..] == whole), "{seen:?}");
    for session in sessions {
        session.await.unwrap();
    }
    watching.barrier().await;
}
