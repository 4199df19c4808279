//! arcpd inside a Rust program: agents as async functions, a client in the same process, no socket.
//!
//! `cargo run --example embedded`
#![allow(clippy::print_stdout)] // An example talks.

use std::error::Error;
use std::time::Duration;

use arcpd::client::{self, Client, ClientOptions, JobHandle, JobUpdate, Link, SubmitRequest};
use arcpd::embed::{AgentError, Job, Runtime, Token};
use serde_json::{Value, json};

/// Counts. An input that is no number fails the job with `INVALID_REQUEST`, by `?`.
async fn count(job: Job) -> Result<Value, AgentError> {
    let to: u64 = job.input()?;
    for i in 1..=to {
        job.progress(i, Some(to), Some("counting")).await?;
    }
    Ok(json!({ "counted": to }))
}

/// Works for an hour, and leaves at once when its job is cancelled.
async fn patient(job: Job) -> Result<Value, AgentError> {
    job.log("info", "this takes an hour").await?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(3600)) => Ok(json!("done")),
        _ = job.stopped() => Err(AgentError::cancelled()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder()
        .token("me", "a-token-of-my-own")
        .agent("count@1.0.0", count)
        .agent("patient@1.0.0", patient)
        .start()?;

    let inside = runtime.clone();
    let connector = move || {
        let inside = inside.clone();
        async move { Ok(Link::new(inside.connect())) }
    };
    let client = Client::connect(connector, ClientOptions::new(Token::new("a-token-of-my-own"))).await?;

    println!("-- a job that succeeds");
    let job = client.submit(SubmitRequest::new("count".parse()?).input(&3)?).await?;
    follow(&client, job, false).await?;
    println!("-- a job that fails");
    let job = client.submit(SubmitRequest::new("count".parse()?).input(&"many")?).await?;
    follow(&client, job, false).await?;
    println!("-- a job that is cancelled");
    let job = client.submit(SubmitRequest::new("patient".parse()?)).await?;
    follow(&client, job, true).await?;

    client.close().await;
    runtime.stop().await;
    Ok(())
}

/// Tells what happens in a job until it has ended; cancels it after its first event if asked to.
async fn follow(client: &Client, mut job: JobHandle, mut cancel: bool) -> Result<(), Box<dyn Error>> {
    while let Some(update) = job.next().await {
        match update {
            JobUpdate::Event(event) => {
                println!("{} {}", event.event.kind, event.event.body);
                if std::mem::take(&mut cancel) {
                    client.cancel(job.job_id(), Some("that is enough".into())).await?;
                }
            }
            JobUpdate::Ended(client::Outcome::Success(result)) => {
                println!("result {}", result.result.as_ref().map_or("null", |json| json.get()));
            }
            JobUpdate::Ended(client::Outcome::Failed(error)) => {
                println!("{}: {}", error.final_status, error.error());
            }
            // The connection broke and came back; nothing was missed. Not in here, where there is no network.
            JobUpdate::Interrupted(_) | JobUpdate::Resumed(_) => {}
            JobUpdate::Missed { after, before } => println!("events {after} to {before} are gone"),
            JobUpdate::Cut(cut) => return Err(cut.into()),
        }
    }
    Ok(())
}
