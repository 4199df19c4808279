//! The task that moves a client's frames: input → decide ([`Session`]) → outputs leave.
//!
//! One bounded channel of commands comes in, one bounded channel per handle goes out. An event whose handle is
//! full is parked, and nothing more is read until it fits: the runtime feels the back-pressure. So that one
//! forgotten handle does not hold up the others for ever, it is set aside after a while; once it has been emptied
//! it is replayed from where it was.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Shared;
use super::connector::{AnyReader, AnyWriter, Connector, Link};
use super::error::{ConnectError, Cut, DialError, RequestError};
use super::handle::{Attached, Fate, HandleEnd, JobHandle};
use super::session::{Answer, Ask, Output, Session, Ticket};
use super::update::JobUpdate;
use crate::transport::{CloseReason, Received};
use crate::wire::id::JobId;
use crate::wire::session::Jobs;

/// How long closing a connection may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// How long the driver sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// What a caller wants.
pub(super) enum Command {
    /// A request, and where its answer goes.
    Ask(Ask, oneshot::Sender<Result<Reply, RequestError>>),
    /// A handle is gone.
    Forget(JobId),
}

/// What a caller gets.
pub(super) enum Reply {
    Job(JobHandle),
    Jobs(Jobs),
    /// Recorded, or closed.
    Done,
}

/// Where the answer to the first handshake goes.
pub(super) type Greeted = oneshot::Sender<Result<(), ConnectError>>;

enum Line {
    Up(Box<dyn AnyReader>, Box<dyn AnyWriter>),
    Dialing(BoxFuture<'static, Result<Link, DialError>>),
    Resting(Instant),
}

enum Happening {
    Frame(Bytes),
    Broken(String),
    Linked(Link),
    Unreachable(DialError),
    Redial,
    Command(Command),
    Abandoned,
    Tick,
    Room,
    Impatient,
    Drained(JobId),
}

/// The task; see the module.
pub(super) struct Driver {
    core: Session,
    connector: Arc<dyn Connector>,
    line: Line,
    commands: mpsc::Receiver<Command>,
    /// Gives handles a way back to this task, without keeping it alive.
    back: mpsc::WeakSender<Command>,
    answers: HashMap<Ticket, oneshot::Sender<Result<Reply, RequestError>>>,
    handles: HashMap<JobId, HandleEnd>,
    parked: VecDeque<(JobId, JobUpdate)>,
    parked_since: Instant,
    /// Handles that were set aside, until they are empty.
    aside: FuturesUnordered<BoxFuture<'static, JobId>>,
    /// What a handle that was set aside must still be told: what it missed.
    held: Vec<(JobId, JobUpdate)>,
    shared: Arc<Shared>,
    greeted: Option<Greeted>,
    /// Whether nobody is left who could send a command.
    abandoned: bool,
    timing: Timing,
}

/// What the driver needs of the options.
pub(super) struct Timing {
    pub(super) handle_buffer: usize,
    pub(super) patience: Duration,
    pub(super) send_timeout: Duration,
    pub(super) connect_timeout: Duration,
}

impl Driver {
    pub(super) fn new(
        core: Session,
        connector: Arc<dyn Connector>,
        (back, commands): (mpsc::WeakSender<Command>, mpsc::Receiver<Command>),
        shared: Arc<Shared>,
        greeted: Greeted,
        timing: Timing,
    ) -> Self {
        let line = Line::Dialing(dial(Arc::clone(&connector), timing.connect_timeout));
        Driver {
            core,
            connector,
            line,
            commands,
            back,
            answers: HashMap::new(),
            handles: HashMap::new(),
            parked: VecDeque::new(),
            parked_since: Instant::now(),
            aside: FuturesUnordered::new(),
            held: Vec::new(),
            shared,
            greeted: Some(greeted),
            abandoned: false,
            timing,
        }
    }

    /// Runs until the client is over, or nobody has it any more.
    pub(super) async fn run(mut self) {
        while !self.core.is_over() {
            let happening = self.happening().await;
            self.handle(happening);
            self.settle().await;
        }
    }

    async fn happening(&mut self) -> Happening {
        let reading = self.parked.is_empty();
        let deadline = self.core.deadline().map_or_else(|| Instant::now() + IDLE, Instant::from_std);
        tokio::select! {
            happening = line_event(&mut self.line, reading) => happening,
            command = self.commands.recv(), if self.core.has_room() && !self.abandoned => {
                command.map_or(Happening::Abandoned, Happening::Command)
            }
            () = room(&self.parked, &self.handles), if !reading => Happening::Room,
            () = tokio::time::sleep_until(self.parked_since + self.timing.patience), if !reading => {
                Happening::Impatient
            }
            Some(job_id) = self.aside.next(), if !self.aside.is_empty() => Happening::Drained(job_id),
            () = tokio::time::sleep_until(deadline) => Happening::Tick,
        }
    }

