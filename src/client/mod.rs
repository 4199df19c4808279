//! A full ARCP client that outlives its connections.
//!
//! [`Client::connect`] opens a session; [`Client::submit`] and [`Client::subscribe`] give a [`JobHandle`], which
//! tells what happens in a job until it has ended. When the connection breaks, the client resumes the session
//! within [`ReconnectPolicy::budget`], and where the runtime has forgotten the session it opens another one and
//! subscribes to each job where its handle was. A handle therefore tells each event once, in order, and always
//! says whether a job has *ended* or was *cut* off from sight.
//!
//! ```no_run
//! use arcpd::client::{Client, ClientOptions, Connector, JobUpdate, SubmitRequest};
//! use arcpd::wire::session::Token;
//!
//! # async fn example(connector: impl Connector) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(connector, ClientOptions::new(Token::new("secret"))).await?;
//! let mut job = client.submit(SubmitRequest::new("ticker".parse()?)).await?;
//! while let Some(update) = job.next().await {
//!     match update {
//!         JobUpdate::Event(event) => drop(event.event.kind),
//!         JobUpdate::Ended(outcome) => drop(outcome.status()),
//!         JobUpdate::Cut(cut) => return Err(cut.into()),
//!         _ => {}
//!     }
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```

mod collect;
mod connector;
mod driver;
mod error;
mod handle;
mod options;
mod request;
mod session;
mod update;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use ulid::Ulid;

pub use self::collect::{Collector, Piece};
pub use self::connector::{Connector, Link};
use self::driver::{Command, Driver, Reply, Timing};
pub use self::error::{CollectError, ConnectError, Cut, DialError, RequestError};
pub use self::handle::{JobHandle, ResultReader};
pub use self::options::{ClientOptions, ReconnectPolicy};
pub use self::request::{AllJobs, Page, Since, SubmitRequest};
pub use self::session::Welcomed;
use self::session::{Ask, Session};
pub use self::update::{JobEvent, JobUpdate, Outcome, Resumed};
use crate::wire::id::JobId;
use crate::wire::job::Cancel;
use crate::wire::session::{Close, JobFilter, ListJobs};

/// Commands that wait for the driver; beyond it callers wait.
const COMMANDS: usize = 64;

/// One session with a runtime. Clones share it; when the last of them and of its handles is gone, it is closed.
/// Jobs go on.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What the driver leaves for all to see.
#[derive(Default)]
struct Shared {
    welcomed: RwLock<Option<Welcomed>>,
    over: OnceLock<Cut>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("welcomed", &self.shared.welcomed.read()).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects and opens a session (§6.2). This first connection is tried once; later ones as
    /// [`ClientOptions::reconnect`] says.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(connector: impl Connector, options: ClientOptions) -> Result<Client, ConnectError> {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (greeted, greeting) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let timing = Timing {
            handle_buffer: options.handle_buffer,
            patience: options.slow_handle_patience,
            send_timeout: Duration::from_millis(options.limits.send_timeout_ms),
            connect_timeout: options.request_timeout,
        };
        let now = tokio::time::Instant::now().into_std();
        let core = Session::new(options, now, Ulid::generate);
        let channel = (commands.downgrade(), receiver);
        let driver = Driver::new(core, Arc::new(connector), channel, Arc::clone(&shared), greeted, timing);
        tokio::spawn(driver.run());
        match greeting.await {
            Ok(outcome) => outcome.map(|()| Client { commands, shared }),
            Err(_) => Err(ConnectError::Cut(Cut::Closed)),
        }
    }

    /// What the runtime said at the newest welcome.
    pub fn welcome(&self) -> Option<Welcomed> {
        self.shared.welcomed.read().clone()
    }

    /// Submits a job (§7.1) and follows it from its start.
    ///
    /// # Errors
    /// [`RequestError`]; a refusal leaves the session and its other jobs as they are.
    pub async fn submit(&self, request: SubmitRequest) -> Result<JobHandle, RequestError> {
        let SubmitRequest { submit, trace_id, .. } = request;
        self.job(Ask::Submit { submit: Box::new(submit), trace_id }).await
    }

    /// Follows a job that exists (§7.6).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn subscribe(&self, job_id: JobId, since: Since) -> Result<JobHandle, RequestError> {
        self.job(Ask::Subscribe { job_id, since }).await
    }

    async fn job(&self, ask: Ask) -> Result<JobHandle, RequestError> {
        match self.ask(ask).await? {
            Reply::Job(handle) => Ok(handle),
            Reply::Jobs(_) | Reply::Done => Err(mismatch()),
        }
    }

    /// One page of the jobs that this principal may see (§6.6), newest first. `cursor` is the page's before.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn list_jobs(
        &self,
        filter: JobFilter,
        limit: Option<u64>,
        cursor: Option<String>,
    ) -> Result<Page, RequestError> {
        match self.ask(Ask::List(ListJobs { filter: Some(filter), limit, cursor })).await? {
            Reply::Jobs(jobs) => Ok(Page { jobs: jobs.jobs, next_cursor: jobs.next_cursor }),
            Reply::Job(_) | Reply::Done => Err(mismatch()),
        }
    }

    /// All jobs that match, in pages of `page_size` (the runtime's choice where there is none).
    pub fn all_jobs(&self, filter: JobFilter, page_size: Option<u64>) -> AllJobs {
        AllJobs { client: self.clone(), filter, page_size, cursor: None, done: false }
    }

    /// Asks for a job's end (§7.4) and waits until that is recorded. The end itself is told by the job's handle.
    ///
    /// # Errors
    /// [`RequestError`]; `INVALID_REQUEST` for a job that has ended.
    pub async fn cancel(&self, job_id: JobId, reason: Option<String>) -> Result<(), RequestError> {
        self.ask(Ask::Cancel(Cancel { job_id: Some(job_id.to_string()), reason })).await.map(drop)
    }

    /// Closes the session (§6.7). Jobs go on; handles that have not seen their end are cut.
    pub async fn close(&self) {
        // A client that is over already is as closed as one can be.
        let _ = self.ask(Ask::Close(Close { reason: None })).await;
    }

    async fn ask(&self, ask: Ask) -> Result<Reply, RequestError> {
        let (answer, answered) = oneshot::channel();
        let gone = || RequestError::Cut(self.shared.over.get().cloned().unwrap_or(Cut::Closed));
        self.commands.send(Command::Ask(ask, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// An answer of another kind than its request; the core matches them, so this says that the core is wrong.
fn mismatch() -> RequestError {
    RequestError::Cut(Cut::Protocol("the answer does not fit the request".into()))
}
