//! One client over all lives of the daemon: what it asked for, what it was promised, and what it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arcpd::transport::websocket::connect;
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, Got, Peer, hello};

/// New jobs of one client in one life.
const SUBMITS: u64 = 3;

/// The jobs of each principal that somebody could look at.
pub(crate) type Board = Arc<Mutex<BTreeMap<&'static str, Vec<String>>>>;

/// A small generator, so that a campaign can be told again from its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.roll(of.len().max(1) as u64)).unwrap())
    }
}

/// A value as few bytes: all that is kept of a million frames.
pub(crate) fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Whether this is how a daemon that ends in order refuses what is new.
fn stopping(frame: &Value) -> bool {
    let (code, message) = (&frame["payload"]["code"], frame["payload"]["message"].as_str());
    code == "INTERNAL_ERROR" && message.is_some_and(|message| message.contains("is stopping"))
}

/// A submit under a key, and the job that it was answered with.
pub(crate) struct Submit {
    pub(crate) payload: Value,
    pub(crate) job: Option<String>,
}

/// One client.
pub(crate) struct Client {
    pub(crate) name: String,
    principal: (&'static str, &'static str),
    dice: Dice,
    board: Board,
    token: Option<String>,
    /// Every numbered frame that it was ever sent, by number.
    frames: Vec<u64>,
    /// The number of the newest frame on this connection.
    at: u64,
    acked: u64,
    pub(crate) submits: Vec<Submit>,
    /// What it watches beside, and whether that was confirmed.
    pub(crate) watched: BTreeMap<String, bool>,
    /// Jobs whose cancellation was confirmed.
    pub(crate) cancelled: BTreeSet<String>,
    /// Per job what was said of it, each once.
    pub(crate) seen: BTreeMap<String, Vec<u64>>,
    pub(crate) ended: BTreeSet<String>,
    pub(crate) replayed: u64,
}

impl Client {
    pub(crate) fn new(
        name: String,
        principal: (&'static str, &'static str),
        seed: u64,
        board: Board,
    ) -> Self {
        Client {
            name,
            principal,
            dice: Dice(seed),
            board,
            token: None,
            frames: Vec::new(),
            at: 0,
            acked: 0,
            submits: Vec::new(),
            watched: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            seen: BTreeMap::new(),
            ended: BTreeSet::new(),
            replayed: 0,
        }
    }

