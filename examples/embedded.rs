//! arcpd inside a Rust program: an agent as an async function, a client in the same process, no socket.
//!
//! `cargo run --example embedded`
#![allow(clippy::print_stdout)] // An example talks.

use std::error::Error;

use arcpd::client::{Client, ClientOptions, JobUpdate, Link, Outcome, SubmitRequest};
use arcpd::embed::Runtime;
use arcpd::wire::session::Token;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder()
        .token("me", "a-token-of-my-own")
        .agent("count@1.0.0", |job| async move {
            let to: u64 = job.input()?;
            for i in 1..=to {
                job.progress(i, Some(to), Some("counting")).await?;
            }
            Ok(json!({ "counted": to }))
        })
        .start()?;

    let inside = runtime.clone();
    let connector = move || {
        let inside = inside.clone();
        async move { Ok(Link::new(inside.connect())) }
    };
    let client = Client::connect(connector, ClientOptions::new(Token::new("a-token-of-my-own"))).await?;

    let mut job = client.submit(SubmitRequest::new("count".parse()?).input(&3)?).await?;
    while let Some(update) = job.next().await {
        match &update {
            JobUpdate::Event(event) => println!("{} {}", event.event.kind, event.event.body),
            JobUpdate::Ended(Outcome::Success(result)) => {
                println!("result {:?}", result.result.as_ref().map(|r| r.get()))
            }
            JobUpdate::Ended(Outcome::Failed(error)) => return Err(error.error().into()),
            JobUpdate::Interrupted(_)
            | JobUpdate::Resumed(_)
            | JobUpdate::Missed { .. }
            | JobUpdate::Cut(_) => {
                println!("{update:?}");
            }
        }
    }

    client.close().await;
    runtime.stop().await;
    Ok(())
}
