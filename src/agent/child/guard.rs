//! The guard: ties a child's life to the daemon's, without unsafe code.
//!
//! Only a process itself can ask Linux to kill it when its parent dies, and between fork and exec only unsafe code
//! could ask. So the daemon starts its own program, which asks and then becomes the agent's program: see
//! [`Guard`] and [`take_over`]. What the agent starts is not tied; it ends with the agent's group, or sees its pipes
//! close.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

/// The first argument of a guard: what follows is the daemon's process id, the agent's program and its arguments.
const ARGUMENT: &str = "__guard-agent";

/// The type of the one line that a guard writes when it cannot become the agent.
const FAILED: &str = "guard.failed";

/// The exit status of a shell that did not find a program.
const NOT_STARTED: u8 = 127;

/// A program that calls [`take_over`] first thing in its `main`; as a rule the daemon's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard(PathBuf);

#[derive(Serialize, Deserialize)]
struct Failure {
    r#type: String,
    reason: String,
}

impl Guard {
    /// The program at this absolute path, which calls [`take_over`].
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Guard(program.into())
    }

    /// The running program itself; on Linux even if its file has been replaced meanwhile.
    ///
    /// # Errors
    /// When the system does not say where it is.
    pub fn this_program() -> io::Result<Self> {
        if cfg!(target_os = "linux") {
            return Ok(Guard("/proc/self/exe".into()));
        }
        std::env::current_exe().map(Guard)
    }

    /// The command that becomes `program` once the guard has done its work; its arguments may be appended.
    pub(super) fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.0);
        command.args([ARGUMENT, &std::process::id().to_string(), program]);
        command
    }
}

/// Makes this process the agent that it was started for, if it was started by a [`Guard`]: asks for SIGKILL when the
/// daemon dies and becomes the agent's program. Returns nothing when it was started for something else, and the
/// status to exit with when it failed. `args` are all arguments, the program's name included.
pub fn take_over(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    let error = become_agent(&mut args);
    let failure = Failure { r#type: FAILED.into(), reason: error.to_string() };
    let mut line = crate::wire::encode::json(&failure);
    line.push(b'\n');
    // Whoever does not read it sees the exit status.
    let _ = io::stdout().write_all(&line);
    Some(ExitCode::from(NOT_STARTED))
}

/// Never returns but with an error.
fn become_agent(args: &mut impl Iterator<Item = OsString>) -> io::Error {
    let parent = args.next().and_then(|arg| arg.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return io::Error::other(format!("{ARGUMENT} is for the daemon's own use"));
    };
    if let Err(error) = die_with(parent) {
        return error;
    }
    Command::new(program).args(args).exec()
}

#[cfg(target_os = "linux")]
fn die_with(parent: i32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that; then nobody would say so any more.
    match getppid() {
        Some(now) if now.as_raw_nonzero().get() == parent => Ok(()),
        Some(_) | None => Err(io::Error::other("the daemon has gone")),
    }
}

/// Other systems have no such signal; there the agent sees its stdin end.
#[cfg(not(target_os = "linux"))]
fn die_with(_: i32) -> io::Result<()> {
    Ok(())
}

/// Why a guard failed, if this is the line of one that did.
pub(super) fn failure(line: &[u8]) -> Option<String> {
    let failure: Failure = serde_json::from_slice(line).ok()?;
    (failure.r#type == FAILED).then_some(failure.reason)
}
