//! Runs the published Rust crate, unmodified, against arcpd and reports what a user would notice.
//!
//! Started by `with_daemon.py`, which names the daemon in the environment. Every scenario has connections of its own.
//! The last line is `N passed, N failed`.

mod scenarios;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use world::{Endpoint, World};

const SCENARIO: Duration = Duration::from_secs(30);

struct Arguments {
    transports: Vec<&'static str>,
    filter: String,
    list: bool,
}

const USAGE: &str = "usage: conformance/interop/run [ARCPD] --client rust [--transport ws|stdio|both] [--filter TEXT] \
                     [--list]";

fn arguments() -> Result<Arguments, String> {
    let mut asked = Arguments { transports: vec!["ws", "stdio"], filter: String::new(), list: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--transport", Some(name)) => {
                asked.transports = match name.as_str() {
                    "ws" => vec!["ws"],
                    "stdio" => vec!["stdio"],
                    "both" => vec!["ws", "stdio"],
                    _ => return Err(USAGE.into()),
                };
            }
            ("--filter", Some(text)) => asked.filter = text,
            ("--list", None) => asked.list = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(asked)
}

#[tokio::main]
async fn main() -> ExitCode {
    let asked = match arguments() {
        Ok(asked) => asked,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    let chosen = || scenarios::all().into_iter().filter(|scenario| scenario.name.contains(&asked.filter));
    if asked.list {
        for scenario in chosen() {
            println!("{:9}  {}", scenario.transports.join("+"), scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for transport in &asked.transports {
        let endpoint = Endpoint::of(transport);
        for scenario in chosen().filter(|scenario| scenario.transports.contains(transport)) {
            let run = (scenario.run)(World::new(endpoint.clone()));
            let outcome = tokio::time::timeout(SCENARIO, run).await;
            match outcome.unwrap_or_else(|_| Err(format!("did not end within {} s", SCENARIO.as_secs()))) {
                Ok(()) => {
                    passed += 1;
                    println!("ok   {transport:5}  {}", scenario.name);
                }
                Err(why) => {
                    failed += 1;
                    println!("FAIL {transport:5}  {}: {}", scenario.name, why.replace('\n', " "));
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
