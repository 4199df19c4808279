//! Clients that do anything a client may do, and believe nothing that they are told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arcpd::wire::feature::FeatureSet;
use serde_json::{Value, json};

use crate::common::peer::{FEATURES, frame, hello};
use crate::dice::Dice;
use crate::net::Item;
use crate::oracle::Asked;
use crate::state::{Event, State};

/// The jobs that somebody was told are accepted, and whose they are.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) jobs: Vec<(String, String)>,
}

/// Keys that the clients of a principal share begin so.
const SHARED: &str = "shared";

/// A job that a client wants done. Without a key, nobody knows what became of one that was not answered.
struct Intent {
    key: Option<String>,
    payload: Value,
    job: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Ask {
    Submit(usize),
    Clash(String),
    Subscribe(String),
    Foreign(String),
    Cancel(String),
    List,
    Ping,
    Close,
}

/// One connection as its client sees it.
struct Conn {
    view: Option<usize>,
    /// The number after which it resumed.
    after: u64,
    open: bool,
    next: u64,
    pending: VecDeque<(String, Ask)>,
    /// The jobs whose end came over it.
    ended: BTreeSet<String>,
    /// Refused, or saying goodbye: nothing more is asked.
    closing: bool,
}

/// What a client saw of one session over all its connections.
pub(crate) struct View {
    pub(crate) session: String,
    token: String,
    features: FeatureSet,
    log: Vec<Value>,
    acked: u64,
    /// What it follows: everything after a position has to come.
    follows: BTreeMap<String, u64>,
    ended: BTreeMap<String, u64>,
    /// Which message last said that a job is not to be followed: earlier ones may be answered later.
    left: BTreeMap<String, u64>,
    /// The jobs that it asked to follow from somewhere, answered or not.
    sought: BTreeSet<String>,
    links: Vec<u64>,
    pub(crate) dead: bool,
}

pub(crate) struct Client {
    index: usize,
    principal: &'static str,
    features: Vec<&'static str>,
    dice: Dice,
    conns: BTreeMap<u64, Conn>,
    current: Option<u64>,
    views: Vec<View>,
    session: Option<usize>,
    intents: Vec<Intent>,
    sent: u64,
    pub(crate) finishing: bool,
}

impl Client {
    pub(crate) fn new(index: usize, mut dice: Dice) -> Client {
        let principal = if index.is_multiple_of(3) { "bob" } else { "alice" };
        let needed = ["list_jobs", "subscribe", "ack", "agent_versions"];
        let features =
            FEATURES.iter().copied().filter(|name| needed.contains(name) || dice.chance(70)).collect();
        Client {
            index,
            principal,
            features,
            dice,
            conns: BTreeMap::new(),
            current: None,
            views: Vec::new(),
            session: None,
            intents: Vec::new(),
            sent: 0,
            finishing: false,
        }
    }

    fn send(&mut self, state: &mut State, link: u64, kind: &str, payload: Value) -> String {
        self.sent += 1;
        let id = format!("sim_{}_{}", self.index, self.sent);
        let text = frame(&id, kind, payload).to_string();
        state.say(|| format!("link {link} > {text}"));
        state.send_up(link, text.into());
        id
    }

    /// Does something, and plans when to do something again.
    pub(crate) fn act(&mut self, state: &mut State, board: &Board) {
        let pause = [0, 1, 5, 30, 200, 2_000][self.dice.below(6) as usize];
        let pause = self.dice.within(0, pause);
        state.after(if self.finishing { pause.max(20) } else { pause }, Event::Act(self.index));
        match self.current {
            None => self.arrive(state),
            Some(link) if self.conns[&link].closing => {}
            Some(link) if !self.conns[&link].open => {
                if self.dice.chance(2) {
                    self.leave(state, link);
                }
            }
            Some(link) if self.finishing => self.finish(state, link),
            Some(link) => self.ask_something(state, board, link),
        }
    }

