//! The daemon that is measured: one that runs already, or one started for the purpose as a process of its own.

use std::process::Stdio;
use std::time::Duration;

use rand::RngExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use url::{Host, Url};

use super::{BenchError, process};
use crate::wire::session::Token;

/// Time that a daemon may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Bytes of the line that a daemon prints when it has started.
const LINE_BYTES: u64 = 1_024;

/// What a daemon prints before its URL.
const LISTENING: &str = "arcpd listening on ";

/// How to reach a daemon, and its process where that is known.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) token: Token,
    pub(super) pid: Option<u32>,
}

impl Endpoint {
    /// CPU time of the daemon since it began, in microseconds.
    pub(super) fn cpu_us(&self) -> Option<u64> {
        self.pid.and_then(process::cpu_us)
    }
}

/// A daemon that is measured. Dropping it kills the one that was started.
#[derive(Debug)]
pub(super) struct Server {
    endpoint: Endpoint,
    child: Option<Child>,
}

impl Server {
    /// A daemon that runs already.
    pub(super) fn running(url: &str, token: Token, pid: Option<u32>) -> Result<Self, BenchError> {
        check_loopback(url)?;
        Ok(Server { endpoint: Endpoint { url: url.to_owned(), token, pid }, child: None })
    }

    /// Starts a daemon that nothing but the defaults configures.
    pub(super) async fn start() -> Result<Self, BenchError> {
        let secret = hex::encode(rand::rng().random::<[u8; 16]>());
        let mut child = command(&secret)?
            .spawn()
            .map_err(|error| BenchError::Daemon(format!("its program cannot be run: {error}")))?;
        let url = timeout(START_LIMIT, listening(&mut child)).await.unwrap_or_else(|_| {
            Err(BenchError::Daemon(format!("it does not listen within {} s", START_LIMIT.as_secs())))
        })?;
        let endpoint = Endpoint { url, token: Token::new(secret), pid: child.id() };
        Ok(Server { endpoint, child: Some(child) })
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Ends the daemon that was started, and waits until it is gone.
    pub(super) async fn stop(mut self) {
        if let Some(child) = &mut self.child {
            // Fails only where there is no process any more.
            let _ = child.kill().await;
        }
    }
}

fn command(secret: &str) -> Result<Command, BenchError> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ARCPD_") {
            command.env_remove(name);
        }
    }
    command
        .args(["serve", "--config", "/dev/null", "--listen", "127.0.0.1:0", "--store", "memory"])
        .args(["--demo-agents", "--log-level", "warn"])
        .env("ARCPD_TOKENS", format!("bench={secret}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Waits for the line that says where the daemon listens.
async fn listening(child: &mut Child) -> Result<String, BenchError> {
    let stdout = child.stdout.take().ok_or_else(|| BenchError::Daemon("it has no stdout".into()))?;
    let mut line = String::new();
    BufReader::new(stdout.take(LINE_BYTES)).read_line(&mut line).await?;
    let url = line.trim_end().strip_prefix(LISTENING);
    url.map(str::to_owned).ok_or_else(|| BenchError::Daemon(format!("it says {line:?}")))
}

fn check_loopback(text: &str) -> Result<(), BenchError> {
    let refuse = |problem: String| BenchError::Url { url: text.to_owned(), problem };
    let url = Url::parse(text).map_err(|error| refuse(format!(" ({error})")))?;
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if loopback { Ok(()) } else { Err(refuse(String::new())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_measured() {
        for url in
            ["ws://127.0.0.1:1/arcp", "ws://127.9.9.9:1", "ws://[::1]:7878/arcp", "wss://localhost/arcp"]
        {
            assert!(check_loopback(url).is_ok(), "{url}");
        }
        for url in [
            "ws://192.0.2.1:7878/arcp",
            "ws://0.0.0.0:1",
            "ws://localhost.example.org/arcp",
            "ws://[2001:db8::1]/",
            "127.0.0.1:7878",
            "unix:/tmp/x",
            "",
        ] {
            let error = check_loopback(url).unwrap_err().to_string();
            assert!(error.contains("on this machine only"), "{url}: {error}");
        }
    }
}
