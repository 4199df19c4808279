//! One session's stream: who is followed, which numbers were given out, what can be replayed (§6.3, §6.5, §8.3).
//!
//! Payloads are not kept here. A stream is a list of extents — runs of one job's positions — so a burst of any
//! size costs one entry, and the same numbers can be sent again by anybody who has the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::record::Tail;
use crate::wire::feature::FeatureSet;
use crate::wire::id::JobId;

/// What a run of numbers stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Consecutive positions of one job's history.
    Run {
        /// The job.
        job: JobId,
        /// The position of the first number.
        first_pos: u64,
        /// How many.
        len: u64,
    },
    /// One event that belongs to this session alone.
    Private {
        /// The job that it is about.
        job: JobId,
        /// The payload of its `job.event`.
        payload: Bytes,
    },
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Piece::Run { len, .. } => *len,
            Piece::Private { .. } => 1,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Piece::Run { .. } => size_of::<Extent>(),
            Piece::Private { payload, .. } => size_of::<Extent>() + payload.len(),
        }
    }
}

/// A run of `event_seq` numbers and what they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The first number.
    pub first_seq: u64,
    /// What it and those after it stand for.
    pub piece: Piece,
}

impl Extent {
    /// The last number.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.piece.len() - 1
    }

    /// The job that it is about.
    pub fn job(&self) -> JobId {
        match &self.piece {
            Piece::Run { job, .. } | Piece::Private { job, .. } => *job,
        }
    }

    /// The part of the extent above `seq`, at most `max` numbers of it.
    fn after(&self, seq: u64, max: u64) -> Extent {
        let skip = (seq + 1).saturating_sub(self.first_seq);
        let piece = match &self.piece {
            Piece::Run { job, first_pos, len } => {
                Piece::Run { job: *job, first_pos: first_pos + skip, len: (len - skip).min(max) }
            }
            Piece::Private { job, payload } => Piece::Private { job: *job, payload: payload.clone() },
        };
        Extent { first_seq: self.first_seq + skip, piece }
    }
}

/// One job that the session follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    /// The last position that was numbered or passed over.
    pub pos: u64,
    /// Whether the session submitted the job; such an attachment is never taken away.
    pub submitter: bool,
    /// Whether the job's end was numbered.
    pub done: bool,
}

/// Where a session is in one job, after numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The job.
    pub job: JobId,
    /// The last position that was numbered or passed over.
    pub pos: u64,
    /// Whether the job's end was numbered.
    pub done: bool,
}

/// What came of numbering: the numbers given out, and where the session is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// What the new numbers stand for.
    pub extents: Vec<Extent>,
    /// The places that moved.
    pub places: Vec<Place>,
}

impl Numbers {
    /// Whether nothing came of it.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty() && self.places.is_empty()
    }
}

impl From<Extent> for Numbers {
    fn from(extent: Extent) -> Self {
        Numbers { extents: vec![extent], places: Vec::new() }
    }
}

/// A session that has lost part of a job it follows: the history was trimmed before it was numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("job {job} no longer has the events after position {pos}; the oldest kept is {oldest}")]
pub struct Lost {
    /// The job.
    pub job: JobId,
    /// The last position that the session got.
    pub pos: u64,
    /// The oldest position that is kept.
    pub oldest: u64,
}

/// A place in the stream that cannot be resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session's stream goes from {oldest} to {newest}")]
pub struct OutOfReach {
    /// The oldest number that can be sent again.
    pub oldest: u64,
    /// The newest number given out.
    pub newest: u64,
}

/// How much of a stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Numbers, at most.
    pub events: u64,
    /// Bytes of bookkeeping, at most.
    pub bytes: usize,
}

/// The numbered stream of one session.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    newest: u64,
    released: u64,
    acked: u64,
    received: u64,
    bytes: usize,
    extents: VecDeque<Extent>,
    attachments: BTreeMap<JobId, Attachment>,
    /// The attachments that are done.
    done: BTreeSet<JobId>,
}

