//! Agents that do what their input's seed says: bursts of events, chunks, every kind of end, and every kind of
//! obedience when they are told to stop.

use std::sync::Arc;
use std::time::Duration;

use arcpd::agent::{AgentHost, AttemptEnd, BoxFuture, JobPort, PortClosed, StopSignal};
use arcpd::wire::agent_port::{AgentMessage, BrokenContract, JobStart};
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::state::Shared;

/// Hosts all of them.
pub(crate) struct Agents(pub(crate) Shared);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obeys {
    AtOnce,
    AfterLastWords,
    Never,
}

struct Agent {
    shared: Shared,
    port: Arc<dyn JobPort>,
    job: String,
    dice: Dice,
    said: u64,
    obeys: Obeys,
}

/// Whether the agent was told to stop while it slept.
type Told = bool;

impl AgentHost for Agents {
    fn run(
        &self,
        start: JobStart,
        port: Arc<dyn JobPort>,
        mut stop: StopSignal,
    ) -> BoxFuture<'static, AttemptEnd> {
        let input: Value = serde_json::from_str(start.input.get()).unwrap_or_default();
        let mut dice = Dice::new(input["seed"].as_u64().unwrap_or_default() ^ u64::from(start.attempt));
        let obeys = [Obeys::AtOnce, Obeys::AfterLastWords, Obeys::Never][dice.below(3) as usize];
        let job = start.job_id.to_string();
        self.0.lock().agent_starts(&job, start.attempt);
        let mut agent = Agent { shared: self.0.clone(), port, job, dice, said: 0, obeys };
        Box::pin(async move {
            let bursts = agent.dice.below(8);
            let chunks = agent.dice.chance(25);
            for _ in 0..bursts {
                if agent.sleep(&mut stop, 1_500).await {
                    return agent.obey().await;
                }
                if agent.burst(chunks).is_err() {
                    return agent.shut_out();
                }
                agent.port.ready().await;
            }
            agent.end(&mut stop, chunks).await
        })
    }
}

impl Agent {
    fn say(&mut self, kind: &str, payload: Value) -> Result<(), PortClosed> {
        let line = json!({ "type": kind, "payload": payload }).to_string();
        let message = AgentMessage::parse(line.as_bytes(), &Limits::default()).expect("a good line");
        let said = self.port.deliver(message);
        self.shared.lock().agent_said(&self.job, kind, &payload, said.is_ok());
        said
    }

    fn event(&mut self, chunks: bool) -> Result<(), PortClosed> {
        self.said += 1;
        let n = self.said;
        let filler = "x".repeat(self.dice.below(60) as usize);
        let event = match self.dice.below(if chunks { 6 } else { 4 }) {
            0 => json!({ "kind": "progress", "body": { "current": n } }),
            1 => json!({ "kind": "thought", "body": { "text": format!("{n} {filler}") } }),
            2 => json!({ "kind": "x-sim.note", "body": { "n": n, "filler": filler } }),
            3 => json!({ "kind": "log", "body": { "level": "info", "message": format!("{n} {filler}") } }),
            _ => json!({ "kind": "result_chunk",
                         "body": { "data": format!("{n} {filler};"), "encoding": "utf8", "more": true } }),
        };
        self.say("job.event", event)
    }

    fn burst(&mut self, chunks: bool) -> Result<(), PortClosed> {
        let most = self.shared.lock().plan.burst;
        for _ in 0..self.dice.within(1, most) {
            self.event(chunks)?;
        }
        Ok(())
    }

    async fn sleep(&mut self, stop: &mut StopSignal, most: u64) -> Told {
        let ms = self.dice.within(0, most);
        let rest = tokio::time::sleep(Duration::from_millis(ms));
        tokio::select! {
            biased;
            _ = stop.stopped(), if self.obeys != Obeys::Never => true,
            () = rest => false,
        }
    }

    async fn obey(mut self) -> AttemptEnd {
        if self.obeys == Obeys::AfterLastWords {
            tokio::time::sleep(Duration::from_millis(self.dice.below(300))).await;
            if self.burst(false).is_err() {
                return self.shut_out();
            }
            if self.dice.chance(50) {
                let _ = self.say("job.result", json!({ "result": "too late" }));
                return AttemptEnd::Finished;
            }
        }
        AttemptEnd::Stopped
    }

    fn shut_out(&self) -> AttemptEnd {
        AttemptEnd::Stopped
    }

    async fn end(mut self, stop: &mut StopSignal, chunks: bool) -> AttemptEnd {
        let ended = match self.dice.below(12) {
            0 => self.say("job.error", json!({ "code": "INTERNAL_ERROR", "message": "failed" })),
            1 => self.say("job.error", json!({ "code": "TIMEOUT", "message": "slow", "retryable": true })),
            2 => return AttemptEnd::Lost("was lost".into()),
            3 => return AttemptEnd::Broken(BrokenContract("wrote garbage".into())),
            4 => Ok(()),
            5 => {
                // Waits for a stop; jobs that do not end by themselves have a max_runtime_sec.
                while !self.sleep(stop, 60_000).await {}
                return self.obey().await;
            }
            6 => self.say("job.event", json!({ "kind": "no-such-kind", "body": {} })),
            7 if !chunks => self.say("job.result", json!({ "result": "y".repeat(4_000) })),
            _ if chunks => self.say("job.result", json!({ "summary": "in chunks" })),
            _ => self.say("job.result", json!({ "result": { "said": self.said } })),
        };
        let _ = ended;
        AttemptEnd::Finished
    }
}
