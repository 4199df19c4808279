//! Real processes that behave well and badly. Waits end with an event or fail at a bound.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::guard::{Guard, take_over};
use super::*;
use crate::agent::testing::{BOUND, FakePort, run, run_until, start, stopping};
use crate::agent::{PortClosed, Stopper};
use crate::wire::agent_port::BrokenContract;
use crate::wire::limits::AGENT_STDERR_LINE_BYTES;

const RESULT: &str = r#"echo '{"type":"job.result","payload":{"result":1}}'"#;

/// Tells the process ids of the agent and of its last child on stderr.
const PIDS: &str = r#"echo "pids $$ $!" >&2"#;

fn event(message: &str) -> String {
    format!(
        r#"{{"type":"job.event","payload":{{"kind":"log","body":{{"level":"info","message":"{message}"}}}}}}"#
    )
}

fn limits() -> Limits {
    Limits { kill_grace_ms: 200, agent_line_bytes: 65_536, agent_stderr_bytes: 40_000, ..Limits::default() }
}

fn child(program: &str, args: &[&str]) -> ChildCommand {
    let args = args.iter().map(|arg| arg.to_string()).collect();
    ChildCommand { program: program.into(), args, ..ChildCommand::default() }
}

fn sh(script: &str) -> ChildHost {
    ChildHost::new(child("sh", &["-c", script]), Arc::new(limits()))
}

async fn end_of(script: &str, port: &Arc<FakePort>) -> AttemptEnd {
    run(&sh(script), start("null", &limits()), port.clone()).await
}

/// As [`end_of`], for scripts that end by themselves, however slow the machine.
async fn own_end_of(script: &str, port: &Arc<FakePort>) -> AttemptEnd {
    let patient = Limits { kill_grace_ms: 30_000, ..limits() };
    let host = ChildHost::new(child("sh", &["-c", script]), Arc::new(patient));
    run(&host, start("null", &limits()), port.clone()).await
}

/// Runs a script that is stopped, with no time to end, as soon as `when` holds.
async fn stopped_when(script: &str, port: &Arc<FakePort>, when: impl Fn(&FakePort) -> bool) -> AttemptEnd {
    let (stopper, stop) = Stopper::new();
    let host = sh(script);
    let run = run_until(&host, start("null", &limits()), port.clone(), stop);
    let stop = async {
        port.until(when).await;
        stopper.stop(stopping(), Duration::ZERO);
    };
    tokio::join!(run, stop).0
}

