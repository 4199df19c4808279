//! What the layers make of one another, and what is said about mistakes.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use proptest::prelude::*;

use super::*;
use crate::auth::{Authenticator, Role, hash};
use crate::wire::session::Token;

#[derive(Debug, Parser)]
struct Serve {
    #[command(flatten)]
    serve: ServeArgs,
}

fn args(flags: &[&str]) -> ServeArgs {
    Serve::parse_from(std::iter::once("serve").chain(flags.iter().copied())).serve
}

fn env(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
    vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn secret_file(path: &Path) -> Result<SecretText, String> {
    match path.to_str() {
        Some("conf/carol.token") => Ok(SecretText { token: Token::new("tok-c"), exposed: true }),
        _ => Err(format!("cannot read {}", path.display())),
    }
}

fn with(toml: &str, vars: &[(&str, &str)], flags: &[&str]) -> Result<Resolved, ConfigErrors> {
    let file = ConfigFile { path: "conf/arcpd.toml".into(), text: toml.into() };
    resolve(&Config::default(), Some(&file), &env(vars), &args(flags), &secret_file)
}

fn good(toml: &str, vars: &[(&str, &str)], flags: &[&str]) -> Resolved {
    with(toml, vars, flags).unwrap_or_else(|errors| panic!("{errors}"))
}

fn bad(toml: &str, vars: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let errors = with(toml, vars, flags).expect_err("it was taken");
    errors.0.iter().map(ToString::to_string).collect()
}

fn source(resolved: &Resolved, key: &str) -> String {
    resolved.provenance.get(key).unwrap().source.to_string()
}

#[test]
fn without_layers_the_defaults_hold() {
    let resolved = resolve(&Config::default(), None, &env(&[]), &ServeArgs::default(), &secret_file).unwrap();
    assert_eq!(format!("{:?}", resolved.config), format!("{:?}", Config::default()));
    assert!(resolved.provenance.0.iter().all(|setting| setting.source == Source::Default));
    assert!(resolved.warnings.is_empty());
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let toml = "[server]\nlisten = \"127.0.0.1:1\"\n";
    let vars = [("ARCPD_LISTEN", "127.0.0.1:2")];
    let flags = ["--listen", "127.0.0.1:3"];
    let port = |resolved: &Resolved| resolved.config.listen.port;
    let file = good(toml, &[], &[]);
    assert_eq!((port(&file), &*source(&file, "server.listen")), (1, "file conf/arcpd.toml line 2"));
    let with_env = good(toml, &vars, &[]);
    assert_eq!((port(&with_env), &*source(&with_env, "server.listen")), (2, "env ARCPD_LISTEN"));
    let with_flag = good(toml, &vars, &flags);
    assert_eq!((port(&with_flag), &*source(&with_flag, "server.listen")), (3, "flag --listen"));
    assert_eq!(source(&with_flag, "server.heartbeat_interval_sec"), "default");
    let empty = good(toml, &[("ARCPD_LISTEN", "")], &[]);
    assert_eq!(port(&empty), 1, "an empty variable is not set");
}

#[test]
fn every_key_can_be_set_in_every_layer_that_it_has() {
    let values = [
        ("server.listen", "\"localhost:1\"", "localhost:1"),
        ("server.allowed_origins", "[\"https://a.example\"]", "https://a.example"),
        ("server.tls_certificate", "\"/c\"", "/c"),
        ("server.tls_key", "\"/k\"", "/k"),
        ("server.metrics", "\"token\"", "token"),
        ("server.heartbeat_interval_sec", "7", "7"),
        ("server.resume_window_sec", "8", "8"),
        ("server.demo_agents", "true", "true"),
        ("store.kind", "\"sqlite\"", "sqlite"),
        ("store.path", "\"/s\"", "/s"),
        ("store.durability", "\"process\"", "process"),
        ("auth.token_file", "\"/t\"", "/t"),
        ("log.level", "\"debug\"", "debug"),
        ("log.format", "\"json\"", "json"),
    ];
    for key in keys::KEYS.iter().filter(|key| !key.path.contains('[') && key.path != "auth.tokens") {
        let (_, toml, text) = values.iter().find(|(path, ..)| *path == key.path).expect(key.path);
        let (section, name) = key.section_and_name();
        let mut layers = vec![(format!("[{section}]\n{name} = {toml}"), env(&[]), Vec::new(), "file")];
        if let Some(name) = key.env {
            layers.push((String::new(), env(&[(name, text)]), Vec::new(), "env"));
        }
        if let Some(flag) = key.flag {
            layers.push((String::new(), env(&[]), vec![format!("{flag}={text}")], "flag"));
        }
        // Either of the two TLS files needs the other.
        let other = match key.path {
            "server.tls_key" => Some(("ARCPD_TLS_CERTIFICATE", "/c")),
            "server.tls_certificate" => Some(("ARCPD_TLS_KEY", "/k")),
            _ => None,
        };
        for (toml_text, mut vars, flags, layer) in layers {
            vars.extend(other.map(|(name, value)| (name.to_owned(), value.to_owned())));
            let vars: Vec<_> = vars.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let flags: Vec<_> = flags.iter().map(String::as_str).collect();
            let resolved = good(&toml_text, &vars, &flags);
            let setting = resolved.provenance.get(key.path).unwrap();
            assert_eq!(setting.value, *toml, "{} in {layer}", key.path);
            assert!(setting.source.to_string().starts_with(layer), "{} in {layer}", key.path);
        }
    }
    assert!(good("", &[], &["--demo-agents"]).config.demo_agents);
    assert!(!good("[server]\ndemo_agents = true", &[], &["--demo-agents=false"]).config.demo_agents);
}

#[test]
fn limits_come_from_every_layer() {
    let toml = "[limits]\nconnections = 10\njobs_running = 11\nframe_bytes = 1_000_000\n";
    let vars = [("ARCPD_LIMITS_JOBS_RUNNING", "12"), ("ARCPD_LIMITS_LIST_PAGE_JOBS", "500")];
    let flags = ["--limit", "list_page_jobs=400", "--limit=json_depth=32", "--limit=json_depth=33"];
    let resolved = good(toml, &vars, &flags);
    let limits = &resolved.config.limits;
    assert_eq!((limits.connections, limits.jobs_running, limits.list_page_jobs), (10, 12, 400));
    assert_eq!((limits.frame_bytes, limits.json_depth), (1_000_000, 33));
    assert_eq!(source(&resolved, "limits.connections"), "file conf/arcpd.toml line 2");
    assert_eq!(source(&resolved, "limits.jobs_running"), "env ARCPD_LIMITS_JOBS_RUNNING");
    assert_eq!(source(&resolved, "limits.list_page_jobs"), "flag --limit list_page_jobs");
    assert_eq!(source(&resolved, "limits.chunk_bytes"), "default");
}

#[test]
fn limits_out_of_bounds_are_refused_with_the_bound() {
    for (limit, words) in [
        ("frame_bytes = 1_048_576", "integer from 8192 to 1048575, got the integer 1048576"),
        ("connections = 0", "limits.connections: expected an integer from 1 to"),
        ("connections = -1", "got the integer -1"),
        ("connections = 1.5", "got the float 1.5"),
        ("connections = \"9\"", "got the text \"9\""),
        ("connections = 99999999999999999999999", "expected an integer"),
        (
            "hello_bytes = 2000\nframe_bytes = 8192\ninline_result_bytes = 8000\nlist_page_bytes = 5000\n\
             chunk_bytes = 2000",
            "inline_result_bytes = 8000 (file conf/arcpd.toml line 4) with 2048 bytes",
        ),
        (
            "chunk_bytes = 900_000\nagent_line_bytes = 4_000_000",
            "limits.chunk_bytes = 900000 (file conf/arcpd.toml line 2) in base64",
        ),
        ("agent_line_bytes = 8192", "must fit into limits.agent_line_bytes = 8192"),
        ("lag_signal_events = 3_000_000", "must be at most limits.lag_detach_events = 2000000 (default)"),
        ("session_buffer_events = 100", "limits.lag_detach_events = 2000000 (default) must be at most"),
        ("list_default_jobs = 2000", "must be at most limits.list_page_jobs"),
        ("finished_age_sec = 10", "server.resume_window_sec = 600 (default) must be at most"),
    ] {
        let errors = bad(&format!("[limits]\n{limit}\n"), &[], &[]);
        assert_eq!(errors.len(), 1, "{limit}: {errors:#?}");
        assert!(
            errors[0].contains(words) && errors[0].starts_with("file conf/arcpd.toml line "),
            "{errors:#?}"
        );
    }
    let errors = bad("", &[("ARCPD_LIMITS_CONNECTIONS", "many"), ("ARCPD_LIMITS_CONECTIONS", "1")], &[]);
    assert!(errors[0].starts_with("env ARCPD_LIMITS_CONNECTIONS: limits.connections: expected an integer"));
    assert!(errors[1].contains("did you mean ARCPD_LIMITS_CONNECTIONS?"), "{errors:?}");
    let errors = bad("", &[], &["--limit=conections=1", "--limit=connections", "--limit=connections=0"]);
    assert!(errors[0].contains("did you mean connections?") && errors[1].contains("expected NAME=VALUE"));
    assert!(errors[2].starts_with("flag --limit connections: limits.connections: expected"), "{errors:?}");
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let toml = "listen = 1\n[server]\nlisten = 7878\ndemo_agents = \"yes\"\nlistn = 1\n[store]\nkind = \"redis\"\n\
                [log]\nformat = \"xml\"\nlevel = \"verbos\"\n[colour]\n[auth]\ntokens = 3\n";
    let vars = [("ARCPD_HEARTBEAT_INTERVAL", "0"), ("ARCPD_LOG_FORMAT", "json")];
    let mut errors = bad(toml, &vars, &["--listen", "nowhere", "--resume-window=x"]);
    errors.sort();
    let expected = [
        "env ARCPD_HEARTBEAT_INTERVAL: server.heartbeat_interval_sec: expected an integer from 1 to \
         86400, got \"0\"",
        "file conf/arcpd.toml line 10: log.level: expected off, error, warn, info, debug or trace, or a list like \
         info,arcpd::runtime=debug: \"verbos\" is no level; for a target write verbos=trace, got \"verbos\"",
        "file conf/arcpd.toml line 11: colour: there is no such section or key",
        "file conf/arcpd.toml line 13: auth.tokens: expected entries that begin with \
         [[auth.tokens]], got an integer",
        "file conf/arcpd.toml line 1: listen: there is no such section or key; did you mean server.listen?",
        "file conf/arcpd.toml line 3: server.listen: expected host:port, like \"127.0.0.1:7878\", \
         got the integer 7878",
        "file conf/arcpd.toml line 4: server.demo_agents: expected true or false, got the text \"yes\"",
        "file conf/arcpd.toml line 5: server.listn: there is no such key; did you mean listen?",
        "file conf/arcpd.toml line 7: store.kind: there is no such store; the kinds are memory and sqlite, got \"redis\"",
        "file conf/arcpd.toml line 9: log.format: expected text or json, got \"xml\"",
        "flag --listen: server.listen: expected host:port, like 127.0.0.1:7878, [::1]:7878 or \
         localhost:0, got \"nowhere\"",
        "flag --resume-window: server.resume_window_sec: expected an integer from 1 to 31622400, got \"x\"",
    ];
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(errors, expected);
}

#[test]
fn broken_toml_is_reported_without_its_text() {
    let errors = bad("[auth]\n[[auth.tokens]]\nsha256 = \"my secret\n", &[], &["--listen=x"]);
    assert!(errors[0].starts_with("file conf/arcpd.toml line 3: this is not TOML: "), "{errors:?}");
    assert!(errors.iter().any(|error| error.starts_with("flag --listen")), "{errors:?}");
    assert!(!errors.concat().contains("secret"));
}

#[test]
fn tls_needs_both_files() {
    let errors = bad("[server]\ntls_key = \"k\"", &[], &[]);
    assert_eq!(
        errors,
        [
            "file conf/arcpd.toml line 2: server.tls_key: server.tls_certificate is needed too; give both or none"
        ]
    );
    let both = good("[server]\ntls_key = \"k\"", &[("ARCPD_TLS_CERTIFICATE", "c")], &[]);
    let tls = both.config.tls.unwrap();
    assert_eq!((tls.key.to_str(), tls.certificate.to_str()), (Some("conf/k"), Some("c")));
    assert!(bad("[server]\ntls_key = \"~/k\"", &[], &[])[0].contains("~ is not expanded"));
}

#[test]
fn an_open_address_without_tls_gets_a_warning() {
    let warnings = good("", &[], &["--listen=0.0.0.0:1"]).warnings;
    assert!(warnings[0].0.contains("TLS"), "{warnings:?}");
    let tls = ["--listen=0.0.0.0:1", "--tls-key=k", "--tls-certificate=c"];
    assert!(good("", &[], &tls).warnings.is_empty());
}

const HASH_A: &str = "4a4a8d4bf3b4a2a0fd8f62f1c2b8d0b6ef3a0d1e2f3c4b5a69788796a5b4c3d2";

#[test]
fn tokens_come_from_hashes_variables_files_and_flags() {
    let of_alice = hex::encode(hash("tok-a").as_bytes());
    let toml = format!(
        "[[auth.tokens]]\nname = \"alice\"\nsha256 = \"{of_alice}\"\n[[auth.tokens]]\nname = \"alice\"\nsha256 = \
         \"{HASH_A}\"\n[[auth.tokens]]\nname = \"bob\"\ntoken_env = \"BOBS\"\n[[auth.tokens]]\nname = \"carol\"\n\
         token_file = \"carol.token\"\n"
    );
    let vars = [("BOBS", "tok-b"), ("ARCPD_TOKENS", "dan=tok-d, eve=a=b")];
    let resolved = good(&toml, &vars, &["--token", "fay=tok-f"]);
    let auth = Authenticator::new(resolved.config.tokens.clone());
    for (token, name) in [
        ("tok-a", "alice"),
        ("tok-b", "bob"),
        ("tok-c", "carol"),
        ("tok-d", "dan"),
        ("a=b", "eve"),
        ("tok-f", "fay"),
    ] {
        assert_eq!(auth.authenticate("bearer", &Token::new(token)).unwrap().principal.subject(), name);
    }
    assert_eq!(resolved.config.tokens.len(), 7);
    assert_eq!(source(&resolved, "auth.tokens.alice"), "file conf/arcpd.toml line 1");
    assert_eq!(source(&resolved, "auth.tokens.dan"), "env ARCPD_TOKENS");
    assert_eq!(source(&resolved, "auth.tokens.fay"), "flag --token");
    let warnings: Vec<_> = resolved.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings[0].contains("carol.token") && warnings[1].contains("--token"), "{warnings:?}");
    let printed = format!("{resolved:?}{:?}", args(&["--token", "fay=tok-f"]));
    assert!(!printed.contains("tok-") && !printed.contains(&of_alice), "{printed}");
}

