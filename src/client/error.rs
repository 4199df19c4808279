//! What can go wrong, by what was being done.

use std::time::Duration;

use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::id::JobId;

/// Why a connection could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DialError(pub String);

/// Why a client could not open its session.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Dial(#[from] DialError),
    /// The runtime refused the session; `UNAUTHENTICATED` for a missing or wrong token (§6.1).
    #[error("the runtime refused the session: {0}")]
    Refused(ErrorBody),
    /// The connection ended before the welcome.
    #[error("the connection ended before the session was open: {0}")]
    Cut(Cut),
}

impl ConnectError {
    /// Whether the runtime does not know who this is.
    pub fn is_authentication(&self) -> bool {
        match self {
            ConnectError::Refused(body) => body.code == ErrorCode::Unauthenticated,
            ConnectError::Dial(_) | ConnectError::Cut(_) => false,
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The runtime refused it; the session and its other requests go on.
    #[error("refused: {0}")]
    Refused(ErrorBody),
    /// The session did not negotiate what it needs.
    #[error("the runtime does not offer {0}, which this request needs")]
    NotNegotiated(&'static str),
    /// No answer came in time. The runtime may still do what was asked.
    #[error("no answer within {0:?}; the runtime may still do what was asked")]
    TimedOut(Duration),
    /// The connection broke between a submit without an idempotency key and its answer, so that it could not be
    /// sent again.
    #[error(
        "the connection broke before the submit was answered; the job may exist (list the jobs to see). A submit with an idempotency key is repeated safely"
    )]
    Unanswered,
    /// More than fits a frame.
    #[error("the request has {bytes} bytes and a frame takes {max}; hand large inputs over by reference")]
    TooLarge {
        /// The size of its frame.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// This client has a live handle of that job.
    #[error("this client follows {0} already; use the handle that it has")]
    AlreadyFollowed(JobId),
    /// The client is over.
    #[error("{0}")]
    Cut(Cut),
}

/// Why a client, or one of its handles, will hear nothing more. The jobs are not touched by it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Cut {
    /// The client was closed here.
    #[error("the client was closed")]
    Closed,
    /// The connection broke and did not come back in time.
    #[error("the connection is lost: {0}")]
    Lost(String),
    /// The runtime ended the session and does not want it back.
    #[error("the runtime closed the session: {0}")]
    ClosedByRuntime(String),
    /// The runtime refused to go on with the session or the job.
    #[error("the runtime refused to go on: {0}")]
    Refused(ErrorBody),
    /// The runtime said something that makes no sense.
    #[error("the runtime broke the protocol: {0}")]
    Protocol(String),
}

/// Why a result could not be put together (§8.4).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CollectError {
    /// The job did not end in success.
    #[error("the job ended without a result: {0}")]
    Failed(ErrorBody),
    /// The end of the job was not seen.
    #[error("{0}")]
    Cut(Cut),
    /// A chunk is missing or came twice.
    #[error("chunk {got} of the result came where chunk {expected} was expected; {HINT}")]
    OutOfOrder {
        /// The `chunk_seq` that was due.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// A chunk of another result, or an end that names another one.
    #[error("expected the result {expected}, got {got}")]
    OtherResult {
        /// The result whose chunks came first.
        expected: String,
        /// The one that is named now.
        got: String,
    },
    /// A chunk whose data is not what its encoding says.
    #[error("chunk {chunk_seq} of the result is no base64: {why}")]
    BadData {
        /// The chunk.
        chunk_seq: u64,
        /// What is wrong.
        why: String,
    },
    /// The job ended before its last chunk came, or went on after it.
    #[error("the job ended before the last chunk of its result came; {HINT}")]
    Unfinished,
    /// A chunk came after the last one.
    #[error("chunk {0} of the result came after the last one")]
    AfterLast(u64),
    /// The chunks do not add up to the size that the runtime names.
    #[error("the result has {got} bytes, the runtime says {announced}; {HINT}")]
    WrongSize {
        /// The runtime's `result_size`.
        announced: u64,
        /// What came.
        got: u64,
    },
    /// More than the caller wants in memory.
    #[error("the result has more than {max} bytes; write it to a file instead")]
    TooLarge {
        /// The bound in bytes.
        max: u64,
    },
    /// The runtime no longer has part of the history.
    #[error("part of the job's history is gone: positions {after} to {before}")]
    Missed {
        /// The last position that came.
        after: u64,
        /// The first one that can be had.
        before: u64,
    },
}

const HINT: &str = "collect from the start of the job's history (`arcpd result JOB`)";
