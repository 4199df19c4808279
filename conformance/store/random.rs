//! The same random history in memory and in SQLite, read back the same way after every few batches.

use arcpd::proto::job::Cancellation;
use arcpd::proto::listing::Query;
use arcpd::proto::record::Record;
use arcpd::proto::stream::{Extent, Numbers, Piece, Place};
use arcpd::proto::submit::Spec;
use arcpd::store::Op;
use arcpd::wire::feature::Feature;
use arcpd::wire::job::JobStatus;
use arcpd::wire::message::StreamKind;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::contract::opened;
use crate::world::{World, accepted, ended, job, query, record, restored, session, spec, started, who};

/// What may happen; which job or session it is about is taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Accept,
    Append(usize, u8, usize),
    Burst(usize, u8, u16),
    End(usize),
    Run(usize),
    Cancel(usize),
    Trim(usize, u64),
    RemoveJob(usize),
    Open,
    Tokens(usize, u8),
    Close(usize, bool),
    Attach(usize, usize, bool),
    Detach(usize, usize),
    Number(usize, usize, u64),
    Private(usize, usize),
    Release(usize, u64),
    RemoveSession(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let i = 0..8_usize;
    let bytes = prop_oneof![30 => 1..200_usize, 1 => 300_000..700_000_usize];
    prop_oneof![
        3 => Just(Step::Accept),
        8 => (i.clone(), 0..4_u8, bytes).prop_map(|(j, g, b)| Step::Append(j, g, b)),
        1 => (i.clone(), 0..4_u8, 1..3_000_u16).prop_map(|(j, g, n)| Step::Burst(j, g, n)),
        2 => i.clone().prop_map(Step::End),
        1 => i.clone().prop_map(Step::Run),
        1 => i.clone().prop_map(Step::Cancel),
        2 => (i.clone(), 0..2_500_u64).prop_map(|(j, by)| Step::Trim(j, by)),
        1 => i.clone().prop_map(Step::RemoveJob),
        2 => Just(Step::Open),
        1 => (i.clone(), any::<u8>()).prop_map(|(s, t)| Step::Tokens(s, t)),
        1 => (i.clone(), any::<bool>()).prop_map(|(s, closed)| Step::Close(s, closed)),
        4 => (i.clone(), i.clone(), any::<bool>()).prop_map(|(s, j, by)| Step::Attach(s, j, by)),
        1 => (i.clone(), i.clone()).prop_map(|(s, j)| Step::Detach(s, j)),
        8 => (i.clone(), i.clone(), 1..50_u64).prop_map(|(s, j, n)| Step::Number(s, j, n)),
        1 => (i.clone(), i.clone()).prop_map(|(s, j)| Step::Private(s, j)),
        3 => (i.clone(), 0..60_u64).prop_map(|(s, by)| Step::Release(s, by)),
        1 => i.prop_map(Step::RemoveSession),
    ]
}

#[derive(Default)]
struct Job {
    n: u64,
    first: u64,
    last: u64,
    ended: bool,
    attempts: u32,
}

#[derive(Default)]
struct Session {
    n: u64,
    newest: u64,
    released: u64,
    /// The job and the position after which the next run begins.
    places: Vec<(u64, u64)>,
}

/// Makes valid operations of steps.
#[derive(Default)]
struct Scribe {
    next: u64,
    jobs: Vec<Job>,
    sessions: Vec<Session>,
}

impl Scribe {
    fn append(&mut self, at: usize, gate: u8, bytes: usize, kind: StreamKind) -> Option<Op> {
        let len = self.jobs.len();
        let found = self.jobs.get_mut(at % len.max(1)).filter(|job| !job.ended)?;
        found.last += 1;
        let gate = [None, None, Some(Feature::Progress), Some(Feature::ResultChunk)][usize::from(gate)];
        Some(Op::Append { job: job(found.n), record: Record { kind, ..record(found.last, gate, bytes) } })
    }

    fn write(&mut self, step: &Step, ops: &mut Vec<Op>) {
        let (jobs, sessions) = (self.jobs.len(), self.sessions.len());
        let j = |at: &usize| at % jobs.max(1);
        let s = |at: &usize| at % sessions.max(1);
        match step {
            Step::Accept => {
                self.next += 1;
                let principal = who(["alice", "bob"][(self.next % 2) as usize]);
                ops.push(accepted(Spec { principal, ..spec(self.next) }));
                self.jobs.push(Job { n: self.next, first: 1, ..Job::default() });
            }
            Step::Append(at, gate, bytes) => ops.extend(self.append(*at, *gate, *bytes, StreamKind::Event)),
            Step::Burst(at, gate, count) => {
                for _ in 0..*count {
                    ops.extend(self.append(*at, *gate, 3, StreamKind::Event));
                }
            }
            Step::Open => {
                self.next += 1;
                ops.push(opened(self.next));
                self.sessions.push(Session { n: self.next, ..Session::default() });
            }
            _ if jobs == 0 => {}
            Step::End(at) => {
                ops.extend(self.append(*at, 0, 7, StreamKind::Error));
                let found = &mut self.jobs[j(at)];
                found.ended = true;
                ops.push(ended(found.n, JobStatus::Error, found.n * 7 % 11));
            }
            Step::Run(at) if self.jobs[j(at)].ended => {}
            Step::Run(at) => {
                let found = &mut self.jobs[j(at)];
                found.attempts += 1;
                ops.push(started(found.n, found.attempts, u64::from(found.attempts)));
            }
            Step::Cancel(at) => {
                let reason = at.is_multiple_of(2).then(|| "why".to_owned());
                let cancellation = Cancellation { reason };
                ops.push(Op::JobCancelling { job: job(self.jobs[j(at)].n), cancellation });
            }
            Step::Trim(at, by) => {
                let found = &mut self.jobs[j(at)];
                found.first = (found.first + by).min(found.last + 1);
                ops.push(Op::Trim { job: job(found.n), first: found.first });
            }
            Step::RemoveJob(at) => ops.push(Op::RemoveJob(job(self.jobs.swap_remove(j(at)).n))),
            _ if sessions == 0 => {}
            Step::Attach(at, of, submitter) => {
                let (found, of) = (&mut self.sessions[s(at)], &self.jobs[j(of)]);
                found.places.retain(|(job, _)| *job != of.n);
                found.places.push((of.n, of.last));
                let (session, job) = (session(found.n), job(of.n));
                ops.push(Op::Attached { session, job, pos: of.last, submitter: *submitter });
            }
            step => self.write_session(step, ops),
        }
    }

