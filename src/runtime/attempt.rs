//! One execution of a job by one agent: started, fed, stopped in time, and brought to an end.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::Core;
use super::job::JobCell;
use crate::agent::{AgentHost, AttemptEnd, JobPort, PortClosed, Stopper};
use crate::proto::job::Rejected;
use crate::wire::agent_port::{AgentMessage, JobStart, PortLimits};
use crate::wire::error::ErrorCode;
use crate::wire::time::Timestamp;

/// How much longer than its own deadlines a host may take before its attempt is dropped, in milliseconds.
const HOST_SLACK_MS: u64 = 1_000;

/// How an agent was lost whose host is at fault.
const PANICKED: &str = "was lost: its host panicked";

/// Characters of an agent's text that one line of the log shows.
const LOG_CHARS: usize = 1_000;

/// An agent's text as the log may show it: not too much, and nothing that could pass for a line of its own.
fn calm(text: &str) -> String {
    text.chars().take(LOG_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

struct Port {
    core: Arc<Core>,
    job: Arc<JobCell>,
}

impl JobPort for Port {
    fn deliver(&self, message: AgentMessage) -> Result<(), PortClosed> {
        let is_event = matches!(message, AgentMessage::Event(_));
        self.job.agent(message, self.core.ambient.now()).map_err(|rejected| match rejected {
            Rejected::Ended => PortClosed::Ended,
            Rejected::Broken(broken) => PortClosed::Broken(broken),
        })?;
        if is_event {
            self.core.meters.events_in.one();
        }
        Ok(())
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.job.settled())
    }

    fn log(&self, line: &str) {
        tracing::info!(job = %self.job.id(), agent = %self.job.spec.agent, "agent: {}", calm(line));
    }
}

/// Runs an attempt of a job that is pending, to the job's end.
pub(super) async fn run(core: Arc<Core>, job: Arc<JobCell>, host: Arc<dyn AgentHost>) {
    let (stopper, mut stopped) = Stopper::new();
    // A job that waited for the daemon to be started again may have waited for too long.
    job.deadline_passed(core.ambient.now());
    if let Some(attempt) = job.start(stopper, core.ambient.now()) {
        if core.store.applied(job.ticket()).await.is_err() {
            return finish(core, job).await;
        }
        if core.draining.is_cancelled() {
            // Whoever stops the daemon may have looked for jobs just before this one was there.
            core.shut_down(&job);
        }
        let port = Arc::new(Port { core: core.clone(), job: job.clone() });
        // A host that panics costs its own job.
        let (start, stop) = (order(&core, &job, attempt), stopped.clone());
        let attempt = AssertUnwindSafe(async move { host.run(start, port, stop).await }).catch_unwind();
        let mut running =
            Box::pin(attempt.map(|end| end.unwrap_or_else(|_| AttemptEnd::Lost(PANICKED.into()))));
        let limits = &core.limits;
        let overtime = Duration::from_millis(2 * limits.kill_grace_ms + HOST_SLACK_MS);
        let mut give_up = None;
        let end = loop {
            tokio::select! {
                // An agent that is done is done, whatever else is due.
                biased;
                end = &mut running => break end,
                stop = stopped.stopped(), if give_up.is_none() => give_up = Some(stop.said.deadline.plus(overtime)),
                () = until(&core, job.deadline(), give_up.is_none()) => job.deadline_passed(core.ambient.now()),
                () = until(&core, give_up, true) => break AttemptEnd::Stopped,
            }
        };
        drop(running);
        settle(&core, &job, end);
    }
    finish(core, job).await;
}

/// Lets a job that has ended go, once its end is applied. One that is suspended stays as it is.
pub(super) async fn finish(core: Arc<Core>, job: Arc<JobCell>) {
    if job.suspended() {
        tracing::info!(job = %job.id(), agent = %job.spec.agent, "job suspended until the daemon is started again");
        return;
    }
    let ticket = job.ticket();
    if core.store.applied(ticket).await.is_ok() {
        core.registry.finish(&job, core.ambient.now());
    }
    let (id, agent, status) = (job.id(), &job.spec.agent, job.status());
    core.meters.ended(status);
    match job.failure() {
        Some(error) if error.code == ErrorCode::InternalError => {
            tracing::warn!(job = %id, %agent, %status, code = %error.code, "job ended: {}", calm(&error.message));
        }
        Some(error) => tracing::info!(job = %id, %agent, %status, code = %error.code, "job ended"),
        None => tracing::info!(job = %id, %agent, %status, "job ended"),
    }
}

fn order(core: &Core, job: &JobCell, attempt: u32) -> JobStart {
    let spec = &job.spec;
    JobStart {
        job_id: spec.id,
        agent: spec.agent.clone(),
        attempt,
        fencing_token: format!("{:032x}", core.ambient.random()),
        input: (*spec.order.input).to_owned(),
        lease: spec.order.lease.clone(),
        lease_constraints: spec.order.constraints.clone(),
        deadline: job.deadline(),
        trace_id: spec.order.trace_id,
        limits: PortLimits::of(&core.limits),
    }
}

/// Waits for an instant; for ever when there is none, or when it is of no interest.
async fn until(core: &Core, at: Option<Timestamp>, wanted: bool) {
    match at.filter(|_| wanted) {
        Some(at) => tokio::time::sleep(at.since(core.ambient.now())).await,
        None => pending().await,
    }
}

fn settle(core: &Core, job: &JobCell, end: AttemptEnd) {
    let now = core.ambient.now();
    match end {
        AttemptEnd::Finished => job.lost("the agent ended without a result or an error", now),
        AttemptEnd::NotStarted(why) => {
            tracing::warn!(job = %job.id(), agent = %job.spec.agent, "the agent could not be started: {why}");
            job.lost(&format!("the agent could not be started: {why}"), now);
        }
        AttemptEnd::Lost(how) => job.lost(&format!("the agent {how}"), now),
        AttemptEnd::Broken(broken) => job.broken(&broken, now),
        AttemptEnd::Stopped => job.stopped(now),
    }
}
