//! An agent whose every word is put into its mouth by the test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arcpd::agent::{AgentHost, AttemptEnd, BoxFuture, JobPort, PortClosed, StopSignal};
use arcpd::wire::agent_port::{AgentMessage, JobStart};
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};
use tokio::sync::watch;

/// One attempt.
struct Attempt {
    number: u32,
    port: Arc<dyn JobPort>,
    let_go: watch::Sender<bool>,
}

type Strings = HashMap<String, Attempt>;

/// Hosts puppets, and pulls their strings. Cheap to clone.
#[derive(Clone, Default)]
pub struct Puppets {
    strings: Arc<Mutex<Strings>>,
    started: Arc<tokio::sync::Notify>,
}

impl AgentHost for Puppets {
    fn run(
        &self,
        start: JobStart,
        port: Arc<dyn JobPort>,
        mut stop: StopSignal,
    ) -> BoxFuture<'static, AttemptEnd> {
        let (let_go, mut gone) = watch::channel(false);
        self.strings
            .lock()
            .unwrap()
            .insert(start.job_id.to_string(), Attempt { number: start.attempt, port, let_go });
        self.started.notify_waiters();
        Box::pin(async move {
            tokio::select! {
                _ = gone.wait_for(|gone| *gone) => AttemptEnd::Finished,
                _ = stop.stopped() => AttemptEnd::Stopped,
            }
        })
    }
}

impl Puppets {
    pub fn host(&self) -> Arc<dyn AgentHost> {
        Arc::new(self.clone())
    }

    /// Says something on behalf of a job's agent, once it has started.
    pub async fn say(&self, job: &str, kind: &str, payload: Value) -> Result<(), PortClosed> {
        self.line(job, &json!({ "type": kind, "payload": payload }).to_string()).await
    }

    /// Says something as a child would write it.
    pub async fn line(&self, job: &str, line: &str) -> Result<(), PortClosed> {
        let (_, port) = self.attempt(job).await;
        port.deliver(AgentMessage::parse(line.as_bytes(), &Limits::default()).unwrap())
    }

    /// The attempt that a job's agent is in, once it has started.
    pub async fn attempt(&self, job: &str) -> (u32, Arc<dyn JobPort>) {
        loop {
            let started = self.started.notified();
            if let Some(attempt) = self.strings.lock().unwrap().get(job) {
                return (attempt.number, attempt.port.clone());
            }
            tokio::time::timeout(super::peer::PATIENCE, started).await.expect("the agent did not start");
        }
    }

    pub async fn log(&self, job: &str, message: &str) -> Result<(), PortClosed> {
        self.say(job, "job.event", json!({ "kind": "log", "body": { "level": "info", "message": message } }))
            .await
    }

    pub async fn finish(&self, job: &str, result: Value) -> Result<(), PortClosed> {
        let said = self.say(job, "job.result", json!({ "result": result })).await;
        self.leave(job);
        said
    }

    /// The agent ends without a word.
    pub fn leave(&self, job: &str) {
        if let Some(attempt) = self.strings.lock().unwrap().remove(job) {
            let _ = attempt.let_go.send(true);
        }
    }
}