    fn write_session(&mut self, step: &Step, ops: &mut Vec<Op>) {
        let len = self.sessions.len();
        let s = |at: &usize| at % len;
        match step {
            Step::Tokens(at, byte) => {
                let hashes = vec![[*byte; 32]; usize::from(byte % 3)];
                ops.push(Op::Tokens { session: session(self.sessions[s(at)].n), hashes });
            }
            Step::Close(at, closed) => {
                ops.push(Op::Closed { session: session(self.sessions[s(at)].n), closed: *closed });
            }
            Step::Detach(at, of) => {
                let found = &mut self.sessions[s(at)];
                let job = job(self.jobs[of % self.jobs.len()].n);
                // Its numbers may go on nevertheless: a store moves nothing that is not there.
                ops.push(Op::Detached { session: session(found.n), job });
            }
            Step::Number(at, of, len) => {
                let found = &mut self.sessions[s(at)];
                let places = found.places.len();
                let Some(place) = found.places.get_mut(of % places.max(1)) else { return };
                let piece = Piece::Run { job: job(place.0), first_pos: place.1 + 1, len: *len };
                place.1 += len;
                let places = vec![Place { job: job(place.0), pos: place.1, done: len.is_multiple_of(3) }];
                let mut numbers = Numbers { extents: Vec::new(), places };
                // Sometimes everything is passed over.
                if !len.is_multiple_of(7) {
                    numbers.extents.push(Extent { first_seq: found.newest + 1, piece });
                    found.newest += len;
                }
                ops.push(Op::Numbered { session: session(found.n), numbers });
            }
            Step::Private(at, of) => {
                let found = &mut self.sessions[s(at)];
                let payload = Bytes::from(format!("{{\"n\":{of}}}"));
                found.newest += 1;
                let piece = Piece::Private { job: job(self.jobs[of % self.jobs.len()].n), payload };
                let numbers = Extent { first_seq: found.newest, piece }.into();
                ops.push(Op::Numbered { session: session(found.n), numbers });
            }
            Step::Release(at, by) => {
                let found = &mut self.sessions[s(at)];
                found.released = (found.released + by).min(found.newest);
                ops.push(Op::Released { session: session(found.n), through: found.released });
            }
            Step::RemoveSession(at) => {
                ops.push(Op::RemoveSession(session(self.sessions.swap_remove(s(at)).n)));
            }
            _ => unreachable!("{step:?} is not about a session"),
        }
    }
}

/// Every answer of a store, as text.
async fn answers(world: &World, jobs: u64, asks: &[(u64, u64, u64, usize)]) -> Vec<String> {
    let mut said = vec![restored(&*world.store)];
    for n in 1..=jobs {
        said.push(format!("{:?}", world.store.job(job(n)).await.unwrap()));
    }
    for (n, after, events, bytes) in asks {
        said.push(format!("{:?}", world.positions(job(*n), *after, *events, *bytes).await));
    }
    for (who_asks, before) in [(Some("alice"), None), (Some("bob"), Some(job(jobs / 2))), (None, None)] {
        for list in [r#"{"limit":2}"#, r#"{"filter":{"status":["pending","error"],"agent":"echo@1"}}"#] {
            let query = Query { principal: who_asks.map(who), before, ..query(list) };
            said.push(format!("{:?}", world.store.list(query).await.unwrap()));
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_say_the_same_of_any_history(
        batches in vec((vec(step(), 1..12), 0..10_u8), 1..25),
        asks in vec((1..20_u64, 0..4_000_u64, 0..50_u64, 0..600_usize), 6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let (memory, mut sqlite) = (World::memory(), World::sqlite());
            let mut scribe = Scribe::default();
            for (steps, then) in batches {
                let mut ops = Vec::new();
                steps.iter().for_each(|step| scribe.write(step, &mut ops));
                memory.submit(ops.clone());
                let ticket = sqlite.submit(ops);
                if then == 0 {
                    sqlite = sqlite.reopened();
                }
                if then < 4 {
                    if then > 0 {
                        sqlite.store.applied(ticket).await.unwrap();
                    }
                    let expected = answers(&memory, scribe.next, &asks).await;
                    for (found, expected) in answers(&sqlite, scribe.next, &asks).await.iter().zip(&expected) {
                        assert_eq!(found, expected);
                    }
                }
            }
            let (memory, sqlite) = (answers(&memory, scribe.next, &asks).await, sqlite.reopened());
            assert_eq!(answers(&sqlite, scribe.next, &asks).await, memory);
        });
    }
}
