//! The envelope (§5): one JSON object whose payload stays raw until somebody needs it typed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::id::{JobId, MessageId, SessionId, TraceId};
use super::limits::ENVELOPE_FIELDS;
use super::time::Timestamp;

/// The protocol version that is written and required (§5).
pub const VERSION: &str = "1.1";

/// A received envelope (§5), borrowed from its frame. Unknown top-level fields are ignored; null means absent.
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    /// The protocol version.
    pub arcp: Option<Cow<'a, str>>,
    /// Names the message; answers refer to it.
    pub id: Option<Cow<'a, str>>,
    /// Says what the payload is.
    pub kind: Option<Cow<'a, str>>,
    /// The session.
    pub session_id: Option<Cow<'a, str>>,
    /// The trace (§11).
    pub trace_id: Option<Cow<'a, str>>,
    /// The job.
    pub job_id: Option<Cow<'a, str>>,
    /// The place in the session's stream (§8.3); whatever number stands there.
    pub event_seq: Option<&'a RawValue>,
    /// The payload as it came.
    pub payload: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an envelope: an object with arcp, id, type and payload")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                let mut fields = 0;
                while let Some(Text(key)) = map.next_key()? {
                    fields += 1;
                    if fields > ENVELOPE_FIELDS {
                        return Err(A::Error::custom(format!(
                            "expected at most {ENVELOPE_FIELDS} top-level fields"
                        )));
                    }
                    let slot = match &*key {
                        "arcp" => &mut envelope.arcp,
                        "id" => &mut envelope.id,
                        "type" => &mut envelope.kind,
                        "session_id" => &mut envelope.session_id,
                        "trace_id" => &mut envelope.trace_id,
                        "job_id" => &mut envelope.job_id,
                        "event_seq" | "payload" => {
                            let slot = match &*key {
                                "payload" => &mut envelope.payload,
                                _ => &mut envelope.event_seq,
                            };
                            if slot.is_some() {
                                return Err(twice(&key));
                            }
                            *slot = raw_or_null(&mut map)?;
                            continue;
                        }
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.is_some() {
                        return Err(twice(&key));
                    }
                    *slot = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0);
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(format!("the field {key} stands twice"))
}

fn raw_or_null<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de RawValue>, A::Error> {
    let raw: &'de RawValue = map.next_value()?;
    Ok(if raw.get() == "null" { None } else { Some(raw) })
}

/// A text that is borrowed where the JSON has no escapes in it.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.into())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

/// What the daemon writes around a payload (§5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Names the message.
    pub id: MessageId,
    /// The session; on every frame, refusals included.
    pub session_id: SessionId,
    /// The job, on messages of one.
    pub job_id: Option<JobId>,
    /// The job's trace.
    pub trace_id: Option<TraceId>,
    /// The place in the session's stream (§8.3).
    pub event_seq: Option<u64>,
    /// When it is written; the canonical encoding does not say it.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_texts_borrowed() {
        let frame = r#"{"arcp":"1.1","id":"a\u0041","type":"session.ping","new":{"x":[1]},"payload":{"nonce":"n"},"trace_id":null}"#;
        let envelope: Envelope<'_> = serde_json::from_str(frame).unwrap();
        assert_eq!(envelope.id.as_deref(), Some("aA"));
        assert!(matches!(envelope.kind, Some(Cow::Borrowed("session.ping"))));
        assert_eq!(envelope.payload.unwrap().get(), r#"{"nonce":"n"}"#);
        assert!(envelope.trace_id.is_none());
    }

    #[test]
    fn a_field_that_stands_twice_and_ten_thousand_fields_are_refused() {
        for twice in [
            r#"{"id":"a","id":"b"}"#,
            r#"{"payload":{},"payload":{"a":1}}"#,
            r#"{"event_seq":1,"event_seq":2}"#,
        ] {
            let error = serde_json::from_str::<Envelope<'_>>(twice).unwrap_err();
            assert!(error.to_string().contains("stands twice"), "{twice}: {error}");
        }
        let many: String = (0..10_000).map(|i| format!("\"k{i}\":1,")).collect();
        let error = serde_json::from_str::<Envelope<'_>>(&format!("{{{many}\"id\":\"a\"}}")).unwrap_err();
        assert!(error.to_string().contains("at most 64"), "{error}");
    }
}
