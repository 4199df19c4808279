//! A connection to the daemon that somebody bends: it sees every frame, and may change, drop, double or invent some.
//!
//! What is bent stands outside of the daemon. The numbers of the events that the client is told stay in order whatever
//! is dropped or invented ([`Numbers::Sound`]), so that a mutant shows its own mistake and not a gap.

use std::collections::BTreeMap;
use std::sync::Arc;

use arcpd::client::{Connector, DialError, Link};
use arcpd::embed::Runtime;
use arcpd::transport::{Received, memory};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A frame on its way. One that is no JSON object is a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    /// From the daemon to the client.
    Told(Value),
    /// From the client to the daemon.
    Asked(Value),
}

/// What becomes of frames.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bend {
    /// Those of this type that the client is told are changed.
    Told(&'static str, fn(&mut Value)),
    /// Those of this type that the daemon is asked are changed.
    Asked(&'static str, fn(&mut Value)),
    /// Those of this type do not arrive.
    Lost(&'static str),
    /// Whatever this makes of each, in the order in which it leaves.
    Any(fn(&mut Wire, &mut World, Frame) -> Vec<Frame>),
}

impl Bend {
    fn apply(self, wire: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
        match (self, frame) {
            (Bend::Told(of, change), Frame::Told(mut told)) if kind(&told) == of => {
                change(&mut told);
                vec![Frame::Told(told)]
            }
            (Bend::Asked(of, change), Frame::Asked(mut asked)) if kind(&asked) == of => {
                change(&mut asked);
                vec![Frame::Asked(asked)]
            }
            (Bend::Lost(of), Frame::Told(lost) | Frame::Asked(lost)) if kind(&lost) == of => Vec::new(),
            (Bend::Told(..) | Bend::Asked(..) | Bend::Lost(_), frame) => vec![frame],
            (Bend::Any(bend), frame) => bend(wire, world, frame),
        }
    }
}

/// Who numbers the events that the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// One by one, whatever the mutant does; positions are told to the daemon as it knows them.
    Sound,
    /// The mutant: they are its mistake.
    Bent,
}

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Its session, once welcomed.
    pub(crate) session: String,
    /// The token that it said hello with.
    pub(crate) who: String,
    /// It began with a resume.
    pub(crate) resumed: bool,
    /// Every request, by its id.
    pub(crate) asked: BTreeMap<String, Value>,
    /// Whatever the mutant keeps of it.
    pub(crate) memo: BTreeMap<String, Value>,
    /// Frames that wait for another one.
    pub(crate) held: Vec<Value>,
    /// The mutant has ended it.
    pub(crate) over: bool,
    /// The mutant does not pass the daemon's end on.
    pub(crate) stays: bool,
}

/// What is known of all connections to one daemon.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The token of who submitted a job, by job.
    pub(crate) owners: BTreeMap<String, String>,
    /// Whatever the mutant keeps.
    pub(crate) memo: BTreeMap<String, Value>,
    /// The daemon's number of each event that a session was told, in the order of the numbers that it was told.
    told: BTreeMap<String, Vec<u64>>,
}

impl World {
    /// The newest number that a session was told.
    pub(crate) fn newest(&self, session: &str) -> u64 {
        self.told.get(session).map_or(0, |told| told.len() as u64)
    }
}

/// The type of a frame.
pub(crate) fn kind(frame: &Value) -> &str {
    frame["type"].as_str().unwrap_or_default()
}

/// A field of the envelope that is a text.
pub(crate) fn text<'a>(frame: &'a Value, field: &str) -> &'a str {
    frame[field].as_str().unwrap_or_default()
}

/// A connector to `runtime` whose connections are bent.
pub(crate) fn connector(runtime: &Runtime, bend: Bend, numbers: Numbers) -> Arc<dyn Connector> {
    let (runtime, world) = (runtime.clone(), Arc::new(Mutex::new(World::default())));
    Arc::new(move || {
        let (near, far) = memory::pair();
        let bent = Bent { bend, numbers, world: world.clone(), wire: Wire::default() };
        tokio::spawn(bent.run(Link::new(far), Link::new(runtime.connect())));
        async move { Ok::<_, DialError>(Link::new(near)) }
    })
}