fn pids(port: &FakePort) -> Option<Vec<u32>> {
    let logged = port.logged();
    let line = logged.iter().find_map(|line| line.strip_prefix("pids "))?;
    Some(line.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
}

/// Waits until the processes that the script told about have ended.
async fn gone(port: &FakePort) {
    let lives = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
    };
    let pids = pids(port).unwrap();
    let wait = async {
        while pids.iter().any(lives) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(BOUND, wait).await.unwrap_or_else(|_| panic!("one of {pids:?} lives on"));
}

fn lost(words: &str) -> AttemptEnd {
    AttemptEnd::Lost(format!("{words}; what it wrote to stderr is in the daemon's log"))
}

#[tokio::test]
async fn a_child_gets_its_job_and_a_scrubbed_environment() {
    let script = r#"IFS= read -r start
        names=$(env | sed -n 's/^\([A-Za-z_0-9]*\)=.*/\1/p' | tr '\n' ' ')
        printf '{"type":"job.event","payload":{"kind":"x-env","body":{"trace":"%s","id":"%s","names":"%s"}}}\n' \
            "$TRACEPARENT" "$ARCP_JOB_ID" "$names"
        printf '{"type":"job.result","payload":{"result":%s}}\n' "$start""#;
    let own = ["PWD", "OLDPWD", "SHLVL", "_"];
    let set = std::env::vars().filter(|(name, value)| {
        !PASSED.contains(&name.as_str()) && !own.contains(&name.as_str()) && !value.contains('\n')
    });
    let passed: Vec<String> = set.map(|(name, _)| name).take(1).collect();
    let mut command = child("sh", &["-c", script]);
    command.pass_env = [passed.clone(), vec!["NEVER_SET_ANYWHERE".into()]].concat();
    command.env = BTreeMap::from([("GIVEN".into(), "given".into())]);
    let port = FakePort::open();
    let start = start(r#"{"a":[1.50]}"#, &limits());
    let host = ChildHost::new(command, Arc::new(limits()));
    assert_eq!(run(&host, start.clone(), port.clone()).await, AttemptEnd::Finished);

    let body = &port.bodies("x-env")[0];
    let names: Vec<&str> = body["names"].as_str().unwrap().split_whitespace().collect();
    let added = ["GIVEN", "ARCP_JOB_ID", "TRACEPARENT"];
    assert!(added.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(passed.iter().all(|name| names.contains(&name.as_str())), "{names:?}");
    let allowed = [&PASSED[..], &own, &added].concat();
    let known = |name: &&str| allowed.contains(name) || passed.iter().any(|passed| passed == name);
    assert!(names.iter().all(known), "{names:?}");

    assert_eq!(body["id"], json!(start.job_id));
    let trace = body["trace"].as_str().unwrap();
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-01"), "{trace}");
    assert_eq!(trace.parse(), Ok(start.trace_id.unwrap()));
    let told = &port.bodies("result")[0]["result"];
    assert_eq!((&told["type"], &told["payload"]["input"]), (&json!("job.start"), &json!({"a": [1.5]})));
}

#[tokio::test]
async fn what_breaks_the_contract_ends_the_attempt_and_says_why() {
    let nonce = format!(r#"echo '{{"type":"ping","payload":{{"nonce":"{}"}}}}'"#, "n".repeat(129));
    for (script, names) in [
        ("echo hello", "line 1 of its stdout: expected a JSON object with type and payload, got \"hello\""),
        (r"printf '\377\n'", "UTF-8"),
        ("echo '[]'", "JSON object"),
        (r#"echo '{"type":"job.fly","payload":{}}'"#, "job.fly"),
        (&nonce, "nonce"),
        // Without end: only a bounded buffer comes to one.
        ("tr '\\0' x </dev/zero", "longer than 65536 bytes"),
        ("head -c 100000000 /dev/zero | tr '\\0' x", "longer than 65536 bytes"),
    ] {
        let port = FakePort::open();
        let end = end_of(&format!("{PIDS}; {script}; {RESULT}; exec sleep 1000"), &port).await;
        let AttemptEnd::Broken(BrokenContract(why)) = end else { panic!("{script}: {end:?}") };
        assert!(why.contains(names), "{script}: {why}");
        assert!(port.messages().is_empty(), "{script}");
        gone(&port).await;
    }
}

#[tokio::test]
async fn an_end_without_a_result_is_told_in_words() {
    for (script, words) in [
        ("exit 3", "exited with status 3 without a result"),
        ("exit 0", "exited with status 0 without a result"),
        ("kill -9 $$", "was killed by signal 9 without a result"),
        ("exec >&-; exit 4", "exited with status 4 without a result"),
        ("sleep 1000 & exit 5", "exited with status 5 without a result"),
    ] {
        let port = FakePort::open();
        assert_eq!(own_end_of(&format!("{PIDS}; {script}"), &port).await, lost(words), "{script}");
        gone(&port).await;
    }
    let port = FakePort::open();
    let end = end_of(&format!("{PIDS}; exec >&-; exec sleep 1000"), &port).await;
    assert_eq!(end, lost("closed its stdout without a result"));
    gone(&port).await;
}

#[tokio::test]
async fn everything_that_was_written_before_the_exit_counts() {
    let port = FakePort::open();
    let script = format!("yes '{}' | head -n 500; exit 3", event("x"));
    assert_eq!(own_end_of(&script, &port).await, lost("exited with status 3 without a result"));
    assert_eq!(port.bodies("log").len(), 500);
    let unfinished = r#"printf '{"type":"job.result","payload":{"result":1}}'"#;
    assert_eq!(own_end_of(unfinished, &port).await, AttemptEnd::Finished);
    assert_eq!(port.bodies("result"), [json!({"result": 1})]);
}

#[tokio::test]
async fn after_its_result_an_agent_sees_its_stdin_end_and_may_exit_by_itself() {
    let port = FakePort::open();
    let end = own_end_of(&format!("{RESULT}; cat >/dev/null; echo bye >&2"), &port).await;
    assert_eq!((end, port.logged()), (AttemptEnd::Finished, vec!["bye".into()]));
    let port = FakePort::open();
    let stays = format!("{PIDS}; {RESULT}; while :; do echo more; sleep 0.01; done");
    assert_eq!(end_of(&stays, &port).await, AttemptEnd::Finished);
    assert_eq!(port.messages().len(), 1);
    gone(&port).await;
}

#[tokio::test]
async fn a_stopped_agent_is_told_and_its_last_words_count() {
    let port = FakePort::open();
    let (stopper, stop) = Stopper::new();
    let host = sh(&format!(
        "IFS= read -r start; echo '{}'; IFS= read -r cancel
        printf '{{\"type\":\"job.event\",\"payload\":{{\"kind\":\"x-cancel\",\"body\":%s}}}}\\n' \"$cancel\"",
        event("up")
    ));
    let run = run_until(&host, start("null", &limits()), port.clone(), stop);
    let asked = stopping();
    let stop = async {
        port.until(|port| port.messages().len() == 1).await;
        stopper.stop(asked.clone(), BOUND);
    };
    assert_eq!(tokio::join!(run, stop).0, AttemptEnd::Stopped);
    assert_eq!(port.bodies("x-cancel"), [json!({"type": "job.cancel", "payload": asked})]);
}

#[tokio::test]
async fn the_ladder_ends_what_does_not_listen() {
    let ready = |port: &FakePort| pids(port).is_some();
    for script in [
        format!("trap '' TERM; sleep 1000 & {PIDS}; wait"),
        format!("trap '' TERM; {PIDS}; while :; do sleep 1000; done"),
        format!("sleep 1000 & {PIDS}; wait"),
        format!("{PIDS}; exec sleep 1000"),
        // It pings, and never reads an answer.
        format!(r#"{PIDS}; yes '{{"type":"ping","payload":{{"nonce":"n"}}}}'"#),
        format!("exec >&-; trap '' TERM; {PIDS}; exec sleep 1000"),
    ] {
        let port = FakePort::open();
        let end = stopped_when(&script, &port, ready).await;
        // The last one may have been found out before it was stopped.
        let quiet = lost("closed its stdout without a result");
        assert!(
            end == AttemptEnd::Stopped || (script.starts_with("exec") && end == quiet),
            "{script}: {end:?}"
        );
        gone(&port).await;
    }
}

#[tokio::test]
async fn grandchildren_that_hold_the_pipes_do_not_hold_up_the_end() {
    for (script, end) in [
        (format!("sleep 1000 & {PIDS}; {RESULT}; exit 0"), AttemptEnd::Finished),
        (format!("(sleep 1000 & {PIDS}); exit 3"), lost("exited with status 3 without a result")),
    ] {
        let port = FakePort::open();
        assert_eq!(end_of(&script, &port).await, end, "{script}");
        gone(&port).await;
    }
    // In a session of its own it is out of the daemon's reach; the attempt ends all the same.
    for (last, end) in
        [(RESULT, AttemptEnd::Finished), ("exit 3", lost("exited with status 3 without a result"))]
    {
        let port = FakePort::open();
        let escape = format!("setsid sleep 1000 & {PIDS}; {last}");
        assert_eq!(end_of(&escape, &port).await, end, "{last}");
        let escaped = i32::try_from(pids(&port).unwrap()[1]).unwrap();
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(escaped).unwrap(),
            rustix::process::Signal::KILL,
        );
        gone(&port).await;
    }
}

#[tokio::test]
async fn a_grandchild_that_writes_now_and_then_does_not_keep_the_job_alive() {
    let port = FakePort::open();
    let script = format!(
        r#"setsid sh -c 'while :; do echo '\''{}'\''; sleep 0.02; done' & {PIDS}; exit 3"#,
        event("still here")
    );
    assert_eq!(end_of(&script, &port).await, lost("exited with status 3 without a result"));
    // Nobody reads what it writes any more, which ends it.
    gone(&port).await;
}

#[tokio::test]
async fn an_agent_is_not_read_while_the_port_is_not_ready() {
    let port = FakePort::limited(5);
    let flood = format!("{PIDS}; yes '{}'", event("flood"));
    let end = stopped_when(&flood, &port, |port| port.messages().len() == 5 && pids(port).is_some()).await;
    assert_eq!((end, port.messages().len()), (AttemptEnd::Stopped, 5));
    gone(&port).await;
    // An agent that has exited meanwhile loses nothing by it.
    let port = FakePort::limited(0);
    let host = sh(&format!("{PIDS}; echo '{}'; {RESULT}", event("kept")));
    let run = run(&host, start("null", &limits()), port.clone());
    let later = async {
        port.until(|port| pids(port).is_some()).await;
        gone(&port).await;
        port.open_up();
    };
    assert_eq!(tokio::join!(run, later).0, AttemptEnd::Finished);
    assert_eq!(port.messages().len(), 2);
}

#[tokio::test]
async fn stderr_is_logged_up_to_its_limit_and_the_rest_counted() {
    let port = FakePort::open();
    let script = format!("printf 'one\\n\\ntwo' >&2; sleep 0; {RESULT}; echo >&2; echo three >&2");
    assert_eq!(own_end_of(&script, &port).await, AttemptEnd::Finished);
    assert_eq!(port.logged(), ["one", "two", "three"]);

    let port = FakePort::open();
    let script = format!("yes error | head -n 1000000 >&2; {RESULT}");
    assert_eq!(own_end_of(&script, &port).await, AttemptEnd::Finished);
    let logged = port.logged();
    assert_eq!(logged.iter().filter(|line| *line == "error").count(), 8_000);
    assert_eq!(logged[8_000..], ["[4960000 more bytes of stderr were dropped]"]);
}

#[tokio::test]
async fn long_lines_of_stderr_are_cut_between_characters() {
    let port = FakePort::open();
    let script = format!("yes é | head -n 10000 | tr -d '\\n' >&2; printf x >&2; {RESULT}");
    assert_eq!(own_end_of(&script, &port).await, AttemptEnd::Finished);
    let whole = port.logged().concat();
    assert_eq!(whole, "é".repeat(10_000) + "x");
    assert!(port.logged().iter().all(|line| line.len() <= AGENT_STDERR_LINE_BYTES));
}

#[tokio::test]
async fn an_agent_that_never_reads_its_stdin_is_served_and_stopped_like_any_other() {
    let huge = format!("{:?}", "i".repeat(4_000_000));
    let port = FakePort::open();
    let end = run(&sh(RESULT), start(&huge, &limits()), port.clone()).await;
    assert_eq!((end, port.messages().len()), (AttemptEnd::Finished, 1));

    let (stopper, stop) = Stopper::new();
    let host = sh(&format!("{PIDS}; exec sleep 1000"));
    let run = run_until(&host, start(&huge, &limits()), port.clone(), stop);
    let stop = async {
        port.until(|port| pids(port).is_some()).await;
        stopper.stop(stopping(), Duration::ZERO);
    };
    assert_eq!(tokio::join!(run, stop).0, AttemptEnd::Stopped);
    gone(&port).await;
}

#[tokio::test]
async fn a_dropped_attempt_leaves_nothing_running() {
    let port = FakePort::open();
    let host = sh(&format!("trap '' TERM; sleep 1000 & {PIDS}; wait"));
    let (_stopper, stop) = Stopper::new();
    let attempt = tokio::spawn(host.run(start("null", &limits()), port.clone(), stop));
    port.until(|port| pids(port).is_some()).await;
    attempt.abort();
    gone(&port).await;
}

#[tokio::test]
async fn questions_that_the_runtime_need_not_know_are_answered() {
    let script = r#"IFS= read -r start
        ask() { echo "$1"; IFS= read -r answer
            printf '{"type":"job.event","payload":{"kind":"x-answer","body":%s}}\n' "$answer"; }
        ask '{"type":"agent.hello","payload":{"name":"a"}}'
        ask '{"type":"ping","payload":{"nonce":"n1"}}'
        echo '{"type":"pong","payload":{"nonce":"never asked"}}'
        ask '{"type":"op.request","payload":{"call_id":"c1","op":"tool.call","args":{}}}'
        echo '{"type":"job.error","payload":{"message":"enough"}}'"#;
    let port = FakePort::open();
    assert_eq!(end_of(script, &port).await, AttemptEnd::Finished);
    let answers = port.bodies("x-answer");
    let types: Vec<&Value> = answers.iter().map(|answer| &answer["type"]).collect();
    assert_eq!(types, ["agent.welcome", "pong", "op.result"]);
    assert_eq!(answers[0]["payload"]["limits"]["line_bytes"], 65_536);
    assert_eq!(answers[1]["payload"], json!({"nonce": "n1"}));
    let refused = &answers[2]["payload"];
    assert_eq!((&refused["call_id"], &refused["error"]["code"]), (&json!("c1"), &json!("INVALID_REQUEST")));
    assert!(refused["error"]["message"].as_str().unwrap().contains("tool.call"));
    assert_eq!(port.bodies("error"), [json!({"message": "enough"})]);
}

#[tokio::test]
async fn a_closed_port_ends_the_group() {
    let contract = BrokenContract("body.level: no".into());
    for (closed, end) in [
        (PortClosed::Ended, AttemptEnd::Stopped),
        (PortClosed::Broken(contract.clone()), AttemptEnd::Broken(contract.at_line(1))),
    ] {
        let port = FakePort::open();
        port.close(closed);
        let script = format!("{PIDS}; echo '{}'; exec sleep 1000", event("too late"));
        assert_eq!(end_of(&script, &port).await, end);
        gone(&port).await;
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let absent = ChildCommand { dir: Some(dir.path().join("absent")), ..child("sh", &["-c", RESULT]) };
    for (command, names) in [
        (child("no-such-program-anywhere", &[]), ["no-such-program-anywhere", "No such file"]),
        (child(plain.to_str().unwrap(), &[]), ["plain", "Permission denied"]),
        (absent, ["absent", "No such file"]),
    ] {
        let host = ChildHost::new(command, Arc::new(limits()));
        let end = run(&host, start("null", &limits()), FakePort::open()).await;
        let AttemptEnd::NotStarted(why) = end else { panic!("{end:?}") };
        assert!(names.iter().all(|name| why.contains(name)), "{why}");
    }
}

/// Becomes a guard when a test starts this very test as one; see there.
#[test]
fn take_over_is_for_guards_only() {
    let Ok(program) = std::env::var("ARCPD_TEST_GUARDED") else {
        assert!(take_over(["arcpd".into()]).is_none());
        assert!(take_over(["arcpd".into(), "serve".into()]).is_none());
        assert!(take_over(["arcpd".into(), "__guard-agent".into()]).is_some());
        return;
    };
    let parent = std::env::var("ARCPD_TEST_PARENT").unwrap();
    let script = "echo up; exec sleep 1000";
    let args = ["arcpd", "__guard-agent", &parent, &program, "-c", script].map(Into::into);
    panic!("not taken over: {:?}", take_over(args));
}

#[cfg(target_os = "linux")]
#[test]
fn a_guarded_child_dies_with_the_thread_that_started_it() {
    use std::io::BufRead;
    use std::os::unix::process::ExitStatusExt;

    // To the kernel a parent is the thread that forked; in the daemon that is one that lives as long as it does.
    let parent = std::thread::spawn(|| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "agent::child::tests::take_over_is_for_guards_only", "--nocapture"])
            .env("ARCPD_TEST_GUARDED", "sh")
            .env("ARCPD_TEST_PARENT", std::process::id().to_string())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("up")), "the guard did not take over");
        child
    });
    let status = parent.join().unwrap().wait().unwrap();
    assert_eq!(status.signal(), Some(9));
}

#[tokio::test]
async fn a_guard_starts_the_agent_and_tells_when_it_cannot() {
    let dir = tempfile::tempdir().unwrap();
    // Another process writes it: while this one has a file open for writing, a fork of any test keeps it so for a
    // moment, and a program that is open for writing cannot be started.
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        let write = r#"printf '%s' "$2" >"$1" && chmod +x "$1""#;
        let written =
            std::process::Command::new("sh").args(["-c", write, "sh"]).arg(&path).arg(text).status();
        assert!(written.unwrap().success());
        Guard::new(path)
    };
    let good = script("good", "#!/bin/sh\nshift 2\nexec \"$@\"\n");
    let bad = "#!/bin/sh\necho '{\"type\":\"guard.failed\",\"reason\":\"no such file\"}'\nexit 127\n";
    let bad = script("bad", bad);
    let port = FakePort::open();
    let end = run(&sh(RESULT).guarded(good), start("null", &limits()), port.clone()).await;
    assert_eq!((end, port.messages().len()), (AttemptEnd::Finished, 1));
    let end = run(&sh(RESULT).guarded(bad), start("null", &limits()), port).await;
    let AttemptEnd::NotStarted(why) = end else { panic!("{end:?}") };
    assert!(why.contains("\"sh\"") && why.contains("no such file"), "{why}");
}
