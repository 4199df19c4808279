//! The promises of the trait, one by one.

use arcpd::proto::idempotency::Keyed;
use arcpd::proto::job::Cancellation;
use arcpd::proto::record::Record;
use arcpd::proto::stream::{Attachment, Extent, Numbers, Piece, Place};
use arcpd::store::{Batch, Epoch, Full, JobRow, Op, Ticket};
use arcpd::wire::feature::{Feature, FeatureSet};
use arcpd::wire::job::JobStatus;
use arcpd::wire::message::StreamKind;
use bytes::Bytes;

use crate::world::{
    World, accepted, append, at, ended, job, query, record, restored, session, spec, started, who,
};

pub(crate) async fn a_batch_is_applied_whole_and_in_order(world: World) {
    let first = world.submit(vec![accepted(spec(1)), append(1, 1), started(1, 1, 2), append(1, 2)]);
    let end = Record { kind: StreamKind::Result, ..record(3, None, 1) };
    let over = ended(1, JobStatus::Success, 9);
    let second = world.submit(vec![Op::Append { job: job(1), record: end }, over]);
    assert!(first < second);
    world.store.applied(second).await.unwrap();
    let row = world.store.job(job(1)).await.unwrap().unwrap();
    assert_eq!((row.status, row.ended_at), (JobStatus::Success, Some(at(9))));
    assert_eq!((row.tail.first(), row.tail.last(), row.tail.ended()), (1, 3, true));
    assert_eq!(format!("{:?}", row.spec), format!("{:?}", spec(1)));
    assert_eq!(world.positions(job(1), 0, 9, 99).await, [1, 2, 3]);
    assert!(world.store.job(job(2)).await.unwrap().is_none());
    world.put(vec![append(2, 1), Op::RemoveJob(job(2)), Op::RemoveSession(session(2))]).await;
    assert!(
        world.store.job(job(2)).await.unwrap().is_none(),
        "what is not there is not made by being written to"
    );
}

pub(crate) async fn tickets_grow_and_a_stale_epoch_is_refused(world: World) {
    let mut last = Ticket::default();
    assert_eq!(world.store.applied(last).await, Ok(()), "nothing to wait for");
    for n in 1..100 {
        let ticket = world.submit(vec![accepted(spec(n))]);
        assert!(last < ticket && ticket != Ticket::REFUSED);
        last = ticket;
    }
    let own = world.store.epoch();
    for epoch in [Epoch(own.0 - 1), Epoch(own.0 + 1)] {
        let ticket = world.store.submit(Batch { epoch, ops: vec![Op::RemoveJob(job(1))] });
        assert_eq!(ticket, Ticket::REFUSED);
        assert!(world.store.applied(ticket).await.is_err());
    }
    assert_eq!(world.store.applied(last).await, Ok(()));
    assert!(world.store.job(job(1)).await.unwrap().is_some());
}

