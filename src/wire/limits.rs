//! Every limit of the daemon: its name, unit, default and meaning, in one place.
//!
//! Each field is a key of the same name in the `[limits]` table of `arcpd.toml`, an environment variable
//! `ARCPD_LIMITS_<NAME>`, and is shown with its source by `arcpd check`.

use serde::{Deserialize, Serialize};

/// The largest frame either side may send: one byte below 1 MiB, because a published client closes at 1 MiB.
pub const FRAME_BYTES: usize = 1_048_575;

/// Room that an envelope's head and a dialect's additions may need around a payload, in bytes.
pub const ENVELOPE_HEADROOM_BYTES: usize = 2_048;

/// Characters of an envelope `id`, of a nonce, of a `session_id` or `job_id` sent by a client.
pub const ID_CHARS: usize = 128;

/// Top-level fields of one envelope, known and unknown together.
pub const ENVELOPE_FIELDS: usize = 64;

/// Answers to a child agent that wait for it to read its stdin, before its stdout is read no further.
pub const AGENT_REPLIES_PENDING: usize = 64;

/// Bytes of one line of a child's stderr; a longer line is logged in pieces.
pub const AGENT_STDERR_LINE_BYTES: usize = 8_192;

/// Bytes still read from a child's stdout once it has exited: more than a pipe holds, so that nothing is lost, but an
/// end to what an escaped grandchild may write.
pub const AGENT_LAST_BYTES: usize = 2 * 1024 * 1024;

/// Children that wait to be started before whoever wants another waits too.
pub const AGENT_SPAWNS_PENDING: usize = 64;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr,)*) => {
        /// The daemon's limits, as configured. Units are in the names; see the module for where they come from.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits { $($(#[$doc])* pub $name: $ty,)* }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($name: $default,)* }
            }
        }

        impl Limits {
            /// The name of every limit, in the order in which they are documented.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// Every limit with its value, in the same order.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), u64::try_from(self.$name).unwrap_or(u64::MAX)),)*].into_iter()
            }
        }
    };
}

/// What a limit of this name counts: its unit, or `count`.
pub fn unit(name: &str) -> &'static str {
    let units = [
        ("_per_sec", "per second"),
        ("_ms", "milliseconds"),
        ("_sec", "seconds"),
        ("_bytes", "bytes"),
        ("_chars", "characters"),
    ];
    // Bytes are also those of a whole: `bytes_per_principal`.
    let bytes = name.starts_with("bytes_per_").then_some("bytes");
    let found = units.iter().find(|(end, _)| name.ends_with(end)).map(|(_, unit)| *unit);
    bytes.or(found).unwrap_or("count")
}

