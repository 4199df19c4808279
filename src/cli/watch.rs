//! `arcpd watch`: attaches to a job and tells what happens, until it has ended.

use clap::Args;

use super::Context;
use super::connect::{Connection, Interrupt};
use super::exit::{Exit, Failure};
use super::result::Sink;
use crate::client::{CollectError, Collector, Cut, JobHandle, JobUpdate, Outcome, Since};
use crate::wire::error::ErrorCode;
use crate::wire::id::JobId;

/// Follows a job until it has ended, across broken connections, and exits as the job did.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The job
    pub job: JobId,
    /// Begin after this position of the job's history
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: u64,
    /// Begin with what happens next
    #[arg(long, conflicts_with = "from")]
    pub live: bool,
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: WatchArgs, context: &mut Context) -> Result<Exit, Failure> {
    let client = context.open(&args.connection).await?;
    let since = if args.live { Since::Now } else { Since::After(args.from) };
    let handle = context.unless_interrupted(client.subscribe(args.job, since)).await??;
    if let Some(subscribed) = handle.subscribed() {
        let head = format!("{}  {}  {}", args.job, handle.agent(), subscribed.current_status);
        context.terminal.say(&head);
    }
    let exit = follow(handle, &args.connection, Results::Inline, context).await?;
    if !matches!(exit, Exit::Interrupted | Exit::HungUp | Exit::Terminated) {
        context.close(client).await;
    }
    Ok(exit)
}

/// What becomes of the job's result.
pub(super) enum Results {
    /// An inline one is written to stdout; of a streamed one part may have passed.
    Inline,
    /// It is put together and written here. The first interrupt only tells that the job goes on.
    Collect(Sink),
    /// It cannot be put together any more; the job's end is still of interest.
    Spoilt(CollectError),
}

/// Tells all of a job until its end.
pub(super) async fn follow(
    mut handle: JobHandle,
    connection: &Connection,
    mut results: Results,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let job_id = handle.job_id();
    let mut collector = Collector::new();
    let mut position = handle.subscribed().map_or(0, |subscribed| subscribed.subscribed_from);
    let mut patient = matches!(results, Results::Collect(_));
    loop {
        let update = tokio::select! {
            update = handle.next() => update.unwrap_or(JobUpdate::Cut(Cut::Closed)),
            interrupt = context.interrupts.next() => {
                let on = connection.paste(&format!("watch --from {position}"), job_id);
                let stop = connection.paste("cancel", job_id);
                context.terminal.complain(&format!("the job goes on.\n  watch it:  {on}\n  cancel it: {stop}"));
                if interrupt != Interrupt::CtrlC || !std::mem::take(&mut patient) {
                    return Ok(interrupt.into());
                }
                context.terminal.complain("still following; press Ctrl-C again to leave");
                continue;
            }
        };
        if let JobUpdate::Event(event) = &update {
            position = event.position;
        }
        context.terminal.update(job_id, &update)?;
        match &mut results {
            Results::Collect(sink) => match collect(&mut collector, sink, &update, context) {
                Err(Failure::Collect(error)) => results = Results::Spoilt(error),
                done => done?,
            },
            Results::Spoilt(_) => {}
            Results::Inline => inline(&update, connection, context)?,
        }
        match &update {
            JobUpdate::Ended(outcome) => {
                return match (results, outcome) {
                    (Results::Collect(sink), Outcome::Success(_)) => {
                        sink.finish(&mut context.terminal).map(|()| Exit::Success)
                    }
                    (Results::Spoilt(error), Outcome::Success(_)) => Err(error.into()),
                    (Results::Inline | Results::Collect(_) | Results::Spoilt(_), _) => Ok(outcome.into()),
                };
            }
            JobUpdate::Cut(cut) => {
                let on = connection.paste(&format!("watch --from {position}"), job_id);
                context.terminal.complain(&format!("{cut}\n{}", after_cut(cut, &on)));
                return Ok(cut.into());
            }
            JobUpdate::Event(_)
            | JobUpdate::Interrupted(_)
            | JobUpdate::Resumed(_)
            | JobUpdate::Missed { .. } => {}
        }
    }
}

/// What can be done about a cut.
fn after_cut(cut: &Cut, on: &str) -> String {
    match cut {
        Cut::Refused(body) if body.code == ErrorCode::JobNotFound => {
            "the daemon no longer knows this job: it was probably started again without keeping it. Submit it again".into()
        }
        Cut::Refused(_) | Cut::Closed | Cut::Lost(_) | Cut::ClosedByRuntime(_) | Cut::Protocol(_) => {
            format!("the job may still run; go on with:\n  {on}")
        }
    }
}

/// Adds an update to the result. With JSON on stdout the result is in there already.
fn collect(
    collector: &mut Collector,
    sink: &mut Sink,
    update: &JobUpdate,
    context: &mut Context,
) -> Result<(), Failure> {
    let over = matches!(update, JobUpdate::Cut(_) | JobUpdate::Ended(Outcome::Failed(_)));
    if over || (context.terminal.is_json() && matches!(sink, Sink::Stdout)) {
        return Ok(());
    }
    let Some(piece) = collector.take(update)? else { return Ok(()) };
    sink.take(&mut context.terminal, &piece)?;
    if matches!((update, &sink), (JobUpdate::Ended(_), Sink::Stdout)) {
        // An inline result is a text for people, too.
        sink.write(&mut context.terminal, b"\n")?;
    }
    Ok(())
}

/// The result of a job that was joined under way.
fn inline(update: &JobUpdate, connection: &Connection, context: &mut Context) -> Result<(), Failure> {
    let JobUpdate::Ended(Outcome::Success(result)) = update else { return Ok(()) };
    if context.terminal.is_json() {
        return Ok(());
    }
    if result.result_id.is_some() {
        let get = connection.paste("result -o FILE", result.job_id);
        context.terminal.say(&format!("the result was streamed; get it with: {get}"));
        return Ok(());
    }
    context.terminal.line(result.result.as_ref().map_or("null", |json| json.get()))
}
