//! `arcpd store`: backups, checks and figures of the store in a file, with or without a daemon at work.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::exit::{Exit, Failure};
use super::render::table;
use super::status::bytes;
use crate::config::{ConfigErrors, Environment, ServeArgs, load};
use crate::store::sqlite::{self, BackupError, BigJob, Finding, OpenError, Stats};

/// What to do about a store that is not whole.
const NOT_WHOLE: &str = "what to do: stop the daemon; keep a copy of the file with its -wal; put the newest backup \
     that this check finds whole in its place; look at the disk. docs/store.md has the steps";

/// What `arcpd store` takes.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: StoreCommand,
    /// The store's file, instead of the configured one
    #[arg(long, global = true, value_name = "PATH")]
    pub store_path: Option<PathBuf>,
    /// The configuration that names the store
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with a store.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Copy it to a file and check the copy; a daemon may be at work
    Backup {
        /// The file to make
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Check every page, and that what is in them fits together; a daemon may be at work
    Check {
        /// A backup to check instead of the store
        file: Option<PathBuf>,
    },
    /// Write it anew without free room; no daemon may be at work
    Vacuum,
    /// Show what is in it
    Stats,
}

/// Why a store cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// Nothing says where it is.
    #[error("there is no home directory in which the store would be; name its file with --store-path")]
    NoPath,
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be copied.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The work ended without a word.
    #[error("the work on the store ended before its time: {0}")]
    Gone(#[from] tokio::task::JoinError),
}

/// What came of it.
enum Done {
    Copied { to: PathBuf, bytes: u64, ms: u128 },
    Checked { path: PathBuf, found: Vec<Finding> },
    Vacuumed { before: u64, after: u64 },
    Counted { path: PathBuf, stats: Box<Stats> },
}

pub(super) async fn run(args: StoreArgs, context: &mut Context) -> Result<Exit, Failure> {
    let path = path(&args)?;
    let work = tokio::task::spawn_blocking(move || work(&path, args.what));
    let done = tokio::select! {
        done = work => done.map_err(StoreError::from)??,
        // What is half done is not seen by anybody.
        interrupt = context.interrupts.next() => return Ok(interrupt.into()),
    };
    let exit = match &done {
        Done::Checked { found, .. } if !found.is_empty() => Exit::Local,
        Done::Checked { .. } | Done::Copied { .. } | Done::Vacuumed { .. } | Done::Counted { .. } => {
            Exit::Success
        }
    };
    let text = if args.json { format!("{}\n", in_json(&done)) } else { in_words(&done) };
    context.terminal.data(text.as_bytes())?;
    if exit == Exit::Local {
        context.terminal.say(NOT_WHOLE);
    }
    Ok(exit)
}

fn path(args: &StoreArgs) -> Result<PathBuf, StoreError> {
    if let Some(path) = &args.store_path {
        return Ok(path.clone());
    }
    let args = ServeArgs { config: args.config.clone(), ..ServeArgs::default() };
    let resolved = load(&args, &Environment::of_process()).outcome?;
    resolved.config.store_path.ok_or(StoreError::NoPath)
}

fn work(store: &Path, what: StoreCommand) -> Result<Done, StoreError> {
    Ok(match what {
        StoreCommand::Backup { file, force } => {
            let began = Instant::now();
            let bytes = sqlite::backup(store, &file, force)?;
            Done::Copied { to: file, bytes, ms: began.elapsed().as_millis() }
        }
        StoreCommand::Check { file } => {
            let path = file.unwrap_or_else(|| store.to_owned());
            Done::Checked { found: sqlite::audit(&path)?, path }
        }
        StoreCommand::Vacuum => {
            let (before, after) = sqlite::vacuum(store)?;
            Done::Vacuumed { before, after }
        }
        StoreCommand::Stats => {
            Done::Counted { stats: Box::new(sqlite::stats(store)?), path: store.to_owned() }
        }
    })
}

fn in_words(done: &Done) -> String {
    match done {
        Done::Copied { to, bytes: size, ms } => {
            format!("{}: {} in {ms} ms, checked\n", to.display(), bytes(*size))
        }
        Done::Checked { path, found } if found.is_empty() => format!("{}: whole\n", path.display()),
        Done::Checked { path, found } => {
            let lines = found.iter().map(|finding| format!("{}: {finding}\n", path.display()));
            lines.collect()
        }
        Done::Vacuumed { before, after } => format!("{} before, {} now\n", bytes(*before), bytes(*after)),
        Done::Counted { path, stats } => figures(path, stats),
    }
}

