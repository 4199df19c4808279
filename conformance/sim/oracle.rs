//! Who knows the truth: what is applied, what the agents said, and what may therefore be spoken. It shares nothing
//! with the daemon but the operations that the daemon gave to the store.

use std::collections::{BTreeMap, BTreeSet};

use arcpd::proto::stream::{Extent, Piece, Place};
use arcpd::store::Op;
use arcpd::wire::feature::{Feature, FeatureSet};
use arcpd::wire::job::JobStatus;
use arcpd::wire::message::StreamKind;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::plan::Plan;
use crate::state::State;

/// One visible record as it was applied.
pub(crate) struct Told {
    pub(crate) kind: StreamKind,
    gate: Option<Feature>,
    pub(crate) payload: Value,
}

/// What an agent said and was told is accepted.
struct Said {
    kind: String,
    payload: Value,
}

pub(crate) struct Job {
    pub(crate) principal: String,
    pub(crate) key: Option<String>,
    pub(crate) status: JobStatus,
    attempts: u32,
    /// That it is to be cancelled.
    cancelling: bool,
    pub(crate) first: u64,
    pub(crate) history: Vec<Told>,
    pub(crate) removed: bool,
    said: Vec<Said>,
    /// How much of what was said is in the history.
    heard: usize,
    /// The pieces of a result that the daemon cut.
    cut: String,
    /// Somebody was told that it is cancelled.
    told_cancelled: bool,
}

impl Job {
    pub(crate) fn last(&self) -> u64 {
        self.history.len() as u64
    }

    pub(crate) fn ended(&self) -> bool {
        self.history.last().is_some_and(|told| told.kind != StreamKind::Event)
    }

    /// The positions after one that a session with these features is sent.
    pub(crate) fn visible(&self, after: u64, features: FeatureSet) -> impl Iterator<Item = u64> {
        let shown = move |told: &Told| told.gate.is_none_or(|gate| features.has(gate));
        self.history
            .iter()
            .zip(1..)
            .skip(after as usize)
            .filter(move |(told, _)| shown(told))
            .map(|(_, pos)| pos)
    }
}

/// What a number of a session stands for.
enum Number {
    Record(String, u64),
    Private(Value),
}

struct Attached {
    pos: u64,
    submitter: bool,
}

struct Session {
    principal: String,
    features: FeatureSet,
    numbers: Vec<Number>,
    released: u64,
    attached: BTreeMap<String, Attached>,
    /// Every place at which it was ever attached to a job.
    places: BTreeSet<(String, u64)>,
    tokens: BTreeSet<[u8; 32]>,
    closed: bool,
    /// Whether it ever came back after a goodbye.
    came_back: bool,
}

/// What a client asked, for judging the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) job: Option<String>,
    pub(crate) key: Option<String>,
}

