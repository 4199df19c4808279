//! Jobs from the command line: submit, watch, list, cancel, fetch.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use super::daemon::{Daemon, Ran, Wire, arcpd, python, root, skipped};

#[test]
fn submit_streams_events_and_exits_as_the_job_does() {
    let daemon = Daemon::start();
    for (args, code) in [
        (&["submit", "echo", "--input", "{\"a\":[1,null]}"][..], 0),
        (&["submit", "failer", "--input", "{\"message\":\"boom\",\"after_events\":2}"], 1),
        (&["submit", "sleeper", "--input", "{\"ms\":60000}", "--max-runtime", "1"], 4),
        (&["submit", "nosuch"], 6),
        (&["submit", "Not An Agent"], 2),
        (&["submit", "echo", "--input", "not json"], 2),
        (&["submit", "echo", "--token", "wrong"], 7),
        (&["submit", "echo", "--url", "ws://127.0.0.1:1/arcp", "--reconnect-for", "0"], 9),
        (&["submit", "echo", "--url", "localhost:7878"], 2),
        (&["stdio", "--connect", "ws://127.0.0.1:1/arcp"], 9),
        (&["stdio", "--connect", "nonsense"], 2),
    ] {
        let ran = daemon.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert_eq!(
            ran.out,
            if code == 0 { "{\"a\":[1,null]}\n" } else { "" },
            "{args:?}: data only on stdout"
        );
        assert!(code == 0 || !ran.err.is_empty(), "{args:?}");
        assert!(!ran.err.contains("tok-a"), "a token in {}", ran.err);
    }
}

#[test]
fn json_lines_tell_everything_in_order() {
    let daemon = Daemon::start();
    let ran = daemon.run(&["submit", "ticker", "--input", "{\"count\":3,\"interval_ms\":1}", "--json"]);
    let kinds: Vec<String> =
        ran.json().iter().map(|line| format!("{} {}", line["type"], line["body"]["current"])).collect();
    assert_eq!(ran.code, Some(0));
    assert_eq!(kinds[0], "\"accepted\" null", "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "\"end\" null", "{kinds:?}");
    assert_eq!(ran.json().len(), 5, "accepted, three events, the end: {}", ran.out);
}

#[test]
fn a_cut_connection_is_not_an_end_and_nothing_is_missed() {
    let daemon = Daemon::start();
    let wire = Wire::to(&daemon);
    let input = "{\"count\":40,\"interval_ms\":25}";
    let mut submit = daemon.client(&["submit", "ticker", "--input", input, "--json", "--url", &wire.url]);
    let mut child = submit.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut ticks, mut cuts, mut end) = (Vec::new(), 0, serde_json::Value::Null);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["type"] == "event" {
            ticks.push(line["body"]["current"].as_u64().unwrap());
            if ticks.len() % 10 == 5 {
                cuts += wire.cut();
            }
        } else if line["type"] == "end" {
            end = line;
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(cuts > 0, "the connection was never cut");
    assert_eq!(ticks, (1..=40).collect::<Vec<u64>>());
    assert_eq!(end["final_status"], "success", "{end}");
}

