//! What resolving a configuration tells beside the values: where each came from, what is wrong, what is unwise.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is built in.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl Source {
    /// The order in which mistakes are told: those of the file by line, those of the environment, those of flags.
    pub(crate) fn order(&self) -> (u8, usize) {
        match self {
            Source::Default => (0, 0),
            Source::File { line, .. } => (1, *line),
            Source::Env(_) => (2, 0),
            Source::Flag(_) => (3, 0),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "file {} line {line}", path.display()),
            Source::Env(name) => write!(f, "env {name}"),
            Source::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One key with its value, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key's path.
    pub key: String,
    /// The value as it would stand in the file; secrets are hidden.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// Every key with its value and source, in the order in which keys are documented.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance(pub Vec<Setting>);

impl Provenance {
    /// The setting of a key.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.key == key)
    }
}

/// Something that works and is unwise. The text says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that must be put right before the daemon can start. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// Where the cause stands.
    pub place: Source,
    /// What is wrong, with the key, what was expected and what was found.
    pub problem: String,
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// In the order of [`Source::order`].
    pub(super) fn sorted(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|error| error.place.order());
        ConfigErrors(errors)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
