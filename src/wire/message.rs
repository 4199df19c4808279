//! The table of messages: type string ⇄ variant ⇄ direction ⇄ required feature.

use super::agent_ref::AgentRef;
use super::error::ErrorBody;
use super::event::Event;
use super::extension::{Follow, Following, Unfollow};
use super::feature::Feature;
use super::id::TraceId;
use super::job::{
    Accepted, Cancel, Cancelled, JobError, JobResult, Submit, Subscribe, Subscribed, Unsubscribe,
};
use super::session::{
    Ack, Close, Closed, Hello, Jobs, ListJobs, Ping, Pong, ResumeRequest, SessionError, Welcome,
};
use super::time::Timestamp;

macro_rules! client_messages {
    ($($(#[$doc:meta])* $variant:ident($payload:ty) = $first:literal $(| $other:literal)*, $feature:expr;)*) => {
        /// A message from a client.
        #[derive(Debug, Clone)]
        pub enum ClientMessage { $($(#[$doc])* $variant($payload),)* }

        /// What a client asked for, also where its payload made no sense.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RequestKind {
            $($(#[$doc])* $variant,)*
            /// A type that is not in the table.
            Unknown,
        }

        impl RequestKind {
            /// The kind of this type string.
            pub fn parse(kind: &str) -> RequestKind {
                match kind { $($first $(| $other)* => RequestKind::$variant,)* _ => RequestKind::Unknown }
            }

            /// The type string.
            pub fn as_str(self) -> &'static str {
                match self { $(RequestKind::$variant => $first,)* RequestKind::Unknown => "unknown" }
            }

            /// The feature without which the message may not be used (§6.2).
            pub fn feature(self) -> Option<Feature> {
                match self { $(RequestKind::$variant => $feature,)* RequestKind::Unknown => None }
            }
        }

        impl ClientMessage {
            /// What is asked for.
            pub fn kind(&self) -> RequestKind {
                match self { $(ClientMessage::$variant(_) => RequestKind::$variant,)* }
            }

            /// The payload as JSON text.
            ///
            /// # Errors
            /// When a value has no JSON form; none of ours does.
            pub fn payload(&self) -> serde_json::Result<String> {
                match self { $(ClientMessage::$variant(payload) => serde_json::to_string(payload),)* }
            }
        }
    };
}

client_messages! {
    /// Opens a session (§6.2), or resumes one.
    Hello(Hello) = "session.hello", None;
    /// Resumes a session (§6.3).
    Resume(ResumeRequest) = "session.resume", None;
    /// Asks whether the daemon is there (§6.4). Clients ask without having negotiated it.
    Ping(Ping) = "session.ping", None;
    /// Says that the client is there (§6.4).
    Pong(Pong) = "session.pong", None;
    /// Says what was processed (§6.5).
    Ack(Ack) = "session.ack", Some(Feature::Ack);
    /// Lists jobs (§6.6).
    ListJobs(ListJobs) = "session.list_jobs", Some(Feature::ListJobs);
    /// Ends the conversation, not the jobs (§6.7).
    Close(Close) = "session.close" | "session.bye", None;
    /// Submits a job (§7.1).
    Submit(Submit) = "job.submit", None;
    /// Cancels a job (§7.4).
    Cancel(Cancel) = "job.cancel", None;
    /// Observes a job (§7.6).
    Subscribe(Subscribe) = "job.subscribe", Some(Feature::Subscribe);
    /// Stops observing (§7.6).
    Unsubscribe(Unsubscribe) = "job.unsubscribe", Some(Feature::Subscribe);
    /// Follows every job of the principal (our decision 17).
    Follow(Follow) = "x-arcpd.follow", Some(Feature::Follow);
    /// Stops following (our decision 17).
    Unfollow(Unfollow) = "x-arcpd.unfollow", Some(Feature::Follow);
}

/// A decoded frame of a client.
#[derive(Debug, Clone)]
pub struct Request {
    /// The envelope id; answers name it.
    pub id: String,
    /// The session it claims to belong to.
    pub session_id: Option<String>,
    /// The caller's trace.
    pub trace_id: Option<TraceId>,
    /// What is asked for.
    pub message: ClientMessage,
}

/// A request that is refused (our decision 4).
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// What was asked for.
    pub kind: RequestKind,
    /// The envelope id of the request, where it could be read.
    pub request_id: Option<String>,
    /// Why.
    pub error: ErrorBody,
    /// The agent of a refused submit, where it could be read.
    pub agent: Option<AgentRef>,
    /// The job of a refused cancel or subscription, as it was named.
    pub job_id: Option<String>,
    /// The trace of the request.
    pub trace_id: Option<TraceId>,
    /// When it was refused.
    pub at: Timestamp,
}

/// A message to a client, outside the numbered stream unless it says otherwise.
#[derive(Debug, Clone)]
pub enum ServerMessage {
    /// Answers a hello or a resume.
    Welcome(Welcome),
    /// A refused handshake, or the end of a connection.
    Error(SessionError),
    /// A refused request.
    Refused(Refused),
    /// Asks whether the client is there.
    Ping(Ping),
    /// Says that the daemon is there.
    Pong(Pong),
    /// Answers a listing.
    Jobs(Jobs),
    /// Answers a close.
    Closed(Closed),
    /// Answers a submit.
    Accepted(Accepted),
    /// Answers a cancel.
    Cancelled(Cancelled),
    /// Answers a subscribe, or tells of a job that is followed.
    Subscribed(Subscribed),
    /// Answers a follow.
    Following(Following),
    /// Numbered: something happened in a job.
    Event(Event),
    /// Numbered: a job ended well.
    Result(JobResult),
    /// Numbered: a job ended otherwise.
    JobError(JobError),
}

/// The messages of the numbered stream (§8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// `job.event`
    Event,
    /// `job.result`
    Result,
    /// `job.error`
    Error,
}

impl StreamKind {
    /// The type string.
    pub fn as_str(self) -> &'static str {
        match self {
            StreamKind::Event => "job.event",
            StreamKind::Result => "job.result",
            StreamKind::Error => "job.error",
        }
    }
}
