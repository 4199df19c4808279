//! The commands of `arcpd`.

pub mod check;
pub mod daemon;
pub mod serve;
pub mod stdio;

use std::io::{stderr, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Environment, ServeArgs};

/// A runtime daemon for ARCP, the Agent Runtime Control Protocol.
#[derive(Debug, Parser)]
#[command(name = "arcpd", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients over WebSocket.
    Serve(ServeArgs),
    /// Serve one client on stdin and stdout.
    Stdio(stdio::StdioArgs),
    /// Explain the configuration: every value and where it comes from.
    Check(check::CheckArgs),
}

impl Cli {
    /// What the user typed. Does not return when that makes no sense, or asks for help.
    pub fn from_command_line() -> Self {
        Cli::parse()
    }
}

/// Says why the program cannot do what it was asked.
pub fn fail(error: &dyn std::error::Error) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

/// Runs a command to its end.
pub async fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(args) => match serve::run(&args, &mut stdout(), &mut stderr()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                error.exit_code()
            }
        },
        Command::Stdio(args) => match stdio::run(&args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Check(args) => {
            check::run(&args, &Environment::of_process(), &mut stdout(), &mut stderr()).into()
        }
    }
}

#[allow(clippy::print_stderr)] // The one place where the daemon's commands say why they fail.
fn complain(error: &dyn std::error::Error) {
    eprintln!("arcpd: {error}");
}
