//! The canonical form is its own canonical form and does not depend on key order or white space. Data: a JSON text.

use std::collections::BTreeMap;

use arcpd::wire::canonical::canonical;
use arcpd::wire::frame::too_deep;
use serde_json::Value;
use serde_json::value::RawValue;

/// As deep as frames may be.
const DEPTH: usize = 64;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if too_deep(data, DEPTH) {
        return;
    }
    let Ok(once) = canonical(text) else { return };
    assert_eq!(canonical(&once).unwrap(), once, "not its own canonical form");
    let mut turned = String::new();
    turn(text.trim(), &mut turned);
    assert_eq!(canonical(&turned).unwrap(), once, "key order or white space matters: {turned}");
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert_eq!(serde_json::from_str::<Value>(&once).unwrap(), value, "another value");
    }
}

/// The same value with its keys backwards and white space everywhere.
fn turn(json: &str, out: &mut String) {
    match json.as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap();
            out.push_str("\n{");
            for (i, (key, value)) in fields.iter().rev().enumerate() {
                out.push_str(if i > 0 { " , " } else { "\t" });
                let escaped: String = key.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
                out.push_str(&format!("\"{escaped}\" : "));
                turn(value.get(), out);
            }
            out.push_str("\r\n}");
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            out.push_str(" [");
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { " ,\n" } else { "" });
                turn(item.get(), out);
            }
            out.push_str(" ] ");
        }
        _ => out.push_str(json),
    }
}