impl Stream {
    /// A stream as it was recorded: what can be sent again, what cannot, and whom it follows.
    pub fn restored(
        released: u64,
        extents: Vec<Extent>,
        attachments: impl IntoIterator<Item = (JobId, Attachment)>,
    ) -> Self {
        let attachments: BTreeMap<JobId, Attachment> = attachments.into_iter().collect();
        Stream {
            newest: extents.last().map_or(released, Extent::last_seq),
            released,
            acked: 0,
            received: released,
            bytes: extents.iter().map(|extent| extent.piece.bytes()).sum(),
            extents: extents.into(),
            done: attachments.iter().filter(|(_, a)| a.done).map(|(job, _)| *job).collect(),
            attachments,
        }
    }

    /// The newest number given out; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// The highest number that the client acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// The highest number that the client is known to have: acknowledged, or named in a resume.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The client resumed after a number: it has everything up to it, but may still ask for it again (§6.5).
    pub fn resumed_after(&mut self, seq: u64) {
        self.received = self.received.max(seq.min(self.newest));
    }

    /// The highest number that can no longer be sent again.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// What the numbers that can be sent again take to remember, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The attachment to a job, if it is or was followed.
    pub fn attachment(&self, job: JobId) -> Option<Attachment> {
        self.attachments.get(&job).copied()
    }

    /// The jobs that are still followed.
    pub fn followed(&self) -> impl Iterator<Item = JobId> {
        self.attachments.iter().filter(|(_, a)| !a.done).map(|(job, _)| *job)
    }

