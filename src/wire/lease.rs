//! Leases as they are asked for and echoed (§9): namespaces, patterns, constraints.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::Limits;
use super::time::Timestamp;

/// The namespace of money (§9.6).
pub const BUDGET: &str = "cost.budget";
/// The namespace of models (§9.7).
pub const MODELS: &str = "model.use";

/// The pattern that everything in a namespace matches.
const EVERYTHING: &str = "**";
/// Where one published client lists the namespaces that it asks for.
const CAPABILITIES: &str = "capabilities";
/// Where the end of a lease stands among its namespaces.
const EXPIRES_AT: &str = "expires_at";

/// A capability grant (§9.1): namespace → patterns, kept in the order in which they were asked for.
///
/// Unknown namespaces are kept and grant nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease(Vec<(String, Vec<String>)>);

/// What bounds a lease as a whole (§9.5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LeaseConstraints {
    /// The instant at which the lease ends; UTC with `Z`, in the future when the job is submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A lease that cannot be granted as it was asked for (§9.2, §9.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLease {
    /// More namespaces or patterns than allowed, or longer ones.
    #[error("lease_request has {got} {what}; at most {max} are allowed")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How many came.
        got: usize,
        /// How many are allowed.
        max: usize,
    },
    /// An empty namespace or pattern, or one with control characters.
    #[error(
        "lease_request.{namespace}: expected non-empty patterns without control characters, got {pattern:?}"
    )]
    Pattern {
        /// The namespace in question.
        namespace: String,
        /// The offending pattern, shortened.
        pattern: String,
    },
    /// An amount that is no amount.
    #[error("lease_request.cost.budget: expected amounts like USD:5.00 (currency, colon, digits), got {0:?}")]
    Amount(String),
    /// Two amounts of one currency.
    #[error("lease_request.cost.budget names the currency {0} twice; give one amount per currency")]
    CurrencyTwice(String),
}

impl Lease {
    /// The lease with these grants.
    pub fn new(grants: Vec<(String, Vec<String>)>) -> Self {
        Lease(grants)
    }

    /// Namespaces with their patterns, in order.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(namespace, patterns)| (namespace.as_str(), patterns.as_slice()))
    }

    /// Checks sizes, texts and amounts (§9.2, §9.6).
    ///
    /// # Errors
    /// The first thing that is wrong, as [`BadLease`].
    pub fn check(&self, limits: &Limits) -> Result<(), BadLease> {
        let too_much =
            |what, got, max| if got > max { Err(BadLease::TooMuch { what, got, max }) } else { Ok(()) };
        too_much("namespaces", self.0.len(), limits.lease_namespaces)?;
        too_much("patterns", self.0.iter().map(|(_, p)| p.len()).sum(), limits.lease_patterns)?;
        for (namespace, patterns) in self.grants() {
            for text in patterns.iter().map(String::as_str).chain([namespace]) {
                too_much("characters in a pattern", text.chars().count(), limits.lease_pattern_chars)?;
                if text.is_empty() || text.chars().any(char::is_control) {
                    let shorten = |text: &str| text.chars().take(64).collect();
                    return Err(BadLease::Pattern { namespace: shorten(namespace), pattern: shorten(text) });
                }
            }
            if namespace == BUDGET {
                check_amounts(patterns)?;
            }
        }
        Ok(())
    }
}

fn check_amounts(amounts: &[String]) -> Result<(), BadLease> {
    let mut seen: Vec<&str> = Vec::new();
    for amount in amounts {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let split = amount.split_once(':').filter(|(currency, number)| {
            let named =
                !currency.is_empty() && currency.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            named
                && number
                    .split_once('.')
                    .map_or(digits(number), |(whole, part)| digits(whole) && digits(part))
        });
        let Some((currency, _)) = split else {
            return Err(BadLease::Amount(amount.chars().take(64).collect()));
        };
        if seen.contains(&currency) {
            return Err(BadLease::CurrencyTwice(currency.into()));
        }
        seen.push(currency);
    }
    Ok(())
}

