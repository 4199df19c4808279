//! The daemon's configuration: typed values, each of which knows where it comes from.
//!
//! There are four layers; a later one wins: built-in defaults, the file `arcpd.toml`, variables `ARCPD_…`, flags.
//! [`load`](load::load) finds and reads the file; [`resolve`] is the pure core, which parses every layer, reports
//! every mistake at once with its file and line, variable or flag, and lists each value with its source for
//! `arcpd check`. [`keys`] has every key once; the documentation and the example file are generated from it.

mod agents;
mod args;
#[cfg(test)]
mod docs;
mod document;
pub mod keys;
mod limits;
pub mod load;
mod raw;
mod report;
mod resolve;
mod suggest;
#[cfg(test)]
mod tests;
mod tokens;
mod values;

use std::path::PathBuf;

pub use args::ServeArgs;
pub use document::ConfigFile;
pub use load::{Environment, Loaded, load};
pub use report::{ConfigError, ConfigErrors, Provenance, Setting, Source, Warning};
pub use resolve::{ReadSecret, Resolved, SecretText, resolve};
pub use values::{
    AgentConfig, Durability, ListenAddress, MetricsAccess, NotADurability, NotAStore, NotAnAccess,
    NotAnAddress, NotAnOrigin, Origin, StoreKind, TlsFiles,
};

use crate::auth::TokenEntry;
use crate::telemetry::{LogFilter, LogFormat};
use crate::wire::limits::Limits;

/// What the daemon runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: ListenAddress,
    /// Origins whose web pages may connect.
    pub allowed_origins: Vec<Origin>,
    /// TLS, where it is on.
    pub tls: Option<TlsFiles>,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
    /// Silence after which a ping is sent, in seconds.
    pub heartbeat_interval_sec: u64,
    /// How long after a drop a session can be resumed at least, in seconds.
    pub resume_window_sec: u64,
    /// Whether the built-in demonstration agents are offered.
    pub demo_agents: bool,
    /// Where jobs are kept.
    pub store: StoreKind,
    /// Whether somebody chose that or the file, and it is not the default.
    pub store_is_chosen: bool,
    /// The file of the store of kind sqlite. None when nobody names a place and the environment has no home directory.
    pub store_path: Option<PathBuf>,
    /// What that file survives.
    pub durability: Durability,
    /// Where the token is kept that the daemon makes when `tokens` is empty. None when nobody names a place and the
    /// environment has no home directory.
    pub token_file: Option<PathBuf>,
    /// The tokens that are accepted.
    pub tokens: Vec<TokenEntry>,
    /// The log.
    pub log: LogConfig,
    /// Agents that are programs.
    pub agents: Vec<AgentConfig>,
    /// The limits.
    pub limits: Limits,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// What is logged.
    pub filter: LogFilter,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: ListenAddress { host: "127.0.0.1".into(), port: 7878 },
            allowed_origins: Vec::new(),
            tls: None,
            metrics: MetricsAccess::Local,
            heartbeat_interval_sec: 30,
            resume_window_sec: 600,
            demo_agents: false,
            store: StoreKind::Sqlite,
            store_is_chosen: false,
            store_path: None,
            durability: Durability::Full,
            token_file: None,
            tokens: Vec::new(),
            log: LogConfig::default(),
            agents: Vec::new(),
            limits: Limits::default(),
        }
    }
}
