//! What code may name only in some places, or nowhere: purity, borders, dialects, bans, secrets.
//!
//! Patterns are written as `Source::uses` reads them, with spaces between tokens that are no path, so that a
//! search for loose ends in this repository does not find this file.

use crate::source::Source;
use crate::{Finding, Rule};

/// Where a ban holds, in top-level modules of `src/`.
enum Reach {
    Inside(&'static [&'static str]),
    Outside(&'static [&'static str]),
}

struct Ban {
    names: &'static [&'static str],
    reach: Reach,
    instead: &'static str,
}

const PURE: Reach = Reach::Inside(&["wire", "proto"]);

const PURITY: [Ban; 4] = [
    Ban {
        names: &["std::time::Instant", "SystemTime", "Instant::now", "now_utc"],
        reach: PURE,
        instead: "the time is an input: take it as an argument",
    },
    Ban { names: &["rand::"], reach: PURE, instead: "randomness is an input: take the bytes as an argument" },
    Ban {
        names: &["tokio", "std::fs", "std::net", "std::thread", "std::env", "async", ". await"],
        reach: PURE,
        instead: "decide here and let `runtime` do it: (state, input, now) → outputs",
    },
    Ban { names: &["tracing"], reach: PURE, instead: "return what happened; the caller logs it" },
];

const BORDERS: [Ban; 7] = [
    Ban {
        names: &["rusqlite", "tokio_postgres"],
        reach: Reach::Outside(&["store"]),
        instead: "only store/ speaks SQL: add an operation to the `Store` trait",
    },
    Ban {
        names: &["hyper", "hyper_util"],
        reach: Reach::Outside(&["http"]),
        instead: "HTTP serving lives in http/",
    },
    Ban {
        names: &["tungstenite", "async_tungstenite", "tokio_tungstenite"],
        reach: Reach::Outside(&["transport", "client", "http"]),
        instead: "use the frames that transport/ offers",
    },
    Ban {
        names: &["prometheus_client"],
        reach: Reach::Outside(&["telemetry"]),
        instead: "put it on a `Page` of telemetry/metrics.rs",
    },
    Ban {
        names: &["process_wrap"],
        reach: Reach::Outside(&["agent"]),
        instead: "processes are started in agent/",
    },
    Ban {
        names: &["clap", "clap_complete"],
        reach: Reach::Outside(&["cli", "config"]),
        instead: "arguments are read in cli/ and config/",
    },
    Ban {
        names: &["println !", "print !", "eprintln !", "eprint !"],
        reach: Reach::Outside(&["cli", "main"]),
        instead: "use `tracing`, or return it to cli/, which owns the terminal",
    },
];

const BANS: [Ban; 4] = [
    Ban {
        names: &["todo !", "unimplemented !", "dbg !"],
        reach: Reach::Outside(&[]),
        instead: "finish it, or refuse with a typed error",
    },
    Ban {
        names: &["unbounded_channel"],
        reach: Reach::Outside(&[]),
        instead: "every queue has a named limit: use a bounded channel",
    },
    Ban {
        names: &["process::exit"],
        reach: Reach::Outside(&["main"]),
        instead: "return an exit code to main.rs, so that destructors run",
    },
    Ban {
        names: &["thread::sleep"],
        reach: Reach::Outside(&[]),
        instead: "wait for the event, with a deadline, instead of for time to pass",
    },
];

const SECRETS: [Ban; 1] = [Ban {
    names: &["expose_secret"],
    reach: Reach::Outside(&["auth", "wire", "client", "agent", "config", "cli"]),
    instead: "pass the sealed value on; only the edges that need its text open it",
}];

pub(crate) fn purity(source: &Source) -> Vec<Finding> {
    banned(Rule::Purity, &PURITY, source)
}

pub(crate) fn borders(source: &Source) -> Vec<Finding> {
    banned(Rule::Borders, &BORDERS, source)
}

pub(crate) fn secrets(source: &Source) -> Vec<Finding> {
    banned(Rule::Secrets, &SECRETS, source)
}

pub(crate) fn bans(source: &Source) -> Vec<Finding> {
    if !source.in_src() {
        return Vec::new();
    }
    let mut findings = banned(Rule::Bans, &BANS, source);
    findings.extend(ignored_tests(source));
    findings.extend(allowed_dead_code(source));
    findings.extend(unexplained_unwraps(source));
    findings
}

