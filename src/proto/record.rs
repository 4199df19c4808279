//! The visible records of a job's journal: what observers are sent, in `pos` order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::feature::{Feature, FeatureSet};
use crate::wire::message::StreamKind;
use crate::wire::time::Timestamp;

/// One visible record of a job: an event or its end (§8.1). The payload is JSON once and for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the job's history: 1, 2, 3 …
    pub pos: u64,
    /// What message carries it.
    pub kind: StreamKind,
    /// The feature without which a session is not sent it.
    pub gate: Option<Feature>,
    /// When it was recorded.
    pub at: Timestamp,
    /// The message's payload.
    pub payload: Bytes,
}

/// A run of positions that share a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateRun {
    /// The feature they need.
    pub feature: Feature,
    /// The first position.
    pub first: u64,
    /// The last position.
    pub last: u64,
}

/// What a record weighs beside its payload, in bytes.
pub const RECORD_OVERHEAD_BYTES: u64 = 96;

/// What so many records with payloads of so many bytes weigh, in bytes.
pub fn records_weight(records: u64, payloads: u64) -> u64 {
    payloads + RECORD_OVERHEAD_BYTES * records
}

/// Records are counted for trimming in groups of about this many bytes or [`GROUP_EVENTS`].
const GROUP_BYTES: u64 = 1024 * 1024;
/// See [`GROUP_BYTES`].
const GROUP_EVENTS: u64 = 4_096;

/// A run of positions and what their payloads weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The first position.
    pub first: u64,
    /// The last position.
    pub last: u64,
    /// The bytes of the payloads.
    pub bytes: u64,
}

/// The shape of a job's history: which positions there are, and which of them are gated. Small for any history
/// that is not made to be large, and enough to number it without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    first: u64,
    last: u64,
    ended: bool,
    bytes: u64,
    gates: VecDeque<GateRun>,
    groups: VecDeque<Group>,
}

impl Default for Tail {
    fn default() -> Self {
        Tail { first: 1, last: 0, ended: false, bytes: 0, gates: VecDeque::new(), groups: VecDeque::new() }
    }
}

impl Tail {
    /// The tail that has these parts: its first and last position, whether the last is the job's end, the runs that
    /// share a gate and the groups, both in order.
    pub fn from_parts(
        first: u64,
        last: u64,
        ended: bool,
        gates: impl IntoIterator<Item = GateRun>,
        groups: impl IntoIterator<Item = Group>,
    ) -> Self {
        let groups: VecDeque<Group> = groups.into_iter().collect();
        let bytes = groups.iter().map(|group| group.bytes).sum();
        Tail { first, last, ended, bytes, gates: gates.into_iter().collect(), groups }
    }

    /// The runs that share a gate, in order.
    pub fn gates(&self) -> &VecDeque<GateRun> {
        &self.gates
    }

    /// The groups by which it is trimmed, in order.
    pub fn groups(&self) -> &VecDeque<Group> {
        &self.groups
    }

    /// What the next record is added to: this tail with nothing but its last run and its last group.
    pub fn edge(&self) -> Tail {
        let (gate, group) = (self.gates.back().copied(), self.groups.back().copied());
        Tail::from_parts(self.first, self.last, self.ended, gate, group)
    }

    /// The first position that is still kept; one after the last when none is.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The last position; 0 before the first record.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether the last position is the job's end.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What is kept, in bytes: payloads and what goes with each record.
    pub fn weight(&self) -> u64 {
        records_weight(self.last + 1 - self.first.min(self.last + 1), self.bytes)
    }

    /// Where the history should begin so that it weighs `less` bytes less, or as much less as it can.
    pub fn lighter(&self, less: u64) -> Option<u64> {
        self.overflow(u64::MAX, self.bytes.saturating_sub(less))
    }

    /// Takes a record in.
    pub fn push(&mut self, record: &Record) {
        let bytes = record.payload.len() as u64;
        self.bytes += bytes;
        match self.groups.back_mut() {
            Some(group) if group.bytes < GROUP_BYTES && !record.pos.is_multiple_of(GROUP_EVENTS) => {
                group.last = record.pos;
                group.bytes += bytes;
            }
            Some(_) | None => {
                self.groups.push_back(Group { first: record.pos, last: record.pos, bytes });
            }
        }
        self.last = record.pos;
        self.ended = record.kind != StreamKind::Event;
        let Some(feature) = record.gate else { return };
        match self.gates.back_mut() {
            Some(run) if run.feature == feature && run.last + 1 == record.pos => run.last = record.pos,
            Some(_) | None => self.gates.push_back(GateRun { feature, first: record.pos, last: record.pos }),
        }
    }

    /// Forgets everything before `first`.
    pub fn trim(&mut self, first: u64) {
        self.first = self.first.max(first);
        while self.gates.front().is_some_and(|run| run.last < self.first) {
            self.gates.pop_front();
        }
        while let Some(group) = self.groups.front().filter(|group| group.last < self.first) {
            self.bytes -= group.bytes;
            self.groups.pop_front();
        }
    }

    /// Where the history should begin so that it holds at most so many events and bytes; none while it does.
    /// Whole groups go, and never the newest.
    pub fn overflow(&self, max_events: u64, max_bytes: u64) -> Option<u64> {
        let (mut first, mut bytes) = (self.first, self.bytes);
        for group in self.groups.iter().take(self.groups.len().saturating_sub(1)) {
            if self.last + 1 - first <= max_events && bytes <= max_bytes {
                break;
            }
            first = group.last + 1;
            bytes -= group.bytes;
        }
        (first > self.first).then_some(first)
    }

