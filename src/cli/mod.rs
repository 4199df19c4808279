//! The command line.
//!
//! Data goes to stdout, talk to stderr; with `--json` every event and every end is one JSON object per line. The
//! exit code says how it went: see [`exit::Exit`].

pub mod bench;
mod bridge;
pub mod cancel;
pub mod check;
mod command_link;
pub mod completions;
pub mod conformance;
pub mod connect;
pub mod daemon;
pub mod demo;
pub mod exit;
pub mod jobs;
mod operator;
pub mod render;
pub mod result;
pub mod serve;
pub mod sessions;
pub mod status;
pub mod stdio;
pub mod store;
pub mod submit;
pub mod watch;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::connect::{Connection, Dial, Interrupts, Target};
use self::exit::{Exit, Failure};
use self::render::Terminal;
use crate::client::{Client, DialError, Link};
use crate::config::{Environment, ServeArgs};
use crate::transport::websocket::{check_url, connect};

/// How long a command waits for the answer to its close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The command line of `arcpd`.
#[derive(Debug, Parser)]
#[command(name = "arcpd", version, about, after_help = exit::HELP, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a daemon, give it a job, and show what comes of it
    Demo(demo::DemoArgs),
    /// Serve clients over WebSocket
    Serve(Box<ServeArgs>),
    /// Serve one client on stdin and stdout
    Stdio(Box<stdio::StdioArgs>),
    /// Explain the configuration: every value and where it comes from
    Check(Box<check::CheckArgs>),
    /// Submit a job and follow it to its end
    #[command(after_help = exit::HELP)]
    Submit(Box<submit::SubmitArgs>),
    /// Follow a job to its end
    #[command(after_help = exit::HELP)]
    Watch(watch::WatchArgs),
    /// List jobs
    Jobs(jobs::JobsArgs),
    /// Cancel a job
    #[command(after_help = exit::HELP)]
    Cancel(cancel::CancelArgs),
    /// Write a job's result
    #[command(after_help = exit::HELP)]
    Result(result::ResultArgs),
    /// List sessions, as an operator
    #[command(after_help = exit::HELP)]
    Sessions(sessions::SessionsArgs),
    /// Show how the daemon is, as an operator
    #[command(after_help = exit::HELP)]
    Status(status::StatusArgs),
    /// Look after the store in a file: backup, check, vacuum, stats
    #[command(after_help = exit::HELP)]
    Store(store::StoreArgs),
    /// Hold any runtime against the cases of ARCP
    #[command(after_help = exit::HELP)]
    Conformance(Box<conformance::ConformanceArgs>),
    /// Measure how fast a daemon is
    Bench(Box<bench::BenchArgs>),
    /// Write shell completions
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Whether it works with a daemon that runs elsewhere, and listens to interrupts all the time.
    fn is_client(&self) -> bool {
        match self {
            Command::Submit(_)
            | Command::Watch(_)
            | Command::Jobs(_)
            | Command::Cancel(_)
            | Command::Result(_)
            | Command::Conformance(_)
            | Command::Sessions(_)
            | Command::Status(_) => true,
            Command::Stdio(args) => args.is_bridge(),
            Command::Demo(_)
            | Command::Serve(_)
            | Command::Check(_)
            | Command::Store(_)
            | Command::Bench(_)
            | Command::Completions(_) => false,
        }
    }
}

/// What a command works with.
pub(crate) struct Context {
    terminal: Terminal,
    interrupts: Interrupts,
    dial: Arc<dyn Dial>,
}

impl Context {
    /// Opens a session, writing as the command line wants it.
    async fn open(&mut self, connection: &Connection) -> Result<Client, Failure> {
        self.terminal.style(connection.json, connection.quiet);
        check_url(&connection.url).map_err(|error| Failure::Usage(error.to_string()))?;
        let dial = Arc::clone(&self.dial);
        self.unless_interrupted(connection.open(dial)).await?
    }

