//! How fast a session that lost its connection is sent everything once more.

use super::report::{Figure, Meter};
use super::server::Endpoint;
use super::session::{Session, ticker};
use super::stream::MOST;
use super::{BenchError, scaled};

/// Events of a round.
const EVENTS: u32 = 200_000;

/// A session that acknowledged nothing of a job that has ended.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let events = scaled(EVENTS, scale, MOST);
    let mut session = Session::open(endpoint, &["progress"]).await?;
    session.submit(&ticker(events, 0)).await?;
    session.read_events(events).await?;
    let meter = Meter::start(endpoint);
    session.again(endpoint).await?.read_events(events).await?;
    let what = "replay after a reconnect".into();
    Ok(vec![meter.rate("resume".into(), what, "events/s", events, "event")])
}
