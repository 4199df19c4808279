//! Who may know whom: the table of the design's layers, held against every path in the code.

use crate::source::Source;
use crate::{Finding, Rule};

/// Each top-level module, and the others that it may name. A row names only rows above it, so the table has
/// no cycle. `lib.rs` and `main.rs` tie everything together and are free.
const LAYERS: [(&str, &[&str]); 18] = [
    ("wire", &[]),
    ("content", &[]),
    ("telemetry", &["wire"]),
    ("auth", &["wire"]),
    ("config", &["wire", "auth", "telemetry"]),
    ("proto", &["wire"]),
    ("state", &["proto", "wire"]),
    ("ledger", &["content", "state", "proto", "wire"]),
    ("store", &["wire", "proto", "ledger", "content", "state", "config", "telemetry"]),
    ("transport", &["wire", "config", "telemetry"]),
    ("agent", &["wire", "config", "telemetry"]),
    ("gateway", &["wire", "proto", "config", "telemetry"]),
    (
        "runtime",
        &[
            "transport",
            "auth",
            "agent",
            "gateway",
            "store",
            "ledger",
            "content",
            "state",
            "proto",
            "wire",
            "config",
            "telemetry",
        ],
    ),
    ("client", &["wire", "transport", "telemetry", "config"]),
    ("conformance", &["wire", "transport", "client"]),
    (
        "embed",
        &["runtime", "client", "transport", "agent", "auth", "store", "proto", "wire", "config", "telemetry"],
    ),
    ("http", &["runtime", "transport", "auth", "wire", "config", "telemetry"]),
    (
        "cli",
        &[
            "client",
            "runtime",
            "http",
            "embed",
            "config",
            "telemetry",
            "wire",
            "transport",
            "auth",
            "agent",
            "store",
            "conformance",
        ],
    ),
];

const TABLE: &str = "LAYERS in conformance/tidy/layers.rs";

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let Some(area) = source.area().filter(|area| !["lib", "main"].contains(area)) else {
        return Vec::new();
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == area) else {
        let message = format!("`{area}` is not a module of the design: add it to the table ({TABLE})");
        return vec![Finding::new(Rule::Layering, source, 1, message)];
    };
    let module = source.module();
    let mut findings = Vec::new();
    for path in &source.named {
        let here: Vec<&str> = module.iter().copied().chain(path.within.iter().map(String::as_str)).collect();
        let foreign = |segments: &[String]| {
            target(&here, segments)
                .is_some_and(|target| target != area && !allowed.contains(&target.as_str()))
        };
        if path.offends(foreign) {
            let message = advice(area, allowed, &path.segments.join("::"));
            findings.push(Finding::new(Rule::Layering, source, path.line, message));
        }
    }
    findings
}

/// The top-level name that a path in the module `here` leads to, if it leads into this crate.
fn target(here: &[&str], segments: &[String]) -> Option<String> {
    let ups = segments
        .iter()
        .skip_while(|segment| *segment == "self")
        .take_while(|segment| *segment == "super")
        .count();
    let rest =
        segments.iter().find(|segment| !["crate", "arcpd", "self", "super"].contains(&segment.as_str()));
    match segments.first()?.as_str() {
        "crate" | "arcpd" => segments.get(1).cloned(),
        "self" | "super" if ups < here.len() => here.first().map(ToString::to_string),
        "self" | "super" => rest.cloned(),
        _ => None,
    }
}

