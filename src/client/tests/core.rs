//! The core alone: its time is given, so that nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use proptest::prelude::*;

use super::super::session::{Answer, Ask, Output, Session};
use super::*;

struct Bench {
    core: Session,
    now: Instant,
}

impl Bench {
    fn new(options: ClientOptions) -> Self {
        let now = Instant::now();
        let mut next = 0;
        let mint = move || {
            next += 1;
            Ulid::from_parts(1, next)
        };
        Bench { core: Session::new(options, now, mint), now }
    }

    /// In conversation; heartbeats every `interval` seconds.
    fn up(interval: u64) -> Self {
        let mut bench = Bench::new(options());
        bench.core.connected(bench.now);
        bench.welcome(1, interval);
        bench.outputs();
        bench
    }

    fn welcome(&mut self, session: u128, interval: u64) {
        let mut payload = welcome(SessionId::new(1, session), "t", ALL);
        payload["heartbeat_interval_sec"] = json!(interval);
        self.frame("session.welcome", None, payload);
    }

    fn frame(&mut self, kind: &str, seq: Option<u64>, payload: Value) {
        let frame = json!({"arcp": "1.1", "id": "m", "type": kind, "event_seq": seq, "payload": payload});
        self.core.frame(self.now, frame.to_string().as_bytes());
    }

    fn later(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.core.tick(self.now, true);
    }

    fn outputs(&mut self) -> Vec<Output> {
        self.core.outputs()
    }

    /// The types of the frames that leave, and the reasons of hang-ups.
    fn leaves(&mut self) -> Vec<String> {
        let outputs = self.outputs().into_iter();
        outputs
            .filter_map(|output| match output {
                Output::Send(frame) => {
                    let frame: Value = serde_json::from_slice(&frame).unwrap();
                    Some(frame["type"].as_str().unwrap().to_owned())
                }
                Output::Hangup(reason) => Some(format!("hangup: {}", reason.as_str())),
                Output::Welcomed(_) | Output::Answer(..) | Output::Update(..) | Output::Over(_) => None,
            })
            .collect()
    }
}

#[test]
fn an_idle_side_pings_and_a_silent_runtime_is_left() {
    let mut bench = Bench::up(10);
    assert_eq!(bench.core.deadline(), Some(bench.now + Duration::from_secs(10)));
    bench.later(9_999);
    assert!(bench.leaves().is_empty());
    bench.later(1);
    assert_eq!(bench.leaves(), ["session.ping"]);
    bench.later(9_000);
    bench.frame("session.pong", None, json!({"ping_nonce": "n"}));
    bench.later(1_000);
    assert_eq!(bench.leaves(), ["session.ping"]);
    bench.later(18_999);
    assert_eq!(bench.leaves(), ["session.ping"]);
    bench.later(1);
    assert_eq!(bench.leaves(), ["hangup: heartbeat lost"]);
    assert!(!bench.core.is_over());
}

#[test]
fn a_runtime_is_not_silent_while_nobody_listens() {
    let mut bench = Bench::up(10);
    for _ in 0..5 {
        bench.now += Duration::from_secs(10);
        bench.core.tick(bench.now, false);
        assert_eq!(bench.leaves(), ["session.ping"]);
    }
}

#[test]
fn acknowledgements_are_coalesced() {
    let mut bench = Bench::up(1_000);
    for seq in 1..=255 {
        bench.frame("job.event", Some(seq), log(job(1), seq));
    }
    bench.later(1_999);
    assert!(bench.leaves().is_empty(), "too few for an acknowledgement");
    bench.frame("job.event", Some(256), log(job(1), 256));
    assert_eq!(bench.leaves(), ["session.ack"]);
    for seq in 257..=600 {
        bench.frame("job.event", Some(seq), log(job(1), seq));
    }
    assert!(bench.leaves().is_empty(), "too soon after the last one");
    bench.later(250);
    assert_eq!(bench.leaves(), ["session.ack"]);
    for seq in 601..=600 + 4_096 {
        bench.frame("job.event", Some(seq), log(job(1), seq));
    }
    assert_eq!(bench.leaves(), ["session.ack"], "so many are told at once");
    bench.frame("job.event", Some(4_697), log(job(1), 1));
    bench.later(2_000);
    assert_eq!(bench.leaves(), ["session.ack"], "and a few after a while");
}

#[test]
fn a_handshake_without_an_answer_is_given_up() {
    let mut bench = Bench::new(options());
    bench.core.connected(bench.now);
    bench.later(30_000);
    assert!(bench.core.is_over());
}