    /// Every job that the stream still needs: followed, or part of what can be sent again.
    pub fn jobs(&self) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = self.followed().chain(self.extents.iter().map(Extent::job)).collect();
        jobs.sort_unstable();
        jobs.dedup();
        jobs
    }

    /// How many jobs are still followed.
    pub fn followed_count(&self) -> usize {
        self.attachments.len() - self.done.len()
    }

    /// Follows a job from after `pos`. A second attachment to a job is the same one, moved to `pos`; a submitter
    /// stays one. At most `remembered` ended attachments are kept beside those that are followed; those that had to go
    /// are returned.
    pub fn attach(&mut self, job: JobId, pos: u64, submitter: bool, remembered: usize) -> Vec<JobId> {
        let attachment = self.attachments.entry(job).or_insert(Attachment { pos, submitter, done: false });
        attachment.pos = pos;
        attachment.submitter |= submitter;
        attachment.done = false;
        self.done.remove(&job);
        let mut forgotten = Vec::new();
        while self.done.len() > remembered
            && let Some(old) = self.done.pop_first()
        {
            self.attachments.remove(&old);
            forgotten.push(old);
        }
        forgotten
    }

    /// Makes the session a submitter of a job that it follows or followed.
    pub fn steer(&mut self, job: JobId) {
        if let Some(attachment) = self.attachments.get_mut(&job) {
            attachment.submitter = true;
        }
    }

    /// Stops following a job, unless the session submitted it. Says whether anything changed.
    pub fn detach(&mut self, job: JobId) -> bool {
        let observed = self.attachments.get(&job).is_some_and(|a| !a.submitter);
        if observed {
            self.done.remove(&job);
        }
        observed && self.attachments.remove(&job).is_some()
    }

    /// Numbers up to `max` new records of a job that is followed (§8.3), leaving out what was not negotiated.
    /// Says whether more are waiting.
    ///
    /// # Errors
    /// [`Lost`] when the job's history was trimmed past the session's place in it.
    pub fn number(
        &mut self,
        job: JobId,
        tail: &Tail,
        features: FeatureSet,
        max: u64,
        out: &mut Numbers,
    ) -> Result<bool, Lost> {
        let Some(attachment) = self.attachments.get_mut(&job).filter(|a| !a.done) else { return Ok(false) };
        if attachment.pos + 1 < tail.first() {
            return Err(Lost { job, pos: attachment.pos, oldest: tail.first() });
        }
        if tail.last() <= attachment.pos {
            // Who begins after the end of a job that is over has nothing to wait for.
            if tail.ended() {
                attachment.done = true;
                self.done.insert(job);
                out.places.push(Place { job, pos: attachment.pos, done: true });
            }
            return Ok(false);
        }
        if max == 0 {
            return Ok(true);
        }
        let to = tail.last().min(attachment.pos.saturating_add(max));
        let ranges = tail.visible(attachment.pos + 1, to, features);
        attachment.pos = to;
        attachment.done = tail.ended() && to == tail.last();
        self.done.extend(attachment.done.then_some(job));
        out.places.push(Place { job, pos: to, done: attachment.done });
        for (first_pos, last_pos) in ranges {
            out.extents.push(self.give(Piece::Run { job, first_pos, len: last_pos - first_pos + 1 }));
        }
        Ok(to < tail.last())
    }

    /// Numbers a record that was numbered before once more: the repeated end of a job (decision 7).
    pub fn repeat(&mut self, job: JobId, pos: u64) -> Extent {
        self.give(Piece::Run { job, first_pos: pos, len: 1 })
    }

    /// Numbers an event of this session alone.
    pub fn private(&mut self, job: JobId, payload: Bytes) -> Extent {
        self.give(Piece::Private { job, payload })
    }

    fn give(&mut self, piece: Piece) -> Extent {
        let extent = Extent { first_seq: self.newest + 1, piece };
        self.newest = extent.last_seq();
        if let (Some(Extent { piece: Piece::Run { job, first_pos, len }, .. }), Piece::Run { .. }) =
            (self.extents.back_mut(), &extent.piece)
            && let Piece::Run { job: next, first_pos: next_pos, len: more } = extent.piece
            && *job == next
            && *first_pos + *len == next_pos
        {
            *len += more;
            return extent;
        }
        self.bytes += extent.piece.bytes();
        self.extents.push_back(extent.clone());
        extent
    }

    /// The numbers above `seq`, at most `max` of them, as extents.
    pub fn after(&self, seq: u64, max: u64) -> Vec<Extent> {
        let mut slices = Vec::new();
        let (mut seq, mut left) = (seq, max);
        let start = self.extents.partition_point(|extent| extent.last_seq() <= seq);
        for extent in self.extents.range(start..) {
            if left == 0 {
                break;
            }
            let slice = extent.after(seq, left);
            seq = slice.last_seq();
            left -= slice.piece.len();
            slices.push(slice);
        }
        slices
    }

    /// The number after which a client goes on that has these positions of jobs: the last one before what it has not
    /// seen. What it saw beyond that number it need not be sent again.
    pub fn unseen_after(&self, seen: &BTreeMap<JobId, u64>) -> u64 {
        if self.released > self.received {
            // Some of it had to go before the client said that it has it.
            return self.received;
        }
        let unseen = self.extents.iter().find_map(|extent| {
            let has = match &extent.piece {
                Piece::Run { job, first_pos, len } => {
                    seen.get(job).map_or(0, |pos| pos.saturating_add(1).saturating_sub(*first_pos).min(*len))
                }
                Piece::Private { .. } => 0,
            };
            (has < extent.piece.len()).then(|| extent.first_seq + has - 1)
        });
        unseen.unwrap_or(self.newest)
    }

    /// Takes an acknowledgement (§6.5): what it covers is free to go. An older one than before changes nothing.
    ///
    /// # Errors
    /// [`OutOfReach`] when it acknowledges a number that was never given out.
    pub fn ack(&mut self, seq: u64) -> Result<(), OutOfReach> {
        if seq > self.newest {
            return Err(OutOfReach { oldest: self.released + 1, newest: self.newest });
        }
        self.acked = self.acked.max(seq);
        self.received = self.received.max(seq);
        Ok(())
    }

    /// Frees what is acknowledged, and the oldest numbers until the window holds; but none after `sent`: those are
    /// still on their way, also to a client that acknowledges what it had from an earlier connection. Only counts and
    /// bytes force it, never age (§6.5).
    pub fn evict(&mut self, window: Window, sent: u64) {
        self.release(self.newest.saturating_sub(window.events).max(self.acked).min(sent));
        while self.bytes > window.bytes
            && let Some(extent) = self.extents.front().filter(|extent| extent.last_seq() <= sent)
        {
            self.release(extent.last_seq());
        }
    }

    fn release(&mut self, through: u64) {
        self.released = self.released.max(through);
        while let Some(extent) = self.extents.front() {
            if extent.last_seq() <= through {
                self.bytes -= extent.piece.bytes();
                self.extents.pop_front();
                continue;
            }
            if extent.first_seq <= through {
                let rest = extent.after(through, u64::MAX);
                self.extents[0] = rest;
            }
            break;
        }
    }

    /// Checks that everything after `seq` can be sent again (§6.3). `oldest_of` tells the first position that is
    /// kept of a job, or none when the job is gone.
    ///
    /// # Errors
    /// [`OutOfReach`] with what can be.
    pub fn reaches(&self, seq: u64, oldest_of: impl Fn(JobId) -> Option<u64>) -> Result<(), OutOfReach> {
        let mut oldest = self.released + 1;
        for extent in &self.extents {
            let Piece::Run { job, first_pos, .. } = &extent.piece else { continue };
            match oldest_of(*job) {
                Some(kept) if kept <= *first_pos => {}
                Some(kept) => {
                    oldest = oldest.max((extent.first_seq + (kept - first_pos)).min(extent.last_seq() + 1))
                }
                None => oldest = oldest.max(extent.last_seq() + 1),
            }
        }
        for (job, attachment) in self.attachments.iter().filter(|(_, a)| !a.done) {
            if oldest_of(*job).is_none_or(|kept| kept > attachment.pos + 1) {
                oldest = oldest.max(self.newest + 2);
            }
        }
        if seq > self.newest || seq + 1 < oldest {
            return Err(OutOfReach { oldest: oldest.min(self.newest + 1), newest: self.newest });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;
    use crate::wire::message::StreamKind;
    use crate::wire::time::Timestamp;

    const ALL: FeatureSet = FeatureSet::OFFERED;

    fn job(n: u128) -> JobId {
        JobId::new(1, n)
    }

    fn tail(events: u64, ended: bool) -> Tail {
        let mut tail = Tail::default();
        for pos in 1..=events {
            let kind = if ended && pos == events { StreamKind::Result } else { StreamKind::Event };
            tail.push(&Record { pos, kind, gate: None, at: Timestamp::default(), payload: Bytes::new() });
        }
        tail
    }

    fn number(stream: &mut Stream, n: u128, tail: &Tail) -> Vec<Extent> {
        let mut out = Numbers::default();
        stream.number(job(n), tail, ALL, 100, &mut out).unwrap();
        out.extents
    }

    #[test]
    fn numbers_are_the_sessions_and_a_burst_is_one_extent() {
        let mut stream = Stream::default();
        stream.attach(job(1), 0, true, 8);
        stream.attach(job(2), 3, false, 8);
        number(&mut stream, 1, &tail(2, false));
        number(&mut stream, 2, &tail(5, true));
        number(&mut stream, 1, &tail(3, false));
        number(&mut stream, 1, &tail(4, true));
        let spans: Vec<_> = stream.after(0, 100).iter().map(|e| (e.first_seq, e.last_seq())).collect();
        assert_eq!(spans, [(1, 2), (3, 4), (5, 6)], "a run that goes on is one extent");
        assert_eq!(stream.followed_count(), 0, "both jobs have ended");
        assert_eq!(number(&mut stream, 1, &tail(4, true)), [], "an end is numbered once");
    }

    #[test]
    fn no_room_for_numbers_is_not_the_end() {
        let mut stream = Stream::default();
        stream.attach(job(1), 0, true, 8);
        assert_eq!(stream.number(job(1), &tail(2, true), ALL, 0, &mut Numbers::default()), Ok(true));
        assert_eq!(number(&mut stream, 1, &tail(2, true)).len(), 1, "the end is still to come");
    }

    #[test]
    fn a_slice_begins_and_ends_inside_extents() {
        let mut stream = Stream::default();
        stream.attach(job(1), 0, true, 8);
        number(&mut stream, 1, &tail(10, false));
        let slice = stream.after(3, 4);
        assert_eq!(slice, [Extent { first_seq: 4, piece: Piece::Run { job: job(1), first_pos: 4, len: 4 } }]);
        assert_eq!(stream.after(10, 4), []);
    }

    #[test]
    fn acks_free_and_resume_reaches_back_only_to_what_is_left() {
        let mut stream = Stream::default();
        stream.attach(job(1), 0, true, 8);
        number(&mut stream, 1, &tail(10, false));
        stream.ack(4).unwrap();
        stream.ack(2).unwrap();
        let all = |_: JobId| Some(1);
        let roomy = Window { events: u64::MAX, bytes: usize::MAX };
        stream.evict(roomy, 1);
        assert_eq!(stream.reaches(1, all), Ok(()), "what is on its way again stays");
        stream.evict(roomy, 10);
        assert_eq!(stream.reaches(4, all), Ok(()));
        assert_eq!(stream.reaches(10, all), Ok(()), "a client that is caught up is welcome");
        assert_eq!(stream.reaches(3, all), Err(OutOfReach { oldest: 5, newest: 10 }));
        for beyond in [11, u64::MAX] {
            assert_eq!(stream.reaches(beyond, all), Err(OutOfReach { oldest: 5, newest: 10 }));
        }
        assert!(stream.ack(11).is_err());
        stream.evict(Window { events: 2, bytes: usize::MAX }, u64::MAX);
        assert_eq!(stream.reaches(7, all), Err(OutOfReach { oldest: 9, newest: 10 }));
        assert_eq!(stream.after(8, 9).len(), 1);
    }

    #[test]
    fn a_trimmed_history_is_never_passed_over_silently() {
        let mut stream = Stream::default();
        stream.attach(job(1), 0, true, 8);
        let mut trimmed = tail(10, false);
        number(&mut stream, 1, &tail(2, false));
        trimmed.trim(5);
        let lost = stream.number(job(1), &trimmed, ALL, 10, &mut Numbers::default());
        assert_eq!(lost, Err(Lost { job: job(1), pos: 2, oldest: 5 }));
        assert!(stream.reaches(2, |_| Some(5)).is_err(), "unnumbered events are gone");
        assert!(stream.reaches(0, |_| None).is_err());
    }

    #[test]
    fn subscribing_twice_is_one_attachment_and_a_submitter_cannot_be_detached() {
        let mut stream = Stream::default();
        stream.attach(job(1), 5, true, 8);
        stream.attach(job(1), 0, false, 8);
        assert!(!stream.detach(job(1)));
        assert_eq!(number(&mut stream, 1, &tail(3, false)).len(), 1);
        assert_eq!(number(&mut stream, 1, &tail(3, false)).len(), 0);
        stream.attach(job(2), 0, false, 8);
        assert!(stream.detach(job(2)));
        assert_eq!(number(&mut stream, 2, &tail(3, false)), []);
    }

    #[test]
    fn bytes_bound_the_bookkeeping() {
        let mut stream = Stream::default();
        for _ in 0..100 {
            stream.private(job(1), Bytes::from(vec![0; 1000]));
        }
        stream.evict(Window { events: u64::MAX, bytes: 10_000 }, u64::MAX);
        assert!(stream.bytes <= 10_000 && stream.released() > 85, "{}", stream.released());
    }
}
