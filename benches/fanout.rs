//! Events through a whole runtime in this process: agent, store, sessions, memory transports.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../conformance/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use arcpd::embed::Runtime;
use arcpd::transport::memory::{MemoryReader, MemoryWriter};
use arcpd::transport::{FrameReader as _, FrameWriter as _, Received, Transport as _};
use bytes::Bytes;
use common::peer::{PATIENCE, frame, hello};
use common::puppet::Puppets;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Events of the long stream.
const EVENTS: u64 = 10_000;

/// A client that looks at no more of a frame than it must.
struct Client {
    reader: MemoryReader,
    writer: MemoryWriter,
    sent: u64,
}

impl Client {
    async fn welcomed(runtime: &Runtime, features: &[&str]) -> Client {
        let (reader, writer) = runtime.connect().split();
        let mut client = Client { reader, writer, sent: 0 };
        client.send("session.hello", hello("tok-a", features)).await;
        client.until("session.welcome").await;
        client
    }

    async fn send(&mut self, kind: &str, payload: Value) {
        self.sent += 1;
        let text = frame(&format!("f{}", self.sent), kind, payload).to_string();
        self.writer.feed(text.into()).await.unwrap();
        self.writer.flush().await.unwrap();
    }

    async fn next(&mut self) -> Bytes {
        match timeout(PATIENCE, self.reader.receive()).await.expect("a frame in time").unwrap() {
            Received::Text(text) => text,
            Received::Rejected(fault) => panic!("{fault}"),
        }
    }

    async fn until(&mut self, kind: &str) -> Value {
        let wanted = format!(r#""type":"{kind}""#);
        loop {
            let text = self.next().await;
            // The type stands in the head, which the runtime writes first.
            if text[..text.len().min(100)].windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                return serde_json::from_slice(&text).unwrap();
            }
        }
    }

    async fn submit(&mut self, payload: Value) -> String {
        self.send("job.submit", payload).await;
        self.until("job.accepted").await["payload"]["job_id"].as_str().unwrap().into()
    }
}

/// One job, its agent's strings, and so many sessions that follow it.
struct Scene {
    runtime: Runtime,
    puppets: Puppets,
    job: String,
    clients: Vec<Client>,
}

impl Scene {
    async fn of(sessions: usize) -> Scene {
        let puppets = Puppets::default();
        let runtime = Runtime::builder().token("alice", "tok-a").host("puppet@1.0.0", puppets.host());
        let runtime = runtime.start().unwrap();
        let mut first = Client::welcomed(&runtime, &["subscribe"]).await;
        let job = first.submit(json!({ "agent": "puppet" })).await;
        let mut clients = vec![first];
        while clients.len() < sessions {
            let mut client = Client::welcomed(&runtime, &["subscribe"]).await;
            client.send("job.subscribe", json!({ "job_id": job })).await;
            client.until("job.subscribed").await;
            clients.push(client);
        }
        Scene { runtime, puppets, job, clients }
    }

    async fn publish(&mut self, message: &str) {
        self.puppets.log(&self.job, message).await.unwrap();
        for client in &mut self.clients {
            client.next().await;
        }
    }
}

fn tokio_of_two() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// From the agent's word until the last session has it.
fn one_event(c: &mut Criterion) {
    let tokio = tokio_of_two();
    let message = "x".repeat(150);
    let mut group = c.benchmark_group("one event to sessions");
    for sessions in [1, 10, 100] {
        let mut scene = tokio.block_on(Scene::of(sessions));
        group.throughput(Throughput::Elements(sessions as u64));
        group.bench_function(BenchmarkId::from_parameter(sessions), |b| {
            b.iter_custom(|iterations| {
                tokio.block_on(async {
                    let start = Instant::now();
                    for _ in 0..iterations {
                        scene.publish(&message).await;
                    }
                    start.elapsed()
                })
            });
        });
        tokio.block_on(scene.runtime.stop());
    }
    group.finish();
}

/// From the submit of a ticker until its result has come, after all its events.
fn a_stream(c: &mut Criterion) {
    let tokio = tokio_of_two();
    let runtime =
        tokio.block_on(async { Runtime::builder().token("alice", "tok-a").demo_agents().start().unwrap() });
    let mut client = tokio.block_on(Client::welcomed(&runtime, &["progress"]));
    let mut group = c.benchmark_group("a stream of events to one session");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    group.bench_function(BenchmarkId::from_parameter(EVENTS), |b| {
        b.iter_custom(|iterations| {
            tokio.block_on(async {
                let start = Instant::now();
                for _ in 0..iterations {
                    client
                        .submit(json!({ "agent": "ticker", "input": { "count": EVENTS, "interval_ms": 0 } }))
                        .await;
                    client.until("job.result").await;
                }
                start.elapsed()
            })
        });
    });
    group.finish();
    tokio.block_on(runtime.stop());
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = one_event, a_stream
}
criterion_main!(benches);