struct Bent {
    bend: Bend,
    numbers: Numbers,
    world: Arc<Mutex<World>>,
    wire: Wire,
}

impl Bent {
    async fn run(mut self, mut client: Link, mut daemon: Link) {
        loop {
            let frame = tokio::select! {
                told = daemon.receive() => match told {
                    Ok(Received::Text(told)) => Frame::Told(read(&told)),
                    Ok(Received::Rejected(_)) => continue,
                    Err(_) if self.wire.stays => {
                        while client.receive().await.is_ok() {}
                        return;
                    }
                    Err(_) => return,
                },
                asked = client.receive() => match asked {
                    Ok(Received::Text(asked)) => Frame::Asked(read(&asked)),
                    Ok(Received::Rejected(_)) => continue,
                    Err(_) => return,
                },
            };
            for frame in self.bent(frame) {
                // Who is gone already is heard of when the next frame is waited for.
                let _ = match frame {
                    Frame::Told(told) => client.send(written(told)).await,
                    Frame::Asked(asked) => daemon.send(written(asked)).await,
                };
            }
            if self.wire.over {
                return;
            }
        }
    }

    fn bent(&mut self, frame: Frame) -> Vec<Frame> {
        let mut world = self.world.lock();
        let (wire, world) = (&mut self.wire, &mut *world);
        notice(wire, world, &frame);
        let mut frames = self.bend.apply(wire, world, frame);
        if self.numbers == Numbers::Sound {
            frames.iter_mut().for_each(|frame| number(wire, world, frame));
        }
        frames
    }
}

fn read(frame: &Bytes) -> Value {
    match serde_json::from_slice::<Value>(frame) {
        Ok(read) if read.is_object() => read,
        Ok(_) | Err(_) => Value::String(String::from_utf8_lossy(frame).into_owned()),
    }
}

fn written(frame: Value) -> Bytes {
    frame.as_str().map_or_else(|| frame.to_string(), String::from).into()
}

/// Keeps what mutants ask for.
fn notice(wire: &mut Wire, world: &mut World, frame: &Frame) {
    match frame {
        Frame::Asked(asked) => {
            if let Some(token) = asked.pointer("/payload/auth/token").and_then(Value::as_str) {
                wire.who = token.into();
            }
            wire.resumed |= kind(asked) == "session.resume";
            wire.asked.insert(text(asked, "id").into(), asked.clone());
        }
        Frame::Told(told) => match kind(told) {
            "session.welcome" => wire.session = text(told, "session_id").into(),
            "job.accepted" => {
                let job = text(&told["payload"], "job_id").to_owned();
                world.owners.entry(job).or_insert_with(|| wire.who.clone());
            }
            _ => {}
        },
    }
}

/// Numbers what the client is told, and tells the daemon its own number of what the client names.
fn number(wire: &Wire, world: &mut World, frame: &mut Frame) {
    match frame {
        Frame::Told(told) => {
            let Some(seq) = told["event_seq"].as_u64() else { return };
            let numbers = world.told.entry(wire.session.clone()).or_default();
            numbers.push(seq);
            told["event_seq"] = json!(numbers.len());
        }
        Frame::Asked(asked) => {
            let (field, session) = match kind(asked) {
                "session.resume" => ("last_event_seq", text(asked, "session_id")),
                "session.ack" => ("last_processed_seq", wire.session.as_str()),
                _ => return,
            };
            let Some(seq) = asked["payload"][field].as_u64() else { return };
            let Some(numbers) = world.told.get_mut(session) else { return };
            let known = usize::try_from(seq).unwrap_or(usize::MAX);
            if known > numbers.len() {
                return;
            }
            let real = known.checked_sub(1).map_or(0, |last| numbers[last]);
            if kind(asked) == "session.resume" {
                numbers.truncate(known);
            }
            asked["payload"][field] = json!(real);
        }
    }
}
