//! The cases that come with the binary: `conformance/cases/AREA/NAME.case`.

use super::case::{Case, NotACase};

macro_rules! cases {
    ($($name:literal,)*) => {
        const TEXTS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../conformance/cases/", $name, ".case"))),)*];
    };
}

cases! {
    "jobs/cancel",
    "jobs/echo",
    "jobs/unknown_agent",
    "sessions/bad_token",
    "sessions/resume",
}

/// A case that cannot be read, by its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("conformance/cases/{name}.case: {error}")]
pub struct BadCase {
    /// Its area and name.
    pub name: String,
    /// What is wrong with it.
    pub error: NotACase,
}

/// Every case, by area and name.
///
/// # Errors
/// The first that cannot be read; a test keeps those of the binary sound.
pub fn built_in() -> Result<Vec<Case>, BadCase> {
    let read = TEXTS
        .iter()
        .map(|(name, text)| Case::read(name, text).map_err(|error| BadCase { name: (*name).into(), error }));
    read.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::catalogue::Catalogue;
    use super::*;

    #[test]
    fn every_case_of_the_directory_is_there_and_can_be_read() {
        let mut found = BTreeSet::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases");
        for area in std::fs::read_dir(&root).unwrap() {
            let area = area.unwrap();
            for file in std::fs::read_dir(area.path()).unwrap() {
                let path = file.unwrap().path();
                let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
                found.insert(format!("{}/{stem}", area.file_name().to_string_lossy()));
            }
        }
        let cases = built_in().unwrap_or_else(|bad| panic!("{bad}"));
        let known: BTreeSet<String> = cases.iter().map(|case| case.name.clone()).collect();
        assert_eq!(known, found, "list in src/conformance/cases.rs what conformance/cases has");
        assert!(TEXTS.is_sorted_by_key(|(name, _)| *name), "the list is sorted");
    }

    #[test]
    fn what_a_case_checks_is_in_the_catalogue() {
        let catalogue = Catalogue::built_in().unwrap();
        for case in built_in().unwrap() {
            for id in case.checks {
                assert!(catalogue.find(id).is_ok(), "{} checks {id}", case.name);
            }
        }
    }
}
