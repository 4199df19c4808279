//! The newest records, kept in memory as the bytes that they are sent as: who is current reads no file.
//!
//! Who lags further behind than this reaches reads the file, a bounded piece at a time. What is here need not be
//! applied yet: nobody asks for a record before the batch that numbered it is.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::proto::record::{Record, records_weight};
use crate::store::{Op, first_of};
use crate::wire::id::JobId;

/// The newest records of all jobs together, up to so many bytes.
pub(super) struct Hot {
    max_bytes: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    jobs: HashMap<JobId, VecDeque<Record>>,
    /// Which records came when: a job and the last position of a run of them. Those that have gone since stay in it
    /// until their turn.
    order: VecDeque<(JobId, u64)>,
    bytes: u64,
    count: usize,
}

/// Entries of records that have gone which may stand about before they are cleared away.
const COMPACT_OVER: usize = 64;

impl Hot {
    pub(super) fn new(max_bytes: u64) -> Self {
        Hot { max_bytes, inner: Mutex::default() }
    }

    /// The bytes that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.inner.lock().bytes
    }

    /// Takes in what a batch appends, and lets go what it removes.
    pub(super) fn note(&self, ops: &[Op]) {
        let mut inner = self.inner.lock();
        for op in ops {
            match op {
                Op::Append { job, record } => inner.append(*job, record),
                Op::Trim { job, first } => inner.drop_below(*job, *first),
                Op::RemoveJob(job) => inner.drop_below(*job, u64::MAX),
                Op::JobAccepted { .. }
                | Op::JobStarted { .. }
                | Op::JobCancelling { .. }
                | Op::JobEnded { .. }
                | Op::SessionOpened { .. }
                | Op::Tokens { .. }
                | Op::Closed { .. }
                | Op::Attached { .. }
                | Op::Detached { .. }
                | Op::Numbered { .. }
                | Op::Released { .. }
                | Op::RemoveSession(_) => {}
            }
        }
        while inner.bytes > self.max_bytes && inner.drop_oldest() {}
        if inner.order.len() > 2 * inner.count + COMPACT_OVER {
            inner.compact();
        }
    }

    /// The records of a job after a position, as [`Store::records`](crate::store::Store::records) has them; none
    /// when the file has to be asked.
    pub(super) fn records(
        &self,
        job: JobId,
        after: u64,
        max_events: u64,
        max_bytes: usize,
    ) -> Option<Vec<Record>> {
        let inner = self.inner.lock();
        let records = inner.jobs.get(&job)?;
        let skip = after.checked_add(1)?.checked_sub(records.front()?.pos)?;
        let skip = usize::try_from(skip).ok().filter(|skip| *skip < records.len())?;
        Some(first_of(records.range(skip..), max_events, max_bytes))
    }
}

impl Inner {
    fn append(&mut self, job: JobId, record: &Record) {
        let newest = self.jobs.get(&job).and_then(VecDeque::back);
        if newest.is_some_and(|newest| newest.pos + 1 != record.pos) {
            // Not what comes next: nothing here may have a gap.
            self.drop_below(job, u64::MAX);
        }
        self.bytes += weight(record);
        self.count += 1;
        self.jobs.entry(job).or_default().push_back(record.clone());
        match self.order.back_mut() {
            Some((newest, last)) if *newest == job => *last = record.pos,
            Some(_) | None => self.order.push_back((job, record.pos)),
        }
    }

    fn drop_below(&mut self, job: JobId, first: u64) {
        let Some(records) = self.jobs.get_mut(&job) else { return };
        while records.front().is_some_and(|record| record.pos < first)
            && let Some(record) = records.pop_front()
        {
            self.bytes -= weight(&record);
            self.count -= 1;
        }
        if records.is_empty() {
            self.jobs.remove(&job);
        }
    }

    /// Lets the oldest record go; says whether there may be more.
    fn drop_oldest(&mut self) -> bool {
        let Some((job, last)) = self.order.front().copied() else { return false };
        let oldest = self.jobs.get(&job).and_then(VecDeque::front).map(|record| record.pos);
        match oldest.filter(|oldest| *oldest <= last) {
            Some(oldest) => self.drop_below(job, oldest + 1),
            None => drop(self.order.pop_front()),
        }
        true
    }

