//! What a crash of the machine may leave: a log that ends anywhere, or in garbage, and a file with a broken page.

#![allow(clippy::cast_possible_truncation)] // Test code.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use arcpd::store::sqlite::{OpenError, SqliteOptions, SqliteStore};
use arcpd::store::{Durability, Store};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::durable::until;
use crate::world::{OPTIONS, World, accepted, append, file, job, open, spec};

const SEEDS: RangeInclusive<u64> = 1..=2;
/// Batches of one run; each is a job with its records.
const BATCHES: u64 = 30;
const CUTS: usize = 25;
const PAGE_BYTES: usize = 16_384;

/// What was written: how long the log was after each batch that is not in the file itself.
struct Written {
    world: World,
    records: Vec<u64>,
    /// Batches up to this one are in the file.
    checkpointed: u64,
    log_ends: Vec<u64>,
}

fn log(path: &Path) -> PathBuf {
    format!("{}-wal", path.display()).into()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

impl Written {
    fn path(&self) -> PathBuf {
        file(self.world.dir.as_ref().unwrap().path())
    }

    async fn new(dice: &mut StdRng, durability: Durability) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&file(dir.path()), SqliteOptions { durability, ..OPTIONS }).unwrap();
        let world = World { dir: Some(dir), store: std::sync::Arc::new(store) };
        let mut written = Written { world, records: Vec::new(), checkpointed: 0, log_ends: Vec::new() };
        let checkpoint = dice.random_range(0..BATCHES);
        for n in 1..=BATCHES {
            let records = dice.random_range(1..60);
            let ops = std::iter::once(accepted(spec(n))).chain((1..=records).map(|pos| append(n, pos)));
            written.world.put(ops.collect()).await;
            written.records.push(records);
            written.log_ends.push(size(&log(&written.path())));
            if n == checkpoint {
                written.checkpoint();
                written.checkpointed = n;
            }
        }
        written
    }

    /// Puts everything into the file, and begins the log anew.
    fn checkpoint(&self) {
        let db = Connection::open(self.path()).unwrap();
        let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!((busy, size(&log(&self.path()))), (0, 0));
    }

    /// The file and its log as the disk has them now.
    fn copy(&self) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.db");
        fs::copy(self.path(), &path).unwrap();
        fs::copy(log(&self.path()), log(&path)).unwrap();
        (dir, path)
    }

    /// How many batches a log of this length holds, with those in the file.
    fn expected(&self, cut: u64) -> u64 {
        let logged = self.log_ends[self.checkpointed as usize..].iter().filter(|end| **end <= cut);
        self.checkpointed + logged.count() as u64
    }

    /// The batches that a store holds: each whole, and none after one that is missing.
    async fn found(&self, store: &dyn Store) -> u64 {
        let mut whole = 0;
        for n in 1..=BATCHES {
            let Some(row) = store.job(job(n)).await.unwrap() else { continue };
            assert_eq!(whole + 1, n, "an older batch is lost and a newer one is there");
            let records = self.records[n as usize - 1];
            assert_eq!(row.tail.last(), records, "half of batch {n}");
            assert_eq!(store.records(job(n), 0, 99, 9_999).await.unwrap().len() as u64, records);
            whole = n;
        }
        whole
    }
}

#[tokio::test]
async fn a_torn_log_loses_only_the_newest_batches_and_each_as_a_whole() {
    for seed in SEEDS {
        let mut dice = StdRng::seed_from_u64(seed);
        let durability = [Durability::Full, Durability::Process][seed as usize % 2];
        let written = Written::new(&mut dice, durability).await;
        let len = size(&log(&written.path()));
        assert_eq!(written.expected(len), BATCHES);
        for n in 0..CUTS {
            let (_dir, path) = written.copy();
            let cut = dice.random_range(0..=len);
            let mut bytes = fs::read(log(&path)).unwrap();
            // The disk may have lost the end, or have something else there.
            match n % 3 {
                0 => bytes.truncate(cut as usize),
                1 => bytes[cut as usize..].fill(0),
                _ => bytes[cut as usize..].iter_mut().for_each(|byte| *byte ^= dice.random_range(1..=255)),
            }
            fs::write(log(&path), bytes).unwrap();
            let store = open(&path);
            let found = written.found(&store).await;
            assert_eq!(found, written.expected(cut), "seed {seed}: the log torn at {cut} of {len}");
            // It goes on from there.
            let world = World { dir: None, store: std::sync::Arc::new(store) };
            world.put(vec![accepted(spec(BATCHES + 1)), append(BATCHES + 1, 1)]).await;
            assert_eq!(world.positions(job(BATCHES + 1), 0, 9, 99).await, [1]);
        }
    }
}

#[tokio::test]
async fn what_is_copied_while_it_is_written_is_whole_batches_too() {
    let mut dice = StdRng::seed_from_u64(7);
    for _ in 0..6 {
        let world = World::sqlite();
        world.put(vec![accepted(spec(1))]).await;
        let written =
            Written { world, records: vec![20; BATCHES as usize], checkpointed: 0, log_ends: Vec::new() };
        let mut last = None;
        let moment = dice.random_range(1..BATCHES);
        let mut copy = None;
        for n in 1..=BATCHES {
            let mut ops: Vec<_> = (1..=20).map(|pos| append(n, pos)).collect();
            if n > 1 {
                ops.insert(0, accepted(spec(n)));
            }
            last = Some(written.world.submit(ops));
            if n == moment {
                written.world.store.applied(last.unwrap()).await.unwrap();
                // The file first: without a checkpoint it does not change any more, and the log only grows.
                copy = Some(written.copy());
            }
        }
        let (_dir, path) = copy.unwrap();
        let found = written.found(&open(&path)).await;
        assert!((moment..=BATCHES).contains(&found), "{found} of those applied at {moment}");
        written.world.store.applied(last.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_broken_page_of_the_file_is_found_after_an_unclean_end_and_said() {
    for seed in SEEDS {
        let mut dice = StdRng::seed_from_u64(seed);
        let written = Written::new(&mut dice, Durability::Full).await;
        written.checkpoint();
        let pages = size(&written.path()) as usize / PAGE_BYTES;
        for _ in 0..CUTS {
            let (_dir, path) = written.copy();
            let mut bytes = fs::read(&path).unwrap();
            let page = dice.random_range(0..pages) * PAGE_BYTES;
            bytes[page..page + PAGE_BYTES].iter_mut().for_each(|byte| *byte ^= dice.random_range(1..=255));
            fs::write(&path, bytes).unwrap();
            // What the start does not meet is found by the check that goes on beside the work.
            match SqliteStore::open(&path, OPTIONS) {
                Ok(store) => {
                    until("a broken page is found", || store.admits().is_err()).await;
                    let why = store.admits().unwrap_err().to_string();
                    assert!(why.contains("damaged"), "{why}");
                }
                Err(error) => {
                    let said = matches!(error, OpenError::Corrupt { .. } | OpenError::NotAStore { .. });
                    assert!(said && error.to_string().contains(path.to_str().unwrap()), "{error}");
                }
            }
        }
    }
}
