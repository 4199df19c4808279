//! A daemon that is killed with SIGKILL again and again, with clients and child agents at work and its store in a file.
//!
//! Every client notes what it was promised and every frame that it was sent; every agent notes what it says before it
//! says it. At the end the journal is compared with all of that: no gap, no duplicate, no other payload, every job
//! ends exactly once, no accepted job is lost, no confirmed cancellation forgotten, every repeated submit is the same
//! job; and every file that a daemon leaves passes the full check. `ARCPD_CRASH_ROUNDS` makes the campaign longer,
//! `ARCPD_CRASH_SEED` makes it another one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
#![allow(clippy::print_stdout)] // Test code.

mod client;
#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod disk;
mod judge;

use std::time::Duration;

use arcpd::store::sqlite::audit;
use client::{Board, Client, Dice};
use daemon::{Home, PRINCIPALS};

const ROUNDS: u64 = 6;
const CLIENTS: usize = 4;
/// One life in so many ends in order.
const ORDERLY: u64 = 8;
/// The longest life under load, in milliseconds.
const LIFE_MS: u64 = 300;

async fn campaign(durability: &'static str, seed: u64) {
    if !daemon::has_shell() {
        println!("SKIPPED: the agents of the crash campaign need /bin/sh");
        return;
    }
    let (rounds, seed) = (setting("ARCPD_CRASH_ROUNDS", ROUNDS), setting("ARCPD_CRASH_SEED", seed));
    let (home, board, mut dice) = (Home::new(durability), Board::default(), Dice(seed));
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|n| {
            let principal = PRINCIPALS[n % PRINCIPALS.len()];
            Client::new(format!("{}-{n}", principal.0), principal, dice.roll(u64::MAX) | 1, board.clone())
        })
        .collect();
    let mut kills = 0;
    for _ in 0..rounds {
        let daemon = home.daemon();
        let lives: Vec<_> = clients
            .drain(..)
            .map(|mut client| {
                let url = daemon.url.clone();
                tokio::spawn(async move {
                    client.live(&url).await;
                    client
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1 + dice.roll(LIFE_MS))).await;
        if dice.roll(ORDERLY) == 0 {
            tokio::task::spawn_blocking(|| daemon.stop()).await.unwrap();
        } else {
            drop(daemon);
            kills += 1;
        }
        for life in lives {
            clients.push(life.await.unwrap());
        }
        assert_eq!(audit(&home.store()).unwrap(), [], "what the daemon left is not whole");
    }
    let daemon = home.daemon();
    for client in &mut clients {
        client.settle(&daemon.url).await;
    }
    let journal = judge::judge(&home, &daemon, &clients).await;
    assert_eq!(audit(&home.store()).unwrap(), [], "what the daemon works on is not whole");
    let jobs: usize = clients.iter().map(|client| client.submits.len()).sum();
    let (seen, again) =
        clients.iter().fold((0, 0), |(a, b), client| (a + client.count(), b + client.replayed));
    println!(
        "{durability}: {kills} kills and {} orderly ends, {jobs} jobs, {journal} events in the journal, {seen} seen by \
         {CLIENTS} clients, {again} of them twice on purpose; seed {seed:#x}",
        rounds - kills
    );
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_or_said_twice_when_the_daemon_is_killed_at_durability_full() {
    campaign("full", 0x5eed_0001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_or_said_twice_when_the_daemon_is_killed_at_durability_process() {
    campaign("process", 0x5eed_0002).await;
}