fn advice(area: &str, allowed: &[&str], path: &str) -> String {
    let known = if allowed.is_empty() { "nothing else of this crate".into() } else { allowed.join(", ") };
    format!(
        "`{area}` may not name `{path}`: it may know {known}. Hand the value in from above, or move the code; \
         an item that lib.rs re-exports is named by its own module; a new module goes into the table ({TABLE})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    fn found(path: &str, text: &str) -> Vec<usize> {
        lines(Rule::Layering, path, text)
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (row, (module, allowed)) in LAYERS.iter().enumerate() {
            let above: Vec<_> = LAYERS[..row].iter().map(|(module, _)| module).collect();
            let stray: Vec<_> = allowed.iter().filter(|known| !above.contains(known)).collect();
            assert!(stray.is_empty(), "{module} names {stray:?}, which stand at or below it");
        }
    }

    #[test]
    fn edges_do_not_know_one_another() {
        let edges = ["transport", "auth", "agent", "gateway"];
        for edge in edges {
            for other in edges.iter().filter(|other| **other != edge) {
                let text = format!("use crate::{other}::Thing;");
                assert_eq!(found(&format!("src/{edge}/mod.rs"), &text), [1], "{edge} → {other}");
            }
        }
    }

    #[test]
    fn imports_and_paths_against_the_table() {
        assert_eq!(found("src/wire/job.rs", "use crate::proto::Job;"), [1]);
        assert_eq!(found("src/proto/job.rs", "fn f(x: &crate::store::Store) {}"), [1]);
        assert_eq!(
            found("src/proto/job.rs", "use crate::{\nwire::{Id, job::Job},\nstore::{self, Store},\n};"),
            [3, 3]
        );
        assert_eq!(found("src/proto/job.rs", "macro_rules! m { () => { $crate::cli::run() } }"), [1]);
        assert_eq!(found("src/proto.rs", "pub(in crate::runtime) fn f() {}"), [1]);
        assert!(
            found("src/proto/job.rs", "use crate::wire::{Id, job::Job}; use crate::proto::lease;").is_empty()
        );
        assert!(
            found("src/runtime/job.rs", "use crate::{store::Store, agent, gateway::tool as t};").is_empty()
        );
        assert!(
            found("src/wire/job.rs", "pub(crate) struct Store; // use crate::store\nuse store::x;")
                .is_empty()
        );
    }

    #[test]
    fn other_ways_to_the_root_are_seen() {
        assert_eq!(found("src/wire/job.rs", "use super::super::store::Store;"), [1]);
        assert_eq!(found("src/wire/job.rs", "mod m { use self::super::super::super::store; }"), [1]);
        assert_eq!(found("src/wire/job.rs", "use crate as k;\nfn f(x: k::store::Store) {}"), [2]);
        assert_eq!(found("src/wire/mod.rs", "use crate::*;"), [1]);
        assert_eq!(found("src/wire/mod.rs", "use super::store;"), [1]);
        assert_eq!(found("src/wire/mod.rs", "use arcpd::store;"), [1]);
        assert_eq!(found("src/wire/mod.rs", "use crate::ReExported;"), [1]);
        assert!(
            found("src/wire/job.rs", "use super::super::wire::Id; use super::*; use self::a::b;").is_empty()
        );
        assert!(found("src/wire/job.rs", "mod m { use super::super::lease::Lease; }").is_empty());
        assert!(found("src/wire/mod.rs", "pub(super) fn f() {} pub(self) fn g() {}").is_empty());
    }

    #[test]
    fn strangers_roots_and_tests() {
        assert_eq!(found("src/misc/mod.rs", "//! x"), [1]);
        assert_eq!(found("src/misc.rs", ""), [1]);
        assert!(found("src/lib.rs", "pub use crate::embed::Runtime;").is_empty());
        assert!(found("src/main.rs", "use arcpd::cli;").is_empty());
        assert!(found("conformance/run.rs", "use crate::store::x;").is_empty());
        assert!(found("src/wire/job.rs", "#[cfg(test)] mod tests { use crate::store::memory; }").is_empty());
    }

    #[test]
    fn the_message_says_what_to_do() {
        let source = Source::parse("src/state/mod.rs", "use crate::store::Store;");
        let message = &check(&source)[0].message;
        assert!(message.contains("`state` may not name `crate::store::Store`"), "{message}");
        assert!(message.contains("it may know proto, wire"), "{message}");
    }
}
