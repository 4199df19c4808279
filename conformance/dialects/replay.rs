//! The client's half of a captured conversation, frame by frame, against our daemon: our half is read as that client
//! reads. Ids of sessions and jobs in the captures are the places of those that the daemon gives out now; captured
//! agents go by the names of the demo agents.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arcpd::embed::Runtime;
use serde_json::{Value, json};

use crate::fixture::{Client, World};
use crate::readers::{Reader, Told, text};

/// After so long without a frame a turn is over. Longer than any pause of a dialect.
const QUIET: Duration = Duration::from_millis(50);
/// The last turn waits for the ends of jobs.
const TO_THE_END: Duration = Duration::from_secs(3);

struct Connection<R> {
    client: Client,
    reader: R,
    session: String,
    newest: u64,
    /// Jobs that were accepted or subscribed to, and not over.
    known: BTreeSet<String>,
    over: bool,
}

/// A conversation, and what came of it: one line for each submit and each end, in the order in which they were told.
pub(crate) struct Replay<R> {
    make: fn() -> R,
    connections: BTreeMap<u64, Connection<R>>,
    /// The jobs by the ids of their submits.
    jobs: BTreeMap<String, String>,
    token: String,
    cursor: String,
    pub(crate) told: Vec<String>,
}

/// Replays what was captured of a client.
pub(crate) async fn replay<R: Reader>(captured: &str, make: fn() -> R) -> Vec<String> {
    let world = World::new();
    let mut replay = Replay {
        make,
        connections: BTreeMap::new(),
        jobs: BTreeMap::new(),
        token: String::new(),
        cursor: String::new(),
        told: Vec::new(),
    };
    for line in captured.lines() {
        let step: Value = serde_json::from_str(line).unwrap();
        tokio::time::sleep(Duration::from_millis(step["after_ms"].as_u64().unwrap_or(0))).await;
        replay.step(&world.runtime, step["on"].as_u64().unwrap(), &step["send"]).await;
    }
    let all: Vec<u64> = replay.connections.keys().copied().collect();
    for on in all {
        replay.listen(on, TO_THE_END).await;
        let connection = &replay.connections[&on];
        let waiting = connection.reader.waiting();
        assert!(waiting.is_empty() || connection.over, "on {on} nobody answered {waiting:?}");
    }
    replay.told
}

impl<R: Reader> Replay<R> {
    async fn step(&mut self, runtime: &Runtime, on: u64, captured: &Value) {
        let frame = self.filled(on, captured);
        let connection = self.connections.entry(on).or_insert_with(|| Connection {
            client: Client::over(runtime.connect()),
            reader: (self.make)(),
            session: String::new(),
            newest: 0,
            known: BTreeSet::new(),
            over: false,
        });
        connection.reader.asked(&frame);
        connection.client.send(&frame);
        self.listen(on, QUIET).await;
    }

    /// A captured frame with what the daemon has given out in its places.
    fn filled(&self, on: u64, captured: &Value) -> Value {
        let mut frame = captured.clone();
        if frame["type"] == "session.ack" {
            let newest = self.connections[&on].newest;
            let seq = frame["payload"]["last_processed_seq"].as_u64().unwrap();
            frame["payload"]["last_processed_seq"] = json!(seq.min(newest));
        }
        fill(&mut frame, &|place| {
            let (what, which) = place.split_at(
                place.find([':', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).unwrap_or(place.len()),
            );
            match what {
                "session" => self.connections[&which.parse().unwrap()].session.clone(),
                "job" => self.jobs.get(&which[1..]).unwrap_or_else(|| panic!("no job of {which}")).clone(),
                "token" => self.token.clone(),
                "cursor" => self.cursor.clone(),
                other => panic!("no such place: {other}"),
            }
        });
        frame
    }

    /// Reads what comes until it is quiet.
    async fn listen(&mut self, on: u64, quiet: Duration) {
        loop {
            let connection = self.connections.get_mut(&on).unwrap();
            let Some(frame) = connection.client.within(quiet).await else { return };
            let Some(frame) = frame else {
                connection.over = true;
                return;
            };
            self.heard(on, &frame);
        }
    }

    fn heard(&mut self, on: u64, frame: &Value) {
        let connection = self.connections.get_mut(&on).unwrap();
        let told = connection.reader.read(frame);
        let told = told
            .unwrap_or_else(|wrong| panic!("on {on} the client cannot live with this ({wrong}): {frame}"));
        let numbered = frame.get("event_seq").filter(|_| connection.reader.counts());
        if let Some(seq) = numbered.and_then(Value::as_u64) {
            assert_eq!(seq, connection.newest + 1, "a gap or a repetition: {frame}");
            connection.newest = seq;
        }
        let (kind, payload) = (text(&frame["type"]), &frame["payload"]);
        match kind.as_str() {
            "session.welcome" => {
                connection.session = text(&frame["session_id"]);
                self.token = text(&payload["resume_token"]);
            }
            "session.accepted" => connection.session = text(&frame["session_id"]),
            "session.jobs" => self.cursor = text(&payload["next_cursor"]),
            "job.subscribed" => drop(connection.known.insert(text(&payload["job_id"]))),
            "session.ping" => {
                let pong = json!({ "ping_nonce": payload["nonce"], "received_at": payload["sent_at"] });
                let session = connection.session.clone();
                connection.client.send(&json!({
                    "arcp": "1.1", "id": format!("pong_{}", text(&payload["nonce"])), "type": "session.pong",
                    "session_id": session, "payload": pong
                }));
            }
            _ => {}
        }
        match told {
            Told::Accepted { request, job } => {
                self.told.push(format!("{on} accepted"));
                connection.known.insert(job.clone());
                self.jobs.insert(request, job);
            }
            Told::Refused { code, .. } => self.told.push(format!("{on} refused {code}")),
            Told::Ended { job, how } => {
                assert!(
                    connection.known.remove(&job) || frame.get("event_seq").is_none(),
                    "an end of an unknown job: {frame}"
                );
                self.told.push(format!("{on} ended {how}"));
            }
            Told::About { job } => assert!(connection.known.contains(&job), "of an unknown job: {frame}"),
            Told::Answered { .. } | Told::Nothing => {}
        }
    }
}

fn fill(value: &mut Value, of: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => {
            if let Some(place) = text.strip_prefix('$') {
                *text = of(place);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| fill(value, of)),
        Value::Object(map) => map.values_mut().for_each(|value| fill(value, of)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
