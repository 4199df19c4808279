//! What bounds the daemon's memory: every collection in the source has a row that says what bounds it, and
//! `docs/memory.md` is made of the rows. After a change, run
//! `REGENERATE=1 cargo test --test operators memory` and commit the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use arcpd::wire::limits::Limits;

use crate::door::Door;

/// What keeps something small.
enum Bound {
    /// A limit with a key.
    Limit(&'static str),
    /// A constant: its file and its name.
    Fixed(&'static str, &'static str),
    /// Something else, which has a bound.
    Other(&'static str),
}

use Bound::{Fixed, Limit, Other};

struct Row {
    what: &'static str,
    bounds: &'static [Bound],
    /// Where an operator sees it.
    metrics: &'static [&'static str],
    /// The fields that hold it: file, struct and field.
    fields: &'static [&'static str],
}

const CONFIGURED: Bound = Other("the configuration, of at most 1 MiB");

const ROWS: &[Row] = &[
    Row {
        what: "Sockets",
        bounds: &[Limit("connections"), Fixed("src/http/mod.rs", "SPARE_CONNECTIONS")],
        metrics: &["arcpd_http_sockets", "arcpd_limit_used{limit=\"connections\"}"],
        fields: &[],
    },
    Row {
        what: "What a connection reads and writes at once",
        bounds: &[
            Limit("frame_bytes"),
            Fixed("src/transport/websocket/mod.rs", "READ_BUFFER_BYTES"),
            Fixed("src/transport/websocket/mod.rs", "WRITE_BUFFER_BYTES"),
            Fixed("src/transport/websocket/mod.rs", "CONTROL_BUFFER_BYTES"),
            Fixed("src/transport/stdio.rs", "LINE_BUFFER_BYTES"),
        ],
        metrics: &["arcpd_connections"],
        fields: &["transport/stdio.rs LineWriter.buffer", "wire/frame.rs Lines.buffer"],
    },
    Row {
        what: "Frames between two ends in one process",
        bounds: &[Fixed("src/transport/memory.rs", "MEMORY_FRAMES"), Limit("frame_bytes")],
        metrics: &["arcpd_connections"],
        fields: &["transport/memory.rs MemoryReader.receiver", "transport/memory.rs MemoryWriter.sender"],
    },
    Row {
        what: "Requests by HTTP and their answers",
        bounds: &[
            Fixed("src/http/mod.rs", "HTTP_HEAD_BYTES"),
            Fixed("src/http/api.rs", "API_BODY_BYTES"),
            Limit("list_page_jobs"),
        ],
        metrics: &["arcpd_http_sockets"],
        fields: &["http/api.rs Said.headers", "http/api.rs Said.body"],
    },
    Row {
        what: "Sessions, of each principal",
        bounds: &[Limit("sessions_per_principal")],
        metrics: &["arcpd_sessions", "arcpd_limit_used{limit=\"sessions_per_principal\"}"],
        fields: &[
            "runtime/registry.rs Sessions.by_id",
            "runtime/registry.rs Sessions.by_token",
            "store/memory.rs Inner.sessions",
            "store/mod.rs SessionRow.tokens",
            "store/mod.rs Restored.sessions",
        ],
    },
    Row {
        what: "Jobs that a session follows; as many that have ended are remembered",
        bounds: &[Limit("attachments_per_session")],
        metrics: &["arcpd_limit_used{limit=\"attachments_per_session\"}"],
        fields: &[
            "runtime/session.rs Inner.follows",
            "runtime/session.rs SessionCell.marked",
            "proto/stream.rs Stream.attachments",
            "proto/stream.rs Stream.done",
            "store/mod.rs SessionRow.attached",
            "store/sqlite/apply.rs Session.places",
        ],
    },
    Row {
        what: "Sessions that follow or have submitted a job",
        bounds: &[Other("the sessions that there are")],
        metrics: &["arcpd_sessions"],
        fields: &["runtime/job.rs Live.followers", "runtime/job.rs Live.submitters"],
    },
    Row {
        what: "Replies that wait, of each session",
        bounds: &[
            Limit("replies_pending"),
            Other(
                "one for each job that is attached by following, of `limits.attachments_per_session` at a time",
            ),
        ],
        metrics: &["arcpd_replies", "arcpd_limit_used{limit=\"replies_pending\"}"],
        fields: &["runtime/session.rs Inner.replies"],
    },
    Row {
        what: "Numbers that can be sent again, of each session; payloads are not kept there",
        bounds: &[
            Limit("session_buffer_events"),
            Limit("session_buffer_bytes"),
            Fixed("src/runtime/session.rs", "TURN_EVENTS"),
        ],
        metrics: &[
            "arcpd_limit_used{limit=\"session_buffer_events\"}",
            "arcpd_limit_used{limit=\"session_buffer_bytes\"}",
            "arcpd_events_evicted",
        ],
        fields: &[
            "proto/stream.rs Stream.extents",
            "proto/stream.rs Numbers.extents",
            "proto/stream.rs Numbers.places",
            "store/mod.rs SessionRow.extents",
            "store/sqlite/apply.rs Session.extents",
        ],
    },
    Row {
        what: "Envelope ids that are remembered, of each session",
        bounds: &[Limit("duplicate_window")],
        metrics: &["arcpd_sessions"],
        fields: &["proto/session.rs Session.recent"],
    },
    Row {
        what: "Resume tokens of welcomes that may not have arrived, of each session",
        bounds: &[Fixed("src/proto/session.rs", "OLDER_TOKENS")],
        metrics: &["arcpd_sessions"],
        fields: &["proto/session.rs Session.older"],
    },
    Row {
        what: "Jobs that have not ended",
        bounds: &[Limit("jobs_running"), Limit("jobs_per_principal")],
        metrics: &[
            "arcpd_jobs",
            "arcpd_limit_used{limit=\"jobs_running\"}",
            "arcpd_limit_used{limit=\"jobs_per_principal\"}",
        ],
        fields: &["runtime/registry.rs Jobs.live", "store/mod.rs Restored.unfinished"],
    },
    Row {
        what: "Jobs that have ended; within the resume window by their bytes only, of which each has 1 KiB or more",
        bounds: &[Limit("finished_jobs"), Limit("finished_age_sec"), Limit("bytes_per_principal")],
        metrics: &["arcpd_limit_used{limit=\"finished_jobs\"}", "arcpd_jobs_evicted"],
        fields: &[
            "runtime/registry.rs Jobs.finished",
            "store/mod.rs Restored.finished",
            "store/memory.rs Inner.jobs",
            "store/memory.rs Inner.ids",
            "store/memory.rs Inner.by_principal",
        ],
    },
    Row {
        what: "The shape of a job's history: a few bytes for 4,096 records, or for each where they alternate",
        bounds: &[Limit("history_events"), Limit("history_bytes")],
        metrics: &["arcpd_limit_used{limit=\"history_events\"}", "arcpd_events_evicted"],
        fields: &["proto/record.rs Tail.gates", "proto/record.rs Tail.groups"],
    },
    Row {
        what: "Records of all jobs, in the store in memory",
        bounds: &[
            Limit("store_bytes"),
            Limit("bytes_per_principal"),
            Limit("history_events"),
            Limit("history_bytes"),
        ],
        metrics: &[
            "arcpd_store_used_bytes",
            "arcpd_limit_used{limit=\"store_bytes\"}",
            "arcpd_limit_used{limit=\"bytes_per_principal\"}",
            "arcpd_limit_used{limit=\"history_bytes\"}",
        ],
        fields: &["store/memory.rs StoredJob.records"],
    },
    Row {
        what: "The newest records beside a store in a file",
        bounds: &[Limit("store_hot_bytes")],
        metrics: &["arcpd_store_hot_bytes"],
        fields: &["store/sqlite/hot.rs Inner.jobs", "store/sqlite/hot.rs Inner.order"],
    },
    Row {
        what: "What waits to be written to a file: new work is refused at the limit, and an agent waits that is twice as far \
               ahead as these",
        bounds: &[
            Limit("store_queue_bytes"),
            Fixed("src/runtime/job.rs", "CHECKPOINT_BYTES"),
            Fixed("src/runtime/job.rs", "CHECKPOINT_BATCHES"),
        ],
        metrics: &["arcpd_store_queue_bytes", "arcpd_store_queue_batches"],
        fields: &[
            "store/sqlite/writer.rs Queue.batches",
            "store/mod.rs Batch.ops",
            "proto/job.rs Step.records",
        ],
    },
    Row {
        what: "One transaction of the store's writer",
        bounds: &[
            Fixed("src/store/sqlite/writer.rs", "GROUP_BYTES"),
            Fixed("src/store/sqlite/writer.rs", "GROUP_BATCHES"),
        ],
        metrics: &["arcpd_store_commit_batches"],
        fields: &[
            "store/sqlite/apply.rs AtHand.changed_jobs",
            "store/sqlite/apply.rs AtHand.changed_sessions",
        ],
    },
    Row {
        what: "What the store's writer keeps at hand: jobs and sessions, and pages of the file in KiB",
        bounds: &[Fixed("src/store/sqlite/apply.rs", "KEPT"), Fixed("src/store/sqlite/mod.rs", "CACHE_KIB")],
        metrics: &["process_resident_memory_bytes"],
        fields: &["store/sqlite/apply.rs AtHand.jobs", "store/sqlite/apply.rs AtHand.sessions"],
    },
    Row {
        what: "Connections for reading the store's file, and what one reads at once",
        bounds: &[Fixed("src/store/sqlite/read.rs", "READERS"), Fixed("src/runtime/writer.rs", "READ_BYTES")],
        metrics: &["process_open_fds"],
        fields: &["store/sqlite/read.rs Readers.idle"],
    },
    Row {
        what: "The one word with which a thread of the store ends",
        bounds: &[Other("it is said once")],
        metrics: &["arcpd_store_failing"],
        fields: &[
            "store/sqlite/mod.rs SqliteStore.done",
            "store/sqlite/writer.rs Writer.done",
            "store/sqlite/check.rs Background.ended",
        ],
    },
    Row {
        what: "What `arcpd store` tells of a store, in a process of its own",
        bounds: &[
            Fixed("src/store/sqlite/audit.rs", "EXAMPLES"),
            Fixed("src/store/sqlite/audit.rs", "PAGE_LINES"),
            Fixed("src/store/sqlite/stats.rs", "BIGGEST"),
        ],
        metrics: &["arcpd_store_used_bytes"],
        fields: &[
            "store/sqlite/audit.rs Finding.examples",
            "store/sqlite/stats.rs Stats.biggest",
            "store/sqlite/stats.rs Stats.jobs",
        ],
    },
    Row {
        what: "Idempotency keys, beside those of jobs that have not ended",
        bounds: &[Limit("idempotency_keys"), Limit("idempotency_age_sec"), Limit("idempotency_key_chars")],
        metrics: &["arcpd_limit_used{limit=\"idempotency_keys\"}"],
        fields: &[
            "proto/idempotency.rs Keys.known",
            "proto/idempotency.rs Keys.oldest",
            "proto/idempotency.rs Keys.overdue",
        ],
    },
    Row {
        what: "Traces of jobs that a connection remembers",
        bounds: &[Fixed("src/runtime/writer.rs", "TRACES")],
        metrics: &["arcpd_connections"],
        fields: &["runtime/writer.rs Cursor.traces"],
    },
    Row {
        what: "Positions of jobs that the client of a connection has beyond the number that it resumed from",
        bounds: &[Limit("hello_bytes")],
        metrics: &["arcpd_connections"],
        fields: &["runtime/connection.rs Link.seen"],
    },
    Row {
        what: "The frames that one message becomes, and what one frame is read into",
        bounds: &[Limit("frame_bytes"), Fixed("src/wire/dialect/rust2/jobs.rs", "REQUESTS_PER_JOB")],
        metrics: &["arcpd_connections"],
        fields: &[
            "runtime/writer.rs Cursor.frames",
            "wire/dialect/mod.rs Encoded.frames",
            "wire/dialect/mod.rs Encoded.later",
            "wire/dialect/rust2/lease.rs Asked.cost_budget",
            "wire/dialect/rust2/lease.rs Asked.model_use",
            "wire/dialect/rust2/lease.rs Asked.others",
            "wire/dialect/rust2/read.rs Filter.status",
            "wire/dialect/rust2/read.rs Invoke.cost_budget",
            "wire/dialect/rust2/said.rs Payload.jobs",
        ],
    },
    Row {
        what: "Jobs that the client of a dialect waits for, and its requests for each",
        bounds: &[
            Limit("attachments_per_session"),
            Fixed("src/wire/dialect/rust2/jobs.rs", "REQUESTS_PER_JOB"),
        ],
        metrics: &["arcpd_limit_used{limit=\"attachments_per_session\"}"],
        fields: &[
            "wire/dialect/rust2/jobs.rs Jobs.known",
            "wire/dialect/rust2/jobs.rs Waiting.requests",
            "wire/dialect/open.rs Open.jobs",
            "wire/dialect/open.rs Open.subscribing",
        ],
    },
    Row {
        what: "Subscriptions by filter, of each connection",
        bounds: &[Limit("generic_subscriptions"), Limit("frame_bytes")],
        metrics: &["arcpd_connections"],
        fields: &[
            "wire/dialect/rust2/subscriptions.rs Filter.session_id",
            "wire/dialect/rust2/subscriptions.rs Filter.trace_id",
            "wire/dialect/rust2/subscriptions.rs Filter.job_id",
            "wire/dialect/rust2/subscriptions.rs Filter.stream_id",
            "wire/dialect/rust2/subscriptions.rs Filter.types",
            "wire/dialect/rust2/subscriptions.rs Subscriptions.live",
        ],
    },
    Row {
        what: "Sessions that follow their principal",
        bounds: &[Limit("followers_per_principal")],
        metrics: &["arcpd_connections"],
        fields: &["runtime/registry.rs Followers.by_principal"],
    },
    Row {
        what: "Requests whose answer a dialect writes in its own way",
        bounds: &[Limit("replies_pending")],
        metrics: &["arcpd_replies"],
        fields: &["wire/dialect/rust2/asked.rs Asked.waiting"],
    },
    Row {
        what: "A result that is put together for a client without result_chunk",
        bounds: &[Limit("inline_result_bytes")],
        metrics: &["arcpd_connections"],
        fields: &[],
    },
    Row {
        what: "What is counted by principal",
        bounds: &[CONFIGURED],
        metrics: &["arcpd_limit_used{limit=\"bytes_per_principal\"}"],
        fields: &[
            "runtime/accounts.rs Accounts.known",
            "runtime/registry.rs Sessions.per_principal",
            "runtime/registry.rs Jobs.per_principal",
        ],
    },
    Row {
        what: "Answers that a child agent has not read",
        bounds: &[Fixed("src/wire/limits.rs", "AGENT_REPLIES_PENDING")],
        metrics: &["arcpd_limit_used{limit=\"jobs_running\"}"],
        fields: &["agent/child/pipes.rs Stdin.unwritten"],
    },
    Row {
        what: "A line of a child agent, and what of its stderr is logged",
        bounds: &[
            Limit("agent_line_bytes"),
            Limit("agent_stderr_bytes"),
            Fixed("src/wire/limits.rs", "AGENT_STDERR_LINE_BYTES"),
            Fixed("src/wire/limits.rs", "AGENT_LAST_BYTES"),
        ],
        metrics: &["arcpd_limit_used{limit=\"jobs_running\"}"],
        fields: &["agent/child/pipes.rs Stderr.line"],
    },
    Row {
        what: "Children that wait to be started",
        bounds: &[Fixed("src/wire/limits.rs", "AGENT_SPAWNS_PENDING")],
        metrics: &["arcpd_jobs"],
        fields: &[],
    },
    Row {
        what: "Agents, tokens, roles and origins",
        bounds: &[CONFIGURED],
        metrics: &["process_resident_memory_bytes"],
        fields: &[
            "agent/catalogue.rs Versions.all",
            "agent/catalogue.rs Catalogue.agents",
            "agent/child/mod.rs ChildCommand.args",
            "agent/child/mod.rs ChildCommand.env",
            "agent/child/mod.rs ChildCommand.pass_env",
            "auth/mod.rs TokenEntry.roles",
            "auth/mod.rs Caller.roles",
            "auth/mod.rs Authenticator.entries",
            "http/mod.rs ListenerConfig.allowed_origins",
            "http/mod.rs Server.allowed_origins",
        ],
    },
    Row {
        what: "One look at the numbers",
        bounds: &[Other("the number of metrics and of limits")],
        metrics: &["arcpd_http_requests"],
        fields: &["runtime/tally.rs Tally.used"],
    },
];

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The value of a constant, as it is written where it is defined.
fn constant(file: &str, name: &str) -> String {
    let text = fs::read_to_string(in_repository(file)).unwrap();
    let line = text.lines().find(|line| {
        line.trim()
            .trim_start_matches("pub(super) ")
            .trim_start_matches("pub ")
            .starts_with(&format!("const {name}: "))
    });
    let line = line.unwrap_or_else(|| panic!("{file} has no constant {name}"));
    line.split_once(" = ").unwrap().1.trim_end_matches(';').to_owned()
}

