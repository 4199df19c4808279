//! Values as a layer gives them, and the readers that make typed values of them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::de::DeValue;

/// Characters of a wrong value that an error repeats.
const SHOWN_CHARS: usize = 40;

/// A value as it was written.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    /// Of a flag or of the environment.
    Text(&'a str),
    /// Of a flag that was repeated.
    Texts(&'a [String]),
    /// Of the file.
    Toml(&'a DeValue<'a>),
}

impl<'a> Raw<'a> {
    /// What it is, for "got …".
    pub(super) fn got(&self) -> String {
        match self {
            Raw::Text(text) => quoted(text),
            Raw::Texts(texts) => format!("{} texts", texts.len()),
            Raw::Toml(DeValue::String(text)) => format!("the text {}", quoted(text)),
            Raw::Toml(DeValue::Integer(number)) => format!("the integer {}", shortened(&number.to_string())),
            Raw::Toml(DeValue::Float(number)) => format!("the float {}", shortened(number.as_str())),
            Raw::Toml(DeValue::Boolean(value)) => format!("the boolean {value}"),
            Raw::Toml(value) => Raw::kind(value).to_owned(),
        }
    }

    /// What sort of value it is, for errors about values that may be secret.
    pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
        match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    fn expected(&self, what: impl Display) -> String {
        format!("expected {what}, got {}", self.got())
    }

    /// A text.
    pub(super) fn text(&self, what: impl Display) -> Result<&'a str, String> {
        match *self {
            Raw::Text(text) => Ok(text),
            Raw::Toml(DeValue::String(text)) => Ok(text),
            Raw::Toml(_) | Raw::Texts(_) => Err(self.expected(what)),
        }
    }

    /// A text that means something.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, what: &str) -> Result<T, String> {
        let text = self.text(what)?;
        text.parse().map_err(|error| format!("{error}, got {}", quoted(text)))
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Result<bool, String> {
        match *self {
            Raw::Toml(DeValue::Boolean(value)) => Ok(*value),
            Raw::Text("true" | "1") => Ok(true),
            Raw::Text("false" | "0") => Ok(false),
            Raw::Text(_) | Raw::Texts(_) | Raw::Toml(_) => Err(self.expected("true or false")),
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
        let number = match *self {
            Raw::Text(text) => text.parse().ok(),
            Raw::Toml(DeValue::Integer(number)) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            Raw::Texts(_) | Raw::Toml(_) => None,
        };
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            self.expected(format_args!("an integer from {} to {}", bounds.start(), bounds.end()))
        })
    }

    /// Texts: a list of the file, a flag that was repeated, or a variable with commas.
    pub(super) fn texts(&self) -> Result<Vec<&'a str>, String> {
        match *self {
            Raw::Text(text) => Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()),
            Raw::Texts(texts) => Ok(texts.iter().map(String::as_str).collect()),
            Raw::Toml(DeValue::Array(items)) => {
                items.iter().map(|item| Raw::Toml(item.get_ref()).text("a list of texts")).collect()
            }
            Raw::Toml(_) => Err(self.expected("a list of texts")),
        }
    }

    /// A path. One that is relative and stands in the file is taken from `base`, the file's directory.
    pub(super) fn path(&self, base: &Path) -> Result<PathBuf, String> {
        let text = self.text("a path")?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.expected("a path"));
        }
        if text.starts_with('~') {
            return Err(format!("~ is not expanded here; write the whole path, got {}", quoted(text)));
        }
        Ok(match self {
            Raw::Toml(_) => base.join(text),
            Raw::Text(_) | Raw::Texts(_) => PathBuf::from(text),
        })
    }
}

/// A text of a person in an error: quoted, escaped and not too long.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_CHARS).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
