//! `arcpd sessions`: who is there.

use clap::Args;
use serde_json::json;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::operator::Asking;
use super::render::table;
use crate::wire::api::{SessionPage, SessionSummary};

/// Lists the sessions of everybody, newest first. Needs a token with the role operator.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// All of them, page by page
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: SessionsArgs, context: &mut Context) -> Result<Exit, Failure> {
    let asking = Asking::of(&args.connection, context)?;
    let mut pages = asking.pages("/sessions", Vec::new(), args.limit, args.all);
    let mut head = true;
    while let Some(page) = pages.next(context).await? {
        let SessionPage { sessions, next_cursor } = page;
        let shown = pages.cut(sessions, next_cursor, context);
        show(&shown, std::mem::take(&mut head), context)?;
    }
    Ok(Exit::Success)
}

fn show(page: &[SessionSummary], head: bool, context: &mut Context) -> Result<(), Failure> {
    if context.terminal.is_json() {
        for session in page {
            context.terminal.line(&json!(session).to_string())?;
        }
        return Ok(());
    }
    let names = ["SESSION", "PRINCIPAL", "OPENED", "JOBS", "EVENTS", "LAG", "DIALECT", "CONNECTED FROM"]
        .map(String::from)
        .to_vec();
    let rows = page.iter().map(|session| {
        let opened: String = session.opened_at.to_string().chars().take(19).chain(['Z']).collect();
        vec![
            session.session_id.to_string(),
            session.principal.clone(),
            opened,
            session.following.to_string(),
            session.newest_event_seq.to_string(),
            session.lag_events.to_string(),
            session.dialect.clone().unwrap_or_else(|| "-".into()),
            session.peer.clone().unwrap_or_else(|| "(not connected)".into()),
        ]
    });
    let rows: Vec<Vec<String>> = head.then_some(names).into_iter().chain(rows).collect();
    context.terminal.data(table(&rows).as_bytes())
}
