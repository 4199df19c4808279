//! Agents as child processes: one process per job, spoken to over its stdin and stdout.
//!
//! [`ChildHost`] starts the process in a group of its own and with a scrubbed environment, hands its lines to the
//! [`JobPort`], and ends the whole group in every case. An agent that hangs, floods, writes garbage or leaves
//! grandchildren behind costs its own job and nothing else.

mod group;
pub mod guard;
mod pipes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use self::group::{Exit, Group};
use self::guard::Guard;
use self::pipes::{Over, Said, Stderr, Stdin, Stdout};
use super::{AgentHost, AttemptEnd, BoxFuture, JobPort, StopSignal};
use crate::wire::agent_port::{DaemonMessage, JobStart};
use crate::wire::limits::Limits;

/// Variables of the daemon's own environment that every child gets.
const PASSED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Where to look when an agent leaves without a word.
const STDERR: &str = "; what it wrote to stderr is in the daemon's log";

/// What to start for a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program: a path, or a name that is looked up in the child's `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory; the daemon's when there is none.
    pub dir: Option<PathBuf>,
    /// Variables that it gets.
    pub env: BTreeMap<String, String>,
    /// Variables that it gets from the daemon's environment, besides `PATH`, `HOME`, `LANG`, `TZ` and `TMPDIR`.
    pub pass_env: Vec<String>,
}

/// Runs each attempt as a process of its own.
#[derive(Debug, Clone)]
pub struct ChildHost {
    command: ChildCommand,
    limits: Arc<Limits>,
    guard: Option<Guard>,
}

impl ChildHost {
    /// A host that starts `command` for every job. Its children notice the death of the daemon by the end of their
    /// stdin, unless they are [guarded](Self::guarded).
    pub fn new(command: ChildCommand, limits: Arc<Limits>) -> Self {
        ChildHost { command, limits, guard: None }
    }

    /// The same, with children that the system kills when the daemon dies (Linux).
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    fn command(&self, start: &JobStart) -> Command {
        let wanted = &self.command;
        let mut command = match &self.guard {
            Some(guard) => guard.command(&wanted.program),
            None => Command::new(&wanted.program),
        };
        command.args(&wanted.args).env_clear();
        let passed = PASSED.into_iter().chain(wanted.pass_env.iter().map(String::as_str));
        command.envs(passed.filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(&wanted.env);
        command.env("ARCP_JOB_ID", start.job_id.to_string());
        if let Some(trace_id) = start.trace_id {
            // A parent id must not be zero.
            let span = rand::random::<u64>().max(1);
            command.env("TRACEPARENT", format!("00-{trace_id}-{span:016x}-01"));
        }
        if let Some(dir) = &wanted.dir {
            command.current_dir(dir);
        }
        command
    }

    /// What to tell when the program could not be started.
    fn not_started(&self, reason: &str) -> AttemptEnd {
        let place = match &self.command.dir {
            Some(dir) => format!(" in {}", dir.display()),
            None => String::new(),
        };
        AttemptEnd::NotStarted(format!(
            "could not start {:?}{place}: {reason}; check that the program and its directory exist, that the \
             program may be executed, and that the agent's PATH leads to it",
            self.command.program
        ))
    }

    async fn attempt(self, start: JobStart, port: Arc<dyn JobPort>, stop: StopSignal) -> AttemptEnd {
        let (group, pipes) = match Group::spawn(self.command(&start)).await {
            Ok(started) => started,
            Err(error) => return self.not_started(&error.to_string()),
        };
        let mut stdin = Stdin::new(pipes.stdin);
        stdin.push(&DaemonMessage::Start(start));
        let attempt = Attempt {
            group,
            stdin,
            stdout: Stdout::new(pipes.stdout, port.clone(), self.limits.clone(), self.guard.is_some()),
            stderr: Stderr::new(pipes.stderr, port, &self.limits),
            stop,
            deadline: None,
            grace: Duration::from_millis(self.limits.kill_grace_ms),
        };
        attempt.run().await.unwrap_or_else(|reason| self.not_started(&reason))
    }
}

impl AgentHost for ChildHost {
    fn run(
        &self,
        start: JobStart,
        port: Arc<dyn JobPort>,
        stop: StopSignal,
    ) -> BoxFuture<'static, AttemptEnd> {
        Box::pin(self.clone().attempt(start, port, stop))
    }
}