    fn arrive(&mut self, state: &mut State) {
        if !self.finishing && self.dice.chance(50) {
            return;
        }
        let Some(link) = state.connect(self.index) else { return };
        let view = self.session;
        let mut after = 0;
        if let Some(view) = view {
            let view = &mut self.views[view];
            let newest = view.log.len() as u64;
            after = if self.dice.chance(25) { self.dice.within(view.acked, newest) } else { newest };
            view.links.push(link);
            let ask = json!({ "resume_token": view.token, "last_event_seq": after });
            self.send(state, link, "session.resume", ask);
        } else {
            let token = format!("tok-{}", self.principal);
            self.send(state, link, "session.hello", hello(&token, &self.features));
        }
        let pending = VecDeque::new();
        let (next, ended) = (after + 1, BTreeSet::new());
        self.conns.insert(link, Conn { view, after, open: false, next, pending, ended, closing: false });
        self.current = Some(link);
    }

    /// Goes away without a word.
    fn leave(&mut self, state: &mut State, link: u64) {
        let told = if self.dice.chance(80) { Some(self.dice.within(0, 30)) } else { None };
        state.cut(link, told);
    }

    fn ask_something(&mut self, state: &mut State, board: &Board, link: u64) {
        match self.dice.below(100) {
            0..22 => self.submit_new(state, link),
            22..30 => self.submit_again(state, link),
            30..50 => self.subscribe(state, board, link),
            50..56 => self.cancel(state, board, link),
            56..60 => self.unsubscribe(state, board, link),
            60..75 => self.ack(state, link),
            75..82 => {
                let ask = json!({ "limit": self.dice.within(1, 5) });
                self.ask(state, link, "session.list_jobs", ask, Ask::List, Asked::default());
            }
            82..90 if self.features.contains(&"heartbeat") => {
                self.ask(state, link, "session.ping", json!({ "nonce": "n" }), Ask::Ping, Asked::default())
            }
            90..92 => {
                self.ask(state, link, "session.close", json!({}), Ask::Close, Asked::default());
                if let Some(conn) = self.conns.get_mut(&link) {
                    conn.closing = true;
                }
            }
            92..94 if state.plan.cuts => self.leave(state, link),
            94..96 if state.plan.cuts => {
                // Comes a second time while the first connection is still there.
                self.current = None;
                self.arrive(state);
            }
            _ => {}
        }
    }

    fn ask(&mut self, state: &mut State, link: u64, kind: &str, payload: Value, ask: Ask, asked: Asked) {
        let id = self.send(state, link, kind, payload);
        state.oracle.asked.insert(id.clone(), asked);
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.pending.push_back((id, ask));
        }
    }

    fn submit_new(&mut self, state: &mut State, link: u64) {
        if self.intents.len() > 8 {
            return;
        }
        let (mut key, mut dice) = (None, self.dice.split());
        if self.dice.chance(30) {
            // Others of the same principal may do the same at the same time.
            let n = self.dice.below(6);
            (key, dice) = (Some(format!("{SHARED}{n}")), Dice::new(state.plan.seed ^ n));
        } else if self.dice.chance(60) {
            key = Some(format!("k{}_{}", self.index, self.intents.len()));
        }
        let agent = if dice.chance(40) { "sim@2.0.0" } else { "sim" };
        // Numbers that JSON libraries of any language keep.
        let (seed, most) = (dice.below(1 << 50), dice.within(1, 12));
        let mut payload = json!({ "agent": agent, "input": { "seed": seed }, "max_runtime_sec": most });
        if let Some(key) = &key {
            payload["idempotency_key"] = json!(key);
        }
        self.intents.push(Intent { key, payload, job: None });
        self.submit(state, link, self.intents.len() - 1);
    }

    fn submit(&mut self, state: &mut State, link: u64, intent: usize) {
        let Intent { key, payload, .. } = &self.intents[intent];
        let asked = Asked { key: key.clone(), ..Asked::default() };
        self.ask(state, link, "job.submit", payload.clone(), Ask::Submit(intent), asked);
    }

