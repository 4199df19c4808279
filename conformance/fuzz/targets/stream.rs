//! A session's stream beside a model that simply keeps every number with what it stands for. Data: operations.

use std::collections::BTreeMap;

use arcpd::proto::record::{Record, Tail};
use arcpd::proto::stream::{Extent, Numbers, Piece, Place, Stream, Window};
use arcpd::wire::feature::{Feature, FeatureSet};
use arcpd::wire::id::JobId;
use arcpd::wire::message::StreamKind;
use arcpd::wire::time::Timestamp;
use bytes::Bytes;

use super::input::Input;

const JOBS: usize = 3;
const OPERATIONS: usize = 400;
const REMEMBERED: usize = 1;

/// What one number stands for.
#[derive(Debug, Clone, PartialEq)]
enum Stands {
    At(JobId, u64),
    Private(JobId, Bytes),
}

#[derive(Debug, Clone, Copy)]
struct Followed {
    pos: u64,
    submitter: bool,
    done: bool,
}

/// A job's history, one entry per record.
#[derive(Default)]
struct History {
    gates: Vec<Option<Feature>>,
    first: u64,
    ended: bool,
    tail: Tail,
}

struct World {
    stream: Stream,
    features: FeatureSet,
    given: Vec<Stands>,
    acked: u64,
    followed: BTreeMap<JobId, Followed>,
    histories: BTreeMap<JobId, History>,
}

pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let features = if input.flag() { FeatureSet::OFFERED } else { FeatureSet::EMPTY.and(Feature::Progress) };
    let mut world = World {
        stream: Stream::default(),
        features,
        given: Vec::new(),
        acked: 0,
        followed: BTreeMap::new(),
        histories: (0..JOBS).map(|n| (id(n), History { first: 1, ..History::default() })).collect(),
    };
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.compare(&mut input);
    }
}

