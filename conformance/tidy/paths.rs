//! The paths that code names: `a::b` in expressions and types, and `use` trees taken apart.

use std::collections::HashMap;

use crate::lexer::Token;

/// A path, or a single word, as the code names it.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    /// The line of its last segment.
    pub(crate) line: usize,
    /// The inline modules around it, outermost first.
    pub(crate) within: Vec<String>,
    /// What the first segment was imported as.
    import: Option<Vec<String>>,
}

impl Path {
    /// Whether the path offends as it is written, or as its imports complete it. An import that offends by
    /// itself is reported where it stands, not again at each use.
    pub(crate) fn offends(&self, rule: impl Fn(&[String]) -> bool) -> bool {
        let completed = |import: &Vec<String>| {
            let whole = [import.as_slice(), &self.segments[1..]].concat();
            !rule(import) && rule(&whole)
        };
        rule(&self.segments) || self.import.as_ref().is_some_and(completed)
    }
}

/// All paths of `tokens`, in their order.
pub(crate) fn named(tokens: &[Token]) -> Vec<Path> {
    let mut reader =
        Reader { tokens, at: 0, within: Vec::new(), depth: 0, paths: Vec::new(), imports: HashMap::new() };
    while reader.at < tokens.len() {
        reader.step();
    }
    let Reader { mut paths, imports, .. } = reader;
    for path in &mut paths {
        path.import = imports.get(&path.segments[0]).filter(|_| path.segments.len() > 1).cloned();
    }
    paths
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Inline modules that are open, each with the depth of braces inside it.
    within: Vec<(String, usize)>,
    depth: usize,
    paths: Vec<Path>,
    /// Local name → what it stands for. One scope a file: close enough to find what hides behind a name.
    imports: HashMap<String, Vec<String>>,
}

impl Reader<'_> {
    fn is(&self, ahead: usize, text: &str) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(|token| token.is(text))
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        self.tokens.get(self.at + ahead).filter(|token| token.is_word()).map(|token| token.text.as_str())
    }

    fn step(&mut self) {
        if self.is(0, "{") {
            self.depth += 1;
        } else if self.is(0, "}") {
            self.within.pop_if(|(_, inside)| *inside == self.depth);
            self.depth = self.depth.saturating_sub(1);
        } else if self.is(0, "use") {
            self.at += 1 + usize::from(self.is(1, "::"));
            return self.branch(&[], true);
        } else if self.is(0, "mod") && self.is(2, "{") {
            self.within.extend(self.word(1).map(|name| (name.to_owned(), self.depth + 1)));
        } else if self.word(0).is_some() {
            return self.branch(&[], false);
        }
        self.at += 1;
    }

    /// Reads one path below `prefix`, or, at a brace, all that the braces hold.
    fn branch(&mut self, prefix: &[String], import: bool) {
        let mut segments = prefix.to_vec();
        let mut line = 0;
        while let Some(token) = self.tokens.get(self.at) {
            if token.is("{") && (import || segments.len() > prefix.len()) {
                return self.group(&segments, import);
            }
            if !token.is_word() && !token.is("*") {
                break;
            }
            segments.push(token.text.clone());
            line = token.line;
            self.at += 1;
            let goes_on = self.is(1, "{") || self.is(1, "*") || self.word(1).is_some();
            if !self.is(0, "::") || !goes_on {
                break;
            }
            self.at += 1;
        }
        if segments.len() > prefix.len() {
            self.finish(segments, line, import);
        }
    }

    fn group(&mut self, prefix: &[String], import: bool) {
        self.at += 1;
        while self.at < self.tokens.len() && !self.is(0, "}") {
            let before = self.at;
            self.branch(prefix, import);
            if self.at == before || self.is(0, ",") {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn finish(&mut self, mut segments: Vec<String>, line: usize, import: bool) {
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        if import {
            let mut local = segments.last().cloned().unwrap_or_default();
            if let Some(alias) = self.word(1).filter(|_| self.is(0, "as")).map(str::to_owned) {
                local = alias;
                self.at += 2;
            }
            self.imports.insert(local, segments.clone());
        }
        let within = self.within.iter().map(|(name, _)| name.clone()).collect();
        self.paths.push(Path { segments, line, within, import: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lex;

    fn shown(text: &str) -> Vec<String> {
        named(&lex(text).tokens).into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_taken_apart() {
        let text = "use crate::{wire::{self, job::Job as J}, proto::*, x};";
        assert_eq!(shown(text), ["crate::wire", "crate::wire::job::Job", "crate::proto::*", "crate::x"]);
        assert_eq!(shown("pub use ::std::fs;"), ["pub", "std::fs"]);
        assert_eq!(shown("use {a::b, c};"), ["a::b", "c"]);
        assert_eq!(shown("fn f() -> impl A + use<'a, T> {}"), ["fn", "f", "impl", "A", "T"]);
        assert_eq!(shown("use a::{b"), ["a::b"]);
    }

    #[test]
    fn paths_in_code_are_read() {
        assert_eq!(shown("let x = crate::a::f::<b::C>(1) * *d;"), ["let", "x", "crate::a::f", "b::C", "d"]);
        assert_eq!(shown("if a { b::c }"), ["if", "a", "b::c"]);
        assert_eq!(shown("<T as a::B>::c()"), ["T", "as", "a::B", "c"]);
    }

    #[test]
    fn imports_complete_paths_without_repeating_themselves() {
        let offends = |text: &str| {
            let rule = |path: &[String]| path.join("::").contains("time::Instant");
            named(&lex(text).tokens)
                .iter()
                .filter(|path| path.offends(rule))
                .map(|path| path.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(offends("use std::time as t;\nfn f(x: t::Instant) {}"), [2]);
        assert_eq!(offends("use std::time::Instant;\nfn f() { Instant::x() }"), [1]);
        assert!(offends("use my as t;\nfn f(x: t::Instant) {}").is_empty());
    }

    #[test]
    fn inline_modules_are_known() {
        let paths = named(&lex("a { } mod m { mod n { b { c } } d } e").tokens);
        let within = |word: &str| {
            let path = paths.iter().find(|path| path.segments == [word]);
            path.map(|path| path.within.join("::"))
        };
        assert_eq!(within("c").as_deref(), Some("m::n"));
        assert_eq!(within("d").as_deref(), Some("m"));
        assert_eq!(within("e").as_deref(), Some(""));
    }
}
