//! How fast the history of a job that has ended reaches a session that asks for it.

use super::report::{Figure, Meter};
use super::server::Endpoint;
use super::session::{Kind, Session, from_the_beginning, ticker};
use super::stream::MOST;
use super::{BenchError, scaled};

/// Events of a round.
const EVENTS: u32 = 200_000;

/// A subscription to a ticker that has ended.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let events = scaled(EVENTS, scale, MOST);
    let mut submitter = Session::open(endpoint, &["progress"]).await?;
    submitter.submit(&ticker(events, 0)).await?;
    let accepted = submitter.wait_for(Kind::Accepted).await?;
    submitter.read_events(events).await?;
    let mut session = Session::open(endpoint, &["progress", "subscribe"]).await?;
    let meter = Meter::start(endpoint);
    session.feed("job.subscribe", &from_the_beginning(&accepted)?).await?;
    session.flush().await?;
    session.read_events(events).await?;
    let what = "replay of a job that has ended".into();
    Ok(vec![meter.rate("replay".into(), what, "events/s", events, "event")])
}
