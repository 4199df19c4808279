//! The suite itself is checked: daemons that are wrong on purpose, and the requirement by which the suite has to catch
//! each. A mutant counts as caught when a case that checks one of its requirements fails by what the case expects, or
//! when any case fails by a rule of every frame that has one of them.

mod events;
mod jobs;
mod listing;
mod results;
mod sessions;
mod subscriptions;
mod uncaught;

use std::collections::BTreeMap;
use std::future::ready;
use std::pin::pin;

use arcpd::conformance::case::Case;
use arcpd::conformance::cases;
use arcpd::conformance::run::{Profile, Ran, Verdict, probe, run};
use futures_util::StreamExt as _;
use futures_util::stream;

use self::uncaught::UNCAUGHT;
use super::bent::{Bend, Numbers, connector};
use super::{daemon, target, target_of};

/// A daemon that is wrong on purpose.
struct Mutant {
    /// What it does wrong.
    does: &'static str,
    /// The requirements that this breaks.
    breaks: &'static [&'static str],
    bend: Bend,
    numbers: Numbers,
}

const fn mutant(does: &'static str, breaks: &'static [&'static str], bend: Bend) -> Mutant {
    Mutant { does, breaks, bend, numbers: Numbers::Sound }
}

/// One whose numbers are its mistake.
const fn misnumbered(does: &'static str, breaks: &'static [&'static str], bend: Bend) -> Mutant {
    Mutant { does, breaks, bend, numbers: Numbers::Bent }
}

fn all() -> impl Iterator<Item = &'static Mutant> {
    let tables =
        [sessions::TABLE, listing::TABLE, jobs::TABLE, events::TABLE, subscriptions::TABLE, results::TABLE];
    tables.into_iter().flatten()
}

/// Mutants that are tried at a time: most of their time they wait.
const AT_A_TIME: usize = 64;

fn fails_as_it_should(mutant: &Mutant, case: &Case, ran: &Ran) -> bool {
    let Verdict::Failed(failure) = &ran.verdict else { return false };
    match failure.requirement {
        Some(rule) => mutant.breaks.contains(&rule),
        None => case.checks.iter().any(|id| mutant.breaks.contains(&id.to_string().as_str())),
    }
}

/// The case that catches a mutant, among those that check what it breaks; where no case does, any may see a rule broken.
async fn caught_by(mutant: &Mutant, cases: &[Case], profile: &Profile) -> Option<String> {
    let runtime = daemon();
    let target = target_of(connector(&runtime, mutant.bend, mutant.numbers));
    let breaks = |case: &&Case| case.checks.iter().any(|id| mutant.breaks.contains(&id.to_string().as_str()));
    let (likely, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(breaks);
    let tried = if likely.is_empty() { others } else { likely };
    let each = tried.into_iter().map(async |case| (case, run(case, &target, profile).await));
    let failing = stream::iter(each).buffer_unordered(32);
    let caught = failing.filter(|(case, ran)| ready(fails_as_it_should(mutant, case, ran)));
    pin!(caught).next().await.map(|(case, _)| case.name.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutant_is_caught_by_what_it_breaks() {
    let honest = daemon();
    let profile = probe(&target(&honest)).await.unwrap();
    honest.stop().await;
    let cases = cases::built_in().unwrap_or_else(|bad| panic!("{bad}"));
    let each = all().map(async |mutant| (mutant, caught_by(mutant, &cases, &profile).await));
    let tried: Vec<_> = stream::iter(each).buffer_unordered(AT_A_TIME).collect().await;
    let missing: BTreeMap<_, _> = UNCAUGHT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (Mutant { does, breaks, .. }, caught) in &tried {
        match (caught, missing.contains_key(does)) {
            (Some(_), false | true) | (None, true) => {}
            (None, false) => wrong.push(format!("{does:?}: no case fails by {}", breaks.join(" or "))),
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {} mutants:\n{}", wrong.len(), tried.len(), wrong.join("\n"));
    assert!(missing.keys().all(|does| all().any(|mutant| mutant.does == *does)), "UNCAUGHT names no mutant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_bends_nothing_passes_everything() {
    let runtime = daemon();
    let sound = Bend::Any(|_, _, frame| vec![frame]);
    let target = target_of(connector(&runtime, sound, Numbers::Sound));
    let profile = probe(&target).await.unwrap();
    let cases = cases::built_in().unwrap_or_else(|bad| panic!("{bad}"));
    let each = cases.iter().map(async |case| (case, run(case, &target, &profile).await));
    let results: Vec<_> = stream::iter(each).buffered(8).collect().await;
    let failed = results.iter().any(|(_, ran)| matches!(ran.verdict, Verdict::Failed(_)));
    assert!(!failed, "\n{}", arcpd::conformance::report::table(&results));
    runtime.stop().await;
}

#[test]
fn every_mutant_has_a_name_of_its_own_and_breaks_what_the_catalogue_has() {
    let catalogue = arcpd::conformance::catalogue::Catalogue::built_in().unwrap();
    let mut names: Vec<_> = all().map(|mutant| mutant.does).collect();
    assert!(names.len() >= 40, "{} mutants", names.len());
    for id in all().flat_map(|mutant| mutant.breaks) {
        assert!(catalogue.find(id.parse().unwrap()).is_ok(), "{id}");
    }
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "two mutants have one name");
}