    /// Repeats a submit: one that was not answered, or, to see what happens, one that was.
    fn submit_again(&mut self, state: &mut State, link: u64) {
        let pending = self.conns[&link].pending.iter();
        let asked: Vec<Ask> = pending.map(|(_, ask)| ask.clone()).collect();
        let keyed = |(at, intent): (usize, &Intent)| {
            (intent.key.is_some() && !asked.contains(&Ask::Submit(at))).then_some((at, intent.job.is_none()))
        };
        let open: Vec<(usize, bool)> = self.intents.iter().enumerate().filter_map(keyed).collect();
        let unanswered: Vec<usize> =
            open.iter().filter(|(_, unanswered)| *unanswered).map(|(at, _)| *at).collect();
        let of = if unanswered.is_empty() { open.iter().map(|(at, _)| *at).collect() } else { unanswered };
        let Some(at) = self.dice.pick(&of).copied() else { return };
        let shared = self.intents[at].key.as_ref().is_some_and(|key| key.starts_with(SHARED));
        if !self.finishing && (shared || self.intents[at].job.is_some()) && self.dice.chance(15) {
            let mut payload = self.intents[at].payload.clone();
            payload["input"] = json!("something else");
            let key = self.intents[at].key.clone();
            let clash = Ask::Clash(key.clone().unwrap_or_default());
            return self.ask(state, link, "job.submit", payload, clash, Asked { key, ..Asked::default() });
        }
        self.submit(state, link, at);
    }

    fn some_job(&mut self, board: &Board) -> Option<(String, String)> {
        self.dice.pick(&board.jobs).cloned()
    }

    fn subscribe(&mut self, state: &mut State, board: &Board, link: u64) {
        let Some((whose, job)) = self.some_job(board) else { return };
        let mut payload = json!({ "job_id": job, "history": self.dice.chance(70) });
        if self.dice.chance(40) {
            payload["from_event_seq"] = json!(self.dice.below(40));
        }
        let own = whose == self.principal;
        if let Some(view) = self.conns[&link].view {
            self.views[view].sought.insert(job.clone());
        }
        let ask = if own { Ask::Subscribe(job.clone()) } else { Ask::Foreign(job.clone()) };
        self.ask(state, link, "job.subscribe", payload, ask, Asked { job: Some(job), key: None });
    }

    fn cancel(&mut self, state: &mut State, board: &Board, link: u64) {
        let Some((whose, job)) = self.some_job(board) else { return };
        let ask = if whose == self.principal { Ask::Cancel(job.clone()) } else { Ask::Foreign(job.clone()) };
        self.ask(
            state,
            link,
            "job.cancel",
            json!({ "job_id": job }),
            ask,
            Asked { job: Some(job), key: None },
        );
    }

    fn unsubscribe(&mut self, state: &mut State, board: &Board, link: u64) {
        let Some((_, job)) = self.some_job(board) else { return };
        if let Some(view) = self.conns[&link].view {
            // Whether it steers the job, and so goes on to be told, is not worth knowing here.
            self.views[view].follows.remove(&job);
            self.views[view].ended.remove(&job);
            self.views[view].left.insert(job.clone(), self.sent + 1);
        }
        self.send(state, link, "job.unsubscribe", json!({ "job_id": job }));
    }

    fn ack(&mut self, state: &mut State, link: u64) {
        let Some(view) = self.conns[&link].view.map(|at| &mut self.views[at]) else { return };
        let newest = view.log.len() as u64;
        let seq = if self.finishing || self.dice.chance(70) {
            newest
        } else {
            self.dice.within(view.acked, newest)
        };
        view.acked = seq;
        self.send(state, link, "session.ack", json!({ "last_processed_seq": seq }));
    }

