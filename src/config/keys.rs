//! Every key of the configuration, in one place: what a table in the documentation, a name in the environment and a
//! flag have in common. The limits are not repeated here; they follow from [`Limits::NAMES`].

use crate::wire::limits::Limits;

/// What the environment's names of this daemon begin with.
pub const ENV_PREFIX: &str = "ARCPD_";

/// What the environment's names of limits begin with.
pub const ENV_LIMITS_PREFIX: &str = "ARCPD_LIMITS_";

/// Names it the file to read; not a key itself.
pub const ENV_CONFIG: &str = "ARCPD_CONFIG";

/// Names in the environment that belong to the client commands, not to the daemon.
pub const ENV_OF_CLIENTS: &[&str] = &["ARCPD_TOKEN", "ARCPD_URL"];

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The section and the name; `[]` stands for one entry of a list.
    pub path: &'static str,
    /// The type, and the unit where there is one.
    pub kind: &'static str,
    /// The default, where the built-in configuration does not show it.
    pub default: Option<&'static str>,
    /// Its name in the environment.
    pub env: Option<&'static str>,
    /// Its flag on the command line.
    pub flag: Option<&'static str>,
    /// What it is for, in one sentence.
    pub meaning: &'static str,
}

impl Key {
    /// The section and the name inside it.
    pub fn section_and_name(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('.').unwrap_or(("", self.path))
    }
}

macro_rules! keys {
    ($($name:ident = $path:literal, $kind:literal, $default:expr, $env:expr, $flag:expr, $meaning:literal;)*) => {
        $(
            #[doc = concat!("`", $path, "`: ", $meaning)]
            pub const $name: Key = Key {
                path: $path, kind: $kind, default: $default, env: $env, flag: $flag, meaning: $meaning,
            };
        )*

        /// Every key but the limits, in the order in which they are documented.
        pub const KEYS: &[&Key] = &[$(&$name,)*];
    };
}

