//! What the operating system tells cheaply of this process.

use std::fs;

use super::metrics::Page;

/// Puts on the page what can be known here; elsewhere than on Linux, nothing.
pub fn measure(page: &mut Page) {
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory of the process that is in use", bytes);
    }
    if let Some(open) = open_descriptors() {
        page.gauge("process_open_fds", "File descriptors that are open", open);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn open_descriptors() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that was just read.
    u64::try_from(open).ok().map(|open| open.saturating_sub(1))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        assert!(resident_bytes().unwrap() > 100_000);
        let before = open_descriptors().unwrap();
        let held: Vec<fs::File> = (0..50).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        // Other tests open and close files meanwhile.
        assert!(open_descriptors().unwrap() + 25 > before + held.len() as u64);
    }
}
