//! What ARCP 1.1 asks for: the catalogue of requirements that conformance cases name.
//!
//! `conformance/requirements.toml` is the catalogue and says how it is made; it is part of the program. Here it becomes
//! types, in the order of its ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::wire::feature::{Feature, FeatureSet};

const BUILT_IN: &str = include_str!("../../conformance/requirements.toml");

/// A numbered section of the specification, to two levels: `6.3`, or `10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Section {
    /// The number of the chapter.
    pub chapter: u8,
    /// The number of the section in it; none for a chapter without sections.
    pub part: Option<u8>,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Some(part) => write!(f, "{}.{part}", self.chapter),
            None => write!(f, "{}", self.chapter),
        }
    }
}

/// The id of a requirement, written like `ARCP-6.3-2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequirementId {
    /// The section that states it.
    pub section: Section,
    /// Its number in the section, from 1.
    pub number: u8,
}

impl fmt::Display for RequirementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ARCP-{}-{}", self.section, self.number)
    }
}

/// A text that is no id of a requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of a requirement, like ARCP-6.3-2 or ARCP-10-1, got {0:?}")]
pub struct NotARequirementId(String);

impl FromStr for RequirementId {
    type Err = NotARequirementId;

    fn from_str(text: &str) -> Result<Self, NotARequirementId> {
        let read = || {
            let (section, number) = text.strip_prefix("ARCP-")?.split_once('-')?;
            let (chapter, part) = match section.split_once('.') {
                Some((chapter, part)) => (chapter, Some(part.parse().ok()?)),
                None => (section, None),
            };
            let section = Section { chapter: chapter.parse().ok()?, part };
            let id = RequirementId { section, number: number.parse().ok()? };
            // One spelling per id: no sign, no leading zero.
            (id.number > 0 && id.to_string() == text).then_some(id)
        };
        read().ok_or_else(|| NotARequirementId(text.chars().take(64).collect()))
    }
}

impl<'de> Deserialize<'de> for RequirementId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// How strongly a requirement binds (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Whoever breaks it does not speak ARCP.
    Must,
    /// Only a good reason excuses from it.
    Should,
    /// It may be done or left.
    May,
}

/// Who has to keep a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The side that runs jobs.
    Runtime,
    /// The side that submits and watches them, and the agents that work for it.
    Client,
    /// Either side of a connection.
    Both,
}

/// Whether a test that speaks only the client's side of the wire can see a requirement kept or broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observable {
    /// It can.
    Yes,
    /// It cannot.
    No {
        /// Why: a sentence. None where the requirement binds clients only.
        why: Option<String>,
    },
}

/// One requirement of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Entry")]
pub struct Requirement {
    /// Its id.
    pub id: RequirementId,
    /// How strongly it binds.
    pub level: Level,
    /// Whether the specification states it without a keyword, so that the level is our reading.
    pub inferred: bool,
    /// Who has to keep it.
    pub binds: Party,
    /// Whether a black-box test can see it.
    pub observable: Observable,
    /// What is required: one sentence.
    pub text: String,
    /// The features without which it does not apply.
    pub needs: FeatureSet,
}

/// A requirement as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: RequirementId,
    level: Level,
    #[serde(default)]
    inferred: bool,
    binds: Party,
    observable: bool,
    why_not: Option<String>,
    text: String,
    #[serde(default)]
    needs: Vec<String>,
}

/// What is wrong with a requirement whose fields are all well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BadEntry {
    #[error("{id}: expected feature flags like \"list_jobs\" in `needs`, got {flag:?}")]
    Feature { id: RequirementId, flag: String },
    #[error("{0}: expected a `why_not`, as it is not observable and does not bind clients only")]
    WhyNotMissing(RequirementId),
    #[error("{0}: expected no `why_not`, as it is observable")]
    WhyNotIdle(RequirementId),
}

impl TryFrom<Entry> for Requirement {
    type Error = BadEntry;

    fn try_from(entry: Entry) -> Result<Self, BadEntry> {
        let id = entry.id;
        let observable = match (entry.observable, entry.why_not) {
            (true, None) => Observable::Yes,
            (true, Some(_)) => return Err(BadEntry::WhyNotIdle(id)),
            (false, None) if entry.binds != Party::Client => return Err(BadEntry::WhyNotMissing(id)),
            (false, why) => Observable::No { why },
        };
        let mut needs = FeatureSet::EMPTY;
        for flag in entry.needs {
            let feature = Feature::parse(&flag).ok_or(BadEntry::Feature { id, flag })?;
            needs = needs.and(feature);
        }
        let Entry { level, inferred, binds, text, .. } = entry;
        Ok(Requirement { id, level, inferred, binds, observable, text, needs })
    }
}

/// A catalogue that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CatalogueError {
    /// It is no TOML, or an entry is not as it should be.
    #[error("the catalogue of requirements: {0}")]
    Entry(#[from] toml::de::Error),
    /// Two entries stand in the wrong order or have the same id.
    #[error("the catalogue of requirements: expected ids that rise, got {second} after {first}")]
    Order {
        /// The entry that stands first.
        first: RequirementId,
        /// The entry that follows it.
        second: RequirementId,
    },
}