    /// The ranges of positions in `from..=to` that a session with these features is sent.
    pub fn visible(&self, from: u64, to: u64, features: FeatureSet) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut at = from;
        let hidden = self.gates.partition_point(|run| run.last < from);
        for run in self.gates.range(hidden..).take_while(|run| run.first <= to) {
            if features.has(run.feature) {
                continue;
            }
            if run.first > at {
                ranges.push((at, run.first - 1));
            }
            at = run.last + 1;
        }
        if at <= to {
            ranges.push((at, to));
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What happens to a history: a record with this gate and weight, or a trimming by so many.
    fn happenings() -> impl Strategy<Value = Vec<Result<(Option<Feature>, u32), u64>>> {
        let gate = proptest::option::of(prop_oneof![Just(Feature::Progress), Just(Feature::ResultChunk)]);
        let weight = prop_oneof![8 => 0..50_u32, 1 => 300_000..700_000_u32];
        vec(prop_oneof![9 => (gate, weight).prop_map(Ok), 1 => (0..6_u64).prop_map(Err)], 0..80)
    }

    proptest! {
        #[test]
        fn a_tail_is_what_a_list_of_its_records_says(
            happenings in happenings(), asks in vec((0..90_u64, 0..90_u64, 0..4_u8), 4),
            limits in (0..80_u64, prop_oneof![Just(u64::MAX), 0..3_000_000_u64]),
        ) {
            let (mut tail, mut records, mut first) = (Tail::default(), Vec::<Record>::new(), 1);
            for happening in happenings {
                match happening {
                    Ok((gate, weight)) => {
                        let payload = Bytes::from(vec![0; weight as usize]);
                        records.push(Record { payload, ..record(records.len() as u64 + 1, gate) });
                        tail.push(records.last().unwrap());
                    }
                    Err(by) => {
                        first = (first + by).min(records.len() as u64 + 1);
                        tail.trim(first);
                    }
                }
            }
            let last = records.len() as u64;
            prop_assert_eq!((tail.first(), tail.last(), tail.ended()), (first, last, false));
            for (from, to, bits) in asks {
                let (from, to) = (from.max(first), to.min(last));
                let mut features = FeatureSet::EMPTY;
                for (bit, feature) in [(1, Feature::Progress), (2, Feature::ResultChunk)] {
                    features = if bits & bit == bit { features.and(feature) } else { features };
                }
                let shown: Vec<u64> =
                    tail.visible(from, to, features).into_iter().flat_map(|(from, to)| from..=to).collect();
                let sent = |record: &&Record| {
                    (from..=to).contains(&record.pos) && record.gate.is_none_or(|gate| features.has(gate))
                };
                let expected: Vec<u64> = records.iter().filter(sent).map(|record| record.pos).collect();
                prop_assert_eq!(shown, expected);
            }
            let kept = |from: u64| records.iter().filter(move |record| record.pos >= from);
            let weight = |from: u64| kept(from).map(|record| record.payload.len() as u64).sum::<u64>();
            let (events, bytes) = limits;
            let fits = |from: u64| kept(from).count() as u64 <= events && weight(from) <= bytes;
            match tail.overflow(events, bytes) {
                // Bytes are counted by whole groups: what was trimmed of the oldest still counts.
                None => prop_assert!(fits(first) || weight(first) < 3 * GROUP_BYTES || tail.groups.len() == 1),
                Some(next) => {
                    prop_assert!(first < next && next <= last, "something goes, and never the newest");
                    let whole = first == 1;
                    prop_assert!(!whole || !fits(first), "nothing goes that fits");
                    tail.trim(next);
                    prop_assert_eq!(tail.overflow(events, bytes), None, "once is enough");
                }
            }
        }
    }

    fn record(pos: u64, gate: Option<Feature>) -> Record {
        Record { pos, kind: StreamKind::Event, gate, at: Timestamp::default(), payload: Bytes::new() }
    }

    #[test]
    fn gated_positions_are_left_out_for_those_who_did_not_negotiate_them() {
        let mut tail = Tail::default();
        let gates =
            [None, Some(Feature::Progress), Some(Feature::Progress), None, Some(Feature::ResultChunk), None];
        for (pos, gate) in (1..).zip(gates) {
            tail.push(&record(pos, gate));
        }
        let none = FeatureSet::EMPTY;
        let progress = none.and(Feature::Progress);
        assert_eq!(tail.visible(1, 6, none), [(1, 1), (4, 4), (6, 6)]);
        assert_eq!(tail.visible(1, 6, progress), [(1, 4), (6, 6)]);
        assert_eq!(tail.visible(1, 6, FeatureSet::OFFERED), [(1, 6)]);
        assert_eq!(tail.visible(3, 5, none), [(4, 4)]);
        assert_eq!(tail.visible(2, 3, none), []);
        tail.trim(4);
        assert_eq!((tail.first(), tail.visible(4, 6, none)), (4, vec![(4, 4), (6, 6)]));
    }

    #[test]
    fn a_history_over_its_limits_loses_its_oldest_groups() {
        let mut tail = Tail::default();
        for pos in 1..=20_000 {
            tail.push(&Record { payload: Bytes::from_static(b"0123456789"), ..record(pos, None) });
        }
        assert_eq!(tail.overflow(20_000, 200_000), None);
        let first = tail.overflow(10_000, u64::MAX).unwrap();
        assert!((10_000..15_000).contains(&first), "{first}");
        tail.trim(first);
        assert_eq!(tail.overflow(10_000, u64::MAX), None);
        assert!(tail.overflow(u64::MAX, 50_000).is_some());
        assert_eq!(tail.overflow(0, 0).map(|first| first <= 20_000), Some(true), "the newest group stays");
    }
}