fn table() -> String {
    let defaults: BTreeMap<&str, u64> = Limits::default().values().collect();
    let mut table = "| what | bounded by | default | metric |\n| --- | --- | --- | --- |\n".to_owned();
    for Row { what, bounds, metrics, .. } in ROWS {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for bound in *bounds {
            match bound {
                Limit(name) => {
                    names.push(format!("`limits.{name}`"));
                    values.push(defaults[name].to_string());
                }
                Fixed(file, name) => {
                    names.push(format!("`{name}` (fixed)"));
                    values.push(constant(file, name));
                }
                Other(said) => {
                    names.push((*said).into());
                    values.push("–".into());
                }
            }
        }
        let metrics: Vec<String> = metrics.iter().map(|metric| format!("`{metric}`")).collect();
        let cells = [(*what).to_owned(), names.join("<br>"), values.join("<br>"), metrics.join("<br>")];
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

const BEGIN: &str = "<!-- memory: begin -->\n";
const END: &str = "<!-- memory: end -->\n";

#[test]
fn the_table_of_what_bounds_memory_is_documented() {
    let path = in_repository("docs/memory.md");
    let found = fs::read_to_string(&path).unwrap();
    let (before, rest) = found.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("REGENERATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    } else {
        assert!(found == wanted, "run REGENERATE=1 cargo test --test operators memory");
    }
}

/// The Rust files below a directory of `src/`, by their paths there.
fn sources(under: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(in_repository(&format!("src/{under}"))).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{under}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            sources(&path, found);
        } else if path.ends_with(".rs") && !path.ends_with("tests.rs") && !path.ends_with("testing.rs") {
            found.push(path);
        }
    }
}

