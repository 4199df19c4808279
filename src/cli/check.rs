//! `arcpd check`: what a daemon started with these flags would run with, where each value comes from, and what is
//! wrong.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::daemon::{self, StartError};
use super::exit::Exit;
use crate::agent::catalogue::BadAgent;
use crate::auth::token_file::read_token_file;
use crate::config::load::Search;
use crate::config::{
    AgentConfig, Config, Environment, Loaded, ServeArgs, Setting, Source, StoreKind, TlsFiles, load,
};
use crate::embed::BuildError;
use crate::transport::tls;

/// Characters of a key or value up to which the table is kept aligned.
const COLUMN_CHARS: usize = 48;

/// Flags of `arcpd check`: those of `arcpd serve`, and the form of the report.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CheckArgs {
    /// What the daemon would be started with.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What a report says.
struct Report {
    search: Search,
    settings: Vec<Setting>,
    warnings: Vec<String>,
    errors: Vec<Problem>,
}

/// Something that keeps the daemon from starting, with the place of its cause where that is known.
struct Problem {
    place: Option<Source>,
    text: String,
}

/// Checks the configuration: the report goes to `out`, warnings and errors to `err`. Returns the exit code:
/// [`Exit::Success`], also with warnings, or [`Exit::Usage`].
pub fn run(args: &CheckArgs, environment: &Environment, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let report = examine(load(&args.serve, environment), environment);
    let written = if args.json { write_json(&report, out) } else { write_table(&report, out) };
    let sound = report.errors.is_empty();
    match written.and_then(|()| out.flush()).and_then(|()| write_problems(&report, err)) {
        Ok(()) if sound => Exit::Success,
        Ok(()) | Err(_) => Exit::Usage,
    }
}

/// Looks at what a configuration names: files and programs.
fn examine(loaded: Loaded, environment: &Environment) -> Report {
    let search = loaded.search;
    let mut report = Report { search, settings: Vec::new(), warnings: Vec::new(), errors: Vec::new() };
    match loaded.outcome {
        Ok(resolved) => {
            report.settings = resolved.provenance.0;
            report.warnings = resolved.warnings.into_iter().map(|warning| warning.0).collect();
            report.warnings.extend(daemon::no_agents(&resolved.config).map(String::from));
            look_at_files(&resolved.config, &mut report);
            look_at_token(&resolved.config, &mut report.errors);
            look_at_store(&resolved.config, &mut report.errors);
            look_at_catalogue(&resolved.config, &mut report);
            look_at_agents(&resolved.config, environment, &mut report.warnings);
            report.errors.sort_by_key(|problem| problem.place.as_ref().map(Source::order));
        }
        Err(errors) => {
            let problem =
                |error: crate::config::ConfigError| Problem { place: Some(error.place), text: error.problem };
            report.errors = errors.0.into_iter().map(problem).collect();
        }
    }
    report
}

fn look_at_files(config: &Config, report: &mut Report) {
    let Some(TlsFiles { certificate, key }) = &config.tls else { return };
    let before = report.errors.len();
    for (name, path) in [("server.tls_certificate", certificate), ("server.tls_key", key)] {
        // A pipe is not opened: that waits for a writer.
        let readable =
            std::fs::metadata(path).and_then(|found| found.is_file().then(|| File::open(path)).transpose());
        let text = match readable {
            Ok(Some(_)) => continue,
            Ok(None) => format!("{name}: {} is not a file", path.display()),
            Err(error) => format!("{name}: cannot read {}: {error}", path.display()),
        };
        let setting = report.settings.iter().find(|setting| setting.key == name);
        report.errors.push(Problem { place: setting.map(|setting| setting.source.clone()), text });
    }
    if report.errors.len() == before
        && let Err(error) = tls::server_config(certificate, key)
    {
        report.errors.push(Problem { place: None, text: error.to_string() });
    }
}

/// The token that a daemon without configured tokens makes for itself, or has made.
fn look_at_token(config: &Config, errors: &mut Vec<Problem>) {
    if !config.tokens.is_empty() {
        return;
    }
    let text = match config.token_file.as_deref() {
        None => StartError::NoTokenFile.to_string(),
        Some(path) if path.exists() => match read_token_file(path) {
            Ok(_) => return,
            Err(error) => error.to_string(),
        },
        Some(_) => return,
    };
    errors.push(Problem { place: None, text });
}

/// Whether there is a place for the store. It is not opened: a daemon may be using it.
fn look_at_store(config: &Config, errors: &mut Vec<Problem>) {
    if config.store == StoreKind::Sqlite && config.store_path.is_none() {
        errors.push(Problem { place: None, text: StartError::NoStorePath.to_string() });
    }
}

