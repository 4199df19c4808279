//! What SQLite alone promises: other owners, other versions, damage, crashes, locks, load.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arcpd::store::sqlite::{OpenError, SqliteOptions, SqliteStore};
use arcpd::store::{Batch, Durability, Full, Op, Store, Ticket};
use rusqlite::Connection;

use crate::contract::{opened, run};
use crate::world::{
    OPTIONS, World, accepted, append, file, job, open, query, record, restored, session, spec,
};

/// Waits until something holds, for a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn refusal(path: &Path) -> (OpenError, String) {
    let error = SqliteStore::open(path, OPTIONS).err().expect("it cannot be opened");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    (error, text)
}

#[test]
fn durability_is_read_as_it_is_written() {
    for durability in [Durability::Full, Durability::Process] {
        assert_eq!(durability.to_string().parse(), Ok(durability));
    }
    let error = "fsync".parse::<Durability>().unwrap_err().to_string();
    assert!(error.contains("full") && error.contains("process") && error.contains("fsync"), "{error}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let store = open(&path);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
}

#[test]
fn a_second_daemon_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let first = open(&path);
    let (error, text) = refusal(&path);
    assert!(matches!(error, OpenError::InUse { .. }) && text.contains("another daemon"), "{text}");
    let epoch = first.epoch();
    drop(first);
    assert_eq!(open(&path).epoch().0, epoch.0 + 1);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    drop(open(&path));
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let (error, text) = refusal(&path);
    assert!(matches!(error, OpenError::Newer { found: 99, .. }) && text.contains("newer arcpd"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn files_that_are_no_stores_are_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = dir.path().join("notes.txt");
    fs::write(&garbage, "Dear diary, ".repeat(2_000)).unwrap();
    let foreign = dir.path().join("browser.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE history (x)").unwrap();
    for path in [garbage, foreign] {
        let before = fs::read(&path).unwrap();
        let (error, text) = refusal(&path);
        assert!(matches!(error, OpenError::NotAStore { .. }) && text.contains("choose another"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn damage_is_found_after_an_unclean_end() {
    let world = World::sqlite();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.db");
    for n in 1..300 {
        world.put((0..20).map(|i| accepted(spec(n * 20 + i))).collect()).await;
    }
    let source = file(world.dir.as_ref().unwrap().path());
    drop(world.store);
    fs::copy(&source, &path).unwrap();
    Connection::open(&path).unwrap().execute("UPDATE meta SET clean = 0", []).unwrap();
    drop(open(&path));
    Connection::open(&path).unwrap().execute("UPDATE meta SET clean = 0", []).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len() / 2;
    bytes[from..from + 40_000].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let (error, text) = refusal(&path);
    assert!(matches!(error, OpenError::Corrupt { .. }), "{text}");
    assert!(text.contains("backup") && text.contains("-wal"), "{text}");
}

#[tokio::test]
async fn damage_in_records_is_found_while_the_daemon_works() {
    let world = World::sqlite();
    let path = file(world.dir.as_ref().unwrap().path());
    let append = |pos| Op::Append { job: job(1), record: record(pos, None, 5_000) };
    world.put(std::iter::once(accepted(spec(1))).chain((1..=400).map(append)).collect()).await;
    let World { dir: _dir, store } = world;
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len() / 2;
    bytes[from..from + 40_000].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let store = open(&path);
    assert_eq!(store.admits(), Ok(()), "after a clean end nobody looks");
    drop(store);
    Connection::open(&path).unwrap().execute("UPDATE meta SET clean = 0", []).unwrap();
    let store = open(&path);
    until("new work is refused", || store.admits().is_err()).await;
    let why = store.admits().unwrap_err().to_string();
    assert!(why.contains("damaged"), "{why}");
    assert!(store.job(job(1)).await.unwrap().is_some(), "what can be read is read");
    drop(store);
    let store = open(&path);
    until("it is found again", || store.admits().is_err()).await;
}

#[test]
fn a_store_that_is_being_checked_can_be_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    for _ in 0..20 {
        drop(open(&path));
        assert!(!path.with_extension("db-wal").exists(), "one file is left");
        Connection::open(&path).unwrap().execute("UPDATE meta SET clean = 0", []).unwrap();
    }
}

#[tokio::test]
async fn what_was_applied_survives_a_crash() {
    for durability in [Durability::Full, Durability::Process] {
        let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = file(dir.path());
        let store = Arc::new(SqliteStore::open(&path, SqliteOptions { durability, ..OPTIONS }).unwrap());
        let world = World { dir: Some(dir), store };
        let attached = Op::Attached { session: session(1), job: job(1), pos: 0, submitter: true };
        world.put(vec![opened(1), accepted(spec(1)), attached]).await;
        for pos in 1..=20 {
            let numbered = Op::Numbered { session: session(1), numbers: run(pos, 1, pos, 1).into() };
            world.put(vec![append(1, pos), numbered]).await;
            // As a crash leaves them: the file and its log, and no other trace of the writer.
            let copy = copies.path().join(format!("{pos}.db"));
            fs::copy(&path, &copy).unwrap();
            fs::copy(format!("{}-wal", path.display()), format!("{}-wal", copy.display())).unwrap();
            let found = open(&copy);
            assert_eq!(restored(&found), restored(&*world.store), "after {pos}");
            assert_eq!(found.records(job(1), 0, 99, 9_999).await.unwrap().len() as u64, pos);
            assert_eq!(found.epoch().0, world.store.epoch().0 + 1);
        }
    }
}

#[tokio::test]
async fn what_is_removed_goes_back_to_the_disk_while_batches_are_applied() {
    let world = World::sqlite();
    let path = file(world.dir.as_ref().unwrap().path());
    let large = |n, pos| Op::Append { job: job(n), record: record(pos, None, 100_000) };
    world.put(vec![accepted(spec(1)), accepted(spec(2))]).await;
    for pos in 1..=400 {
        world.put(vec![large(1, pos)]).await;
    }
    let length = || {
        fs::metadata(&path).unwrap().len() + fs::metadata(format!("{}-wal", path.display())).unwrap().len()
    };
    assert!(length() > 40_000_000);
    let mut removal = Some(Op::RemoveJob(job(1)));
    let mut written = 0;
    let shrinks = async {
        // 16 MiB stay to be used again.
        while fs::metadata(&path).unwrap().len() > 20_000_000 {
            written += 1;
            world.put(removal.take().into_iter().chain([append(2, written)]).collect()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), shrinks).await.expect("the file does not shrink");
    assert!(written > 1);
    assert_eq!(world.positions(job(2), 0, written, usize::MAX).await, (1..=written).collect::<Vec<_>>());
    let world = world.reopened();
    assert_eq!(world.store.job(job(2)).await.unwrap().unwrap().tail.last(), written);
}

#[tokio::test]
async fn dropping_the_store_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let store = open(&path);
    let submit = |ops| store.submit(Batch { epoch: store.epoch(), ops });
    submit(vec![accepted(spec(1))]);
    for pos in 1..=5_000 {
        submit(vec![append(1, pos)]);
    }
    drop(store);
    assert!(!path.with_extension("db-wal").exists(), "one file is left");
    assert_eq!(open(&path).job(job(1)).await.unwrap().unwrap().tail.last(), 5_000);
}

#[tokio::test]
async fn an_owner_that_was_replaced_writes_nothing_more() {
    let world = World::sqlite();
    world.put(vec![accepted(spec(1))]).await;
    let path = file(world.dir.as_ref().unwrap().path());
    // What no lock keeps out: a daemon on another machine that shares the disk.
    Connection::open(&path).unwrap().execute("UPDATE meta SET epoch = epoch + 5", []).unwrap();
    let ticket = world.submit(vec![append(1, 1)]);
    let fenced = world.store.applied(ticket).await.unwrap_err();
    assert_eq!(fenced.newest.0, world.store.epoch().0 + 5);
    assert_eq!(world.submit(vec![append(1, 1)]), Ticket::REFUSED);
    assert!(matches!(world.store.admits(), Err(Full::Failing { .. })));
    assert_eq!(world.store.applied(Ticket(1)).await, Ok(()), "what was applied stays applied");
    assert_eq!(world.store.job(job(1)).await.unwrap().unwrap().tail.last(), 0);
}

#[tokio::test]
async fn a_store_that_cannot_write_says_so_keeps_everything_and_recovers() {
    let world = World::sqlite();
    world.put(vec![accepted(spec(1))]).await;
    let path = file(world.dir.as_ref().unwrap().path());
    let blocker = Connection::open(&path).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tickets: Vec<Ticket> = (1..=50).map(|pos| world.submit(vec![append(1, pos)])).collect();
    until("new work is refused", || matches!(world.store.admits(), Err(Full::Failing { .. }))).await;
    let waits = world.store.applied(tickets[0]);
    assert!(tokio::time::timeout(Duration::from_millis(20), waits).await.is_err(), "nothing is acknowledged");
    assert_eq!(world.store.job(job(1)).await.unwrap().unwrap().tail.last(), 0, "reading goes on");
    blocker.execute_batch("ROLLBACK").unwrap();
    world.store.applied(tickets[49]).await.unwrap();
    until("new work is admitted", || world.store.admits().is_ok()).await;
    assert_eq!(world.positions(job(1), 0, 99, 9_999).await, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_queue_that_is_too_long_refuses_new_work_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let store = SqliteStore::open(&path, SqliteOptions { queue_bytes: 1_000, ..OPTIONS }).unwrap();
    let world = World { dir: None, store: Arc::new(store) };
    world.put(vec![accepted(spec(1))]).await;
    let blocker = Connection::open(&path).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut last = Ticket::default();
    for pos in 1..=10 {
        last = world.submit(vec![append(1, pos)]);
    }
    let refused = world.store.admits();
    assert!(matches!(refused, Err(Full::Behind { bytes: 1_001.., max: 1_000 } | Full::Failing { .. })));
    drop(blocker);
    world.store.applied(last).await.unwrap();
    until("new work is admitted", || world.store.admits().is_ok()).await;
    assert_eq!(world.positions(job(1), 9, 9, 99).await, [10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_batches_while_others_write() {
    const JOBS: u64 = 40;
    let world = Arc::new(World::sqlite());
    let writes = {
        let world = world.clone();
        tokio::spawn(async move {
            for n in 1..=JOBS {
                // A batch is a job and ten records; a reader that sees the one sees the other.
                let ops = std::iter::once(accepted(spec(n))).chain((1..=10).map(|pos| append(n, pos)));
                let ticket = world.submit(ops.collect());
                if n % 5 == 0 {
                    world.store.applied(ticket).await.unwrap();
                    assert_eq!(
                        world.store.job(job(n)).await.unwrap().unwrap().tail.last(),
                        10,
                        "applied is visible"
                    );
                }
            }
        })
    };
    let reads: Vec<_> = (0..4)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut seen = 0;
                while seen < JOBS {
                    let (page, _) = world.store.list(query(r#"{"limit":1}"#)).await.unwrap();
                    let Some(newest) = page.first() else { continue };
                    assert_eq!(newest.summary.last_event_seq, 10);
                    let found = newest.summary.job_id.0.timestamp_ms();
                    assert!(found >= seen, "what was seen stays");
                    seen = found;
                    assert_eq!(world.positions(newest.summary.job_id, 0, 99, 999).await.len(), 10);
                }
            })
        })
        .collect();
    writes.await.unwrap();
    for read in reads {
        read.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_commits() {
    let world = Arc::new(World::sqlite());
    world.put((1..=4).map(|n| accepted(spec(n))).collect()).await;
    let writers: Vec<_> = (1..=4_u64)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut last = Ticket::default();
                for pos in 1..=5_000 {
                    last = world.submit(vec![append(n, pos)]);
                }
                world.store.applied(last).await.unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for n in 1..=4 {
        assert_eq!(world.positions(job(n), 0, 9_999, usize::MAX).await, (1..=5_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn damage_that_a_question_meets_has_new_work_refused() {
    let world = World::sqlite();
    world
        .put(std::iter::once(accepted(spec(1))).chain((1..=9_000).map(|pos| append(1, pos))).collect())
        .await;
    let World { dir, store } = world;
    let path = file(dir.as_ref().unwrap().path());
    drop(store);
    // An orderly end: nothing is looked at when the store is opened.
    let mut bytes = fs::read(&path).unwrap();
    let (from, to) = (bytes.len() / 2, bytes.len() - 16_384);
    bytes[from..to].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let store = open(&path);
    assert_eq!(store.admits(), Ok(()));
    let mut after = 0;
    let why = loop {
        match store.records(job(1), after, 100, usize::MAX).await {
            Ok(records) => after = records.last().expect("damage is no end").pos,
            Err(unreadable) => break unreadable.to_string(),
        }
    };
    assert!(why.contains("malformed"), "{why}");
    assert!(store.admits().unwrap_err().to_string().contains("damaged"));
    assert!(store.health().failing);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_taken_away_is_missed() {
    let world = World::sqlite();
    world.put(vec![accepted(spec(1))]).await;
    fs::remove_file(file(world.dir.as_ref().unwrap().path())).unwrap();
    let mut pos = 0;
    until("the file is missed", || {
        pos += 1;
        world.submit(vec![append(1, pos)]);
        world.store.admits().is_err()
    })
    .await;
    let why = world.store.admits().unwrap_err().to_string();
    assert!(why.contains("its file is gone"), "{why}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_has_one_holder_whatever_it_is_called() {
    let world = World::sqlite();
    world.put(vec![accepted(spec(1))]).await;
    let dir = world.dir.as_ref().unwrap().path();
    let (path, link, other) = (file(dir), dir.join("link.db"), dir.join("other.db"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = SqliteStore::open(&link, OPTIONS).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(matches!(arcpd::store::sqlite::vacuum(&link), Err(OpenError::InUse { .. })));
    let World { dir, store } = world;
    drop(store);
    fs::hard_link(&path, &other).unwrap();
    for name in [&path, &other] {
        let error = SqliteStore::open(name, OPTIONS).err().unwrap().to_string();
        assert!(error.contains("2 names"), "{error}");
    }
    fs::remove_file(&other).unwrap();
    assert!(open(&link).job(job(1)).await.unwrap().is_some());
    drop(dir);
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_that_others_could_read_is_its_owners_only_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let World { dir, store } = World::sqlite();
    drop(store);
    let path = file(dir.as_ref().unwrap().path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _store = open(&path);
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        let mode = fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