    /// How many events it was sent, replays aside.
    pub(crate) fn count(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Connects, and resumes its session if it has one: often from before what it has. None when the daemon goes
    /// meanwhile.
    async fn arrive(&mut self, url: &str) -> Option<Peer> {
        let mut peer = Peer::over(connect(url, None, &Limits::default()).await.ok()?);
        self.at = self.count();
        if let Some(token) = &self.token {
            if self.dice.roll(2) == 0 {
                let back = self.dice.roll(1 + (self.at - self.acked).min(400));
                self.at -= back;
                self.replayed += back;
            }
            let resume = json!({ "resume_token": token, "last_event_seq": self.at });
            peer.send("session.resume", resume);
        } else {
            peer.send("session.hello", hello(self.principal.1, FEATURES));
        }
        let Got::Frame(welcome) = peer.next().await else { return None };
        if stopping(&welcome) {
            return None;
        }
        assert_eq!(welcome["type"], "session.welcome", "{} is not let in: {welcome}", self.name);
        self.token = Some(welcome["payload"]["resume_token"].as_str().unwrap().into());
        peer.session_id = Some(welcome["session_id"].as_str().unwrap().into());
        Some(peer)
    }

    /// Takes a frame in; says whether it was numbered.
    fn take(&mut self, frame: &Value) -> bool {
        let Some(seq) = frame["event_seq"].as_u64() else { return false };
        assert_eq!(seq, self.at + 1, "{}: a gap or a duplicate: {frame}", self.name);
        self.at = seq;
        let whole = digest(frame);
        if let Some(before) = self.frames.get(usize::try_from(seq).unwrap() - 1) {
            assert_eq!(whole, *before, "{}: not what this number stood for before: {frame}", self.name);
            return true;
        }
        self.frames.push(whole);
        if frame["payload"]["body"]["phase"] == "back_pressure" {
            // Told to this session alone: it is no part of the job.
            return true;
        }
        let job = frame["job_id"].as_str().unwrap().to_owned();
        let said = digest(&json!([frame["type"], frame["payload"]]));
        let seen = self.seen.entry(job.clone()).or_default();
        if self.ended.contains(&job) {
            // Whoever repeats a submit after the job's end is told the end once more.
            assert_eq!(seen.last(), Some(&said), "{}: something after the end: {frame}", self.name);
            return true;
        }
        seen.push(said);
        if frame["type"] != "job.event" {
            self.ended.insert(job);
        }
        true
    }

    /// Asks, and takes in what comes before the answer. None when the daemon goes meanwhile.
    async fn ask(&mut self, peer: &mut Peer, kind: &str, payload: Value) -> Option<Value> {
        let id = peer.send(kind, payload);
        loop {
            let Got::Frame(frame) = peer.next().await else { return None };
            let answers =
                frame["payload"]["request_id"] == id.as_str() || frame["payload"]["reply_to"] == id.as_str();
            if !self.take(&frame) && (answers || frame["type"] == "session.pong") {
                return Some(frame);
            }
        }
    }

    /// Does what clients do until the daemon goes.
    pub(crate) async fn live(&mut self, url: &str) -> Option<()> {
        let mut peer = self.arrive(url).await?;
        let most = self.submits.len() as u64 + SUBMITS;
        loop {
            match self.dice.roll(16) {
                0..=3 if (self.submits.len() as u64) < most => self.submit(&mut peer).await?,
                4 => self.repeat_one(&mut peer).await?,
                5..=6 => self.watch(&mut peer).await?,
                7 if self.dice.roll(4) == 0 => self.cancel(&mut peer).await?,
                8 => {
                    self.acked = self.acked.max(self.at);
                    peer.send("session.ack", json!({ "last_processed_seq": self.at }));
                }
                _ => {
                    self.ask(&mut peer, "session.ping", json!({ "nonce": "n" })).await?;
                    tokio::time::sleep(Duration::from_millis(self.dice.roll(4))).await;
                }
            }
        }
    }

    async fn submit(&mut self, peer: &mut Peer) -> Option<()> {
        let agent = if self.dice.roll(3) == 0 { "again" } else { "steady" };
        let (count, burst) = (1 + self.dice.roll(1_200), 10 + self.dice.roll(300));
        let key = format!("{}-{}", self.name, self.submits.len());
        let payload = json!({
            "agent": agent, "idempotency_key": key, "input": { "count": count, "burst": burst }
        });
        self.submits.push(Submit { payload, job: None });
        self.repeat(peer, self.submits.len() - 1).await
    }

    async fn repeat_one(&mut self, peer: &mut Peer) -> Option<()> {
        let unanswered = self.submits.iter().position(|submit| submit.job.is_none());
        let some = usize::try_from(self.dice.roll(self.submits.len().max(1) as u64)).unwrap();
        if self.submits.is_empty() {
            return Some(());
        }
        self.repeat(peer, unanswered.unwrap_or(some)).await
    }

    /// Submits under a key, for the first time or again: the answer is always the same job.
    async fn repeat(&mut self, peer: &mut Peer, at: usize) -> Option<()> {
        let payload = self.submits[at].payload.clone();
        let answer = self.ask(peer, "job.submit", payload).await?;
        if stopping(&answer) {
            return None;
        }
        assert_eq!(answer["type"], "job.accepted", "{}: {answer}", self.name);
        let job = answer["payload"]["job_id"].as_str().unwrap().to_owned();
        match &self.submits[at].job {
            Some(known) => assert_eq!(job, *known, "{}: a repeated submit began another job", self.name),
            None => self.board.lock().unwrap().entry(self.principal.0).or_default().push(job.clone()),
        }
        self.submits[at].job = Some(job);
        Some(())
    }

    async fn watch(&mut self, peer: &mut Peer) -> Option<()> {
        let known = self.board.lock().unwrap().get(self.principal.0).cloned().unwrap_or_default();
        let Some(job) = self.dice.pick(&known).cloned() else { return Some(()) };
        let own = self.submits.iter().any(|submit| submit.job.as_ref() == Some(&job));
        if own || self.watched.contains_key(&job) {
            return Some(());
        }
        self.watched.insert(job.clone(), false);
        let subscribe = json!({ "job_id": job, "history": true });
        let answer = self.ask(peer, "job.subscribe", subscribe).await?;
        assert_eq!(answer["type"], "job.subscribed", "{}: {answer}", self.name);
        self.watched.insert(job, true);
        Some(())
    }

    async fn cancel(&mut self, peer: &mut Peer) -> Option<()> {
        let own: Vec<String> = self.submits.iter().filter_map(|submit| submit.job.clone()).collect();
        let running: Vec<String> = own.into_iter().filter(|job| !self.ended.contains(job)).collect();
        let Some(job) = self.dice.pick(&running).cloned() else { return Some(()) };
        let answer = self.ask(peer, "job.cancel", json!({ "job_id": job })).await?;
        if answer["type"] == "job.cancelled" {
            self.cancelled.insert(job);
        }
        Some(())
    }

    /// The last life: repeats everything that it ever asked for, and waits for the end of everything that it follows.
    pub(crate) async fn settle(&mut self, url: &str) {
        let mut peer = self.arrive(url).await.expect("the daemon stays");
        for at in 0..self.submits.len() {
            self.repeat(&mut peer, at).await.expect("the daemon stays");
        }
        let own = self.submits.iter().filter_map(|submit| submit.job.clone());
        let watched = self.watched.iter().filter(|(_, sure)| **sure).map(|(job, _)| job.clone());
        let awaited: BTreeSet<String> = own.chain(watched).collect();
        while !awaited.is_subset(&self.ended) {
            let frame = peer.frame().await;
            self.take(&frame);
        }
    }
}