impl Serialize for Lease {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(namespace, patterns)| (namespace, patterns)))
    }
}

impl<'de> Deserialize<'de> for Lease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Lease;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of namespaces, each with a list of patterns")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lease, A::Error> {
                let mut grants = Grants::default();
                while let Some(namespace) = map.next_key()? {
                    grants.take(namespace, &mut map)?;
                }
                Ok(grants.lease)
            }
        }
        deserializer.deserialize_map(Reading)
    }
}

/// A lease that is being read, and the names in it: there may be many, before anybody has counted them.
#[derive(Default)]
struct Grants {
    lease: Lease,
    names: HashSet<String>,
}

impl Grants {
    fn take<'de, A: MapAccess<'de>>(&mut self, namespace: String, map: &mut A) -> Result<(), A::Error> {
        if !self.names.insert(namespace.clone()) {
            return Err(A::Error::custom(format!("the namespace {namespace:?} is named twice")));
        }
        self.lease.0.push((namespace, map.next_value()?));
        Ok(())
    }

    /// A namespace without patterns, unless it has some: they say more than its name.
    fn whole(&mut self, namespace: String) {
        if self.names.insert(namespace.clone()) {
            self.lease.0.push((namespace, vec![EVERYTHING.into()]));
        }
    }
}

/// A lease as it is asked for (§9.1): one published client names whole namespaces in a list, and two put the lease's end
/// among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseRequest {
    /// The grants; a namespace that was named without patterns is granted whole.
    pub lease: Lease,
    /// When the lease ends, where it is said here.
    pub expires_at: Option<Timestamp>,
}

impl From<Lease> for LeaseRequest {
    fn from(lease: Lease) -> Self {
        LeaseRequest { lease, expires_at: None }
    }
}

impl Serialize for LeaseRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (namespace, patterns) in self.lease.grants() {
            map.serialize_entry(namespace, patterns)?;
        }
        if let Some(at) = self.expires_at {
            map.serialize_entry(EXPIRES_AT, &at)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for LeaseRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = LeaseRequest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of namespaces, each with a list of patterns")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LeaseRequest, A::Error> {
                let (mut grants, mut expires_at) = (Grants::default(), None);
                let mut words: Vec<String> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        EXPIRES_AT => expires_at = map.next_value()?,
                        CAPABILITIES => words = map.next_value()?,
                        _ => grants.take(key, &mut map)?,
                    }
                }
                words.into_iter().for_each(|word| grants.whole(word));
                Ok(LeaseRequest { lease: grants.lease, expires_at })
            }
        }
        deserializer.deserialize_map(Reading)
    }
}

impl JsonSchema for LeaseRequest {
    fn schema_name() -> Cow<'static, str> {
        "LeaseRequest".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let at = Option::<Timestamp>::json_schema(generator);
        json_schema!({
            "type": "object",
            "properties": { "expires_at": at },
            "additionalProperties": { "type": "array", "items": { "type": "string", "minLength": 1 } }
        })
    }
}

