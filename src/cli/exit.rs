//! What the exit code of a command says.

use std::process::{ExitCode, Termination};

use super::bench::BenchError;
use super::connect::Interrupt;
use super::daemon::StartError;
use super::operator::NoAnswer;
use super::stdio::StdioError;
use super::store::StoreError;
use crate::client::{CollectError, ConnectError, Cut, Outcome, RequestError};
use crate::transport::websocket as transport;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::job::JobStatus;

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; the job, where there is one, ended in success.
    Success = 0,
    /// The job ended in an error.
    JobFailed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The job was cancelled.
    Cancelled = 3,
    /// The job ran out of time.
    TimedOut = 4,
    /// The connection is cut; the job may still run.
    Cut = 5,
    /// The runtime refused the request.
    Refused = 6,
    /// The runtime does not know who is asking.
    Unauthenticated = 7,
    /// A file or address here could not be used, or the result that came or a store is not whole.
    Local = 8,
    /// There never was a connection; nothing was sent.
    Unreachable = 9,
    /// Ended by the end of its terminal.
    HungUp = 129,
    /// Ended by Ctrl-C.
    Interrupted = 130,
    /// Told to end.
    Terminated = 143,
}

/// The exit codes as `--help` tells them.
pub const HELP: &str = "\
Exit codes:
    0  success
    1  the job ended in an error, or a case of the suite failed
    2  wrong usage or configuration
    3  the job was cancelled
    4  the job ran out of time
    5  the connection is cut; the job may still run
    6  refused by the runtime
    7  not authenticated
    8  a local file or address cannot be used, or a result or store is not whole
    9  could not connect; nothing was sent
  129  ended by SIGHUP
  130  interrupted by Ctrl-C
  143  ended by SIGTERM";

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

impl From<Interrupt> for Exit {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::CtrlC => Exit::Interrupted,
            Interrupt::HangUp => Exit::HungUp,
            Interrupt::Terminate => Exit::Terminated,
        }
    }
}

impl From<&Outcome> for Exit {
    fn from(outcome: &Outcome) -> Self {
        match outcome.status() {
            JobStatus::Success => Exit::Success,
            JobStatus::Cancelled => Exit::Cancelled,
            JobStatus::TimedOut => Exit::TimedOut,
            JobStatus::Error | JobStatus::Pending | JobStatus::Running => Exit::JobFailed,
        }
    }
}

impl From<&Cut> for Exit {
    fn from(cut: &Cut) -> Self {
        match cut {
            Cut::Refused(body) => refused(body),
            Cut::Closed | Cut::Lost(_) | Cut::ClosedByRuntime(_) | Cut::Protocol(_) => Exit::Cut,
        }
    }
}

impl From<&ConnectError> for Exit {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Dial(_) => Exit::Unreachable,
            ConnectError::Refused(body) | ConnectError::Cut(Cut::Refused(body)) => refused(body),
            ConnectError::Cut(Cut::Closed | Cut::Lost(_) | Cut::ClosedByRuntime(_) | Cut::Protocol(_)) => {
                Exit::Unreachable
            }
        }
    }
}

impl From<&RequestError> for Exit {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::Refused(body) => refused(body),
            RequestError::TooLarge { .. } => Exit::Usage,
            RequestError::NotNegotiated(_) | RequestError::AlreadyFollowed(_) => Exit::Refused,
            RequestError::TimedOut(_) | RequestError::Unanswered => Exit::Cut,
            RequestError::Cut(cut) => cut.into(),
        }
    }
}

impl From<&CollectError> for Exit {
    fn from(error: &CollectError) -> Self {
        match error {
            CollectError::Failed(body) if body.code == ErrorCode::Cancelled => Exit::Cancelled,
            CollectError::Failed(body) if body.code == ErrorCode::Timeout => Exit::TimedOut,
            CollectError::Failed(_) => Exit::JobFailed,
            CollectError::Cut(cut) => cut.into(),
            CollectError::OutOfOrder { .. }
            | CollectError::OtherResult { .. }
            | CollectError::BadData { .. }
            | CollectError::Unfinished
            | CollectError::AfterLast(_)
            | CollectError::WrongSize { .. }
            | CollectError::TooLarge { .. }
            | CollectError::Missed { .. } => Exit::Local,
        }
    }
}

fn refused(body: &ErrorBody) -> Exit {
    if body.code == ErrorCode::Unauthenticated { Exit::Unauthenticated } else { Exit::Refused }
}

/// Why a command ends before its aim.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{error}\n{hint}")]
    Connect { error: ConnectError, hint: String },
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("{0}")]
    Collect(#[from] CollectError),
    #[error("{0}")]
    NoAnswer(Box<NoAnswer>),
    #[error("cannot use {what}: {error}")]
    File { what: String, error: std::io::Error },
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    /// Whoever read our output has had enough.
    #[error("the output is closed")]
    Closed,
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Bench(#[from] BenchError),
    #[error("{0}")]
    Stdio(#[from] StdioError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("interrupted before an answer came; a request that was sent may still be carried out")]
    Interrupted(Interrupt),
}

impl Failure {
    /// A failed write to stdout.
    pub(super) fn output(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe { Failure::Closed } else { Failure::Output(error) }
    }

    /// What the runtime said, where it refused.
    pub(super) fn refusal(&self) -> Option<&ErrorBody> {
        let body = if let Failure::Connect { error, .. } = self {
            let (ConnectError::Refused(body) | ConnectError::Cut(Cut::Refused(body))) = error else {
                return None;
            };
            body
        } else if let Failure::Request(RequestError::Refused(body) | RequestError::Cut(Cut::Refused(body)))
        | Failure::Collect(CollectError::Cut(Cut::Refused(body))) = self
        {
            body
        } else if let Failure::NoAnswer(no_answer) = self {
            return no_answer.refusal();
        } else {
            return None;
        };
        Some(body)
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Connect { error, .. } => error.into(),
            Failure::Request(error) => error.into(),
            Failure::Collect(error) => error.into(),
            Failure::NoAnswer(no_answer) => no_answer.exit(),
            Failure::Start(error) | Failure::Stdio(StdioError::Start(error)) => error.exit(),
            Failure::Stdio(StdioError::Cut(_)) => Exit::Cut,
            Failure::Stdio(StdioError::Connect(transport::ConnectError::Url { .. })) => Exit::Usage,
            Failure::Stdio(StdioError::Connect(_) | StdioError::Join { .. }) => Exit::Unreachable,
            Failure::Bench(BenchError::Url { .. }) => Exit::Usage,
            Failure::Bench(_) => Exit::Local,
            Failure::Store(StoreError::Config(_)) => Exit::Usage,
            Failure::Store(_) | Failure::File { .. } | Failure::Output(_) => Exit::Local,
            Failure::Closed => Exit::Success,
            Failure::Interrupted(interrupt) => (*interrupt).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_code() {
        let all = [
            Exit::Success,
            Exit::JobFailed,
            Exit::Usage,
            Exit::Cancelled,
            Exit::TimedOut,
            Exit::Cut,
            Exit::Refused,
            Exit::Unauthenticated,
            Exit::Local,
            Exit::Unreachable,
            Exit::HungUp,
            Exit::Interrupted,
            Exit::Terminated,
        ];
        let named: Vec<String> =
            HELP.lines().skip(1).map(|line| line.trim().split("  ").next().unwrap().into()).collect();
        assert_eq!(named, all.map(|exit| (exit as u8).to_string()));
    }
}
