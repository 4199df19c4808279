//! The shapes that clients demand, and what is wrong where one is not met.

use serde_json::Value;

/// Why a client could not live with a frame.
pub(crate) type Wrong = String;

pub(crate) type Check = fn(&Value) -> bool;

/// Fails unless a rule holds.
pub(crate) fn must(holds: bool, rule: &str) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(rule.into()) }
}

/// Every named field is there and as it has to be.
pub(crate) fn needs(payload: &Value, fields: &[(&str, Check)]) -> Result<(), Wrong> {
    for (field, check) in fields {
        let value = payload.get(*field).ok_or_else(|| format!("{field} is missing"))?;
        must(check(value), field)?;
    }
    Ok(())
}

/// Every named field is absent or as it has to be.
pub(crate) fn may(payload: &Value, fields: &[(&str, Check)]) -> Result<(), Wrong> {
    fields.iter().try_for_each(|(field, check)| must(payload.get(*field).is_none_or(check), field))
}

pub(crate) fn word(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

pub(crate) fn whole(value: &Value) -> bool {
    value.is_u64()
}

pub(crate) fn positive(value: &Value) -> bool {
    value.as_u64().is_some_and(|number| number > 0)
}

pub(crate) fn object(value: &Value) -> bool {
    value.is_object()
}

pub(crate) fn flag(value: &Value) -> bool {
    value.is_boolean()
}

/// RFC 3339 in UTC with a `Z`.
pub(crate) fn instant(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T')
}

/// 32 lowercase hex digits, not all zero.
pub(crate) fn trace(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        text.len() == 32
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && text.bytes().any(|b| b != b'0')
    })
}

/// Namespaces with lists of patterns that are not empty.
pub(crate) fn lease(value: &Value) -> bool {
    let patterns = |list: &Value| list.as_array().is_some_and(|list| list.iter().all(word));
    value.as_object().is_some_and(|lease| lease.values().all(patterns))
}

/// An inventory of objects with names.
pub(crate) fn agents(value: &Value) -> bool {
    value.as_array().is_some_and(|agents| agents.iter().all(|agent| word(&agent["name"])))
}

/// One of the fifteen codes of the specification.
pub(crate) fn code(value: &Value) -> bool {
    let codes = "PERMISSION_DENIED LEASE_SUBSET_VIOLATION JOB_NOT_FOUND DUPLICATE_KEY AGENT_NOT_AVAILABLE \
                 AGENT_VERSION_NOT_AVAILABLE CANCELLED TIMEOUT RESUME_WINDOW_EXPIRED HEARTBEAT_LOST LEASE_EXPIRED \
                 BUDGET_EXHAUSTED INVALID_REQUEST UNAUTHENTICATED INTERNAL_ERROR";
    value.as_str().is_some_and(|text| codes.split_whitespace().any(|code| code == text))
}

/// One of the states of the specification.
pub(crate) fn status(value: &Value) -> bool {
    ["pending", "running", "success", "error", "cancelled", "timed_out"].iter().any(|word| value == word)
}

/// A ULID in upper case.
pub(crate) fn ulid(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}