pub(crate) struct Oracle {
    tight: bool,
    pub(crate) jobs: BTreeMap<String, Job>,
    sessions: BTreeMap<String, Session>,
    pub(crate) asked: BTreeMap<String, Asked>,
    pub(crate) violations: Vec<String>,
    pub(crate) frames: u64,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan) -> Oracle {
        Oracle {
            tight: plan.tight,
            jobs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asked: BTreeMap::new(),
            violations: Vec::new(),
            frames: 0,
        }
    }

    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    /// The store applies an operation.
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::JobAccepted { spec } => {
                let (principal, key) = (spec.principal.to_string(), spec.order.key.clone());
                let twin = |job: &Job| !job.removed && job.principal == principal && job.key == key;
                if !self.tight && key.is_some() && self.jobs.values().any(twin) {
                    self.wrong(format!("two jobs of the key {key:?}"));
                }
                let job = Job {
                    principal,
                    key,
                    status: JobStatus::Pending,
                    attempts: 0,
                    cancelling: false,
                    first: 1,
                    history: Vec::new(),
                    removed: false,
                    said: Vec::new(),
                    heard: 0,
                    cut: String::new(),
                    told_cancelled: false,
                };
                if let Some(mut before) = self.jobs.insert(spec.id.to_string(), job) {
                    // The agent may speak before its job is applied? Never: it is started afterwards.
                    before.removed = true;
                    self.wrong(format!("job {} was accepted twice", spec.id));
                }
            }
            Op::JobStarted { job, attempt, .. } => self.job(job, |job| {
                job.attempts += 1;
                job.status = JobStatus::Running;
                if job.attempts == *attempt { Ok(()) } else { Err(format!("attempt {attempt}")) }
            }),
            Op::JobCancelling { job, .. } => self.job(job, |job| {
                job.cancelling = true;
                Ok(())
            }),
            Op::JobEnded { job, status, .. } => self.job(job, |job| {
                job.status = *status;
                if status.is_terminal() { Ok(()) } else { Err(format!("it ended as {status}")) }
            }),
            Op::Append { job, record } => {
                let told = (record.kind, record.gate, record.pos);
                self.append(&job.to_string(), told, &record.payload);
            }
            Op::Trim { job, first } => {
                if let Some(job) = self.jobs.get_mut(&job.to_string()) {
                    job.first = job.first.max(*first);
                }
            }
            Op::RemoveJob(job) => {
                let tight = self.tight;
                let Some(found) = self.jobs.get_mut(&job.to_string()) else {
                    return self.wrong(format!("unknown job {job} is removed"));
                };
                found.removed = true;
                if !found.ended() || !tight {
                    self.wrong(format!("job {job} is removed too early"));
                }
            }
            Op::SessionOpened { session, principal, features, token } => {
                let session_row = Session {
                    principal: principal.to_string(),
                    features: *features,
                    numbers: Vec::new(),
                    released: 0,
                    attached: BTreeMap::new(),
                    places: BTreeSet::new(),
                    tokens: BTreeSet::from([*token]),
                    closed: false,
                    came_back: false,
                };
                self.sessions.insert(session.to_string(), session_row);
            }
            Op::RemoveSession(session) => {
                self.sessions.remove(&session.to_string());
            }
            Op::Tokens { session, hashes } => self.session(session, |found| {
                found.tokens.extend(hashes);
                Ok(())
            }),
            Op::Attached { session, job, pos, submitter } => self.session(session, |found| {
                let job = job.to_string();
                let before = found.attached.get(&job).is_some_and(|attached| attached.submitter);
                found.places.insert((job.clone(), *pos));
                found.attached.insert(job, Attached { pos: *pos, submitter: *submitter || before });
                Ok(())
            }),
            Op::Closed { session, closed } => self.session(session, |found| {
                found.came_back |= !closed;
                found.closed = *closed;
                Ok(())
            }),
            Op::Detached { session, job } => self.session(session, |found| {
                found.attached.remove(&job.to_string());
                Ok(())
            }),
            Op::Released { session, through } => self.session(session, |found| {
                let newest = found.numbers.len() as u64;
                if *through < found.released || *through > newest {
                    return Err(format!("released {through} of {newest} after {}", found.released));
                }
                found.released = *through;
                Ok(())
            }),
            Op::Numbered { session, numbers } => {
                for extent in &numbers.extents {
                    self.numbered(&session.to_string(), extent);
                }
                for place in &numbers.places {
                    self.moved(&session.to_string(), place);
                }
            }
        }
    }

    fn session(&mut self, id: &impl ToString, change: impl FnOnce(&mut Session) -> Result<(), String>) {
        let id = id.to_string();
        // What comes late for a session that is over is of no interest.
        if let Some(Err(wrong)) = self.sessions.get_mut(&id).map(change) {
            self.wrong(format!("session {id}: {wrong}"));
        }
    }

    fn job(&mut self, id: &impl ToString, change: impl FnOnce(&mut Job) -> Result<(), String>) {
        let id = id.to_string();
        let changed = match self.jobs.get_mut(&id) {
            Some(job) if job.status.is_terminal() => Err(format!("it was {} before", job.status)),
            Some(job) => change(job),
            None => Err("nobody knows it".into()),
        };
        if let Err(wrong) = changed {
            self.wrong(format!("job {id}: {wrong}"));
        }
    }

    fn append(&mut self, id: &str, told: (StreamKind, Option<Feature>, u64), payload: &Bytes) {
        let (kind, gate, pos) = told;
        let Some(job) = self.jobs.get_mut(id) else {
            return self.wrong(format!("a record of the unknown job {id}"));
        };
        let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
        let wrong = if job.ended() {
            Err(format!("{} after the end", kind.as_str()))
        } else if pos != job.last() + 1 {
            Err(format!("position {pos} after {}", job.last()))
        } else {
            job.hear(kind, &payload)
        };
        job.history.push(Told { kind, gate, payload });
        if let Err(wrong) = wrong {
            self.wrong(format!("job {id}: {wrong}"));
        }
    }

    fn numbered(&mut self, id: &str, extent: &Extent) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let next = session.numbers.len() as u64 + 1;
        let mut wrong = Vec::new();
        if extent.first_seq != next {
            wrong.push(format!("number {} after {}", extent.first_seq, next - 1));
        }
        match &extent.piece {
            Piece::Private { payload, .. } => {
                let payload = serde_json::from_slice(payload).unwrap_or_default();
                session.numbers.push(Number::Private(payload));
            }
            Piece::Run { job, first_pos, len } => {
                let name = job.to_string();
                let Some(job) = self.jobs.get(&name) else {
                    return self.wrong(format!("session {id}: numbers of the unknown job {name}"));
                };
                let mut positions = *first_pos..first_pos + len;
                let repeat = *len == 1 && *first_pos == job.last() && job.ended();
                if let Some(attached) = session.attached.get_mut(&name) {
                    let due: Vec<u64> =
                        job.visible(attached.pos, session.features).take(*len as usize).collect();
                    if !repeat && !positions.clone().eq(due.iter().copied()) {
                        wrong.push(format!("{name}: numbered {positions:?}, due {due:?}"));
                    }
                    attached.pos = first_pos + len - 1;
                } else if !repeat {
                    wrong.push(format!("{name} is numbered and not attached"));
                }
                if positions.any(|pos| pos > job.last()) {
                    wrong.push(format!("{name}: numbers beyond the end"));
                }
                session
                    .numbers
                    .extend((*first_pos..first_pos + len).map(|pos| Number::Record(name.clone(), pos)));
            }
        }
        for wrong in wrong {
            self.wrong(format!("session {id}: {wrong}"));
        }
    }

    /// A session is somewhere in a job: what it passed over was not for it.
    fn moved(&mut self, id: &str, place: &Place) {
        let name = place.job.to_string();
        let (Some(session), Some(job)) = (self.sessions.get_mut(id), self.jobs.get(&name)) else { return };
        let Some(attached) = session.attached.get_mut(&name) else { return };
        let missed: Vec<u64> =
            job.visible(attached.pos, session.features).take_while(|pos| *pos <= place.pos).collect();
        // A batch may tell of a job in more than one step.
        attached.pos = place.pos.max(attached.pos);
        if !missed.is_empty() || place.done != (job.ended() && place.pos == job.last()) {
            self.wrong(format!("session {id}: {place:?} of {} passes over {missed:?}", job.last()));
        }
    }

    /// Whether this principal has had a job of this key.
    fn keyed(&self, principal: &str, key: &str) -> bool {
        self.jobs.values().any(|job| job.principal == principal && job.key.as_deref() == Some(key))
    }

    /// Whether a status may be told: it is applied, or was.
    fn told_status(&self, id: &str, status: &str) -> Result<(), String> {
        let Some(job) = self.jobs.get(id) else { return Err(format!("job {id} is not stored")) };
        let rank = |status: &str| match status {
            "pending" => 0,
            "running" => 1,
            _ => 2,
        };
        let stored = job.status.as_str();
        let ahead = rank(status) > rank(stored) || (rank(status) == 2 && status != stored);
        if ahead { Err(format!("job {id} is told {status} and stored {stored}")) } else { Ok(()) }
    }

    fn judge(&mut self, frame: &Value) -> Result<(), String> {
        let session = frame["session_id"].as_str().unwrap_or_default();
        let payload = &frame["payload"];
        let job = payload["job_id"].as_str().unwrap_or_default();
        if let Some(seq) = frame["event_seq"].as_u64() {
            return self.judge_numbered(session, seq, frame);
        }
        let request = payload["request_id"].as_str();
        let asked = request.and_then(|id| self.asked.get(id)).cloned().unwrap_or_default();
        match frame["type"].as_str().unwrap_or_default() {
            "session.welcome" => {
                let token = payload["resume_token"].as_str().unwrap_or_default();
                let hash: [u8; 32] = Sha256::digest(token).into();
                let known = self.sessions.get(session).is_some_and(|session| session.tokens.contains(&hash));
                if known { Ok(()) } else { Err("a welcome whose token is not stored".into()) }
            }
            "job.accepted" => {
                let steers = self.sessions.get(session).and_then(|session| session.attached.get(job));
                match (self.jobs.get(job), steers) {
                    (Some(found), _) if found.key != asked.key => Err("another key's job".into()),
                    (Some(found), Some(attached)) if attached.submitter || found.ended() => Ok(()),
                    (Some(_), None) if self.tight => Ok(()),
                    _ => Err(format!("job {job} is accepted and not stored")),
                }
            }
            "job.subscribed" => {
                let from = payload["subscribed_from"].as_u64().unwrap_or(u64::MAX);
                let place = (job.to_owned(), from);
                let session = self.sessions.get(session);
                if !session.is_some_and(|session| session.places.contains(&place)) {
                    return Err(format!("a subscription to {job} from {from} that is not stored"));
                }
                self.told_status(job, payload["current_status"].as_str().unwrap_or_default())
            }
            "job.cancelled" => match self.jobs.get_mut(job) {
                Some(found) if found.cancelling || found.status == JobStatus::Cancelled => {
                    found.told_cancelled = true;
                    Ok(())
                }
                Some(_) => Err(format!("that {job} is cancelled is not stored")),
                None => Err(format!("job {job} is cancelled and not stored")),
            },
            "session.jobs" => {
                for row in payload["jobs"].as_array().into_iter().flatten() {
                    let job = row["job_id"].as_str().unwrap_or_default();
                    self.told_status(job, row["status"].as_str().unwrap_or_default())?;
                    let last = self.jobs.get(job).map_or(0, Job::last);
                    if row["last_event_seq"].as_u64().is_none_or(|told| told > last) {
                        return Err(format!("{row} is ahead of what is stored"));
                    }
                }
                Ok(())
            }
            "session.error" => self.judge_refusal(session, payload, &asked),
            "session.closed" if request.is_some() => {
                // Whoever came back meanwhile is not away any more.
                let away =
                    self.sessions.get(session).is_none_or(|session| session.closed || session.came_back);
                if away { Ok(()) } else { Err("a goodbye that is not stored".into()) }
            }
            "session.pong" | "session.ping" | "session.closed" => Ok(()),
            other => Err(format!("{other} is no message that is expected")),
        }
    }

    fn judge_refusal(&self, session: &str, payload: &Value, asked: &Asked) -> Result<(), String> {
        let code = payload["code"].as_str().unwrap_or_default();
        let principal = self.sessions.get(session).map(|session| session.principal.as_str());
        match (code, payload["details"]["current_status"].as_str()) {
            ("DUPLICATE_KEY", _) => match (&asked.key, principal) {
                (Some(key), Some(principal)) if self.keyed(principal, key) => Ok(()),
                _ => Err(format!("the key {:?} is told to be taken, and is not", asked.key)),
            },
            ("INVALID_REQUEST", Some(status)) => {
                self.told_status(asked.job.as_deref().unwrap_or_default(), status)
            }
            ("INTERNAL_ERROR", _) if payload["retryable"] != true => Err(format!("not retryable: {payload}")),
            _ => Ok(()),
        }
    }

    fn judge_numbered(&self, session: &str, seq: u64, frame: &Value) -> Result<(), String> {
        let Some(found) = self.sessions.get(session) else { return Err("an unknown session".into()) };
        let Some(number) = found.numbers.get(seq as usize - 1) else {
            return Err(format!("number {seq} is spoken and not stored"));
        };
        let (job, pos) = match number {
            Number::Private(payload) if *payload == frame["payload"] => return Ok(()),
            Number::Private(payload) => return Err(format!("{frame} instead of {payload}")),
            Number::Record(job, pos) => (job, *pos),
        };
        let Some(told) = self.jobs.get(job).and_then(|job| job.history.get(pos as usize - 1)) else {
            return Err(format!("position {pos} of {job} is spoken and not stored"));
        };
        let streamed = told.payload.get("result_id").is_some() && !found.features.has(Feature::ResultChunk);
        let same = frame["payload"] == told.payload
            || (streamed && frame["payload"]["result"] == self.jobs[job].assembled());
        if same && frame["type"] == told.kind.as_str() && frame["job_id"] == job.as_str() {
            Ok(())
        } else {
            Err(format!("{frame} instead of {}", told.payload))
        }
    }

    /// Everything is over: what was promised has to have come true.
    pub(crate) fn finale(&mut self) {
        let mut wrong = Vec::new();
        for (id, job) in &self.jobs {
            let ends = job.history.iter().filter(|told| told.kind != StreamKind::Event).count();
            if ends != 1 || !job.status.is_terminal() {
                wrong.push(format!("job {id} has {ends} ends and is {}", job.status));
            }
            if job.told_cancelled && job.status != JobStatus::Cancelled {
                wrong.push(format!("job {id} was told to be cancelled and is {}", job.status));
            }
        }
        self.violations.extend(wrong);
    }
}