fn banned(rule: Rule, bans: &[Ban], source: &Source) -> Vec<Finding> {
    let Some(area) = source.area() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for ban in bans {
        let (holds, place) = match ban.reach {
            Reach::Inside(areas) => (areas.contains(&area), format!("in {}", areas.join(", "))),
            Reach::Outside([]) => (true, "in src/".into()),
            Reach::Outside(areas) => (!areas.contains(&area), format!("outside {}", areas.join(", "))),
        };
        for name in ban.names.iter().filter(|_| holds) {
            let shown = name.replace(' ', "");
            let message = format!("`{shown}` has no place {place}: {}", ban.instead);
            let found = source.uses(name).into_iter();
            findings.extend(found.map(|line| Finding::new(rule, source, line, message.clone())));
        }
    }
    findings
}

/// The client dialects; outside their directory they are one type with methods.
const DIALECTS: [&str; 7] = ["go", "java", "python", "ruby", "rust2", "spec", "typescript"];

pub(crate) fn dialects(source: &Source) -> Vec<Finding> {
    if !source.in_src() || source.path.starts_with("src/wire/dialect/") {
        return Vec::new();
    }
    let offends = |path: &[String]| {
        let inside_module = path.windows(2).enumerate().any(|(at, pair)| {
            let module = pair[1].starts_with(|c: char| c.is_lowercase()) && path.len() > at + 2;
            pair[0] == "dialect" && (module || DIALECTS.contains(&pair[1].as_str()))
        });
        inside_module || path.windows(2).any(|pair| pair[0] == "Dialect" && is_variant(&pair[1]))
    };
    let named = source.named.iter().filter(|path| path.offends(offends));
    named
        .map(|path| {
            let message = format!(
                "`{}` looks inside a client dialect: only src/wire/dialect/ knows them; ask the dialect's methods",
                path.segments.join("::")
            );
            Finding::new(Rule::Dialects, source, path.line, message)
        })
        .collect()
}

/// `Python` or a glob, as against a method (`detect`) or a constant (`ALL`).
fn is_variant(name: &str) -> bool {
    name == "*" || (name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase))
}

fn ignored_tests(source: &Source) -> Vec<Finding> {
    let message = "an ignored test tests nothing: make it run, or delete it";
    let marked = source.rows("# [ ignore");
    marked.map(|token| Finding::new(Rule::Bans, source, token.line, message.into())).collect()
}

fn allowed_dead_code(source: &Source) -> Vec<Finding> {
    let tokens = &source.tokens;
    let allows = (0..tokens.len()).filter(|&at| tokens[at].is("allow") && !tokens[at].test);
    let dead = allows.filter(|&at| {
        let open = tokens.get(at + 1).is_some_and(|token| token.is("("));
        open && tokens[at..].iter().take_while(|token| !token.is(")")).any(|token| token.is("dead_code"))
    });
    let message = "code that nothing calls goes; `allow` would only hide it";
    dead.map(|at| Finding::new(Rule::Bans, source, tokens[at].line, message.into())).collect()
}

