//! `arcpd cancel`: asks for a job's end.

use clap::Args;
use serde_json::json;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::operator::Asking;
use super::render::as_json;
use crate::client::{CollectError, JobUpdate, Outcome, Since};
use crate::wire::api::{CancelRecorded, CancelRequest};
use crate::wire::id::JobId;
use crate::wire::job::JobStatus;

/// Cancels a job: returns once the daemon has recorded the wish, with --wait once the job has ended.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The job
    pub job: JobId,
    /// Why; the agent is told
    #[arg(long)]
    pub reason: Option<String>,
    /// Wait until the job has ended; exits with 0 if it ended cancelled, otherwise as the job did
    #[arg(long)]
    pub wait: bool,
    /// Cancel it whoever's it is, and whatever sessions have it, as an operator
    #[arg(long, conflicts_with = "wait")]
    pub as_operator: bool,
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: CancelArgs, context: &mut Context) -> Result<Exit, Failure> {
    if args.as_operator { operate(args, context).await } else { cancel(args, context).await }
}

/// Cancels through the operators' door.
async fn operate(args: CancelArgs, context: &mut Context) -> Result<Exit, Failure> {
    let CancelArgs { job, reason, connection, .. } = args;
    let asking = Asking::of(&connection, context)?;
    let body = serde_json::to_vec(&CancelRequest { reason }).unwrap_or_default();
    let CancelRecorded { job_id } = asking.post(&format!("/jobs/{job}/cancel"), body, context).await?;
    recorded(job_id, context)?;
    Ok(Exit::Success)
}

fn recorded(job: JobId, context: &mut Context) -> Result<(), Failure> {
    if context.terminal.is_json() {
        context.terminal.line(&json!({"type": "cancelled", "job_id": job}).to_string())?;
    } else {
        context.terminal.say(&format!("{job}: the cancellation is recorded"));
    }
    Ok(())
}

async fn cancel(args: CancelArgs, context: &mut Context) -> Result<Exit, Failure> {
    let client = context.open(&args.connection).await?;
    // First the watching, then the wish: the end cannot slip through in between.
    let watching = match args.wait {
        true => Some(context.unless_interrupted(client.subscribe(args.job, Since::Now)).await??),
        false => None,
    };
    context.unless_interrupted(client.cancel(args.job, args.reason)).await??;
    recorded(args.job, context)?;
    let mut exit = Exit::Success;
    if let Some(mut handle) = watching {
        let outcome = context.unless_interrupted(handle.outcome()).await?.map_err(CollectError::Cut)?;
        exit = told(args.job, outcome, context)?;
    }
    context.close(client).await;
    Ok(exit)
}

fn told(job_id: JobId, outcome: Outcome, context: &mut Context) -> Result<Exit, Failure> {
    let status = outcome.status();
    let exit = if status == JobStatus::Cancelled { Exit::Success } else { Exit::from(&outcome) };
    if context.terminal.is_json() {
        context.terminal.line(&as_json(job_id, &JobUpdate::Ended(outcome)).to_string())?;
    } else {
        context.terminal.say(&format!("{job_id}: ended {status}"));
    }
    Ok(exit)
}