impl Job {
    /// A record has to be what the agent said next, or what the daemon may say.
    fn hear(&mut self, kind: StreamKind, payload: &Value) -> Result<(), String> {
        let restarted = payload["kind"] == "status" && payload["body"]["phase"] == "restarted";
        if restarted && self.attempts > 0 {
            return Ok(());
        }
        let said = self.said.get(self.heard);
        match kind {
            StreamKind::Event => {
                let Some(said) = said else { return Err(format!("nobody said {payload}")) };
                if said.kind == "job.result" && payload["kind"] == "result_chunk" {
                    self.cut.push_str(payload["body"]["data"].as_str().unwrap_or_default());
                    return Ok(());
                }
                self.heard += 1;
                let (body, spoken) = (&payload["body"], &said.payload["body"]);
                let same = if payload["kind"] == "result_chunk" {
                    body["data"] == spoken["data"]
                } else {
                    body == spoken
                };
                if same && payload["kind"] == said.payload["kind"] {
                    Ok(())
                } else {
                    Err(format!("{payload} instead of {}", said.payload))
                }
            }
            StreamKind::Result => {
                let Some(said) = said.filter(|said| said.kind == "job.result") else {
                    return Err(format!("nobody said {payload}"));
                };
                let inline = payload.get("result").is_none_or(|result| *result == said.payload["result"]);
                let result = said.payload["result"].to_string();
                let whole = self.cut.is_empty() || self.cut == result;
                if inline && whole { Ok(()) } else { Err(format!("{payload} instead of {}", said.payload)) }
            }
            StreamKind::Error => Ok(()),
        }
    }

