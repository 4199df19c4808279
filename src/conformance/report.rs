//! What came of a run, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::case::Case;
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
}
