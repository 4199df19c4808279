//! `arcpd bench` measures everything, says so in JSON, and leaves no process behind. How fast anything is, is no
//! matter of tests.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arcpd"));
    command.arg("bench").args(args).env_remove("ARCPD_TOKEN").stdin(Stdio::null());
    command
}

/// The processes that this one's child with that id started, by the environment that they share.
fn daemons(mark: &str) -> usize {
    let Ok(processes) = Path::new("/proc").read_dir() else { return 0 };
    let of_ours =
        |environment: Vec<u8>| environment.split(|byte| *byte == 0).any(|var| var == mark.as_bytes());
    let environments = processes.filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok());
    environments.filter(|environment| of_ours(environment.clone())).count()
}

#[test]
fn every_measurement_has_its_figures_and_no_process_is_left() {
    let mark = format!("BENCH_TEST=all-{}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let output = bench(&["--scale", "0.001", "--rounds", "2", "--json"]).env(name, value).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    assert_eq!(daemons(&mark), 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["rounds"], &report["scale"], &report["url"]),
        (&2.into(), &0.001.into(), &Value::Null)
    );
    assert!(report["cores"].as_u64().unwrap() >= 1);
    let figures = report["figures"].as_array().unwrap();
    let of_system = ["behind.bytes", "idle.bytes", "idle.opened"];
    let expected = "latency.ping.p50 latency.ping.p99 latency.accepted.p50 latency.accepted.p99 latency.ended.p50 \
        latency.ended.p99 throughput.1 throughput.16 throughput.64 throughput.sessions stream fanout.burst \
        fanout.paced replay resume behind.bytes startup.clean startup.killed idle.bytes idle.opened";
    for store in ["memory", "process", "full"] {
        let here = figures.iter().filter(|figure| figure["store"] == store);
        let ids: Vec<&str> = here.map(|figure| figure["id"].as_str().unwrap()).collect();
        let measured = |id: &&str| {
            (cfg!(target_os = "linux") || !of_system.contains(id))
                && (store != "memory" || !id.starts_with("startup"))
        };
        assert_eq!(ids, expected.split_whitespace().filter(measured).collect::<Vec<_>>(), "{store}");
    }
    for figure in figures {
        let number = |name: &str| figure[name].as_f64().unwrap();
        assert!(number("min") <= number("median") && number("median") <= number("max"), "{figure}");
        assert!(number("min") >= 0.0, "{figure}");
        assert_eq!(figure["rounds"].as_array().unwrap().len(), 2, "{figure}");
        assert!(figure["what"].is_string() && figure["unit"].is_string(), "{figure}");
    }
    if cfg!(target_os = "linux") {
        let stream = figures.iter().find(|figure| figure["id"] == "stream").unwrap();
        assert_eq!(stream["daemon_cpu_us"]["per"], "event");
    }
}

#[test]
fn one_measurement_is_a_table() {
    let args = ["--only", "stream", "--scale", "0.001", "--rounds", "1", "--store", "full"];
    let output = bench(&args).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.lines().nth(2).unwrap().starts_with("events of one job"), "{table}");
}

#[test]
fn daemons_elsewhere_and_senseless_sizes_are_refused() {
    for (args, says) in [
        (&["--url", "ws://192.0.2.1:7878/arcp", "--token", "t"][..], "on this machine only"),
        (&["--url", "ws://127.0.0.1:7878/arcp"], "--token"),
        (&["--scale", "0"], "0.0001 to 100"),
        (&["--scale", "NaN"], "0.0001 to 100"),
        (&["--rounds", "0"], "1..=100"),
        (&["--only", "speed"], "speed"),
    ] {
        let output = bench(args).output().unwrap();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}");
        assert!(talk.contains(says), "{args:?}: {talk}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_bench_takes_its_daemon_along() {
    let mark = format!("BENCH_TEST=interrupted-{}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let args = ["--only", "fanout", "--scale", "100", "--store", "memory"];
    let mut child =
        bench(&args).env(name, value).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the daemon runs", || daemons(&mark) == 2);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    until("nothing is left", || daemons(&mark) == 0);
}

#[cfg(target_os = "linux")]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < patience, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}
