//! The configuration file as a tree whose values know their lines.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::keys;
use super::raw::{Raw, quoted};
use super::report::{ConfigError, Source};
use super::suggest;

/// Syntax errors that are reported of one file; the parser finds more in what follows from the first ones.
const SYNTAX_ERRORS: usize = 20;

/// A configuration file that has been read.
#[derive(Clone)]
pub struct ConfigFile {
    /// Its path, as it is shown.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl ConfigFile {
    /// The directory from which its relative paths are taken.
    pub(super) fn base(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}

/// A file that is TOML.
pub(super) struct Document<'a> {
    file: &'a ConfigFile,
    root: DeTable<'a>,
    lines: Lines,
}

/// Where each line begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines(std::iter::once(0).chain(after_breaks).collect())
    }

    fn at(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|start| *start <= span.start)
    }
}

/// One table of the file.
pub(super) struct Section<'d> {
    pub(super) table: &'d DeTable<'d>,
    pub(super) place: Source,
}

impl<'a> Document<'a> {
    /// Parses a file.
    pub(super) fn parse(file: &'a ConfigFile) -> Result<Self, Vec<ConfigError>> {
        let lines = Lines::of(&file.text);
        let (root, errors) = DeTable::parse_recoverable(&file.text);
        if errors.is_empty() {
            return Ok(Document { file, root: root.into_inner(), lines });
        }
        // Only the message: the parser's own report repeats the line, which may hold a secret.
        let report = |error: toml::de::Error| ConfigError {
            place: Source::File {
                path: file.path.clone(),
                line: error.span().map_or(1, |span| lines.at(&span)),
            },
            problem: format!("this is not TOML: {}", error.message()),
        };
        Err(errors.into_iter().take(SYNTAX_ERRORS).map(report).collect())
    }

    pub(super) fn base(&self) -> &Path {
        self.file.base()
    }

    /// The place of something in the file.
    pub(super) fn place<T>(&self, spanned: &Spanned<T>) -> Source {
        Source::File { path: self.file.path.clone(), line: self.lines.at(&spanned.span()) }
    }

    /// A value by its section and name, with its place.
    pub(super) fn get(&self, section: &str, name: &str) -> Option<(Raw<'_>, Source)> {
        let value = self.root.get(section)?.get_ref().as_table()?.get(name)?;
        Some((Raw::Toml(value.get_ref()), self.place(value)))
    }

    /// The entries of a list of tables, `[[auth.tokens]]` or `[[agents]]`; whatever else stands there is an error.
    pub(super) fn entries(&self, path: &str, errors: &mut Vec<ConfigError>) -> Vec<Section<'_>> {
        let found = match path.split_once('.') {
            Some((section, name)) => self.root.get(section).and_then(|v| v.get_ref().as_table()?.get(name)),
            None => self.root.get(path),
        };
        let Some(value) = found else { return Vec::new() };
        let mut refuse = |spanned: &Spanned<DeValue<'_>>| {
            let got = Raw::kind(spanned.get_ref());
            let problem = format!("{path}: expected entries that begin with [[{path}]], got {got}");
            errors.push(ConfigError { place: self.place(spanned), problem });
        };
        let Some(items) = value.get_ref().as_array() else {
            refuse(value);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section { table, place: self.place(item) }),
                None => refuse(item),
            }
        }
        sections
    }

    /// What stands at the top and in the plain sections and is no key.
    pub(super) fn unknown(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (name, value) in self.root.iter() {
            let section = name.get_ref().as_ref();
            if section == "agents" {
                continue; // A list of tables; see `entries`.
            }
            if !keys::SECTIONS.contains(&section) {
                errors.push(self.unknown_at_top(name));
                continue;
            }
            match value.get_ref().as_table() {
                Some(table) => self.unknown_in(section, section, table, &mut errors),
                None => {
                    let got = Raw::kind(value.get_ref());
                    let problem =
                        format!("{section}: expected a section that begins with [{section}], got {got}");
                    errors.push(ConfigError { place: self.place(value), problem });
                }
            }
        }
        errors
    }

    /// What stands in one table and is no key there; `shown` is the table's name for people.
    pub(super) fn unknown_in(
        &self,
        section: &str,
        shown: &str,
        table: &DeTable<'_>,
        errors: &mut Vec<ConfigError>,
    ) {
        let known = keys::names_in(section);
        for (name, _) in table.iter() {
            let text = name.get_ref().as_ref();
            if known.contains(&text) {
                continue;
            }
            let problem = if section.starts_with("auth") && is_plain_token(text) {
                format!(
                    "{shown}.{}: tokens are not kept in this file in plain; keep the hash: [[auth.tokens]] with \
                     name = \"…\" and sha256 = \"…\", made by: printf %s TOKEN | sha256sum",
                    escaped(text)
                )
            } else {
                let hint = suggest::hint(text, known.iter().copied());
                format!("{shown}.{}: there is no such key{hint}", escaped(text))
            };
            errors.push(ConfigError { place: self.place(name), problem });
        }
    }

    fn unknown_at_top(&self, name: &Spanned<DeString<'_>>) -> ConfigError {
        let text = name.get_ref().as_ref();
        let paths: Vec<String> = keys::paths().filter(|path| !path.contains('[')).collect();
        let same_name = paths.iter().find(|path| path.rsplit('.').next() == Some(text));
        let hint = match same_name {
            Some(path) => format!("; did you mean {path}?"),
            None => suggest::hint(
                text,
                keys::SECTIONS.iter().copied().chain(paths.iter().filter_map(|p| p.rsplit('.').next())),
            ),
        };
        let problem = format!("{}: there is no such section or key{hint}", escaped(text));
        ConfigError { place: self.place(name), problem }
    }
}

/// Names under which people would try to put a token itself.
fn is_plain_token(name: &str) -> bool {
    matches!(name, "token" | "secret" | "value" | "bearer" | "password" | "plain" | "plaintext")
}

/// A key of a person's in an error: escaped and not too long, without quotes where it needs none.
fn escaped(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let short = name.len() <= 64 && !name.is_empty() && name.bytes().all(plain);
    if short { name.to_owned() } else { quoted(name) }
}