#[test]
fn a_later_layer_replaces_the_tokens_of_its_names_only() {
    let toml = "[[auth.tokens]]\nname = \"alice\"\ntoken_env = \"A\"\n\
                [[auth.tokens]]\nname = \"bob\"\ntoken_env = \"B\"\n";
    let resolved = good(toml, &[("A", "tok-a"), ("B", "tok-b")], &["--token", "alice=tok-new"]);
    let auth = Authenticator::new(resolved.config.tokens);
    assert!(auth.authenticate("bearer", &Token::new("tok-a")).is_err());
    assert!(auth.authenticate("bearer", &Token::new("tok-new")).is_ok());
    assert!(auth.authenticate("bearer", &Token::new("tok-b")).is_ok());
}

#[test]
fn roles_belong_to_tokens_in_every_layer() {
    let toml = "[[auth.tokens]]\nname = \"alice\"\ntoken_env = \"A\"\nroles = [\"operator\"]\n\
                [[auth.tokens]]\nname = \"alice\"\ntoken_env = \"B\"\ndialect = \"go\"\n";
    let vars =
        [("A", "tok-a"), ("B", "tok-b"), ("ARCPD_TOKENS", "dan:metrics=tok-d, eve:operator:metrics=t:k")];
    let resolved = good(toml, &vars, &["--token", "fay:operator=tok-f"]);
    let auth = Authenticator::new(resolved.config.tokens.clone());
    for (token, roles) in [
        ("tok-a", &[Role::Operator][..]),
        ("tok-b", &[]),
        ("tok-d", &[Role::Metrics]),
        ("t:k", &[Role::Operator, Role::Metrics]),
        ("tok-f", &[Role::Operator]),
    ] {
        let caller = auth.authenticate("bearer", &Token::new(token)).unwrap();
        assert_eq!(caller.roles, roles.iter().copied().collect(), "{token}");
        assert_eq!(
            caller.dialect.map(|dialect| dialect.to_string()).as_deref(),
            (token == "tok-b").then_some("go")
        );
    }
    let shown = &resolved.provenance.get("auth.tokens.eve").unwrap().value;
    assert_eq!(shown, "(hidden), operator, metrics");
    assert_eq!(resolved.provenance.get("auth.tokens.alice").unwrap().value, "token_env A (hidden), operator");
}

