//! The life of one job: who may say what when, and what observers see of it (§7.3, §7.4, §8).
//!
//! ```text
//!            start                result · error · lost · broken
//!  Pending ─────────▶ Running ──────────────────────────────────▶ Ended
//!   │  ▲ │               │                                         ▲ ▲
//!   │  │ │ cancel        │ cancel · deadline     agent stopped     │ │
//!   │  │ │               ├──────────────▶ Ending ──────────────────┘ │
//!   │  │ └───────────────│───────────────────────────────────────────┤
//!   │  │                 │ the daemon stops      result · error      │
//!   │  │                 └──────────────▶ Suspending ────────────────┘
//!   │  │     the daemon is started again      │ agent stopped
//!   │  └───────────────────────────────── Suspended
//!   └─────────────────────────────────────────▲
//!               the daemon stops
//! ```
//! Every way ends in `Ended`, which is entered exactly once and never left. What goes on after the daemon is started
//! again is suspended meanwhile: jobs that had not begun, and those whose agent may begin again.

mod said;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use said::event_payload;

use super::record::{Record, Tail};
use super::result::ResultStream;
use super::submit::Spec;
use crate::wire::agent_port::{BrokenContract, JobStop};
use crate::wire::encode::json;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::event::Status;
use crate::wire::feature::Feature;
use crate::wire::id::ResultId;
use crate::wire::job::{JobError, JobStatus};
use crate::wire::limits::Limits;
use crate::wire::message::StreamKind;
use crate::wire::time::Timestamp;

/// Why a job ends whose agent was running when the daemon went.
const LOST: &str = "the agent died with the daemon, which was started again; submit the job again";

/// Longest error message that is recorded, in characters; an agent's longer one is cut.
const MESSAGE_CHARS: usize = 8_192;

/// That a job is to be cancelled (§7.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cancellation {
    /// What its canceller said.
    pub reason: Option<String>,
}

/// What is known of a job of before the daemon was started again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Past {
    /// How often it was begun.
    pub attempts: u32,
    /// When it was begun first.
    pub started_at: Option<Timestamp>,
    /// That it was being cancelled.
    pub cancellation: Option<Cancellation>,
    /// The shape of its history.
    pub tail: Tail,
}

/// What becomes of a job when the daemon stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterlife {
    /// Nothing is known of it afterwards.
    None,
    /// It is known, but its agent cannot begin again.
    Known,
    /// It is known, and its agent may begin again.
    Restartable,
}

/// Why a job is being ended by the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    Cancelled(Cancellation),
    TimedOut,
    LeaseExpired,
    ShuttingDown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Pending,
    Running,
    Ending(Why),
    /// The agent is being stopped, to begin again when the daemon is started again.
    Suspending,
    /// Goes on when the daemon is started again.
    Suspended,
    Ended(JobStatus),
}

/// What a decision about a job comes to: records to append, in order, what else is to be stored, and whether the
/// agent is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// New records.
    pub records: Vec<Record>,
    /// That the job is being cancelled, which has to be stored before anybody is told.
    pub cancelling: Option<Cancellation>,
    /// Tell the agent to stop.
    pub stop: Option<JobStop>,
}

impl Step {
    fn of(records: Vec<Record>) -> Self {
        Step { records, ..Step::default() }
    }
}

/// Why a message of an agent is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The job has ended.
    Ended,
    /// The message broke the contract; the job has ended with that.
    Broken(BrokenContract),
}

/// The answer to a cancellation (§7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It is recorded; the end follows. Also the answer to a second one.
    Cancelling(Step),
    /// The job is being ended for another reason, or has ended.
    TooLate(JobStatus),
}

/// One job.
#[derive(Debug, Clone)]
pub struct Job {
    spec: Arc<Spec>,
    state: State,
    tail: Tail,
    result: ResultStream,
    attempts: u32,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    failure: Option<ErrorBody>,
}

impl Job {
    /// A job that was accepted. `result_id` names its result if it is streamed.
    pub fn new(spec: Arc<Spec>, result_id: ResultId) -> Self {
        let result = ResultStream::new(result_id);
        Job {
            spec,
            state: State::Pending,
            tail: Tail::default(),
            result,
            attempts: 0,
            started_at: None,
            ended_at: None,
            failure: None,
        }
    }

    /// A job of before the daemon was started again, which has not ended. Its agent is gone; see
    /// [`go_on`](Self::go_on).
    pub fn restored(spec: Arc<Spec>, result_id: ResultId, past: Past) -> Self {
        let Past { attempts, started_at, cancellation, tail } = past;
        let cancelled = |cancellation| State::Ending(Why::Cancelled(cancellation));
        let state = cancellation.map_or(State::Suspended, cancelled);
        Job { state, tail, attempts, started_at, ..Job::new(spec, result_id) }
    }

