//! `arcpd demo`: a daemon on a free port, a real agent, and one job of its, seen as any client would see it.
//!
//! Its store is in memory: a demo leaves nothing behind.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rand::RngExt as _;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Context;
use super::connect::Connection;
use super::daemon::StartError;
use super::exit::{Exit, Failure};
use super::serve::accept;
use super::submit::{self, SubmitArgs};
use crate::agent::child::guard::Guard;
use crate::agent::child::{ChildCommand, ChildHost};
use crate::embed::Runtime;
use crate::http::{Listener, ListenerConfig};
use crate::wire::agent_ref::AgentRef;
use crate::wire::limits::Limits;
use crate::wire::session::Token;

const PYTHON_AGENT: &str = include_str!("../../examples/agents/tree_report.py");
const SHELL_AGENT: &str = include_str!("../../examples/agents/tree_report.sh");

/// How long a look for Python may take.
const PYTHON_WITHIN: Duration = Duration::from_secs(5);

/// What `arcpd demo` takes.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The source tree that the agent reports on
    #[arg(default_value = ".")]
    pub path: PathBuf,
}

/// A folder of the demo's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("arcpd-demo-{}", ulid::Ulid::generate()));
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on the folder being gone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn run(args: DemoArgs, context: &mut Context) -> Result<Exit, Failure> {
    let trouble = |what: &Path, error| Failure::File { what: what.display().to_string(), error };
    let tree = fs::canonicalize(&args.path).map_err(|error| trouble(&args.path, error))?;
    let scratch = Scratch::new().map_err(|error| trouble(&std::env::temp_dir(), error))?;
    let (language, agent) = agent(&scratch.0, &tree).await.map_err(|error| trouble(&scratch.0, error))?;
    let token = format!("arcpd_demo_{:032x}", rand::rng().random::<u128>());
    let runtime = runtime(agent, &token)?;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), ListenerConfig::default()).await;
    let listener = listener.map_err(StartError::Bind)?;
    let url = format!("ws://{}/arcp", listener.local_addr());
    context.terminal.say(&format!("a daemon listens on {url}"));
    context
        .terminal
        .say(&format!("its agent tree-report@1.0.0 is a {language} script; the job: {}", tree.display()));

    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let serving = listener.serve(accept(&runtime), Arc::new(runtime.clone()), tracker.clone(), stop.clone());
    let serving = tokio::spawn(serving);
    let ended = submit::run(job(url, token), context).await;
    stop.cancel();
    runtime.stop().await;
    // It was told to stop, and there is nothing to hear from it.
    let _ = serving.await;
    tracker.close();
    tracker.wait().await;
    let exit = ended?;
    if exit == Exit::Success {
        context.terminal.say(&next_steps());
    }
    Ok(exit)
}

/// The agent as a script: in Python, or in shell where there is none.
async fn agent(scratch: &Path, tree: &Path) -> std::io::Result<(&'static str, ChildCommand)> {
    let (language, program, name, text) = if has_python().await {
        ("Python", "python3", "tree_report.py", PYTHON_AGENT)
    } else {
        ("shell", "sh", "tree_report.sh", SHELL_AGENT)
    };
    let script = scratch.join(name);
    fs::write(&script, text)?;
    let command = ChildCommand {
        program: program.into(),
        args: vec![script.display().to_string()],
        dir: Some(tree.to_owned()),
        ..ChildCommand::default()
    };
    Ok((language, command))
}

async fn has_python() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"]);
    python.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    matches!(tokio::time::timeout(PYTHON_WITHIN, python.status()).await, Ok(Ok(status)) if status.success())
}

fn runtime(agent: ChildCommand, token: &str) -> Result<Runtime, StartError> {
    let host = ChildHost::new(agent, Arc::new(Limits::default())).guarded(Guard::this_program()?);
    let runtime =
        Runtime::builder().token("demo", token).host("tree-report@1.0.0", Arc::new(host)).start()?;
    Ok(runtime)
}

fn job(url: String, token: String) -> SubmitArgs {
    SubmitArgs {
        agent: AgentRef { name: "tree-report".into(), version: None },
        input: Some(r#"{"path": "."}"#.into()),
        lease: Vec::new(),
        expires_at: None,
        expires_in: None,
        max_runtime: None,
        key: None,
        trace_id: None,
        detach: false,
        output: "-".into(),
        connection: Connection {
            url,
            token: Some(Token::new(token)),
            token_file: None,
            ca: None,
            reconnect_for: 60,
            json: false,
            quiet: false,
        },
    }
}

fn next_steps() -> String {
    let program = std::env::args_os().next().unwrap_or_else(|| OsString::from("arcpd"));
    let program = program.display();
    format!(
        "\nTry next, in two terminals. In the first, a daemon:\n  {program} serve --demo-agents\n\
         In the second, once it listens:\n  \
         {program} submit ticker --input '{{\"count\": 20, \"interval_ms\": 200}}'\n  {program} jobs"
    )
}
