//! `arcpd conformance`: holds any runtime against the cases.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::connect::{Connection, token};
use super::exit::{Exit, Failure};
use super::{Context, command_link};
use crate::client::Connector;
use crate::conformance::case::Case;
use crate::conformance::cases;
use crate::conformance::catalogue::{Catalogue, RequirementId};
use crate::conformance::report::{self, Counts, Results};
use crate::conformance::run::{Ran, Target, Verdict, probe, run};
use crate::wire::session::Token;

/// Cases that run side by side.
const SIDE_BY_SIDE: usize = 8;

/// Options of `arcpd conformance`.
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    #[command(flatten)]
    pub(super) connection: Connection,
    /// The bearer token of a second principal; without it, cases of two principals are pending
    #[arg(long, env = "ARCPD_TOKEN_B", hide_env_values = true, value_parser = token)]
    pub(super) token_b: Option<Token>,
    /// Test a runtime that is a command and speaks on its stdin and stdout, each connection a process of its own
    #[arg(long, value_name = "COMMAND", conflicts_with = "url")]
    pub(super) stdio: Option<String>,
    /// Only cases with this text in their name
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,
    /// List the cases, and run none
    #[arg(long)]
    pub(super) list: bool,
    /// Say what a requirement asks for, and which cases check it
    #[arg(long, value_name = "ID")]
    pub(super) explain: Option<RequirementId>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Write what failed, and what came of each requirement, as tables in Markdown
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
    /// Keep the transcripts of cases that fail in this directory
    #[arg(long, value_name = "DIR")]
    pub(super) record: Option<PathBuf>,
}

pub(super) async fn run_all(args: ConformanceArgs, context: &mut Context) -> Result<Exit, Failure> {
    context.terminal.style(args.connection.json, args.connection.quiet);
    let cases = cases::built_in().map_err(|bad| Failure::Usage(bad.to_string()))?;
    if let Some(id) = args.explain {
        return explain(id, &cases, context);
    }
    let wanted = |case: &&Case| args.filter.as_ref().is_none_or(|text| case.name.contains(text));
    let cases: Vec<&Case> = cases.iter().filter(wanted).collect();
    if args.list {
        for case in &cases {
            context.terminal.line(&format!("{}  {}", case.name, case.title))?;
        }
        return Ok(Exit::Success);
    }
    let target = Arc::new(target(&args, context)?);
    let profile = context.unless_interrupted(probe(&target)).await?.map_err(|why| {
        Failure::Usage(format!("the runtime at {} lets nobody in: {why}", args.connection.url))
    })?;
    let each = cases.iter().map(|case| run(case, &target, &profile));
    // In the order of the cases, whichever ends first.
    let all = stream::iter(each).buffered(SIDE_BY_SIDE).collect::<Vec<Ran>>();
    let ran = context.unless_interrupted(all).await?;
    let results: Vec<(&Case, Ran)> = cases.into_iter().zip(ran).collect();
    told(&args, &results, context)
}

fn target(args: &ConformanceArgs, context: &Context) -> Result<Target, Failure> {
    let (dial, connection) = (Arc::clone(&context.dial), &args.connection);
    let target = connection.target();
    let connector: Arc<dyn Connector> = match args.stdio.clone() {
        Some(command) => Arc::new(move || std::future::ready(command_link::start(&command))),
        None => Arc::new(move || dial.dial(target.clone())),
    };
    Ok(Target {
        connector,
        alice: connection.token()?,
        bob: args.token_b.clone(),
        alone: args.stdio.is_some(),
    })
}

fn told(args: &ConformanceArgs, results: &Results<'_>, context: &mut Context) -> Result<Exit, Failure> {
    if context.terminal.is_json() {
        context.terminal.line(&report::json(results).to_string())?;
    } else {
        context.terminal.data(report::table(results).as_bytes())?;
    }
    if let Some(path) = &args.junit {
        write(path, report::junit(results))?;
    }
    if let Some(path) = &args.markdown {
        write(path, report::markdown(results))?;
    }
    if let Some(directory) = &args.record {
        record(directory, results)?;
    }
    let Counts { passed, failed, pending } = report::counts(results);
    if !context.terminal.is_json() {
        context.terminal.line(&format!("{passed} passed, {failed} failed, {pending} pending"))?;
    }
    Ok(if failed == 0 { Exit::Success } else { Exit::JobFailed })
}

fn record(directory: &Path, results: &Results<'_>) -> Result<(), Failure> {
    for (case, ran) in results {
        if let Verdict::Failed(failure) = &ran.verdict {
            let path = directory.join(format!("{}.txt", case.name.replace('/', "-")));
            let text = format!("{}\n\nline {}: {}\n", ran.transcript.join("\n"), failure.line, failure.what);
            std::fs::create_dir_all(directory)
                .map_err(|error| Failure::File { what: directory.display().to_string(), error })?;
            write(&path, text)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: String) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::File { what: path.display().to_string(), error })
}

fn explain(id: RequirementId, cases: &[Case], context: &mut Context) -> Result<Exit, Failure> {
    let catalogue = Catalogue::built_in().map_err(|bad| Failure::Usage(bad.to_string()))?;
    let requirement = catalogue.find(id).map_err(|unknown| Failure::Usage(unknown.to_string()))?;
    context.terminal.line(&format!("{id} ({:?}, binds {:?})", requirement.level, requirement.binds))?;
    context.terminal.line(&requirement.text)?;
    for case in cases.iter().filter(|case| case.checks.contains(&id)) {
        context.terminal.line(&format!("  {}  {}", case.name, case.title))?;
    }
    Ok(Exit::Success)
}
