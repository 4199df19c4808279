//! Agents as async Rust functions inside the daemon's own process, for programs that embed it.
//!
//! [`in_process`] makes an [`AgentHost`] of a function from a [`Job`] to its result. A function that panics, hangs or
//! outlives its stop costs its own job and nothing else; one that never awaits cannot be ended, only given up.

mod chunk;
mod job;
mod outcome;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::{timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub use self::job::Job;
pub use self::outcome::{AgentError, Outcome};
use super::{AgentHost, AttemptEnd, BoxFuture, JobPort, PortClosed, StopSignal};
use crate::wire::agent_port::{AgentMessage, JobStart};
use crate::wire::limits::Limits;

/// Makes an agent of a function, under the default limits. See [`in_process_with`].
///
/// ```
/// use arcpd::agent::catalogue::Catalogue;
/// use arcpd::agent::in_process::{AgentError, Job, in_process};
///
/// let mut catalogue = Catalogue::default();
/// let greeter = in_process(|job: Job| async move {
///     let name: String = job.input()?;
///     job.progress(1, Some(1), Some("greeting")).await?;
///     Ok(serde_json::json!({ "greeting": format!("Hello, {name}!") }))
/// });
/// catalogue.register("greeter@1.0.0", greeter)?;
/// # Ok::<(), arcpd::agent::catalogue::BadAgent>(())
/// ```
pub fn in_process<F, Fut, T>(function: F) -> Arc<dyn AgentHost>
where
    F: Fn(Job) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, AgentError>> + Send + 'static,
    T: Into<Outcome> + Send + 'static,
{
    in_process_with(&Arc::new(Limits::default()), function)
}

/// Makes an agent of a function. The function is called once for each attempt, as a task of its own: what it returns
/// becomes the job's result or error, a panic an error that says so. When the job is stopped the function may end by
/// itself until the stop's deadline, see [`Job::stopped`]; then its task is aborted at its next `await`.
pub fn in_process_with<F, Fut, T>(limits: &Arc<Limits>, function: F) -> Arc<dyn AgentHost>
where
    F: Fn(Job) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, AgentError>> + Send + 'static,
    T: Into<Outcome> + Send + 'static,
{
    Arc::new(InProcess { function: Arc::new(function), limits: limits.clone() })
}

struct InProcess<F> {
    function: Arc<F>,
    limits: Arc<Limits>,
}

impl<F, Fut, T> AgentHost for InProcess<F>
where
    F: Fn(Job) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, AgentError>> + Send + 'static,
    T: Into<Outcome> + Send + 'static,
{
    fn run(
        &self,
        start: JobStart,
        port: Arc<dyn JobPort>,
        stop: StopSignal,
    ) -> BoxFuture<'static, AttemptEnd> {
        let function = self.function.clone();
        let grace = Duration::from_millis(self.limits.kill_grace_ms);
        let job = Job::new(start, port.clone(), stop.clone(), &self.limits);
        let work = async move {
            // Called within the task, so that a panic before the first await is caught as well.
            let last_word = match function(job).await {
                Ok(outcome) => AgentMessage::Result(outcome.into().into()),
                Err(error) => AgentMessage::Error(error.into_port()?),
            };
            port.ready().await;
            port.deliver(last_word)
        };
        Box::pin(async move { attempt(AbortOnDropHandle::new(tokio::spawn(work)), stop, grace).await })
    }
}

type Task = AbortOnDropHandle<Result<(), PortClosed>>;

/// Sees a task to its end.
async fn attempt(mut task: Task, mut stop: StopSignal, grace: Duration) -> AttemptEnd {
    let stop = tokio::select! {
        // A function that ends because of the stop was stopped, even if both are seen at once.
        biased;
        stop = stop.stopped() => stop,
        done = &mut task => return end(done),
    };
    if timeout_at(stop.by, &mut task).await.is_err() {
        task.abort();
        // A task that never awaits goes on for as long as it likes; the job does not wait for it.
        let _ = timeout(grace, &mut task).await;
    }
    AttemptEnd::Stopped
}

fn end(done: Result<Result<(), PortClosed>, JoinError>) -> AttemptEnd {
    match done {
        Ok(Ok(())) => AttemptEnd::Finished,
        Ok(Err(PortClosed::Ended)) => AttemptEnd::Stopped,
        Ok(Err(PortClosed::Broken(contract))) => AttemptEnd::Broken(contract),
        Err(error) => AttemptEnd::Lost(match error.try_into_panic() {
            Ok(panic) => format!("panicked: {}", panic_text(&*panic)),
            // Only a runtime that is being shut down cancels a task that nobody aborted.
            Err(_) => "was taken away because the runtime shuts down".into(),
        }),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&'static str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
