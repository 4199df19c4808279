//! Identifiers: a prefix that says what it names, and a ULID.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// A text that is no identifier of the expected sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id like {prefix}01J0000000000000000000000, got {got:?}")]
pub struct NotAnId {
    prefix: &'static str,
    got: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Ulid);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id of a time in milliseconds and 80 random bits, both from outside.
            pub fn new(at_millis: u64, random: u128) -> Self {
                $name(Ulid::from_parts(at_millis, random))
            }

            /// Appends the text form.
            pub fn push_to(&self, text: &mut String) {
                text.push_str($prefix);
                text.push_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]));
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.write_str($prefix)?;
                f.write_str(self.0.array_to_str(&mut buffer))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let refuse = || NotAnId { prefix: $prefix, got: text.chars().take(64).collect() };
                let digits = text.strip_prefix($prefix).ok_or_else(refuse)?;
                let id = $name(Ulid::from_string(digits).map_err(|_| refuse())?);
                // One spelling per id: lower case and look-alike letters are not the same text.
                if id.to_string() == text { Ok(id) } else { Err(refuse()) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let pattern = concat!("^", $prefix, "[0-7][0-9A-HJKMNP-TV-Z]{25}$");
                json_schema!({ "type": "string", "pattern": pattern })
            }
        }
    };
}

id!(
    /// A session (§6): one client's negotiated conversation.
    SessionId, "sess_"
);
id!(
    /// A job (§7): one submitted piece of agent work.
    JobId, "job_"
);
id!(
    /// A streamed result (§8.4).
    ResultId, "res_"
);
id!(
    /// An envelope written by the daemon (§5).
    MessageId, "msg_"
);

/// A W3C trace id (§11): 16 bytes, not all zero, written as 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// A text that is neither a trace id nor a `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a trace id of 32 hex digits, not all zero, or a W3C traceparent, got {0:?}")]
pub struct NotATraceId(pub String);

impl FromStr for TraceId {
    type Err = NotATraceId;
    fn from_str(text: &str) -> Result<Self, NotATraceId> {
        let refuse = || NotATraceId(text.chars().take(64).collect());
        let digits = match text.len() {
            32 => text,
            // version "-" trace-id "-" parent-id "-" flags
            55 if text.as_bytes()[2] == b'-' && text.as_bytes()[35] == b'-' => {
                text.get(3..35).ok_or_else(refuse)?
            }
            _ => return Err(refuse()),
        };
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        match u128::from_str_radix(digits, 16) {
            Ok(bits) if bits != 0 => Ok(TraceId(bits)),
            Ok(_) | Err(_) => Err(refuse()),
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for TraceId {
    fn schema_name() -> Cow<'static, str> {
        "TraceId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = JobId::new(1_794_000_000_000, 42);
        let text = id.to_string();
        assert_eq!(text.parse::<JobId>().unwrap(), id);
        for wrong in
            [text.to_lowercase(), text.replace("job_", "sess_"), text.replace("job_", ""), String::new()]
        {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_traceparent_gives_its_trace_id() {
        let plain: TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
        let parent: TraceId = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        assert_eq!(plain, parent);
        assert_eq!(parent.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for wrong in ["", "0".repeat(32).as_str(), "xyz", &"g".repeat(32), &"é".repeat(16)] {
            assert!(wrong.parse::<TraceId>().is_err(), "{wrong}");
        }
    }
}
