//! The first frame of a connection as a sign of who wrote it. Whatever cannot be read of it is no sign.

use serde_json::Value;

/// What a first frame shows.
#[derive(Debug, Default)]
pub(super) struct First {
    frame: Value,
}

impl First {
    /// Reads a frame; of something that is no JSON, nothing shows.
    pub(super) fn read(frame: &[u8]) -> First {
        First { frame: serde_json::from_slice(frame).unwrap_or_default() }
    }

    /// Whether it is of this type.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.frame["type"] == kind
    }

    /// Whether its envelope has this field.
    pub(super) fn has(&self, field: &str) -> bool {
        self.frame.get(field).is_some()
    }

    /// The envelope id.
    pub(super) fn id(&self) -> &str {
        self.frame["id"].as_str().unwrap_or_default()
    }

    /// A field of the payload; null where there is none.
    pub(super) fn payload(&self, field: &str) -> &Value {
        &self.frame["payload"][field]
    }

    /// The texts of a list among the client's capabilities; none where it is absent or something else.
    pub(super) fn capability(&self, list: &str) -> Option<Vec<&str>> {
        let list = self.payload("capabilities")[list].as_array()?;
        list.iter().map(Value::as_str).collect()
    }
}

/// Whether an id is a UUID of version 7 in lower case.
pub(super) fn is_uuid_v7(id: &str) -> bool {
    let groups: Vec<&str> = id.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(hex)
        && groups[2].starts_with('7')
        && groups[3].starts_with(['8', '9', 'a', 'b'])
}

/// Whether an id is a ULID and nothing else.
pub(super) fn is_ulid(id: &str) -> bool {
    id.len() == ulid::ULID_LEN && ulid::Ulid::from_string(id).is_ok()
}
