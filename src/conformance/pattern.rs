//! What a case expects of a JSON value, and what it remembers of it.
//!
//! A pattern is JSON: an object asks for its fields and allows others, a list asks for just its items, a text that
//! begins with `$` takes the value the first time and asks for the same afterwards, and a text in angle brackets is one
//! of the matchers below. A list that begins with `<others>` asks for its items among others, in any order. Everything
//! else asks for itself.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::wire::time::Timestamp;

/// What a case has learnt so far, by name.
pub type Known = BTreeMap<String, Value>;

/// What is expected of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// Just this.
    Exactly(Value),
    /// These fields, and whatever else.
    Object(Vec<(String, Pattern)>),
    /// These items, and no others.
    List(Vec<Pattern>),
    /// `["<others>", …]`: a list with these items in it, in any order.
    Among(Vec<Pattern>),
    /// `$name`: the same as before, whatever it is the first time.
    Named(String),
    /// `<…>`: one of the matchers.
    Matcher(Matcher),
}

/// A matcher of a single value.
#[derive(Debug, Clone, PartialEq)]
pub enum Matcher {
    /// `<any>`: there, whatever it is; null too.
    Any,
    /// `<absent>`: not there at all.
    Absent,
    /// `<text>`: a text that is not empty.
    Text,
    /// `<integer>`: a whole number from 0.
    Integer,
    /// `<flag>`: true or false.
    Flag,
    /// `<object>`: an object.
    Object,
    /// `<instant>`: RFC 3339 in UTC, written as `Z` or as `+00:00`.
    Instant,
    /// `<list>`: a list.
    List,
    /// `<prefix job_>`: a text that begins so.
    Prefix(String),
    /// `<one of a, b>`: one of these texts.
    OneOf(Vec<String>),
    /// `<at least 3>`: a number that is not smaller.
    AtLeast(u64),
    /// `<not x>`: a text, but not this one; `<not $name>`: not what is known by this name.
    Not(String),
    /// `<has x>`: a list with this text in it, or with an object whose `name` it is.
    Has(String),
    /// `<lacks $name>`: a list without an object in which a field is this, and without the value itself.
    Lacks(String),
    /// `<length 3>`: a list or text of so many items or characters.
    Length(usize),
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a matcher like <any>, <absent>, <text>, <integer>, <flag>, <object>, <list>, <instant>, <prefix X>, \
     <one of A, B>, <at least N>, <not X>, <has X>, <lacks X> or <length N>, got {0:?}"
)]
pub struct NotAPattern(pub String);