#[test]
fn a_connection_that_achieves_nothing_does_not_refresh_the_budget() {
    let mut bench = Bench::up(1_000);
    bench.core.broken(bench.now, "gone");
    let mut dials = 0;
    while bench.core.next_dial(bench.now, 1.0).is_some() {
        dials += 1;
        assert!(dials <= 30, "the budget is a minute, and each attempt took two seconds");
        bench.now += Duration::from_secs(2);
        bench.core.connected(bench.now);
        bench.welcome(1, 1_000);
        bench.frame("job.event", Some(9), log(job(1), 9));
    }
    assert_eq!(dials, 30);
    assert!(bench.core.is_over());
}

#[test]
fn so_many_requests_at_once_and_no_more() {
    let mut bench = Bench::up(1_000);
    let list = || Ask::List(crate::wire::session::ListJobs::default());
    for _ in 0..256 {
        assert!(bench.core.has_room());
        bench.core.ask(bench.now, list());
    }
    assert!(!bench.core.has_room());
    bench.later(30_000);
    assert!(bench.core.has_room());
}

#[test]
fn a_request_without_an_answer_times_out_and_the_session_goes_on() {
    let mut bench = Bench::up(1_000);
    let ask = Ask::Submit { submit: Box::new(echo().submit), trace_id: None };
    bench.core.ask(bench.now, ask.clone());
    let late = sent(&mut bench, "job.submit");
    assert_eq!(bench.core.deadline(), Some(bench.now + Duration::from_secs(30)));
    bench.later(29_999);
    assert!(bench.outputs().is_empty());
    bench.later(1);
    let outputs = bench.outputs();
    assert!(matches!(&outputs[..], [Output::Answer(1, Err(RequestError::TimedOut(_)))]), "{outputs:?}");
    bench.frame("job.accepted", None, accepted(job(1), &late));
    assert!(bench.outputs().is_empty(), "nobody waits for a late answer");
    bench.core.ask(bench.now, ask);
    let id = sent(&mut bench, "job.submit");
    bench.frame("job.accepted", None, accepted(job(2), &id));
    assert!(matches!(&bench.outputs()[..], [Output::Answer(2, Ok(Answer::Accepted(_)))]));
}

