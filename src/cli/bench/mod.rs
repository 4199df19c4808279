//! `arcpd bench`: how fast a daemon is, measured over loopback WebSocket.
//!
//! The client's side is raw frames on raw sockets, so that what is measured is the daemon; what it costs the daemon's
//! process is read from the system. Client and daemon share the machine: the figures are for comparing one run's rows
//! with one another, and builds with one another under the same load.

mod behind;
mod fanout;
mod idle;
mod latency;
mod process;
mod replay;
mod report;
mod resume;
mod server;
mod session;
mod startup;
mod stream;
mod throughput;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::report::{Figure, Report};
use self::server::{Bed, Endpoint, Server};
use super::daemon::told_to_stop;
use crate::transport::Ended;
use crate::transport::websocket::ConnectError;
use crate::wire::session::Token;

/// Time that one round of one measurement may take.
const ROUND_LIMIT: Duration = Duration::from_secs(300);

/// The size of the round that warms up, as a part of a counted one.
const WARM_UP: f64 = 0.1;

/// What `arcpd bench` takes.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Measure the daemon that runs here, with the demo agents, instead of one started for the purpose
    #[arg(long, value_name = "URL", requires = "token")]
    url: Option<String>,
    /// The bearer token for --url
    #[arg(long, env = "ARCPD_TOKEN", hide_env_values = true, value_parser = take_secret)]
    token: Option<Token>,
    /// The process of the daemon at --url, for its CPU time and memory
    #[arg(long, value_name = "PID", requires = "url")]
    pid: Option<u32>,
    /// Measure with this store only; may be repeated, and is all of them otherwise
    #[arg(long, value_name = "STORE", value_enum, conflicts_with = "url")]
    store: Vec<Bed>,
    /// Put the stores in files here, on the disk that matters
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir(), hide_default_value = true)]
    dir: PathBuf,
    /// Measure this only; may be repeated
    #[arg(long, value_name = "NAME", value_enum)]
    only: Vec<Measurement>,
    /// Make everything larger or smaller by this factor, 0.0001 to 100
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = scale)]
    scale: f64,
    /// How often to measure
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Write one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn take_secret(text: &str) -> Result<Token, std::convert::Infallible> {
    Ok(Token::new(text))
}

fn scale(text: &str) -> Result<f64, String> {
    let refuse = || format!("expected a number from 0.0001 to 100, got {text:?}");
    text.parse().ok().filter(|scale| (0.0001..=100.0).contains(scale)).ok_or_else(refuse)
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Jobs one at a time: to their acceptance and to their end, beside a ping's round trip
    Latency,
    /// Jobs per second, some in flight
    Throughput,
    /// Events per second of one job
    Stream,
    /// Deliveries per second of one job to many sessions
    Fanout,
    /// Events per second of a job that has ended
    Replay,
    /// Events per second of a session that was resumed from its beginning
    Resume,
    /// Memory of subscribers that are far behind
    Behind,
    /// Time to start with a million stored events
    Startup,
    /// Memory of sessions that do nothing
    Idle,
}

impl Measurement {
    fn name(self) -> &'static str {
        match self {
            Measurement::Latency => "latency",
            Measurement::Throughput => "throughput",
            Measurement::Stream => "stream",
            Measurement::Fanout => "fanout",
            Measurement::Replay => "replay",
            Measurement::Resume => "resume",
            Measurement::Behind => "behind",
            Measurement::Startup => "startup",
            Measurement::Idle => "idle",
        }
    }

    /// One round, as large as `scale` says.
    async fn round(self, server: &mut Server, scale: f64) -> Result<Vec<Figure>, BenchError> {
        match self {
            Measurement::Latency => {
                apart(server, move |at| async move { latency::round(&at, scale).await }).await
            }
            Measurement::Throughput => {
                apart(server, move |at| async move { throughput::round(&at, scale).await }).await
            }
            Measurement::Stream => {
                apart(server, move |at| async move { stream::round(&at, scale).await }).await
            }
            Measurement::Fanout => {
                apart(server, move |at| async move { fanout::round(&at, scale).await }).await
            }
            Measurement::Replay => {
                apart(server, move |at| async move { replay::round(&at, scale).await }).await
            }
            Measurement::Resume => {
                apart(server, move |at| async move { resume::round(&at, scale).await }).await
            }
            Measurement::Behind => {
                apart(server, move |at| async move { behind::round(&at, scale).await }).await
            }
            Measurement::Startup => startup::round(server, scale).await,
            Measurement::Idle => apart(server, move |at| async move { idle::round(&at, scale).await }).await,
        }
    }

    /// Whether what one round leaves in the daemon would change the next: memory that was freed is used again.
    fn spoils(self) -> bool {
        matches!(self, Measurement::Idle | Measurement::Behind | Measurement::Startup)
    }
}

