//! References to agents: `name` or `name@version` (§7.5).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An agent's name, and its version where one was asked for (§7.5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentRef {
    /// `[a-z0-9][a-z0-9._-]*`
    pub name: String,
    /// `[a-zA-Z0-9.+_-]+`; opaque, never ordered.
    pub version: Option<String>,
}

/// A text that is no reference to an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an agent like name or name@version ([a-z0-9][a-z0-9._-]* and [a-zA-Z0-9.+_-]+), got {0:?}")]
pub struct NotAnAgent(pub String);

const NAME_CHARS: usize = 128;

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= NAME_CHARS
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'))
}

fn is_version(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_CHARS
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'_' | b'-'))
}

impl FromStr for AgentRef {
    type Err = NotAnAgent;
    fn from_str(text: &str) -> Result<Self, NotAnAgent> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if !is_name(name) || !version.is_none_or(is_version) {
            return Err(NotAnAgent(text.chars().take(64).collect()));
        }
        Ok(AgentRef { name: name.into(), version: version.map(Into::into) })
    }
}

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Serialize for AgentRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AgentRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for AgentRef {
    fn schema_name() -> Cow<'static, str> {
        "AgentRef".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^[a-z0-9][a-z0-9._-]{0,127}(@[a-zA-Z0-9.+_-]{1,128})?$";
        json_schema!({ "type": "string", "pattern": pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_follow_the_grammar() {
        for good in ["echo", "echo@1.0.0", "0a._-b@2.0.0+build_1-x"] {
            assert_eq!(good.parse::<AgentRef>().unwrap().to_string(), good);
        }
        for wrong in ["", "@1.0.0", "echo@", "Echo", "-a", "a b", "a@b@c", "é", "a@ü", &"a".repeat(129)] {
            assert!(wrong.parse::<AgentRef>().is_err(), "{wrong}");
        }
    }
}