#[test]
fn wrong_tokens_are_refused_and_never_repeated() {
    for (toml, words) in [
        (
            "name = \"a\"\ntoken = \"SECRET\"",
            "auth.tokens[0].token: tokens are not kept in this file in plain",
        ),
        ("name = \"a\"\ntoken = \"SECRET\"", "printf %s TOKEN | sha256sum"),
        ("name = \"a\"\nsha256 = \"SECRET\"", "sha256: expected the 64 hexadecimal digits"),
        ("name = \"a\"\nsha265 = \"SECRET\"", "did you mean sha256?"),
        (
            "name = \"a\"\nsha256 = 12",
            "auth.tokens[0].sha256: expected a text that is not empty, got an integer",
        ),
        (
            "name = \"a\"\ntoken_env = \"X\"\nroles = [\"SECRET\"]",
            "auth.tokens[0].roles: there is no such role; the roles are operator and metrics",
        ),
        ("name = \"a\"\ntoken_env = \"X\"\nroles = 7", "auth.tokens[0].roles: expected a list of texts"),
        ("name = \"a\"\ntoken_env = \"X\"\ndialect = \"perl\"", "auth.tokens[0].dialect: expected one of "),
        (
            "name = \"a\"\ntoken_env = \"X\"\ndialect = 7",
            "auth.tokens[0].dialect: expected a text, got an integer",
        ),
        (
            "name = \"a\"\ntoken_env = \"X\"\n[[auth.tokens]]\nname = \"a\"\ntoken_env = \"X\"\nroles = [\"operator\"]",
            "a has one token twice, with other roles or another dialect",
        ),
        ("name = \"a\"", "exactly one of sha256, token_env and token_file"),
        ("name = \"a\"\ntoken_env = \"X\"\ntoken_file = \"y\"", "exactly one of"),
        ("name = \"a\"\ntoken_env = \"NONE\"", "the variable \"NONE\" is not set or empty"),
        ("name = \"a\"\ntoken_file = \"none\"", "cannot read conf/none"),
        ("name = \"a b\"\ntoken_env = \"X\"", "auth.tokens[0]: name: expected a name of 1 to 64"),
        ("token_env = \"X\"", "auth.tokens[0]: name is missing"),
        (
            "name = \"a\"\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
            "hash of an empty token",
        ),
    ] {
        let errors = bad(&format!("[[auth.tokens]]\n{toml}\n"), &[("X", "SECRET")], &[]);
        assert_eq!(errors.len(), 1, "{toml}: {errors:#?}");
        assert!(errors[0].contains(words) && !errors[0].contains("SECRET"), "{errors:#?}");
    }
    let errors = bad("", &[("ARCPD_TOKENS", "SECRET,a=,=SECRET,S CRET=x")], &["--token=SECRET"]);
    assert_eq!(errors.len(), 5, "{errors:#?}");
    assert!(!errors.concat().contains("CRET"), "{errors:#?}");
    let errors = bad("", &[("ARCPD_TOKENS", "a=tok")], &["--token=b=tok"]);
    assert!(errors[0].contains("b has the same token as a; one token stands for one name"), "{errors:?}");
    assert!(bad("[auth]\ntoken = \"SECRET\"", &[], &[])[0].contains("auth.token: tokens are not kept"));
    assert!(bad("[auth]\ntokens = [\"a=SECRET\"]", &[], &[]).iter().all(|error| !error.contains("SECRET")));
}