    /// At the end: what was not answered is asked again, and everything is waited for.
    fn finish(&mut self, state: &mut State, link: u64) {
        if self.dice.chance(20) {
            self.ack(state, link);
        }
        if self.conns[&link].pending.is_empty()
            && self.intents.iter().any(|i| i.key.is_some() && i.job.is_none())
        {
            self.submit_again(state, link);
        }
    }

    /// What is still missing at the end, if anything.
    pub(crate) fn missing(&self) -> Option<String> {
        let Some(link) = self.current else { return Some("a connection".into()) };
        let conn = &self.conns[&link];
        if !conn.open || !conn.pending.is_empty() {
            return Some(format!("answers on link {link}: {:?}", conn.pending));
        }
        if let Some(intent) = self.intents.iter().find(|i| i.key.is_some() && i.job.is_none()) {
            return Some(format!("an answer for the key {:?}", intent.key));
        }
        let view = &self.views[conn.view?];
        let open = view.follows.keys().find(|job| !view.ended.contains_key(*job));
        open.map(|job| format!("the end of {job} in {}", view.session))
    }

    /// Something comes over a link.
    pub(crate) fn receive(&mut self, state: &mut State, board: &mut Board, link: u64, item: Item) {
        let Item::Frame(bytes) = item else {
            state.say(|| format!("link {link} . end"));
            if self.conns.remove(&link).is_some() && self.current == Some(link) {
                self.current = None;
            }
            return;
        };
        let Some(conn) = self.conns.get(&link) else { return };
        let Ok(frame) = serde_json::from_slice::<Value>(&bytes) else { return };
        state.say(|| format!("link {link} . got {} {}", frame["type"], frame["event_seq"]));
        let told = if frame.get("event_seq").is_some() {
            self.numbered(link, frame)
        } else if conn.open {
            self.answered(state, board, link, &frame)
        } else {
            self.opened(state, link, &frame)
        };
        if let Err(wrong) = told {
            let index = self.index;
            state.violation(format!(
                "client {index}, link {link}: {wrong}: {}",
                String::from_utf8_lossy(&bytes)
            ));
        }
    }

