//! `schemas/` is generated: `REGENERATE=1 cargo test --test schemas` writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use arcpd::wire::schema;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// Every `.json` below a directory, by its path in there.
fn files(directory: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            files(&path, &format!("{name}/"), found);
        } else if name.ends_with(".json") {
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn regenerate(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) {
    for path in found.keys().filter(|path| !wanted.contains_key(*path)) {
        fs::remove_file(directory().join(path)).unwrap();
    }
    for (path, text) in wanted {
        let path = directory().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let all = schema::all();
    let wanted: BTreeMap<String, String> = all.iter().map(|f| (f.path.clone(), f.text.clone())).collect();
    assert_eq!(wanted.len(), all.len(), "two schemas for one file");
    let mut found = BTreeMap::new();
    files(&directory(), "", &mut found);
    if env::var_os("REGENERATE").is_some_and(|value| value == "1") {
        regenerate(&wanted, &found);
        return;
    }
    let missing =
        wanted.keys().filter(|path| !found.contains_key(*path)).map(|path| format!("missing: {path}"));
    let stray =
        found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| format!("of no type: {path}"));
    let changed = wanted
        .iter()
        .filter(|(path, text)| found.get(*path).is_some_and(|is| is != *text))
        .map(|(path, _)| format!("changed: {path}"));
    let drift: Vec<String> = missing.chain(stray).chain(changed).collect();
    assert!(
        drift.is_empty(),
        "schemas/ is not what the types say. If the change is meant, write it with\n    \
         REGENERATE=1 cargo test --test schemas\nand commit it.\n{}",
        drift.join("\n")
    );
}

#[test]
fn every_schema_is_a_schema_with_a_title() {
    for file in schema::all() {
        let schema = serde_json::from_str(&file.text).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "{}", file.path);
        assert!(schema["title"].as_str().is_some_and(|title| !title.is_empty()), "{}", file.path);
        assert!(file.text.ends_with("}\n"));
    }
}
