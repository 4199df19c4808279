//! How long a daemon takes to start on a store that holds something.

use super::report::Figure;
use super::server::{Bed, Ending, Server};
use super::session::{Session, ticker};
use super::stream::MOST;
use super::{BenchError, scaled};

/// Events that are stored.
const EVENTS: u32 = 1_000_000;

/// Jobs that they belong to.
const JOBS: u64 = 10;

/// Jobs that have ended, then a start after an orderly end and one after a kill. Nothing is measured where nothing
/// is stored, or the daemon is somebody else's.
pub(super) async fn round(server: &mut Server, scale: f64) -> Result<Vec<Figure>, BenchError> {
    if matches!(server.bed(), None | Some(Bed::Memory)) {
        return Ok(Vec::new());
    }
    let events = scaled(EVENTS, scale, MOST).div_ceil(JOBS);
    let mut session = Session::open(&server.endpoint(), &["progress"]).await?;
    for _ in 0..JOBS {
        session.submit(&ticker(events, 0)).await?;
        session.read_events(events).await?;
    }
    drop(session);
    let mut figures = Vec::new();
    for (ending, id, after) in
        [(Ending::Orderly, "startup.clean", "an orderly end"), (Ending::Killed, "startup.killed", "a kill")]
    {
        if let Some(took) = server.restart(ending).await? {
            let what = format!("start with {} stored events, after {after}", events * JOBS);
            figures.push(Figure::new(id.into(), what, "ms", took.as_secs_f64() * 1_000.0));
        }
    }
    Ok(figures)
}