    /// The result that the chunks make up: JSON where it is, else text.
    fn assembled(&self) -> Value {
        // An earlier attempt may have begun a result of its own.
        let result = self.history.last().map(|told| &told.payload["result_id"]);
        let chunk = |told: &&Told| {
            told.payload["kind"] == "result_chunk" && Some(&told.payload["body"]["result_id"]) == result
        };
        let chunks = self.history.iter().filter(chunk);
        let text: String = chunks.filter_map(|told| told.payload["body"]["data"].as_str()).collect();
        let structured = text.starts_with(['{', '[', '"']);
        match serde_json::from_str(&text) {
            Ok(value) if structured => value,
            _ => Value::String(text),
        }
    }
}

impl State {
    /// The daemon hands a frame to a connection: it must be true by now.
    pub(crate) fn spoken(&mut self, link: u64, frame: &Bytes) {
        self.say(|| format!("link {link} < {}", String::from_utf8_lossy(frame)));
        self.oracle.frames += 1;
        let judged = match serde_json::from_slice::<Value>(frame) {
            Ok(frame) => self.oracle.judge(&frame),
            Err(_) => Err("no JSON".into()),
        };
        if let Err(wrong) = judged {
            let frame = String::from_utf8_lossy(frame);
            self.violation(format!("link {link}: {wrong}: {frame}"));
        }
    }

    /// An attempt begins: what an earlier one said and was not applied is forgotten.
    pub(crate) fn agent_starts(&mut self, job: &str, attempt: u32) {
        self.say(|| format!("agent of {job} starts attempt {attempt}"));
        match self.oracle.jobs.get_mut(job) {
            Some(job) if job.attempts == attempt => {
                job.said.truncate(job.heard);
                job.cut.clear();
            }
            _ => self.violation(format!("attempt {attempt} of {job} begins before it is stored")),
        }
    }

    /// An agent said something and was told whether it is accepted.
    pub(crate) fn agent_said(&mut self, job: &str, kind: &str, payload: &Value, accepted: bool) {
        self.say(|| format!("agent of {job} {} {kind} {payload}", if accepted { "said" } else { "in vain" }));
        if let Some(job) = self.oracle.jobs.get_mut(job).filter(|_| accepted) {
            job.said.push(Said { kind: kind.into(), payload: payload.clone() });
        }
    }
}
