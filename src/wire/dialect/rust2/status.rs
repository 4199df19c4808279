//! Where a job stands, in this client's words.

use crate::wire::job::JobStatus;

/// The word for a status.
pub(super) fn word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Pending => "accepted",
        JobStatus::Running => "running",
        JobStatus::Success => "completed",
        JobStatus::Error | JobStatus::TimedOut => "failed",
        JobStatus::Cancelled => "cancelled",
    }
}

/// What a word stands for; nothing that there is, for two of them.
///
/// # Errors
/// A sentence, when it is none of its words.
pub(super) fn statuses(word: &str) -> Result<&'static [JobStatus], String> {
    Ok(match word {
        "accepted" | "queued" => &[JobStatus::Pending],
        "running" => &[JobStatus::Running],
        "blocked" | "paused" => &[],
        "completed" => &[JobStatus::Success],
        "failed" => &[JobStatus::Error, JobStatus::TimedOut],
        "cancelled" => &[JobStatus::Cancelled],
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(format!(
                "payload.filter.status: expected accepted, queued, running, blocked, paused, completed, failed or \
                 cancelled, got {other:?}"
            ));
        }
    })
}