/// Registers the agents as a daemon would.
fn look_at_catalogue(config: &Config, report: &mut Report) {
    let problems = match daemon::builder(config, None) {
        Ok(builder) => builder.problems(),
        Err(error) => {
            return report.errors.push(Problem { place: None, text: error.to_string() });
        }
    };
    for problem in problems {
        let BuildError::Agent(BadAgent::Twice(agent)) = &problem else {
            report.errors.push(Problem { place: None, text: problem.to_string() });
            continue;
        };
        let key = config.agents.iter().position(|other| other.agent == *agent);
        let key = key.map(|index| format!("agents[{index}].name"));
        let setting = report.settings.iter().find(|setting| Some(&setting.key) == key.as_ref());
        let mut text = problem.to_string();
        if config.demo_agents {
            text.push_str("; a demo agent has that name (--demo-agents)");
        }
        report.errors.push(Problem { place: setting.map(|setting| setting.source.clone()), text });
    }
}

fn look_at_agents(config: &Config, environment: &Environment, warnings: &mut Vec<String>) {
    let path = environment.vars().get("PATH").map(String::as_str).unwrap_or_default();
    for agent in &config.agents {
        if !agent.dir.is_dir() {
            warnings.push(format!("agent {}: dir {} is not a directory", agent.agent, agent.dir.display()));
            continue;
        }
        let missing = cannot_start(agent, path).into_iter().chain(missing_arguments(agent));
        warnings.extend(missing.map(|text| format!("agent {}: {text}", agent.agent)));
    }
}

/// Why an agent's program cannot be started, if that can be seen from here.
fn cannot_start(agent: &AgentConfig, path: &str) -> Option<String> {
    let program = &agent.program;
    let (places, name) = if program.contains('/') {
        (vec![agent.dir.clone()], agent.dir.display().to_string())
    } else {
        (std::env::split_paths(path).collect(), "PATH".into())
    };
    let there: Vec<PathBuf> =
        places.iter().map(|place| place.join(program)).filter(|path| path.is_file()).collect();
    match there.first() {
        None => Some(format!("there is no program {program:?} in {name}")),
        Some(_) if there.iter().any(|path| is_executable(path)) => None,
        Some(first) => Some(format!("{} is not executable (chmod +x)", first.display())),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

/// Arguments that look like files and are none.
fn missing_arguments(agent: &AgentConfig) -> impl Iterator<Item = String> {
    let is_path = |argument: &&String| {
        let script = [".py", ".sh", ".js"].iter().any(|end| argument.ends_with(end));
        let text =
            argument.starts_with('-') || argument.contains("://") || argument.contains(char::is_whitespace);
        (script || argument.contains('/')) && !text
    };
    let missing = agent.arguments.iter().filter(is_path).filter(|path| !agent.dir.join(path).exists());
    missing.map(|argument| format!("its argument {argument:?} names nothing in {}", agent.dir.display()))
}

fn write_table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    match report.search.file() {
        Some(path) => writeln!(out, "configuration file: {}", path.display())?,
        None => writeln!(out, "configuration file: none")?,
    }
    writeln!(out, "looked for in this order:")?;
    for (index, place) in report.search.candidates.iter().enumerate() {
        let (path, why, found) = (place.path.display(), place.why, state(&report.search, index));
        writeln!(out, "  {path}  ({why}; {found})")?;
    }
    if report.settings.is_empty() {
        return Ok(());
    }
    let width = |text: fn(&Setting) -> &str| {
        let lengths = report.settings.iter().map(|setting| text(setting).chars().count());
        lengths.filter(|length| *length <= COLUMN_CHARS).max().unwrap_or_default()
    };
    let (keys, values) = (width(|setting| &setting.key), width(|setting| &setting.value));
    writeln!(out)?;
    writeln!(out, "{:keys$}  {:values$}  SOURCE", "KEY", "VALUE")?;
    for Setting { key, value, source } in &report.settings {
        writeln!(out, "{key:keys$}  {value:values$}  {source}")?;
    }
    Ok(())
}

fn state(search: &Search, index: usize) -> &'static str {
    match search.used {
        Some(used) if index == used => "used",
        Some(used) if index > used => "not reached",
        _ => "not there",
    }
}

