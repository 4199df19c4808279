//! What the tests of agents share: a port that records, and jobs to start.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{AgentHost, AttemptEnd, BoxFuture, JobPort, PortClosed, StopSignal, Stopper};
use crate::wire::agent_port::{AgentMessage, JobStart, JobStop, PortLimits};
use crate::wire::event::EventKind;
use crate::wire::id::JobId;
use crate::wire::lease::Lease;
use crate::wire::limits::Limits;
use crate::wire::time::Timestamp;

/// No test waits longer for anything.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// A port that records what it is told.
pub(crate) struct FakePort {
    told: Mutex<Told>,
    changed: Notify,
}

#[derive(Default)]
struct Told {
    messages: Vec<(String, Value)>,
    logged: Vec<String>,
    closed: Option<PortClosed>,
    /// How many more messages the port is ready for, if that is limited.
    credit: Option<usize>,
}

impl FakePort {
    /// A port that is always ready.
    pub(crate) fn open() -> Arc<Self> {
        Arc::new(FakePort { told: Mutex::default(), changed: Notify::new() })
    }

    /// A port that is ready for this many messages, and panics when it is told more.
    pub(crate) fn limited(messages: usize) -> Arc<Self> {
        let port = Self::open();
        port.told.lock().credit = Some(messages);
        port
    }

    /// From now on every message is answered so.
    pub(crate) fn close(&self, closed: PortClosed) {
        self.told.lock().closed = Some(closed);
    }

    /// Ready for any number of messages from now on.
    pub(crate) fn open_up(&self) {
        self.told.lock().credit = None;
        self.changed.notify_waiters();
    }

    /// Every message so far: `result`, `error` or the event's kind, and the body.
    pub(crate) fn messages(&self) -> Vec<(String, Value)> {
        self.told.lock().messages.clone()
    }

    /// The bodies of the messages of one kind.
    pub(crate) fn bodies(&self, kind: &str) -> Vec<Value> {
        self.messages().into_iter().filter(|(k, _)| k == kind).map(|(_, body)| body).collect()
    }

    pub(crate) fn logged(&self) -> Vec<String> {
        self.told.lock().logged.clone()
    }

    /// Waits until what the port was told satisfies `enough`.
    pub(crate) async fn until(&self, enough: impl Fn(&Self) -> bool) {
        timeout(BOUND, self.wait(enough)).await.expect("the port was not told what was expected");
    }

    async fn wait(&self, enough: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if enough(self) {
                return;
            }
            changed.await;
        }
    }
}

impl JobPort for FakePort {
    fn deliver(&self, message: AgentMessage) -> Result<(), PortClosed> {
        let json = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap();
        let (kind, body) = match message {
            AgentMessage::Event(event) => {
                // A chunk is checked by the runtime, which completes it first.
                if event.kind != "result_chunk" {
                    EventKind::parse(&event.kind).expect("a known kind").check(&event.body).unwrap();
                }
                (event.kind, json(&event.body))
            }
            AgentMessage::Result(result) => ("result".into(), serde_json::to_value(result).unwrap()),
            AgentMessage::Error(error) => ("error".into(), serde_json::to_value(error).unwrap()),
            other @ (AgentMessage::Hello(_)
            | AgentMessage::Op(_)
            | AgentMessage::Ping(_)
            | AgentMessage::Pong(_)) => panic!("the runtime need not know {other:?}"),
        };
        let mut told = self.told.lock();
        if let Some(credit) = &mut told.credit {
            *credit = credit.checked_sub(1).expect("nothing is told before the port is ready");
        }
        let answer = told.closed.clone().map_or(Ok(()), Err);
        told.messages.push((kind, body));
        drop(told);
        self.changed.notify_waiters();
        answer
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.wait(|port| port.told.lock().credit != Some(0)))
    }

    fn log(&self, line: &str) {
        self.told.lock().logged.push(line.into());
        self.changed.notify_waiters();
    }
}

/// A job with this input.
pub(crate) fn start(input: &str, limits: &Limits) -> JobStart {
    JobStart {
        job_id: JobId::new(1, 2),
        agent: "test@1.0.0".parse().unwrap(),
        attempt: 1,
        fencing_token: "f".into(),
        input: RawValue::from_string(input.into()).unwrap(),
        lease: Lease::default(),
        lease_constraints: None,
        deadline: None,
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap()),
        limits: PortLimits::of(limits),
    }
}

/// A stop whose deadline the wall clock has passed: what counts is the time an agent is given.
pub(crate) fn stopping() -> JobStop {
    JobStop { reason: "test".into(), deadline: Timestamp::default() }
}

/// Runs an attempt that nobody stops.
pub(crate) async fn run(host: &dyn AgentHost, start: JobStart, port: Arc<FakePort>) -> AttemptEnd {
    let (_stopper, stop) = Stopper::new();
    run_until(host, start, port, stop).await
}

/// Runs an attempt that may be stopped.
pub(crate) async fn run_until(
    host: &dyn AgentHost,
    start: JobStart,
    port: Arc<FakePort>,
    stop: StopSignal,
) -> AttemptEnd {
    timeout(BOUND, host.run(start, port, stop)).await.expect("the attempt did not end")
}