    fn opened(&mut self, state: &mut State, link: u64, frame: &Value) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&link) else { return Ok(()) };
        let payload = &frame["payload"];
        if frame["type"] == "session.error" {
            conn.closing = true;
            let (view, after) = (conn.view, conn.after);
            return match (payload["code"].as_str(), view) {
                (Some("INTERNAL_ERROR"), _) if payload["retryable"] == true => Ok(()),
                (Some("RESUME_WINDOW_EXPIRED"), Some(view)) => self.lost(state, view, after),
                _ => Err("an unjust refusal".into()),
            };
        }
        if frame["type"] != "session.welcome" {
            return Err("expected a welcome".into());
        }
        conn.open = true;
        let session = frame["session_id"].as_str().unwrap_or_default().to_owned();
        let token = payload["resume_token"].as_str().unwrap_or_default().to_owned();
        let at = *conn.view.get_or_insert(self.views.len());
        if at == self.views.len() {
            let features = FeatureSet::from_flags(&self.features).intersect(FeatureSet::OFFERED);
            let links = vec![link];
            let view = View {
                session: session.clone(),
                token: String::new(),
                features,
                log: Vec::new(),
                acked: 0,
                follows: BTreeMap::new(),
                ended: BTreeMap::new(),
                left: BTreeMap::new(),
                sought: BTreeSet::new(),
                links,
                dead: false,
            };
            self.views.push(view);
            self.session = Some(at);
        }
        let view = &mut self.views[at];
        if view.session != session || view.token == token {
            return Err(format!("expected {} and a new token", view.session));
        }
        view.token = token;
        Ok(())
    }

    /// The session cannot be resumed: was that to be expected?
    fn lost(&mut self, state: &State, view: usize, after: u64) -> Result<(), String> {
        let view = &mut self.views[view];
        view.dead = true;
        self.session = None;
        // The refused connection does not count as one.
        let ends = view.links.iter().rev().skip(1).filter_map(|link| state.links.get(link));
        let alive = ends.map(|link| link.ended_at.unwrap_or(state.now())).max().unwrap_or_default();
        let away = state.now() - alive;
        if state.plan.tight || after < view.acked || away >= state.plan.window_sec * 1_000 {
            return Ok(());
        }
        Err(format!("{} cannot be resumed after {away} ms", view.session))
    }

    fn numbered(&mut self, link: u64, frame: Value) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&link) else { return Ok(()) };
        let Some(view) = conn.view.map(|at| &mut self.views[at]) else {
            return Err("before the welcome".into());
        };
        let seq = frame["event_seq"].as_u64().unwrap_or_default();
        if seq != conn.next || frame["session_id"] != view.session.as_str() {
            return Err(format!("expected number {} of {}", conn.next, view.session));
        }
        conn.next += 1;
        let newest = view.log.len() as u64;
        if seq <= newest {
            let before = &view.log[seq as usize - 1];
            return if *before == frame { Ok(()) } else { Err(format!("before it was {before}")) };
        }
        if frame["type"] != "job.event" {
            let job = frame["job_id"].as_str().unwrap_or_default().to_owned();
            conn.ended.insert(job.clone());
            view.ended.insert(job, seq);
        }
        view.log.push(frame);
        Ok(())
    }

    fn answered(
        &mut self,
        state: &mut State,
        board: &mut Board,
        link: u64,
        frame: &Value,
    ) -> Result<(), String> {
        let (kind, payload) = (frame["type"].as_str().unwrap_or_default(), &frame["payload"]);
        if kind == "session.ping" {
            let pong = json!({ "ping_nonce": payload["nonce"] });
            self.send(state, link, "session.pong", pong);
            return Ok(());
        }
        let request = if kind == "session.pong" { None } else { payload["request_id"].as_str() };
        let Some(conn) = self.conns.get_mut(&link) else { return Ok(()) };
        if request.is_none() && kind != "session.pong" {
            // The end of the connection, with or without a reason.
            conn.closing = true;
            if payload["code"] == "RESUME_WINDOW_EXPIRED" {
                let Some(view) = conn.view else { return Err("no session".into()) };
                self.views[view].dead = true;
                self.session = None;
                return if state.plan.tight { Ok(()) } else { Err("nothing is ever trimmed here".into()) };
            }
            return Ok(());
        }
        if request.is_some_and(|id| !conn.pending.iter().any(|(pending, _)| pending == id)) {
            // An answer to what was asked on an earlier connection, or to what is never answered but by a refusal.
            return if kind == "session.error" || self.views.iter().any(|view| view.links.len() > 1) {
                Ok(())
            } else {
                Err("an answer to nothing".into())
            };
        }
        let Some((id, ask)) = conn.pending.pop_front() else { return Err("an answer to nothing".into()) };
        if request.is_some_and(|request| request != id) {
            return Err(format!("expected the answer to {id}"));
        }
        let Some(view) = conn.view else { return Err("no session".into()) };
        let sent = id.rsplit('_').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        if let Ask::Cancel(job) = &ask
            && kind == "job.cancelled"
            && conn.ended.contains(job)
        {
            return Err("cancelled after its end".into());
        }
        self.judge(state, board, (view, sent), &ask, kind, payload)
    }

    fn judge(
        &mut self,
        state: &mut State,
        board: &mut Board,
        (view, sent): (usize, u64),
        ask: &Ask,
        kind: &str,
        payload: &Value,
    ) -> Result<(), String> {
        let view = &mut self.views[view];
        let code = payload["code"].as_str().unwrap_or_default();
        let later = code == "INTERNAL_ERROR" && payload["retryable"] == true;
        let gone = state.plan.tight && code == "JOB_NOT_FOUND";
        let left = |view: &View, job: &String| view.left.get(job).is_some_and(|left| *left > sent);
        match (ask, kind) {
            (Ask::Submit(at), "job.accepted") => {
                let job = payload["job_id"].as_str().unwrap_or_default().to_owned();
                let intent = &mut self.intents[*at];
                let same = intent.job.as_ref().is_none_or(|before| *before == job);
                if !same && !state.plan.tight {
                    return Err(format!("the same key was {:?}", intent.job));
                }
                if intent.job.is_none() {
                    board.jobs.push((self.principal.to_owned(), job.clone()));
                }
                intent.job = Some(job.clone());
                if !left(view, &job) {
                    // A subscription whose answer was lost may have begun anywhere.
                    let from = if view.sought.contains(&job) { u64::MAX } else { 0 };
                    view.follows.entry(job).or_insert(from);
                }
                Ok(())
            }
            (Ask::Submit(_), "session.error") if later => Ok(()),
            (Ask::Submit(at), "session.error") if code == "DUPLICATE_KEY" => {
                let intent = &mut self.intents[*at];
                let key = intent.key.take().unwrap_or_default();
                // Another client's clash came first, or the key was forgotten and then taken by its clash.
                let may = key.starts_with(SHARED) && intent.job.is_none();
                if may || state.plan.tight { Ok(()) } else { Err("the key was its own".into()) }
            }
            (Ask::Clash(_), "session.error") if later || code == "DUPLICATE_KEY" => Ok(()),
            (Ask::Clash(key), "job.accepted") if state.plan.tight || key.starts_with(SHARED) => Ok(()),
            (Ask::Subscribe(job), "job.subscribed") if left(view, job) => Ok(()),
            (Ask::Subscribe(job), "job.subscribed") => {
                let from = payload["subscribed_from"].as_u64().unwrap_or_default();
                let followed = view.follows.entry(job.clone()).or_insert(from);
                *followed = from.min(*followed);
                let over = !matches!(payload["current_status"].as_str(), Some("pending" | "running"));
                if over && payload["replayed"] == false {
                    // What was over before has no end to be told.
                    view.ended.entry(job.clone()).or_insert(0);
                }
                Ok(())
            }
            (Ask::Subscribe(_), "session.error") if later || gone || code == "RESUME_WINDOW_EXPIRED" => {
                Ok(())
            }
            (Ask::Foreign(_), "session.error") if later || code == "JOB_NOT_FOUND" => Ok(()),
            (Ask::Cancel(_), "job.cancelled") => Ok(()),
            (Ask::Cancel(_), "session.error") if later || gone => Ok(()),
            (Ask::Cancel(_), "session.error") if code == "PERMISSION_DENIED" || code == "INVALID_REQUEST" => {
                Ok(())
            }
            (Ask::List, "session.jobs") | (Ask::Ping, "session.pong") | (Ask::Close, "session.closed") => {
                Ok(())
            }
            (Ask::List, "session.error") if later => Ok(()),
            _ => Err(format!("no answer to {ask:?}")),
        }
    }

    /// What its sessions have to have got, they have got.
    pub(crate) fn finale(&self, state: &mut State) {
        for view in self.views.iter().filter(|view| !view.dead) {
            if self.session.is_none_or(|at| self.views[at].session != view.session) {
                continue;
            }
            for (id, after) in &view.follows {
                let Some(job) = state.oracle.jobs.get(id) else { continue };
                let of = |frame: &&Value| frame["job_id"] == id.as_str();
                let got: Vec<&Value> = view.log.iter().filter(of).map(|frame| &frame["payload"]).collect();
                let due = job.visible((*after).max(job.first - 1), view.features);
                let lacks = |pos: &u64| {
                    let told = &job.history[*pos as usize - 1];
                    *pos < job.last() && !got.contains(&&told.payload)
                };
                let lacking: Vec<u64> = due.filter(lacks).collect();
                if !lacking.is_empty() {
                    let index = self.index;
                    state
                        .violation(format!("client {index}: {} never got {lacking:?} of {id}", view.session));
                    return;
                }
            }
        }
    }
}