fn write_json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let searched = report.search.candidates.iter().enumerate().map(|(index, place)| {
        let path = place.path.display().to_string();
        json!({ "path": path, "why": place.why, "state": state(&report.search, index) })
    });
    let settings = report.settings.iter().map(
        |Setting { key, value, source }| json!({ "key": key, "value": typed(value), "source": source_json(source) }),
    );
    let errors = report
        .errors
        .iter()
        .map(|problem| json!({ "problem": problem.text, "source": problem.place.as_ref().map(source_json) }));
    let whole = json!({
        "file": report.search.file().map(|path| path.display().to_string()),
        "searched": searched.collect::<Vec<_>>(),
        "settings": settings.collect::<Vec<_>>(),
        "warnings": report.warnings,
        "errors": errors.collect::<Vec<_>>(),
    });
    writeln!(out, "{whole:#}")
}

/// A value that is shown as it would stand in the file, as JSON; nothing where there is none.
fn typed(shown: &str) -> Value {
    if shown == "(none)" {
        return Value::Null;
    }
    let read = |text: &str| toml::from_str::<Value>(&format!("value = {text}")).ok();
    let hidden = || read(&shown.replace("(hidden)", "\"(hidden)\""));
    match read(shown).or_else(hidden) {
        Some(mut table) => table["value"].take(),
        None => shown.into(),
    }
}

fn source_json(source: &Source) -> Value {
    match source {
        Source::Default => json!({ "kind": "default" }),
        Source::File { path, line } => {
            json!({ "kind": "file", "path": path.display().to_string(), "line": line })
        }
        Source::Env(name) => json!({ "kind": "env", "name": name }),
        Source::Flag(name) => json!({ "kind": "flag", "name": name }),
    }
}

