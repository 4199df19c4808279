//! Keeps the source tree in the shape that the design gives it.
//!
//! Every rule is a pure function from one parsed file to its findings; [`tree`] reads the files. The rules
//! look at tokens (see [`lexer`]), so comments, string literals and test code cannot trip or hide anything.
//! Each rule's module tests, on small sources, that it catches a breach and accepts the good twin.

mod docs;
mod layers;
mod lexer;
mod names;
mod paths;
mod places;
mod size;
mod source;
mod tree;

use std::fmt;

use source::Source;

/// What is enforced; one test below for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Layering,
    Purity,
    Borders,
    Dialects,
    Size,
    Docs,
    Bans,
    Secrets,
    Places,
}

/// One breach: where it is, which rule it breaks, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    rule: Rule,
    message: String,
}

impl Finding {
    fn new(rule: Rule, source: &Source, line: usize, message: String) -> Self {
        Self { path: source.path.clone(), line, rule, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {:?}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// Applies one rule to one file; findings come in the order of their lines, each once.
fn check(rule: Rule, source: &Source) -> Vec<Finding> {
    let mut findings = match rule {
        Rule::Layering => layers::check(source),
        Rule::Purity => names::purity(source),
        Rule::Borders => names::borders(source),
        Rule::Dialects => names::dialects(source),
        Rule::Size => size::check(source),
        Rule::Docs => docs::check(source),
        Rule::Bans => names::bans(source),
        Rule::Secrets => names::secrets(source),
        Rule::Places => places::check(source),
    };
    findings.sort();
    findings.dedup();
    findings
}

/// The lines on which `rule` finds something in `text`, were it the file `path`.
#[cfg(test)]
fn lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    check(rule, &Source::parse(path, text)).into_iter().map(|finding| finding.line).collect()
}

/// Fails with the list of everything in the tree that breaks `rule`.
fn enforce(rule: Rule) {
    let found: Vec<String> = match tree::files() {
        Ok(files) => {
            files.iter().flat_map(|file| check(rule, file)).map(|finding| finding.to_string()).collect()
        }
        Err(error) => vec![format!("the tree cannot be read: {error}")],
    };
    assert!(found.is_empty(), "{} finding(s):\n{}", found.len(), found.join("\n"));
}

#[test]
fn src_holds_rust_files() {
    let files = tree::files().as_ref().expect("the tree can be read");
    assert!(files.iter().any(Source::in_src), "no .rs file below src/: the other tests would hold vacuously");
}

#[test]
fn modules_name_only_what_their_layer_may_know() {
    enforce(Rule::Layering);
}

#[test]
fn wire_and_proto_are_pure() {
    enforce(Rule::Purity);
}

#[test]
fn libraries_stay_behind_their_borders() {
    enforce(Rule::Borders);
}

#[test]
fn dialects_stay_inside_the_wire() {
    enforce(Rule::Dialects);
}

#[test]
fn files_and_functions_stay_small() {
    enforce(Rule::Size);
}

#[test]
fn files_and_wire_types_say_what_they_are() {
    enforce(Rule::Docs);
}

#[test]
fn source_has_no_loose_ends() {
    enforce(Rule::Bans);
}

#[test]
fn secrets_are_opened_only_at_the_edges() {
    enforce(Rule::Secrets);
}

#[test]
fn files_name_no_machine_and_no_registry() {
    enforce(Rule::Places);
}

#[test]
fn a_finding_says_where_and_which_rule() {
    let source = Source::parse("src/proto/job.rs", "//! x\n\nuse tokio::fs;\n");
    let shown = check(Rule::Purity, &source)[0].to_string();
    assert!(shown.starts_with("src/proto/job.rs:3: Purity: `tokio`"), "{shown}");
}
