//! Who may observe and who may steer (§7.4, §7.6, §14; our decisions 5 and 6).

use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::job::JobStatus;
use crate::wire::principal::Principal;

/// Whether a principal may observe a job of `owner`. To one that may not, the job does not exist.
pub fn may_observe(principal: &Principal, owner: &Principal) -> bool {
    principal == owner
}

/// What is known of the sessions that may steer a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steering {
    /// The asking session submitted it.
    Own,
    /// Another session did, and it is there, or was cut off and can still be resumed.
    Others,
    /// Every session that submitted it has said goodbye or is past its window: then the principal may, since nobody
    /// else could.
    Nobody,
}

/// Whether a session of a principal that may observe the job may cancel it.
///
/// # Errors
/// `PERMISSION_DENIED` while another session holds that authority.
pub fn may_cancel(steering: Steering) -> Result<(), ErrorBody> {
    match steering {
        Steering::Own | Steering::Nobody => Ok(()),
        Steering::Others => Err(ErrorBody::new(
            ErrorCode::PermissionDenied,
            "only the session that submitted the job may cancel it, until that session is closed or its resume window has \
             passed; observing gives no authority",
        )),
    }
}

/// The answer about a job that does not exist, for this principal or at all.
pub fn no_such_job(named: &str) -> ErrorBody {
    let named: String = named.chars().take(64).collect();
    ErrorBody::new(ErrorCode::JobNotFound, format!("there is no job {named:?} that you may observe"))
}

/// The answer to a subscription from a position whose successor is no longer kept (§7.6).
pub fn trimmed(from: u64, oldest: u64) -> ErrorBody {
    let message = format!(
        "payload.from_event_seq: what follows {from} is no longer kept, the oldest event is {oldest}; \
         subscribe from 0 for all that is left"
    );
    ErrorBody::new(ErrorCode::ResumeWindowExpired, message).with("oldest", oldest)
}

/// The answer to the cancellation of a job that has ended, or is being ended for another reason.
pub fn too_late(status: JobStatus) -> ErrorBody {
    let message = format!("the job cannot be cancelled any more; its status is {status}");
    ErrorBody::invalid(message).with("current_status", status.as_str())
}
