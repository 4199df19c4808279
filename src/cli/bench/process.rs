//! What the system says about a process: CPU time, memory, file descriptors. Linux only; elsewhere nothing is known.

use std::fs;

/// Clock ticks per second in `/proc/PID/stat`: 100 on every architecture that Linux has a Rust standard library for.
const TICKS_PER_SEC: u32 = 100;

/// File descriptors that are not used for sessions.
const OTHER_DESCRIPTORS: u64 = 64;

/// CPU time of a process and of its threads since it began, in microseconds, in steps of 10 ms.
pub(super) fn cpu_us(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may itself hold any of both.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut times = rest.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    let (user, system) = (times.next()??, times.next()??);
    Some((user + system) * 1_000_000 / u64::from(TICKS_PER_SEC))
}

/// Memory of a process that is in RAM, in bytes.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    // Exact; the counters in `statm` and `status` lag behind by some pages per thread.
    let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    exact.and_then(|text| kilobytes(&text, "Rss:")).or_else(|| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        kilobytes(&status, "VmRSS:")
    })
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Lets this process, and those that it starts, open as many files as the system allows. Failing is no error: fewer
/// sessions are opened then.
pub(super) fn raise_descriptor_limit() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// How many sockets this process may have for sessions.
pub(super) fn sockets() -> u64 {
    #[cfg(target_os = "linux")]
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(target_os = "linux"))]
    let descriptors = Some(256);
    descriptors.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS).max(1)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_and_no_other_is_made_up() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(cpu_us(pid).unwrap() < 86_400_000_000);
        // Process ids end at 2^22.
        assert_eq!((cpu_us(u32::MAX), resident_bytes(u32::MAX)), (None, None));
        assert_eq!(kilobytes("Pss:  9 kB\nRss:\t  12 kB\n", "Rss:"), Some(12 * 1024));
        assert!(sockets() >= 1);
    }
}
