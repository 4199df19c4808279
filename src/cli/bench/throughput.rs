//! How many jobs a daemon does per second.

use tokio::task::JoinSet;

use super::report::{Figure, Meter};
use super::server::Endpoint;
use super::session::{Kind, Session, echo};
use super::{BenchError, joined, process, scaled};

/// Jobs in flight on one session, and jobs of a round.
const DEPTHS: [(u64, u32); 3] = [(1, 4_000), (16, 16_000), (64, 32_000)];

/// Sessions that do one job at a time.
const SESSIONS: u64 = 100;

/// Jobs of a round on all of them.
const SESSION_JOBS: u32 = 20_000;

/// Jobs at most.
const MOST: u64 = 5_000_000;

/// Echoes, as many as the daemon does.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let mut figures = Vec::new();
    for (depth, base) in DEPTHS {
        let jobs = scaled(base, scale, MOST);
        let session = Session::open(endpoint, &[]).await?;
        let meter = Meter::start(endpoint);
        drive(session, jobs, depth).await?;
        let (id, what) = (format!("throughput.{depth}"), format!("echo, {depth} in flight on one session"));
        figures.push(meter.rate(id, what, "jobs/s", jobs, "job"));
    }
    figures.push(many(endpoint, scale).await?);
    Ok(figures)
}

/// Keeps so many jobs in flight until so many have ended.
async fn drive(mut session: Session, jobs: u64, depth: u64) -> Result<Session, BenchError> {
    let submit = echo();
    let (mut begun, mut ended) = (0, 0);
    while ended < jobs {
        while begun < jobs && begun < ended + depth {
            session.feed("job.submit", &submit).await?;
            begun += 1;
        }
        session.flush().await?;
        // Waits for one frame, then takes all that came with it: one flush for many, as busy clients do.
        let mut frame = Some(session.next().await);
        while let Some(next) = frame {
            ended += u64::from(next?.0 == Kind::Result);
            frame = if ended < jobs { session.ready() } else { None };
        }
    }
    Ok(session)
}

async fn many(endpoint: &Endpoint, scale: f64) -> Result<Figure, BenchError> {
    let sessions = SESSIONS.min(process::sockets());
    let each = scaled(SESSION_JOBS, scale, MOST).div_ceil(sessions);
    let mut open = Vec::new();
    for _ in 0..sessions {
        open.push(Session::open(endpoint, &[]).await?);
    }
    let meter = Meter::start(endpoint);
    let mut tasks: JoinSet<_> = open.into_iter().map(|session| drive(session, each, 1)).collect();
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(joined(task)?);
    }
    let what = format!("echo, {sessions} sessions, 1 in flight on each");
    let figure = meter.rate("throughput.sessions".into(), what, "jobs/s", each * sessions, "job");
    // Only now, so that closing sessions is not measured.
    drop(done);
    Ok(figure)
}
