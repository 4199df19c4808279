//! What a subscriber costs that is far behind and does not read.

use super::report::Figure;
use super::server::Endpoint;
use super::session::{Kind, Session, from_the_beginning, ticker};
use super::stream::MOST;
use super::{BenchError, idle, process, scaled};

/// Events that each is behind.
const EVENTS: u32 = 500_000;

/// Subscribers of a round.
const SUBSCRIBERS: u64 = 200;

/// Subscribers to the whole history of a job that never read, and the daemon's memory before and after. Nothing is
/// measured where that is unknown.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let events = scaled(EVENTS, scale, MOST);
    let mut submitter = Session::open(endpoint, &["progress", "subscribe"]).await?;
    submitter.submit(&ticker(events, 0)).await?;
    let accepted = submitter.wait_for(Kind::Accepted).await?;
    submitter.read_events(events).await?;
    let subscribe = from_the_beginning(&accepted)?;
    let resident = || endpoint.pid.and_then(process::resident_bytes);
    // The first makes the daemon allocate what all share.
    let mut behind = vec![lag(endpoint, &subscribe).await?];
    tokio::time::sleep(idle::REST).await;
    let Some(before) = resident() else { return Ok(Vec::new()) };
    for _ in 0..SUBSCRIBERS {
        behind.push(lag(endpoint, &subscribe).await?);
    }
    tokio::time::sleep(idle::REST).await;
    let Some(after) = resident() else { return Ok(Vec::new()) };
    drop(behind);
    let each = after.saturating_sub(before) as f64 / SUBSCRIBERS as f64;
    let what = format!("memory of a subscriber that is {events} events behind");
    Ok(vec![Figure::new("behind.bytes".into(), what, "bytes", each)])
}

/// Subscribes and reads no more than the first event.
async fn lag(endpoint: &Endpoint, subscribe: &str) -> Result<Session, BenchError> {
    let mut session = Session::open(endpoint, &["progress", "subscribe"]).await?;
    session.feed("job.subscribe", subscribe).await?;
    session.flush().await?;
    session.wait_for(Kind::Event).await?;
    Ok(session)
}
