//! The flags of `arcpd serve` and of all that starts a daemon.
//!
//! Values are kept as they were written; resolving parses them together with the other layers, so that every
//! mistake is reported at once and with its place.

use std::convert::Infallible;
use std::path::PathBuf;

use super::keys::{self, Key};
use super::raw::Raw;
use crate::wire::session::Token;

/// The flags that configure a daemon. Each is also a variable of the environment and, but for `--config`, a key of
/// the file; `docs/configuration.md` has the table.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Read this file instead of searching for arcpd.toml [env: ARCPD_CONFIG]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Where to listen; port 0 takes any free port [default: 127.0.0.1:7878] [env: ARCPD_LISTEN]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where sessions and jobs are kept: memory or sqlite [default: sqlite] [env: ARCPD_STORE]
    #[arg(long, value_name = "KIND")]
    pub store: Option<String>,
    /// The file of the sqlite store [env: ARCPD_STORE_PATH]
    #[arg(long, value_name = "PATH")]
    pub store_path: Option<String>,
    /// What the sqlite store survives: full or process [env: ARCPD_DURABILITY]
    #[arg(long, value_name = "WHAT")]
    pub durability: Option<String>,
    /// Offer the built-in demonstration agents: echo, ticker, chunker, spender, sleeper and failer
    /// [env: ARCPD_DEMO_AGENTS]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub demo_agents: Option<String>,
    /// Accept this token for this name, or NAME:operator=TOKEN; may be repeated. Others on this machine can see it:
    /// prefer the environment or the file [env: ARCPD_TOKENS]
    #[arg(long = "token", value_name = "NAME=TOKEN", value_parser = take_secret)]
    pub tokens: Vec<Token>,
    /// Seconds of silence after which a ping is sent [env: ARCPD_HEARTBEAT_INTERVAL]
    #[arg(long, value_name = "SEC")]
    pub heartbeat_interval: Option<String>,
    /// Seconds for which a dropped session can be resumed [env: ARCPD_RESUME_WINDOW]
    #[arg(long, value_name = "SEC")]
    pub resume_window: Option<String>,
    /// Certificate chain in PEM; needs --tls-key [env: ARCPD_TLS_CERTIFICATE]
    #[arg(long, value_name = "PATH")]
    pub tls_certificate: Option<String>,
    /// Private key in PEM; needs --tls-certificate [env: ARCPD_TLS_KEY]
    #[arg(long, value_name = "PATH")]
    pub tls_key: Option<String>,
    /// Who may read /metrics: local, token, open or off [env: ARCPD_METRICS]
    #[arg(long, value_name = "WHO")]
    pub metrics: Option<String>,
    /// Let web pages of this origin connect; may be repeated [env: ARCPD_ALLOW_ORIGIN]
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allow_origins: Vec<String>,
    /// What is logged: a level, or target=level with commas [env: ARCPD_LOG_LEVEL]
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// The form of the log's lines: text or json [env: ARCPD_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Set a limit, like connections=100; may be repeated [env: ARCPD_LIMITS_NAME]
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub limits: Vec<String>,
}

fn take_secret(text: &str) -> Result<Token, Infallible> {
    Ok(Token::new(text))
}

impl ServeArgs {
    /// What the command line gives for a key.
    pub(super) fn given(&self, key: &Key) -> Option<Raw<'_>> {
        let one = match *key {
            keys::LISTEN => &self.listen,
            keys::STORE => &self.store,
            keys::STORE_PATH => &self.store_path,
            keys::DURABILITY => &self.durability,
            keys::DEMO_AGENTS => &self.demo_agents,
            keys::HEARTBEAT_INTERVAL => &self.heartbeat_interval,
            keys::RESUME_WINDOW => &self.resume_window,
            keys::TLS_CERTIFICATE => &self.tls_certificate,
            keys::TLS_KEY => &self.tls_key,
            keys::METRICS => &self.metrics,
            keys::LOG_LEVEL => &self.log_level,
            keys::LOG_FORMAT => &self.log_format,
            keys::ALLOWED_ORIGINS if !self.allow_origins.is_empty() => {
                return Some(Raw::Texts(&self.allow_origins));
            }
            _ => return None,
        };
        one.as_deref().map(Raw::Text)
    }
}
