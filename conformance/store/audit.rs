//! The full check: what a store's own work leaves is whole, and whatever is not so is found and named.

use std::fs;
use std::path::PathBuf;

use arcpd::proto::record::Record;
use arcpd::proto::stream::{Extent, Numbers, Piece, Place};
use arcpd::store::Op;
use arcpd::store::sqlite::{BackupError, OpenError, audit, backup, stats, vacuum};
use arcpd::wire::job::JobStatus;
use arcpd::wire::message::StreamKind;
use bytes::Bytes;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::contract::{opened, run};
use crate::world::{World, accepted, append, at, file, job, open, record, session, spec};

/// A store with something of everything in it, closed: a job that ended, one that was trimmed, one that runs.
async fn store() -> (TempDir, PathBuf) {
    let world = World::sqlite();
    let end = Op::Append { job: job(1), record: Record { kind: StreamKind::Result, ..record(4, None, 10) } };
    let over = Op::JobEnded { job: job(1), status: JobStatus::Success, at: at(9) };
    world.put([accepted(spec(1))].into_iter().chain((1..=3).map(|pos| append(1, pos))).collect()).await;
    world.put(vec![end, over, accepted(spec(2)), accepted(spec(3)), append(3, 1)]).await;
    world.put((1..=9).map(|pos| append(2, pos)).collect()).await;
    world.put(vec![Op::Trim { job: job(2), first: 5 }]).await;
    let attached = |n| Op::Attached { session: session(1), job: job(n), pos: 0, submitter: true };
    let private = Extent { first_seq: 5, piece: Piece::Private { job: job(1), payload: Bytes::from("{}") } };
    let extents = vec![run(1, 1, 1, 4), private, run(6, 2, 5, 5)];
    let place = |n, pos| Place { job: job(n), pos, done: false };
    let numbers = Numbers { extents, places: vec![place(1, 4), place(2, 9)] };
    world.put(vec![opened(1), attached(1), attached(2), Op::Numbered { session: session(1), numbers }]).await;
    world.put(vec![Op::Released { session: session(1), through: 2 }]).await;
    let World { dir, store } = world;
    drop(store);
    let dir = dir.unwrap();
    let path = file(dir.path());
    (dir, path)
}

#[tokio::test]
async fn whatever_does_not_fit_together_is_found_and_named() {
    let (dir, path) = store().await;
    assert_eq!(audit(&path).unwrap(), []);
    for (harm, promise, says) in [
        ("DELETE FROM meta", "epoch", "0 rows"),
        ("DELETE FROM job_order WHERE job = 1", "order", "job_"),
        ("DELETE FROM record WHERE job = 2 AND pos = 7", "without a gap", "has 4 from 5 to 9"),
        ("DELETE FROM record WHERE job = 3", "without a gap", "has 0"),
        ("UPDATE job SET last_pos = 8 WHERE n = 2", "without a gap", "from 5 to 8"),
        ("UPDATE record SET kind = 1 WHERE job = 1 AND pos = 2", "one end", "has 2 ends"),
        ("UPDATE record SET kind = 0 WHERE job = 1", "one end", "has 0 ends"),
        ("UPDATE job SET ended = 1 WHERE n = 2", "one end", "is said to have ended"),
        ("UPDATE job SET ended_at = NULL WHERE n = 1", "final", "no end"),
        ("INSERT INTO erase VALUES (2, 6)", "erased", "up to 6"),
        ("INSERT INTO record VALUES (99, 1, 0, NULL, 0, x'')", "of a job", "99"),
        ("DELETE FROM session", "has its session", "follows"),
        ("UPDATE session SET released = 0; DELETE FROM extent WHERE first_seq = 1", "begin", "from 5"),
        ("DELETE FROM extent WHERE first_seq = 5", "no gap", "at 6 instead of 5"),
        ("UPDATE extent SET len = 9 WHERE first_seq = 6", "stand for", "5 to 13"),
        ("UPDATE attachment SET pos = 5 WHERE pos = 4", "beyond the end", "at 5"),
    ] {
        let copy = dir.path().join("copy.db");
        fs::copy(&path, &copy).unwrap();
        Connection::open(&copy).unwrap().execute_batch(harm).unwrap();
        let found = audit(&copy).unwrap();
        let named: Vec<String> = found.iter().map(ToString::to_string).collect();
        let found = named.iter().find(|finding| finding.contains(promise));
        assert!(found.is_some_and(|finding| finding.contains(says)), "{harm}: {named:?}");
        let refused = backup(&copy, &dir.path().join("no"), false);
        assert!(
            matches!(refused, Err(BackupError::Broken(_) | BackupError::Store(_))),
            "{harm}: {refused:?}"
        );
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("no")).count(), 0);
    }
}