limits! {
    /// Largest frame or line accepted and sent, in bytes. At most 1 MiB − 1.
    frame_bytes: usize = FRAME_BYTES,
    /// Largest first frame, before anybody is authenticated, in bytes.
    hello_bytes: usize = 65_536,
    /// Deepest nesting of arrays and objects in a frame.
    json_depth: usize = 64,
    /// Time that a new connection has to send its first frame, in milliseconds.
    hello_timeout_ms: u64 = 10_000,
    /// Time that one write to a peer may take before the connection is given up, in milliseconds.
    send_timeout_ms: u64 = 30_000,
    /// Connections served at once, of all principals and before authentication.
    connections: usize = 30_000,
    /// Live sessions of one principal, connected or resumable.
    sessions_per_principal: usize = 20_000,
    /// Jobs of one principal that have not ended.
    jobs_per_principal: usize = 1_000,
    /// Jobs of the whole daemon that have not ended.
    jobs_running: usize = 10_000,
    /// Jobs that one session submitted or subscribed to and still follows.
    attachments_per_session: usize = 4_096,
    /// Sessions of one principal that follow all of its jobs.
    followers_per_principal: usize = 100,
    /// Subscriptions by filter on one connection; each of them gets its own copy of an event.
    generic_subscriptions: usize = 32,
    /// Replies that wait to be sent on one connection before no more of its requests are read.
    replies_pending: usize = 256,
    /// Frames without sense that one connection is answered per second; further reading waits.
    refusals_per_sec: u32 = 50,
    /// Envelope ids remembered per session to recognise a duplicate.
    duplicate_window: usize = 256,
    /// Events kept for a session beyond what it acknowledged; older ones can no longer be resumed from.
    session_buffer_events: u64 = 4_000_000,
    /// Bytes of bookkeeping kept for those events.
    session_buffer_bytes: usize = 16 * 1024 * 1024,
    /// Unacknowledged events at which a session that acknowledges is told `back_pressure`.
    lag_signal_events: u64 = 10_000,
    /// Unacknowledged events at which a session that acknowledges is detached; it can resume.
    lag_detach_events: u64 = 2_000_000,
    /// Records kept of one job's history.
    history_events: u64 = 2_000_000,
    /// Bytes kept of one job's history.
    history_bytes: u64 = 256 * 1024 * 1024,
    /// Bytes kept for the jobs of one principal; beyond it, its own finished jobs go, then the oldest events of its
    /// running ones, and its new ones are refused. Nobody else's are touched.
    bytes_per_principal: u64 = 512 * 1024 * 1024,
    /// Bytes kept by the store for all jobs together (of a file, its pages in use); beyond it those of the heaviest
    /// principal go, and new jobs are refused.
    store_bytes: u64 = 1024 * 1024 * 1024,
    /// Bytes that may wait to be written to a store in a file before new jobs are refused.
    store_queue_bytes: u64 = 64 * 1024 * 1024,
    /// Bytes of the newest records that a store in a file keeps in memory; who lags further behind reads the file.
    store_hot_bytes: u64 = 64 * 1024 * 1024,
    /// Bytes kept free on the disk by a store in a file, for the day on which the disk is full: what was begun is
    /// finished in them, and new jobs are refused until they are free again.
    store_reserve_bytes: u64 = 64 * 1024 * 1024,
    /// Finished jobs kept for listing, subscribing and idempotent replay.
    finished_jobs: usize = 10_000,
    /// Time that a finished job is kept, in seconds, if the count allows; never less than the resume window.
    finished_age_sec: u64 = 86_400,
    /// Characters of an idempotency key.
    idempotency_key_chars: usize = 256,
    /// Idempotency keys remembered.
    idempotency_keys: usize = 100_000,
    /// Time that an idempotency key is remembered, in seconds.
    idempotency_age_sec: u64 = 86_400,
    /// Namespaces of one lease request.
    lease_namespaces: usize = 64,
    /// Patterns of one lease request, over all namespaces.
    lease_patterns: usize = 1_024,
    /// Characters of one lease pattern.
    lease_pattern_chars: usize = 4_096,
    /// Longest `max_runtime_sec` that a submit may ask for, in seconds.
    max_runtime_sec: u64 = 30 * 86_400,
    /// Jobs on one page of a listing.
    list_page_jobs: usize = 1_000,
    /// Jobs on a page when the request names no limit.
    list_default_jobs: usize = 100,
    /// Bytes of one page of a listing.
    list_page_bytes: usize = 512 * 1024,
    /// Largest result sent inside `job.result`, in bytes; a larger one is streamed as chunks.
    inline_result_bytes: usize = 900 * 1024,
    /// Largest chunk of a result that an agent may send, in decoded bytes.
    chunk_bytes: usize = 512 * 1024,
    /// Largest result of one job over all its chunks, in decoded bytes.
    result_bytes: u64 = 128 * 1024 * 1024,
    /// Longest line that a child agent may write, in bytes.
    agent_line_bytes: usize = 1_048_576,
    /// Bytes of a child's stderr that are logged; the rest is dropped and counted.
    agent_stderr_bytes: usize = 65_536,
    /// How often a job of a restartable agent is begun, when the daemon ends or dies under it.
    job_attempts: u32 = 10,
    /// Time between telling an agent to stop and taking its process or task away, in milliseconds.
    cancel_grace_ms: u64 = 2_000,
    /// Time between SIGTERM and SIGKILL of a child's process group, in milliseconds.
    kill_grace_ms: u64 = 2_000,
    /// Time that a stopping daemon gives connections and children before it leaves, in milliseconds.
    shutdown_grace_ms: u64 = 5_000,
}
