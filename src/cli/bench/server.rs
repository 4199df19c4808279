//! The daemon that is measured: one that runs already, or one started for the purpose as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rand::RngExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use url::{Host, Url};

use super::{BenchError, process};
use crate::config::Durability;
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

/// Where a daemon that is started keeps what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Bed {
    /// In memory
    Memory,
    /// In a file that survives the daemon's end, but not the machine's
    Process,
    /// In a file that survives the machine's end too
    Full,
}

impl Bed {
    pub(super) fn name(self) -> &'static str {
        match self {
            Bed::Memory => "memory",
            Bed::Process => "process",
            Bed::Full => "full",
        }
    }

    fn durability(self) -> Option<Durability> {
        match self {
            Bed::Memory => None,
            Bed::Process => Some(Durability::Process),
            Bed::Full => Some(Durability::Full),
        }
    }
}

/// A directory of its own for a store, gone with its daemon.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create(within: &Path) -> Result<Self, BenchError> {
        let path = within.join(format!("arcpd-bench-{}", hex::encode(rand::rng().random::<[u8; 8]>())));
        std::fs::create_dir(&path)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays where temporary files are.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a daemon that was started ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is asked to, and does what has to be done.
    Orderly,
    /// It gets no chance to.
    Killed,
}

/// A daemon that was started for the purpose.
#[derive(Debug)]
struct Own {
    // Dropped in this order: first the process, then what it writes to.
    child: Child,
    secret: String,
    bed: Bed,
    directory: Directory,
}

/// A daemon that is measured. Dropping it kills the one that was started.
#[derive(Debug)]
pub(super) struct Server {
    endpoint: Endpoint,
    own: Option<Own>,
}

impl Server {
    /// A daemon that runs already.
    pub(super) fn running(url: &str, token: Token, pid: Option<u32>) -> Result<Self, BenchError> {
        check_loopback(url)?;
        Ok(Server { endpoint: Endpoint { url: url.to_owned(), token, pid }, own: None })
    }

    /// Starts a daemon that nothing but the defaults configures, with an empty store in a directory of its own.
    pub(super) async fn start(bed: Bed, within: &Path) -> Result<Self, BenchError> {
        let secret = hex::encode(rand::rng().random::<[u8; 16]>());
        let directory = Directory::create(within)?;
        let (child, endpoint) = spawn(&secret, bed, &directory.0).await?;
        Ok(Server { endpoint, own: Some(Own { child, secret, bed, directory }) })
    }

    /// Where the daemon that was started keeps what it stores.
    pub(super) fn bed(&self) -> Option<Bed> {
        self.own.as_ref().map(|own| own.bed)
    }

    /// Ends the daemon that was started and starts it again on the same store. Says how long it took from its start
    /// until it listens; nothing where there is none to start.
    pub(super) async fn restart(&mut self, ending: Ending) -> Result<Option<Duration>, BenchError> {
        let Some(own) = &mut self.own else { return Ok(None) };
        if ending == Ending::Orderly {
            ask_to_stop(&own.child);
            let _ = timeout(START_LIMIT, own.child.wait()).await;
        }
        // Fails only where there is no process any more.
        let _ = own.child.kill().await;
        let begun = Instant::now();
        let (child, endpoint) = spawn(&own.secret, own.bed, &own.directory.0).await?;
        let took = begun.elapsed();
        (own.child, self.endpoint) = (child, endpoint);
        Ok(Some(took))
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Ends the daemon that was started, and waits until it is gone.
    pub(super) async fn stop(mut self) {
        if let Some(own) = &mut self.own {
            // Fails only where there is no process any more.
            let _ = own.child.kill().await;
        }
    }
}

#[cfg(target_os = "linux")]
fn ask_to_stop(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // Who cannot be asked is killed.
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}

#[cfg(not(target_os = "linux"))]
fn ask_to_stop(_: &Child) {}

async fn spawn(secret: &str, bed: Bed, directory: &Path) -> Result<(Child, Endpoint), BenchError> {
    let mut child = command(secret, bed, directory)?
        .spawn()
        .map_err(|error| BenchError::Daemon(format!("its program cannot be run: {error}")))?;
    let url = timeout(START_LIMIT, listening(&mut child)).await.unwrap_or_else(|_| {
        Err(BenchError::Daemon(format!("it does not listen within {} s", START_LIMIT.as_secs())))
    })?;
    let endpoint = Endpoint { url, token: Token::new(secret), pid: child.id() };
    Ok((child, endpoint))
}

fn command(secret: &str, bed: Bed, directory: &Path) -> Result<Command, BenchError> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ARCPD_") {
            command.env_remove(name);
        }
    }
    match bed.durability() {
        None => command.args(["serve", "--store", "memory"]),
        Some(durability) => command
            .args(["serve", "--store", "sqlite", "--durability", &durability.to_string(), "--store-path"])
            .arg(directory.join("arcpd.db")),
    };
    command
        .args(["--config", "/dev/null", "--listen", "127.0.0.1:0"])
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
