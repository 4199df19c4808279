//! The runtime beside a reference model: random interleavings of submits, events, acknowledgements, drops, resumes,
//! takeovers, subscriptions. Whatever happens, every observer's stream is without gap and duplicate, every number is
//! the session's own, and every observer sees the same payload at the same position of a job.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)] // Test code.

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use arcpd::embed::Runtime;
use arcpd::store::memory::MemoryStore;
use common::peer::{FEATURES, Got, Peer};
use common::puppet::Puppets;
use proptest::prelude::*;
use serde_json::{Value, json};

const SESSIONS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Submit(usize),
    Resubmit(usize, usize),
    Emit(usize, u8),
    Finish(usize),
    Cancel(usize, usize),
    Subscribe(usize, usize, Option<u64>),
    Unsubscribe(usize, usize),
    Ack(usize),
    Drop(usize),
    Resume(usize),
    LoseWelcome(usize),
    Takeover(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (s, j) = (0..SESSIONS, 0..6_usize);
    prop_oneof![
        3 => s.clone().prop_map(Step::Submit),
        1 => (s.clone(), j.clone()).prop_map(|(s, j)| Step::Resubmit(s, j)),
        6 => (j.clone(), 1..40_u8).prop_map(|(j, n)| Step::Emit(j, n)),
        2 => j.clone().prop_map(Step::Finish),
        1 => (s.clone(), j.clone()).prop_map(|(s, j)| Step::Cancel(s, j)),
        3 => (s.clone(), j.clone(), proptest::option::of(0..20_u64)).prop_map(|(s, j, f)| Step::Subscribe(s, j, f)),
        1 => (s.clone(), j).prop_map(|(s, j)| Step::Unsubscribe(s, j)),
        1 => s.clone().prop_map(Step::Ack),
        2 => s.clone().prop_map(Step::Drop),
        3 => s.clone().prop_map(Step::Resume),
        1 => s.clone().prop_map(Step::LoseWelcome),
        1 => s.prop_map(Step::Takeover),
    ]
}

/// What the reference knows of a job: what was said, and whether it has ended.
#[derive(Default)]
struct JobModel {
    id: String,
    submitters: Vec<usize>,
    history: Vec<String>,
    ended: bool,
}

#[derive(Clone, Copy, Default)]
struct Attached {
    pos: usize,
    submitter: bool,
    done: bool,
}

/// What the reference knows of a session: whom it follows from where, and what it must have been sent so far.
#[derive(Default)]
struct SessionModel {
    attached: BTreeMap<usize, Attached>,
    expected: BTreeMap<usize, Vec<usize>>,
}

impl SessionModel {
    fn catch_up(&mut self, jobs: &[JobModel]) {
        for (job, attached) in &mut self.attached {
            if attached.done {
                continue;
            }
            let end = jobs[*job].history.len();
            self.expected.entry(*job).or_default().extend(attached.pos + 1..=end);
            attached.pos = end;
            attached.done = jobs[*job].ended;
        }
    }

    fn total(&self) -> usize {
        self.expected.values().map(Vec::len).sum()
    }
}

/// A session as it really went.
struct Real {
    peer: Option<Peer>,
    token: String,
    session_id: String,
    last_seq: u64,
    got: BTreeMap<String, Vec<String>>,
    count: usize,
}

struct World {
    runtime: Runtime,
    store: Arc<MemoryStore>,
    puppets: Puppets,
    jobs: Vec<JobModel>,
    models: Vec<SessionModel>,
    reals: Vec<Real>,
}

/// What a numbered frame says, in one line: the same for every observer.
fn saying(frame: &Value) -> String {
    match frame["type"].as_str().unwrap() {
        "job.event" => format!("event {}", frame["payload"]["body"]["message"]),
        "job.result" => format!("result {}", frame["payload"]["result"]),
        "job.error" => format!("error {}", frame["payload"]["code"]),
        other => panic!("{other} has a number"),
    }
}

impl Real {
    fn take(&mut self, frame: &Value) {
        let seq = frame["event_seq"].as_u64().unwrap_or_else(|| panic!("no number in {frame}"));
        assert_eq!(seq, self.last_seq + 1, "gap or duplicate in {frame}");
        assert_eq!(frame["session_id"], *self.session_id, "another session's frame");
        self.last_seq = seq;
        self.count += 1;
        let job = frame["job_id"].as_str().unwrap().to_owned();
        self.got.entry(job).or_default().push(saying(frame));
    }
}

impl World {
    async fn new() -> World {
        let puppets = Puppets::default();
        let store = Arc::new(MemoryStore::new(u64::MAX));
        let runtime = Runtime::builder()
            .token("alice", "tok-a")
            .host("puppet@1.0.0", puppets.host())
            .store(store.clone())
            .start()
            .unwrap();
        let mut reals = Vec::new();
        for _ in 0..SESSIONS {
            let peer = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
            let (token, session_id) = (peer.token.clone().unwrap(), peer.session_id.clone().unwrap());
            reals.push(Real {
                peer: Some(peer),
                token,
                session_id,
                last_seq: 0,
                got: BTreeMap::new(),
                count: 0,
            });
        }
        let models = (0..SESSIONS).map(|_| SessionModel::default()).collect();
        World { runtime, store, puppets, jobs: Vec::new(), models, reals }
    }

