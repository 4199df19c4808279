//! `arcpd status`: how the daemon is, on one screen.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::operator::Asking;
use crate::wire::api::{DaemonStatus, LimitList, LimitRow, StoreStatus};

/// A limit of which so many per cent are used is worth a line.
const NEAR_ITS_END: u64 = 80;

/// Shows how the daemon is: whether it is ready, what it holds, which limits are near their ends. Needs a token with
/// the role operator.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: StatusArgs, context: &mut Context) -> Result<Exit, Failure> {
    let asking = Asking::of(&args.connection, context)?;
    let status: DaemonStatus = asking.get("/status", context).await?;
    let store: StoreStatus = asking.get("/store", context).await?;
    let LimitList { limits } = asking.get("/limits", context).await?;
    if context.terminal.is_json() {
        let all = json!({ "status": status, "store": store, "limits": limits });
        context.terminal.line(&all.to_string())?;
    } else {
        let screen = screen(&args.connection.url, &status, &store, &limits);
        context.terminal.data(screen.as_bytes())?;
    }
    Ok(Exit::Success)
}

fn screen(url: &str, status: &DaemonStatus, store: &StoreStatus, limits: &[LimitRow]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // A text takes whatever is written.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("arcpd", format!("{} at {url}, up {}", status.version, age(status.uptime_sec)));
    let why = status.not_ready_because.as_deref().unwrap_or("it does not say why");
    line("ready", if status.ready { "yes".into() } else { format!("no: {why}") });
    let (sessions, jobs) = (status.sessions, status.jobs);
    let clients = format!("{}, {} of them connected", sessions.open, sessions.connected);
    line("sessions", format!("{clients}; connections: {}", status.connections));
    line("jobs", format!("{} running, {} pending, {} finished", jobs.running, jobs.pending, jobs.finished));
    let durability = store.durability.as_ref().map(|what| format!(", durability {what}")).unwrap_or_default();
    let path = store.path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
    line("store", format!("{}{path}{durability}, epoch {}", store.kind, store.epoch));
    let share = percent(store.used_bytes, store.max_bytes);
    let used = format!("{} of {} used ({share} %)", bytes(store.used_bytes), bytes(store.max_bytes));
    line(
        "",
        format!(
            "{used}, {} on the disk, {} to be written",
            bytes(store.disk_bytes),
            bytes(store.queue_bytes)
        ),
    );
    let mut near =
        limits.iter().filter_map(|limit| Some((limit, percent(limit.used?, limit.value)))).peekable();
    let near: Vec<_> = near.by_ref().filter(|(_, share)| *share >= NEAR_ITS_END).collect();
    if near.is_empty() {
        line("limits", format!("none is used to {NEAR_ITS_END} % or more"));
    }
    for (at, (limit, share)) in near.into_iter().enumerate() {
        let used = limit.used.unwrap_or_default();
        let name = if at == 0 { "limits" } else { "" };
        line(name, format!("{} is used to {share} %: {used} of {}", limit.name, limit.value));
    }
    text
}

/// How much of `max` is used, in per cent; all of a limit that is 0.
fn percent(used: u64, max: u64) -> u64 {
    u64::try_from(u128::from(used) * 100 / u128::from(max.max(1))).unwrap_or(u64::MAX)
}

pub(super) fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut whole, mut rest, mut unit) = (n, 0, 0);
    while whole >= 1024 && unit + 1 < units.len() {
        rest = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{whole} B") } else { format!("{whole}.{rest} {}", units[unit]) }
}

fn age(sec: u64) -> String {
    match (sec / 86_400, sec / 3_600 % 24, sec / 60 % 60, sec % 60) {
        (0, 0, 0, sec) => format!("{sec} s"),
        (0, 0, min, sec) => format!("{min} min {sec} s"),
        (0, hours, min, _) => format!("{hours} h {min} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_shares_and_ages_are_told_in_a_few_digits() {
        let sizes = [0, 1023, 1024, 1536, 1024 * 1024, 10 * 1024 * 1024 * 1024];
        assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "10.0 GiB"]);
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!([percent(0, 10), percent(799, 1_000), percent(8, 10), percent(1, 0)], [0, 79, 80, 100]);
        assert_eq!(
            [59, 60, 3_599, 3_600, 90_061].map(age),
            ["59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "1 d 1 h"]
        );
    }
}
