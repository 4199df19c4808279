//! The words of this client's protocol. One that is not among them ends its connection.

use serde::{Serialize, Serializer};

macro_rules! words {
    ($($variant:ident = $text:literal,)*) => {
        /// A type of message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Word { $($variant,)* }

        impl Word {
            /// The text on the wire.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Word::$variant => $text,)* }
            }

            /// The word of this text, if it is one.
            pub(super) fn parse(text: &str) -> Option<Word> {
                match text { $($text => Some(Word::$variant),)* _ => None }
            }
        }
    };
}

words! {
    SessionOpen = "session.open",
    SessionChallenge = "session.challenge",
    SessionAuthenticate = "session.authenticate",
    SessionAccepted = "session.accepted",
    SessionUnauthenticated = "session.unauthenticated",
    SessionRejected = "session.rejected",
    SessionRefresh = "session.refresh",
    SessionEvicted = "session.evicted",
    SessionClose = "session.close",
    SessionPing = "session.ping",
    SessionPong = "session.pong",
    SessionAck = "session.ack",
    SessionListJobs = "session.list_jobs",
    SessionJobs = "session.jobs",
    Ping = "ping",
    Pong = "pong",
    Ack = "ack",
    Nack = "nack",
    Cancel = "cancel",
    CancelAccepted = "cancel.accepted",
    CancelRefused = "cancel.refused",
    Interrupt = "interrupt",
    Resume = "resume",
    Backpressure = "backpressure",
    ToolInvoke = "tool.invoke",
    ToolResult = "tool.result",
    ToolError = "tool.error",
    JobAccepted = "job.accepted",
    JobStarted = "job.started",
    JobProgress = "job.progress",
    JobHeartbeat = "job.heartbeat",
    JobCompleted = "job.completed",
    JobFailed = "job.failed",
    JobCancelled = "job.cancelled",
    JobResultChunk = "job.result_chunk",
    StreamOpen = "stream.open",
    StreamChunk = "stream.chunk",
    StreamClose = "stream.close",
    StreamError = "stream.error",
    PermissionRequest = "permission.request",
    PermissionGrant = "permission.grant",
    PermissionDeny = "permission.deny",
    LeaseGranted = "lease.granted",
    LeaseExtended = "lease.extended",
    LeaseRevoked = "lease.revoked",
    LeaseRefresh = "lease.refresh",
    Subscribe = "subscribe",
    SubscribeAccepted = "subscribe.accepted",
    SubscribeEvent = "subscribe.event",
    Unsubscribe = "unsubscribe",
    SubscribeClosed = "subscribe.closed",
    JobSubscribe = "job.subscribe",
    JobSubscribed = "job.subscribed",
    JobUnsubscribe = "job.unsubscribe",
    ArtifactPut = "artifact.put",
    ArtifactFetch = "artifact.fetch",
    ArtifactRef = "artifact.ref",
    ArtifactRelease = "artifact.release",
    EventEmit = "event.emit",
    Log = "log",
    Metric = "metric",
    TraceSpan = "trace.span",
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether a text can stand where this client expects the id of a message.
pub(super) fn is_message_id(text: &str) -> bool {
    text.strip_prefix("msg_").is_some_and(|rest| !rest.is_empty())
}