#[tokio::test]
async fn damaged_pages_are_found_and_many_places_are_counted() {
    let (dir, path) = store().await;
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE record SET kind = 2", []).unwrap();
    db.execute_batch("INSERT INTO erase SELECT n, 100 FROM job").unwrap();
    drop(db);
    let found = audit(&path).unwrap();
    assert!(found.iter().any(|finding| finding.count == 3 && finding.examples.len() == 3), "{found:?}");
    let copy = dir.path().join("copy.db");
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / 16_384;
    bytes[(pages / 2) * 16_384..(pages / 2 + 2) * 16_384].fill(0x5a);
    fs::write(&copy, bytes).unwrap();
    let found = audit(&copy);
    let told = matches!(&found, Err(OpenError::Corrupt { .. }))
        || found.as_ref().is_ok_and(|found| found[0].promise.contains("pages"));
    assert!(told, "{found:?}");
}

#[tokio::test]
async fn a_backup_is_made_beside_a_daemon_and_is_a_store() {
    let (dir, path) = store().await;
    let to = dir.path().join("backup.db");
    let live = open(&path);
    let bytes = backup(&path, &to, false).unwrap();
    assert_eq!(bytes, fs::metadata(&to).unwrap().len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = backup(&path, &to, false);
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    backup(&path, &to, true).unwrap();
    for own in [
        "state/store.db",
        "state/store.db-wal",
        "state/store.db.lock",
        "state/../state/store.db",
        "state/../state/store.db-wal",
        "state/./store.db.holder",
    ] {
        let refused = backup(&path, &dir.path().join(own), true);
        assert!(matches!(refused, Err(BackupError::Own(_))), "{own}: {refused:?}");
    }
    assert_eq!(audit(&to).unwrap(), []);
    assert!(stats(&to).unwrap().clean, "nothing of a backup is under way");
    let restored = open(&to);
    assert_eq!(crate::world::restored(&restored), crate::world::restored(&live));
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("partial")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backups_that_are_made_at_the_same_time_do_not_meet() {
    let (dir, path) = store().await;
    let to = dir.path().join("backup.db");
    let made: Vec<_> = (0..4)
        .map(|_| {
            let (path, to) = (path.clone(), to.clone());
            tokio::task::spawn_blocking(move || backup(&path, &to, true).map(drop))
        })
        .collect();
    for made in made {
        made.await.unwrap().unwrap();
        assert_eq!(audit(&to).unwrap(), []);
    }
}

#[tokio::test]
async fn a_vacuum_makes_an_old_file_one_that_gives_back() {
    let (_dir, path) = store().await;
    let live = open(&path);
    assert!(matches!(vacuum(&path), Err(OpenError::InUse { .. })));
    drop(live);
    // As files were made before.
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA auto_vacuum = NONE; VACUUM; CREATE TABLE a AS SELECT zeroblob(1000000); DROP TABLE a",
    )
    .unwrap();
    drop(db);
    let before = stats(&path).unwrap();
    assert!(!before.gives_back && before.free_bytes > 900_000, "{before:?}");
    let (from, to) = vacuum(&path).unwrap();
    assert!(from - to > 900_000, "{from} {to}");
    let after = stats(&path).unwrap();
    assert_eq!((after.gives_back, after.free_bytes, after.file_bytes), (true, 0, to));
    assert_eq!(audit(&path).unwrap(), []);
}

#[tokio::test]
async fn figures_tell_what_is_in_it() {
    let (_dir, path) = store().await;
    let found = stats(&path).unwrap();
    assert_eq!(found.jobs, [(JobStatus::Pending, 2), (JobStatus::Success, 1)]);
    assert_eq!((found.records, found.sessions, found.extents, found.clean), (4 + 5 + 1, 1, 3, true));
    assert_eq!((found.oldest, found.newest), (Some(at(1)), Some(at(3))));
    assert_eq!(found.file_bytes, found.used_bytes + found.free_bytes);
    let biggest: Vec<_> = found.biggest.iter().map(|big| (big.id, big.records)).collect();
    assert_eq!(biggest, [(job(2), 5), (job(1), 4), (job(3), 1)]);
    assert!(found.holder.is_none());
    let missing = stats(&path.with_extension("gone")).unwrap_err().to_string();
    assert!(missing.contains("No such file"), "{missing}");
    let live = open(&path);
    let holder = stats(&path).unwrap().holder.unwrap();
    assert_eq!(holder.pid, std::process::id());
    drop(live);
}
