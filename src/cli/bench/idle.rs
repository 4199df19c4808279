//! What a session costs that does nothing.

use std::time::Duration;

use tokio::task::JoinSet;

use super::report::{Figure, Meter};
use super::server::Endpoint;
use super::session::Session;
use super::{BenchError, joined, process, scaled};

/// Sessions of a round.
const SESSIONS: u32 = 1_000;

/// Sessions at most.
const MOST: u64 = 15_000;

/// Sessions that are opened side by side.
const AT_ONCE: u64 = 16;

/// Time for the daemon to come to rest.
pub(super) const REST: Duration = Duration::from_millis(200);

/// Opens sessions and looks at the daemon's memory before and after. Nothing is measured where that is unknown.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let sessions = scaled(SESSIONS, scale, MOST).min(process::sockets());
    // The first session makes the daemon allocate what all sessions share.
    let first = Session::open(endpoint, &[]).await?;
    let resident = || endpoint.pid.and_then(process::resident_bytes);
    let Some(before) = resident() else { return Ok(Vec::new()) };
    let meter = Meter::start(endpoint);
    let mut open = Vec::new();
    let mut tasks = JoinSet::new();
    for begun in 0..sessions {
        if begun >= AT_ONCE
            && let Some(done) = tasks.join_next().await
        {
            open.push(joined(done)?);
        }
        let endpoint = endpoint.clone();
        tasks.spawn(async move { Session::open(&endpoint, &[]).await });
    }
    while let Some(done) = tasks.join_next().await {
        open.push(joined(done)?);
    }
    let what = "sessions opened, 16 at once".into();
    let opened = meter.rate("idle.opened".into(), what, "sessions/s", sessions, "session");
    tokio::time::sleep(REST).await;
    let Some(after) = resident() else { return Ok(Vec::new()) };
    drop((first, open));
    let each = after.saturating_sub(before) as f64 / sessions as f64;
    let what = format!("memory of an idle session, {sessions} open");
    Ok(vec![Figure::new("idle.bytes".into(), what, "bytes", each), opened])
}
