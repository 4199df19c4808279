//! One file of the tree, lexed, with the code that only tests compile marked.

use crate::lexer::{self, Comment, Token};
use crate::paths::{self, Path};

pub(crate) struct Source {
    /// From the top of the repository, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Empty unless the file is Rust.
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
    /// The paths and words that code outside tests names.
    pub(crate) named: Vec<Path>,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let lexed = if path.ends_with(".rs") { lexer::lex(text) } else { lexer::Lexed::default() };
        let mut tokens = lexed.tokens;
        mark_tests(&mut tokens);
        let code: Vec<Token> = tokens.iter().filter(|token| !token.test).cloned().collect();
        let named = paths::named(&code);
        Self { path: path.into(), text: text.into(), tokens, comments: lexed.comments, named }
    }

    /// Declares that the whole file is compiled for tests only.
    pub(crate) fn mark_as_test(&mut self) {
        self.tokens.iter_mut().for_each(|token| token.test = true);
        self.named.clear();
    }

    pub(crate) fn in_src(&self) -> bool {
        self.path.starts_with("src/") && self.path.ends_with(".rs")
    }

    /// The top-level module below `src/` (`lib` and `main` for the crate roots), if the file is there.
    pub(crate) fn area(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        inside.split('/').next()
    }

    /// The module that the file holds, from the crate's root.
    pub(crate) fn module(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")).unwrap_or("");
        let mut module: Vec<&str> = inside.split('/').collect();
        if module.last() == Some(&"mod") || matches!(module[..], ["lib" | "main"]) {
            module.pop();
        }
        module
    }

    /// The modules in files of their own that this file declares for tests only (`#[cfg(test)] mod tests;`),
    /// as paths without `.rs`.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let below = ["src"].into_iter().chain(self.module()).collect::<Vec<_>>().join("/");
        self.tokens
            .windows(3)
            .filter(|three| three[0].test && three[0].is("mod") && three[1].is_word() && three[2].is(";"))
            .map(|three| format!("{below}/{}", three[1].text))
            .collect()
    }

    /// The lines on which code outside tests names `pattern`: a path if it has only words and `::` (a `::`
    /// at its end asks for something after it), tokens in a row otherwise.
    pub(crate) fn uses(&self, pattern: &str) -> Vec<usize> {
        let wanted = lexer::texts(pattern);
        if wanted.iter().all(|text| text == "::" || text.starts_with(|c: char| c.is_alphabetic())) {
            let words: Vec<&str> = wanted.iter().map(String::as_str).filter(|&text| text != "::").collect();
            let more = usize::from(pattern.ends_with("::"));
            let offends = |path: &[String]| {
                let starts = path.windows(words.len() + more);
                starts.into_iter().any(|window| window.iter().zip(&words).all(|(a, b)| a == b))
            };
            return self.named.iter().filter(|path| path.offends(offends)).map(|path| path.line).collect();
        }
        self.rows(pattern).filter(|token| !token.test).map(|token| token.line).collect()
    }

    /// The first token of every place, in tests too, where the tokens of `pattern` stand in a row.
    pub(crate) fn rows(&self, pattern: &str) -> impl Iterator<Item = &Token> {
        let wanted = lexer::texts(pattern);
        let rows = self.tokens.windows(wanted.len());
        rows.filter(move |row| row.iter().zip(&wanted).all(|(a, b)| a.is(b))).map(|row| &row[0])
    }
}

/// The index just after the group that opens at `open` (a bracket of any kind).
pub(crate) fn after_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// Marks every item (or field, arm, statement) under `#[cfg(test)]` or `#[test]` and its kin.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        let Some(attribute) = attribute_at(tokens, at) else {
            at += 1;
            continue;
        };
        let end = match (is_test_attribute(&tokens[attribute.body..attribute.end]), attribute.inner) {
            (false, _) => attribute.end,
            (true, false) => after_item(tokens, attribute.end),
            // `#![cfg(test)]` speaks for the whole file.
            (true, true) => tokens.len(),
        };
        if end > attribute.end {
            tokens[at..end].iter_mut().for_each(|token| token.test = true);
        }
        at = end;
    }
}

struct Attribute {
    inner: bool,
    body: usize,
    end: usize,
}

fn attribute_at(tokens: &[Token], at: usize) -> Option<Attribute> {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.is(text));
    let inner = is(at + 1, "!");
    let open = at + 1 + usize::from(inner);
    (is(at, "#") && is(open, "[")).then(|| Attribute {
        inner,
        body: open + 1,
        end: after_group(tokens, open),
    })
}

/// Whether `body` (with the closing bracket) is `cfg(test)`, `cfg(all(…, test, …))`, `test` or `….::test`.
fn is_test_attribute(body: &[Token]) -> bool {
    let texts: Vec<&str> = body.iter().map(|token| token.text.as_str()).collect();
    match texts.as_slice() {
        ["cfg", "(", "test", ")", ..] => true,
        ["cfg", "(", "all", "(", conditions @ ..] => {
            let mut depth = 0;
            conditions.iter().any(|&text| {
                depth += i32::from(text == "(") - i32::from(text == ")");
                depth == 0 && text == "test"
            })
        }
        texts => {
            let path = texts.split(|&text| text == "(" || text == "]").next().unwrap_or_default();
            path.last() == Some(&"test")
        }
    }
}