/// An id that no requirement has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownRequirement {
    /// The section has others.
    #[error("no requirement is called {id}: section {} has them up to {last}", id.section)]
    Number {
        /// What was looked for.
        id: RequirementId,
        /// The last one of its section.
        last: RequirementId,
    },
    /// The section has none.
    #[error("no requirement is called {id}: section {} has none", id.section)]
    Section {
        /// What was looked for.
        id: RequirementId,
    },
}

/// All requirements, in the order of their ids, each id once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    requirements: Vec<Requirement>,
}

impl Catalogue {
    /// The catalogue that is part of the program.
    ///
    /// # Errors
    /// As [`Catalogue::from_str`]; a test keeps this one from failing.
    pub fn built_in() -> Result<Self, CatalogueError> {
        BUILT_IN.parse()
    }

    /// The requirement of this id.
    ///
    /// # Errors
    /// [`UnknownRequirement`] says which ids its section has.
    pub fn find(&self, id: RequirementId) -> Result<&Requirement, UnknownRequirement> {
        let at = self.requirements.binary_search_by_key(&id, |requirement| requirement.id);
        let last =
            || self.requirements.iter().map(|known| known.id).rfind(|known| known.section == id.section);
        match at.ok().and_then(|at| self.requirements.get(at)) {
            Some(requirement) => Ok(requirement),
            None => Err(match last() {
                Some(last) => UnknownRequirement::Number { id, last },
                None => UnknownRequirement::Section { id },
            }),
        }
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter()
    }
}

impl FromStr for Catalogue {
    type Err = CatalogueError;

