//! `arcpd completions`: the shell's knowledge of this command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::{Cli, Context};

/// Writes completions for a shell to stdout.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, context: &mut Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "arcpd", &mut script);
    context.terminal.data(&script)?;
    Ok(Exit::Success)
}
