//! One process group: the agent's process, which leads it, and whatever that starts.
//!
//! A group is ended as a whole: by signals to all of it, at the latest when its leader has exited or when it is
//! dropped. Processes are started by one thread of their own, which lives as long as the daemon: a fork never holds
//! up the async threads, and the kernel ties a child's life to the very thread that forked it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::wire::limits::AGENT_SPAWNS_PENDING;

/// The number of SIGTERM on every Unix.
const SIGTERM: i32 = 15;

/// How a leader ended; nothing when the system would not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit(Option<ExitStatus>);

impl Exit {
    /// The end in words that follow the agent's name.
    pub(super) fn words(self) -> String {
        let status = self.0;
        match (status.and_then(|s| s.signal()), status.and_then(|s| s.code())) {
            (Some(signal), _) => format!("was killed by signal {signal}"),
            (None, Some(code)) => format!("exited with status {code}"),
            (None, None) => "ended".into(),
        }
    }
}

/// The daemon's ends of a child's pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// A process group. Dropping it kills what is left of it.
pub(super) struct Group {
    child: Box<dyn ChildWrapper>,
    exit: Option<Exit>,
}

impl Group {
    /// Starts `command` as the leader of a new group.
    pub(super) async fn spawn(mut command: Command) -> io::Result<(Group, Pipes)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = CommandWrap::from(command);
        command.wrap(ProcessGroup::leader()).wrap(KillOnDrop);
        let (reply, answer) = oneshot::channel();
        let runtime = Handle::current();
        let start = Box::new(move || {
            let _entered = runtime.enter();
            // Nobody waits any more when the attempt was dropped; the group then dies with the unsent answer.
            let _ = reply.send(command.spawn().map(|child| Group { child, exit: None }));
        });
        hand_over(start).await?;
        let mut group =
            answer.await.map_err(|_| io::Error::other("the thread that starts processes is gone"))??;
        let child = &mut group.child;
        match (child.stdin().take(), child.stdout().take(), child.stderr().take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((group, Pipes { stdin, stdout, stderr })),
            _ => Err(io::Error::other("its pipes are missing")),
        }
    }

    /// Waits for the leader's exit, then kills whatever it left behind. Cancel-safe.
    pub(super) async fn exited(&mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        // The leader alone is waited for: the group's own wait would also wait for the rest of the group.
        let exit = Exit(self.child.inner_mut().wait().await.ok());
        // At once and before anything is awaited: once the group is empty, its number may go to another.
        self.kill();
        self.exit = Some(exit);
        exit
    }

    /// Asks the whole group to end.
    pub(super) fn terminate(&self) {
        if self.exit.is_none() {
            // It fails only when nobody is left to ask.
            let _ = self.child.signal(SIGTERM);
        }
    }

    /// Kills the whole group, and the leader even if it has left the group.
    pub(super) fn kill(&mut self) {
        if self.exit.is_none() {
            // Both fail only when nobody is left to kill.
            let _ = self.child.start_kill();
            let _ = self.child.inner_mut().start_kill();
        }
    }

    /// Reaps the members that became the daemon's own children, as they do where the daemon is a container's init.
    pub(super) async fn reap(&mut self, within: Duration) {
        if self.exit.is_some() {
            // What cannot be reaped in time is stuck in the kernel; there is nothing more to do about it.
            let _ = timeout(within, self.child.wait()).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

type Start = Box<dyn FnOnce() + Send>;

/// Hands a start over to the thread that starts processes; waits while too many wait already.
async fn hand_over(start: Start) -> io::Result<()> {
    let sent = spawner()?.send(start).await;
    sent.map_err(|_| io::Error::other("the thread that starts processes is gone"))
}

/// The way to the thread that starts processes; the first call starts it.
fn spawner() -> io::Result<&'static mpsc::Sender<Start>> {
    static SPAWNER: OnceLock<mpsc::Sender<Start>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (sender, mut starts) = mpsc::channel::<Start>(AGENT_SPAWNS_PENDING);
    let work = move || {
        while let Some(start) = starts.blocking_recv() {
            // A start panics when its runtime is shut down meanwhile; other runtimes go on needing this thread.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(start));
        }
    };
    // Two first calls at once make two threads; the one whose sender is not kept ends, having started nothing.
    std::thread::Builder::new().name("arcpd-spawn".into()).spawn(work)?;
    Ok(SPAWNER.get_or_init(|| sender))
}