    /// Reads a file of the form that `conformance/requirements.toml` describes.
    fn from_str(text: &str) -> Result<Self, CatalogueError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            requirement: Vec<Requirement>,
        }
        let File { requirement: requirements } = toml::from_str(text)?;
        let pairs = requirements.iter().zip(requirements.iter().skip(1));
        match pairs.map(|(first, second)| (first.id, second.id)).find(|(first, second)| first >= second) {
            Some((first, second)) => Err(CatalogueError::Order { first, second }),
            None => Ok(Catalogue { requirements }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> Catalogue {
        Catalogue::built_in().unwrap()
    }

    fn id(text: &str) -> RequirementId {
        text.parse().unwrap()
    }

    fn entry(id: &str, rest: &str) -> String {
        format!(
            "[[requirement]]\nid = {id:?}\nlevel = \"must\"\nbinds = \"runtime\"\ntext = \"Hm.\"\n{rest}\n"
        )
    }

    fn refusal(text: &str) -> String {
        text.parse::<Catalogue>().unwrap_err().to_string()
    }

    #[test]
    fn ids_have_one_spelling_and_sort_by_number() {
        for text in ["ARCP-4-1", "ARCP-6.3-2", "ARCP-9.8-27", "ARCP-10-1"] {
            assert_eq!(id(text).to_string(), text);
        }
        let wrong = [
            "",
            "6.3-1",
            "ARCP-6.3",
            "ARCP-6.3-0",
            "ARCP-6.3-01",
            "ARCP-6.3-+1",
            "ARCP-6.3.1-1",
            "ARCP-6.-1",
        ];
        for text in wrong {
            let refused = text.parse::<RequirementId>().unwrap_err().to_string();
            assert_eq!(
                refused,
                format!("expected the id of a requirement, like ARCP-6.3-2 or ARCP-10-1, got {text:?}")
            );
        }
        let sorted = ["ARCP-4-1", "ARCP-6.3-2", "ARCP-6.3-10", "ARCP-7-1", "ARCP-7.1-1", "ARCP-10-1"].map(id);
        assert!(sorted.is_sorted());
    }

    #[test]
    fn an_entry_becomes_a_requirement() {
        let text = entry(
            "ARCP-6.6-4",
            "inferred = true\nobservable = false\nwhy_not = \"Dark.\"\nneeds = [\"list_jobs\"]",
        );
        let catalogue = text.parse::<Catalogue>().unwrap();
        let expected = Requirement {
            id: id("ARCP-6.6-4"),
            level: Level::Must,
            inferred: true,
            binds: Party::Runtime,
            observable: Observable::No { why: Some("Dark.".into()) },
            text: "Hm.".into(),
            needs: FeatureSet::EMPTY.and(Feature::ListJobs),
        };
        assert_eq!(catalogue.find(id("ARCP-6.6-4")), Ok(&expected));
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_with_what_was_expected() {
        let cases = [
            (entry("6.3-1", "observable = true"), "like ARCP-6.3-2"),
            (
                entry("ARCP-5-1", "observable = true").replace("must", "shall"),
                "expected one of `must`, `should`, `may`",
            ),
            (
                entry("ARCP-5-1", "observable = true").replace("runtime", "server"),
                "expected one of `runtime`, `client`, `both`",
            ),
            (
                entry("ARCP-5-1", "observable = true\nneeds = [\"lists\"]"),
                "expected feature flags like \"list_jobs\" in `needs`, got \"lists\"",
            ),
            (entry("ARCP-5-1", "observable = false"), "ARCP-5-1: expected a `why_not`"),
            (entry("ARCP-5-1", "observable = true\nwhy_not = \"Dark.\""), "ARCP-5-1: expected no `why_not`"),
            (entry("ARCP-5-1", "observable = true\nlevle = 1"), "unknown field `levle`"),
            (entry("ARCP-5-1", ""), "missing field `observable`"),
        ];
        for (text, expected) in cases {
            let message = refusal(&text);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn ids_that_do_not_rise_are_refused() {
        for (first, second) in [("ARCP-6.3-1", "ARCP-6.3-1"), ("ARCP-10-1", "ARCP-9.8-1")] {
            let text = [first, second].map(|id| entry(id, "observable = true")).concat();
            let expected =
                format!("the catalogue of requirements: expected ids that rise, got {second} after {first}");
            assert_eq!(refusal(&text), expected);
        }
    }

    #[test]
    fn an_unknown_id_is_told_what_its_section_has() {
        let catalogue = built_in();
        let refused = |text| catalogue.find(id(text)).unwrap_err().to_string();
        assert_eq!(
            refused("ARCP-6.3-99"),
            "no requirement is called ARCP-6.3-99: section 6.3 has them up to ARCP-6.3-3"
        );
        assert_eq!(refused("ARCP-6-1"), "no requirement is called ARCP-6-1: section 6 has none");
        assert!(catalogue.iter().all(|known| catalogue.find(known.id) == Ok(known)));
    }

    #[test]
    fn every_text_is_one_sentence() {
        let catalogue = built_in();
        let reasons = catalogue.iter().filter_map(|known| match &known.observable {
            Observable::No { why: Some(why) } => Some((known.id, why)),
            Observable::No { why: None } | Observable::Yes => None,
        });
        for (id, text) in catalogue.iter().map(|known| (known.id, &known.text)).chain(reasons) {
            assert!((20..=240).contains(&text.chars().count()), "{id}: {} characters", text.chars().count());
            assert!(text.ends_with('.') && !text.contains(". ") && !text.contains('\n'), "{id}: {text}");
        }
    }

    #[test]
    fn what_binds_clients_only_cannot_be_seen_of_a_runtime() {
        let catalogue = built_in();
        let seen = catalogue
            .iter()
            .find(|known| known.binds == Party::Client && known.observable == Observable::Yes);
        assert_eq!(seen, None);
    }

    #[test]
    fn every_numbered_section_with_normative_words_has_requirements() {
        // Chapters 1 to 3 repeat what later ones define; 13 has examples only; 15 and 16 ask for nothing.
        let sections = [
            ["4", "5", "6.1", "6.2", "6.3", "6.4", "6.5", "6.6"],
            ["6.7", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "7.7"],
            ["8.1", "8.2", "8.3", "8.4", "9.1", "9.2", "9.3", "9.4"],
            ["9.5", "9.6", "9.7", "9.8", "10", "11", "12", "14"],
        ];
        let mut found: Vec<_> = built_in().iter().map(|known| known.id.section.to_string()).collect();
        found.dedup();
        assert_eq!(found, sections.concat());
    }

    #[test]
    fn every_feature_of_the_specification_is_needed_by_something_and_ours_by_nothing() {
        let catalogue = built_in();
        let set =
            |features: &mut dyn Iterator<Item = Feature>| features.fold(FeatureSet::EMPTY, FeatureSet::and);
        let mut needed = catalogue.iter().flat_map(|known| known.needs.iter());
        let mut specified =
            Feature::ALL.iter().copied().filter(|feature| !feature.as_str().starts_with("x-"));
        assert_eq!(set(&mut needed), set(&mut specified));
    }

    #[test]
    fn the_counts_are_known() {
        let catalogue = built_in();
        let count =
            |wanted: &dyn Fn(&Requirement) -> bool| catalogue.iter().filter(|known| wanted(known)).count();
        let levels = [Level::Must, Level::Should, Level::May].map(|level| {
            [false, true].map(|inferred| count(&|known| (known.level, known.inferred) == (level, inferred)))
        });
        assert_eq!(levels, [[61, 73], [24, 1], [31, 1]], "must, should, may: stated and inferred");
        let parties =
            [Party::Runtime, Party::Client, Party::Both].map(|party| count(&|known| known.binds == party));
        assert_eq!(parties, [148, 24, 19], "runtime, client, both");
        assert_eq!(count(&|known| known.observable == Observable::Yes), 138, "observable");
    }

    #[test]
    fn numbers_in_a_section_have_no_gap() {
        let catalogue = built_in();
        for pair in catalogue.requirements.windows(2) {
            let [first, second] = [pair[0].id, pair[1].id];
            let expected = if first.section == second.section { first.number + 1 } else { 1 };
            assert_eq!(second.number, expected, "{second}");
        }
    }
}
