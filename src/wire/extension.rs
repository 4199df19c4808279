//! Payloads of the messages that are our own (our decision 17): off unless negotiated by a feature of their name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `x-arcpd.follow`: attaches the session to every job of its principal, those that live from where they are and later
/// ones from their beginning, until `x-arcpd.unfollow` or the end of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Follow {}

/// `x-arcpd.unfollow`: no further job is attached. What is attached stays so; `job.unsubscribe` ends that. It is not
/// answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Unfollow {}

/// `x-arcpd.following`: answers a follow. A `job.subscribed` with the `request_id` of the first one tells of each job
/// that is attached; when no more can be, a `session.error` with that `request_id` tells of the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Following {
    /// The envelope id of the follow.
    pub request_id: String,
    /// `request_id` again.
    #[serde(default)]
    pub reply_to: String,
}
