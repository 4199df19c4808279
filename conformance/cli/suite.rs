//! `arcpd conformance` as its users run it: against a daemon's address, against a command, and where it fails.

use super::daemon::{Daemon, arcpd};

/// Runs the program in an empty home; its exit code and what it writes to stdout.
fn alone(args: &[&str]) -> (Option<i32>, String) {
    let home = tempfile::tempdir().unwrap();
    let output = arcpd(home.path()).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn daemon() -> Daemon {
    Daemon::with(&["--demo-agents", "--token", "alice=tok-a", "--token", "bob=tok-b"], "")
}

#[test]
fn the_suite_runs_against_an_address_and_tells_in_every_form() {
    let daemon = daemon();
    let kept = tempfile::tempdir().unwrap();
    let junit = kept.path().join("results.xml");
    let tables = kept.path().join("results.md");
    let mut args = vec!["conformance", "--filter", "jobs/", "--token-b", "tok-b"];
    args.extend(["--junit", junit.to_str().unwrap(), "--markdown", tables.to_str().unwrap()]);
    let table = daemon.run(&args);
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.out.contains("ok       jobs/cancel\n") && table.out.contains(" 0 failed"), "{table:?}");
    assert!(std::fs::read_to_string(&junit).unwrap().contains("classname=\"jobs\" name=\"cancel\""));
    let tables = std::fs::read_to_string(&tables).unwrap();
    assert!(tables.contains("| ARCP-7.4-1 | kept | jobs/cancel"), "{tables}");
    let told = daemon.run(&[&args[..], &["--json"]].concat());
    assert_eq!((told.code, &told.json()[0]["failed"]), (Some(0), &0.into()), "{told:?}");
}

#[test]
fn what_a_runtime_does_not_offer_is_pending_and_a_wrong_token_is_said() {
    let daemon = Daemon::with(&["--token", "alice=tok-a"], "");
    let pending = daemon.run(&["conformance", "--filter", "jobs/echo"]);
    assert_eq!(pending.code, Some(0), "{pending:?}");
    assert!(pending.out.contains("pending  jobs/echo (the agent echo is not hosted)"), "{pending:?}");
    let wrong = daemon.run(&["conformance", "--token", "wrong"]);
    assert_ne!(wrong.code, Some(0), "{wrong:?}");
    assert!(wrong.err.contains("UNAUTHENTICATED"), "{wrong:?}");
}

#[test]
fn a_command_is_a_runtime_for_each_connection() {
    let command =
        format!("{} stdio --demo-agents --token alice=tok-a 2>/dev/null", env!("CARGO_BIN_EXE_arcpd"));
    let (code, out) = alone(&["conformance", "--filter", "jobs/", "--token", "tok-a", "--stdio", &command]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("ok       jobs/cancel\n"), "{out}");
}

#[test]
fn a_requirement_is_explained_with_the_cases_that_check_it() {
    let (code, out) = alone(&["conformance", "--explain", "ARCP-7.4-1"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("CANCELLED") && out.contains("jobs/cancel"), "{out}");
    assert_eq!(alone(&["conformance", "--explain", "ARCP-99-1"]).0, Some(2));
}

#[test]
fn a_case_that_fails_is_told_with_its_line_and_kept_without_tokens() {
    let daemon = daemon();
    let kept = tempfile::tempdir().unwrap();
    // A daemon that speaks as one client needs it ends a cancelled job in another message.
    let (url, directory) = (format!("{}?dialect=python", daemon.url), kept.path().to_str().unwrap());
    let ran = daemon.run(&["conformance", "--filter", "jobs/cancel", "--url", &url, "--record", directory]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("FAIL     jobs/cancel line 10 [ARCP-7.4-1]: expected job.error"), "{ran:?}");
    let transcript = std::fs::read_to_string(kept.path().join("jobs-cancel.txt")).unwrap();
    assert!(transcript.contains("a > ") && transcript.contains("\"job.cancelled\""), "{transcript}");
    assert!(!transcript.contains("tok-a") && !transcript.contains("rt_"), "{transcript}");
}
