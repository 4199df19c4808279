//! The daemon goes without a word and comes back on the same store: nothing that was spoken is lost or said twice.

use std::sync::Arc;

use arcpd::agent::in_process::AgentError;
use arcpd::embed::{Builder, Runtime};
use arcpd::store::memory::MemoryStore;
use arcpd::store::sqlite::{SqliteOptions, SqliteStore};
use arcpd::store::{Batch, Durability, Op, Store};
use arcpd::wire::job::JobStatus;
use arcpd::wire::limits::Limits;
use arcpd::wire::time::Timestamp;
use serde_json::{Value, json};

use crate::common::clock::Clock;
use crate::common::peer::{FEATURES, Peer};
use crate::common::puppet::Puppets;
use crate::fixture::pass;

/// One life of a daemon on a store; everything in it dies when the future is done, agents included.
fn life<T>(store: &Arc<MemoryStore>, puppets: &Puppets, during: impl AsyncFnOnce(Runtime) -> T) -> T {
    life_of(store.clone(), puppets, |builder| builder, during)
}

/// One life of a daemon that is built in some way. Time is virtual.
fn life_of<T>(
    store: Arc<MemoryStore>,
    puppets: &Puppets,
    change: impl FnOnce(Builder) -> Builder,
    during: impl AsyncFnOnce(Runtime) -> T,
) -> T {
    let mut process = tokio::runtime::Builder::new_current_thread();
    let change = |builder: Builder| change(builder.ambient(Clock::new()));
    life_in(&process.enable_all().start_paused(true).build().unwrap(), store, puppets, change, during)
}

/// One life of a daemon whose store is a file; others than the runtime's threads write it, so that time is real.
fn life_on_disk<T>(
    store: Arc<SqliteStore>,
    puppets: &Puppets,
    change: impl FnOnce(Builder) -> Builder,
    during: impl AsyncFnOnce(Runtime) -> T,
) -> T {
    let mut process = tokio::runtime::Builder::new_multi_thread();
    life_in(&process.worker_threads(1).enable_all().build().unwrap(), store, puppets, change, during)
}

fn life_in<T>(
    process: &tokio::runtime::Runtime,
    store: Arc<dyn Store>,
    puppets: &Puppets,
    change: impl FnOnce(Builder) -> Builder,
    during: impl AsyncFnOnce(Runtime) -> T,
) -> T {
    let puppets = puppets.clone();
    process.block_on(async move {
        let builder = Runtime::builder()
            .token("alice", "tok-a")
            .token("bob", "tok-b")
            .host("puppet@1.0.0", puppets.host())
            .demo_agents()
            .store(store);
        during(change(builder).start().unwrap()).await
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

#[test]
fn a_cancel_that_was_answered_is_not_forgotten() {
    let (store, puppets) = (store(), Puppets::default());
    let deaf = |builder: Builder| {
        builder.agent("deaf@1.0.0", |_| std::future::pending::<Result<Value, AgentError>>())
    };
    let (token, job) = life_of(store.clone(), &puppets, deaf, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let job = alice.submit(json!({ "agent": "deaf" })).await;
        alice.ask("job.cancel", json!({ "job_id": job, "reason": "enough" }), "job.cancelled").await;
        (alice.token.clone().unwrap(), job)
    });
    life_of(store, &puppets, deaf, async |runtime| {
        let mut alice = Peer::resumed(runtime.connect(), &token, 0).await;
        let end = alice.end_of(&job).await;
        assert_eq!(
            (&end["payload"]["code"], &end["payload"]["message"]),
            (&json!("CANCELLED"), &json!("cancelled: enough"))
        );
        assert_eq!(end["payload"]["final_status"], "cancelled");
    });
}

fn restartable(builder: Builder) -> Builder {
    builder.restartable("puppet", "1.0.0")
}

#[test]
fn a_restartable_agent_begins_again_and_its_observers_are_told() {
    let (store, puppets) = (store(), Puppets::default());
    let chunk = |data: &str| json!({ "kind": "result_chunk", "body": { "data": data, "encoding": "utf8" } });
    let plain: Vec<&str> = FEATURES.iter().copied().filter(|feature| *feature != "result_chunk").collect();
    let (token, plain_token, job) = life_of(store.clone(), &puppets, restartable, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let mut watcher = Peer::welcomed(runtime.connect(), "tok-a", &plain).await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        watcher.ask("job.subscribe", json!({ "job_id": job, "history": true }), "job.subscribed").await;
        assert_eq!(puppets.attempt(&job).await.0, 1);
        puppets.say(&job, "job.event", chunk("a lost ")).await.unwrap();
        assert_eq!(alice.numbered().await["payload"]["kind"], "result_chunk");
        (alice.token.clone().unwrap(), watcher.token.clone().unwrap(), job)
    });
    let puppets = Puppets::default();
    life_of(store, &puppets, restartable, async |runtime| {
        let mut alice = Peer::resumed(runtime.connect(), &token, 1).await;
        let told = alice.numbered().await["payload"]["body"].clone();
        assert_eq!(told["phase"], "restarted");
        assert!(told["message"].as_str().unwrap().contains("attempt 2"), "{told}");
        assert_eq!(puppets.attempt(&job).await.0, 2);
        puppets.say(&job, "job.event", chunk("whole")).await.unwrap();
        puppets.say(&job, "job.result", json!({})).await.unwrap();
        let frames = alice.until_end(&job).await;
        let (first, end) = (&frames[0]["payload"]["body"], &frames.last().unwrap()["payload"]);
        assert_eq!((&first["data"], &first["chunk_seq"]), (&json!("whole"), &json!(0)));
        assert_eq!(first["result_id"], end["result_id"], "a result of its own");
        let mut watcher = Peer::resumed(runtime.connect(), &plain_token, 0).await;
        let frames = watcher.until_end(&job).await;
        assert_eq!(
            frames.last().unwrap()["payload"]["result"],
            "whole",
            "without what the lost attempt said"
        );
    });
}

#[test]
fn a_job_is_not_begun_for_ever() {
    let (store, puppets) = (store(), Puppets::default());
    let twice = |builder| restartable(builder).limits(Limits { job_attempts: 2, ..Limits::default() });
    let (token, job) = life_of(store.clone(), &puppets, twice, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        puppets.attempt(&job).await;
        (alice.token.clone().unwrap(), job)
    });
    let puppets = Puppets::default();
    life_of(store.clone(), &puppets, twice, async |_| assert_eq!(puppets.attempt(&job).await.0, 2));
    life_of(store, &puppets, twice, async |runtime| {
        let mut alice = Peer::resumed(runtime.connect(), &token, 0).await;
        let end = alice.until_end(&job).await.pop().unwrap();
        assert_eq!(end["payload"]["retryable"], true);
        assert!(end["payload"]["message"].as_str().unwrap().contains("each of 2 attempts"), "{end}");
    });
}

