//! `arcpd submit`: a new job, followed to its end.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::result::Sink;
use super::watch::{Results, follow};
use crate::client::{JobHandle, SubmitRequest};
use crate::wire::agent_ref::AgentRef;
use crate::wire::id::TraceId;
use crate::wire::time::Timestamp;

/// Submits a job, tells what happens in it, writes its result, and exits as the job did.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The agent, as `name` or `name@version`
    pub agent: AgentRef,
    /// The agent's input: JSON, `@FILE`, or `-` for stdin
    #[arg(long, short, value_name = "JSON", allow_negative_numbers = true)]
    pub input: Option<String>,
    /// Ask for a capability, as in `fs.read=/src/**`; repeatable
    #[arg(long, value_name = "NS=PATTERN", value_parser = grant)]
    pub lease: Vec<(String, String)>,
    /// When the lease ends, as in 2030-01-01T00:00:00Z
    #[arg(long, value_name = "T", value_parser = instant, conflicts_with = "expires_in")]
    pub expires_at: Option<Timestamp>,
    /// In how many seconds the lease ends
    #[arg(long, value_name = "SEC")]
    pub expires_in: Option<u64>,
    /// How long the job may run
    #[arg(long, value_name = "SEC")]
    pub max_runtime: Option<u64>,
    /// Makes a repeated submit the same job; without it, a fresh one is made
    #[arg(long)]
    pub key: Option<String>,
    /// The trace that the job belongs to: 32 hex digits or a W3C traceparent
    #[arg(long, value_name = "ID")]
    pub trace_id: Option<TraceId>,
    /// Do not wait: write the job's id and leave
    #[arg(long, short, conflicts_with = "output")]
    pub detach: bool,
    /// Where to write the result; `-` for stdout. A file appears only once the result is whole; a pipe or device is
    /// written as it comes
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: String,
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: SubmitArgs, context: &mut Context) -> Result<Exit, Failure> {
    let request = request(&args)?;
    let sink = context.unless_interrupted(Sink::open(&args.output)).await??;
    let client = context.open(&args.connection).await?;
    let handle = context.unless_interrupted(client.submit(request)).await??;
    let job_id = handle.job_id();
    if context.terminal.is_json() {
        context.terminal.line(&accepted(&handle).to_string())?;
    } else if args.detach {
        context.terminal.line(&job_id.to_string())?;
    } else {
        context.terminal.say(&format!("{job_id}  {}", handle.agent()));
    }
    let exit = if args.detach {
        let on = args.connection.paste("watch", job_id);
        context.terminal.say(&format!("watch it: {on}"));
        Exit::Success
    } else {
        follow(handle, &args.connection, Results::Collect(sink), context).await?
    };
    // Also when interrupted: a session that is closed gives the job to whoever has the same token, to cancel it.
    context.close(client).await;
    Ok(exit)
}

/// Field by field: what a runtime adds, credentials for one, is not for the output.
fn accepted(handle: &JobHandle) -> Value {
    let accepted = handle.accepted();
    json!({
        "type": "accepted",
        "job_id": handle.job_id(),
        "agent": handle.agent(),
        "lease": accepted.map(|accepted| &accepted.lease),
        "lease_constraints": accepted.and_then(|accepted| accepted.lease_constraints.as_ref()),
        "accepted_at": accepted.map(|accepted| accepted.accepted_at),
        "trace_id": accepted.and_then(|accepted| accepted.trace_id),
    })
}

fn request(args: &SubmitArgs) -> Result<SubmitRequest, Failure> {
    // The key lets the client repeat the submit when the connection breaks before its answer.
    let key = args.key.clone().unwrap_or_else(|| format!("cli-{}", ulid::Ulid::generate()));
    let mut request = SubmitRequest::new(args.agent.clone()).idempotency_key(key);
    if let Some(input) = &args.input {
        request = request.raw_input(read_input(input)?);
    }
    for (namespace, pattern) in &args.lease {
        request = request.lease(namespace, [pattern]);
    }
    let in_a_while = args.expires_in.map(|seconds| now().plus(Duration::from_secs(seconds)));
    if let Some(at) = args.expires_at.or(in_a_while) {
        request = request.expires_at(at);
    }
    if let Some(seconds) = args.max_runtime {
        request = request.max_runtime_sec(seconds);
    }
    if let Some(trace_id) = args.trace_id {
        request = request.trace_id(trace_id);
    }
    Ok(request)
}

fn read_input(input: &str) -> Result<Box<RawValue>, Failure> {
    let trouble = |what: &str, error| Failure::File { what: what.into(), error };
    let text = match input.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| trouble(path, error))?,
        None if input == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| trouble("stdin", error))?;
            text
        }
        None => input.into(),
    };
    RawValue::from_string(text).map_err(|error| {
        let quote = r#"a text needs its quotes, as in --input '"hello"'"#;
        Failure::Usage(format!("--input is no JSON: {error} ({quote})"))
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn grant(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((namespace, pattern)) if !namespace.is_empty() && !pattern.is_empty() => {
            Ok((namespace.into(), pattern.into()))
        }
        Some(_) | None => Err("expected NAMESPACE=PATTERN, as in fs.read=/src/**".into()),
    }
}

/// An instant in UTC.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}
