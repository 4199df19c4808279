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
    let options = SqliteOptions {
        durability: Durability::Full,
        max_bytes: u64::MAX,
        queue_bytes: u64::MAX,
        hot_bytes: 1 << 20,
    };
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
    let acknowledged = tickets.iter().filter(|ticket| store.shared.settled(**ticket).is_some()).count();
    assert!(acknowledged < tickets.len());
    let stored = store.job(job).await.unwrap().unwrap().tail.last();
    assert!(stored > acknowledged as u64, "what is acknowledged is stored");
    assert_eq!(store.records(job, 0, 99, usize::MAX).await.unwrap().len() as u64, stored);
    store.shared.page_limit.store(u32::MAX.into(), Ordering::Relaxed);
    tokio::time::timeout(Duration::from_secs(60), store.applied(tickets[38])).await.unwrap().unwrap();
    assert_eq!(store.admits(), Ok(()));
    assert_eq!(store.records(job, 0, 99, usize::MAX).await.unwrap().len(), 40);
}

#[tokio::test]
async fn what_is_removed_makes_room_for_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        durability: Durability::Process,
        max_bytes: u64::MAX,
        queue_bytes: u64::MAX,
        hot_bytes: 1 << 20,
    };
    let store = SqliteStore::open(&dir.path().join("store.db"), options).unwrap();
    let submit = |ops| store.submit(Batch { epoch: store.epoch(), ops });
    let (old, new) = (JobId::new(1, 1), JobId::new(2, 2));
    store
        .applied(submit(std::iter::once(accepted(old)).chain((1..=20).map(|pos| append(old, pos))).collect()))
        .await
        .unwrap();
    // Applied before the room runs out: a removal in the same group as what does not fit could not make room for it.
    store.applied(submit(vec![Op::RemoveJob(old)])).await.unwrap();
    store.shared.page_limit.store(1, Ordering::Relaxed);
    let ticket = submit(std::iter::once(accepted(new)).chain((1..=15).map(|pos| append(new, pos))).collect());
    tokio::time::timeout(Duration::from_secs(60), store.applied(ticket)).await.unwrap().unwrap();
    assert_eq!(store.job(new).await.unwrap().unwrap().tail.last(), 15);
}
