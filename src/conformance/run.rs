//! Running a case against a runtime: frames out, frames in, and what was wrong first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};
use ulid::Ulid;

use super::case::{Act, Case, Frame, Step, Who};
use super::pattern::{Known, filled, shown};
use super::rules::Rules;
use crate::client::{Connector, Link};
use crate::transport::Received;
use crate::wire::feature::{Feature, FeatureSet};
use crate::wire::session::Token;
use crate::wire::time::Timestamp;

/// How long one step may take that waits for a frame.
pub const STEP: Duration = Duration::from_secs(5);

/// How long a step may pass over frames while it waits for one.
pub const AWAIT: Duration = Duration::from_secs(15);

/// Frames that a step may pass over while it waits for one.
pub const PASSED_OVER: usize = 20_000;

/// The runtime under test, and who may come to it.
pub struct Target {
    /// Makes connections to it.
    pub connector: Arc<dyn Connector>,
    /// The token of the first principal.
    pub alice: Token,
    /// The token of the second; without it, cases of two principals are pending.
    pub bob: Option<Token>,
    /// Whether each connection is a runtime of its own: cases of several connections are pending then.
    pub alone: bool,
}

/// What the runtime says that it can do.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// The features that it negotiates.
    pub features: FeatureSet,
    /// The agents that it hosts.
    pub agents: BTreeSet<String>,
    /// Its resume window, in seconds.
    pub window: u64,
    /// Its heartbeat interval, in seconds.
    pub interval: u64,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Everything was as expected.
    Passed,
    /// The runtime does not offer what it takes.
    Pending(String),
    /// Something was not.
    Failed(Failure),
}

/// What was wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The line of the case.
    pub line: usize,
    /// The requirement, where a rule of every frame was broken; else those of the case.
    pub requirement: Option<&'static str>,
    /// What was expected, and what came.
    pub what: String,
}

/// A case that was run: what came of it, and every frame of it.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What came of it.
    pub verdict: Verdict,
    /// The frames, in order: `a > …` out, `a < …` in. Tokens are not in it.
    pub transcript: Vec<String>,
}

struct Connection {
    link: Link,
    session: Option<String>,
    rules: Rules,
    last_id: String,
    /// The features that the hello names.
    offered: Option<FeatureSet>,
}

/// A case on its way.
struct Course<'a> {
    target: &'a Target,
    known: Known,
    connections: BTreeMap<String, Connection>,
    /// What the sessions have negotiated, by their ids.
    negotiated: BTreeMap<String, FeatureSet>,
    transcript: Vec<String>,
}

