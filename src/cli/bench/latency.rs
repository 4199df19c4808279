//! How long one job takes when nothing else goes on.

use std::time::{Duration, Instant};

use super::report::Figure;
use super::server::Endpoint;
use super::session::{Kind, Session, echo};
use super::{BenchError, scaled};

/// Jobs of a round.
const JOBS: u32 = 2_000;

/// Jobs before those that count.
const UNCOUNTED: usize = 20;

/// One job at a time, and one ping before each: the round trip is measured under the same load.
pub(super) async fn round(endpoint: &Endpoint, scale: f64) -> Result<Vec<Figure>, BenchError> {
    let mut session = Session::open(endpoint, &["heartbeat", "progress"]).await?;
    let submit = echo();
    let (mut pings, mut accepted, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scaled(JOBS, scale, 1_000_000) + UNCOUNTED as u64 {
        let start = Instant::now();
        session.feed("session.ping", r#"{"nonce":"n"}"#).await?;
        session.flush().await?;
        session.wait_for(Kind::Pong).await?;
        pings.push(start.elapsed());
        let start = Instant::now();
        session.submit(&submit).await?;
        session.wait_for(Kind::Accepted).await?;
        accepted.push(start.elapsed());
        session.wait_for(Kind::Result).await?;
        ended.push(start.elapsed());
    }
    let mut figures = Vec::new();
    for (id, what, mut times) in [
        ("ping", "ping → pong", pings.split_off(UNCOUNTED)),
        ("accepted", "submit → accepted", accepted.split_off(UNCOUNTED)),
        ("ended", "submit → terminal", ended.split_off(UNCOUNTED)),
    ] {
        times.sort_unstable();
        for percent in [50, 99] {
            let value = quantile(&times, percent).as_secs_f64() * 1e6;
            figures.push(Figure::new(
                format!("latency.{id}.p{percent}"),
                format!("{what}, p{percent}"),
                "µs",
                value,
            ));
        }
    }
    Ok(figures)
}

/// The smallest of sorted times that so many percent do not exceed.
fn quantile(times: &[Duration], percent: usize) -> Duration {
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_times_themselves() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(quantile(&times, 50), Duration::from_micros(100));
        assert_eq!(quantile(&times, 99), Duration::from_micros(198));
        assert_eq!(quantile(&times[..1], 50), Duration::from_micros(1));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }
}
