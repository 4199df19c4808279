//! A refused request told as a `job.error`, for clients that take it so.

use serde::Serialize;

use super::super::error::{ErrorBody, ErrorCode};
use super::super::job::JobStatus;
use super::super::message::{Refused, RequestKind};
use super::super::time::Timestamp;

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
