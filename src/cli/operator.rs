//! What the operators' commands have in common: asking `/api`, page by page.

use serde::de::DeserializeOwned;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use crate::http::client::{ApiError, Operator};
use crate::transport::websocket::{ConnectError, check_url};
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::session::Token;

/// A daemon to ask, and as whom.
pub(super) struct Asking<'a> {
    connection: &'a Connection,
    token: Token,
}

/// An answer that did not come, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{error}{hint}")]
pub(super) struct NoAnswer {
    pub(super) error: ApiError,
    hint: String,
}

impl NoAnswer {
    /// What the daemon said, where it refused.
    pub(super) fn refusal(&self) -> Option<&ErrorBody> {
        if let ApiError::Refused(refusal) = &self.error { Some(&refusal.error) } else { None }
    }

    pub(super) fn exit(&self) -> Exit {
        match &self.error {
            ApiError::Connect(ConnectError::Url { .. }) => Exit::Usage,
            ApiError::Connect(_) => Exit::Unreachable,
            ApiError::Refused(refusal) if refusal.error.code == ErrorCode::Unauthenticated => {
                Exit::Unauthenticated
            }
            ApiError::Refused(_) | ApiError::Foreign { .. } => Exit::Refused,
            ApiError::Broken { .. } | ApiError::Timeout { .. } => Exit::Cut,
        }
    }
}

impl<'a> Asking<'a> {
    /// Asks as the command line wants it, and writes so.
    pub(super) fn of(connection: &'a Connection, context: &mut Context) -> Result<Self, Failure> {
        context.terminal.style(connection.json, connection.quiet);
        check_url(&connection.url).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Asking { connection, token: connection.token()? })
    }

    fn operator(&self) -> Operator<'_> {
        Operator { url: &self.connection.url, token: &self.token, ca: self.connection.ca.as_deref() }
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        context: &mut Context,
    ) -> Result<T, Failure> {
        let answer = context.unless_interrupted(self.operator().get(path)).await?;
        answer.map_err(|error| self.no_answer(error))
    }

    /// Asks for a change.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
        context: &mut Context,
    ) -> Result<T, Failure> {
        let answer = context.unless_interrupted(self.operator().post(path, body)).await?;
        answer.map_err(|error| self.no_answer(error))
    }

    fn no_answer(&self, error: ApiError) -> Failure {
        let hint = match &error {
            ApiError::Connect(_) => {
                format!("\nis a daemon listening at {}? (`arcpd serve`, or --url)", self.connection.url)
            }
            ApiError::Refused(refusal) if refusal.status == 401 => {
                "\ngive the daemon's token by --token, --token-file or ARCPD_TOKEN".into()
            }
            ApiError::Refused(_) | ApiError::Foreign { .. } => String::new(),
            ApiError::Broken { .. } | ApiError::Timeout { .. } => String::new(),
        };
        Failure::NoAnswer(Box::new(NoAnswer { error, hint }))
    }

    /// Asks for a listing; `limit` is how many rows are wanted, without which one page is enough unless `all` are.
    pub(super) fn pages(
        &self,
        path: &'static str,
        filter: Vec<(&'static str, String)>,
        limit: Option<u64>,
        all: bool,
    ) -> Pages<'_> {
        let left = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Pages { asking: self, path, filter, left, all, cursor: None, done: false }
    }
}

/// A listing that is fetched page by page.
pub(super) struct Pages<'a> {
    asking: &'a Asking<'a>,
    path: &'static str,
    filter: Vec<(&'static str, String)>,
    left: Option<usize>,
    all: bool,
    cursor: Option<String>,
    done: bool,
}

impl Pages<'_> {
    /// The next page; none when there is none, or no more is wanted.
    pub(super) async fn next<T: DeserializeOwned>(
        &self,
        context: &mut Context,
    ) -> Result<Option<T>, Failure> {
        if self.done {
            return Ok(None);
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.filter.iter().map(|(name, value)| (*name, value.as_str())));
        query.extend_pairs(self.left.map(|left| ("limit", left.to_string())));
        query.extend_pairs(self.cursor.as_ref().map(|cursor| ("cursor", cursor)));
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        self.asking.get(&format!("{}{mark}{query}", self.path), context).await.map(Some)
    }

    /// Takes a page in: what is to be shown of it, and whether another is wanted.
    pub(super) fn cut<T>(&mut self, mut rows: Vec<T>, next: Option<String>, context: &mut Context) -> Vec<T> {
        if let Some(left) = &mut self.left {
            rows.truncate(*left);
            *left -= rows.len();
        }
        // Without a limit of one's own, the daemon's page is enough.
        let enough = !self.all && self.left.is_none_or(|left| left == 0);
        self.done = next.is_none() || enough;
        if next.is_some() && enough {
            context.terminal.say("there are more: use --all or --limit N");
        }
        self.cursor = next;
        rows
    }
}