    fn compact(&mut self) {
        let jobs = &self.jobs;
        let oldest = |job: &JobId| jobs.get(job).and_then(VecDeque::front).map(|record| record.pos);
        self.order.retain(|(job, last)| oldest(job).is_some_and(|oldest| oldest <= *last));
    }
}

fn weight(record: &Record) -> u64 {
    records_weight(1, record.payload.len() as u64)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::message::StreamKind;
    use crate::wire::time::Timestamp;

    const MAX_BYTES: u64 = 2_000;

    fn job(n: u64) -> JobId {
        JobId::new(n, 0)
    }

    fn record(pos: u64, bytes: usize) -> Record {
        let payload = Bytes::from(vec![b'x'; bytes]);
        Record { pos, kind: StreamKind::Event, gate: None, at: Timestamp::default(), payload }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(usize, usize),
        Trim(usize, u64),
        Remove(usize),
        Ask(usize, u64, u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (n, bytes) = (0..4_usize, prop_oneof![20 => 0..60_usize, 1 => 1_000..3_000_usize]);
        let step = prop_oneof![
            12 => (n.clone(), bytes).prop_map(|(n, bytes)| Step::Append(n, bytes)),
            1 => (n.clone(), 0..20_u64).prop_map(|(n, by)| Step::Trim(n, by)),
            1 => n.clone().prop_map(Step::Remove),
            6 => (n, 0..20_u64, 0..6_u64, 0..200_usize).prop_map(|(n, a, e, b)| Step::Ask(n, a, e, b)),
        ];
        vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn it_answers_like_the_whole_or_not_at_all_and_never_keeps_more_than_it_may(steps in steps()) {
            let hot = Hot::new(MAX_BYTES);
            let mut whole: HashMap<usize, Vec<Record>> = HashMap::new();
            // A job that is removed never comes back: its name goes to another one.
            let mut named = [0, 1, 2, 3];
            for step in steps {
                match step {
                    Step::Append(n, bytes) => {
                        let records = whole.entry(n).or_default();
                        let record = record(records.last().map_or(1, |last| last.pos + 1), bytes);
                        records.push(record.clone());
                        hot.note(&[Op::Append { job: job(named[n]), record: record.clone() }]);
                        let kept = hot.records(job(named[n]), record.pos - 1, 1, 0);
                        let fits = weight(&record) <= MAX_BYTES;
                        prop_assert_eq!(kept, fits.then(|| vec![record]), "the newest is there if it fits");
                    }
                    Step::Trim(n, by) => {
                        let records = whole.entry(n).or_default();
                        let first = records.first().map_or(0, |first| first.pos) + by;
                        // The newest stays, so that the next position is known.
                        let first = first.min(records.last().map_or(0, |last| last.pos));
                        records.retain(|record| record.pos >= first);
                        hot.note(&[Op::Trim { job: job(named[n]), first }]);
                    }
                    Step::Remove(n) => {
                        whole.remove(&n);
                        hot.note(&[Op::RemoveJob(job(named[n]))]);
                        prop_assert_eq!(hot.records(job(named[n]), 0, 9, 9), None);
                        named[n] += 4;
                    }
                    Step::Ask(n, after, events, bytes) => {
                        let Some(found) = hot.records(job(named[n]), after, events, bytes) else { continue };
                        let later = whole[&n].iter().filter(|record| record.pos > after);
                        prop_assert_eq!(found, first_of(later, events, bytes));
                    }
                }
                prop_assert!(hot.bytes() <= MAX_BYTES);
                let inner = hot.inner.lock();
                let kept: u64 = inner.jobs.values().flatten().map(weight).sum();
                prop_assert_eq!((inner.bytes, inner.count), (kept, inner.jobs.values().map(VecDeque::len).sum()));
                prop_assert!(inner.order.len() <= 2 * inner.count + COMPACT_OVER);
            }
        }
    }
}