    fn handle(&mut self, happening: Happening) {
        let now = Instant::now().into_std();
        match happening {
            Happening::Frame(frame) => self.core.frame(now, &frame),
            Happening::Broken(why) => {
                self.core.broken(now, &why);
                self.redial();
            }
            Happening::Linked(link) => {
                self.line = Line::Up(link.reader, link.writer);
                self.core.connected(now);
            }
            Happening::Unreachable(error) => match self.greeted.take() {
                Some(greeted) => {
                    let _ = greeted.send(Err(ConnectError::Dial(error.clone())));
                    self.core.over(Cut::Lost(error.to_string()));
                }
                None => {
                    self.core.dial_failed(&error.0);
                    self.redial();
                }
            },
            Happening::Redial => {
                self.line = Line::Dialing(dial(Arc::clone(&self.connector), self.timing.connect_timeout));
            }
            Happening::Command(Command::Ask(ask, answer)) => {
                let ticket = self.core.ask(now, ask);
                self.answers.insert(ticket, answer);
            }
            Happening::Command(Command::Forget(job_id)) => self.forget(job_id),
            Happening::Abandoned => {
                self.abandoned = true;
                self.core.ask(now, Ask::Close(crate::wire::session::Close { reason: None }));
            }
            Happening::Room => self.unpark(),
            Happening::Impatient => self.set_aside(),
            Happening::Drained(job_id) => self.catch_up(job_id),
            Happening::Tick => {}
        }
        self.core.tick(now, self.parked.is_empty());
    }

    /// Does what the core wants done, until it wants nothing more.
    async fn settle(&mut self) {
        loop {
            let outputs = self.core.outputs();
            if outputs.is_empty() {
                return;
            }
            let mut frames = Vec::new();
            let mut hangup = None;
            for output in outputs {
                match output {
                    Output::Send(frame) => frames.push(frame),
                    Output::Welcomed(welcomed) => {
                        *self.shared.welcomed.write() = Some(welcomed);
                        self.greet(Ok(()));
                    }
                    Output::Answer(ticket, answer) => self.answer(ticket, answer),
                    Output::Update(job_id, update) => self.update(job_id, update),
                    Output::Hangup(reason) => hangup = Some(reason),
                    Output::Over(cut) => self.over(cut),
                }
            }
            self.send(frames).await;
            if let Some(reason) = hangup {
                self.hang_up(reason).await;
            }
        }
    }

    fn over(&mut self, cut: Cut) {
        let _ = self.shared.over.set(cut.clone());
        self.greet(Err(match cut {
            Cut::Refused(body) => ConnectError::Refused(body),
            Cut::Closed | Cut::Lost(_) | Cut::ClosedByRuntime(_) | Cut::Protocol(_) => ConnectError::Cut(cut),
        }));
    }

    fn greet(&mut self, outcome: Result<(), ConnectError>) {
        if let Some(greeted) = self.greeted.take() {
            let _ = greeted.send(outcome);
        }
    }

    async fn send(&mut self, frames: Vec<Bytes>) {
        let Line::Up(_, writer) = &mut self.line else { return };
        if frames.is_empty() {
            return;
        }
        let why = match tokio::time::timeout(self.timing.send_timeout, writer.send(frames)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the runtime takes no frames".into(),
        };
        self.core.broken(Instant::now().into_std(), &why);
        self.redial();
    }

    async fn hang_up(&mut self, reason: CloseReason) {
        if let Line::Up(_, writer) = &mut self.line {
            let _ = tokio::time::timeout(CLOSE_WITHIN, writer.close(reason)).await;
        }
        self.redial();
    }

    /// Drops what there is of a connection; the next one comes after a pause.
    fn redial(&mut self) {
        if self.core.is_over() {
            self.line = Line::Resting(Instant::now() + IDLE);
            return;
        }
        let now = Instant::now();
        let pause = self.core.next_dial(now.into_std(), rand::random::<f64>()).unwrap_or(IDLE);
        self.line = Line::Resting(now + pause);
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Answer, RequestError>) {
        let reply = match answer {
            Ok(Answer::Accepted(accepted)) => {
                Ok(Reply::Job(self.open(accepted.job_id, Attached::Submitted(accepted))))
            }
            Ok(Answer::Subscribed(subscribed)) => {
                Ok(Reply::Job(self.open(subscribed.job_id, Attached::Subscribed(subscribed))))
            }
            Ok(Answer::Jobs(jobs)) => Ok(Reply::Jobs(jobs)),
            Ok(Answer::Done) => Ok(Reply::Done),
            Err(error) => Err(error),
        };
        if let Some(answer) = self.answers.remove(&ticket) {
            // A caller that is gone drops its handle, which comes back as a command.
            let _ = answer.send(reply);
        }
    }

    fn open(&mut self, job_id: JobId, attached: Attached) -> JobHandle {
        let (end, handle) = JobHandle::new(job_id, attached, self.timing.handle_buffer, self.back.upgrade());
        self.handles.insert(job_id, end);
        handle
    }