    /// The daemon was started again, and this is what its agents are now: the job is pending afterwards, or ends.
    /// `agent` is why its agent cannot be had, or whether it may begin again.
    pub fn go_on(&mut self, agent: Result<bool, &str>, limits: &Limits, now: Timestamp) -> Step {
        match &self.state {
            State::Suspended => {}
            State::Ending(_) | State::Suspending => return self.stopped(now),
            State::Pending | State::Running | State::Ended(_) => return Step::default(),
        }
        let again = match agent {
            Err(gone) => Err(gone.to_owned()),
            Ok(_) if self.attempts == 0 => Ok(()),
            Ok(true) if self.attempts < limits.job_attempts => Ok(()),
            Ok(true) => Err(format!(
                "the daemon ended under the agent in each of {} attempts, and {} are allowed; submit the job again",
                self.attempts, limits.job_attempts
            )),
            Ok(false) => Err(LOST.into()),
        };
        if let Err(why) = again {
            let error = ErrorBody::new(ErrorCode::InternalError, cut(&why));
            return Step::of(vec![self.end_in_error(JobStatus::Error, error, now)]);
        }
        self.state = State::Pending;
        if self.attempts == 0 {
            return Step::default();
        }
        let message = format!("the daemon was started again; attempt {} begins", self.attempts + 1);
        let body = json(&Status { phase: "restarted".into(), message: Some(message) });
        let payload = event_payload("status", now, &self.spec.id.to_string(), &body);
        Step::of(vec![self.record(StreamKind::Event, None, payload, now)])
    }

    /// What never changes about it.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The shape of its history.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Forgets the history before `first`.
    pub fn trim(&mut self, first: u64) {
        self.tail.trim(first);
    }

