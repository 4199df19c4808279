//! Structs that are read from JSON objects only. Serde would take a list of their fields' values, too.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads an object; for `deserialize_with`.
///
/// # Errors
/// For anything else, lists included.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

/// Reads an object or null; for `deserialize_with`.
///
/// # Errors
/// As [`object`].
pub fn optional_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Wrapped<T>(T);
    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Wrapped<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            object(deserializer).map(Wrapped)
        }
    }
    Ok(Option::<Wrapped<T>>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
}

/// What is wrong with an object, beginning with the place: the object's name and the path from there.
pub(crate) fn wrong(object: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    let dot = match path.as_str() {
        // A missing field has no path of its own.
        "." => return format!("{object}: {}", words(error.inner())),
        _ if path.starts_with('[') => "",
        _ => ".",
    };
    format!("{object}{dot}{path}: {}", words(error.inner()))
}

/// An error without line and column: these count from where the parser began, which nobody else knows.
pub(crate) fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((words, _)) => words.into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::Submit;
    use super::super::session::{Hello, ListJobs};

    #[test]
    fn a_list_is_no_object() {
        for hello in [
            r#"{"auth":["bearer","t"]}"#,
            r#"{"client":["c","1"]}"#,
            r#"{"capabilities":[]}"#,
            r#"{"resume":["t"]}"#,
        ] {
            assert!(serde_json::from_str::<Hello>(hello).is_err(), "{hello}");
        }
        assert!(serde_json::from_str::<ListJobs>(r#"{"filter":[]}"#).is_err());
        let submit = r#"{"agent":"echo","lease_constraints":["2099-01-01T00:00:00Z"]}"#;
        assert!(serde_json::from_str::<Submit>(submit).is_err());
        let list: ListJobs = serde_json::from_str(r#"{"filter":null}"#).unwrap();
        assert!(list.filter.is_none());
        let list: ListJobs = serde_json::from_str(r#"{"filter":{"agent":"echo"}}"#).unwrap();
        assert!(list.filter.is_some());
    }
}
