//! No file may name the machine it was written on, or a package registry's host.

use crate::source::Source;
use crate::{Finding, Rule};

// In pieces, so that this file passes its own test.
const MACHINE: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const REGISTRIES: [&str; 3] =
    [concat!("crates", ".io"), concat!("pypi", ".org"), concat!("index.", "crates")];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    // Cargo writes the registry's name into its lock files, for every package.
    let locked = source.path.rsplit('/').next() == Some("Cargo.lock");
    let registries = if locked { &[][..] } else { &REGISTRIES };
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let mut find = |names: &[&str], advice: &str| {
            for name in names.iter().filter(|name| line.contains(**name)) {
                let message = format!("`{name}` is {advice}");
                findings.push(Finding::new(Rule::Places, source, index + 1, message));
            }
        };
        find(&MACHINE, "a path of one machine: make it relative, or an argument");
        find(registries, "a registry's host: leave the choice of registry to the user's configuration");
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    #[test]
    fn each_name_is_caught_in_any_text_file() {
        for name in MACHINE.iter().chain(&REGISTRIES) {
            let text = format!("fine\n# see {name}x\n");
            for path in ["README.md", ".ci/run", "src/wire/mod.rs", "schemas/x.json"] {
                assert_eq!(lines(Rule::Places, path, &text), [2], "{name} in {path}");
            }
        }
    }

    #[test]
    fn other_paths_and_hosts_pass() {
        let text = "/workspace/src work/root https://example.org /tmp/x crates io";
        assert!(lines(Rule::Places, "README.md", text).is_empty());
    }

    #[test]
    fn a_lock_file_may_name_the_registry_only() {
        for path in ["Cargo.lock", "a/b/Cargo.lock"] {
            assert!(lines(Rule::Places, path, REGISTRIES[0]).is_empty(), "{path}");
            assert_eq!(lines(Rule::Places, path, MACHINE[0]), [1], "{path}");
        }
        assert_eq!(lines(Rule::Places, "a/MyCargo.lock", REGISTRIES[0]), [1]);
    }
}