#[test]
fn a_detached_job_is_listed_watched_cancelled_and_fetched() {
    let daemon = Daemon::start();
    let detached = |agent: &str, input: &str| {
        let ran = daemon.run(&["submit", agent, "--input", input, "--detach", "--quiet"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out.trim().to_owned()
    };
    let sleeper = detached("sleeper", "{\"ms\":60000}");
    let chunker = detached("chunker", "{\"chunks\":3,\"chunk_bytes\":100000}");
    let listed = daemon.run(&["jobs", "--json", "--agent", "sleeper"]);
    assert_eq!(listed.json()[0]["job_id"], sleeper.as_str());
    assert!(daemon.run(&["jobs"]).out.contains(&chunker));

    let cancelled = daemon.run(&["cancel", &sleeper, "--wait", "--reason", "enough"]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    for late in [&[][..], &["--live"], &["--from", "99"]] {
        let args = [&["watch", sleeper.as_str()], late].concat();
        assert_eq!(daemon.run(&args).code, Some(3), "watching a cancelled job says so: {args:?}");
    }
    assert_eq!(daemon.run(&["cancel", &sleeper]).code, Some(6), "it cannot be cancelled twice");

    let file = daemon.home.path().join("result.bin");
    let fetched = daemon.run(&["result", &chunker, "-o", file.to_str().unwrap()]);
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    let wanted: Vec<u8> = (0..300_000_u32).map(|j| u8::try_from(j % 251).unwrap()).collect();
    assert_eq!(fs::read(&file).unwrap(), wanted);
    assert_eq!(daemon.run(&["watch", "job_01J00000000000000000000000"]).code, Some(6));
    let foreign = daemon.run(&["watch", &chunker, "--token", "tok-b"]);
    assert_eq!(foreign.code, Some(6), "another principal's job does not exist: {foreign:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_leads_to_stdout_is_written_there() {
    let daemon = Daemon::start();
    let (link, file) = (daemon.home.path().join("link"), daemon.home.path().join("file"));
    std::os::unix::fs::symlink("/proc/self/fd/1", &link).unwrap();
    let submit =
        || daemon.client(&["submit", "echo", "--input", "7", "--quiet", "-o", link.to_str().unwrap()]);
    let ran = Ran::of(submit().output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "7"), "{ran:?}");
    // Two commands that write to one file, as in a script whose stdout goes there.
    let shared = fs::File::create(&file).unwrap();
    for _ in 0..2 {
        assert!(submit().stdout(shared.try_clone().unwrap()).status().unwrap().success());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "77");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link became a file");
    assert_eq!(daemon.files().len(), 2);
}

/// Whether this process, and so every one that it starts, has hang-ups ignored, as under `nohup`.
fn hang_ups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_none_or(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1)
}

#[test]
fn a_command_that_is_told_to_end_leaves_no_draft() {
    let daemon = Daemon::start();
    let file = daemon.home.path().join("never");
    for (signal, code) in [("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && hang_ups_are_ignored() {
            eprintln!("SKIPPED HUP: it is ignored here");
            continue;
        }
        let mut submit = daemon.client(&["submit", "sleeper", "--input", "{\"ms\":60000}", "-o"]);
        let mut child = submit.arg(&file).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut talk = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(talk.next().unwrap().unwrap().contains("sleeper"));
        assert_eq!(daemon.files().len(), 1, "there is a draft");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(daemon.files().len(), 0, "the draft is still there");
    }
}

#[test]
fn a_command_that_nobody_reads_ends_all_the_same_when_told_to() {
    let daemon = Daemon::start();
    let mut submit =
        daemon.client(&["submit", "chunker", "--input", "{\"chunks\":9,\"chunk_bytes\":100000}"]);
    let mut child = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(talk.next().unwrap().unwrap().contains("chunker"));
    let mut unread = child.stdout.take().unwrap();
    unread.read_exact(&mut [0; 1]).unwrap();
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_result_that_does_not_come_leaves_no_file() {
    let daemon = Daemon::start();
    let file = daemon.home.path().join("never");
    let failed = daemon.run(&["submit", "failer", "-o", file.to_str().unwrap()]);
    assert_eq!(failed.code, Some(1));
    assert_eq!(daemon.files(), [""; 0]);
}

#[test]
fn the_shell_learns_the_commands() {
    let home = tempfile::tempdir().unwrap();
    let ran = Ran::of(arcpd(home.path()).args(["completions", "bash"]).output().unwrap());
    assert!(ran.out.contains("complete") && ran.out.contains("submit"), "{ran:?}");
}

#[test]
fn the_demo_reports_on_a_tree() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("one.rs"), "fn main() {}\n// TODO: more\n").unwrap();
    let ran = Ran::of(arcpd(home.path()).args(["demo", "."]).stdin(Stdio::null()).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("one.rs") && ran.out.contains("1 files"), "{}", ran.out);
    assert!(ran.err.contains("Try next") && ran.err.contains("serve --demo-agents"), "{}", ran.err);
}

#[test]
fn the_demo_does_without_python() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("one.rs"), "fn main() {}\n").unwrap();
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    // A PATH with everything that the shell twin may use, and no Python.
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with("python") {
                let _ = std::os::unix::fs::symlink(entry.path(), bin.join(name));
            }
        }
    }
    let tree = home.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("one.rs"), "fn main() {}\n").unwrap();
    let mut demo = arcpd(home.path());
    let ran = Ran::of(demo.env("PATH", &bin).args(["demo", "tree"]).stdin(Stdio::null()).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("shell script"), "{}", ran.err);
    assert!(ran.out.contains("one.rs"), "{}", ran.out);
}