#[test]
fn a_daemon_that_stops_and_starts_goes_on_with_what_may_begin_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = SqliteOptions { durability: Durability::Process, ..SqliteOptions::UNBOUNDED };
        Arc::new(SqliteStore::open(&dir.path().join("store.db"), options).unwrap())
    };
    let both = |puppets: &Puppets| {
        let other = puppets.host();
        move |builder: Builder| restartable(builder).host("mortal@1.0.0", other)
    };
    let puppets = Puppets::default();
    let (token, job, mortal) = life_on_disk(open(), &puppets, both(&puppets), async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        let mortal = alice.submit(json!({ "agent": "mortal" })).await;
        puppets.attempt(&job).await;
        puppets.attempt(&mortal).await;
        runtime.stop().await;
        let end = alice.end_of(&mortal).await;
        assert!(end["payload"]["message"].as_str().unwrap().contains("submit it again"), "{end}");
        (alice.token.clone().unwrap(), job, mortal)
    });
    // Whoever holds an agent's port holds the store.
    puppets.leave(&job);
    puppets.leave(&mortal);
    let puppets = Puppets::default();
    life_on_disk(open(), &puppets, both(&puppets), async |runtime| {
        let mut alice = Peer::resumed(runtime.connect(), &token, 1).await;
        assert_eq!(alice.numbered().await["payload"]["body"]["phase"], "restarted");
        puppets.finish(&job, json!(1)).await.unwrap();
        assert_eq!(alice.end_of(&job).await["payload"]["result"], 1);
        let listed = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
        let listed = listed["jobs"].as_array().unwrap();
        let status = |id: &str| listed.iter().find(|row| row["job_id"] == id).unwrap()["status"].clone();
        assert_eq!((status(&job), status(&mortal)), (json!("success"), json!("error")));
    });
}

#[test]
fn a_session_that_said_goodbye_does_not_keep_its_jobs_to_itself() {
    let (store, puppets) = (store(), Puppets::default());
    let job = life_of(store.clone(), &puppets, restartable, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        alice.ask("session.close", json!({}), "session.closed").await;
        job
    });
    life_of(store, &puppets, restartable, async |runtime| {
        let mut other = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        other.ask("job.cancel", json!({ "job_id": job }), "job.cancelled").await;
    });
}

