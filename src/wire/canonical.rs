//! Canonical JSON: object keys sorted by code point, no white space, numbers as they were written.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The canonical form of a JSON text.
///
/// Nesting must have been bounded before, as it is for everything inside a received frame.
///
/// # Errors
/// When the text is no JSON.
pub fn canonical(json: &str) -> serde_json::Result<String> {
    let mut out = String::with_capacity(json.len());
    write(json.trim(), &mut out)?;
    Ok(out)
}

fn write(json: &str, out: &mut String) -> serde_json::Result<()> {
    match json.as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
            out.push('{');
            for (i, (key, value)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(key)?);
                out.push(':');
                write(value.get(), out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item.get(), out)?;
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&serde_json::to_string(&serde_json::from_str::<String>(json)?)?),
        _ => out.push_str(serde_json::from_str::<&RawValue>(json)?.get()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_order_space_and_escapes_do_not_matter_but_number_text_does() {
        let a = canonical(r#" { "b" : [ 1.0 , {"z":null,"a":"\u0041"} ], "a":true } "#).unwrap();
        assert_eq!(a, r#"{"a":true,"b":[1.0,{"a":"A","z":null}]}"#);
        assert_ne!(canonical("1.0").unwrap(), canonical("1").unwrap());
        assert!(canonical("{").is_err());
    }
}