    /// Why it ended, unless it ended well.
    pub fn failure(&self) -> Option<&ErrorBody> {
        self.failure.as_ref()
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// Where it stands.
    pub fn status(&self) -> JobStatus {
        match self.state {
            State::Pending => JobStatus::Pending,
            State::Suspended if self.attempts == 0 => JobStatus::Pending,
            State::Running | State::Ending(_) | State::Suspending | State::Suspended => JobStatus::Running,
            State::Ended(status) => status,
        }
    }

    /// When the daemon ends the job by itself: its longest runtime or the end of its lease, whichever is first.
    /// None once it is ending.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending | State::Running => {}
            State::Ending(_) | State::Suspending | State::Suspended | State::Ended(_) => return None,
        }
        let timeout = self.timeout_at();
        match (timeout, self.spec.order.expires_at()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn timeout_at(&self) -> Option<Timestamp> {
        let from = self.started_at.unwrap_or(self.spec.created_at);
        self.spec.order.max_runtime_sec.map(|seconds| from.plus(Duration::from_secs(seconds)))
    }

    /// An attempt begins: which. None when it should not: a job that ended first is not begun.
    pub fn start(&mut self, now: Timestamp) -> Option<u32> {
        match self.state {
            State::Pending => {
                self.state = State::Running;
                self.attempts += 1;
                self.started_at.get_or_insert(now);
                Some(self.attempts)
            }
            State::Running | State::Ending(_) | State::Suspending | State::Suspended | State::Ended(_) => {
                None
            }
        }
    }

    /// The attempt's agent wrote something that is no message: the job ends with that.
    pub fn broken(&mut self, broken: &BrokenContract, now: Timestamp) -> Step {
        self.lost(&broken.to_string(), now)
    }

    /// The attempt is over and said neither result nor error: the job ends with the reason why.
    pub fn lost(&mut self, how: &str, now: Timestamp) -> Step {
        let error = match &self.state {
            State::Pending | State::Running => ErrorBody::new(ErrorCode::InternalError, cut(how)),
            State::Ending(_) | State::Suspending => return self.stopped(now),
            State::Suspended | State::Ended(_) => return Step::default(),
        };
        Step::of(vec![self.end_in_error(JobStatus::Error, error, now)])
    }

    /// The attempt was stopped: the job ends with the reason why it had to, or is suspended.
    pub fn stopped(&mut self, now: Timestamp) -> Step {
        let record = match std::mem::replace(&mut self.state, State::Suspended) {
            State::Ending(why) => self.end_because(why, now),
            State::Suspending | State::Suspended => return Step::default(),
            State::Pending | State::Running => {
                let error =
                    ErrorBody::new(ErrorCode::InternalError, "the agent was stopped before it was done");
                self.end_in_error(JobStatus::Error, error, now)
            }
            State::Ended(status) => {
                self.state = State::Ended(status);
                return Step::default();
            }
        };
        Step::of(vec![record])
    }

    /// Somebody who may do so cancels the job (§7.4).
    pub fn cancel(&mut self, reason: Option<String>, limits: &Limits, now: Timestamp) -> CancelAnswer {
        let cancellation = Cancellation { reason };
        match &self.state {
            State::Pending => {
                let record = self.end_because(Why::Cancelled(cancellation), now);
                CancelAnswer::Cancelling(Step::of(vec![record]))
            }
            State::Running | State::Suspending => {
                let words = cancellation.reason.as_deref().unwrap_or("cancelled by the client").to_owned();
                let step = self.begin_end(Why::Cancelled(cancellation.clone()), words, limits, now);
                CancelAnswer::Cancelling(Step { cancelling: Some(cancellation), ..step })
            }
            State::Suspended => {
                self.state = State::Ending(Why::Cancelled(cancellation.clone()));
                CancelAnswer::Cancelling(Step { cancelling: Some(cancellation), ..Step::default() })
            }
            State::Ending(Why::Cancelled(_)) => CancelAnswer::Cancelling(Step::default()),
            State::Ending(Why::TimedOut | Why::LeaseExpired | Why::ShuttingDown) => {
                CancelAnswer::TooLate(self.status())
            }
            State::Ended(status) => CancelAnswer::TooLate(*status),
        }
    }

    /// Time has passed: ends the job if its deadline has.
    pub fn deadline_passed(&mut self, limits: &Limits, now: Timestamp) -> Step {
        let why = if self.spec.order.expires_at().is_some_and(|at| at <= now) {
            Why::LeaseExpired
        } else if self.timeout_at().is_some_and(|at| at <= now) {
            Why::TimedOut
        } else {
            return Step::default();
        };
        match &self.state {
            State::Pending => Step::of(vec![self.end_because(why, now)]),
            State::Running => {
                let words = match why {
                    Why::LeaseExpired => "the lease has ended",
                    Why::TimedOut | Why::Cancelled(_) | Why::ShuttingDown => "max_runtime_sec is over",
                };
                self.begin_end(why, words.into(), limits, now)
            }
            State::Ending(_) | State::Suspending | State::Suspended | State::Ended(_) => Step::default(),
        }
    }

    /// The daemon stops: the agent is told, and the job ends truthfully, unless it can go on afterwards.
    pub fn shut_down(&mut self, afterlife: Afterlife, limits: &Limits, now: Timestamp) -> Step {
        let words = "the daemon is stopping".to_owned();
        match (&self.state, afterlife) {
            (State::Pending, Afterlife::None) => Step::of(vec![self.end_because(Why::ShuttingDown, now)]),
            (State::Pending, Afterlife::Known | Afterlife::Restartable) => {
                self.state = State::Suspended;
                Step::default()
            }
            (State::Running, Afterlife::None | Afterlife::Known) => {
                self.begin_end(Why::ShuttingDown, words, limits, now)
            }
            (State::Running, Afterlife::Restartable) => {
                self.state = State::Suspending;
                stop(words, limits, now)
            }
            (State::Ending(_) | State::Suspending | State::Suspended | State::Ended(_), _) => Step::default(),
        }
    }

    /// Whether the job waits for the daemon to be started again.
    pub fn suspended(&self) -> bool {
        self.state == State::Suspended
    }

    fn begin_end(&mut self, why: Why, reason: String, limits: &Limits, now: Timestamp) -> Step {
        self.state = State::Ending(why);
        stop(reason, limits, now)
    }

    fn end_because(&mut self, why: Why, now: Timestamp) -> Record {
        let (status, error) = match why {
            Why::Cancelled(Cancellation { reason }) => {
                let words =
                    reason.map_or_else(|| "the job was cancelled".into(), |r| format!("cancelled: {r}"));
                (JobStatus::Cancelled, ErrorBody::new(ErrorCode::Cancelled, cut(&words)))
            }
            Why::TimedOut => {
                let seconds = self.spec.order.max_runtime_sec.unwrap_or_default();
                let words = format!("the job ran longer than its max_runtime_sec of {seconds}");
                (JobStatus::TimedOut, ErrorBody::new(ErrorCode::Timeout, words))
            }
            Why::LeaseExpired => {
                let at = self.spec.order.expires_at().unwrap_or(now);
                (
                    JobStatus::Error,
                    ErrorBody::new(ErrorCode::LeaseExpired, format!("the lease ended at {at}")),
                )
            }
            Why::ShuttingDown => {
                let words = "the daemon stopped before the job was done; submit it again";
                (JobStatus::Error, ErrorBody::new(ErrorCode::InternalError, words))
            }
        };
        self.end_in_error(status, error, now)
    }

    fn end_in_error(&mut self, status: JobStatus, error: ErrorBody, now: Timestamp) -> Record {
        self.failure = Some(error.clone());
        let payload = json(&JobError::new(self.spec.id, status, error, now)).into();
        self.end(status, StreamKind::Error, payload, now)
    }

    fn end(&mut self, status: JobStatus, kind: StreamKind, payload: Bytes, now: Timestamp) -> Record {
        self.state = State::Ended(status);
        self.ended_at = Some(now);
        self.record(kind, None, payload, now)
    }

    fn record(&mut self, kind: StreamKind, gate: Option<Feature>, payload: Bytes, now: Timestamp) -> Record {
        let record = Record { pos: self.tail.last() + 1, kind, gate, at: now, payload };
        self.tail.push(&record);
        record
    }
}

fn stop(reason: String, limits: &Limits, now: Timestamp) -> Step {
    let deadline = now.plus(Duration::from_millis(limits.cancel_grace_ms));
    Step { stop: Some(JobStop { reason, deadline }), ..Step::default() }
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS).collect()
}