#[test]
fn the_token_file_is_in_the_state_directory() {
    let token_file = |vars: &[(&str, &str)]| good("", vars, &[]).config.token_file;
    assert_eq!(token_file(&[]), None);
    assert_eq!(token_file(&[("HOME", "/h")]).unwrap(), Path::new("/h/.local/state/arcpd/token"));
    let xdg = [("HOME", "/h"), ("XDG_STATE_HOME", "/s")];
    assert_eq!(token_file(&xdg).unwrap(), Path::new("/s/arcpd/token"));
    let relative = [("HOME", "/h"), ("XDG_STATE_HOME", "s")];
    assert_eq!(token_file(&relative).unwrap(), Path::new("/h/.local/state/arcpd/token"));
}

#[test]
fn agents_are_programs_with_names() {
    let toml = "[[agents]]\nname = \"report\"\nversion = \"1.0.0\"\ncommand = [\"python3\", \"agent.py\"]\n\
                [[agents]]\nname = \"report\"\nversion = \"2.0.0\"\ncommand = [\"./agent\"]\ndir = \"sub\"\n\
                env = { KEY = \"SECRET\" }\npass_env = [\"PROXY\"]\ndefault = true\n";
    let resolved = good(toml, &[], &[]);
    let [one, two] = &resolved.config.agents[..] else { panic!("two agents") };
    assert_eq!(
        (one.agent.to_string(), one.program.as_str(), one.dir.to_str()),
        ("report@1.0.0".into(), "python3", Some("conf"))
    );
    assert_eq!((&one.arguments[..], one.default), (&["agent.py".to_owned()][..], false));
    assert_eq!(
        (two.dir.to_str(), &two.pass_env[..], two.default),
        (Some("conf/sub"), &["PROXY".to_owned()][..], true)
    );
    let env = resolved.provenance.get("agents[1].env").unwrap();
    assert_eq!(
        (&*env.value, &*env.source.to_string()),
        ("{\"KEY\" = (hidden)}", "file conf/arcpd.toml line 10")
    );
    assert!(!format!("{resolved:?}").contains("SECRET"));
}