    /// Sends a request and returns its answer; numbered frames that come before it are taken in.
    async fn ask(&mut self, s: usize, kind: &str, payload: Value) -> Value {
        let real = &mut self.reals[s];
        let mut peer = real.peer.take().unwrap();
        peer.send(kind, payload);
        let answer = loop {
            let frame = peer.frame().await;
            if frame.get("event_seq").is_none() {
                break frame;
            }
            real.take(&frame);
        };
        real.peer = Some(peer);
        answer
    }

    async fn resume(&mut self, s: usize, lose_welcome: bool) {
        let (token, last) = (self.reals[s].token.clone(), self.reals[s].last_seq);
        let ask = json!({ "resume_token": token, "last_event_seq": last });
        if lose_welcome {
            let mut lost = Peer::over(self.runtime.connect());
            lost.send("session.resume", ask.clone());
            lost.welcome().await;
        }
        let mut peer = Peer::over(self.runtime.connect());
        peer.send("session.resume", ask);
        let welcome = peer.welcome().await;
        assert_eq!(welcome["session_id"], *self.reals[s].session_id);
        let fresh = peer.token.clone().unwrap();
        assert_ne!(fresh, token, "the token did not change");
        self.reals[s].token = fresh;
        self.reals[s].peer = Some(peer);
    }

    async fn submit(&mut self, s: usize, job: usize) {
        let accepted =
            self.ask(s, "job.submit", json!({ "agent": "puppet", "idempotency_key": job.to_string() })).await;
        assert_eq!(accepted["type"], "job.accepted", "{accepted}");
        let id = accepted["payload"]["job_id"].as_str().unwrap().to_owned();
        if job == self.jobs.len() {
            self.jobs.push(JobModel { id: id.clone(), ..JobModel::default() });
        }
        let (jobs, model) = (&mut self.jobs, &mut self.models[s]);
        assert_eq!(jobs[job].id, id, "the same key is the same job");
        jobs[job].submitters.push(s);
        match model.attached.get_mut(&job) {
            None => {
                model.attached.insert(job, Attached { submitter: true, ..Attached::default() });
            }
            Some(attached) if attached.done => {
                attached.submitter = true;
                model.expected.get_mut(&job).unwrap().push(jobs[job].history.len());
            }
            Some(attached) => attached.submitter = true,
        }
    }

    async fn apply(&mut self, step: Step) {
        let connected = |world: &World, s: usize| world.reals[s].peer.is_some();
        match step {
            Step::Submit(s) if connected(self, s) && self.jobs.len() < 6 => {
                self.submit(s, self.jobs.len()).await
            }
            Step::Resubmit(s, j) if connected(self, s) && j < self.jobs.len() => self.submit(s, j).await,
            Step::Emit(j, n) if j < self.jobs.len() && !self.jobs[j].ended => {
                for _ in 0..n {
                    let message = format!("{j}:{}", self.jobs[j].history.len() + 1);
                    self.puppets.log(&self.jobs[j].id, &message).await.unwrap();
                    self.jobs[j].history.push(format!("event {:?}", message));
                }
            }
            Step::Finish(j) if j < self.jobs.len() && !self.jobs[j].ended => {
                self.puppets.finish(&self.jobs[j].id, json!(j)).await.unwrap();
                self.jobs[j].history.push(format!("result {j}"));
                self.jobs[j].ended = true;
            }
            Step::Cancel(s, j) if connected(self, s) && j < self.jobs.len() => self.cancel(s, j).await,
            Step::Subscribe(s, j, from) if connected(self, s) && j < self.jobs.len() => {
                self.subscribe(s, j, from).await
            }
            Step::Unsubscribe(s, j) if connected(self, s) && j < self.jobs.len() => {
                self.reals[s]
                    .peer
                    .as_mut()
                    .unwrap()
                    .send("job.unsubscribe", json!({ "job_id": self.jobs[j].id }));
                let pong = self.ask(s, "session.ping", json!({ "nonce": "n" })).await;
                assert_eq!(pong["type"], "session.pong");
                if self.models[s].attached.get(&j).is_some_and(|attached| !attached.submitter) {
                    self.models[s].attached.remove(&j);
                }
            }
            Step::Ack(s) if connected(self, s) => {
                let seq = self.reals[s].last_seq;
                self.reals[s]
                    .peer
                    .as_mut()
                    .unwrap()
                    .send("session.ack", json!({ "last_processed_seq": seq }));
            }
            Step::Drop(s) => self.reals[s].peer = None,
            Step::Resume(s) if !connected(self, s) => self.resume(s, false).await,
            Step::LoseWelcome(s) if !connected(self, s) => self.resume(s, true).await,
            Step::Takeover(s) if connected(self, s) => {
                let mut old = self.reals[s].peer.take().unwrap();
                self.resume(s, false).await;
                let closed = old.expect("session.closed").await;
                assert!(closed["payload"]["reason"].as_str().unwrap().contains("resumed"));
                old.ended().await;
            }
            _ => {}
        }
        self.settle().await;
    }

