//! The conformance suite against our own daemon, in memory: every case passes, but those that are pending for a reason;
//! and the suite itself against daemons that are wrong on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bent;
mod mutants;

use std::sync::Arc;
use std::time::Duration;

use arcpd::client::{Connector, DialError, Link};
use arcpd::conformance::case::Case;
use arcpd::conformance::cases;
use arcpd::conformance::report::table;
use arcpd::conformance::run::{Target, Verdict, probe, run};
use arcpd::embed::Runtime;
use arcpd::wire::session::Token;
use futures_util::StreamExt as _;
use futures_util::stream;

/// Why a case may be pending: what arcpd does not offer yet.
const PENDING: [&str; 2] = ["is not offered", "it takes a runtime with a resume window"];

/// The daemon that most cases and all mutants are held against.
fn daemon() -> Runtime {
    daemon_with(Duration::from_secs(60))
}

fn daemon_with(resume_window: Duration) -> Runtime {
    Runtime::builder()
        .token("alice", "tok-a")
        .token("bob", "tok-b")
        .demo_agents()
        .heartbeat_interval(Duration::from_secs(2))
        .resume_window(resume_window)
        .start()
        .unwrap()
}

fn target(runtime: &Runtime) -> Target {
    let runtime = runtime.clone();
    let connector = move || {
        let link = Link::new(runtime.connect());
        async move { Ok::<_, DialError>(link) }
    };
    target_of(Arc::new(connector))
}

fn target_of(connector: Arc<dyn Connector>) -> Target {
    Target { connector, alice: Token::new("tok-a"), bob: Some(Token::new("tok-b")), alone: false }
}

async fn pass(runtime: Runtime, wanted: impl Fn(&Case) -> bool) {
    let target = target(&runtime);
    let profile = probe(&target).await.unwrap();
    let cases = cases::built_in().unwrap_or_else(|bad| panic!("{bad}"));
    let cases: Vec<Case> = cases.into_iter().filter(wanted).collect();
    let each = cases.iter().map(|case| run(case, &target, &profile));
    let ran = stream::iter(each).buffered(8).collect::<Vec<_>>().await;
    let results: Vec<_> = cases.iter().zip(ran).collect();
    let bad = results.iter().filter(|(_, ran)| match &ran.verdict {
        Verdict::Passed => false,
        Verdict::Pending(why) => !PENDING.iter().any(|known| why.contains(known)),
        Verdict::Failed(_) => true,
    });
    assert_eq!(bad.count(), 0, "\n{}", table(&results));
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_passes() {
    pass(daemon(), |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_of_a_short_resume_window_passes() {
    pass(daemon_with(Duration::from_secs(1)), |case| case.window.is_some()).await;
}