#[test]
fn wrong_agents_are_refused() {
    let sound = "name = \"a\"\nversion = \"1\"\ncommand = [\"x\"]\n";
    for (toml, words) in [
        ("name = \"a\"\nversion = \"1\"", vec!["agents[0]: command is missing"]),
        ("", vec!["name is missing", "version is missing", "command is missing"]),
        (
            "name = \"a\"\nversion = 1.0\ncommand = [\"x\"]",
            vec!["agents[0].version: expected a text like \"1.0.0\", got the float 1.0"],
        ),
        ("name = \"A\"\nversion = \"1\"\ncommand = [\"x\"]", vec!["expected an agent like name"]),
        ("name = \"a\"\nversion = \"1\"\ncommand = []", vec!["expected a program"]),
        (
            "name = \"a\"\nversion = \"1\"\ncommand = \"x\"",
            vec!["agents[0].command: expected a list of texts, got the text \"x\""],
        ),
        (
            &format!("{sound}comand = 1"),
            vec!["agents[0].comand: there is no such key; did you mean command?"],
        ),
        (&format!("{sound}env = {{ A = 1 }}"), vec!["agents[0].env: \"A\": expected a text, got an integer"]),
        (&format!("{sound}env = {{ \"A=\" = \"\" }}"), vec!["no name of a variable"]),
        (
            &format!("{sound}env = {{ A = \"\" }}\npass_env = [\"A\"]"),
            vec!["\"A\" is in env and in pass_env"],
        ),
        (&format!("{sound}[[agents]]\n{sound}"), vec!["agents[1]: the agent a@1 is there twice"]),
        (
            &format!(
                "{sound}default = true\n[[agents]]\nname = \"a\"\nversion = \"2\"\ncommand = [\"x\"]\ndefault = true"
            ),
            vec!["cannot both be the default of a"],
        ),
    ] {
        let errors = bad(&format!("[[agents]]\n{toml}\n"), &[], &[]);
        assert_eq!(errors.len(), words.len(), "{toml}: {errors:#?}");
        for (error, words) in errors.iter().zip(words) {
            assert!(error.contains(words), "{errors:#?}");
        }
    }
    assert!(bad("agents = 1", &[], &[])[0].contains("[[agents]]"));
    assert!(bad("agents = [1]", &[], &[])[0].contains("got an integer"));
}