#[test]
fn a_request_that_fits_no_frame_is_not_sent() {
    let mut bench = Bench::up(1_000);
    let input = serde_json::value::to_raw_value(&"x".repeat(1_048_575)).unwrap();
    let submit = Box::new(echo().raw_input(input).submit);
    bench.core.ask(bench.now, Ask::Submit { submit, trace_id: None });
    let outputs = bench.outputs();
    let [Output::Answer(_, Err(RequestError::TooLarge { max: 1_048_575, .. }))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
}

#[test]
fn only_an_error_that_was_the_last_word_says_why_a_connection_ended() {
    let error = json!({"code": "INVALID_REQUEST", "message": "m", "retryable": false});
    let mut bench = Bench::up(1_000);
    bench.frame("session.error", None, error.clone());
    bench.frame("session.pong", None, json!({"ping_nonce": "n"}));
    bench.core.broken(bench.now, "gone");
    assert!(!bench.core.is_over());
    let mut bench = Bench::up(1_000);
    bench.frame("session.error", None, error);
    bench.core.broken(bench.now, "gone");
    assert!(bench.core.is_over());
}

#[test]
fn without_all_kinds_a_new_session_replays_from_the_start_and_skips_what_was_seen() {
    let mut bench = Bench::new(options());
    bench.core.connected(bench.now);
    let few = |bench: &mut Bench, session| {
        let payload = welcome(SessionId::new(1, session), "t", &["subscribe"]);
        bench.frame("session.welcome", None, payload);
    };
    few(&mut bench, 1);
    bench.core.ask(bench.now, Ask::Subscribe { job_id: job(1), since: Since::After(3) });
    let id = sent(&mut bench, "job.subscribe");
    bench.frame("job.subscribed", None, subscribed(job(1), &id, 3));
    bench.frame("job.event", Some(1), log(job(1), 4));
    bench.core.broken(bench.now, "gone");
    bench.core.connected(bench.now);
    bench.frame(
        "session.error",
        None,
        json!({"code": "RESUME_WINDOW_EXPIRED", "message": "m", "retryable": false}),
    );
    bench.core.connected(bench.now);
    bench.outputs();
    few(&mut bench, 2);
    let id = sent(&mut bench, "job.subscribe");
    bench.frame("job.subscribed", None, subscribed(job(1), &id, 3));
    bench.frame("job.event", Some(1), log(job(1), 4));
    bench.frame("job.event", Some(2), log(job(1), 5));
    assert_eq!(messages(&bench.outputs()), ["5"]);
}

/// The id of the only frame of this type that leaves.
fn sent(bench: &mut Bench, kind: &str) -> Value {
    let frames = bench.outputs().into_iter().filter_map(|output| match output {
        Output::Send(frame) => Some(serde_json::from_slice::<Value>(&frame).unwrap()),
        Output::Welcomed(_)
        | Output::Answer(..)
        | Output::Update(..)
        | Output::Hangup(_)
        | Output::Over(_) => None,
    });
    let ids: Vec<Value> =
        frames.filter(|frame| frame["type"] == kind).map(|frame| frame["id"].clone()).collect();
    assert_eq!(ids.len(), 1);
    ids[0].clone()
}

fn messages(outputs: &[Output]) -> Vec<String> {
    let events = outputs.iter().filter_map(|output| match output {
        Output::Update(_, JobUpdate::Event(event)) => {
            let body: Value = serde_json::from_str(event.event.body.get()).unwrap();
            Some(body["message"].as_str().unwrap().to_owned())
        }
        Output::Update(..)
        | Output::Send(_)
        | Output::Welcomed(_)
        | Output::Answer(..)
        | Output::Hangup(_)
        | Output::Over(_) => None,
    });
    events.collect()
}

/// What an adversary does next.
#[derive(Debug, Clone)]
enum Step {
    /// One of the jobs gets that many events.
    Happens(u128, u64),
    /// That many frames of the session's stream arrive.
    Arrive(usize),
    /// A frame that was sent before arrives again.
    Again,
    /// A frame is lost on the way.
    Lose,
    /// The connection breaks.
    Break,
    /// The connection breaks and the session is forgotten.
    Forget,
    /// The welcome of the next resume is lost.
    LoseWelcome,
    /// A handle is full: its last event is not delivered, and it is set aside.
    Aside(u128),
    /// It has room again.
    Room(u128),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let job = 1..4_u128;
    let step = prop_oneof![
        4 => (job.clone(), 1..5_u64).prop_map(|(job, n)| Step::Happens(job, n)),
        6 => (1..8_usize).prop_map(Step::Arrive),
        1 => Just(Step::Again),
        1 => Just(Step::Lose),
        1 => Just(Step::Break),
        1 => Just(Step::Forget),
        1 => Just(Step::LoseWelcome),
        1 => job.clone().prop_map(Step::Aside),
        2 => job.prop_map(Step::Room),
    ];
    prop::collection::vec(step, 1..60)
}

/// A frame on its way.
enum Item {
    /// One of the session's stream, by its index there.
    Numbered(usize),
    /// The answer to a subscribe.
    Subscribed(Value),
}

/// A truthful runtime on a bad network.
struct World {
    bench: Bench,
    /// How many events each job has.
    history: HashMap<u128, u64>,
    /// The session's stream from number 1: job and position.
    stream: Vec<(u128, u64)>,
    /// Up to which position the stream holds each attached job.
    attached: HashMap<u128, u64>,
    session: u128,
    /// What is on its way on this connection, in order.
    way: VecDeque<Item>,
    /// How many frames of this session's stream were on the way so far.
    passed: usize,
    /// What each handle was told.
    told: HashMap<u128, Vec<u64>>,
}

impl World {
    fn new() -> Self {
        let mut world = World {
            bench: Bench::up(1_000_000),
            history: (1..4).map(|n| (n, 0)).collect(),
            stream: Vec::new(),
            attached: HashMap::new(),
            session: 1,
            way: VecDeque::new(),
            passed: 0,
            told: HashMap::new(),
        };
        for n in 1..4 {
            world.bench.core.ask(world.bench.now, Ask::Subscribe { job_id: job(n), since: Since::After(0) });
        }
        world.settle();
        while world.arrive() {}
        world
    }

    /// Plays the runtime until the client wants nothing more.
    fn settle(&mut self) {
        loop {
            let outputs = self.bench.outputs();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    Output::Send(frame) => self.serve(&serde_json::from_slice(&frame).unwrap()),
                    Output::Update(job_id, JobUpdate::Event(event)) => {
                        let n = (1..4).find(|n| job(*n) == job_id).unwrap();
                        self.told.entry(n).or_default().push(event.position);
                    }
                    Output::Update(_, update) => assert!(
                        matches!(update, JobUpdate::Interrupted(_) | JobUpdate::Resumed(_)),
                        "{update:?}"
                    ),
                    Output::Hangup(_) => {
                        self.way.clear();
                        self.redial();
                    }
                    Output::Answer(_, answer) => assert!(matches!(answer, Ok(Answer::Subscribed(_)))),
                    Output::Welcomed(_) => {}
                    Output::Over(cut) => panic!("{cut}"),
                }
            }
        }
    }

    fn redial(&mut self) {
        self.bench.core.next_dial(self.bench.now, 0.5).unwrap();
        self.bench.core.connected(self.bench.now);
    }

    fn serve(&mut self, frame: &Value) {
        let payload = &frame["payload"];
        match frame["type"].as_str().unwrap() {
            "session.resume" if payload["session_id"] == json!(SessionId::new(1, self.session)) => {
                let last = usize::try_from(payload["last_event_seq"].as_u64().unwrap()).unwrap();
                self.way = (last..self.stream.len()).map(Item::Numbered).collect();
                self.bench.welcome(self.session, 1_000_000);
            }
            "session.resume" => {
                let gone = json!({"code": "RESUME_WINDOW_EXPIRED", "message": "m", "retryable": false});
                self.bench.frame("session.error", None, gone);
            }
            "session.hello" => self.bench.welcome(self.session, 1_000_000),
            "job.subscribe" => {
                let n = (1..4).find(|n| json!(job(*n)) == payload["job_id"]).unwrap();
                let from = payload["from_event_seq"].as_u64().unwrap();
                self.way.push_back(Item::Subscribed(subscribed(job(n), &frame["id"], from)));
                self.extend(n, from);
            }
            _ => {}
        }
    }

    /// Puts a job's history after `from` into the session's stream.
    fn extend(&mut self, n: u128, from: u64) {
        for pos in from + 1..=self.history[&n] {
            self.way.push_back(Item::Numbered(self.stream.len()));
            self.stream.push((n, pos));
        }
        self.attached.insert(n, self.history[&n]);
    }

    /// Whether anything was on its way.
    fn arrive(&mut self) -> bool {
        match self.way.pop_front() {
            Some(Item::Numbered(at)) => {
                self.passed = self.passed.max(at + 1);
                self.numbered(at);
            }
            Some(Item::Subscribed(payload)) => self.bench.frame("job.subscribed", None, payload),
            None => return false,
        }
        self.settle();
        true
    }

    fn numbered(&mut self, at: usize) {
        if let Some((n, pos)) = self.stream.get(at).copied() {
            self.bench.frame("job.event", Some(at as u64 + 1), log(job(n), pos));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Happens(n, count) => {
                let before = self.history[&n];
                self.history.insert(n, before + count);
                if let Some(last) = self.attached.get(&n).copied() {
                    self.extend(n, last);
                }
            }
            Step::Arrive(count) => {
                for _ in 0..count {
                    self.arrive();
                }
            }
            Step::Again if self.passed > 0 => self.numbered((self.passed - 1) / 2),
            Step::Again => {}
            Step::Lose => {
                if let Some(Item::Numbered(_)) = self.way.front() {
                    self.way.pop_front();
                }
            }
            Step::Break | Step::LoseWelcome | Step::Forget => {
                if matches!(step, Step::Forget) {
                    self.session += 1;
                    self.stream.clear();
                    self.attached.clear();
                    self.passed = 0;
                }
                self.way.clear();
                self.bench.core.broken(self.bench.now, "gone");
                if matches!(step, Step::LoseWelcome) {
                    self.redial();
                    self.bench.outputs();
                    self.bench.core.broken(self.bench.now, "gone again");
                }
                self.redial();
            }
            Step::Aside(n) => {
                let undelivered = u64::from(self.told.entry(n).or_default().pop().is_some());
                self.bench.core.set_aside(job(n), undelivered);
            }
            Step::Room(n) => self.bench.core.catch_up(self.bench.now, job(n)),
        }
        self.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_handle_sees_each_position_once_and_in_order(steps in steps()) {
        let mut world = World::new();
        let mut aside = [false; 4];
        for step in steps {
            // A handle is set aside once, and has room again only after that.
            match step {
                Step::Aside(n) if std::mem::replace(&mut aside[n as usize], true) => continue,
                Step::Room(n) => aside[n as usize] = false,
                Step::Happens(..)
                | Step::Arrive(_)
                | Step::Again
                | Step::Lose
                | Step::Break
                | Step::Forget
                | Step::LoseWelcome
                | Step::Aside(_) => {}
            }
            world.step(step);
        }
        for n in 1..4 {
            world.step(Step::Room(n));
        }
        // A frame that was lost at the very end shows when the next one comes.
        for _ in 0..4 {
            while world.arrive() {}
            for n in 1..4 {
                world.step(Step::Happens(n, 1));
            }
        }
        while world.arrive() {}
        for n in 1..4 {
            let told = world.told.remove(&n).unwrap_or_default();
            prop_assert_eq!(told, (1..=world.history[&n]).collect::<Vec<_>>());
        }
    }
}
