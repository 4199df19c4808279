//! Observing jobs of other sessions (§7.6; our decisions 3, 5 and 8).

use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::common::peer::Peer;
use crate::fixture::{World, anonymous, fields};

async fn logs(world: &World, job: &str, messages: std::ops::RangeInclusive<u64>) {
    for n in messages {
        world.puppets.log(job, &n.to_string()).await.unwrap();
    }
}

/// The next numbered frames, which have to be these messages of this job.
async fn told(peer: &mut Peer, job: &str, messages: std::ops::RangeInclusive<u64>) {
    for n in messages {
        let event = peer.numbered().await;
        assert_eq!(event["job_id"], job, "{event}");
        assert_eq!(event["payload"]["body"]["message"], n.to_string(), "{event}");
    }
}

async fn subscribed(peer: &mut Peer, ask: Value) -> (u64, bool) {
    let answer = peer.ask("job.subscribe", ask, "job.subscribed").await;
    (answer["subscribed_from"].as_u64().unwrap(), answer["replayed"].as_bool().unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_observer_gets_the_history_that_it_asks_for_and_then_what_comes() {
    let world = World::new();
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    logs(&world, &job, 1..=5).await;
    told(&mut alice, &job, 1..=5).await;
    let ask = |more: Value| {
        let mut ask = more;
        ask["job_id"] = json!(job);
        ask
    };
    let cases = [
        (ask(json!({})), 5, false),
        (ask(json!({ "history": false, "from_event_seq": 2 })), 5, false),
        (ask(json!({ "from_event_seq": 2 })), 5, false),
        (ask(json!({ "history": true })), 0, true),
        (ask(json!({ "history": true, "from_event_seq": 0 })), 0, true),
        (ask(json!({ "history": true, "from_event_seq": 3 })), 3, true),
        (ask(json!({ "history": true, "from_event_seq": 5 })), 5, false),
        (ask(json!({ "history": true, "from_event_seq": 6 })), 5, false),
        (ask(json!({ "history": true, "from_event_seq": 1_000_000 })), 5, false),
        (ask(json!({ "history": true, "from_event_seq": u64::MAX })), 5, false),
    ];
    let mut observers = Vec::new();
    for (ask, from, replayed) in cases {
        let mut observer = world.alice().await;
        let got = subscribed(&mut observer, ask.clone()).await;
        assert_eq!(got, (from, replayed), "{ask}");
        told(&mut observer, &job, from + 1..=5).await;
        observer.barrier().await;
        observers.push(observer);
    }
    logs(&world, &job, 6..=7).await;
    world.puppets.finish(&job, json!("end")).await.unwrap();
    for observer in observers.iter_mut().chain([&mut alice]) {
        told(observer, &job, 6..=7).await;
        assert_eq!(observer.end_of(&job).await["payload"]["result"], "end");
        observer.barrier().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_subscription_has_every_field() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    let answer = other.ask("job.subscribe", json!({ "job_id": job }), "job.subscribed").await;
    assert_eq!(
        fields(&answer),
        [
            "agent",
            "current_status",
            "job_id",
            "lease",
            "replayed",
            "reply_to",
            "request_id",
            "subscribed_from"
        ]
    );
    assert_eq!((&answer["job_id"], &answer["agent"]), (&json!(job), &json!("puppet@1.0.0")));
    assert!(["pending", "running"].contains(&answer["current_status"].as_str().unwrap()), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_finished_job_can_still_be_observed() {
    let world = World::new();
    let mut alice = world.alice().await;
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    logs(&world, &job, 1..=3).await;
    world.puppets.finish(&job, json!("end")).await.unwrap();
    let frames = alice.until_end(&job).await;
    for (from, first) in [(0, 1), (2, 3), (3, 4)] {
        let mut other = world.alice().await;
        let ask = json!({ "job_id": job, "history": true, "from_event_seq": from });
        let answer = other.ask("job.subscribe", ask, "job.subscribed").await;
        assert_eq!((&answer["current_status"], &answer["replayed"]), (&json!("success"), &json!(true)));
        assert_eq!(answer["subscribed_from"], from);
        told(&mut other, &job, first..=3).await;
        assert_eq!(other.end_of(&job).await["payload"], frames[3]["payload"]);
        other.barrier().await;
    }
    // At least its end is sent, to whoever asks and as often: nobody could wait for it.
    let mut other = world.alice().await;
    for ask in [json!({ "job_id": job }), json!({ "job_id": job, "history": true, "from_event_seq": 4 })] {
        for peer in [&mut alice, &mut other] {
            assert_eq!(subscribed(peer, ask.clone()).await, (3, true));
            assert_eq!(peer.end_of(&job).await["payload"], frames[3]["payload"]);
            peer.barrier().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn subscribing_twice_is_one_attachment_and_history_moves_it_back() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    logs(&world, &job, 1..=3).await;
    assert_eq!(subscribed(&mut other, json!({ "job_id": job })).await, (3, false));
    assert_eq!(subscribed(&mut other, json!({ "job_id": job })).await, (3, false));
    logs(&world, &job, 4..=4).await;
    told(&mut other, &job, 4..=4).await;
    other.barrier().await;
    let back = json!({ "job_id": job, "history": true, "from_event_seq": 2 });
    assert_eq!(subscribed(&mut other, back).await, (2, true));
    told(&mut other, &job, 3..=4).await;
    logs(&world, &job, 5..=5).await;
    told(&mut other, &job, 5..=5).await;
    other.barrier().await;
    // To one's own job likewise: nothing twice, and the authority stays.
    told(&mut alice, &job, 1..=5).await;
    assert_eq!(subscribed(&mut alice, json!({ "job_id": job })).await, (5, false));
    assert_eq!(subscribed(&mut alice, json!({ "job_id": job, "history": true })).await, (0, true));
    told(&mut alice, &job, 1..=5).await;
    alice.ask("job.cancel", json!({ "job_id": job }), "job.cancelled").await;
    alice.end_of(&job).await;
    other.end_of(&job).await;
    alice.barrier().await;
    other.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn unsubscribing_is_not_answered_and_never_detaches_the_submitter() {
    let world = World::new();
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    subscribed(&mut other, json!({ "job_id": job })).await;
    logs(&world, &job, 1..=1).await;
    told(&mut other, &job, 1..=1).await;
    for peer in [&mut other, &mut alice] {
        for named in [json!(job), json!("job_01ARZ3NDEKTSV4RRFFQ69G5FAV"), json!("nonsense")] {
            peer.send("job.unsubscribe", json!({ "job_id": named }));
        }
    }
    other.barrier().await;
    told(&mut alice, &job, 1..=1).await;
    alice.barrier().await;
    logs(&world, &job, 2..=2).await;
    told(&mut alice, &job, 2..=2).await;
    other.barrier().await;
    let again = json!({ "job_id": job, "history": true, "from_event_seq": 1 });
    assert_eq!(subscribed(&mut other, again).await, (1, true));
    told(&mut other, &job, 2..=2).await;
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_trimmed_is_told_with_the_oldest_that_is_kept() {
    let world = World::with(Limits { history_events: 5_000, ..Limits::default() });
    let (mut alice, mut other) = (world.alice().await, world.alice().await);
    let job = alice.submit(json!({ "agent": "puppet" })).await;
    // Whole groups of up to 4,096 go, each of which begins at a multiple of that.
    for part in 0..20 {
        logs(&world, &job, part * 500 + 1..=(part + 1) * 500).await;
        told(&mut alice, &job, part * 500 + 1..=(part + 1) * 500).await;
    }
    let oldest = 8_192;
    for from in [1, 4_096, oldest - 2] {
        let ask = json!({ "job_id": job, "history": true, "from_event_seq": from });
        let error = other.ask_in_vain("job.subscribe", ask, "RESUME_WINDOW_EXPIRED").await;
        assert_eq!(error["details"]["oldest"], oldest, "{from}: {error}");
    }
    let ask = json!({ "job_id": job, "history": true, "from_event_seq": oldest - 1 });
    assert_eq!(subscribed(&mut other, ask).await, (oldest - 1, true));
    told(&mut other, &job, oldest..=10_000).await;
    let mut third = world.alice().await;
    let everything = json!({ "job_id": job, "history": true });
    assert_eq!(subscribed(&mut third, everything).await, (oldest - 1, true), "0 is what is left");
    told(&mut third, &job, oldest..=10_000).await;
    third.barrier().await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_job_cannot_be_told_from_one_that_does_not_exist() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let running = alice.submit(json!({ "agent": "puppet" })).await;
    let finished = alice.submit(json!({ "agent": "echo" })).await;
    alice.end_of(&finished).await;
    let (nobody, last) = ("job_01ARZ3NDEKTSV4RRFFQ69G5FAV", running.len() - 1);
    let mut tampered = running.clone();
    let digit = if tampered.ends_with('0') { "1" } else { "0" };
    tampered.replace_range(last.., digit);
    let lower = running.to_lowercase();
    let upside: String = running.chars().rev().collect();
    for history in [json!(true), json!(false)] {
        let mut answers = Vec::new();
        for named in [nobody, &running, &finished, &tampered, &lower, &upside, "job_", "sess_x", "é"] {
            bob.send("job.subscribe", json!({ "job_id": named, "history": history }));
            let answer = bob.expect("session.error").await;
            assert_eq!(answer["payload"]["code"], "JOB_NOT_FOUND", "{answer}");
            assert_eq!(answer["payload"]["retryable"], false);
            answers.push(anonymous(&answer).to_string().replace(named, "…"));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    }
    for tampered in [&tampered, &lower, &upside] {
        let ask = json!({ "job_id": tampered });
        alice.ask_in_vain("job.subscribe", ask, "JOB_NOT_FOUND").await;
    }
    for wrong in
        [json!({}), json!({ "job_id": "" }), json!({ "job_id": 7 }), json!({ "job_id": "x".repeat(129) })]
    {
        let error = alice.ask_in_vain("job.subscribe", wrong, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains("job_id"), "{error}");
    }
    for wrong in [json!(-1), json!(0.5), json!("1"), json!(1e300)] {
        let ask = json!({ "job_id": running, "history": true, "from_event_seq": wrong });
        let error = alice.ask_in_vain("job.subscribe", ask, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains("from_event_seq"), "{error}");
    }
    // Nothing of it reaches bob, and nothing that he tried reached the job.
    world.puppets.finish(&running, json!(1)).await.unwrap();
    alice.end_of(&running).await;
    bob.barrier().await;
}
