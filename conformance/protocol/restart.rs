//! The daemon goes without a word and comes back on the same store: nothing that was spoken is lost or said twice.

use std::sync::Arc;

use arcpd::embed::Runtime;
use arcpd::store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Peer};
use crate::common::puppet::Puppets;

/// One life of a daemon on a store; everything in it dies when the future is done, agents included.
fn life<T>(store: &Arc<MemoryStore>, puppets: &Puppets, during: impl AsyncFnOnce(Runtime) -> T) -> T {
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (store, puppets) = (store.clone(), puppets.clone());
    process.block_on(async move {
        let runtime = Runtime::builder()
            .token("alice", "tok-a")
            .token("bob", "tok-b")
            .host("puppet@1.0.0", puppets.host())
            .demo_agents()
            .store(store)
            .start()
            .unwrap();
        during(runtime).await
    })
}

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(u64::MAX))
}

fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().map(|frame| frame["event_seq"].as_u64().unwrap()).collect()
}

#[test]
fn a_session_goes_on_where_it_was_and_its_running_job_ends_with_the_truth() {
    let (store, puppets) = (store(), Puppets::default());
    let (token, job, before) = life(&store, &puppets, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        let mut before = Vec::new();
        for n in 0..5 {
            puppets.log(&job, &n.to_string()).await.unwrap();
            before.push(alice.expect("job.event").await);
        }
        (alice.token.clone().unwrap(), job, before)
    });
    life(&store, &Puppets::default(), async |runtime| {
        let mut alice = Peer::over(runtime.connect());
        alice.send("session.resume", json!({ "resume_token": token, "last_event_seq": 2 }));
        alice.welcome().await;
        let again = [alice.frame().await, alice.frame().await, alice.frame().await];
        assert_eq!(again, before[2..], "the same frames under the same numbers, ids included");
        let end = alice.expect("job.error").await;
        assert_eq!((end["event_seq"].as_u64(), end["job_id"].as_str()), (Some(6), Some(job.as_str())));
        assert_eq!(
            (&end["payload"]["code"], &end["payload"]["retryable"]),
            (&json!("INTERNAL_ERROR"), &json!(true))
        );
        assert!(end["payload"]["message"].as_str().unwrap().contains("started again"), "{end}");
        let next = alice.submit(json!({ "agent": "echo", "input": 1 })).await;
        let result = alice.expect("job.result").await;
        assert_eq!((result["job_id"].as_str(), result["event_seq"].as_u64()), (Some(next.as_str()), Some(7)));
        alice.barrier().await;
    });
}

#[test]
fn what_was_not_sent_yet_is_sent_to_every_observer_after_the_restart() {
    let (store, puppets) = (store(), Puppets::default());
    let (tokens, job) = life(&store, &puppets, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let mut watcher = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        watcher.send("job.subscribe", json!({ "job_id": job, "history": true }));
        watcher.expect("job.subscribed").await;
        puppets.log(&job, "seen").await.unwrap();
        watcher.expect("job.event").await;
        alice.expect("job.event").await;
        let tokens = [alice.token.clone().unwrap(), watcher.token.clone().unwrap()];
        drop((alice, watcher));
        puppets.log(&job, "unseen").await.unwrap();
        puppets.finish(&job, json!("done")).await.unwrap();
        (tokens, job)
    });
    life(&store, &Puppets::default(), async |runtime| {
        for token in &tokens {
            let mut peer = Peer::over(runtime.connect());
            peer.send("session.resume", json!({ "resume_token": token, "last_event_seq": 1 }));
            peer.welcome().await;
            let rest = [peer.frame().await, peer.frame().await];
            assert_eq!(seqs(&rest), [2, 3]);
            assert_eq!(rest[0]["payload"]["body"]["message"], "unseen");
            assert_eq!(
                (&rest[1]["type"], &rest[1]["payload"]["result"]),
                (&json!("job.result"), &json!("done"))
            );
            assert_eq!(rest[1]["job_id"], job.as_str());
            peer.barrier().await;
        }
    });
}

#[test]
fn keys_listings_and_finished_jobs_are_what_they_were() {
    let (store, puppets) = (store(), Puppets::default());
    let submit = json!({ "agent": "echo", "input": { "a": 1 }, "idempotency_key": "k" });
    let (job, accepted) = life(&store, &puppets, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        alice.send("job.submit", submit.clone());
        let accepted = alice.expect("job.accepted").await["payload"].clone();
        alice.expect("job.result").await;
        (accepted["job_id"].as_str().unwrap().to_owned(), accepted)
    });
    life(&store, &puppets, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        alice.send("job.submit", submit.clone());
        let again = alice.expect("job.accepted").await["payload"].clone();
        for field in ["job_id", "agent", "lease", "accepted_at"] {
            assert_eq!(again[field], accepted[field], "{field}");
        }
        assert_eq!(alice.expect("job.result").await["payload"]["result"], json!({ "a": 1 }));
        let other = alice.send("job.submit", json!({ "agent": "echo", "input": 2, "idempotency_key": "k" }));
        alice.refused(&other, "DUPLICATE_KEY").await;
        alice.send("session.list_jobs", json!({}));
        let listed = alice.expect("session.jobs").await;
        assert_eq!(listed["payload"]["jobs"][0]["job_id"], job.as_str());
        let mut bob = Peer::welcomed(runtime.connect(), "tok-b", FEATURES).await;
        let foreign = bob.send("job.subscribe", json!({ "job_id": job }));
        bob.refused(&foreign, "JOB_NOT_FOUND").await;
    });
}

#[test]
fn tokens_are_as_good_as_they_were() {
    let (store, puppets) = (store(), Puppets::default());
    let (stale, good) = life(&store, &puppets, async |runtime| {
        let first = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let stale = first.token.clone().unwrap();
        let mut second = Peer::over(runtime.connect());
        second.send("session.resume", json!({ "resume_token": stale, "last_event_seq": 0 }));
        second.welcome().await;
        second.barrier().await;
        (stale, second.token.clone().unwrap())
    });
    life(&store, &puppets, async |runtime| {
        let mut wrong = Peer::over(runtime.connect());
        let id = wrong.send("session.resume", json!({ "resume_token": stale, "last_event_seq": 0 }));
        wrong.refused(&id, "RESUME_WINDOW_EXPIRED").await;
        let mut right = Peer::over(runtime.connect());
        right.send("session.resume", json!({ "resume_token": good, "last_event_seq": 0 }));
        right.welcome().await;
        assert_ne!(right.token.as_deref(), Some(good.as_str()), "a welcome always brings a new token");
    });
}
