//! Where a daemon keeps what it knows, who has it, and what others do about that.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::daemon::{Daemon, Ran, arcpd};
use super::stdio::Lines;

const ALICE: [&str; 3] = ["--demo-agents", "--token", "alice=tok-a"];

/// The default store of a daemon.
fn store_of(home: &std::path::Path) -> PathBuf {
    home.join(".local/state/arcpd/arcpd.db")
}

fn stdio(home: &std::path::Path, flags: &[&str]) -> Lines {
    Lines::start(arcpd(home).arg("stdio").args(ALICE).args(flags))
}

/// One job through a session.
fn works(lines: &mut Lines) {
    assert_eq!(lines.hello("tok-a")["type"], "session.welcome", "{}", lines.talk());
    lines.send("s", "job.submit", json!({ "agent": "echo", "input": 7 }));
    assert_eq!(lines.next()["type"], "job.accepted");
    assert_eq!(lines.next()["payload"]["result"], 7);
}

fn refused(command: &mut Command) -> Ran {
    let ran = Ran::of(command.output().unwrap());
    assert_eq!((ran.code, &*ran.out), (Some(8), ""), "{}", ran.err);
    ran
}

#[test]
fn by_default_everything_is_kept_in_the_users_state_directory() {
    let mut daemon = Daemon::start();
    let job = daemon.run(&["submit", "echo", "--detach"]).out;
    daemon.signal("TERM");
    let home = daemon.take_home();
    let (_, log) = daemon.wait();
    let path = store_of(home.path());
    assert!(log.contains(path.to_str().unwrap()), "it says where: {log}");
    let mut command = arcpd(home.path());
    let again = Daemon::of(command.args(["serve", "--listen", "127.0.0.1:0"]).args(ALICE), home);
    let listed = again.run(&["jobs"]).out;
    assert!(listed.contains(job.trim()), "{listed}");
}

#[test]
fn a_second_daemon_is_told_who_has_the_store_and_where_it_listens() {
    let daemon = Daemon::start();
    let ran = refused(arcpd(daemon.home.path()).args(["serve", "--listen", "127.0.0.1:0"]).args(ALICE));
    for says in [&format!("process {}", daemon.pid()), &daemon.url, "--store-path"] {
        assert!(ran.err.contains(says), "{says}: {}", ran.err);
    }
}

#[test]
fn who_has_no_place_for_the_store_is_told_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let serve = |change: fn(&mut Command) -> &mut Command| {
        refused(change(arcpd(home.path()).args(["serve", "--listen", "127.0.0.1:0"]).args(ALICE))).err
    };
    let errors =
        [serve(|command| command.env_remove("HOME")), serve(|command| command.env("HOME", "/dev/null"))];
    for error in errors {
        assert!(error.contains("--store memory") && error.contains("--store-path"), "{error}");
    }
}

#[test]
fn stdio_joins_the_daemon_that_holds_the_store() {
    let daemon = Daemon::start();
    for flags in [&[][..], &["--store", "sqlite"]] {
        let mut lines = stdio(daemon.home.path(), flags);
        works(&mut lines);
        let talk = lines.talk();
        assert!(talk.contains("joined") && talk.contains(&daemon.url), "{talk}");
        assert!(talk.contains(&format!("process {}", daemon.pid())), "{talk}");
        assert_eq!(lines.end().0, Some(0));
    }
    let jobs = daemon.run(&["jobs"]).out;
    assert_eq!(jobs.matches("echo").count(), 2, "the jobs are the daemon's: {jobs}");
}

#[test]
fn stdio_trusts_the_certificate_of_the_daemon_that_it_joins() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    // Every address: clients on this machine are told one that they can connect to.
    let flags = [&ALICE[..], &tls, &["--listen", "0.0.0.0:0"]].concat();
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::of(arcpd(home.path()).arg("serve").args(flags), home);
    let mut lines = stdio(daemon.home.path(), &[]);
    works(&mut lines);
    assert!(lines.talk().contains("wss://127.0.0.1:"), "{}", lines.talk());
}

#[test]
fn without_a_daemon_stdio_keeps_everything_in_memory_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let mut lines = stdio(home.path(), &[]);
    works(&mut lines);
    assert!(lines.talk().contains("in memory"), "{}", lines.talk());
    assert!(!store_of(home.path()).exists());
}

#[test]
fn a_daemon_that_was_killed_is_not_joined() {
    let mut daemon = Daemon::start();
    daemon.signal("KILL");
    let home = daemon.take_home();
    daemon.wait();
    assert!(home.path().join(".local/state/arcpd/arcpd.db.holder").exists(), "its note is left");
    let mut lines = stdio(home.path(), &[]);
    works(&mut lines);
    assert!(lines.talk().contains("in memory"), "{}", lines.talk());
}

#[test]
fn stdio_opens_the_store_that_was_chosen_and_others_are_told() {
    let home = tempfile::tempdir().unwrap();
    let mut first = stdio(home.path(), &["--store", "sqlite"]);
    works(&mut first);
    assert!(store_of(home.path()).exists());
    let second = refused(arcpd(home.path()).args(["stdio", "--store", "sqlite"]).args(ALICE));
    assert!(second.err.contains("which does not listen"), "{}", second.err);
    let mut third = stdio(home.path(), &[]);
    works(&mut third);
    assert!(third.talk().contains("in memory"), "{}", third.talk());
}

fn store(home: &std::path::Path, args: &[&str]) -> Ran {
    Ran::of(arcpd(home).arg("store").args(args).output().unwrap())
}

