//! The types of configured values that are more than a number or a text.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use url::{Host, Url};

use crate::wire::agent_ref::AgentRef;

/// Characters of a host name.
const HOST_CHARS: usize = 253;

/// Where to listen: a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// An IP address, without brackets, or a host name.
    pub host: String,
    /// The port; 0 for any.
    pub port: u16,
}

impl ListenAddress {
    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// A text that is no address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected host:port, like 127.0.0.1:7878, [::1]:7878 or localhost:0")]
pub struct NotAnAddress;

impl FromStr for ListenAddress {
    type Err = NotAnAddress;
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotAnAddress);
        }
        let port = port.parse().map_err(|_| NotAnAddress)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| NotAnAddress)?.to_string(),
            None => {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
                if !(1..=HOST_CHARS).contains(&host.len()) || !host.bytes().all(allowed) {
                    return Err(NotAnAddress);
                }
                host.to_owned()
            }
        };
        Ok(ListenAddress { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An origin of web pages, written as browsers write it: lower case, without the scheme's own port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The text to compare a request's `Origin` with.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an origin like https://app.example.com or http://localhost:3000, without a path; no wildcards"
)]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let url = Url::parse(text).map_err(|_| NotAnOrigin)?;
        let host = match url.host().ok_or(NotAnOrigin)? {
            Host::Domain(name) => name.to_ascii_lowercase(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => format!("[{address}]"),
        };
        let bare =
            text.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?', '#', '@', '\\', '*']));
        if !bare || host.is_empty() {
            return Err(NotAnOrigin);
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Origin(format!("{}://{host}{port}", url.scheme())))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where jobs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory, until the daemon ends.
    Memory,
    /// In a file, also when it has ended.
    Sqlite,
}

/// A text that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such store; the kinds are memory and sqlite")]
pub struct NotAStore;

impl FromStr for StoreKind {
    type Err = NotAStore;
    fn from_str(text: &str) -> Result<Self, NotAStore> {
        match text {
            "memory" => Ok(StoreKind::Memory),
            "sqlite" => Ok(StoreKind::Sqlite),
            _ => Err(NotAStore),
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreKind::Memory => "memory",
            StoreKind::Sqlite => "sqlite",
        })
    }
}

/// What an applied batch survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// A crash of the machine: everything is on the disk before anything of it is spoken.
    #[default]
    Full,
    /// A crash of the daemon, but not of the machine.
    Process,
}

/// A text that names no durability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected full (survives a crash of the machine) or process (of the daemon), got {0:?}")]
pub struct NotADurability(String);

impl FromStr for Durability {
    type Err = NotADurability;
    fn from_str(text: &str) -> Result<Self, NotADurability> {
        match text {
            "full" => Ok(Durability::Full),
            "process" => Ok(Durability::Process),
            _ => Err(NotADurability(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Full => "full",
            Durability::Process => "process",
        })
    }
}

/// Who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricsAccess {
    /// Whoever asks from this machine, and others with a token that has the role.
    #[default]
    Local,
    /// Only tokens that have the role.
    Token,
    /// Everybody.
    Open,
    /// Nobody.
    Off,
}

/// A text that does not say who may read `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected local, token, open or off")]
pub struct NotAnAccess;

impl FromStr for MetricsAccess {
    type Err = NotAnAccess;
    fn from_str(text: &str) -> Result<Self, NotAnAccess> {
        match text {
            "local" => Ok(MetricsAccess::Local),
            "token" => Ok(MetricsAccess::Token),
            "open" => Ok(MetricsAccess::Open),
            "off" => Ok(MetricsAccess::Off),
            _ => Err(NotAnAccess),
        }
    }
}

impl fmt::Display for MetricsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetricsAccess::Local => "local",
            MetricsAccess::Token => "token",
            MetricsAccess::Open => "open",
            MetricsAccess::Off => "off",
        })
    }
}

/// The files that turn TLS on, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// An agent that is a program: one process for each attempt of a job.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Its name and version; the version is always there.
    pub agent: AgentRef,
    /// The program. With a slash it is relative to `dir`; without one it is looked for in `PATH`.
    pub program: String,
    /// What the program is given.
    pub arguments: Vec<String>,
    /// The directory in which it runs.
    pub dir: PathBuf,
    /// Its variables. They may be secrets, hence the type.
    pub env: BTreeMap<String, SecretString>,
    /// Names of variables that it inherits from the daemon.
    pub pass_env: Vec<String>,
    /// Whether this version is meant when a job names none.
    pub default: bool,
    /// Whether a job that was cut off by the daemon's end begins again at the next start.
    pub restartable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for (text, loopback) in [
            ("127.0.0.1:7878", true),
            ("[::1]:0", true),
            ("localhost:1", true),
            ("0.0.0.0:65535", false),
            ("a-b.example.com:80", false),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.is_loopback(), loopback, "{text}");
        }
        for wrong in
            ["", ":", ":80", "a", "a:", "a:b", "a:+1", "a:65536", "::1:80", "[a]:1", "*:80", "http://a:80"]
        {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_are_normalised() {
        for (text, normal) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://a.example:443", "https://a.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), normal);
        }
        for wrong in [
            "",
            "*",
            "null",
            "a.example",
            "https://a/",
            "https://a/b",
            "https://u@a",
            "https://*.a",
            "file:///",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