    /// Ends the session; one who is in a hurry, or whose daemon does not answer, leaves without.
    async fn close(&mut self, client: Client) {
        let closed = tokio::time::timeout(CLOSE_WITHIN, client.close());
        // Nothing is lost with a session that was not closed: the daemon forgets it after a while.
        let _ = self.unless_interrupted(closed).await;
    }

    async fn unless_interrupted<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            done = work => Ok(done),
            interrupt = self.interrupts.next() => Err(Failure::Interrupted(interrupt)),
        }
    }
}

// The futures of commands are large, and one of them is needed: they are boxed.
async fn dispatch(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Demo(args) => Box::pin(demo::run(args, context)).await,
        Command::Serve(args) => {
            Ok(Box::pin(serve::run(&args, &mut context.terminal)).await.map(|()| Exit::Success)?)
        }
        Command::Stdio(args) => Box::pin(stdio::run(&args, context)).await,
        Command::Check(args) => {
            let (out, err) = context.terminal.writers();
            Ok(check::run(&args, &Environment::of_process(), out, err))
        }
        Command::Submit(args) => Box::pin(submit::run(*args, context)).await,
        Command::Watch(args) => Box::pin(watch::run(args, context)).await,
        Command::Jobs(args) => Box::pin(jobs::run(args, context)).await,
        Command::Cancel(args) => Box::pin(cancel::run(args, context)).await,
        Command::Result(args) => Box::pin(result::run(args, context)).await,
        Command::Conformance(args) => Box::pin(conformance::run_all(*args, context)).await,
        Command::Sessions(args) => Box::pin(sessions::run(args, context)).await,
        Command::Status(args) => Box::pin(status::run(args, context)).await,
        Command::Store(args) => store::run(args, context).await,
        Command::Bench(args) => {
            let (out, err) = context.terminal.writers();
            Ok(Box::pin(bench::run(&args, out, err)).await.map(|()| Exit::Success)?)
        }
        Command::Completions(args) => completions::run(&args, context),
    }
}

impl Cli {
    /// What the user typed. Does not return when that makes no sense, or asks for help.
    pub fn from_command_line() -> Self {
        Cli::parse()
    }

    /// Waits until a signal has told the command to end and it has had time enough: it is stuck, as in a write that
    /// nobody reads. For ever with a command that takes its own time to stop.
    pub fn overdue(&self) -> impl Future<Output = Exit> + Send + 'static {
        let is_client = self.command.is_client();
        async move { if is_client { connect::overdue().await } else { std::future::pending().await } }
    }

    /// Runs the command on this process's terminal, over WebSocket.
    pub async fn run(self) -> Exit {
        let interrupts =
            if self.command.is_client() { Interrupts::from_signals() } else { Interrupts::from_terminal() };
        run(self, dial_websocket, Terminal::standard(), interrupts).await
    }
}

/// Says why the program cannot even begin.
pub fn fail(error: &dyn std::error::Error) -> Exit {
    Terminal::standard().complain(&format!("arcpd: {error}"));
    Exit::Local
}

async fn dial_websocket(target: Target) -> Result<Link, DialError> {
    let Target { url, ca, limits } = target;
    let transport =
        connect(&url, ca.as_deref(), &limits).await.map_err(|error| DialError(error.to_string()))?;
    Ok(Link::new(transport))
}

/// Runs a command to its end.
pub async fn run(cli: Cli, dial: impl Dial, terminal: Terminal, interrupts: Interrupts) -> Exit {
    let mut context = Context { terminal, interrupts, dial: Arc::new(dial) };
    let outcome = dispatch(cli.command, &mut context).await;
    match outcome {
        Ok(exit) => exit,
        Err(Failure::Closed) => Exit::Success,
        Err(failure) => {
            context.terminal.complain(&format!("arcpd: {failure}"));
            if let Some(body) = failure.refusal().filter(|_| context.terminal.is_json()) {
                // Its reader may be gone; the exit code says it all the same.
                let _ = context.terminal.line(&render::refused(body).to_string());
            }
            failure.exit()
        }
    }
}