#[test]
fn a_backup_taken_under_load_is_a_store_with_a_consistent_past() {
    let mut daemon = Daemon::start();
    let ticking = ["submit", "ticker", "--input", r#"{"count":100000,"interval_ms":1}"#, "--json"];
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = daemon.client(&ticking).stdout(std::process::Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
            for _ in 0..20 {
                lines.next().unwrap().unwrap();
            }
            (client, lines)
        })
        .collect();
    let taken = store(daemon.home.path(), &["backup", "taken.db", "--json"]);
    assert_eq!(taken.code, Some(0), "{}", taken.err);
    assert!(taken.json()[0]["bytes"].as_u64().unwrap() > 0 && taken.json()[0]["took_ms"].is_u64());
    for (client, lines) in &mut clients {
        lines.next().unwrap().unwrap();
        client.kill().unwrap();
        client.wait().unwrap();
    }
    // As docs/store.md has it: stop, put it in place, start.
    daemon.signal("TERM");
    let home = daemon.take_home();
    daemon.wait();
    std::fs::rename(home.path().join("taken.db"), store_of(home.path())).unwrap();
    assert_eq!(store(home.path(), &["check"]).out, format!("{}: whole\n", store_of(home.path()).display()));
    let mut command = arcpd(home.path());
    let again = Daemon::of(command.args(["serve", "--listen", "127.0.0.1:0"]).args(ALICE), home);
    let jobs = again.run(&["jobs", "--json"]).json();
    assert_eq!(jobs.len(), 3);
    for job in jobs {
        let watched = again.run(&["watch", job["job_id"].as_str().unwrap(), "--json"]);
        assert_eq!(watched.code, Some(1), "its agent is gone, and it says so: {watched:?}");
        let lines = watched.json();
        let seen: Vec<u64> = lines.iter().filter_map(|line| line["body"]["current"].as_u64()).collect();
        assert!(seen.len() >= 10 && seen.iter().copied().eq(1..=seen.len() as u64), "{seen:?}");
    }
}

#[test]
fn a_store_is_looked_after_beside_its_daemon() {
    let daemon = Daemon::start();
    let job = daemon.run(&["submit", "echo", "--input", "7", "--detach"]).out;
    let home = daemon.home.path();
    let stats = store(home, &["stats", "--json"]);
    let found = &stats.json()[0];
    assert_eq!((&found["pid"], &found["url"]), (&json!(daemon.pid()), &json!(daemon.url)), "{found}");
    assert_eq!(found["jobs"].as_object().unwrap().values().filter_map(|n| n.as_u64()).sum::<u64>(), 1);
    let words = store(home, &["stats"]).out;
    assert!(words.contains(job.trim()) && words.contains(&daemon.url), "{words}");
    assert!(store(home, &["check"]).out.ends_with("arcpd.db: whole\n"));
    let refused = store(home, &["vacuum"]);
    assert_eq!(refused.code, Some(8));
    assert!(refused.err.contains(&format!("process {}", daemon.pid())), "{}", refused.err);
}

#[test]
fn a_store_that_is_not_whole_is_told_with_what_to_do() {
    let mut daemon = Daemon::start();
    daemon.run(&["submit", "echo"]);
    daemon.signal("TERM");
    let home = daemon.take_home();
    daemon.wait();
    assert_eq!(store(home.path(), &["vacuum"]).code, Some(0));
    let path = store_of(home.path());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("DELETE FROM record", []).unwrap();
    drop(db);
    let checked = store(home.path(), &["check"]);
    assert_eq!(checked.code, Some(8));
    assert!(checked.out.contains("without a gap") && checked.err.contains("backup"), "{checked:?}");
    let checked = store(home.path(), &["check", "--json", path.to_str().unwrap()]);
    assert_eq!((checked.code, &checked.json()[0]["whole"]), (Some(8), &json!(false)));
    let refused = store(home.path(), &["backup", "no.db"]);
    assert!(refused.err.contains("not whole") && !home.path().join("no.db").exists(), "{}", refused.err);
    let elsewhere = store(home.path(), &["stats", "--store-path", "/dev/null/x"]);
    assert_eq!(elsewhere.code, Some(8));
}

#[test]
fn the_result_of_an_agent_that_began_again_is_fetched_without_what_was_lost() {
    let agent = r#"
[[agents]]
name = "twice"
version = "1"
restartable = true
command = ["sh", "-c", '''
read -r start
say() { printf '{"type":"%s","payload":%s}\n' "$1" "$2"; }
chunk() { say job.event '{"kind":"result_chunk","body":{"data":"'"$1"'","encoding":"utf8"}}'; }
case $start in
    *'"attempt":1,'*) chunk "a long and lost beginning"; sleep 600 ;;
    *) chunk whole; say job.result '{}' ;;
esac
''']
"#;
    let mut daemon = Daemon::with(&["--token", "alice=tok-a"], agent);
    let job = daemon.run(&["submit", "twice", "--detach"]).out.trim().to_owned();
    let mut watch = daemon.client(&["watch", &job, "--json"]);
    let mut watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("lost beginning")), "the chunk is stored");
    watch.kill().unwrap();
    watch.wait().unwrap();
    daemon.signal("KILL");
    let home = daemon.take_home();
    daemon.wait();
    let mut command = arcpd(home.path());
    let again =
        Daemon::of(command.args(["serve", "--listen", "127.0.0.1:0", "--token", "alice=tok-a"]), home);
    let ran = again.run(&["result", &job, "-o", "result.txt"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(again.home.path().join("result.txt")).unwrap(), "whole");
    let ran = again.run(&["result", &job]);
    assert_eq!(ran.code, Some(8), "{}", ran.err);
    assert!(ran.err.contains("which is void; write to a file with -o"), "{}", ran.err);
}