/// Why a value is not as expected, with the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, as in `payload.code`.
    pub at: String,
    /// What was expected.
    pub expected: String,
    /// What there was.
    pub got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.at, self.expected, self.got)
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`NotAPattern`] for a text in angle brackets that is no matcher.
    pub fn read(value: Value) -> Result<Pattern, NotAPattern> {
        Ok(match value {
            Value::String(text) => match (text.strip_prefix('$'), bracketed(&text)) {
                (Some(name), _) => Pattern::Named(name.into()),
                (None, Some(inner)) => Pattern::Matcher(Matcher::read(inner)?),
                (None, None) => Pattern::Exactly(Value::String(text)),
            },
            Value::Array(items) if items.first().is_some_and(|first| first == OTHERS) => {
                Pattern::Among(items.into_iter().skip(1).map(Pattern::read).collect::<Result<_, _>>()?)
            }
            Value::Array(items) => {
                Pattern::List(items.into_iter().map(Pattern::read).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let read = fields.into_iter().map(|(key, value)| Ok((key, Pattern::read(value)?)));
                Pattern::Object(read.collect::<Result<_, _>>()?)
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => Pattern::Exactly(other),
        })
    }

    /// Compares a value, which may be absent, and remembers what is named for the first time.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub fn compare(&self, at: &str, value: Option<&Value>, known: &mut Known) -> Result<(), Mismatch> {
        let wrong = |expected: String| {
            let got = value.map_or_else(|| "nothing".into(), shown);
            Err(Mismatch { at: at.into(), expected, got })
        };
        match self {
            Pattern::Exactly(expected) => match value {
                Some(value) if value == expected => Ok(()),
                Some(_) | None => wrong(shown(expected)),
            },
            Pattern::Named(name) => match (known.get(name), value) {
                (Some(before), Some(value)) if before == value => Ok(()),
                (Some(before), _) => wrong(format!("{} (${name})", shown(before))),
                (None, Some(value)) => {
                    known.insert(name.clone(), value.clone());
                    Ok(())
                }
                (None, None) => wrong(format!("a value for ${name}")),
            },
            Pattern::Object(fields) => {
                let Some(Value::Object(object)) = value else { return wrong("an object".into()) };
                fields.iter().try_for_each(|(key, pattern)| {
                    pattern.compare(&format!("{at}.{key}"), object.get(key), known)
                })
            }
            Pattern::List(patterns) => {
                let items = match value {
                    Some(Value::Array(items)) if items.len() == patterns.len() => items,
                    Some(_) | None => return wrong(format!("a list of {}", patterns.len())),
                };
                let pairs = patterns.iter().zip(items).enumerate();
                pairs.into_iter().try_for_each(|(n, (pattern, item))| {
                    pattern.compare(&format!("{at}[{n}]"), Some(item), known)
                })
            }
            Pattern::Among(patterns) => {
                let Some(Value::Array(items)) = value else { return wrong("a list".into()) };
                patterns.iter().try_for_each(|pattern| among(pattern, &format!("{at}[…]"), items, known))
            }
            Pattern::Matcher(matcher) => {
                if matcher.admits(value, known) {
                    Ok(())
                } else {
                    wrong(matcher.to_string())
                }
            }
        }
    }
}

/// What a list begins with that may have other items.
const OTHERS: &str = "<others>";

/// Finds an item that is as expected; what the others would have taught is forgotten. Where there is none, the last
/// item says why.
fn among(pattern: &Pattern, at: &str, items: &[Value], known: &mut Known) -> Result<(), Mismatch> {
    let mut last = None;
    for item in items {
        let mut learnt = known.clone();
        match pattern.compare(at, Some(item), &mut learnt) {
            Ok(()) => {
                *known = learnt;
                return Ok(());
            }
            Err(mismatch) => last = Some(mismatch),
        }
    }
    let none = Mismatch { at: at.into(), expected: "another item".into(), got: "nothing".into() };
    Err(last.unwrap_or(none))
}

fn bracketed(text: &str) -> Option<&str> {
    text.strip_prefix('<')?.strip_suffix('>')
}

impl Matcher {
    fn read(inner: &str) -> Result<Matcher, NotAPattern> {
        let refuse = || NotAPattern(format!("<{inner}>"));
        let (word, rest) = inner.split_once(' ').unwrap_or((inner, ""));
        Ok(match (word, rest) {
            ("any", "") => Matcher::Any,
            ("absent", "") => Matcher::Absent,
            ("text", "") => Matcher::Text,
            ("integer", "") => Matcher::Integer,
            ("flag", "") => Matcher::Flag,
            ("object", "") => Matcher::Object,
            ("instant", "") => Matcher::Instant,
            ("list", "") => Matcher::List,
            ("prefix", rest) if !rest.is_empty() => Matcher::Prefix(rest.into()),
            ("one", rest) => {
                let texts = rest.strip_prefix("of ").ok_or_else(refuse)?;
                Matcher::OneOf(texts.split(',').map(|text| text.trim().into()).collect())
            }
            ("at", rest) => {
                let number = rest.strip_prefix("least ").and_then(|number| number.parse().ok());
                Matcher::AtLeast(number.ok_or_else(refuse)?)
            }
            ("not", rest) if !rest.is_empty() => Matcher::Not(rest.into()),
            ("has", rest) if !rest.is_empty() => Matcher::Has(rest.into()),
            ("lacks", rest) if !rest.is_empty() => Matcher::Lacks(rest.into()),
            ("length", rest) => Matcher::Length(rest.parse().map_err(|_| refuse())?),
            _ => return Err(refuse()),
        })
    }

