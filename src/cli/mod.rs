//! The command line.
//!
//! Data goes to stdout, talk to stderr; with `--json` every event and every end is one JSON object per line. The
//! exit code says how it went: see [`exit::Exit`].

pub mod cancel;
pub mod completions;
pub mod connect;
pub mod exit;
pub mod jobs;
pub mod render;
pub mod result;
pub mod submit;
pub mod watch;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::connect::{Connection, Dial, Interrupts};
use self::exit::{Exit, Failure};
use self::render::Terminal;
use crate::client::Client;

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
    // Commands of the daemon's side stand here: serve, stdio, check, demo, bench.
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
    /// Write shell completions
    Completions(completions::CompletionsArgs),
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
            () = self.interrupts.next() => Err(Failure::Interrupted),
        }
    }
}

// The futures of commands are large, and one of them is needed: they are boxed.
async fn dispatch(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        // Commands of the daemon's side are dispatched here: serve, stdio, check, demo, bench.
        Command::Submit(args) => Box::pin(submit::run(*args, context)).await,
        Command::Watch(args) => Box::pin(watch::run(args, context)).await,
        Command::Jobs(args) => Box::pin(jobs::run(args, context)).await,
        Command::Cancel(args) => Box::pin(cancel::run(args, context)).await,
        Command::Result(args) => Box::pin(result::run(args, context)).await,
        Command::Completions(args) => completions::run(&args, context),
    }
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
            failure.exit()
        }
    }
}