/// Unwraps without a `//` comment on their line or the one before.
fn unexplained_unwraps(source: &Source) -> Vec<Finding> {
    let explained = |line: usize| {
        source
            .comments
            .iter()
            .any(|comment| comment.explains() && (comment.line == line || comment.line + 1 == line))
    };
    let mut findings = Vec::new();
    for name in [". unwrap ( )", ". expect ("] {
        for line in source.uses(name).into_iter().filter(|&line| !explained(line)) {
            let shown = name.replace(' ', "");
            let message =
                format!("`{shown}` needs a `//` comment that says why it cannot fail; else return the error");
            findings.push(Finding::new(Rule::Bans, source, line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    #[test]
    fn every_pattern_is_caught_where_it_is_banned() {
        let tables: [(Rule, &[Ban]); 4] = [
            (Rule::Purity, &PURITY),
            (Rule::Borders, &BORDERS),
            (Rule::Bans, &BANS),
            (Rule::Secrets, &SECRETS),
        ];
        for (rule, ban) in tables.iter().flat_map(|(rule, bans)| bans.iter().map(move |ban| (*rule, ban))) {
            let (bad, good) = match ban.reach {
                Reach::Inside(areas) => (areas, &["runtime"][..]),
                Reach::Outside(areas) => (&["state"][..], areas),
            };
            for name in ban.names {
                let text = format!("//! x\nfn f() {{ {} x }}\n", name.replace("rand::", "rand::rng"));
                for area in bad {
                    assert_eq!(lines(rule, &format!("src/{area}/x.rs"), &text), [2], "{name} in {area}");
                }
                for area in good {
                    let path = if *area == "main" { "src/main.rs" } else { &format!("src/{area}/x.rs") };
                    assert!(lines(rule, path, &text).is_empty(), "{name} in {area}");
                }
                let hidden = format!(
                    "// {name}\n/* {name} */ #[cfg(test)] mod tests {{ {name} x }} fn f() {{ \"{name}\" }}"
                );
                assert!(lines(rule, &format!("src/{}/x.rs", bad[0]), &hidden).is_empty(), "{name} hidden");
            }
        }
    }

    #[test]
    fn purity_sees_through_imports() {
        let found = |text: &str| lines(Rule::Purity, "src/proto/x.rs", text);
        assert_eq!(found("use std::{io,\ntime::{self, Duration},\n};\nfn f(now: time::Instant) {}"), [4]);
        assert_eq!(found("use std::{\ncollections::HashMap,\nfs as files,\n};"), [3]);
        assert_eq!(found("use std::time::{\nInstant as Moment,\n};\nfn f() { Moment::x() }"), [2]);
        assert!(
            found("use std::time::Duration; use time::OffsetDateTime; fn f(rand: u64, instant: Now) {}")
                .is_empty()
        );
    }

    #[test]
    fn borders_do_not_mistake_neighbours() {
        let found = |text: &str| lines(Rule::Borders, "src/runtime/x.rs", text);
        assert!(
            found("use serde_json::Value; fn f() { if print != 1 { my_println!(x) } clapper::x() }")
                .is_empty()
        );
        assert_eq!(found("#[derive(clap::Args)]\nstruct A;\nfn f() { std::println!(\"x\") }"), [1, 3]);
    }

    #[test]
    fn dialects_are_named_only_by_themselves() {
        let found = |path: &str, text: &str| lines(Rule::Dialects, path, text);
        let bad = [
            "use crate::wire::dialect::python;",
            "use crate::wire::{dialect::{self, spec as s}};",
            "fn f() { dialect::python::read(x) }",
            "use super::dialect::other::read;",
            "fn f() { match d { Dialect::Python => 1 } }",
            "use crate::wire::Dialect::*;",
            "use crate::wire::Dialect as D; fn f() { D::Spec }",
        ];
        for text in bad {
            assert_eq!(found("src/runtime/x.rs", text), [1], "{text}");
            assert_eq!(found("src/wire/mod.rs", text), [1], "{text}");
            assert!(found("src/wire/dialect/mod.rs", text).is_empty(), "{text}");
            assert!(found("conformance/x.rs", text).is_empty(), "{text}");
        }
        let good =
            "mod dialect; pub use dialect::{Dialect, detect}; fn f() { Dialect::of(Dialect::ALL, \"spec\") }";
        assert!(found("src/wire/mod.rs", good).is_empty());
    }

    #[test]
    fn unwraps_say_why_they_cannot_fail() {
        let found = |text: &str| lines(Rule::Bans, "src/store/x.rs", text);
        assert_eq!(found("fn f() {\n    x.unwrap()\n}"), [2]);
        assert_eq!(found("fn f() {\n    x\n        .expect(\"full\")\n}"), [3]);
        assert_eq!(found("/// Does x.\nfn f() { x.unwrap() }"), [2]);
        assert_eq!(found("// far away\n\nfn f() { x.unwrap() }"), [3]);
        assert_eq!(found("//\nfn f() { x.unwrap() }"), [2]);
        assert!(found("fn f() { x.unwrap() } // the caller checked").is_empty());
        assert!(found("fn f() {\n    // the caller checked\n    x.unwrap()\n}").is_empty());
        assert!(found("#[expect(lint)] fn f() { x.unwrap_or(1); expect(x) }").is_empty());
        assert!(found("#[cfg(test)]\nmod tests {\n\n#[test] fn f() { x.unwrap() } }").is_empty());
        assert!(lines(Rule::Bans, "examples/x.rs", "fn f() { x.unwrap() }").is_empty());
    }

    #[test]
    fn dead_code_and_ignored_tests_are_caught() {
        let found = |text: &str| lines(Rule::Bans, "src/store/x.rs", text);
        assert_eq!(found("#[allow (dead_code)] fn f() {}"), [1]);
        assert_eq!(found("#![allow(unused,\n dead_code)]"), [1]);
        assert_eq!(found("#[cfg_attr(unix, allow (dead_code))] fn f() {}"), [1]);
        assert_eq!(found("#[cfg(test)] mod tests {\n#[test]\n# [ignore = \"slow\"]\nfn f() {} }"), [3]);
        assert!(
            found("#[allow(unused)] fn dead_code() {} // # [ignore]\nfn g(ignore: u8) { allow(x) }")
                .is_empty()
        );
    }
}
