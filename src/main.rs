//! The `arcpd` program: parses the command line and hands over to [`arcpd::cli`].

use std::process::{ExitCode, Termination as _};

fn main() -> ExitCode {
    // A process that was started to become a guarded agent does nothing else.
    if let Some(code) = arcpd::agent::child::guard::take_over(std::env::args_os()) {
        return code;
    }
    let cli = arcpd::cli::Cli::from_command_line();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return arcpd::cli::fail(&error).report(),
    };
    let overdue = cli.overdue();
    runtime.spawn(async move { std::process::exit(i32::from(overdue.await as u8)) });
    let exit = runtime.block_on(cli.run());
    // A read of stdin cannot be interrupted; waiting for it would keep a finished process alive.
    runtime.shutdown_background();
    exit.report()
}