    async fn cancel(&mut self, s: usize, j: usize) {
        let id = self.jobs[j].id.clone();
        let answer = self.ask(s, "job.cancel", json!({ "job_id": id })).await;
        if self.jobs[j].ended {
            assert_eq!(answer["payload"]["code"], "INVALID_REQUEST", "{answer}");
        } else if self.jobs[j].submitters.contains(&s) {
            assert_eq!(answer["type"], "job.cancelled", "{answer}");
            self.jobs[j].history.push("error \"CANCELLED\"".into());
            self.jobs[j].ended = true;
        } else {
            assert_eq!(answer["payload"]["code"], "PERMISSION_DENIED", "{answer}");
        }
    }

    async fn subscribe(&mut self, s: usize, j: usize, from: Option<u64>) {
        let mut payload = json!({ "job_id": self.jobs[j].id, "history": from.is_some() });
        if let Some(from) = from {
            payload["from_event_seq"] = json!(from);
        }
        let answer = self.ask(s, "job.subscribe", payload).await;
        assert_eq!(answer["type"], "job.subscribed", "{answer}");
        let (job, model) = (&self.jobs[j], &mut self.models[s]);
        let last = job.history.len();
        let followed = model.attached.get(&j).filter(|attached| !attached.done).map(|attached| attached.pos);
        let pos = match from {
            Some(from) => usize::try_from(from).unwrap().min(last),
            None => followed.unwrap_or(last),
        };
        // Of what is over, at least the end.
        let pos = if job.ended { pos.min(last - 1) } else { pos };
        assert_eq!(answer["payload"]["subscribed_from"], pos, "{answer}");
        let submitter = model.attached.get(&j).is_some_and(|attached| attached.submitter);
        model.attached.insert(j, Attached { pos, submitter, done: false });
    }

    /// Every connected session gets what the model says, and nothing else.
    async fn settle(&mut self) {
        for s in 0..SESSIONS {
            self.models[s].catch_up(&self.jobs);
            let (real, model) = (&mut self.reals[s], &self.models[s]);
            let Some(mut peer) = real.peer.take() else { continue };
            while real.count < model.total() {
                let Got::Frame(frame) = peer.next().await else { panic!("the connection ended") };
                real.take(&frame);
            }
            peer.barrier().await;
            real.peer = Some(peer);
            for (job, positions) in &model.expected {
                let job = &self.jobs[*job];
                let wanted: Vec<&String> = positions.iter().map(|pos| &job.history[pos - 1]).collect();
                let got: Vec<&String> = real.got.get(&job.id).into_iter().flatten().collect();
                assert_eq!(got, wanted, "session {s}, job {}", job.id);
            }
        }
    }

    /// At the end everybody comes back and gets everything; what the store holds of a stream is what was sent.
    async fn finish(&mut self) {
        for s in 0..SESSIONS {
            if self.reals[s].peer.is_none() {
                self.resume(s, false).await;
            }
        }
        self.settle().await;
        for real in &self.reals {
            let stored = self.store.session(real.session_id.parse().unwrap()).unwrap();
            let newest =
                stored.extents.last().map_or(stored.released, arcpd::proto::stream::Extent::last_seq);
            assert_eq!(newest, real.last_seq, "the store has the same numbers");
        }
        self.runtime.stop().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_observer_sees_the_same_without_gap_or_duplicate(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.apply(step).await;
            }
            world.finish().await;
        });
    }
}

#[tokio::test]
async fn a_place_beyond_all_numbers_is_only_the_end() {
    let puppets = Puppets::default();
    let runtime = Runtime::builder().token("alice", "tok-a").host("puppet@1.0.0", puppets.host());
    let runtime = runtime.start().unwrap();
    let mut peer = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
    let job = peer.submit(json!({ "agent": "puppet" })).await;
    puppets.log(&job, "1").await.unwrap();
    peer.expect("job.event").await;
    let mut observer = Peer::welcomed(runtime.connect(), "tok-a", FEATURES).await;
    observer.send("job.subscribe", json!({ "job_id": job, "history": true, "from_event_seq": u64::MAX }));
    let subscribed = observer.expect("job.subscribed").await;
    assert_eq!(subscribed["payload"]["subscribed_from"], 1);
    let token = observer.token.clone();
    drop(observer);
    let mut again = Peer::over(runtime.connect());
    let resume = json!({ "resume_token": token, "last_event_seq": u64::MAX });
    let request = again.send("session.resume", resume);
    again.refused(&request, "RESUME_WINDOW_EXPIRED").await;
    runtime.stop().await;
}
