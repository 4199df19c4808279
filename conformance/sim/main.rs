//! The daemon in a world where time, the disk, the network, clients and agents follow from a seed, and a checker
//! that knows what may be spoken. Each seed is run twice and must leave the same trace.
//!
//! `cargo test --test sim` runs 300 seeds, side by side. `ARCPD_SIM_SEEDS=FROM..TO cargo test --test sim seeds` runs others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(clippy::print_stdout, clippy::cast_possible_truncation)] // Test code.

#[path = "../common/mod.rs"]
mod common;

mod agents;
mod clients;
mod dice;
mod disk;
mod judge;
mod net;
mod oracle;
mod plan;
mod state;
mod world;

use std::ops::Range;
use std::sync::Mutex;

use dice::Dice;
use plan::Plan;
use world::{Outcome, run};

/// The seeds of an ordinary test run.
const SEEDS: Range<u64> = 0..300;

fn once(seed: u64) -> Outcome {
    run(Plan::new(seed, &mut Dice::new(seed)))
}

/// Runs a seed twice; says what went wrong.
fn check(seed: u64) -> Result<Outcome, String> {
    let (first, second) = (once(seed), once(seed));
    if let Some(line) = first.trace.iter().zip(&second.trace).position(|(one, other)| one != other) {
        let before = first.trace[line.saturating_sub(5)..line].join("\n");
        return Err(format!(
            "the same seed went two ways at line {line}:\n{before}\n- {}\n+ {}",
            first.trace[line], second.trace[line]
        ));
    }
    if first.trace.len() != second.trace.len() {
        return Err("the same seed went on for longer once".into());
    }
    if first.violations.is_empty() {
        return Ok(first);
    }
    let file = format!("{}/sim-{seed}.trace", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, first.trace.join("\n")).unwrap();
    Err(format!("{}\nThe whole trace is in {file}", first.violations.join("\n")))
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("ARCPD_SIM_SEEDS") else { return SEEDS };
    let ends = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.expect("ARCPD_SIM_SEEDS is FROM..TO")
}

/// What some seeds came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    lives: u64,
    jobs: u64,
    frames: u64,
    wrongs: Vec<u64>,
}

/// Runs seeds until none is left.
fn work(left: &Mutex<Range<u64>>) -> Sum {
    let mut sum = Sum::default();
    let next = || left.lock().unwrap().next();
    while let Some(seed) = next() {
        match check(seed) {
            Ok(outcome) => {
                sum.runs += 1;
                sum.lives += outcome.lives;
                sum.jobs += outcome.jobs as u64;
                sum.frames += outcome.frames;
            }
            Err(wrong) => {
                let next = seed + 1;
                // At once: a long campaign may not be waited for.
                println!(
                    "seed {seed}: {wrong}\nagain: ARCPD_SIM_SEEDS={seed}..{next} cargo test --test sim seeds"
                );
                sum.wrongs.push(seed);
            }
        }
    }
    sum
}

#[test]
fn seeds_lead_to_nothing_that_is_wrong_and_always_to_the_same() {
    let left = Mutex::new(seeds());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(&left))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Sum::default();
    for sum in sums {
        all.runs += sum.runs;
        all.lives += sum.lives;
        all.jobs += sum.jobs;
        all.frames += sum.frames;
        all.wrongs.extend(sum.wrongs);
    }
    let Sum { runs, lives, jobs, frames, wrongs } = all;
    println!("{runs} seeds, each twice: {lives} lives, {jobs} jobs, {frames} frames");
    assert!(wrongs.is_empty(), "seeds that went wrong: {wrongs:?}");
}