const COLLECTIONS: [&str; 8] =
    ["VecDeque<", "HashMap<", "BTreeMap<", "BTreeSet<", "HashSet<", "Vec<", "mpsc::", "BytesMut"];

/// The fields of structs that hold many of something: file, struct and field.
fn collections(path: &str, text: &str) -> Vec<String> {
    let mut within = None;
    let mut found = Vec::new();
    let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    for line in code.take_while(|line| *line != "mod tests {") {
        let words =
            line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or(rest, |(_, rest)| rest));
        if let Some(name) = words.strip_prefix("struct ").filter(|_| words.ends_with('{')) {
            within = Some(name.split(['<', ' ']).next().unwrap());
        } else if line == "}" {
            within = None;
        } else if let (Some(of), Some((field, kind))) = (within, words.split_once(": "))
            && COLLECTIONS.iter().any(|collection| kind.contains(collection))
        {
            found.push(format!("{path} {of}.{field}"));
        }
    }
    found
}

#[test]
fn every_collection_of_the_source_has_a_row() {
    let mut paths = vec!["wire/frame.rs".to_owned()];
    for module in ["agent", "auth", "http", "proto", "runtime", "store", "transport", "wire/dialect"] {
        sources(module, &mut paths);
    }
    let found: BTreeSet<String> = paths
        .iter()
        .flat_map(|path| {
            collections(path, &fs::read_to_string(in_repository(&format!("src/{path}"))).unwrap())
        })
        .collect();
    let named: Vec<&str> = ROWS.iter().flat_map(|row| row.fields).copied().collect();
    let known: BTreeSet<String> = named.iter().map(|field| (*field).to_owned()).collect();
    assert_eq!(named.len(), known.len(), "a field is in two rows");
    let missing: Vec<&String> = found.difference(&known).collect();
    assert!(missing.is_empty(), "say in ROWS what bounds {missing:#?}");
    let gone: Vec<&String> = known.difference(&found).collect();
    assert!(gone.is_empty(), "there is no such field any more: {gone:#?}");
}

#[test]
fn collections_are_found_in_structs_and_nowhere_else() {
    let text = "fn f(\n    a: Vec<u8>,\n) {}\npub(super) struct A<'a> {\n    /// b: Vec<u8>\n    pub(super) b: Mutex<VecDeque<u8>>,\n    \
                c: u8,\n}\nstruct D(Vec<u8>);\nenum E {\n    F { g: Vec<u8> },\n}\nmod tests {\nstruct H {\n    i: Vec<u8>,\n}\n}";
    assert_eq!(collections("x.rs", text), ["x.rs A.b"]);
}

#[tokio::test]
async fn the_metrics_of_the_table_are_there() {
    let door = Door::open().await;
    let page = door.ask("GET", "/metrics", None, "").await.body;
    for metric in ROWS.iter().flat_map(|row| row.metrics) {
        let found = page.lines().any(|line| line.starts_with(metric));
        assert!(found, "{metric} is not in {page}");
    }
}