/// Why nothing, or no more, is measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Measuring somebody else's daemon is an attack on it.
    #[error("bench drives a daemon on this machine only: expected a loopback address in `{url}`{problem}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it, with a separator before it.
        problem: String,
    },
    /// The daemon to be measured does not start.
    #[error("cannot start a daemon: {0}")]
    Daemon(String),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A connection ended while it was measured.
    #[error("the daemon broke off: {0}")]
    Broke(#[from] Ended),
    /// The daemon did not do what every daemon does.
    #[error("{0}")]
    Unexpected(String),
    /// A round takes too long.
    #[error("{measurement}: a round took longer than {} s; try a smaller --scale", ROUND_LIMIT.as_secs())]
    Slow {
        /// What was measured.
        measurement: &'static str,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The report cannot be written, or a system call fails.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Measures and reports: the report goes to `out`, what is going on to `talk`. A daemon that was started is gone
/// afterwards, whatever happens.
///
/// # Errors
/// [`BenchError`] when something could not be measured.
pub async fn run(args: &BenchArgs, out: &mut dyn Write, talk: &mut dyn Write) -> Result<(), BenchError> {
    let report = tokio::select! {
        report = measure(args, talk) => report?,
        told = told_to_stop() => return told.map_err(BenchError::Io).and(Err(BenchError::Interrupted)),
    };
    if args.json {
        report.write_json(out)?
    } else {
        report.write_table(out)?
    }
    Ok(out.flush()?)
}

async fn measure(args: &BenchArgs, talk: &mut dyn Write) -> Result<Report, BenchError> {
    process::raise_descriptor_limit();
    let mut report = Report::new(args.url.as_deref(), args.rounds, args.scale);
    for &measurement in Measurement::value_variants() {
        if !args.only.is_empty() && !args.only.contains(&measurement) {
            continue;
        }
        let mut servers = servers(args).await?;
        for server in &mut servers {
            if !measurement.spoils() {
                round(measurement, server, args.scale * WARM_UP).await?;
            }
        }
        // Round by round over all stores, so that a machine that grows slower does so for each of them.
        for number in 1..=args.rounds {
            writeln!(talk, "{}: round {number} of {}", measurement.name(), args.rounds)?;
            for server in &mut servers {
                if let Some(bed) = server.bed().filter(|_| number > 1 && measurement.spoils()) {
                    let fresh = Server::start(bed, &args.dir).await?;
                    std::mem::replace(server, fresh).stop().await;
                }
                report.add(server.bed(), round(measurement, server, args.scale).await?);
            }
        }
        for server in servers {
            server.stop().await;
        }
    }
    Ok(report)
}

/// The daemon that runs already, or one for each store.
async fn servers(args: &BenchArgs) -> Result<Vec<Server>, BenchError> {
    if let (Some(url), Some(token)) = (&args.url, &args.token) {
        return Ok(vec![Server::running(url, token.clone(), args.pid)?]);
    }
    let mut servers = Vec::new();
    for bed in Bed::value_variants().iter().filter(|bed| args.store.is_empty() || args.store.contains(bed)) {
        servers.push(Server::start(*bed, &args.dir).await?);
    }
    Ok(servers)
}

async fn round(measurement: Measurement, server: &mut Server, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let slow = |_| BenchError::Slow { measurement: measurement.name() };
    timeout(ROUND_LIMIT, measurement.round(server, scale)).await.map_err(slow)?
}

/// A round in a task of its own: the thread that waits for it would cost a wake-up per frame.
async fn apart<F, R>(server: &Server, round: F) -> Result<Vec<Figure>, BenchError>
where
    F: FnOnce(Endpoint) -> R,
    R: Future<Output = Result<Vec<Figure>, BenchError>> + Send + 'static,
{
    let mut task = JoinSet::new();
    task.spawn(round(server.endpoint()));
    task.join_next().await.map_or_else(|| Ok(Vec::new()), joined)
}

/// What a task came to.
fn joined<T>(done: Result<Result<T, BenchError>, tokio::task::JoinError>) -> Result<T, BenchError> {
    done.unwrap_or_else(|error| Err(BenchError::Unexpected(format!("a part of the client failed: {error}"))))
}

/// So many times `base`, between 1 and `most`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A cast saturates, and this is bounded anyway.
fn scaled(base: u32, scale: f64, most: u64) -> u64 {
    ((f64::from(base) * scale) as u64).clamp(1, most)
}
