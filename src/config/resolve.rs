//! Layers to values: built-in defaults, then the file, then the environment, then the command line; later wins.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::args::ServeArgs;
use super::document::{ConfigFile, Document};
use super::keys::{self, Key};
use super::raw::Raw;
use super::report::{ConfigError, ConfigErrors, Provenance, Setting, Source, Warning};
use super::suggest;
use super::values::TlsFiles;
use super::{Config, LogConfig, agents, limits, tokens};
use crate::wire::session::Token;

/// A day: silence that long is no sign of life any more.
pub(super) const HEARTBEAT_INTERVAL_SEC: RangeInclusive<u64> = 1..=86_400;

/// Up to a year.
pub(super) const RESUME_WINDOW_SEC: RangeInclusive<u64> = 1..=366 * 86_400;

/// A token that a file holds.
#[derive(Debug)]
pub struct SecretText {
    /// The token.
    pub token: Token,
    /// Whether others than the file's owner can read it.
    pub exposed: bool,
}

/// Reads a file that holds a token; the one thing that resolving needs from outside.
pub type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<SecretText, String>;

/// A configuration that is sound.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// Where each comes from.
    pub provenance: Provenance,
    /// What is unwise about them.
    pub warnings: Vec<Warning>,
}

/// Makes a configuration of its layers. Reads nothing but what it is given.
///
/// # Errors
/// [`ConfigErrors`] with every mistake of every layer, also of values that a later layer replaces.
pub fn resolve(
    defaults: &Config,
    file: Option<&ConfigFile>,
    env: &BTreeMap<String, String>,
    args: &ServeArgs,
    read_secret: ReadSecret<'_>,
) -> Result<Resolved, ConfigErrors> {
    let (document, errors) = match file.map(Document::parse) {
        Some(Ok(document)) => (Some(document), Vec::new()),
        Some(Err(errors)) => (None, errors),
        None => (None, Vec::new()),
    };
    let complete = errors.is_empty();
    let mut resolver = Resolver {
        document: document.as_ref(),
        env,
        args,
        read_secret,
        complete,
        errors,
        warnings: Vec::new(),
        settings: Vec::new(),
    };
    if let Some(document) = &document {
        resolver.errors.extend(document.unknown());
    }
    let config = resolver.config(defaults);
    resolver.unknown_env();
    match config {
        Some(config) if resolver.errors.is_empty() => {
            Ok(Resolved { config, provenance: Provenance(resolver.settings), warnings: resolver.warnings })
        }
        _ => Err(ConfigErrors::sorted(resolver.errors)),
    }
}

/// The layers, and what has come out of them so far.
pub(super) struct Resolver<'a> {
    pub(super) document: Option<&'a Document<'a>>,
    env: &'a BTreeMap<String, String>,
    pub(super) args: &'a ServeArgs,
    pub(super) read_secret: ReadSecret<'a>,
    complete: bool,
    pub(super) errors: Vec<ConfigError>,
    warnings: Vec<Warning>,
    settings: Vec<Setting>,
}

