//! The operators' commands against a real daemon.

use super::daemon::{Daemon, Ran, arcpd};

fn daemon() -> Daemon {
    Daemon::with(&["--demo-agents", "--token", "alice=tok-a", "--token", "olga:operator=tok-o"], "")
}

fn as_olga(daemon: &Daemon, args: &[&str]) -> Ran {
    daemon.run(&[args, &["--token", "tok-o"]].concat())
}

fn detached(daemon: &Daemon, agent: &str, input: &str) -> String {
    let ran = daemon.run(&["submit", agent, "--input", input, "--detach", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.out.trim().to_owned()
}

#[test]
fn an_operator_sees_everybody_and_others_do_not() {
    let daemon = daemon();
    let jobs: Vec<String> = (0..3).map(|_| detached(&daemon, "sleeper", "{\"ms\":60000}")).collect();
    let listed = as_olga(&daemon, &["jobs", "--everybody", "--json"]);
    let ids: Vec<String> =
        listed.json().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, [2, 1, 0].map(|n: usize| jobs[n].clone()), "{listed:?}");
    assert_eq!(listed.json()[0]["principal"], "alice");
    assert_eq!(as_olga(&daemon, &["jobs", "--json"]).out, "", "her own");

    let table = as_olga(&daemon, &["jobs", "--principal", "alice", "--status", "running", "--limit", "2"]);
    assert!(table.out.starts_with("JOB ") && table.out.contains("PRINCIPAL"), "{table:?}");
    assert_eq!(table.out.lines().count(), 3, "{table:?}");
    assert!(table.err.contains("there are more"), "{table:?}");
    let none = as_olga(&daemon, &["jobs", "--principal", "bob", "--agent", "echo", "--json"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));

    let sessions = as_olga(&daemon, &["sessions", "--all", "--json"]);
    // Those of the three submits, which wait for a while for their clients.
    let alices = sessions.json().iter().filter(|session| session["principal"] == "alice").count();
    assert_eq!(alices, 3, "{sessions:?}");
    let table = as_olga(&daemon, &["sessions", "--limit", "1"]);
    assert!(table.out.starts_with("SESSION ") && table.out.lines().count() == 2, "{table:?}");

    for args in [&["jobs", "--everybody"][..], &["sessions"], &["status"]] {
        let refused = daemon.run(args);
        assert_eq!(refused.code, Some(6), "{args:?}: {refused:?}");
        assert!(refused.err.contains("PERMISSION_DENIED") && refused.out.is_empty(), "{refused:?}");
        let unknown = daemon.run(&[args, &["--token", "wrong", "--json"]].concat());
        assert_eq!(unknown.code, Some(7), "{args:?}: {unknown:?}");
        assert_eq!(unknown.json()[0]["code"], "UNAUTHENTICATED", "{unknown:?}");
        let nobody = daemon.run(&[args, &["--url", "ws://127.0.0.1:1/arcp"]].concat());
        assert_eq!(nobody.code, Some(9), "{args:?}: {nobody:?}");
        assert!(nobody.err.contains("is a daemon listening"), "{nobody:?}");
        assert_eq!(daemon.run(&[args, &["--url", "http://x"]].concat()).code, Some(2), "{args:?}");
    }
}

#[test]
fn an_operator_cancels_what_is_not_hers() {
    let daemon = daemon();
    let job = detached(&daemon, "sleeper", "{\"ms\":60000}");
    let hers = as_olga(&daemon, &["cancel", &job]);
    assert_eq!(hers.code, Some(6), "as a client she does not know it: {hers:?}");
    let cancelled = as_olga(&daemon, &["cancel", &job, "--as-operator", "--reason", "maintenance", "--json"]);
    assert_eq!(
        (cancelled.code, &cancelled.json()[0]["job_id"]),
        (Some(0), &job.as_str().into()),
        "{cancelled:?}"
    );
    let ended = daemon.run(&["watch", &job]);
    assert!(ended.code == Some(3) && ended.err.contains("maintenance"), "{ended:?}");
    let late = as_olga(&daemon, &["cancel", &job, "--as-operator"]);
    assert!(late.code == Some(6) && late.err.contains("cancelled"), "{late:?}");
}

#[test]
fn the_status_is_one_screen() {
    let daemon = daemon();
    detached(&daemon, "sleeper", "{\"ms\":60000}");
    let screen = as_olga(&daemon, &["status"]);
    assert_eq!(screen.code, Some(0), "{screen:?}");
    for words in [
        concat!("arcpd       ", env!("CARGO_PKG_VERSION"), " at ws://127.0.0.1:"),
        "ready       yes\n",
        "jobs        1 running, 0 pending, 0 finished\n",
        "store       sqlite ",
        ", durability full, epoch 1\n",
        "limits      none is used to 80 % or more\n",
    ] {
        assert!(screen.out.contains(words), "{words:?} in {}", screen.out);
    }
    assert!(screen.out.lines().count() <= 10);
    let all = &as_olga(&daemon, &["status", "--json"]).json()[0];
    assert_eq!(all["status"]["ready"], true);
    assert_eq!(all["store"]["kind"], "sqlite");
    assert!(all["limits"].as_array().unwrap().len() > 30);

    let narrow = Daemon::with(
        &[
            "--demo-agents",
            "--store",
            "memory",
            "--token",
            "alice:operator=tok-a",
            "--limit",
            "jobs_per_principal=1",
        ],
        "",
    );
    detached(&narrow, "sleeper", "{\"ms\":60000}");
    let screen = narrow.run(&["status"]);
    assert!(screen.out.contains("limits      jobs_per_principal is used to 100 %: 1 of 1\n"), "{screen:?}");
}

#[test]
fn whoever_runs_the_daemon_is_its_operator_without_another_word() {
    let daemon = Daemon::with(&["--demo-agents"], "");
    let mut status = arcpd(daemon.home.path());
    let ran = Ran::of(status.args(["status", "--url", &daemon.url]).output().unwrap());
    assert!(ran.code == Some(0) && ran.out.contains("ready       yes"), "{ran:?}");
}
