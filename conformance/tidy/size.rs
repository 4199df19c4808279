//! How long files and functions may get before they ask to be taken apart.

use crate::lexer::Token;
use crate::source::{Source, after_group};
use crate::{Finding, Rule};

const FILE: usize = 600;
const FUNCTION: usize = 70;
const FILE_OUTSIDE_SRC: usize = 900;

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let beside = ["conformance/", "benches/", "examples/"].iter().any(|top| source.path.starts_with(top));
    let limit = match (source.in_src(), beside && source.path.ends_with(".rs")) {
        (true, _) => FILE,
        (false, true) => FILE_OUTSIDE_SRC,
        (false, false) => return Vec::new(),
    };
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > limit {
        let message = format!("the file has {lines} lines, {limit} are allowed: split it by subject");
        findings.push(Finding::new(Rule::Size, source, limit + 1, message));
    }
    if source.in_src() {
        findings.extend(long_functions(source));
    }
    findings
}

fn long_functions(source: &Source) -> impl Iterator<Item = Finding> {
    let long = functions(&source.tokens).filter(|function| function.lines > FUNCTION);
    long.map(|Function { name, line, lines }| {
        let message =
            format!("the body of `{name}` has {lines} lines, {FUNCTION} are allowed: name its steps");
        Finding::new(Rule::Size, source, line, message)
    })
}

struct Function<'a> {
    name: &'a str,
    line: usize,
    /// From the opening to the closing brace, both included.
    lines: usize,
}

/// The functions outside tests that have a body. A function within another counts for both.
fn functions(tokens: &[Token]) -> impl Iterator<Item = Function<'_>> {
    let named = |pair: &[Token]| pair[0].is("fn") && pair[1].is_word() && !pair[0].test;
    let starts = tokens.windows(2).enumerate().filter(move |(_, pair)| named(pair));
    starts.filter_map(|(at, pair)| {
        let open = body(tokens, at)?;
        let close = after_group(tokens, open) - 1;
        Some(Function {
            name: &pair[1].text,
            line: pair[0].line,
            lines: tokens[close].line - tokens[open].line + 1,
        })
    })
}

/// The opening brace of the function whose `fn` is at `at`; none for a declaration.
fn body(tokens: &[Token], mut at: usize) -> Option<usize> {
    loop {
        match tokens.get(at)?.text.as_str() {
            "{" => return Some(at),
            ";" => return None,
            "(" | "[" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    fn function(body: usize) -> String {
        format!("fn f(x: [u8; 2])\nwhere\n    A: B,\n{{\n{}}}\n", "    \"}\";\n".repeat(body - 2))
    }

    #[test]
    fn long_files_are_caught() {
        for (path, limit) in [("src/wire/x.rs", 600), ("conformance/x.rs", 900), ("examples/a/x.rs", 900)] {
            assert!(lines(Rule::Size, path, &"\n".repeat(limit)).is_empty(), "{path}");
            assert_eq!(lines(Rule::Size, path, &"\n".repeat(limit + 1)), [limit + 1], "{path}");
        }
        assert!(lines(Rule::Size, "docs/x.md", &"\n".repeat(1000)).is_empty());
        assert!(lines(Rule::Size, "examples/x.json", &"\n".repeat(1000)).is_empty());
    }

    #[test]
    fn long_functions_are_caught() {
        let found = |text: &str| lines(Rule::Size, "src/wire/x.rs", text);
        assert!(found(&function(70)).is_empty());
        assert_eq!(found(&format!("\n{}", function(71))), [2]);
        assert_eq!(found(&format!("impl A {{\nfn g();\n{}}}", function(71))), [3]);
        assert!(found(&format!("{}{}", function(70), function(70))).is_empty());
        assert!(found(&format!("#[cfg(test)] mod tests {{ {} }}", function(71))).is_empty());
        assert!(
            found(&format!("type F = fn(u8);\nmod m {{ {} {} }}", function(40), function(40))).is_empty()
        );
        assert!(lines(Rule::Size, "conformance/x.rs", &function(71)).is_empty());
    }

    #[test]
    fn the_message_names_the_function_and_its_length() {
        let message = &check(&Source::parse("src/wire/x.rs", &function(71)))[0].message;
        assert!(message.contains("`f` has 71 lines"), "{message}");
    }
}