fn write_problems(report: &Report, err: &mut dyn Write) -> io::Result<()> {
    for warning in &report.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    for Problem { place, text } in &report.errors {
        match place {
            Some(place) => writeln!(err, "error: {place}: {text}")?,
            None => writeln!(err, "error: {text}")?,
        }
    }
    err.flush()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        check: CheckArgs,
    }

    struct Ran {
        code: Exit,
        out: String,
        err: String,
    }

    fn check(flags: &[&str], vars: &[(&str, &str)]) -> Ran {
        let args = Command::parse_from(std::iter::once("check").chain(flags.iter().copied())).check;
        let vars = [("HOME", "/nowhere")].iter().chain(vars);
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, &vars.collect(), &mut out, &mut err);
        Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }

    fn file(directory: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = directory.path().join("arcpd.toml");
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_sound_configuration_is_shown_as_a_table() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "[server]\nheartbeat_interval_sec = 5\n");
        let path = path.to_str().unwrap();
        let ran = check(
            &["--log-level=debug", "--demo-agents"],
            &[("ARCPD_CONFIG", path), ("ARCPD_TOKENS", "alice=tok-a")],
        );
        assert_eq!((ran.code, &*ran.err), (Exit::Success, ""), "{}", ran.out);
        assert!(ran.out.starts_with(&format!("configuration file: {path}\n")), "{}", ran.out);
        assert!(ran.out.contains(&format!("  {path}  (ARCPD_CONFIG; used)\n")), "{}", ran.out);
        let words = |key: &str| -> Vec<&str> {
            let line = ran.out.lines().find(|line| line.split_whitespace().next() == Some(key));
            line.unwrap().split_whitespace().collect()
        };
        assert_eq!(words("server.heartbeat_interval_sec")[1..], ["5", "file", path, "line", "2"]);
        assert_eq!(words("log.level")[1..], ["\"debug\"", "flag", "--log-level"]);
        assert_eq!(words("auth.tokens.alice")[1..], ["(hidden)", "env", "ARCPD_TOKENS"]);
        assert_eq!(words("server.listen")[1..], ["\"127.0.0.1:7878\"", "default"]);
        let columns = |what: &str| ran.out.lines().filter_map(|line| line.find(what)).collect::<Vec<_>>();
        assert!(columns("  default").windows(2).all(|pair| pair[0] == pair[1]), "{}", ran.out);
    }

    #[test]
    fn the_usual_places_are_searched_in_order() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("arcpd")).unwrap();
        fs::write(home.path().join("arcpd/arcpd.toml"), "[server]\ndemo_agents = true\n").unwrap();
        let root = home.path().to_str().unwrap();
        let ran = check(&[], &[("XDG_CONFIG_HOME", root)]);
        let places: Vec<_> = ran.out.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(places[0], "  arcpd.toml  (the working directory; not there)");
        assert_eq!(places[1], format!("  {root}/arcpd/arcpd.toml  (the user's configuration; used)"));
        assert_eq!(places[2], "  /etc/arcpd/arcpd.toml  (the machine's configuration; not reached)");
        let ran = check(&[], &[("HOME", "/nowhere")]);
        assert!(ran.out.contains("  /nowhere/.config/arcpd/arcpd.toml  ("), "{}", ran.out);
    }

    #[test]
    fn every_error_is_on_stderr_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "[server]\nlisten = 1\n[limits]\nconnections = 0\n");
        let path = path.to_str().unwrap();
        let ran = check(&["--config", path, "--store=tape"], &[]);
        assert_eq!(ran.code, Exit::Usage);
        let lines: Vec<_> = ran.err.lines().collect();
        assert_eq!(lines.len(), 3, "{}", ran.err);
        assert!(lines[0].starts_with(&format!("error: file {path} line 2: server.listen: ")), "{}", ran.err);
        assert!(lines[2].starts_with("error: flag --store: store.kind: "), "{}", ran.err);
        assert!(
            lines[1].starts_with(&format!("error: file {path} line 4: limits.connections: ")),
            "{}",
            ran.err
        );
        let missing = check(&["--config", "/nowhere/arcpd.toml"], &[]);
        assert_eq!(missing.code, Exit::Usage);
        assert!(
            missing.err.starts_with("error: flag --config: cannot read /nowhere/arcpd.toml"),
            "{}",
            missing.err
        );
    }

    #[test]
    fn a_file_that_is_too_long_or_no_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, &"#".repeat(1_048_577));
        let ran = check(&["--config", path.to_str().unwrap()], &[]);
        assert!(ran.err.contains("longer than 1048576 bytes"), "{}", ran.err);
        fs::write(&path, b"\xff").unwrap();
        let ran = check(&["--config", path.to_str().unwrap()], &[]);
        assert!(ran.err.contains("not UTF-8"), "{}", ran.err);
    }

    #[test]
    fn programs_and_certificates_are_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("agent");
        fs::write(&program, "").unwrap();
        let agent =
            |name: &str, more: &str| format!("[[agents]]\nname = \"{name}\"\nversion = \"1\"\n{more}\n");
        let text = [
            agent("here", "command = [\"./agent\"]"),
            agent("in-path", "command = [\"agent\"]"),
            agent("nowhere", "command = [\"no-such-program\"]"),
            agent("homeless", "command = [\"agent\"]\ndir = \"none\""),
        ];
        let path = file(&directory, &text.concat());
        let vars = [("PATH", directory.path().to_str().unwrap())];
        let flags = ["--config", path.to_str().unwrap()];
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        let ran = check(&flags, &vars);
        assert_eq!((ran.code, ran.err.lines().count()), (Exit::Success, 4), "{}", ran.err);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let ran = check(&flags, &vars);
        assert_eq!((ran.code, ran.err.lines().count()), (Exit::Success, 2), "{}", ran.err);
        assert!(
            ran.err.contains("agent nowhere@1: there is no program \"no-such-program\" in PATH"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("agent homeless@1: dir "), "{}", ran.err);

        let ran = check(&[&flags[..], &["--tls-certificate=/nowhere/c", "--tls-key=/"]].concat(), &vars);
        assert_eq!(ran.code, Exit::Usage);
        assert!(
            ran.err.contains("error: flag --tls-certificate: server.tls_certificate: cannot read"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("error: flag --tls-key: server.tls_key: / is not a file"), "{}", ran.err);
    }

    #[test]
    fn what_serve_refuses_is_refused_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let agent = "[[agents]]\nname = \"ECHO\"\nversion = \"1.0.0\"\ncommand = [\"sh\"]\n";
        let both = agent.replace("ECHO", "echo") + &agent.replace("ECHO", "ticker");
        let path = file(&directory, &both);
        let path = path.to_str().unwrap();
        let vars = [("PATH", "/bin:/usr/bin")];
        assert_eq!(check(&["--config", path], &vars).code, Exit::Success);
        let ran = check(&["--config", path, "--demo-agents"], &vars);
        assert_eq!(ran.code, Exit::Usage);
        for (line, agent) in [(2, "echo@1.0.0"), (6, "ticker@1.0.0")] {
            let told = format!("error: file {path} line {line}: cannot register the agent {agent} twice");
            assert!(ran.err.contains(&told), "{told}: {}", ran.err);
        }
        let ran = check(&["--config", path, "--tls-certificate", path, "--tls-key", path], &vars);
        assert!(ran.code == Exit::Usage && ran.err.contains("error: "), "{}", ran.err);
        let ran = check(&["--config", path, "--demo-agents", "--tls-certificate=/", "--tls-key=/"], &vars);
        let at = |text: &str| ran.err.find(text).unwrap();
        assert!(at("line 2") < at("line 6") && at("line 6") < at("--tls-certificate"), "{}", ran.err);
        let ran = check(&["--config", path], &[("HOME", ""), ("PATH", "/bin:/usr/bin")]);
        assert!(ran.code == Exit::Usage && ran.err.contains("no home directory"), "{}", ran.err);
    }

    #[test]
    fn what_will_not_work_is_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let agent = |name: &str, command: &str| {
            format!("[[agents]]\nname = \"{name}\"\nversion = \"1\"\ncommand = {command}\n")
        };
        fs::write(directory.path().join("there.py"), "").unwrap();
        let text = [
            agent(
                "good",
                r#"["sh", "-c", "cat /nowhere/x", "there.py", "--to=/nowhere", "x://y/z", "word"]"#,
            ),
            agent("script", r#"["sh", "agent.py", "sub/dir"]"#),
            agent("plain", r#"["./there.py"]"#),
        ];
        let path = file(&directory, &text.concat());
        let ran = check(&["--config", path.to_str().unwrap()], &[("PATH", "/bin:/usr/bin")]);
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!((ran.code, lines.len()), (Exit::Success, 3), "{}", ran.err);
        assert!(
            lines[0].contains("agent script@1: its argument \"agent.py\" names nothing in"),
            "{}",
            ran.err
        );
        assert!(lines[1].contains("\"sub/dir\""), "{}", ran.err);
        assert!(lines[2].contains("there.py is not executable (chmod +x)"), "{}", ran.err);
        let path = file(&directory, "");
        let ran = check(&["--config", path.to_str().unwrap()], &[]);
        assert!(ran.err.starts_with("warning: no agent is configured"), "{}", ran.err);
    }

    #[test]
    fn values_have_their_types_in_json() {
        for (shown, value) in [
            ("5", json!(5)),
            ("true", json!(true)),
            ("\"a \\\"b\"", json!("a \"b")),
            ("[\"sh\", \"x\"]", json!(["sh", "x"])),
            ("[]", json!([])),
            ("(none)", Value::Null),
            ("(hidden)", json!("(hidden)")),
            ("{\"A\" = (hidden), \"B\" = (hidden)}", json!({ "A": "(hidden)", "B": "(hidden)" })),
            ("what is this", json!("what is this")),
        ] {
            assert_eq!(typed(shown), value, "{shown}");
        }
    }

    #[test]
    fn the_json_report_has_everything() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "");
        let path = path.to_str().unwrap();
        let ran = check(&["--json", "--config", path, "--token=alice=tok-a"], &[]);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&report["file"], &report["searched"][0]["state"]), (&json!(path), &json!("used")));
        assert_eq!(report["warnings"].as_array().unwrap().len(), 2);
        let settings = report["settings"].as_array().unwrap();
        let tokens = settings.iter().find(|setting| setting["key"] == "auth.tokens.alice").unwrap();
        assert_eq!(tokens["source"], json!({ "kind": "flag", "name": "--token" }));
        assert!(!ran.out.contains("tok-a") && !ran.err.contains("tok-a"));
        let ran = check(&["--json", "--config", path, "--listen=x"], &[]);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(ran.code, Exit::Usage);
        assert_eq!(report["errors"][0]["source"], json!({ "kind": "flag", "name": "--listen" }));
        assert!(ran.err.starts_with("error: flag --listen"));
    }

    #[test]
    fn a_store_without_a_place_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "");
        let flags = ["--demo-agents", "--token=a=b", "--config", path.to_str().unwrap()];
        let homeless = check(&flags, &[("HOME", "")]);
        assert_eq!(homeless.code, Exit::Usage);
        assert!(homeless.err.contains("--store memory"), "{}", homeless.err);
        for (flag, env) in [("--store=memory", ("HOME", "")), ("--log-level=warn", ("XDG_STATE_HOME", "/s"))]
        {
            assert_eq!(check(&[&flags[..], &[flag]].concat(), &[env]).code, Exit::Success);
        }
    }

    #[test]
    fn a_report_that_cannot_be_written_is_a_failure() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let tokens = vec![crate::wire::session::Token::new("alice=tok-a")];
        let (config, store) = (Some(file(&directory, "")), Some("memory".into()));
        let serve = ServeArgs { config, tokens, store, ..ServeArgs::default() };
        let args = CheckArgs { serve, json: false };
        assert_eq!(run(&args, &Environment::default(), &mut Vec::new(), &mut Vec::new()), Exit::Success);
        assert_eq!(run(&args, &Environment::default(), &mut Full, &mut Vec::new()), Exit::Usage);
    }
}