pub(crate) async fn a_listing_is_filtered_and_belongs_to_one_principal(world: World) {
    let mut ops: Vec<Op> = (1..=6).map(|n| accepted(spec(n))).collect();
    ops.push(accepted(arcpd::proto::submit::Spec { principal: who("bob"), ..spec(7) }));
    ops.push(accepted(arcpd::proto::submit::Spec { agent: "echo@2".parse().unwrap(), ..spec(8) }));
    ops.push(accepted(arcpd::proto::submit::Spec { agent: "sum@1".parse().unwrap(), ..spec(9) }));
    ops.extend([
        ended(1, JobStatus::Success, 1),
        started(2, 1, 2),
        ended(3, JobStatus::Cancelled, 3),
        append(2, 1),
    ]);
    world.put(ops).await;
    for (filter, expected) in [
        ("{}", vec![9, 8, 6, 5, 4, 3, 2, 1]),
        (r#"{"filter":{"status":["success","cancelled"]}}"#, vec![3, 1]),
        (r#"{"filter":{"status":"timed_out"}}"#, vec![]),
        (r#"{"filter":{"agent":"echo"}}"#, vec![8, 6, 5, 4, 3, 2, 1]),
        (r#"{"filter":{"agent":"echo@2"}}"#, vec![8]),
        (
            r#"{"filter":{"created_after":"1970-01-01T00:00:02Z","created_before":"1970-01-01T00:00:05Z"}}"#,
            vec![4, 3],
        ),
        (
            r#"{"filter":{"status":"pending","agent":"echo@1","created_after":"1970-01-01T00:00:04Z"}}"#,
            vec![6, 5],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(job).collect();
        assert_eq!(world.list(query(filter)).await, (expected, false), "{filter}");
    }
    let (page, _) = world.store.list(query("{}")).await.unwrap();
    let row = page.iter().find(|row| row.summary.job_id == job(2)).unwrap();
    let expected = arcpd::proto::listing::listed(&spec(2), JobStatus::Running, None, 1);
    assert_eq!(row, &expected);
    let of = |principal| arcpd::proto::listing::Query { principal, ..query("{}") };
    assert_eq!(world.list(of(Some(who("bob")))).await, (vec![job(7)], false));
    assert_eq!(world.list(of(None)).await.0, [9, 8, 7, 6, 5, 4, 3, 2, 1].map(job));
    let (everybody, _) = world.store.list(of(None)).await.unwrap();
    assert_eq!(everybody[2].principal, who("bob"));
    assert_eq!((everybody[6].ended_at, everybody[7].ended_at), (Some(at(3)), None), "of jobs 3 and 2");
}

pub(crate) async fn pages_do_not_shift_when_jobs_come(world: World) {
    world.put((1..=7).map(|n| accepted(spec(n))).collect()).await;
    let mut query = query(r#"{"limit":3}"#);
    let (mut seen, mut more) = (Vec::new(), true);
    for n in 10.. {
        if !more {
            break;
        }
        let (page, follows) = world.list(query.clone()).await;
        query.before = page.last().copied();
        seen.extend(page);
        more = follows;
        world.put(vec![accepted(spec(n))]).await;
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1].map(job));
}

pub(crate) async fn records_are_bounded_by_count_and_bytes(world: World) {
    world.put([accepted(spec(1))].into_iter().chain((1..=9).map(|pos| append(1, pos))).collect()).await;
    for (after, events, bytes, expected) in [
        (0, 3, 1_000, vec![1, 2, 3]),
        (2, 100, 35, vec![3, 4, 5]),
        (2, 100, 30, vec![3, 4, 5]),
        (7, 100, 1_000, vec![8, 9]),
        (4, 100, 1, vec![5]),
        (4, 0, 100, vec![]),
        (9, 100, 100, vec![]),
        (u64::MAX - 1, 100, 100, vec![]),
    ] {
        assert_eq!(world.positions(job(1), after, events, bytes).await, expected, "{after} {events} {bytes}");
    }
    assert_eq!(world.store.records(job(1), 4, 1, 0).await.unwrap(), [record(5, None, 10)]);
    assert_eq!(world.positions(job(2), 0, 9, 9).await, [0; 0]);
}

pub(crate) async fn what_is_trimmed_is_gone_and_the_rest_stays(world: World) {
    let gate = |pos: u64| [Some(Feature::Progress), None, Some(Feature::ResultChunk)][(pos % 3) as usize];
    let append = |pos| Op::Append { job: job(1), record: record(pos, gate(pos), 10) };
    world.put(std::iter::once(accepted(spec(1))).chain((1..=9_000).map(append)).collect()).await;
    world.put(vec![Op::Trim { job: job(1), first: 5_000 }, Op::Trim { job: job(1), first: 100 }]).await;
    assert_eq!(world.positions(job(1), 0, 9, 99).await, [0; 0], "not from a gap on");
    assert_eq!(world.positions(job(1), 4_998, 9, 99).await, [0; 0]);
    assert_eq!(world.positions(job(1), 4_999, 2, 99).await, [5_000, 5_001]);
    let row = world.store.job(job(1)).await.unwrap().unwrap();
    assert_eq!((row.tail.first(), row.tail.last()), (5_000, 9_000));
    assert_eq!(row.tail.visible(5_000, 5_004, FeatureSet::EMPTY), [(5_002, 5_002)]);
    world.put(vec![append(9_001), Op::Trim { job: job(1), first: 9_002 }, append(9_002)]).await;
    assert_eq!(world.positions(job(1), 9_001, 9, 99).await, [9_002]);
    let row = world.store.job(job(1)).await.unwrap().unwrap();
    assert_eq!((row.tail.first(), row.tail.last(), row.tail.gates().len()), (9_002, 9_002, 1));
}

pub(crate) async fn a_removed_job_is_gone(world: World) {
    let all = |n| std::iter::once(accepted(spec(n))).chain((1..=5_000).map(move |pos| append(n, pos)));
    world.put(all(1).chain(all(2)).collect()).await;
    world.put(vec![Op::RemoveJob(job(1)), accepted(spec(3)), append(3, 1)]).await;
    assert!(world.store.job(job(1)).await.unwrap().is_none());
    assert_eq!(world.positions(job(1), 0, 9, 99).await, [0; 0]);
    assert_eq!(world.list(query("{}")).await.0, [job(3), job(2)]);
    for pos in 2..20 {
        // The old job is erased bit by bit meanwhile.
        world.put(vec![append(3, pos)]).await;
    }
    assert_eq!(world.positions(job(2), 4_990, 99, 999).await, (4_991..=5_000).collect::<Vec<_>>());
    assert_eq!(world.positions(job(3), 0, 99, 999).await, (1..20).collect::<Vec<_>>());
    let world = world.reopened();
    assert_eq!(world.list(query("{}")).await.0, [job(3), job(2)]);
}

pub(crate) fn run(first_seq: u64, n: u64, first_pos: u64, len: u64) -> Extent {
    Extent { first_seq, piece: Piece::Run { job: job(n), first_pos, len } }
}

pub(crate) fn opened(n: u64) -> Op {
    let features = FeatureSet::EMPTY.and(Feature::Ack).and(Feature::ResultChunk);
    Op::SessionOpened { session: session(n), principal: who("alice"), features, token: [7; 32] }
}

pub(crate) async fn extents_continue_and_move_what_is_attached(world: World) {
    let attached = |n, pos, submitter| Op::Attached { session: session(1), job: job(n), pos, submitter };
    let place = |n, pos| Place { job: job(n), pos, done: pos == 14 };
    let numbered =
        |extents, places| Op::Numbered { session: session(1), numbers: Numbers { extents, places } };
    let at = |pos, submitter| Attachment { pos, submitter, done: pos == 14 };
    let private = Extent { first_seq: 8, piece: Piece::Private { job: job(1), payload: Bytes::from("{}") } };
    world
        .put(vec![
            opened(1),
            attached(1, 0, true),
            attached(2, 4, false),
            numbered(vec![run(1, 1, 1, 2)], vec![place(1, 2)]),
        ])
        .await;
    let places = vec![place(1, 3), place(2, 8)];
    world.put(vec![numbered(vec![run(3, 1, 3, 1), run(4, 2, 5, 4), private.clone()], places)]).await;
    let last = numbered(vec![run(10, 2, 10, 5), run(15, 9, 1, 1)], vec![place(2, 14), place(9, 1)]);
    world.put(vec![numbered(vec![run(9, 2, 9, 1)], vec![place(2, 9)]), last]).await;
    let found = &world.store.restore().unwrap().sessions[0];
    let expected = [run(1, 1, 1, 3), run(4, 2, 5, 4), private.clone(), run(9, 2, 9, 6), run(15, 9, 1, 1)];
    assert_eq!(found.extents, expected);
    let expected_places = [(job(1), at(3, true)), (job(2), at(14, false))];
    assert_eq!(found.attached, expected_places.into(), "job 9 is not followed");
    world.put(vec![Op::Released { session: session(1), through: 5 }, attached(1, 1, false)]).await;
    let found = &world.store.restore().unwrap().sessions[0];
    assert_eq!((found.released, &found.extents[..]), (5, &expected[1..]), "part of an extent keeps it");
    assert_eq!(found.attached[&job(1)], at(1, true), "who submitted a job stays its submitter");
    let passed_over = Place { job: job(1), pos: 2, done: true };
    world.put(vec![numbered(Vec::new(), vec![passed_over])]).await;
    assert!(world.store.restore().unwrap().sessions[0].attached[&job(1)].done);
    world.put(vec![attached(1, 1, false)]).await;
    assert_eq!(
        world.store.restore().unwrap().sessions[0].attached[&job(1)],
        at(1, true),
        "not done any more"
    );
    let detached = Op::Detached { session: session(1), job: job(2) };
    let all = Op::Released { session: session(1), through: 15 };
    let more = |extent| numbered(vec![extent], Vec::new());
    world.put(vec![detached, all, more(run(16, 9, 2, 1)), more(run(17, 9, 3, 2))]).await;
    let tokens = vec![[1; 32], [2; 32]];
    world.put(vec![Op::Tokens { session: session(1), hashes: tokens.clone() }, opened(2)]).await;
    let found = world.store.restore().unwrap().sessions.into_iter().find(|row| row.id == session(1)).unwrap();
    assert_eq!((found.extents, found.released), (vec![run(16, 9, 2, 3)], 15));
    assert_eq!((found.attached, found.tokens), ([(job(1), at(1, true))].into(), tokens));
    world.put(vec![Op::RemoveSession(session(1)), more(run(19, 9, 5, 1))]).await;
    let left: Vec<_> = world.store.restore().unwrap().sessions.into_iter().map(|row| row.id).collect();
    assert_eq!(left, [session(2)]);
}

pub(crate) async fn what_was_put_is_found_at_the_next_start(world: World) {
    assert_eq!(restored(&*world.store), format!("{:#?}", arcpd::store::Restored::default()));
    for n in [3, 1, 2, 4] {
        let gated = Op::Append { job: job(n), record: record(2, Some(Feature::Progress), 5) };
        world.put(vec![accepted(spec(n)), append(n, 1), gated, append(n, 3)]).await;
    }
    world.put(vec![ended(2, JobStatus::Error, 9), ended(3, JobStatus::Error, 8)]).await;
    let cancellation = Cancellation { reason: Some("why".into()) };
    world
        .put(vec![started(1, 1, 4), Op::JobCancelling { job: job(1), cancellation: cancellation.clone() }])
        .await;
    world.put(vec![started(4, 1, 5), started(4, 2, 6)]).await;
    let places = vec![Place { job: job(1), pos: 3, done: false }];
    let numbers = Numbers { extents: vec![run(1, 1, 1, 3)], places };
    let numbered = Op::Numbered { session: session(1), numbers };
    let attached = Op::Attached { session: session(1), job: job(1), pos: 0, submitter: true };
    let closed = |n, closed| Op::Closed { session: session(n), closed };
    let released = Op::Released { session: session(2), through: 7 };
    world.put(vec![opened(1), opened(2), attached, numbered, released]).await;
    world.put(vec![closed(1, true), closed(2, true), closed(2, false)]).await;
    let (epoch, before) = (world.store.epoch(), restored(&*world.store));
    let world = world.reopened();
    let found = world.store.restore().unwrap();
    let begun = |row: &JobRow| (row.spec.id, row.attempts, row.started_at, row.cancellation.clone());
    let expected = [(job(1), 1, Some(at(4)), Some(cancellation)), (job(4), 2, Some(at(5)), None)];
    assert_eq!(found.unfinished.iter().map(begun).collect::<Vec<_>>(), expected);
    assert_eq!(
        found.finished.iter().map(|row| row.job).collect::<Vec<_>>(),
        [job(3), job(2)],
        "by their ends"
    );
    for row in &found.finished {
        let whole = world.store.job(row.job).await.unwrap().unwrap();
        assert_eq!(row.weight, whole.spec.weight() + whole.tail.weight());
        assert_eq!(row.key, Keyed::of(&whole.spec));
    }
    assert!(found.finished.iter().any(|row| row.key.is_some()));
    let closed = |n| found.sessions.iter().find(|row| row.id == session(n)).unwrap().closed;
    assert_eq!((closed(1), closed(2)), (true, false));
    assert_eq!(restored(&*world.store), before);
    assert_eq!(world.store.epoch() > epoch, world.dir.is_some(), "each start is an epoch");
}

pub(crate) async fn a_full_store_takes_no_new_work(world: World) {
    let world = world.bounded(1_000_000);
    assert_eq!(world.store.admits(), Ok(()));
    let large = |pos| Op::Append { job: job(1), record: record(pos, None, 100_000) };
    world.put(std::iter::once(accepted(spec(1))).chain((1..=10).map(large)).collect()).await;
    let refused = world.store.admits();
    assert!(matches!(refused, Err(Full::Bytes { bytes: 1_000_000.., max: 1_000_000 })), "{refused:?}");
    world.put(vec![large(11)]).await;
    assert_eq!(world.positions(job(1), 10, 1, 0).await, [11], "what was begun goes on");
    world.put(vec![Op::RemoveJob(job(1))]).await;
    assert_eq!(world.store.admits(), Ok(()));
}
