//! Keeps `docs/configuration.md` and `examples/arcpd.toml` true: both are made of the keys and the built-in
//! configuration, and a test fails where a file says anything else. After a change of keys, run
//! `REGENERATE=1 cargo test --lib config::docs` and commit the result.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::keys::{self, KEYS, Key};
use super::limits::bounds;
use super::resolve::{HEARTBEAT_INTERVAL_SEC, RESUME_WINDOW_SEC};
use super::{Config, ConfigFile, Resolved, SecretText, ServeArgs, resolve};
use crate::wire::limits::{Limits, unit};
use crate::wire::session::Token;

const BEGIN: &str = "<!-- generated: begin -->";
const END: &str = "<!-- generated: end -->";

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn resolved(text: Option<&str>, env: &[(&str, &str)]) -> Resolved {
    let file = text.map(|text| ConfigFile { path: "arcpd.toml".into(), text: text.into() });
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let secret = |_: &Path| Ok(SecretText { token: Token::new("of the file"), exposed: false });
    resolve(&Config::default(), file.as_ref(), &env, &ServeArgs::default(), &secret).unwrap()
}

/// A key's default: as documented beside the key, else as the built-in configuration shows it.
fn default_of(key: &str, documented: Option<&str>) -> String {
    let built_in = resolved(None, &[]);
    documented.map_or_else(|| built_in.provenance.get(key).unwrap().value.clone(), str::to_owned)
}

/// What each limit means, from the comments at their one definition.
fn meanings() -> BTreeMap<&'static str, String> {
    let source = include_str!("../wire/limits.rs").lines().map(str::trim);
    let mut comment = String::new();
    let mut found = BTreeMap::new();
    for line in source {
        if let Some(text) = line.strip_prefix("/// ") {
            comment = [comment.trim(), text].join(" ").trim().to_owned();
        } else {
            let name = line.split(':').next().unwrap();
            if let Some(name) = Limits::NAMES.iter().find(|known| **known == name) {
                found.insert(*name, comment.clone());
            }
            comment.clear();
        }
    }
    found
}

/// A key's type, with the bounds of a number.
fn kind_of(key: &Key) -> String {
    let bounds = match *key {
        keys::HEARTBEAT_INTERVAL => HEARTBEAT_INTERVAL_SEC,
        keys::RESUME_WINDOW => RESUME_WINDOW_SEC,
        _ => return key.kind.into(),
    };
    format!("{}, {} to {}", key.kind, bounds.start(), bounds.end())
}

fn kind_of_limit(name: &str) -> String {
    let bounds = bounds(name);
    let unit = match unit(name) {
        "count" => String::new(),
        unit => format!(", {unit}"),
    };
    format!("integer{unit}, {} to {}", bounds.start(), bounds.end())
}

fn row(text: &mut String, cells: [&str; 6]) {
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    writeln!(text, "| {} |", cells.join(" | ")).unwrap();
}

fn code(text: Option<&str>) -> String {
    text.map_or_else(|| "–".into(), |text| format!("`{text}`"))
}

fn reference() -> String {
    let mut text = String::new();
    let head = |text: &mut String, section: &str| {
        writeln!(text, "\n### {section}\n").unwrap();
        row(text, ["key", "type", "default", "environment", "flag", "meaning"]);
        row(text, ["---"; 6]);
    };
    let mut section = "";
    for key in KEYS {
        let Key { path, default, env, flag, meaning, .. } = key;
        let of = path.split('.').next().unwrap().trim_end_matches("[]");
        if of != section {
            head(&mut text, &format!("`[{of}]`").replace("[agents]", "[[agents]]"));
            section = of;
        }
        let default = default_of(path, *default);
        let is_value = toml::from_str::<toml::Table>(&format!("x = {default}")).is_ok();
        let default = if is_value { code(Some(&default)) } else { default };
        row(&mut text, [&code(Some(path)), &kind_of(key), &default, &code(*env), &code(*flag), meaning]);
    }
    head(&mut text, "`[limits]`");
    let meanings = meanings();
    for name in Limits::NAMES {
        let path = format!("limits.{name}");
        let default = code(Some(&default_of(&path, None)));
        let (env, flag) = (keys::env_of_limit(name), format!("--limit {name}=…"));
        let meaning = meanings[name].replace("`", "");
        let kind = kind_of_limit(name);
        row(
            &mut text,
            [&code(Some(&path)), &kind, &default, &code(Some(&env)), &code(Some(&flag)), &meaning],
        );
    }
    text
}

/// What the example shows for keys that have no default to show.
fn example_value(path: &str) -> Option<&'static str> {
    Some(match path {
        "server.tls_certificate" => "\"tls/certificate.pem\"",
        "server.tls_key" => "\"tls/key.pem\"",
        "auth.token_file" => "\"/var/lib/arcpd/token\"",
        "store.path" => "\"/var/lib/arcpd/arcpd.db\"",
        "auth.tokens[].name" => "\"alice\"",
        "auth.tokens[].dialect" => "\"go\"",
        "auth.tokens[].roles" => "[\"operator\"]",
        "auth.tokens[].sha256" => {
            // Of no known token: nobody may get in who switches the line on unread.
            "\"0000000000000000000000000000000000000000000000000000000000000000\""
        }
        "auth.tokens[].token_env" => "\"TOKEN_OF_BOB\"",
        "auth.tokens[].token_file" => "\"/run/secrets/token-of-carol\"",
        "agents[].name" => "\"report\"",
        "agents[].version" => "\"1.0.0\"",
        "agents[].command" => "[\"python3\", \"agent.py\"]",
        "agents[].dir" => "\"agents\"",
        "agents[].env" => "{ LANG = \"C.UTF-8\" }",
        "agents[].pass_env" => "[\"HTTPS_PROXY\"]",
        "agents[].default" => "false",
        _ => return None,
    })
}

