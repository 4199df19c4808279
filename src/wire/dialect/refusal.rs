//! Refused requests told otherwise than by a `session.error`, for clients that cannot take one.

use serde::Serialize;

use super::Encoded;
use crate::wire::encode::{self, Theirs};
use crate::wire::envelope::Head;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::job::JobStatus;
use crate::wire::lease::Lease;
use crate::wire::message::{Refused, RequestKind, ServerMessage};
use crate::wire::session::Jobs;
use crate::wire::time::Timestamp;

/// The payload of a `job.error` that ends no job of ours.
#[derive(Serialize)]
pub(super) struct Refusal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<&'a str>,
    final_status: JobStatus,
    #[serde(flatten)]
    error: &'a ErrorBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    completed_at: Timestamp,
}

impl<'a> Refusal<'a> {
    /// The answer to a request, or to none, about a job or none.
    pub(super) fn new(
        error: &'a ErrorBody,
        job_id: Option<&'a str>,
        request_id: Option<&'a str>,
        at: Timestamp,
    ) -> Self {
        let final_status = JobStatus::Error;
        Refusal { job_id, final_status, error, request_id, reply_to: request_id, completed_at: at }
    }
}

/// The job of a refused subscription that the session surely does not hold: an error that ends it ends nothing else.
pub(super) fn not_held(refused: &Refused) -> Option<&str> {
    let foreign = matches!(refused.error.code, ErrorCode::JobNotFound | ErrorCode::PermissionDenied);
    refused.job_id.as_deref().filter(|_| refused.kind == RequestKind::Subscribe && foreign)
}

/// The job of a refused request in the head, as the client named it.
pub(super) fn names(refused: &Refused) -> Theirs<'_> {
    Theirs { id: None, job_id: refused.job_id.as_deref() }
}

/// A listing that ends here.
pub(super) fn no_more(head: &Head, refused: &Refused) -> Encoded {
    let request_id = refused.request_id.clone().unwrap_or_default();
    let jobs = Jobs { reply_to: request_id.clone(), request_id, jobs: Vec::new(), next_cursor: None };
    encode::server_frame(head, &ServerMessage::Jobs(jobs)).into()
}

/// The acknowledgement of a subscription that there is nothing to follow for.
#[derive(Serialize)]
pub(super) struct NothingToSee<'a> {
    job_id: &'a str,
    request_id: Option<&'a str>,
    current_status: JobStatus,
    agent: &'a str,
    lease: Lease,
    subscribed_from: u64,
    replayed: bool,
}

impl<'a> NothingToSee<'a> {
    pub(super) fn new(refused: &'a Refused) -> Self {
        NothingToSee {
            job_id: refused.job_id.as_deref().unwrap_or_default(),
            request_id: refused.request_id.as_deref(),
            current_status: JobStatus::Error,
            agent: "unknown",
            lease: Lease::default(),
            subscribed_from: 0,
            replayed: false,
        }
    }
}