    fn admits(&self, value: Option<&Value>, known: &Known) -> bool {
        let Some(value) = value else { return *self == Matcher::Absent };
        let text = value.as_str();
        match self {
            Matcher::Any => true,
            Matcher::Absent => false,
            Matcher::Text => text.is_some_and(|text| !text.is_empty()),
            Matcher::Integer => value.is_u64(),
            Matcher::Flag => value.is_boolean(),
            Matcher::Object => value.is_object(),
            Matcher::List => value.is_array(),
            Matcher::Instant => {
                text.is_some_and(|text| Timestamp::parse(&text.replace("+00:00", "Z")).is_ok())
            }
            Matcher::Prefix(prefix) => {
                text.is_some_and(|text| text.len() > prefix.len() && text.starts_with(prefix))
            }
            Matcher::OneOf(texts) => text.is_some_and(|text| texts.iter().any(|known| known == text)),
            Matcher::AtLeast(least) => value.as_f64().is_some_and(|number| number >= *least as f64),
            Matcher::Not(other) => match other.strip_prefix('$') {
                Some(name) => known.get(name).is_some_and(|before| before != value),
                None => text.is_some_and(|text| text != other),
            },
            Matcher::Has(wanted) => value.as_array().is_some_and(|items| {
                items.iter().any(|item| item == wanted.as_str() || item["name"] == wanted.as_str())
            }),
            Matcher::Lacks(unwanted) => {
                let unwanted = match unwanted.strip_prefix('$') {
                    Some(name) => known.get(name).cloned(),
                    None => Some(Value::String(unwanted.clone())),
                };
                let is = |item: &Value| {
                    let mut fields = item.as_object().into_iter().flat_map(Map::values);
                    Some(item) == unwanted.as_ref() || fields.any(|field| Some(field) == unwanted.as_ref())
                };
                unwanted.is_some() && value.as_array().is_some_and(|items| !items.iter().any(is))
            }
            Matcher::Length(length) => {
                let long = value.as_array().map(Vec::len).or_else(|| text.map(|text| text.chars().count()));
                long == Some(*length)
            }
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matcher::Any => f.write_str("something"),
            Matcher::Absent => f.write_str("nothing"),
            Matcher::Text => f.write_str("a text that is not empty"),
            Matcher::Integer => f.write_str("a whole number"),
            Matcher::Flag => f.write_str("true or false"),
            Matcher::Object => f.write_str("an object"),
            Matcher::List => f.write_str("a list"),
            Matcher::Instant => f.write_str("an instant in UTC"),
            Matcher::Prefix(prefix) => write!(f, "a text that begins with {prefix:?}"),
            Matcher::OneOf(texts) => write!(f, "one of {}", texts.join(", ")),
            Matcher::AtLeast(least) => write!(f, "at least {least}"),
            Matcher::Not(other) => write!(f, "something else than {other}"),
            Matcher::Has(wanted) => write!(f, "a list with {wanted:?} in it"),
            Matcher::Lacks(unwanted) => write!(f, "a list without {unwanted}"),
            Matcher::Length(length) => write!(f, "a length of {length}"),
        }
    }
}

/// Longest value that a message quotes, in characters.
const SHOWN_CHARS: usize = 200;

