//! The tokens that are accepted: of the file, of `ARCPD_TOKENS`, of `--token`.
//!
//! A name's tokens come from the last layer that has any for it; names of other layers stay. Nothing here repeats
//! what somebody wrote where a token could stand, not even in an error.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Section};
use super::keys;
use super::raw::Raw;
use super::report::Source;
use super::resolve::Resolver;
use crate::auth::{NotARole, Principal, Role, TokenEntry, TokenHash, hash};
use crate::wire::dialect::{Choice, NotADialect};

/// A token of one layer.
struct Candidate {
    entry: TokenEntry,
    shown: String,
    place: Source,
}

type ByName = BTreeMap<Principal, Vec<Candidate>>;

/// Reads the tokens of all layers.
pub(super) fn resolve(resolver: &mut Resolver<'_>) -> Vec<TokenEntry> {
    let layers = [of_file(resolver), of_env(resolver), of_flags(resolver)];
    let mut names = ByName::new();
    for layer in layers {
        let mut by_name = ByName::new();
        for candidate in layer {
            by_name.entry(candidate.entry.principal.clone()).or_default().push(candidate);
        }
        names.extend(by_name); // A name's later tokens replace its earlier ones.
    }
    refuse_shared(resolver, &names);
    if names.is_empty() {
        resolver.show(keys::TOKENS.path, "[]".into(), Source::Default);
    }
    let mut entries = Vec::new();
    for candidate in names.into_values().flatten() {
        let key = format!("{}.{}", keys::TOKENS.path, candidate.entry.principal);
        resolver.show(&key, candidate.shown, candidate.place);
        entries.push(candidate.entry);
    }
    entries
}

/// One token of two names would make the one pass for the other; one with roles and without, nobody knows what.
fn refuse_shared(resolver: &mut Resolver<'_>, names: &ByName) {
    let mut owners: BTreeMap<[u8; 32], &TokenEntry> = BTreeMap::new();
    for Candidate { entry, place, .. } in names.values().flatten() {
        let owner = *owners.entry(*entry.hash.as_bytes()).or_insert(entry);
        let (name, other) = (&entry.principal, &owner.principal);
        let problem = if other != name {
            format!("{name} has the same token as {other}; one token stands for one name")
        } else if (&owner.roles, owner.dialect) != (&entry.roles, entry.dialect) {
            format!(
                "{name} has one token twice, with other roles or another dialect; one token has one set of them"
            )
        } else {
            continue;
        };
        resolver.refuse(place.clone(), keys::TOKENS.path, problem);
    }
}

fn of_env(resolver: &mut Resolver<'_>) -> Vec<Candidate> {
    let Some(name) = keys::TOKENS.env else { return Vec::new() };
    let Some(text) = resolver.env_text(name) else { return Vec::new() };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.filter_map(|part| named(resolver, part, Source::Env(name.into()))).collect()
}

fn of_flags(resolver: &mut Resolver<'_>) -> Vec<Candidate> {
    let Some(flag) = keys::TOKENS.flag else { return Vec::new() };
    let args = resolver.args;
    if !args.tokens.is_empty() {
        resolver.warn(format!(
            "{flag} shows the token to everybody who can list this machine's processes; use ARCPD_TOKENS or \
             [[auth.tokens]] in the file"
        ));
    }
    let place = || Source::Flag(flag.into());
    args.tokens.iter().filter_map(|token| named(resolver, token.expose(), place())).collect()
}

/// Reads `NAME=TOKEN`; each role follows the name after a colon, as in `NAME:operator=TOKEN`.
fn named(resolver: &mut Resolver<'_>, text: &str, place: Source) -> Option<Candidate> {
    let found = match text.split_once('=') {
        Some((name, token)) if !token.trim().is_empty() => with_roles(name)
            .map(|(principal, roles)| TokenEntry {
                principal,
                roles,
                dialect: None,
                hash: hash(token.trim()),
            })
            .map_err(|problem| format!("expected NAME=TOKEN or NAME:ROLE=TOKEN; {problem}")),
        _ => Err("expected NAME=TOKEN, both not empty".into()),
    };
    match found {
        Ok(entry) => {
            let shown = shown("(hidden)".into(), &entry);
            Some(Candidate { entry, shown, place })
        }
        Err(problem) => {
            resolver.refuse(place, keys::TOKENS.path, problem);
            None
        }
    }
}

/// Reads `NAME` or `NAME:ROLE`.
fn with_roles(text: &str) -> Result<(Principal, BTreeSet<Role>), String> {
    let mut parts = text.split(':').map(str::trim);
    let principal = parts.next().unwrap_or_default().parse().map_err(|error| format!("for NAME: {error}"))?;
    let roles = parts.map(|part| part.parse::<Role>().map_err(|error| format!("for ROLE: {error}")));
    Ok((principal, roles.collect::<Result<_, _>>()?))
}

/// A token as it may be shown, with what it allows and how its bearers speak.
fn shown(token: String, entry: &TokenEntry) -> String {
    let shown = entry.roles.iter().fold(token, |shown, role| format!("{shown}, {role}"));
    entry.dialect.map(|dialect| format!("{shown}, dialect {dialect}")).unwrap_or(shown)
}