fn example() -> String {
    let mut text = String::from(
        "# arcpd.toml: every key with its default. A line `#key = value` is switched off and shows the default,\n\
         # or an example where it says so. docs/configuration.md has the environment variable and the flag of\n\
         # each key; `arcpd check` shows what is in force and where it comes from. Relative paths are taken from\n\
         # this file's directory.\n",
    );
    let mut section = "";
    for Key { path, default, meaning, .. } in KEYS {
        if *path == keys::TOKENS.path {
            continue; // Its entries follow.
        }
        let (of, name) = path.rsplit_once('.').unwrap();
        let entry = of.strip_suffix("[]");
        let new_token = matches!(name, "token_env" | "token_file") && entry.is_some();
        if of != section || new_token {
            let header = entry.map_or_else(|| format!("[{of}]"), |of| format!("#[[{of}]]"));
            writeln!(text, "\n{header}").unwrap();
            section = of;
        }
        if new_token {
            writeln!(text, "#name = {}", if name == "token_env" { "\"bob\"" } else { "\"carol\"" }).unwrap();
        }
        writeln!(text, "# {meaning}").unwrap();
        match example_value(path) {
            Some(value) => {
                let default = default_of(path, *default);
                let lead = match &*default {
                    "required" => "Required.".to_owned(),
                    "one of these three" => "Give this, or one of the other two.".to_owned(),
                    default => format!("Default: {default}."),
                };
                writeln!(text, "# {lead} Example:\n#{name} = {value}").unwrap();
            }
            None => writeln!(text, "#{name} = {}", default_of(path, *default)).unwrap(),
        }
    }
    text.push_str("\n[limits]\n");
    let meanings = meanings();
    for name in Limits::NAMES {
        let default = default_of(&format!("limits.{name}"), None);
        writeln!(text, "# {}\n#{name} = {default}", meanings[name]).unwrap();
    }
    text
}

/// Compares a file with what it should be, or writes it where that is asked for.
fn compare(path: &str, wanted: &str) {
    let path = in_repository(path);
    if std::env::var_os("REGENERATE").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == wanted, "{} is out of date; see src/config/docs.rs", path.display());
}

#[test]
fn the_reference_has_every_key_and_default() {
    let path = "docs/configuration.md";
    let found = fs::read_to_string(in_repository(path)).unwrap();
    let (before, rest) = found.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", reference());
    compare(path, &wanted);
    for path in keys::paths() {
        assert!(wanted.contains(&format!("| `{path}` |")), "{path} is not documented");
    }
    for name in keys::env_names() {
        assert!(wanted.contains(&format!("`{name}`")), "{name} is not documented");
    }
    assert!(!wanted.contains("|  |"), "a cell is empty");
}

#[test]
fn the_example_has_every_key_and_is_the_default() {
    compare("examples/arcpd.toml", &example());
    let text = example();
    for path in keys::paths().filter(|path| *path != keys::TOKENS.path) {
        let name = path.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("\n#{name} = ")), "{path} is not in the example");
    }
    assert_eq!(resolved(Some(&text), &[]).provenance, resolved(None, &[]).provenance);
}

#[test]
fn the_example_is_sound_when_every_line_is_switched_on() {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let text: String = example().lines().map(switched_on).collect();
    let resolved = resolved(Some(&text), &[("TOKEN_OF_BOB", "of the environment")]);
    let names: Vec<_> = resolved.config.tokens.iter().map(|entry| entry.principal.subject()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    assert_eq!(resolved.config.agents.len(), 1);
    assert_eq!(resolved.config.limits, Limits::default());
    assert!(resolved.config.tls.is_some());
}

#[test]
fn every_flag_of_the_keys_exists_and_names_its_variable() {
    let command = <ServeArgs as clap::Args>::augment_args(clap::Command::new("serve"));
    for key in KEYS {
        let Some(flag) = key.flag else { continue };
        let found = command.get_arguments().find(|arg| arg.get_long() == flag.strip_prefix("--"));
        let help = found.unwrap_or_else(|| panic!("{flag} is no flag")).get_help().unwrap().to_string();
        assert!(help.ends_with(&format!("[env: {}]", key.env.unwrap())), "{flag}: {help}");
    }
    for arg in command.get_arguments() {
        let flag = format!("--{}", arg.get_long().unwrap());
        let known =
            KEYS.iter().any(|key| key.flag == Some(&flag)) || ["--config", "--limit"].contains(&&*flag);
        assert!(known, "{flag} is no key's flag");
    }
}