#[test]
fn the_agent_of_the_readme_works_as_the_readme_says() {
    if !python("the_agent_of_the_readme_works_as_the_readme_says") {
        return;
    }
    let script = root().join("examples/agents/hello.py");
    let config = format!(
        "[[agents]]\nname = \"hello\"\nversion = \"1.0.0\"\ncommand = [\"python3\", {:?}]\n",
        script.to_str().unwrap()
    );
    let daemon = Daemon::with(&["--token", "alice=tok-a"], &config);
    let ran = daemon.run(&["submit", "hello", "--input", "{\"name\":\"Ada\"}"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "{\"greeting\": \"Hello, Ada!\"}\n"), "{ran:?}");
    let refused = daemon.run(&["submit", "hello", "--input", "[1]"]);
    assert!(refused.code == Some(1) && refused.err.contains("INVALID_REQUEST"), "{refused:?}");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.contains(fs::read_to_string(script).unwrap().trim_end()),
        "the README shows the agent as it is"
    );
}

#[test]
fn the_agents_of_the_agent_port_page_can_be_cancelled() {
    let page = fs::read_to_string(root().join("docs/agent-port.md")).unwrap();
    for (program, name) in [("python3", "countdown.py"), ("sh", "countdown.sh")] {
        let script = root().join("examples/agents").join(name);
        let text = fs::read_to_string(&script).unwrap();
        assert!(page.contains(text.trim_end()), "the page shows {name} as it is");
        if program == "python3" && !python("the_agents_of_the_agent_port_page_can_be_cancelled") {
            continue;
        }
        let config = format!(
            "[[agents]]\nname = \"countdown\"\nversion = \"1.0.0\"\ncommand = [\"{program}\", {:?}]\n",
            script.to_str().unwrap()
        );
        let daemon = Daemon::with(&["--token", "alice=tok-a"], &config);
        let ran = daemon.run(&["submit", "countdown", "--input", "{\"from\":1}"]);
        assert_eq!((ran.code, ran.out.contains("counted")), (Some(0), true), "{ran:?}");
        assert!(ran.err.contains("[progress] 0/1 1 to go"), "{}", ran.err);
        // Another session may cancel it, once the one that submitted it is closed.
        let job =
            daemon.run(&["submit", "countdown", "--input", "{\"from\":600}", "--detach", "--quiet"]).out;
        let mut watch = daemon.client(&["watch", job.trim(), "--json"]);
        let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("progress"));
        let cancelled = daemon.run(&["cancel", job.trim(), "--wait"]);
        assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
        assert!(lines.by_ref().all(|line| line.is_ok()));
        assert_eq!(child.wait().unwrap().code(), Some(3), "{name}");
    }
}

#[test]
fn the_embedded_example_runs() {
    let example =
        std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/embedded");
    if !example.exists() {
        skipped("the_embedded_example_runs", "`cargo test` builds the example, this run did not");
        return;
    }
    let ran = Ran::of(std::process::Command::new(example).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for told in [
        "progress {\"current\":3,\"total\":3,",
        "result {\"counted\":3}",
        "error: INVALID_REQUEST: input",
        "cancelled: CANCELLED: cancelled: that is enough",
    ] {
        assert!(ran.out.contains(told), "{told}: {}", ran.out);
    }
}