#[test]
fn an_end_that_went_before_it_was_sent_is_missed_and_not_passed_over() {
    let (store, puppets) = (store(), Puppets::default());
    let (token, job) = life(&store, &puppets, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let job = alice.submit(json!({ "agent": "puppet" })).await;
        let token = alice.token.clone().unwrap();
        drop(alice);
        puppets.finish(&job, json!(1)).await.unwrap();
        (token, job)
    });
    let gone = vec![Op::RemoveJob(job.parse().unwrap())];
    store.submit(Batch { epoch: store.epoch(), ops: gone });
    life(&store, &puppets, async |runtime| {
        let (mut alice, id) = Peer::resuming(runtime.connect(), &token, 0);
        alice.refused(&id, "RESUME_WINDOW_EXPIRED").await;
    });
}

#[test]
fn finished_jobs_of_before_are_on_their_principals_account() {
    let (store, puppets) = (store(), Puppets::default());
    let input = "x".repeat(400_000);
    let submit = json!({ "agent": "echo", "input": input });
    let jobs = life(&store, &puppets, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let mut jobs = Vec::new();
        for _ in 0..3 {
            // Each at a time of its own, so that one is the oldest.
            pass(2).await;
            let job = alice.submit(submit.clone()).await;
            alice.until_end(&job).await;
            jobs.push(job);
        }
        jobs
    });
    let tight =
        |builder: Builder| builder.limits(Limits { bytes_per_principal: 2_000_000, ..Limits::default() });
    life_of(store, &puppets, tight, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        for _ in 0..1_000 {
            let listed = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
            let left: Vec<&str> = listed["jobs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["job_id"].as_str().unwrap())
                .collect();
            if left.len() < 3 {
                assert_eq!(left, [&*jobs[2], &*jobs[1]], "the oldest went first, and only as much as had to");
                return;
            }
            pass(10).await;
        }
        panic!("nothing was given up");
    });
}

#[test]
fn a_principal_that_has_no_token_any_more_does_not_come_back() {
    let (store, puppets) = (store(), Puppets::default());
    let token = life(&store, &puppets, async |runtime| {
        Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await.token.clone().unwrap()
    });
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    process.block_on(async {
        let runtime = Runtime::builder().token("bob", "tok-b").store(store.clone()).start().unwrap();
        let (mut alice, id) = Peer::resuming(runtime.connect(), &token, 0);
        alice.refused(&id, "RESUME_WINDOW_EXPIRED").await;
        assert!(store.restore().unwrap().sessions.is_empty());
    });
}

#[test]
fn a_clock_that_was_ahead_keeps_no_job_for_longer_and_no_key_for_the_older_job() {
    let (store, puppets) = (store(), Puppets::default());
    let keyed = json!({ "agent": "echo", "input": 1, "idempotency_key": "k" });
    let forgetful = |builder: Builder| {
        let limits = Limits { idempotency_keys: 1, finished_age_sec: 1, ..Limits::default() };
        builder.limits(limits).resume_window(std::time::Duration::from_millis(1))
    };
    let (older, newer) = life_of(store.clone(), &puppets, forgetful, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        let older = alice.submit(keyed.clone()).await;
        alice.until_end(&older).await;
        let other = alice.submit(json!({ "agent": "echo", "idempotency_key": "other" })).await;
        alice.until_end(&other).await;
        // Swept now: only one key is remembered.
        for _ in 0..1_000 {
            pass(10).await;
            let newer = alice.submit(keyed.clone()).await;
            alice.end_of(&newer).await;
            if newer != older {
                return (older, newer);
            }
        }
        panic!("the key was never forgotten");
    });
    let ahead = Timestamp::from_micros(i64::MAX / 2);
    let ended = Op::JobEnded { job: older.parse().unwrap(), status: JobStatus::Success, at: ahead };
    store.submit(Batch { epoch: store.epoch(), ops: vec![ended] });
    life(&store, &puppets, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        assert_eq!(alice.submit(keyed).await, newer);
    });
    life_of(store, &puppets, forgetful, async |runtime| {
        let mut alice = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
        for _ in 0..1_000 {
            let listed = alice.ask("session.list_jobs", json!({}), "session.jobs").await;
            if listed["jobs"].as_array().unwrap().is_empty() {
                return;
            }
            pass(10).await;
        }
        panic!("a job of the future is kept for ever");
    });
}