fn id(n: usize) -> JobId {
    JobId::new(1, n as u128)
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let (what, job) = (input.below(12), id(input.below(JOBS)));
        match what {
            0..=2 => self.record(job, input),
            3 => self.attach(job, input),
            4..=6 => self.number(job, input.number()),
            7 => self.detach(job, input.flag()),
            8 => self.ack(input),
            9 => self.evict(input),
            10 => self.give_more(job, input),
            _ => self.trim(job, input.number()),
        }
    }

    fn record(&mut self, job: JobId, input: &mut Input<'_>) {
        let history = self.histories.get_mut(&job).unwrap();
        for _ in 0..=input.below(6) {
            if history.ended {
                return;
            }
            let choice = input.byte();
            let gate = match choice % 4 {
                0 => Some(Feature::Progress),
                1 => Some(Feature::ResultChunk),
                _ => None,
            };
            history.ended = choice > 240;
            let (kind, gate) =
                if history.ended { (StreamKind::Result, None) } else { (StreamKind::Event, gate) };
            history.gates.push(gate);
            let pos = history.gates.len() as u64;
            let payload = Bytes::from(vec![b'x'; usize::from(choice)]);
            history.tail.push(&Record { pos, kind, gate, at: Timestamp::default(), payload });
        }
    }

    fn attach(&mut self, job: JobId, input: &mut Input<'_>) {
        // The runtime attaches within what is there.
        let last = self.histories[&job].gates.len() as u64;
        let (pos, submitter) = (input.number().min(last), input.flag());
        self.stream.attach(job, pos, submitter, REMEMBERED);
        let followed = self.followed.entry(job).or_insert(Followed { pos, submitter, done: false });
        *followed = Followed { pos, submitter: followed.submitter || submitter, done: false };
        let done: Vec<JobId> = self.followed.iter().filter(|(_, f)| f.done).map(|(job, _)| *job).collect();
        for old in done.iter().take(done.len().saturating_sub(REMEMBERED)) {
            self.followed.remove(old);
        }
    }

    fn number(&mut self, job: JobId, max: u64) {
        let history = &self.histories[&job];
        let mut out = Numbers::default();
        let before = self.given.len();
        let got = self.stream.number(job, &history.tail, self.features, max, &mut out);
        let Some(followed) = self.followed.get_mut(&job).filter(|followed| !followed.done) else {
            assert_eq!((got, out), (Ok(false), Numbers::default()));
            return;
        };
        if followed.pos + 1 < history.first {
            assert_eq!(got.unwrap_err().oldest, history.first);
            return;
        }
        let last = history.gates.len() as u64;
        let to = last.min(followed.pos.saturating_add(max));
        for pos in followed.pos + 1..=to {
            let gate = history.gates[usize::try_from(pos).unwrap() - 1];
            if gate.is_none_or(|gate| self.features.has(gate)) {
                self.given.push(Stands::At(job, pos));
            }
        }
        let caught_up = to == last;
        assert_eq!(got, Ok(!caught_up));
        let moved = to > followed.pos || (history.ended && caught_up);
        followed.done = history.ended && caught_up;
        followed.pos = to;
        assert_eq!(flat(&out.extents), self.given[before..]);
        let place = Place { job, pos: to, done: followed.done };
        assert_eq!(out.places, if moved { vec![place] } else { Vec::new() });
    }

    fn detach(&mut self, job: JobId, steer: bool) {
        if steer {
            self.stream.steer(job);
            if let Some(followed) = self.followed.get_mut(&job) {
                followed.submitter = true;
            }
            return;
        }
        let observed = self.followed.get(&job).is_some_and(|followed| !followed.submitter);
        assert_eq!(self.stream.detach(job), observed);
        if observed {
            self.followed.remove(&job);
        }
    }

    fn ack(&mut self, input: &mut Input<'_>) {
        let seq = input.number();
        let newest = self.given.len() as u64;
        assert_eq!(self.stream.ack(seq).is_ok(), seq <= newest);
        if seq <= newest {
            self.acked = self.acked.max(seq);
        }
    }

    fn evict(&mut self, input: &mut Input<'_>) {
        let (before, window) = (self.stream.released(), Window { events: input.number(), bytes: usize::MAX });
        self.stream.evict(window, u64::MAX);
        let must = (self.given.len() as u64).saturating_sub(window.events).max(self.acked);
        assert_eq!(self.stream.released(), before.max(must), "exactly what the count and the client ask for");
        if input.flag() {
            let bytes = 64 * input.below(256);
            self.stream.evict(Window { events: u64::MAX, bytes }, u64::MAX);
            assert!(self.stream.released() >= before.max(must));
        }
    }

    fn give_more(&mut self, job: JobId, input: &mut Input<'_>) {
        let extent = if input.flag() {
            let payload = Bytes::copy_from_slice(input.bytes(16));
            self.given.push(Stands::Private(job, payload.clone()));
            self.stream.private(job, payload)
        } else {
            let pos = 1 + input.number() % 8;
            self.given.push(Stands::At(job, pos));
            self.stream.repeat(job, pos)
        };
        assert_eq!(extent.first_seq, self.given.len() as u64);
        assert_eq!(flat(&[extent]), self.given[self.given.len() - 1..]);
    }

    fn trim(&mut self, job: JobId, asked: u64) {
        let history = self.histories.get_mut(&job).unwrap();
        let first = asked.min(history.gates.len() as u64 + 1);
        history.tail.trim(first);
        history.first = history.first.max(first);
        assert_eq!(history.tail.first(), history.first);
    }

    fn compare(&self, input: &mut Input<'_>) {
        let (newest, released) = (self.given.len() as u64, self.stream.released());
        assert_eq!(self.stream.newest(), newest);
        assert_eq!(self.stream.acked(), self.acked);
        assert!(released <= newest, "{released} {newest}");
        let followed: Vec<JobId> = self.stream.followed().collect();
        let expected: Vec<JobId> =
            self.followed.iter().filter(|(_, followed)| !followed.done).map(|(job, _)| *job).collect();
        assert_eq!(followed, expected);
        assert_eq!(self.stream.followed_count(), expected.len());
        for (job, followed) in &self.followed {
            let real = self.stream.attachment(*job).unwrap();
            assert_eq!(
                (real.pos, real.submitter, real.done),
                (followed.pos, followed.submitter, followed.done)
            );
        }
        let (seq, max) = (input.number(), input.number());
        let begin = usize::try_from(seq.max(released).min(newest)).unwrap();
        let end = begin.saturating_add(usize::try_from(max).unwrap()).min(self.given.len());
        assert_eq!(flat(&self.stream.after(seq, max)), self.given[begin..end], "after {seq}, {max} numbers");
        let reaches = self.stream.reaches(seq, |job| self.histories.get(&job).map(|h| h.first));
        assert_eq!(reaches.is_ok(), self.reachable(seq), "{reaches:?} from {seq}");
        if let Err(out) = reaches {
            assert!(out.oldest <= newest + 1 && out.newest == newest);
        }
    }

    fn reachable(&self, seq: u64) -> bool {
        let missed = |stands: &Stands| match stands {
            Stands::At(job, pos) => self.histories[job].first > *pos,
            Stands::Private(..) => false,
        };
        let numbered = || !self.given[usize::try_from(seq).unwrap()..].iter().any(missed);
        let unnumbered = || {
            let behind = |(job, f): (&JobId, &Followed)| !f.done && self.histories[job].first > f.pos + 1;
            !self.followed.iter().any(behind)
        };
        (self.stream.released()..=self.given.len() as u64).contains(&seq) && numbered() && unnumbered()
    }
}

fn flat(extents: &[Extent]) -> Vec<Stands> {
    let mut out = Vec::new();
    for extent in extents {
        match &extent.piece {
            Piece::Run { job, first_pos, len } => {
                out.extend((*first_pos..first_pos + len).map(|pos| Stands::At(*job, pos)));
            }
            Piece::Private { job, payload } => out.push(Stands::Private(*job, payload.clone())),
        }
        assert_eq!(
            extent.last_seq() - extent.first_seq + 1,
            match &extent.piece {
                Piece::Run { len, .. } => *len,
                Piece::Private { .. } => 1,
            }
        );
    }
    out
}
