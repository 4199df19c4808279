//! How fast the events of one job reach many sessions.
//!
//! Sessions can follow a job only once it is accepted, and a ticker that does not wait is far ahead by then. They
//! subscribe with its history, so every session gets every event, whenever it comes in. Such a burst is taken in large
//! pieces; the other end is a slow ticker, of which every event wakes every session.

use tokio::task::JoinSet;

use super::report::{Figure, Meter};
use super::server::Endpoint;
use super::session::{Kind, Session, from_the_beginning, ticker};
use super::stream::MOST;
use super::{BenchError, joined, process, scaled};

/// Sessions that subscribe.
const SUBSCRIBERS: u64 = 100;

/// Events of a burst.
const EVENTS: u32 = 10_000;

/// Events of the slow ticker.
const SLOW_EVENTS: u32 = 200;

/// What the slow ticker waits before each event, in milliseconds.
const SLOW_INTERVAL_MS: u64 = 5;

/// A burst to many, and a slow ticker to many.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let burst = one(endpoint, "fanout.burst", "as fast as it can", scaled(EVENTS, scale, MOST), 0).await?;
    let events = scaled(SLOW_EVENTS, scale, MOST);
    let pace = format!("one event per {SLOW_INTERVAL_MS} ms");
    let slow = one(endpoint, "fanout.paced", &pace, events, SLOW_INTERVAL_MS).await?;
    Ok(vec![burst, slow])
}

async fn one(
    endpoint: &Endpoint,
    id: &str,
    pace: &str,
    events: u64,
    interval_ms: u64,
) -> Result<Figure, BenchError> {
    let subscribers = SUBSCRIBERS.min(process::sockets());
    let mut submitter = Session::open(endpoint, &["progress"]).await?;
    let mut open = Vec::new();
    for _ in 0..subscribers {
        open.push(Session::open(endpoint, &["progress", "subscribe"]).await?);
    }
    let meter = Meter::start(endpoint);
    submitter.submit(&ticker(events, interval_ms)).await?;
    let subscribe = from_the_beginning(&submitter.wait_for(Kind::Accepted).await?)?;
    let mut tasks: JoinSet<_> =
        open.into_iter().map(|session| follow(session, Some(subscribe.clone()), events)).collect();
    tasks.spawn(follow(submitter, None, events));
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(joined(task)?);
    }
    let what = format!("one job to {subscribers} subscribers and its submitter, {pace}");
    let figure = meter.rate(id.into(), what, "deliveries/s", events * (subscribers + 1), "delivery");
    // Only now, so that closing sessions is not measured.
    drop(done);
    Ok(figure)
}

/// Reads a job to its end.
async fn follow(mut session: Session, subscribe: Option<String>, events: u64) -> Result<Session, BenchError> {
    if let Some(subscribe) = subscribe {
        session.feed("job.subscribe", &subscribe).await?;
        session.flush().await?;
    }
    session.read_events(events).await?;
    Ok(session)
}