type Wrong = (Option<&'static str>, String);

fn wrong<T>(what: impl Into<String>) -> Result<T, Wrong> {
    Err((None, what.into()))
}

/// Asks the runtime what it can do.
///
/// # Errors
/// A sentence, where it does not let the first principal in.
pub async fn probe(target: &Target) -> Result<Profile, String> {
    let mut course = Course::new(target);
    let step = Act::Open { who: Who::Alice, without: Vec::new() };
    course.act("probe", &step).await.map_err(|(_, what)| what)?;
    let welcome = course.known.remove("probe.welcome").unwrap_or_default();
    let texts = |list: &Value, field: Option<&str>| -> BTreeSet<String> {
        let items = list.as_array().into_iter().flatten();
        let named = items.filter_map(|item| field.map_or(item.as_str(), |field| item[field].as_str()));
        named.map(String::from).collect()
    };
    let capabilities = &welcome["capabilities"];
    let mut agents = texts(&capabilities["agents"], Some("name"));
    agents.extend(texts(&capabilities["agents"], None));
    let features = FeatureSet::from_flags(texts(&capabilities["features"], None));
    let seconds = |field: &str| welcome[field].as_u64().unwrap_or(u64::MAX);
    let (window, interval) = (seconds("resume_window_sec"), seconds("heartbeat_interval_sec"));
    Ok(Profile { features, agents, window, interval })
}

/// Runs a case.
pub async fn run(case: &Case, target: &Target, profile: &Profile) -> Ran {
    if let Some(why) = missing(case, target, profile) {
        return Ran { verdict: Verdict::Pending(why), transcript: Vec::new() };
    }
    let mut course = Course::new(target);
    let mut verdict = Verdict::Passed;
    for Step { line, on, act } in &case.steps {
        if let Err((requirement, what)) = course.act(on, act).await {
            let what = course.without_secrets(what);
            verdict = Verdict::Failed(Failure { line: *line, requirement, what });
            break;
        }
    }
    Ran { verdict, transcript: course.transcript }
}

/// What the runtime lacks for a case.
fn missing(case: &Case, target: &Target, profile: &Profile) -> Option<String> {
    if let Some(feature) = case.needs.iter().find(|feature| !profile.features.has(**feature)) {
        return Some(format!("the feature {feature} is not offered"));
    }
    if let Some(agent) = case.agents.iter().find(|agent| !profile.agents.contains(*agent)) {
        return Some(format!("the agent {agent} is not hosted"));
    }
    if let Some(window) = case.window.filter(|window| profile.window > *window) {
        return Some(format!("it takes a runtime with a resume window of {window} s"));
    }
    if let Some(interval) = case.interval.filter(|interval| profile.interval > *interval) {
        return Some(format!("it takes a runtime with a heartbeat interval of {interval} s"));
    }
    if target.alone && case.connections() > 1 {
        return Some("it takes several connections to one runtime".into());
    }
    let bob = |step: &Step| match &step.act {
        Act::Open { who, .. } => *who == Who::Bob,
        Act::Send { payload, .. } => payload.pointer("/auth/token").is_some_and(|token| token == "$bob"),
        Act::Connect
        | Act::Raw(_)
        | Act::Expect { .. }
        | Act::Await(_)
        | Act::Refused { .. }
        | Act::Quiet
        | Act::Ended
        | Act::Drop
        | Act::Wait(_) => false,
    };
    (target.bob.is_none() && case.steps.iter().any(bob)).then(|| "no second token was given".into())
}

impl<'a> Course<'a> {
    fn new(target: &'a Target) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp::default().plus(since);
        let past = Timestamp::default().plus(since.saturating_sub(Duration::from_secs(60)));
        let known = [
            ("soon", json!(now.plus(Duration::from_secs(60)).to_string())),
            ("past", json!(past.to_string())),
            ("fresh", json!(Ulid::generate().to_string())),
            ("alice", json!(target.alice.expose())),
            ("bob", json!(target.bob.as_ref().map_or("", Token::expose))),
        ];
        Course {
            target,
            known: known.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            connections: BTreeMap::new(),
            negotiated: BTreeMap::new(),
            transcript: Vec::new(),
        }
    }

    async fn act(&mut self, on: &str, act: &Act) -> Result<(), Wrong> {
        match act {
            Act::Connect => self.connect(on).await,
            Act::Open { who, without } => {
                self.connect(on).await?;
                let all = Feature::ALL.iter().filter(|feature| !without.contains(feature));
                let features: Vec<&str> = all.map(|feature| feature.as_str()).collect();
                self.open(on, *who, &features).await
            }
            Act::Send { times, kind, payload, envelope, name } => {
                for _ in 0..*times {
                    self.send(on, kind, payload, envelope, name.as_deref()).await?;
                }
                Ok(())
            }
            Act::Raw(text) => self.write(on, text.clone()).await,
            Act::Expect { times, frame } => {
                for _ in 0..*times {
                    let came = self.next(on, &frame.kind).await?;
                    self.compare(frame, &came)?;
                }
                Ok(())
            }
            Act::Await(frame) => match timeout(AWAIT, self.until(on, frame)).await {
                Ok(done) => done,
                Err(_) => wrong(format!("expected {}, got other frames for {AWAIT:?}", frame.kind)),
            },
            Act::Refused { codes, name } => self.refused(on, codes, name.as_deref()).await,
            Act::Quiet => self.quiet(on).await,
            Act::Ended => self.ended(on).await,
            Act::Drop => {
                self.connections.remove(on);
                Ok(())
            }
            Act::Wait(ms) => {
                sleep(Duration::from_millis(*ms)).await;
                Ok(())
            }
        }
    }

    /// A message as it may be shown: it may quote what opens sessions.
    fn without_secrets(&self, what: String) -> String {
        let secret = |name: &str| name.contains(".token") || matches!(name, "alice" | "bob");
        let known = self.known.iter().filter(|(name, _)| secret(name));
        let secrets = known.filter_map(|(_, value)| value.as_str()).filter(|secret| !secret.is_empty());
        secrets.fold(what, |what, secret| what.replace(secret, "…"))
    }

    async fn connect(&mut self, on: &str) -> Result<(), Wrong> {
        let link = match timeout(STEP, self.target.connector.connect()).await {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => return wrong(format!("no connection: {error}")),
            Err(_) => return wrong(format!("no connection within {STEP:?}")),
        };
        let (rules, last_id) = (Rules::default(), String::new());
        let connection = Connection { link, session: None, rules, last_id, offered: None };
        self.connections.insert(on.into(), connection);
        Ok(())
    }

    async fn open(&mut self, on: &str, who: Who, features: &[&str]) -> Result<(), Wrong> {
        let token = match who {
            Who::Alice => "$alice",
            Who::Bob => "$bob",
            Who::Nobody => "a-token-that-nobody-has",
        };
        let payload = json!({
            "client": { "name": "arcp-conformance", "version": env!("CARGO_PKG_VERSION") },
            "auth": { "scheme": "bearer", "token": token },
            "capabilities": { "encodings": ["json"], "features": features }
        });
        self.send(on, "session.hello", &payload, &json!({}), None).await?;
        if who == Who::Nobody {
            return Ok(());
        }
        let welcome = self.next(on, "session.welcome").await?;
        if welcome["type"] != "session.welcome" {
            return wrong(format!("expected session.welcome, got {}", told(&welcome)));
        }
        Ok(())
    }

    async fn send(
        &mut self,
        on: &str,
        kind: &str,
        payload: &Value,
        envelope: &Value,
        name: Option<&str>,
    ) -> Result<(), Wrong> {
        let fill = |value: &Value| filled(value, &self.known).map_err(|what| (None, what));
        let (payload, envelope) = (fill(payload)?, fill(envelope)?);
        self.announced(on, kind, &payload)?;
        let connection = self.connection(on)?;
        let id = format!("req_{}", Ulid::generate());
        let mut frame = Map::new();
        frame.insert("arcp".into(), json!("1.1"));
        frame.insert("id".into(), json!(id));
        frame.insert("type".into(), json!(kind));
        if let Some(session) = &connection.session {
            frame.insert("session_id".into(), json!(session));
        }
        // Where a request names its job the specification leaves open, so it is named in both places.
        if let Some(job) = payload.get("job_id") {
            frame.insert("job_id".into(), job.clone());
        }
        frame.insert("payload".into(), payload);
        for (field, value) in envelope.as_object().into_iter().flatten() {
            if value.is_null() {
                frame.remove(field);
            } else {
                frame.insert(field.clone(), value.clone());
            }
        }
        let id = frame.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        connection.last_id.clone_from(&id);
        if let Some(name) = name {
            self.known.insert(name.into(), json!(id));
        }
        self.write(on, Value::Object(frame).to_string()).await
    }

    /// Remembers what an opening says of the session: the features it offers, or the number it goes on after.
    fn announced(&mut self, on: &str, kind: &str, payload: &Value) -> Result<(), Wrong> {
        match kind {
            "session.hello" => {
                let features = payload["capabilities"]["features"].as_array().into_iter().flatten();
                let offered = FeatureSet::from_flags(features.filter_map(Value::as_str));
                self.connection(on)?.offered = Some(offered);
            }
            "session.resume" => {
                let last = payload["last_event_seq"].as_u64().unwrap_or(0);
                self.known.insert(format!("{on}.newest"), json!(last));
            }
            _ => {}
        }
        Ok(())
    }

    async fn write(&mut self, on: &str, text: String) -> Result<(), Wrong> {
        let told = without_tokens(&text);
        self.transcript.push(format!("{on} > {told}"));
        let connection = self.connection(on)?;
        match timeout(STEP, connection.link.send(Bytes::from(text))).await {
            // A runtime that has closed already says so when it is listened to.
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => wrong(format!("the runtime took no frame within {STEP:?}")),
        }
    }

    fn connection(&mut self, on: &str) -> Result<&mut Connection, Wrong> {
        self.connections.get_mut(on).ok_or_else(|| (None, format!("{on} is not connected")))
    }

    /// The next frame that is no ping, unless a ping is wanted; pings are answered.
    async fn next(&mut self, on: &str, wanted: &str) -> Result<Value, Wrong> {
        match timeout(STEP, self.heard(on, wanted)).await {
            Ok(heard) => match heard? {
                Some(frame) => Ok(frame),
                None => wrong(format!("expected {wanted}, got the end of the connection")),
            },
            Err(_) => wrong(format!("expected {wanted}, got nothing within {STEP:?}")),
        }
    }

    async fn heard(&mut self, on: &str, wanted: &str) -> Result<Option<Value>, Wrong> {
        loop {
            let text = match self.connection(on)?.link.receive().await {
                Ok(Received::Text(text)) => text,
                Ok(Received::Rejected(fault)) => return wrong(format!("a frame that is none: {fault}")),
                Err(_) => return Ok(None),
            };
            self.transcript.push(format!("{on} < {}", without_tokens(&String::from_utf8_lossy(&text))));
            let Ok(frame) = serde_json::from_slice::<Value>(&text) else {
                return Err((
                    Some("ARCP-5-1"),
                    format!("expected JSON, got {}", String::from_utf8_lossy(&text)),
                ));
            };
            self.note(on, &frame)?;
            if frame["type"] == "session.ping" && wanted != "session.ping" {
                let pong = json!({ "ping_nonce": frame["payload"]["nonce"], "received_at": "$past" });
                self.send(on, "session.pong", &pong, &json!({}), None).await?;
                continue;
            }
            return Ok(Some(frame));
        }
    }

    /// Holds a frame against the rules, and learns what a welcome says.
    fn note(&mut self, on: &str, frame: &Value) -> Result<(), Wrong> {
        if frame["type"] == "session.welcome" {
            let (session, payload) = (frame["session_id"].clone(), frame["payload"].clone());
            let resumed = self.known.get(&format!("{on}.session")) == Some(&session);
            let newest = self.known.get(&format!("{on}.newest")).and_then(Value::as_u64).unwrap_or(0);
            let features = self.features(on, &session, &payload)?;
            let connection = self.connection(on)?;
            connection.session = session.as_str().map(String::from);
            connection.rules = Rules::after(if resumed { newest } else { 0 }, features);
            self.known.insert(format!("{on}.session"), session);
            let before = self.known.insert(format!("{on}.token"), payload["resume_token"].clone());
            self.known.insert(format!("{on}.token.before"), before.unwrap_or_default());
            self.known.insert(format!("{on}.welcome"), payload);
        }
        let broken = self.connection(on)?.rules.check(frame);
        broken.map_err(|broken| (Some(broken.requirement), broken.what))?;
        let newest = self.connection(on)?.rules.newest();
        self.known.insert(format!("{on}.newest"), json!(newest));
        Ok(())
    }

    /// What a session has negotiated: what its hello and its welcome both name, for as long as it lives.
    fn features(&mut self, on: &str, session: &Value, welcome: &Value) -> Result<Option<FeatureSet>, Wrong> {
        let session = session.as_str().unwrap_or_default().to_owned();
        if let Some(offered) = self.connection(on)?.offered.take() {
            let named = welcome["capabilities"]["features"].as_array().into_iter().flatten();
            let named = FeatureSet::from_flags(named.filter_map(Value::as_str));
            self.negotiated.insert(session.clone(), offered.intersect(named));
        }
        Ok(self.negotiated.get(&session).copied())
    }

    fn compare(&mut self, expected: &Frame, came: &Value) -> Result<(), Wrong> {
        if came["type"] != expected.kind.as_str() {
            return wrong(format!("expected {}, got {}", expected.kind, told(came)));
        }
        let payload = expected.payload.compare("payload", came.get("payload"), &mut self.known);
        let whole = payload.and_then(|()| expected.envelope.compare("envelope", Some(came), &mut self.known));
        whole.map_err(|mismatch| (None, format!("{}: {mismatch}", expected.kind)))
    }

    async fn until(&mut self, on: &str, expected: &Frame) -> Result<(), Wrong> {
        let mut before: Option<String> = None;
        for _ in 0..PASSED_OVER {
            let came = self.next(on, &expected.kind).await.map_err(|(requirement, what)| match &before {
                Some(before) => (requirement, format!("{what}, after {before}")),
                None => (requirement, what),
            })?;
            let mut learnt = self.known.clone();
            std::mem::swap(&mut learnt, &mut self.known);
            if self.compare(expected, &came).is_ok() {
                return Ok(());
            }
            self.known = learnt;
            before = Some(told(&came));
        }
        wrong(format!("expected {} among {PASSED_OVER} frames", expected.kind))
    }

    /// The next frame that tells of no job on its way: those come whenever they do.
    async fn next_but_events(&mut self, on: &str) -> Result<Value, Wrong> {
        for _ in 0..PASSED_OVER {
            let came = self.next(on, "an error").await?;
            if came["type"] != "job.event" {
                return Ok(came);
            }
        }
        wrong(format!("expected an error among {PASSED_OVER} frames"))
    }

    /// The specification does not say which frame refuses a request: an error of either sort does.
    async fn refused(&mut self, on: &str, codes: &[String], name: Option<&str>) -> Result<(), Wrong> {
        let request = match name {
            Some(name) => self.known.get(name).cloned().unwrap_or_default(),
            None => json!(self.connection(on)?.last_id),
        };
        let came = self.next_but_events(on).await?;
        let kind = came["type"].as_str().unwrap_or_default();
        if !matches!(kind, "session.error" | "job.error") {
            return wrong(format!("expected the request to be refused, got {}", told(&came)));
        }
        let payload = &came["payload"];
        if let Some(named) = payload.get("request_id").filter(|named| **named != request) {
            return wrong(format!("expected the refusal of {request}, got that of {named}"));
        }
        let code = payload["code"].as_str().unwrap_or_default();
        if !codes.iter().any(|known| known == code) {
            return wrong(format!("expected the code {}, got {code:?}", codes.join(" or ")));
        }
        if !payload["retryable"].is_boolean() {
            return Err((
                Some("ARCP-12-2"),
                format!("retryable: expected true or false in {}", shown(payload)),
            ));
        }
        Ok(())
    }

    async fn quiet(&mut self, on: &str) -> Result<(), Wrong> {
        let nonce = format!("quiet_{}", Ulid::generate());
        let ping = json!({ "nonce": nonce, "sent_at": "$past" });
        self.send(on, "session.ping", &ping, &json!({}), None).await?;
        let came = self.next(on, "session.pong").await?;
        if came["payload"]["ping_nonce"] == json!(nonce) {
            return Ok(());
        }
        wrong(format!("expected nothing but the answer to a ping, got {}", told(&came)))
    }

    async fn ended(&mut self, on: &str) -> Result<(), Wrong> {
        match timeout(STEP, self.heard(on, "the end")).await {
            Ok(Ok(None)) => {
                self.connections.remove(on);
                Ok(())
            }
            Ok(Ok(Some(frame))) => wrong(format!("expected the end of the connection, got {}", told(&frame))),
            Ok(Err(broken)) => Err(broken),
            Err(_) => wrong(format!("expected the end of the connection, got nothing within {STEP:?}")),
        }
    }
}

/// A frame as a message quotes it: what it is, and what it says.
fn told(frame: &Value) -> String {
    format!("{} {}", frame["type"].as_str().unwrap_or("a frame"), shown(&frame["payload"]))
}

/// A frame as a transcript keeps it: what opens sessions is taken out.
fn without_tokens(text: &str) -> String {
    let Ok(mut frame) = serde_json::from_str::<Value>(text) else { return text.into() };
    for place in ["/payload/auth/token", "/payload/resume_token", "/payload/resume/resume_token"] {
        if let Some(token) = frame.pointer_mut(place) {
            *token = json!("…");
        }
    }
    frame.to_string()
}
