//! How many events of one job reach the session that submitted it.

use super::report::{Figure, Meter};
use super::server::Endpoint;
use super::session::{Session, ticker};
use super::{BenchError, scaled};

/// Events of a round.
const EVENTS: u32 = 200_000;

/// Events at most: a daemon keeps no longer history.
pub(super) const MOST: u64 = 1_500_000;

/// One ticker that does not wait.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let events = scaled(EVENTS, scale, MOST);
    let mut session = Session::open(endpoint, &["progress"]).await?;
    let meter = Meter::start(endpoint);
    session.submit(&ticker(events, 0)).await?;
    session.read_events(events).await?;
    Ok(vec![meter.rate("stream".into(), "events of one job".into(), "events/s", events, "event")])
}
