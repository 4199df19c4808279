//! What came of a run, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::case::Case;
use super::catalogue::RequirementId;
use super::run::{Ran, Verdict};

/// Every case with what came of it.
pub type Results<'a> = [(&'a Case, Ran)];

/// How many cases passed, failed and are pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything was as expected.
    pub passed: usize,
    /// Something was not.
    pub failed: usize,
    /// The runtime does not offer what they take.
    pub pending: usize,
}

/// Counts the verdicts.
pub fn counts(results: &Results<'_>) -> Counts {
    results.iter().fold(Counts::default(), |counts, (_, ran)| match ran.verdict {
        Verdict::Passed => Counts { passed: counts.passed + 1, ..counts },
        Verdict::Failed(_) => Counts { failed: counts.failed + 1, ..counts },
        Verdict::Pending(_) => Counts { pending: counts.pending + 1, ..counts },
    })
}

/// The requirements that a case checks, as one text.
fn checks(case: &Case) -> String {
    case.checks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// One line for each case.
pub fn table(results: &Results<'_>) -> String {
    let mut text = String::new();
    for (case, ran) in results {
        // Writing to a String cannot fail.
        let _ = match &ran.verdict {
            Verdict::Passed => writeln!(text, "ok       {}", case.name),
            Verdict::Pending(why) => writeln!(text, "pending  {} ({why})", case.name),
            Verdict::Failed(failure) => {
                let requirement = failure.requirement.map_or_else(|| checks(case), String::from);
                let place = format!("{} line {}", case.name, failure.line);
                writeln!(text, "FAIL     {place} [{requirement}]: {}", failure.what)
            }
        };
    }
    text
}

/// The run as one JSON object.
pub fn json(results: &Results<'_>) -> Value {
    let Counts { passed, failed, pending } = counts(results);
    let cases = results.iter().map(|(case, ran)| {
        let (verdict, line, what, requirement) = match &ran.verdict {
            Verdict::Passed => ("passed", None, None, None),
            Verdict::Pending(why) => ("pending", None, Some(why.as_str()), None),
            Verdict::Failed(failure) => {
                ("failed", Some(failure.line), Some(failure.what.as_str()), failure.requirement)
            }
        };
        json!({
            "name": case.name, "title": case.title, "verdict": verdict, "line": line, "what": what,
            "checks": case.checks.iter().map(ToString::to_string).collect::<Vec<_>>(), "requirement": requirement
        })
    });
    json!({ "passed": passed, "failed": failed, "pending": pending, "cases": cases.collect::<Vec<_>>() })
}

/// The run as JUnit's XML, for tools that show test results.
pub fn junit(results: &Results<'_>) -> String {
    let Counts { failed, pending, .. } = counts(results);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuite name=\"arcp-conformance\" tests=\"{}\" failures=\"{failed}\" skipped=\"{pending}\">",
        results.len()
    );
    for (case, ran) in results {
        let (area, name) = case.name.split_once('/').unwrap_or(("", &case.name));
        let inner = match &ran.verdict {
            Verdict::Passed => String::new(),
            Verdict::Pending(why) => format!("<skipped message=\"{}\"/>", escaped(why)),
            Verdict::Failed(failure) => {
                format!("<failure message=\"line {}: {}\"/>", failure.line, escaped(&failure.what))
            }
        };
        let _ = writeln!(text, "  <testcase classname=\"{area}\" name=\"{name}\">{inner}</testcase>");
    }
    text.push_str("</testsuite>\n");
    text
}

/// The run as two tables in Markdown: what failed, and what came of each requirement. Equal runs make equal tables.
pub fn markdown(results: &Results<'_>) -> String {
    let Counts { passed, failed, pending } = counts(results);
    let mut text = format!("{passed} cases passed, {failed} failed, {pending} are pending.\n");
    text.push_str("\n| case | requirement | what was expected, and what came |\n| --- | --- | --- |\n");
    for (case, ran) in results {
        if let Verdict::Failed(failure) = &ran.verdict {
            let requirement = failure.requirement.map_or_else(|| checks(case), String::from);
            let what = code(&failure.what);
            let _ = writeln!(text, "| {} line {} | {requirement} | {what} |", case.name, failure.line);
        }
    }
    text.push_str("\n| requirement | outcome | cases |\n| --- | --- | --- |\n");
    for (requirement, (outcome, cases)) in matrix(results) {
        let cases = cases.into_iter().collect::<Vec<_>>().join(", ");
        let outcome = match outcome {
            Outcome::Open => "open",
            Outcome::Kept => "kept",
            Outcome::Broken => "broken",
        };
        let _ = writeln!(text, "| {requirement} | {outcome} | {cases} |");
    }
    text
}

/// What came of a requirement. Of several cases that counts which stands last here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// No case came to it.
    Open,
    /// Every case that came to it passed.
    Kept,
    /// A case that checks it failed, or a frame broke it.
    Broken,
}

