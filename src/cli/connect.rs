//! The options that all client commands share, and the connection that they make.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::exit::{Exit, Failure};
use crate::auth::token_file::read_token_file;
use crate::client::{Client, ClientOptions, ConnectError, DialError, Link};
use crate::config::{Environment, ServeArgs, load};
use crate::wire::id::JobId;
use crate::wire::limits::Limits;
use crate::wire::session::Token;

/// Where a daemon listens unless it is told otherwise.
pub(super) const DEFAULT_URL: &str = "ws://127.0.0.1:7878/arcp";

/// Options of every client command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Client options")]
pub struct Connection {
    /// The daemon
    #[arg(long, env = "ARCPD_URL", default_value = DEFAULT_URL)]
    pub url: String,
    /// The bearer token
    #[arg(long, env = "ARCPD_TOKEN", hide_env_values = true, value_parser = token)]
    pub token: Option<Token>,
    /// A file that holds the bearer token; it goes before any other token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A file with certificates (PEM) to trust beside those of the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How long to try to get a broken connection back
    #[arg(long, value_name = "SEC", default_value_t = 60)]
    pub reconnect_for: u64,
    /// Write JSON, one object per line
    #[arg(long)]
    pub json: bool,
    /// Say nothing but errors on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

/// What to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The daemon's URL.
    pub url: String,
    /// Certificates to trust beside those of the system.
    pub ca: Option<PathBuf>,
    /// The limits of frames.
    pub limits: Limits,
}

/// Makes connections; implemented for functions from a [`Target`] to a future of a [`Link`].
pub trait Dial: Send + Sync + 'static {
    /// Makes one connection.
    fn dial(&self, target: Target) -> BoxFuture<'static, Result<Link, DialError>>;
}

impl<F, R> Dial for F
where
    F: Fn(Target) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Link, DialError>> + Send + 'static,
{
    fn dial(&self, target: Target) -> BoxFuture<'static, Result<Link, DialError>> {
        Box::pin(self(target))
    }
}

impl Connection {
    /// Opens a session.
    pub(super) async fn open(&self, dial: Arc<dyn Dial>) -> Result<Client, Failure> {
        let mut options = ClientOptions::new(self.token()?);
        options.reconnect.budget = Duration::from_secs(self.reconnect_for);
        let target = self.target();
        let connector = move || dial.dial(target.clone());
        Client::connect(connector, options)
            .await
            .map_err(|error| Failure::Connect { hint: self.hint(&error), error })
    }

    pub(super) fn target(&self) -> Target {
        Target { url: self.url.clone(), ca: self.ca.clone(), limits: Limits::default() }
    }

    pub(super) fn token(&self) -> Result<Token, Failure> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::File { what: path.display().to_string(), error })?;
            return Ok(Token::new(text.trim()));
        }
        self.token
            .clone()
            .or_else(default_token)
            .ok_or_else(|| Failure::Usage("no token: give --token, --token-file or ARCPD_TOKEN".into()))
    }

    fn hint(&self, error: &ConnectError) -> String {
        match error {
            ConnectError::Dial(_) => {
                format!("is a daemon listening at {}? (`arcpd serve`, or --url)", self.url)
            }
            ConnectError::Refused(_) if error.is_authentication() => {
                "give the daemon's token by --token, --token-file or ARCPD_TOKEN".into()
            }
            ConnectError::Refused(_) | ConnectError::Cut(_) => format!("(at {})", self.url),
        }
    }

    /// A command line for the same daemon, to paste.
    pub(super) fn paste(&self, command: &str, job_id: JobId) -> String {
        if self.url == DEFAULT_URL {
            format!("arcpd {command} {job_id}")
        } else {
            format!("arcpd {command} {job_id} --url {}", self.url)
        }
    }
}

pub(super) fn token(text: &str) -> Result<Token, std::convert::Infallible> {
    Ok(Token::new(text.trim()))
}

/// The token of the file that `arcpd serve` makes; none where there is no such file.
pub fn default_token() -> Option<Token> {
    let loaded = load(&ServeArgs::default(), &Environment::of_process());
    let path = loaded.outcome.ok()?.config.token_file?;
    read_token_file(&path).ok()
}

/// Why somebody wants a command to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C. Whoever waits for something that goes on without this command may want to be asked twice.
    CtrlC,
    /// The terminal is gone (SIGHUP).
    HangUp,
    /// SIGTERM.
    Terminate,
}

/// How long a command that is told to end by a signal may take to clean up.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(4);

/// Interrupts, as often as they come.
#[derive(Debug)]
pub struct Interrupts(mpsc::Receiver<Interrupt>);

impl Interrupts {
    /// Ctrl-C at the terminal.
    pub fn from_terminal() -> Self {
        let (sender, interrupts) = mpsc::channel(4);
        tokio::spawn(ctrl_c(sender));
        Interrupts(interrupts)
    }

    /// Ctrl-C, and what else tells a process to end, for a command that listens to it.
    pub fn from_signals() -> Self {
        let (sender, interrupts) = mpsc::channel(4);
        tokio::spawn(ctrl_c(sender.clone()));
        if listens_to_hang_ups() {
            tokio::spawn(told(SignalKind::hangup(), Interrupt::HangUp, sender.clone()));
        }
        tokio::spawn(told(SignalKind::terminate(), Interrupt::Terminate, sender));
        Interrupts(interrupts)
    }

    /// Those that come over a channel.
    pub fn from_channel(interrupts: mpsc::Receiver<Interrupt>) -> Self {
        Interrupts(interrupts)
    }

    /// Waits for the next one; for ever when none can come any more.
    pub(super) async fn next(&mut self) -> Interrupt {
        match self.0.recv().await {
            Some(interrupt) => interrupt,
            None => std::future::pending().await,
        }
    }
}

async fn ctrl_c(sender: mpsc::Sender<Interrupt>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        // More presses than fit say nothing new.
        let _ = sender.try_send(Interrupt::CtrlC);
    }
}

async fn told(kind: SignalKind, interrupt: Interrupt, sender: mpsc::Sender<Interrupt>) {
    // Without a handler the signal ends the process as it always did.
    let Ok(mut signals) = signal(kind) else { return };
    while signals.recv().await.is_some() {
        let _ = sender.try_send(interrupt);
    }
}

/// Waits until a signal has told the process to end and it has had time enough for that.
pub(super) async fn overdue() -> Exit {
    let (sender, mut interrupts) = mpsc::channel(1);
    if listens_to_hang_ups() {
        tokio::spawn(told(SignalKind::hangup(), Interrupt::HangUp, sender.clone()));
    }
    tokio::spawn(told(SignalKind::terminate(), Interrupt::Terminate, sender));
    let Some(interrupt) = interrupts.recv().await else { return std::future::pending().await };
    tokio::time::sleep(CLEAN_UP_WITHIN).await;
    interrupt.into()
}

/// Whether a hang-up is to end this process: `nohup` has it ignored, and a handler would undo that. Where this
/// cannot be seen, hang-ups are left alone.
fn listens_to_hang_ups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is the first signal.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
}
