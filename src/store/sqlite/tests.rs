//! What cannot be provoked from outside: a full disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::proto::submit::{Order, Spec};
use crate::store::Op;
use crate::wire::limits::Limits;
use crate::wire::message::StreamKind;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

fn accepted(id: JobId) -> Op {
    let submit = serde_json::from_str(r#"{"agent":"a"}"#).unwrap();
    let order = Order::new(submit, None, &Limits::default()).unwrap();
    let (agent, created_at) = (order.asked.clone(), Timestamp::default());
    Op::JobAccepted { spec: Arc::new(Spec { id, principal: Principal::local(), agent, order, created_at }) }
}

fn append(job: JobId, pos: u64) -> Op {
    let payload = Bytes::from(vec![b'x'; 100_000]);
    Op::Append {
        job,
        record: Record { pos, kind: StreamKind::Event, gate: None, at: Timestamp::default(), payload },
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_acknowledges_nothing_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::UNBOUNDED;
    let store = SqliteStore::open(&dir.path().join("store.db"), options).unwrap();
    let submit = |ops| store.submit(Batch { epoch: store.epoch(), ops });
    let job = JobId::new(1, 1);
    store.applied(submit(vec![accepted(job), append(job, 1)])).await.unwrap();
    store.shared.page_limit.store(60, Ordering::Relaxed);
    let tickets: Vec<Ticket> = (2..=40).map(|pos| submit(vec![append(job, pos)])).collect();
    let refused = async {
        while store.admits().is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    let why = store.admits().unwrap_err();
    assert!(matches!(why, Full::Failing { .. }) && why.to_string().contains("full"), "{why}");
    let failing = async {
        while !store.health().failing {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failing).await.unwrap();
    assert!(store.health().queue_batches > 0 && store.health().commits.failed.get() > 0);
    let acknowledged = tickets.iter().filter(|ticket| store.shared.settled(**ticket).is_some()).count();
    assert!(acknowledged < tickets.len());
    let stored = store.job(job).await.unwrap().unwrap().tail.last();
    assert!(stored > acknowledged as u64, "what is acknowledged is stored");
    // Meanwhile more of what waits may have found room.
    assert!(store.records(job, 0, 99, usize::MAX).await.unwrap().len() as u64 >= stored);
    store.shared.page_limit.store(u32::MAX.into(), Ordering::Relaxed);
    tokio::time::timeout(Duration::from_secs(60), store.applied(tickets[38])).await.unwrap().unwrap();
    assert_eq!(store.admits(), Ok(()));
    assert_eq!((store.health().failing, store.health().queue_batches), (false, 0));
    assert_eq!(store.records(job, 0, 99, usize::MAX).await.unwrap().len(), 40);
}

#[tokio::test]
async fn what_is_removed_makes_room_for_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { durability: Durability::Process, ..SqliteOptions::UNBOUNDED };
    let store = SqliteStore::open(&dir.path().join("store.db"), options).unwrap();
    let submit = |ops| store.submit(Batch { epoch: store.epoch(), ops });
    let (old, new) = (JobId::new(1, 1), JobId::new(2, 2));
    store
        .applied(submit(std::iter::once(accepted(old)).chain((1..=20).map(|pos| append(old, pos))).collect()))
        .await
        .unwrap();
    store.applied(submit(vec![Op::RemoveJob(old)])).await.unwrap();
    store.shared.page_limit.store(1, Ordering::Relaxed);
    let ticket = submit(std::iter::once(accepted(new)).chain((1..=15).map(|pos| append(new, pos))).collect());
    tokio::time::timeout(Duration::from_secs(60), store.applied(ticket)).await.unwrap().unwrap();
    assert_eq!(store.job(new).await.unwrap().unwrap().tail.last(), 15);
}

#[tokio::test]
async fn a_removal_behind_what_does_not_fit_goes_ahead_in_the_reserve() {
    const RESERVE: u64 = 3_000_000;
    let dir = tempfile::tempdir().unwrap();
    let options =
        SqliteOptions { durability: Durability::Process, reserve_bytes: RESERVE, ..SqliteOptions::UNBOUNDED };
    let path = dir.path().join("store.db");
    let store = SqliteStore::open(&path, options).unwrap();
    let submit = |ops| store.submit(Batch { epoch: store.epoch(), ops });
    let (old, new) = (JobId::new(1, 1), JobId::new(2, 2));
    let all = std::iter::once(accepted(old)).chain((1..=60).map(|pos| append(old, pos)));
    store.applied(submit(all.collect())).await.unwrap();
    let reserve = schema::beside(&path, ".reserve");
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), RESERVE);
    // The disk: what the file has now, and the reserve.
    let pages = Pages::of(&connect(&path).unwrap()).unwrap().used() / 16_384;
    store.shared.page_limit.store(pages + RESERVE / 16_384, Ordering::Relaxed);
    // One batch, so certainly one transaction: more than fits, then the removal that makes room.
    let first = std::iter::once(accepted(new)).chain((1..=20).map(|pos| append(new, pos)));
    submit(first.chain([Op::RemoveJob(old)]).collect());
    let ticket = submit((21..=30).map(|pos| append(new, pos)).collect());
    tokio::time::timeout(Duration::from_secs(60), store.applied(ticket)).await.unwrap().unwrap();
    assert_eq!(store.records(new, 0, 99, usize::MAX).await.unwrap().len(), 30);
    assert!(store.job(old).await.unwrap().is_none());
    // What the old job had goes back to the disk, so that there is room for a reserve, and for new work, again.
    let admitted = async {
        while store.admits().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), admitted).await.unwrap();
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), RESERVE);
}

#[tokio::test]
async fn without_a_reserve_new_work_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    // No disk is that large.
    let options = SqliteOptions {
        durability: Durability::Process,
        reserve_bytes: u64::MAX / 2,
        ..SqliteOptions::UNBOUNDED
    };
    let store = SqliteStore::open(&path, options).unwrap();
    let why = store.admits().unwrap_err().to_string();
    assert!(why.contains("reserve") && why.contains("free some"), "{why}");
    let job = JobId::new(1, 1);
    let ticket = store.submit(Batch { epoch: store.epoch(), ops: vec![accepted(job), append(job, 1)] });
    store.applied(ticket).await.unwrap();
    assert!(store.admits().is_err(), "what was begun goes on, and that is all");
}

#[test]
fn a_full_disk_is_no_reason_for_another_file() {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
        OpenError::Failed { path: "a.db".into(), source }.to_string()
    };
    let code = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
    for full in [
        failed(Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull))),
        failed(Box::new(code(rusqlite::ffi::SQLITE_FULL))),
    ] {
        assert!(full.ends_with("free some room on its disk"), "{full}");
    }
    for other in [
        failed(Box::new(std::io::Error::from(std::io::ErrorKind::PermissionDenied))),
        failed(Box::new(code(rusqlite::ffi::SQLITE_CANTOPEN))),
    ] {
        assert!(other.ends_with("or choose another file"), "{other}");
    }
}
