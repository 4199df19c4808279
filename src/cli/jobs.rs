//! `arcpd jobs`: what there is.

use clap::Args;
use serde_json::json;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::operator::Asking;
use super::render::table;
use super::submit::instant;
use crate::wire::agent_ref::AgentRef;
use crate::wire::api::{JobPage, JobRow};
use crate::wire::id::JobId;
use crate::wire::job::JobStatus;
use crate::wire::principal::Principal;
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
    /// Those of everybody, as an operator
    #[arg(long)]
    pub everybody: bool,
    /// Those of this principal, as an operator
    #[arg(long, value_name = "NAME")]
    pub principal: Option<Principal>,
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: JobsArgs, context: &mut Context) -> Result<Exit, Failure> {
    if args.everybody || args.principal.is_some() {
        operate(args, context).await
    } else {
        list(args, context).await
    }
}

/// Lists jobs through the operators' door.
async fn operate(args: JobsArgs, context: &mut Context) -> Result<Exit, Failure> {
    let asking = Asking::of(&args.connection, context)?;
    let mut filter: Vec<(&str, String)> =
        args.status.iter().map(|status| ("status", status.to_string())).collect();
    filter.extend(args.agent.map(|agent| ("agent", agent.to_string())));
    filter.extend(args.principal.map(|principal| ("principal", principal.to_string())));
    filter.extend(args.created_after.map(|after| ("created_after", after.to_string())));
    let mut pages = asking.pages("/jobs", filter, args.limit, args.all);
    let mut head = true;
    while let Some(page) = pages.next(context).await? {
        let JobPage { jobs, next_cursor } = page;
        let rows = pages.cut(jobs, next_cursor, context);
        if context.terminal.is_json() {
            for job in rows {
                context.terminal.line(&json!(job).to_string())?;
            }
            continue;
        }
        let rows = rows.into_iter().map(|job| {
            let JobRow { job_id, status, agent, created_at, last_event_seq, principal, .. } = job;
            let mut row = cells(job_id, status, &agent, created_at, last_event_seq);
            row.insert(1, principal);
            row
        });
        let mut names = NAMES.map(String::from).to_vec();
        names.insert(1, "PRINCIPAL".into());
        let rows: Vec<Vec<String>> =
            std::mem::take(&mut head).then_some(names).into_iter().chain(rows).collect();
        context.terminal.data(table(&rows).as_bytes())?;
    }
    Ok(Exit::Success)
}

const NAMES: [&str; 5] = ["JOB", "STATUS", "AGENT", "CREATED", "EVENTS"];

fn cells(job: JobId, status: JobStatus, agent: &AgentRef, created: Timestamp, events: u64) -> Vec<String> {
    let created: String = created.to_string().chars().take(19).chain(['Z']).collect();
    // As wide as the longest status, so that pages line up.
    vec![job.to_string(), format!("{:9}", status.as_str()), agent.to_string(), created, events.to_string()]
}

async fn list(args: JobsArgs, context: &mut Context) -> Result<Exit, Failure> {
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
    let names = NAMES.map(String::from).to_vec();
    let cells =
        |job: &JobSummary| cells(job.job_id, job.status, &job.agent, job.created_at, job.last_event_seq);
    let rows = page.iter().map(cells);
    let rows: Vec<Vec<String>> = head.then_some(names).into_iter().chain(rows).collect();
    context.terminal.data(table(&rows).as_bytes())
}