    fn forget(&mut self, job_id: JobId) {
        // The handle may be of an earlier time; one that is still open is another.
        if self.handles.get(&job_id).is_some_and(HandleEnd::is_closed) {
            self.handles.remove(&job_id);
            self.parked.retain(|(parked, _)| *parked != job_id);
            self.held.retain(|(held, _)| *held != job_id);
            self.core.forget(Instant::now().into_std(), job_id);
        }
    }

    fn update(&mut self, job_id: JobId, update: JobUpdate) {
        let Some(end) = self.handles.get(&job_id) else { return };
        if end.is_closed() {
            return self.forget(job_id);
        }
        match update {
            JobUpdate::Ended(outcome) => self.end(job_id, Fate::Ended(outcome)),
            JobUpdate::Cut(cut) => self.end(job_id, Fate::Cut(cut)),
            // Notices do not queue: a handle that is full can do without them.
            JobUpdate::Interrupted(_) | JobUpdate::Resumed(_) => drop(end.try_send(update)),
            JobUpdate::Event(_) | JobUpdate::Missed { .. } => {
                let waits = self.parked.iter().any(|(parked, _)| *parked == job_id);
                let left = if waits { Some(update) } else { end.try_send(update) };
                if let Some(left) = left {
                    if self.parked.is_empty() {
                        self.parked_since = Instant::now();
                    }
                    self.parked.push_back((job_id, left));
                }
            }
        }
    }

    /// The last word on a handle. It needs no room in the handle's buffer, so that it always arrives.
    fn end(&mut self, job_id: JobId, fate: Fate) {
        if let Some(end) = self.handles.remove(&job_id) {
            self.parked.retain(|(parked, _)| *parked != job_id);
            end.end(fate);
        }
    }

    /// Hands out what was parked, as far as there is room.
    fn unpark(&mut self) {
        while let Some((job_id, update)) = self.parked.pop_front() {
            let left = self.handles.get(&job_id).and_then(|end| end.try_send(update));
            self.parked_since = Instant::now();
            if let Some(left) = left {
                self.parked.push_front((job_id, left));
                return;
            }
        }
    }

    /// The first parked handle has taken nothing for too long.
    fn set_aside(&mut self) {
        self.parked_since = Instant::now();
        let Some((job_id, _)) = self.parked.front() else { return };
        let job_id = *job_id;
        if !self.core.can_subscribe() {
            return tracing::warn!(job = %job_id, "a handle is not read; everything on this connection waits");
        }
        let (own, rest) = self.parked.drain(..).partition::<VecDeque<_>, _>(|(parked, _)| *parked == job_id);
        self.parked = rest;
        let (events, held) =
            own.into_iter().partition::<Vec<_>, _>(|(_, update)| matches!(update, JobUpdate::Event(_)));
        self.held.extend(held);
        self.core.set_aside(job_id, events.len() as u64);
        if let Some(end) = self.handles.get(&job_id) {
            self.aside.push(end.drained(job_id));
        }
        tracing::debug!(job = %job_id, "a handle that is not read is set aside");
    }

    /// A handle that was set aside is empty again.
    fn catch_up(&mut self, job_id: JobId) {
        let (own, rest) = std::mem::take(&mut self.held).into_iter().partition(|(held, _)| *held == job_id);
        self.held = rest;
        let own: Vec<(JobId, JobUpdate)> = own;
        for (job_id, update) in own {
            self.update(job_id, update);
        }
        self.core.catch_up(Instant::now().into_std(), job_id);
    }
}

fn dial(connector: Arc<dyn Connector>, within: Duration) -> BoxFuture<'static, Result<Link, DialError>> {
    Box::pin(async move {
        match tokio::time::timeout(within, connector.connect()).await {
            Ok(linked) => linked,
            Err(_) => Err(DialError(format!("no connection within {within:?}"))),
        }
    })
}

async fn line_event(line: &mut Line, reading: bool) -> Happening {
    match line {
        Line::Up(reader, _) if reading => match reader.receive().await {
            Ok(Received::Text(frame)) => Happening::Frame(frame),
            Ok(Received::Rejected(fault)) => Happening::Broken(fault.to_string()),
            Err(ended) => Happening::Broken(ended.to_string()),
        },
        Line::Up(..) => std::future::pending().await,
        Line::Dialing(dialing) => match dialing.await {
            Ok(link) => Happening::Linked(link),
            Err(error) => Happening::Unreachable(error),
        },
        Line::Resting(until) => {
            tokio::time::sleep_until(*until).await;
            Happening::Redial
        }
    }
}

/// Waits until the first parked update fits its handle, or the handle is gone.
async fn room(parked: &VecDeque<(JobId, JobUpdate)>, handles: &HashMap<JobId, HandleEnd>) {
    if let Some(end) = parked.front().and_then(|(job_id, _)| handles.get(job_id)) {
        end.room().await;
    }
}