/// Words that begin an item or statement; anything else under an attribute is a field, a variant or an arm.
const ITEM: [&str; 20] = [
    "mod",
    "fn",
    "use",
    "impl",
    "struct",
    "enum",
    "trait",
    "const",
    "static",
    "type",
    "unsafe",
    "async",
    "extern",
    "macro_rules",
    "let",
    "for",
    "if",
    "loop",
    "match",
    "while",
];

/// The index just after the item that starts at `start`, behind its first attribute.
fn after_item(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while let Some(attribute) = attribute_at(tokens, at) {
        at = attribute.end;
    }
    // A field may say `pub` too, and ends at a comma; a function's or impl's commas do not end it.
    let first = tokens[at..].iter().take(8).find(|token| token.is_word() && !is_visibility(token));
    let starts_with = |text: &str| tokens.get(at).is_some_and(|token| token.is(text));
    let item = starts_with("{") || first.is_some_and(|token| ITEM.contains(&token.text.as_str()));
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at + 1,
            "," if !item => return at + 1,
            ")" | "]" | "}" => return at,
            "{" if item || tokens[at - 1].is("!") => return after_group(tokens, at),
            "(" | "[" | "{" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

fn is_visibility(token: &Token) -> bool {
    ["pub", "crate", "super", "self", "in"].contains(&token.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_outside_tests(text: &str) -> String {
        let source = Source::parse("src/a.rs", text);
        let code = source.tokens.iter().filter(|token| token.is_word() && !token.test);
        code.map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn test_items_are_not_code() {
        assert_eq!(words_outside_tests("a! {} #[cfg(test)] mod tests { fn x() { y } } b"), "a b");
        assert_eq!(
            words_outside_tests("#[cfg(all(unix, test))] #[x(y)] pub(crate) fn f<A, B>() -> [u8; 2] { c } b"),
            "b"
        );
        assert_eq!(
            words_outside_tests("#[test] fn f() {} #[tokio::test(flavor = \"x\")] async fn g() {} b"),
            "b"
        );
        assert_eq!(words_outside_tests("#[cfg(test)] use a::b; #[cfg(test)] mod c; d"), "d");
        assert_eq!(words_outside_tests("#[cfg(test)] impl<A, B> C<A, B> { } d"), "d");
        assert_eq!(words_outside_tests("S { #[cfg(test)] pub(crate) a: B<(C, D)>, e: F }"), "S e F");
        assert_eq!(words_outside_tests("match x { #[cfg(test)] A { b } => c, D => d }"), "match x D d");
        assert_eq!(words_outside_tests("E { A, #[cfg(test)] B } f"), "E A f");
        assert_eq!(words_outside_tests("#[cfg(test)] proptest! { a } b; #[cfg(test)] { c } d;"), "b d");
        assert_eq!(words_outside_tests("#![cfg(test)] a b"), "");
    }

    #[test]
    fn other_items_are_code() {
        assert_eq!(words_outside_tests("#[cfg(not(test))] mod a { b }"), "cfg not test mod a b");
        assert_eq!(words_outside_tests("#[cfg(any(test, unix))] mod a;"), "cfg any test unix mod a");
        assert_eq!(words_outside_tests("#[cfg(all(unix, not(test)))] mod a;"), "cfg all unix not test mod a");
        assert_eq!(
            words_outside_tests("#[derive(A)] struct B; mod tests { c }"),
            "derive A struct B mod tests c"
        );
        assert_eq!(words_outside_tests("// #[cfg(test)]\nmod a { b }"), "mod a b");
    }

    #[test]
    fn files_know_their_module() {
        let module = |path: &str| Source::parse(path, "").module().join("::");
        assert_eq!(module("src/wire/mod.rs"), "wire");
        assert_eq!(module("src/wire/job.rs"), "wire::job");
        assert_eq!(module("src/wire.rs"), "wire");
        assert_eq!(module("src/lib.rs"), "");
        assert_eq!(Source::parse("src/wire/job.rs", "").area(), Some("wire"));
        assert_eq!(Source::parse("src/embed.rs", "").area(), Some("embed"));
        assert_eq!(Source::parse("conformance/a.rs", "").area(), None);
    }

    #[test]
    fn test_modules_in_other_files_are_found() {
        let text = "mod a; #[cfg(test)] mod tests; #[cfg(test)] mod inline {}";
        assert_eq!(Source::parse("src/wire/mod.rs", text).test_modules(), ["src/wire/tests"]);
        assert_eq!(Source::parse("src/wire/job.rs", text).test_modules(), ["src/wire/job/tests"]);
        assert_eq!(Source::parse("src/lib.rs", text).test_modules(), ["src/tests"]);
    }

    #[test]
    fn uses_follow_paths_and_rows() {
        let uses = |pattern: &str, text: &str| Source::parse("src/a.rs", text).uses(pattern);
        assert_eq!(uses("std::fs", "use std::{\n io,\n fs::{self, File},\n};"), [3, 3]);
        assert_eq!(uses("std::fs", "fn f() {\n ::std::fs::read() }"), [2]);
        assert_eq!(uses("rand::", "fn f(rand: u8) { rand }\nuse rand::Rng;"), [2]);
        assert_eq!(uses("todo !", "fn f() {\n todo! () }"), [2]);
        assert_eq!(uses(". await", "x\n . await"), [2]);
        assert!(uses("std::fs", "// std::fs\n/* std::fs */ \"std::fs\"; stdx::fs; my::fs").is_empty());
    }
}