fn figures(path: &Path, stats: &Stats) -> String {
    let holder = stats.holder.as_ref().map_or_else(|| "none".into(), ToString::to_string);
    let jobs: Vec<String> =
        stats.jobs.iter().map(|(status, count)| format!("{count} {}", status.as_str())).collect();
    let span = match (stats.oldest, stats.newest) {
        (Some(oldest), Some(newest)) => format!(", accepted from {oldest} to {newest}"),
        (None, _) | (_, None) => String::new(),
    };
    let room = if stats.gives_back { "goes back to the disk" } else { "stays until `arcpd store vacuum`" };
    let (used, free) = (bytes(stats.used_bytes), bytes(stats.free_bytes));
    let beside = format!("log {}, reserve {}", bytes(stats.log_bytes), bytes(stats.reserve_bytes));
    let closed = match (&stats.holder, stats.clean) {
        (Some(_), _) => "open",
        (None, true) => "closed properly",
        (None, false) => "not closed properly",
    };
    let format = format!("{} of {}; epoch {}; {closed}", stats.format, stats.newest_format, stats.epoch);
    let none = if jobs.is_empty() { "none".into() } else { jobs.join(", ") };
    let rows = [
        ("store", path.display().to_string()),
        ("daemon", holder),
        ("format", format),
        ("file", format!("{}: {used} used, {free} free, which {room}", bytes(stats.file_bytes))),
        ("beside", beside),
        ("jobs", format!("{none}{span}")),
        ("records", stats.records.to_string()),
        ("sessions", format!("{}, with {} runs of numbers", stats.sessions, stats.extents)),
    ];
    let rows: Vec<Vec<String>> = rows.map(|(name, value)| vec![name.into(), value]).into();
    let mut text = table(&rows);
    if !stats.biggest.is_empty() {
        let head = ["LARGEST", "OF", "AGENT", "RECORDS", "BYTES"].map(String::from).to_vec();
        let largest = stats.biggest.iter().map(|BigJob { id, principal, agent, records, bytes: size }| {
            vec![id.to_string(), principal.clone(), agent.clone(), records.to_string(), bytes(*size)]
        });
        text.push('\n');
        text.push_str(&table(&std::iter::once(head).chain(largest).collect::<Vec<_>>()));
    }
    text
}

fn in_json(done: &Done) -> Value {
    match done {
        Done::Copied { to, bytes, ms } => {
            json!({ "file": to.display().to_string(), "bytes": bytes, "took_ms": ms })
        }
        Done::Checked { path, found } => {
            let findings = found.iter().map(
                |Finding { promise, examples, count }| json!({ "promise": promise, "count": count, "examples": examples }),
            );
            let findings: Vec<Value> = findings.collect();
            json!({ "store": path.display().to_string(), "whole": found.is_empty(), "findings": findings })
        }
        Done::Vacuumed { before, after } => json!({ "before_bytes": before, "after_bytes": after }),
        Done::Counted { path, stats } => figures_in_json(path, stats),
    }
}

fn figures_in_json(path: &Path, stats: &Stats) -> Value {
    let jobs: serde_json::Map<String, Value> =
        stats.jobs.iter().map(|(status, count)| (status.as_str().into(), (*count).into())).collect();
    let largest = stats.biggest.iter().map(|BigJob { id, principal, agent, records, bytes }| {
        json!({ "job_id": id.to_string(), "principal": principal, "agent": agent, "records": records, "bytes": bytes })
    });
    json!({
        "store": path.display().to_string(),
        "pid": stats.holder.as_ref().map(|holder| holder.pid),
        "url": stats.holder.as_ref().and_then(|holder| holder.endpoint.as_ref()).map(|endpoint| &endpoint.url),
        "format": stats.format,
        "newest_format": stats.newest_format,
        "epoch": stats.epoch,
        "clean": stats.clean,
        "file_bytes": stats.file_bytes,
        "log_bytes": stats.log_bytes,
        "reserve_bytes": stats.reserve_bytes,
        "used_bytes": stats.used_bytes,
        "free_bytes": stats.free_bytes,
        "gives_back": stats.gives_back,
        "jobs": jobs,
        "records": stats.records,
        "sessions": stats.sessions,
        "extents": stats.extents,
        "oldest": stats.oldest.map(|at| at.to_string()),
        "newest": stats.newest.map(|at| at.to_string()),
        "largest": largest.collect::<Vec<_>>(),
    })
}