keys! {
    LISTEN = "server.listen", "text, host:port", None, Some("ARCPD_LISTEN"), Some("--listen"),
        "Where the daemon listens; port 0 takes any free port.";
    ALLOWED_ORIGINS = "server.allowed_origins", "list of text", None,
        Some("ARCPD_ALLOW_ORIGIN"), Some("--allow-origin"),
        "Origins whose web pages may connect; a browser from any other origin is refused.";
    TLS_CERTIFICATE = "server.tls_certificate", "path", None,
        Some("ARCPD_TLS_CERTIFICATE"), Some("--tls-certificate"),
        "Certificate chain in PEM; together with the key it turns TLS on.";
    TLS_KEY = "server.tls_key", "path", None, Some("ARCPD_TLS_KEY"), Some("--tls-key"),
        "Private key in PEM of the certificate.";
    METRICS = "server.metrics", "text, local, token, open or off", None, Some("ARCPD_METRICS"), Some("--metrics"),
        "Who may read /metrics: local, this machine, and others with a token of the role operator or metrics; token, \
         only such tokens; open, everybody; off, nobody.";
    HEARTBEAT_INTERVAL = "server.heartbeat_interval_sec", "integer, seconds", None,
        Some("ARCPD_HEARTBEAT_INTERVAL"), Some("--heartbeat-interval"),
        "Silence after which either side sends a ping; after two such intervals the connection counts as lost.";
    RESUME_WINDOW = "server.resume_window_sec", "integer, seconds", None,
        Some("ARCPD_RESUME_WINDOW"), Some("--resume-window"),
        "How long after a drop a session can be resumed at least.";
    DEMO_AGENTS = "server.demo_agents", "boolean", None, Some("ARCPD_DEMO_AGENTS"), Some("--demo-agents"),
        "Whether the built-in demonstration agents are offered.";
    STORE = "store.kind", "text, memory or sqlite", None, Some("ARCPD_STORE"), Some("--store"),
        "Where sessions and jobs are kept: in memory until the daemon ends, or in a file. arcpd stdio opens a file only if asked to.";
    STORE_PATH = "store.path", "path", Some("$XDG_STATE_HOME/arcpd/arcpd.db, else ~/.local/state/arcpd/arcpd.db"),
        Some("ARCPD_STORE_PATH"), Some("--store-path"),
        "The file of the store of kind sqlite.";
    DURABILITY = "store.durability", "text, full or process", None, Some("ARCPD_DURABILITY"), Some("--durability"),
        "What the store of kind sqlite survives: full, the end of the machine; process, the end of the daemon.";
    TOKEN_FILE = "auth.token_file", "path", Some("$XDG_STATE_HOME/arcpd/token, else ~/.local/state/arcpd/token"),
        Some("ARCPD_TOKEN_FILE"), None,
        "Where the token is kept that the daemon makes for itself when no token is configured.";
    TOKENS = "auth.tokens", "list of tables", None, Some("ARCPD_TOKENS"), Some("--token"),
        "The tokens that are accepted and the names they stand for.";
    TOKEN_NAME = "auth.tokens[].name", "text", Some("required"), None, None,
        "The principal that the token stands for; 1 to 64 characters out of A-Z a-z 0-9 . _ @ -";
    TOKEN_DIALECT = "auth.tokens[].dialect", "text", Some("by the first frame"), None, None,
        "The dialect of whoever shows this token, where its first frame is not to tell.";
    TOKEN_ROLES = "auth.tokens[].roles", "list of text", Some("[]"), None, None,
        "What the token allows beyond its principal's own sessions and jobs: operator opens /api and /metrics, \
         metrics opens /metrics.";
    TOKEN_SHA256 = "auth.tokens[].sha256",
        "text, 64 hexadecimal digits", Some("one of these three"), None, None,
        "SHA-256 of the token; printf %s TOKEN | sha256sum makes it.";
    TOKEN_ENV = "auth.tokens[].token_env", "text", Some("one of these three"), None, None,
        "Name of the environment variable that holds the token.";
    TOKEN_PATH = "auth.tokens[].token_file", "path", Some("one of these three"), None, None,
        "File that holds the token on its only line.";
    LOG_LEVEL = "log.level", "text, a level or target=level with commas", None,
        Some("ARCPD_LOG_LEVEL"), Some("--log-level"),
        "What is logged: off, error, warn, info, debug or trace, or a list like info,arcpd::runtime=debug.";
    LOG_FORMAT = "log.format", "text, text or json", None, Some("ARCPD_LOG_FORMAT"), Some("--log-format"),
        "The form of the log's lines on stderr.";
    AGENT_NAME = "agents[].name", "text", Some("required"), None, None,
        "The agent's name: a-z 0-9 . _ - after a letter or digit.";
    AGENT_VERSION = "agents[].version", "text", Some("required"), None, None,
        "The agent's version: A-Z a-z 0-9 . + _ -";
    AGENT_COMMAND = "agents[].command", "list of text", Some("required"), None, None,
        "The program and its arguments; a program with a slash is taken from dir, any other from PATH.";
    AGENT_DIR = "agents[].dir", "path", Some("the directory of the configuration file"), None, None,
        "The directory in which the program runs.";
    AGENT_ENV = "agents[].env", "table of text", Some("{}"), None, None,
        "Environment of the program, beside the little that every program gets.";
    AGENT_PASS_ENV = "agents[].pass_env", "list of text", Some("[]"), None, None,
        "Names of variables that the program inherits from the daemon's environment.";
    AGENT_DEFAULT = "agents[].default", "boolean", Some("false"), None, None,
        "Whether this version is meant when a job names none; otherwise the first version is.";
    AGENT_RESTARTABLE = "agents[].restartable", "boolean", Some("false"), None, None,
        "Whether a job that was cut off by the daemon's end begins again at the next start; it may do things twice.";
}

/// The sections of the file.
pub const SECTIONS: &[&str] = &["server", "store", "auth", "log", "agents", "limits"];

/// The names of a section's keys; of a list's entries with `[]` after its name.
pub fn names_in(section: &str) -> Vec<&'static str> {
    if section == "limits" {
        return Limits::NAMES.to_vec();
    }
    let inside = |key: &&Key| {
        let (of, name) = key.section_and_name();
        (of == section).then_some(name)
    };
    KEYS.iter().filter_map(inside).collect()
}

/// Every key's path: for suggestions.
pub fn paths() -> impl Iterator<Item = String> {
    let limits = Limits::NAMES.iter().map(|name| format!("limits.{name}"));
    KEYS.iter().map(|key| key.path.to_owned()).chain(limits)
}

/// A limit's name in the environment.
pub fn env_of_limit(name: &str) -> String {
    format!("{ENV_LIMITS_PREFIX}{}", name.to_ascii_uppercase())
}

/// Every name in the environment that this daemon reads.
pub fn env_names() -> impl Iterator<Item = String> {
    let keys = KEYS.iter().filter_map(|key| key.env).map(str::to_owned);
    let limits = Limits::NAMES.iter().map(|name| env_of_limit(name));
    std::iter::once(ENV_CONFIG.to_owned()).chain(keys).chain(limits)
}