/// A process at work, and everything that is needed to end it.
struct Attempt {
    group: Group,
    stdin: Stdin,
    stdout: Stdout,
    stderr: Stderr,
    stop: StopSignal,
    /// When it is ended by force, once it was told to stop.
    deadline: Option<Instant>,
    grace: Duration,
}

impl Attempt {
    /// Sees the process to its end. The error says why the guard could not start the program.
    async fn run(mut self) -> Result<AttemptEnd, String> {
        let over = self.talk().await;
        self.stdin.close();
        let by_itself = match &over {
            Some(Over::Told | Over::Eof | Over::NotStarted(_)) => {
                let patience = self.deadline.unwrap_or_else(|| Instant::now() + self.grace);
                self.exit_by(patience).await
            }
            Some(Over::Closed | Over::Broken(_)) | None => None,
        };
        if by_itself.is_none() {
            self.end_by_force().await;
        }
        self.stderr.finish(self.grace).await;
        self.group.reap(self.grace).await;
        let stopped = self.deadline.is_some();
        Ok(match over {
            Some(Over::NotStarted(reason)) => return Err(reason),
            Some(Over::Broken(contract)) => AttemptEnd::Broken(contract),
            Some(Over::Closed) | None => AttemptEnd::Stopped,
            Some(Over::Told | Over::Eof) if stopped => AttemptEnd::Stopped,
            Some(Over::Told) => AttemptEnd::Finished,
            Some(Over::Eof) => AttemptEnd::Lost(match by_itself {
                Some(exit) => format!("{} without a result{STDERR}", exit.words()),
                None => format!("closed its stdout without a result{STDERR}"),
            }),
        })
    }

    /// Moves messages until there is nothing more to hear; nothing when it was told to stop and did not in time.
    async fn talk(&mut self) -> Option<Over> {
        let Attempt { group, stdin, stdout, stderr, stop, deadline, .. } = self;
        loop {
            tokio::select! {
                said = stdout.next(), if stdin.has_room() => match said {
                    Said::Reply(reply) => stdin.push(&reply),
                    Said::Over(over) => return Some(over),
                },
                _ = group.exited(), if !stdout.draining() => {
                    // What it wrote before still counts.
                    stdout.drain();
                    stdin.close();
                }
                asked = stop.stopped(), if deadline.is_none() => {
                    *deadline = Some(asked.by);
                    stdin.push(&DaemonMessage::Cancel(asked.said));
                }
                () = reached(*deadline) => return None,
                () = stdin.pump() => {}
                () = stderr.pump() => {}
            }
        }
    }

    /// Waits for the leader's exit, at most until `by`; what the agent still writes is thrown away.
    async fn exit_by(&mut self, by: Instant) -> Option<Exit> {
        let Attempt { group, stdout, stderr, .. } = self;
        tokio::select! {
            biased;
            exit = group.exited() => Some(exit),
            () = sleep_until(by) => None,
            () = stdout.discard() => None,
            () = stderr.pump() => None,
        }
    }

    /// The ladder: SIGTERM to the whole group, time to end, SIGKILL to the whole group.
    async fn end_by_force(&mut self) {
        self.group.terminate();
        if self.exit_by(Instant::now() + self.grace).await.is_none() {
            self.group.kill();
            // A process that survives this is stuck in the kernel; it is not waited for.
            self.exit_by(Instant::now() + self.grace).await;
        }
    }
}

/// Waits until the deadline, if there is one.
async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
