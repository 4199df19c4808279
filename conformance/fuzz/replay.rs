//! Replays the fuzz corpora, and mutations of them, on the stable toolchain. The mutations are pseudo-random from a
//! fixed seed, so a failure comes again; `FUZZ_ROUNDS` sets how many there are of each target. Finding new inputs is
//! cargo-fuzz's work: see Cargo.toml beside this file.
#![allow(clippy::unwrap_used, clippy::panic)]

mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Mutations of each target where nothing else is asked for: a few seconds in an unoptimised build.
const ROUNDS: u64 = 3_000;

/// The committed corpora together.
const CORPUS_BYTES: u64 = 300_000;

/// Texts that mean something to one target or another.
const WORDS: [&str; 20] = [
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\u0000",
    "\\ud800",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "\r\n",
    "\u{feff}",
    "é",
    "payload",
    "job_",
    "@",
    "2026-05-13T19:42:13Z",
];

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/fuzz/corpus")
}

/// The seeds of a target by name, in the order of their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = corpora().join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// A small generator (SplitMix64): the same numbers everywhere and for ever.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn mutate(&mut self, data: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(data.len() + 1);
        match self.below(8) {
            0 if at < data.len() => data[at] ^= 1 << self.below(8),
            1 if at < data.len() => data[at] = self.byte(),
            2 => data.truncate(at),
            3 if at < data.len() => {
                let end = (at + 1 + self.below(8)).min(data.len());
                data.drain(at..end);
            }
            4 => {
                let word = WORDS[self.below(WORDS.len())];
                data.splice(at..at, word.bytes());
            }
            5 => {
                let from = self.below(other.len() + 1);
                let to = (from + self.below(32)).min(other.len());
                data.splice(at..at, other[from..to].iter().copied());
            }
            6 if at < data.len() => {
                let end = (at + self.below(16)).min(data.len());
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            _ => data.insert(at, self.byte()),
        }
    }
}

fn replay(name: &str) {
    let check = targets::ALL.iter().find(|(target, _)| *target == name).unwrap().1;
    let seeds = seeds(name);
    for (seed, data) in &seeds {
        if catch_unwind(|| check(data)).is_err() {
            panic!("the seed {name}/{seed} fails");
        }
    }
    let rounds = env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut chance = Chance(name.len() as u64);
    for round in 0..rounds {
        let (seed, data) = &seeds[chance.below(seeds.len())];
        let other = &seeds[chance.below(seeds.len())].1;
        let mut data = data.clone();
        for _ in 0..=chance.below(6) {
            chance.mutate(&mut data, other);
        }
        if catch_unwind(AssertUnwindSafe(|| check(&data))).is_err() {
            panic!("mutation {round} of {name}/{seed} fails: b\"{}\"", data.escape_ascii());
        }
    }
}

#[test]
fn agent_lines_are_read_or_refused_with_words() {
    replay("agent_line");
}

#[test]
fn the_canonical_form_depends_on_the_value_only() {
    replay("canonical");
}

#[test]
fn cursors_are_ours_or_refused() {
    replay("cursor");
}

#[test]
fn dialects_write_whole_envelopes() {
    replay("dialect");
}

#[test]
fn requests_are_the_same_when_written_and_read_again() {
    replay("envelope");
}

#[test]
fn lines_do_not_depend_on_how_the_stream_is_cut() {
    replay("frame");
}

#[test]
fn streams_number_and_replay_like_a_plain_list() {
    replay("stream");
}

#[test]
fn every_corpus_belongs_to_a_target_and_all_are_small() {
    let mut names = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(corpora()).unwrap() {
        names.push(entry.unwrap().file_name().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, targets::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for name in &names {
        bytes += seeds(name).iter().map(|(_, data)| data.len() as u64).sum::<u64>();
    }
    assert!(bytes < CORPUS_BYTES, "the corpora have {bytes} bytes: keep the smallest inputs");
}