impl JsonSchema for Lease {
    fn schema_name() -> Cow<'static, str> {
        "Lease".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "array", "items": { "type": "string", "minLength": 1 } }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Namespaces and patterns of all sorts, few of them valid together.
    fn grants() -> impl Strategy<Value = Vec<(String, Vec<String>)>> {
        let namespace = prop_oneof!["fs.read|net.fetch|cost.budget", "\\PC{1,8}", any::<String>()];
        let pattern = prop_oneof!["[A-Z]{0,3}:[0-9]{0,3}(\\.[0-9]{0,2})?", "\\PC{1,8}", any::<String>()];
        vec((namespace, vec(pattern, 0..4)), 0..5)
    }

    proptest! {
        #[test]
        fn a_lease_is_read_as_it_is_written(grants in grants()) {
            let lease = Lease::new(grants);
            let text = serde_json::to_string(&lease).unwrap();
            let names: std::collections::BTreeSet<&str> = lease.grants().map(|(name, _)| name).collect();
            match serde_json::from_str::<Lease>(&text) {
                Ok(again) => {
                    prop_assert_eq!(serde_json::to_string(&again).unwrap(), text);
                    prop_assert_eq!(again.check(&Limits::default()), lease.check(&Limits::default()));
                    prop_assert_eq!(again, lease);
                }
                Err(_) => prop_assert!(names.len() < lease.grants().count(), "only a namespace named twice is refused"),
            }
        }

        #[test]
        fn a_lease_that_passes_has_only_patterns_that_can_be_matched(grants in grants()) {
            let lease = Lease::new(grants);
            if lease.check(&Limits::default()).is_ok() {
                for (namespace, patterns) in lease.grants() {
                    for text in patterns.iter().map(String::as_str).chain([namespace]) {
                        prop_assert!(!text.is_empty() && !text.chars().any(char::is_control));
                    }
                }
            }
        }
    }

    fn check(text: &str) -> Result<Lease, String> {
        let lease: Lease = serde_json::from_str(text).map_err(|e| e.to_string())?;
        lease.check(&Limits::default()).map_err(|e| e.to_string())?;
        Ok(lease)
    }

    #[test]
    fn a_lease_is_echoed_verbatim() {
        let text = r#"{"net.fetch":["https://b/**","https://a/**"],"fs.read":["/x"],"x.y":["z"],"cost.budget":["USD:1.00","EUR:2"]}"#;
        assert_eq!(serde_json::to_string(&check(text).unwrap()).unwrap(), text);
    }

    #[test]
    fn namespaces_may_be_named_in_a_list_and_the_end_among_them() {
        let text = r#"{"capabilities":["fs.read","cost.spend","net.fetch","fs.read"],"net.fetch":["https://a/**"],"cost.budget":["USD:1.0"],"expires_at":"2099-01-01T00:00:00Z"}"#;
        let asked: LeaseRequest = serde_json::from_str(text).unwrap();
        let lease = r#"{"net.fetch":["https://a/**"],"cost.budget":["USD:1.0"],"fs.read":["**"],"cost.spend":["**"]}"#;
        assert_eq!(serde_json::to_string(&asked.lease).unwrap(), lease);
        assert_eq!(asked.expires_at.map(|at| at.to_string()).as_deref(), Some("2099-01-01T00:00:00.000000Z"));
        for wrong in
            [r#"{"capabilities":"fs.read"}"#, r#"{"expires_at":"soon"}"#, r#"{"expires_at":["x"]}"#, "[]"]
        {
            assert!(serde_json::from_str::<LeaseRequest>(wrong).is_err(), "{wrong}");
        }
        let plain: LeaseRequest = serde_json::from_str(r#"{"fs.read":["/x"],"expires_at":null}"#).unwrap();
        assert_eq!(plain, Lease::new(vec![("fs.read".into(), vec!["/x".into()])]).into());
    }

    #[test]
    fn what_cannot_be_granted_is_refused() {
        for wrong in [
            r#"{"cost.budget":["USD:-1"]}"#,
            r#"{"cost.budget":["USD:1e3"]}"#,
            r#"{"cost.budget":["USD:1."]}"#,
            r#"{"cost.budget":["USD"]}"#,
            r#"{"cost.budget":["USD:1","USD:2"]}"#,
            r#"{"fs.read":[""]}"#,
            r#"{"fs.read":["a\u0000b"]}"#,
            r#"{"fs.read":"/x"}"#,
            r#"{"fs.read":[1]}"#,
            r#"{"fs.read":[],"fs.read":[]}"#,
            "[]",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ten_thousand_namespaces_reach_the_limit() {
        let grants = (0..10_000).map(|i| (format!("n{i}"), vec!["x".into()])).collect();
        let bad = Lease::new(grants).check(&Limits::default());
        assert_eq!(bad, Err(BadLease::TooMuch { what: "namespaces", got: 10_000, max: 64 }));
    }
}
