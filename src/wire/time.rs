//! Instants on the wire: UTC, RFC 3339 with `Z`, microseconds.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant in microseconds since the Unix epoch (§6.4, §8.1, §9.5). Time is always handed in from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is no instant in UTC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an instant in UTC like 2026-05-13T19:42:13Z (RFC 3339 with Z), got {0:?}")]
pub struct NotAnInstant(pub String);

impl Timestamp {
    /// The first instant that can be written: the year 0.
    pub const FIRST: Timestamp = Timestamp(-62_167_219_200_000_000);
    /// The last instant that can be written: the end of the year 9999.
    pub const LAST: Timestamp = Timestamp(253_402_300_799_999_999);

    /// The instant `micros` microseconds after the Unix epoch, or the nearest that can be written.
    pub fn from_micros(micros: i64) -> Self {
        Timestamp(micros).clamp(Self::FIRST, Self::LAST)
    }

    /// Microseconds since the Unix epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, 0 for anything before it.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// The instant `by` later; stays at [`LAST`](Self::LAST) when there is no later one.
    pub fn plus(self, by: Duration) -> Self {
        Timestamp::from_micros(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 in UTC with a `Z` and zero to nine digits of fraction.
    ///
    /// # Errors
    /// [`NotAnInstant`] for anything else, offsets other than `Z` included (§9.5).
    pub fn parse(text: &str) -> Result<Self, NotAnInstant> {
        let refuse = || NotAnInstant(text.chars().take(64).collect());
        if !text.ends_with(['Z', 'z']) {
            return Err(refuse());
        }
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| refuse())?;
        i64::try_from(parsed.unix_timestamp_nanos() / 1_000).map(Timestamp).map_err(|_| refuse())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        // Digit by digit: every event is stamped, and formatting ten numbers costs more than the rest of its head.
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |last: usize, digits: usize, mut value: u32| {
            for place in text[..=last].iter_mut().rev().take(digits) {
                *place = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(3, 4, u32::try_from(at.year()).unwrap_or_default());
        put(6, 2, u8::from(at.month()).into());
        put(9, 2, at.day().into());
        put(12, 2, at.hour().into());
        put(15, 2, at.minute().into());
        put(18, 2, at.second().into());
        put(25, 6, u32::try_from(micros).unwrap_or_default());
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).map_err(D::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?[Zz]$";
        json_schema!({ "type": "string", "format": "date-time", "pattern": pattern })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_with_zero_to_nine_digits_of_fraction_are_read_and_others_refused() {
        for (text, micros) in [
            ("1970-01-01T00:00:01Z", 1_000_000),
            ("1970-01-01T00:00:01.5Z", 1_500_000),
            ("1970-01-01T00:00:00.123456789Z", 123_456),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().as_micros(), micros, "{text}");
        }
        for text in
            ["2026-05-13T19:42:13", "2026-05-13T19:42:13+00:00", "tomorrow", "", "2026-13-01T00:00:00Z"]
        {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_instant_is_written_as_it_is_read() {
        let at = Timestamp::from_micros(1_794_000_000_123_456);
        assert_eq!(Timestamp::parse(&at.to_string()).unwrap(), at);
        assert_eq!(at.to_string(), "2026-11-06T21:20:00.123456Z");
        assert_eq!(Timestamp::from_micros(-1).to_string(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(Timestamp::default().to_string(), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn the_end_of_time_is_not_written_as_its_beginning() {
        let at = Timestamp::from_micros(1).plus(Duration::MAX);
        assert_eq!((at, at.to_string().as_str()), (Timestamp::LAST, "9999-12-31T23:59:59.999999Z"));
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "0000-01-01T00:00:00.000000Z");
    }

    proptest! {
        #[test]
        fn an_instant_is_read_as_it_is_written(micros in prop_oneof![
            any::<i64>(),
            Timestamp::FIRST.0..Timestamp::LAST.0,
            -2_000_000..2_000_000_i64,
        ]) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
        }

        #[test]
        fn written_instants_sort_like_instants(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (Timestamp::from_micros(a), Timestamp::from_micros(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.max(b).since(a.min(b)).as_micros(), u128::from(a.0.abs_diff(b.0)));
            prop_assert_eq!(a.min(b).since(a.max(b)), Duration::ZERO);
            prop_assert_eq!(a.min(b).plus(a.max(b).since(a.min(b))), a.max(b));
        }

        #[test]
        fn any_text_is_an_instant_or_refused(text in "[0-9TtZz:.+ -]{0,40}") {
            if let Ok(at) = Timestamp::parse(&text) {
                prop_assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
            }
        }
    }
}
