//! `arcpd jobs`: what there is.

use clap::Args;
use serde_json::json;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::render::table;
use super::submit::instant;
use crate::wire::agent_ref::AgentRef;
use crate::wire::job::JobStatus;
use crate::wire::session::{JobFilter, JobSummary, StatusFilter};
use crate::wire::time::Timestamp;

/// Lists jobs, newest first.
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Only jobs of this status: pending, running, success, error, cancelled or timed_out; repeatable
    #[arg(long)]
    pub status: Vec<JobStatus>,
    /// Only jobs of this agent, of all its versions or as `name@version`
    #[arg(long)]
    pub agent: Option<AgentRef>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// All of them, page by page
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Only jobs created after this instant, as in 2030-01-01T00:00:00Z
    #[arg(long, value_name = "T", value_parser = instant)]
    pub created_after: Option<Timestamp>,
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: JobsArgs, context: &mut Context) -> Result<Exit, Failure> {
    let client = context.open(&args.connection).await?;
    let filter = JobFilter {
        status: (!args.status.is_empty()).then_some(StatusFilter(args.status)),
        agent: args.agent,
        created_after: args.created_after,
        created_before: None,
    };
    let mut pages = client.all_jobs(filter, args.limit);
    let wanted = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut seen = 0;
    let mut head = true;
    while let Some(mut page) = context.unless_interrupted(pages.next_page()).await?? {
        let left = wanted - seen;
        let more = pages.has_more() || page.len() > left;
        page.truncate(left);
        seen += page.len();
        show(&page, std::mem::take(&mut head), context)?;
        // Without a limit of one's own, the daemon's page is enough.
        if !args.all && (seen >= wanted || args.limit.is_none()) {
            if more {
                context.terminal.say("there are more jobs: use --all or --limit N");
            }
            break;
        }
    }
    context.close(client).await;
    Ok(Exit::Success)
}

fn show(page: &[JobSummary], head: bool, context: &mut Context) -> Result<(), Failure> {
    if context.terminal.is_json() {
        for job in page {
            context.terminal.line(&json!(job).to_string())?;
        }
        return Ok(());
    }
    let names = ["JOB", "STATUS", "AGENT", "CREATED", "EVENTS"].map(String::from).to_vec();
    let rows = page.iter().map(|job| {
        let created: String = job.created_at.to_string().chars().take(19).chain(['Z']).collect();
        // As wide as the longest status, so that pages line up.
        let status = format!("{:9}", job.status.as_str());
        vec![job.job_id.to_string(), status, job.agent.to_string(), created, job.last_event_seq.to_string()]
    });
    let rows: Vec<Vec<String>> = head.then_some(names).into_iter().chain(rows).collect();
    context.terminal.data(table(&rows).as_bytes())
}