fn of_file(resolver: &mut Resolver<'_>) -> Vec<Candidate> {
    let Some(document) = resolver.document else { return Vec::new() };
    let sections = document.entries(keys::TOKENS.path, &mut resolver.errors);
    let entries = sections.iter().enumerate();
    entries.filter_map(|(index, section)| entry(resolver, document, index, section)).collect()
}

/// Reads one `[[auth.tokens]]`.
fn entry(
    resolver: &mut Resolver<'_>,
    document: &Document<'_>,
    index: usize,
    section: &Section<'_>,
) -> Option<Candidate> {
    let shown_at = format!("{}[{index}]", keys::TOKENS.path);
    let unknown = resolver.errors.len();
    document.unknown_in("auth.tokens[]", &shown_at, section.table, &mut resolver.errors);
    let unknown = resolver.errors.len() > unknown;
    let mut field = |name: &str| -> Option<Result<&str, ()>> {
        let value = section.table.get(name)?;
        let text = value.get_ref().as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            let got = Raw::kind(value.get_ref());
            let problem = format!("expected a text that is not empty, got {got}");
            resolver.refuse(document.place(value), &format!("{shown_at}.{name}"), problem);
        }
        Some(text.ok_or(()))
    };
    let name = field("name");
    let sources = ["sha256", "token_env", "token_file"].map(|name| field(name).map(|text| (name, text)));
    let roles = roles(resolver, document, &shown_at, section);
    let dialect = dialect(resolver, document, &shown_at, section);
    let principal = match name {
        Some(Ok(text)) => text.parse::<Principal>().map_err(|error| format!("name: {error}")),
        Some(Err(())) => return None, // Said already.
        None => Err("name is missing".into()),
    };
    let principal = match principal {
        Ok(principal) => Some(principal),
        Err(problem) => {
            resolver.refuse(section.place.clone(), &shown_at, problem);
            None
        }
    };
    let mut given = sources.into_iter().flatten();
    let token = match (given.next(), given.next()) {
        (Some((source, text)), None) => from_source(resolver, source, text.ok()?),
        (None, _) if unknown => return None, // A token in plain or a misspelt name; said already.
        _ => Err("give exactly one of sha256, token_env and token_file".into()),
    };
    match token {
        Ok((hash, hidden)) => {
            let entry = TokenEntry { principal: principal?, roles: roles?, dialect: dialect?, hash };
            let shown = shown(hidden, &entry);
            Some(Candidate { entry, shown, place: section.place.clone() })
        }
        Err(problem) => {
            resolver.refuse(section.place.clone(), &shown_at, problem);
            None
        }
    }
}

/// Reads the roles of one entry; none when one of them is wrong, which has been said then.
fn roles(
    resolver: &mut Resolver<'_>,
    document: &Document<'_>,
    entry: &str,
    section: &Section<'_>,
) -> Option<BTreeSet<Role>> {
    let Some(value) = section.table.get("roles") else { return Some(BTreeSet::new()) };
    let read = Raw::Toml(value.get_ref()).texts().and_then(|texts| {
        texts.into_iter().map(|text| text.parse().map_err(|error: NotARole| error.to_string())).collect()
    });
    read.map_err(|problem| resolver.refuse(document.place(value), &format!("{entry}.roles"), problem)).ok()
}

/// Reads the dialect of one entry, which may be absent; none when it is wrong, which has been said then.
fn dialect(
    resolver: &mut Resolver<'_>,
    document: &Document<'_>,
    entry: &str,
    section: &Section<'_>,
) -> Option<Option<Choice>> {
    let Some(value) = section.table.get("dialect") else { return Some(None) };
    let named = value.get_ref().as_str().ok_or_else(|| {
        let got = Raw::kind(value.get_ref());
        format!("expected a text, got {got}")
    });
    let read = named.and_then(|name| name.parse().map_err(|error: NotADialect| error.to_string()));
    read.map(Some)
        .map_err(|problem| resolver.refuse(document.place(value), &format!("{entry}.dialect"), problem))
        .ok()
}

fn from_source(resolver: &mut Resolver<'_>, source: &str, text: &str) -> Result<(TokenHash, String), String> {
    match source {
        "sha256" => {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).map_err(|_| {
                let got = text.chars().count();
                format!(
                    "sha256: expected the 64 hexadecimal digits that printf %s TOKEN | sha256sum prints, got \
                     {got} characters"
                )
            })?;
            let found = TokenHash::from_bytes(bytes);
            if found == hash("") {
                return Err("sha256: this is the hash of an empty token".into());
            }
            Ok((found, "sha256 (hidden)".into()))
        }
        "token_env" => match resolver.env_text(text) {
            Some(token) => Ok((hash(token.trim()), format!("token_env {text} (hidden)"))),
            None => Err(format!("token_env: the variable {text:?} is not set or empty")),
        },
        _ => {
            let path =
                Raw::Text(text).path(resolver.base()).map_err(|error| format!("token_file: {error}"))?;
            let path = resolver.base().join(path);
            let token = (resolver.read_secret)(&path).map_err(|error| format!("token_file: {error}"))?;
            if token.exposed {
                resolver.warn(format!(
                    "the token file {} can be read by others than its owner; run: chmod go-rwx on it",
                    path.display()
                ));
            }
            Ok((hash(token.token.expose()), format!("token_file {} (hidden)", path.display())))
        }
    }
}