impl<'a> Resolver<'a> {
    /// Whether all layers could be read; else values that depend on one another cannot be compared.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn refuse(&mut self, place: Source, key: &str, problem: String) {
        self.refuse_plain(place, format!("{key}: {problem}"));
    }

    pub(super) fn refuse_plain(&mut self, place: Source, problem: String) {
        self.errors.push(ConfigError { place, problem });
    }

    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(Warning(text));
    }

    pub(super) fn show(&mut self, key: &str, value: String, source: Source) {
        self.settings.push(Setting { key: key.into(), value, source });
    }

    /// A variable of the environment; an empty one counts as not set.
    pub(super) fn env_text(&self, name: &str) -> Option<&'a str> {
        self.env.get(name).map(String::as_str).filter(|text| !text.trim().is_empty())
    }

    /// The directory from which the file's relative paths are taken.
    pub(super) fn base(&self) -> &'a Path {
        self.document.map_or(Path::new("."), |document| document.base())
    }

    /// What the layers give for a key, the weakest first.
    fn given(&self, key: &Key) -> Vec<(Raw<'a>, Source)> {
        let (section, name) = key.section_and_name();
        let mut given = Vec::new();
        given.extend(self.document.and_then(|document| document.get(section, name)));
        if let Some(name) = key.env {
            given.extend(self.env_text(name).map(|text| (Raw::Text(text), Source::Env(name.into()))));
        }
        if let Some(flag) = key.flag {
            given.extend(self.args.given(key).map(|raw| (raw, Source::Flag(flag.into()))));
        }
        given
    }

    fn value<T>(
        &mut self,
        key: &Key,
        default: T,
        read: impl Fn(Raw<'a>) -> Result<T, String>,
        shown: impl Fn(&T) -> String,
    ) -> (T, Source) {
        let mut value = (default, Source::Default);
        for (raw, place) in self.given(key) {
            match read(raw) {
                Ok(read) => value = (read, place),
                Err(problem) => self.refuse(place, key.path, problem),
            }
        }
        self.show(key.path, shown(&value.0), value.1.clone());
        value
    }

    fn config(&mut self, defaults: &Config) -> Option<Config> {
        let listen = self.value(
            &keys::LISTEN,
            defaults.listen.clone(),
            |raw| raw.parsed("host:port, like \"127.0.0.1:7878\""),
            shown_text,
        );
        let allowed_origins = self.value(
            &keys::ALLOWED_ORIGINS,
            defaults.allowed_origins.clone(),
            |raw| raw.texts()?.into_iter().map(|text| Raw::Text(text).parsed("an origin")).collect(),
            |origins| shown_list(origins),
        );
        let tls = self.tls(defaults);
        if tls.is_none() && !listen.0.is_loopback() {
            self.warn(format!(
                "{} is reachable from other machines and there is no TLS: tokens and jobs can be read on the way; \
                 set {} and {}, or put a proxy with TLS in front",
                listen.0,
                keys::TLS_CERTIFICATE.path,
                keys::TLS_KEY.path
            ));
        }
        let metrics = self.value(&keys::METRICS, defaults.metrics, |raw| raw.parsed("a text"), shown_text).0;
        let heartbeat =
            self.seconds(&keys::HEARTBEAT_INTERVAL, defaults.heartbeat_interval_sec, &HEARTBEAT_INTERVAL_SEC);
        let window = self.seconds(&keys::RESUME_WINDOW, defaults.resume_window_sec, &RESUME_WINDOW_SEC);
        let demo_agents =
            self.value(&keys::DEMO_AGENTS, defaults.demo_agents, |raw| raw.boolean(), bool::to_string).0;
        let store = self.value(&keys::STORE, defaults.store, |raw| raw.parsed("a text"), shown_text);
        let store_path = self.state_file(&keys::STORE_PATH, defaults.store_path.clone(), "arcpd/arcpd.db");
        let durability =
            self.value(&keys::DURABILITY, defaults.durability, |raw| raw.parsed("a text"), shown_text).0;
        let token_file = self.state_file(&keys::TOKEN_FILE, defaults.token_file.clone(), "arcpd/token").0;
        let tokens = tokens::resolve(self);
        let log = LogConfig {
            filter: self
                .value(&keys::LOG_LEVEL, defaults.log.filter.clone(), |raw| raw.parsed("a text"), shown_text)
                .0,
            format: self
                .value(&keys::LOG_FORMAT, defaults.log.format, |raw| raw.parsed("a text"), shown_text)
                .0,
        };
        let agents = agents::resolve(self);
        let resume_window_sec = window.0;
        let limits = limits::resolve(self, &defaults.limits, window)?;
        Some(Config {
            listen: listen.0,
            allowed_origins: allowed_origins.0,
            tls,
            metrics,
            heartbeat_interval_sec: heartbeat.0,
            resume_window_sec,
            demo_agents,
            store_is_chosen: [&store.1, &store_path.1].iter().any(|source| **source != Source::Default),
            store: store.0,
            store_path: store_path.0,
            durability,
            token_file,
            tokens,
            log,
            agents,
            limits,
        })
    }

    fn seconds(&mut self, key: &Key, default: u64, bounds: &RangeInclusive<u64>) -> (u64, Source) {
        self.value(key, default, |raw| raw.integer(bounds), u64::to_string)
    }

    fn path(&mut self, key: &Key, default: Option<PathBuf>) -> (Option<PathBuf>, Source) {
        let base = self.base();
        self.value(key, default, |raw| raw.path(base).map(Some), shown_path)
    }

    fn tls(&mut self, defaults: &Config) -> Option<TlsFiles> {
        let (certificate, key) = match defaults.tls.clone() {
            Some(TlsFiles { certificate, key }) => (Some(certificate), Some(key)),
            None => (None, None),
        };
        let (certificate, certificate_at) = self.path(&keys::TLS_CERTIFICATE, certificate);
        let (key, key_at) = self.path(&keys::TLS_KEY, key);
        let (given, place, missing) = match (certificate, key) {
            (Some(certificate), Some(key)) => return Some(TlsFiles { certificate, key }),
            (None, None) => return None,
            (Some(_), None) => (&keys::TLS_CERTIFICATE, certificate_at, &keys::TLS_KEY),
            (None, Some(_)) => (&keys::TLS_KEY, key_at, &keys::TLS_CERTIFICATE),
        };
        if self.complete {
            self.refuse(place, given.path, format!("{} is needed too; give both or none", missing.path));
        }
        None
    }

    /// A file of the daemon's own, by default below the user's state directory.
    fn state_file(&mut self, key: &Key, default: Option<PathBuf>, below: &str) -> (Option<PathBuf>, Source) {
        let state = self
            .env_text("XDG_STATE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| self.env_text("HOME").map(|home| Path::new(home).join(".local/state")));
        let default = default.or_else(|| state.map(|state| state.join(below)));
        self.path(key, default)
    }

    /// Names in the environment that look like this daemon's and are not.
    fn unknown_env(&mut self) {
        let known: Vec<String> = keys::env_names().collect();
        for name in self.env.keys().filter(|name| name.starts_with(keys::ENV_PREFIX)) {
            if known.contains(name) || keys::ENV_OF_CLIENTS.contains(&name.as_str()) {
                continue;
            }
            let hint = suggest::hint(name, known.iter().map(String::as_str));
            if name.starts_with(keys::ENV_LIMITS_PREFIX) {
                self.refuse(Source::Env(name.clone()), "limits", format!("there is no such limit{hint}"));
            } else if !hint.is_empty() {
                self.warn(format!("the variable {name:?} means nothing to this daemon{hint}"));
            }
        }
    }
}

/// A text as it would stand in the file.
pub(super) fn shown_text(text: &(impl Display + ?Sized)) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// A list of texts as it would stand in the file.
pub(super) fn shown_list<T: Display>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| shown_text(&text)).collect();
    format!("[{}]", texts.join(", "))
}

fn shown_path(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(|| "(none)".into(), |path| shown_text(&path.display()))
}