/// Every requirement that is checked or was broken, with its cases.
fn matrix<'a>(results: &'a Results<'_>) -> BTreeMap<RequirementId, (Outcome, BTreeSet<&'a str>)> {
    let mut matrix = BTreeMap::new();
    let mut note = |requirement, outcome: Outcome, case: &'a str| {
        let (worst, cases) = matrix.entry(requirement).or_insert((outcome, BTreeSet::new()));
        *worst = outcome.max(*worst);
        cases.insert(case);
    };
    for (case, ran) in results {
        let (outcome, rule) = match &ran.verdict {
            Verdict::Passed => (Outcome::Kept, None),
            Verdict::Pending(_) => (Outcome::Open, None),
            Verdict::Failed(failure) => match failure.requirement.and_then(|id| id.parse().ok()) {
                // A rule of every frame was broken: the case did not come to what it checks.
                Some(rule) => (Outcome::Open, Some(rule)),
                None => (Outcome::Broken, None),
            },
        };
        case.checks.iter().for_each(|requirement| note(*requirement, outcome, &case.name));
        rule.into_iter().for_each(|rule| note(rule, Outcome::Broken, &case.name));
    }
    matrix
}

/// Shortest run of letters and digits that is taken for an id of one run only, in characters.
const ID_CHARS: usize = 26;

/// A text as Markdown shows code in a table, without ids, which differ from run to run.
fn code(text: &str) -> String {
    let mut rest = text;
    let mut shown = String::from("`");
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        match (word, c) {
            (ID_CHARS.., _) => shown.push('…'),
            (0, '|') => shown.push_str("\\|"),
            (0, '`') => shown.push('\''),
            (0, c) if c.is_control() => shown.push(' '),
            (0, c) => shown.push(c),
            (word, _) => shown.push_str(&rest[..word]),
        }
        rest = &rest[word.max(c.len_utf8())..];
    }
    shown.push('`');
    shown
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML 1.0 has no word for most control characters.
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::run::Failure;
    use super::*;

    #[test]
    fn a_run_is_told_in_every_form() {
        let case = |name: &str| Case::read(name, "# It works.\nchecks ARCP-7.4-1\na connect\n").unwrap();
        let cases = [case("a/one"), case("a/two"), case("b/three")];
        let failure = Failure { line: 3, requirement: None, what: "expected <x> & \"y\"".into() };
        let verdicts = [Verdict::Passed, Verdict::Failed(failure), Verdict::Pending("no bob".into())];
        let ran = verdicts.map(|verdict| Ran { verdict, transcript: Vec::new() });
        let results: Vec<(&Case, Ran)> = cases.iter().zip(ran).collect();
        assert_eq!(counts(&results), Counts { passed: 1, failed: 1, pending: 1 });
        assert!(table(&results).contains("FAIL     a/two line 3 [ARCP-7.4-1]: expected <x>"));
        assert_eq!(json(&results)["cases"][1]["line"], 3);
        let xml = junit(&results);
        assert!(xml.contains("<testcase classname=\"a\" name=\"two\"><failure message=\"line 3: expected &lt;x&gt; &amp; &quot;y&quot;\"/>"));
        assert!(xml.contains("failures=\"1\" skipped=\"1\""));
    }
    #[test]
    fn markdown_tells_what_failed_and_what_came_of_each_requirement() {
        let case = |name: &str, checks: &str| {
            Case::read(name, &format!("# It works.\nchecks {checks}\na connect\n")).unwrap()
        };
        let cases = [
            case("a/one", "ARCP-7.4-1 ARCP-7.3-1"),
            case("a/two", "ARCP-7.4-1"),
            case("b/three", "ARCP-7.3-1 ARCP-8.3-1"),
            case("b/four", "ARCP-9.1-1"),
        ];
        let failed =
            |requirement, what: &str| Verdict::Failed(Failure { line: 3, requirement, what: what.into() });
        let verdicts = [
            Verdict::Passed,
            failed(None, "expected `x`, got a|b\nof job_01M7WYB5PRTVRP1NY239Q89Y8G"),
            failed(Some("ARCP-5-1"), "no id"),
            Verdict::Pending("no bob".into()),
        ];
        let ran = verdicts.map(|verdict| Ran { verdict, transcript: Vec::new() });
        let results: Vec<(&Case, Ran)> = cases.iter().zip(ran).collect();
        let expected = [
            "1 cases passed, 2 failed, 1 are pending.",
            "",
            "| case | requirement | what was expected, and what came |",
            "| --- | --- | --- |",
            "| a/two line 3 | ARCP-7.4-1 | `expected 'x', got a\\|b of job_…` |",
            "| b/three line 3 | ARCP-5-1 | `no id` |",
            "",
            "| requirement | outcome | cases |",
            "| --- | --- | --- |",
            "| ARCP-5-1 | broken | b/three |",
            "| ARCP-7.3-1 | kept | a/one, b/three |",
            "| ARCP-7.4-1 | broken | a/one, a/two |",
            "| ARCP-8.3-1 | open | b/three |",
            "| ARCP-9.1-1 | open | b/four |",
            "",
        ];
        assert_eq!(markdown(&results), expected.join("\n"));
    }
}