#[test]
fn misspelt_variables_get_a_warning_and_those_of_clients_do_not() {
    let vars =
        [("ARCPD_LISTN", "x"), ("ARCPD_TOKEN", "x"), ("ARCPD_URL", "x"), ("ARCPD_SOMETHING_ELSE", "x")];
    let warnings = good("", &vars, &[]).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].0.contains("did you mean ARCPD_LISTEN?"));
}

fn fragment() -> impl Strategy<Value = String> {
    let words = "[server] [limits] [auth] [[auth.tokens]] [[agents]] [log] agents listen name env frame_bytes \
                 connections sha256 token_file tokens command = = = \n \n \n 1 -1 \"x\" [\"a\"] {a=\"b\"} [ ] { } \" . , \
                 1.5 true 0x1f 1979-05-27 ''' é #";
    let words: Vec<&str> = words.split(' ').collect();
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), fragment()]) {
        let _ = with(&text, &[], &[]);
    }

    #[test]
    fn no_variable_or_flag_makes_it_panic(text in any::<String>()) {
        let vars: Vec<String> = keys::env_names().collect();
        let vars: Vec<_> = vars.iter().map(|name| (name.as_str(), text.as_str())).collect();
        let tokens = vec![Token::new(text.clone())];
        let args = ServeArgs { tokens, limits: vec![text.clone()], ..ServeArgs::default() };
        let _ = resolve(&Config::default(), None, &env(&vars), &args, &secret_file);
    }
}
