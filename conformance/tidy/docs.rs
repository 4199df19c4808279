//! What rustc's `missing_docs` does not ask for: module docs everywhere, and the specification's section at
//! the wire's types.

use crate::source::Source;
use crate::{Finding, Rule};

/// The modules of `src/wire/` whose types the specification defines.
const SPECIFIED: [&str; 6] = ["session", "job", "event", "lease", "error", "envelope"];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !source.in_src() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let first = source.text.lines().map(str::trim).enumerate().find(|(_, line)| !line.is_empty());
    if !first.is_some_and(|(_, line)| line.starts_with("//!")) {
        let line = first.map_or(1, |(index, _)| index + 1);
        let message = "the file does not begin with a `//!` doc: say what the module is for".into();
        findings.push(Finding::new(Rule::Docs, source, line, message));
    }
    if let ["wire", module, ..] = source.module()[..]
        && SPECIFIED.contains(&module)
    {
        findings.extend(types_without_section(source));
    }
    findings
}

fn types_without_section(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, three) in source.tokens.windows(3).enumerate() {
        let kind = three[0].is("pub") && !three[0].test && (three[1].is("struct") || three[1].is("enum"));
        if kind && !doc(source, at).contains('§') {
            let name = &three[2].text;
            let message =
                format!("the doc of `{name}` names no section of the specification: add it, as in `(§6.2)`");
            findings.push(Finding::new(Rule::Docs, source, three[0].line, message));
        }
    }
    findings
}

/// The doc comments of the item at `at`, which may stand before, between or behind its attributes.
fn doc(source: &Source, at: usize) -> String {
    let tokens = &source.tokens;
    let mut start = at;
    while start > 0 && tokens[start - 1].is("]") {
        let mut depth = 0;
        let open = tokens[..start].iter().rposition(|token| {
            depth += i32::from(token.is("]")) - i32::from(token.is("["));
            depth == 0
        });
        match open.filter(|&open| open > 0 && tokens[open - 1].is("#")) {
            Some(open) => start = open - 1,
            None => break,
        }
    }
    let own = |next: usize| (start..=at).contains(&next);
    let docs = source.comments.iter().filter(|comment| comment.documents_next() && own(comment.next));
    docs.map(|comment| comment.text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    #[test]
    fn files_begin_with_their_doc() {
        let found = |path: &str, text: &str| lines(Rule::Docs, path, text);
        assert_eq!(found("src/lib.rs", "\nuse a::b;\n//! late"), [2]);
        assert_eq!(found("src/wire/mod.rs", "// no doc\n"), [1]);
        assert_eq!(found("src/wire/mod.rs", ""), [1]);
        assert!(found("src/wire/mod.rs", "\n//! Bytes and messages.\n").is_empty());
        assert!(found("examples/x.rs", "fn main() {}").is_empty());
    }

    #[test]
    fn wire_types_name_their_section() {
        let found = |text: &str| lines(Rule::Docs, "src/wire/job.rs", text);
        assert_eq!(found("//! §7\npub struct Job;"), [2]);
        assert_eq!(found("//! x\n/// A job.\n#[derive(A, B)]\n#[x(y = [1])]\npub enum Job {}"), [5]);
        assert_eq!(found("//! x\n/// One (§7).\npub struct A;\n/// Two.\npub struct B;"), [5]);
        assert_eq!(found("//! x\n// §7\npub struct A;"), [3]);
        assert!(
            found("//! x\n/// A job,\n/// accepted (§7.1).\n#[derive(A, B)]\n#[x(y = [1])]\npub struct Job;")
                .is_empty()
        );
        assert!(found("//! x\n#[derive(A)]\n/** A job (§7). */\n#[b]\npub enum Job {}").is_empty());
        assert!(found("//! x\npub(crate) struct A; struct B; pub fn f() {}").is_empty());
        assert!(found("//! x\n#[cfg(test)] mod tests { pub struct A; }").is_empty());
    }

    #[test]
    fn only_specified_modules_owe_a_section() {
        let text = "//! x\npub struct Id;";
        assert_eq!(lines(Rule::Docs, "src/wire/lease/pattern.rs", text), [2]);
        assert_eq!(lines(Rule::Docs, "src/wire/envelope.rs", text), [2]);
        assert!(lines(Rule::Docs, "src/wire/id.rs", text).is_empty());
        assert!(lines(Rule::Docs, "src/proto/job.rs", text).is_empty());
    }
}