/// A value as a message quotes it.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A value to be sent: every text that is `$name` becomes what is known by that name.
///
/// # Errors
/// The first name that nothing is known by.
pub fn filled(value: &Value, known: &Known) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('$') {
            Some(name) => {
                known.get(name).cloned().ok_or_else(|| format!("nothing is known by ${name} yet"))?
            }
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| filled(item, known)).collect::<Result<_, _>>()?,
        Value::Object(fields) => {
            let each = fields.iter().map(|(key, value)| Ok((key.clone(), filled(value, known)?)));
            Value::Object(each.collect::<Result<Map<_, _>, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compare(pattern: Value, value: &Value, known: &mut Known) -> Result<(), String> {
        let pattern = Pattern::read(pattern).map_err(|error| error.to_string())?;
        pattern.compare("payload", Some(value), known).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn a_value_is_compared_field_by_field_and_names_the_place() {
        let value = json!({ "code": "CANCELLED", "n": 3, "agents": [{ "name": "echo" }], "extra": null,
            "z": "2026-05-13T19:42:13Z", "offset": "2026-05-13T19:42:13.25+00:00" });
        let mut known = Known::new();
        for pattern in [
            json!({ "code": "CANCELLED", "n": 3 }),
            json!({ "code": "<one of TIMEOUT, CANCELLED>", "n": "<at least 3>", "extra": "<any>" }),
            json!({ "agents": "<has echo>", "gone": "<absent>", "code": "<prefix CAN>" }),
            json!({ "agents": "<length 1>", "code": "<not TIMEOUT>" }),
            json!({ "agents": [{ "name": "<text>" }] }),
            json!({ "z": "<instant>", "offset": "<instant>" }),
        ] {
            assert_eq!(compare(pattern.clone(), &value, &mut known), Ok(()), "{pattern}");
        }
        for (pattern, says) in [
            (json!({ "code": "TIMEOUT" }), "payload.code: expected \"TIMEOUT\", got \"CANCELLED\""),
            (json!({ "agents": [{ "name": "x" }] }), "payload.agents[0].name"),
            (json!({ "agents": [] }), "payload.agents: expected a list of 0"),
            (json!({ "gone": "<any>" }), "payload.gone: expected something, got nothing"),
            (json!({ "extra": "<absent>" }), "payload.extra: expected nothing, got null"),
            (json!({ "code": "<instant>" }), "expected an instant in UTC, got"),
            (json!({ "n": "<banana>" }), "expected a matcher like"),
        ] {
            let wrong = compare(pattern, &value, &mut known).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
    }

    #[test]
    fn a_list_may_have_items_among_others_and_lack_some() {
        let value = json!({ "jobs": [{ "id": "j1", "n": 1 }, { "id": "j2", "n": 2 }] });
        let mut known = Known::from([("job".into(), json!("j2")), ("gone".into(), json!("j3"))]);
        for pattern in [
            json!({ "jobs": ["<others>"] }),
            json!({ "jobs": ["<others>", { "id": "$job", "n": "$n" }] }),
            json!({ "jobs": ["<others>", { "n": 2 }, { "n": 1 }] }),
            json!({ "jobs": "<lacks $gone>" }),
            json!({ "jobs": "<lacks j3>" }),
        ] {
            assert_eq!(compare(pattern.clone(), &value, &mut known), Ok(()), "{pattern}");
        }
        assert_eq!(known["n"], 2, "only the item that was meant teaches");
        for (pattern, says) in [
            (json!({ "jobs": ["<others>", { "id": "$gone" }] }), "payload.jobs[…].id: expected \"j3\""),
            (json!({ "jobs": ["<others>", { "id": "$job", "n": 1 }] }), "payload.jobs[…]"),
            (json!({ "jobs": "<lacks $job>" }), "payload.jobs: expected a list without $job"),
            (json!({ "jobs": "<lacks j1>" }), "payload.jobs: expected a list without j1"),
            (json!({ "jobs": "<lacks $nothing>" }), "payload.jobs"),
        ] {
            let wrong = compare(pattern, &value, &mut known).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_learnt_once_and_the_same_afterwards() {
        let mut known = Known::new();
        assert_eq!(compare(json!({ "job_id": "$job" }), &json!({ "job_id": "j1" }), &mut known), Ok(()));
        assert_eq!(filled(&json!({ "a": ["$job"] }), &known), Ok(json!({ "a": ["j1"] })));
        assert!(compare(json!("$job"), &json!("j2"), &mut known).unwrap_err().contains("($job)"));
        assert!(compare(json!("<not $job>"), &json!("j2"), &mut known).is_ok());
        assert!(filled(&json!("$nobody"), &known).is_err());
    }
}
