//! The `[limits]` section: bounds of each limit, and how limits depend on one another.
//!
//! A bound keeps a limit useful and safe: zero is refused where the daemon could do nothing with it, and the upper
//! ends keep a slip of a digit from meaning "no limit".

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::keys;
use super::raw::{Raw, quoted};
use super::report::Source;
use super::resolve::Resolver;
use super::suggest;
use crate::wire::limits::{ENVELOPE_HEADROOM_BYTES, FRAME_BYTES, Limits};

/// Frames smaller than this cannot carry the handshake with its capabilities.
const FRAME_BYTES_MIN: u64 = 8_192;
const FRAME_BYTES_MAX: u64 = FRAME_BYTES as u64;
const HEADROOM: u64 = ENVELOPE_HEADROOM_BYTES as u64;

/// Nesting beyond which the JSON parser itself gives up.
const JSON_DEPTH_MAX: u64 = 127;

/// Upper end of what is counted one by one: sessions, jobs, keys.
const COUNT_MAX: u64 = 10_000_000;
/// Upper end of events that are kept.
const EVENTS_MAX: u64 = 1_000_000_000;
/// Upper end of bytes that are kept: 16 TiB.
const BYTES_MAX: u64 = 1 << 44;
/// Upper end of bytes that one peer can make the daemon hold in memory: 1 GiB.
const PEER_BYTES_MAX: u64 = 1 << 30;
/// Upper end of characters in one text of a request.
const CHARS_MAX: u64 = 65_536;
/// Ten years, in seconds.
const AGE_SEC_MAX: u64 = 10 * 366 * 86_400;
/// One hour, in milliseconds.
const WAIT_MS_MAX: u64 = 3_600_000;
/// The shortest time, in milliseconds, in which a peer across the world can answer.
const ANSWER_MS_MIN: u64 = 100;

/// The smallest and the largest value of every limit.
const BOUNDS: &[(&str, RangeInclusive<u64>)] = &[
    ("frame_bytes", FRAME_BYTES_MIN..=FRAME_BYTES_MAX),
    ("hello_bytes", 1_024..=FRAME_BYTES_MAX),
    ("json_depth", 8..=JSON_DEPTH_MAX),
    ("hello_timeout_ms", ANSWER_MS_MIN..=WAIT_MS_MAX),
    ("send_timeout_ms", ANSWER_MS_MIN..=WAIT_MS_MAX),
    ("connections", 1..=COUNT_MAX),
    ("sessions_per_principal", 1..=COUNT_MAX),
    ("jobs_per_principal", 1..=COUNT_MAX),
    ("jobs_running", 1..=COUNT_MAX),
    ("attachments_per_session", 1..=COUNT_MAX),
    ("followers_per_principal", 1..=100_000),
    ("generic_subscriptions", 1..=1_024),
    ("replies_pending", 1..=65_536),
    ("refusals_per_sec", 1..=1_000_000),
    ("duplicate_window", 1..=65_536),
    ("session_buffer_events", 1..=EVENTS_MAX),
    ("session_buffer_bytes", 4_096..=PEER_BYTES_MAX),
    ("lag_signal_events", 1..=EVENTS_MAX),
    ("lag_detach_events", 1..=EVENTS_MAX),
    ("history_events", 1..=EVENTS_MAX),
    ("history_bytes", FRAME_BYTES_MAX..=BYTES_MAX),
    ("bytes_per_principal", FRAME_BYTES_MAX..=BYTES_MAX),
    ("store_bytes", FRAME_BYTES_MAX..=BYTES_MAX),
    ("store_queue_bytes", FRAME_BYTES_MAX..=PEER_BYTES_MAX),
    ("store_hot_bytes", 0..=BYTES_MAX),
    ("store_reserve_bytes", 0..=BYTES_MAX),
    ("finished_jobs", 1..=COUNT_MAX),
    ("finished_age_sec", 1..=AGE_SEC_MAX),
    ("idempotency_key_chars", 1..=CHARS_MAX),
    ("idempotency_keys", 1..=COUNT_MAX),
    ("idempotency_age_sec", 1..=AGE_SEC_MAX),
    ("lease_namespaces", 1..=65_536),
    ("lease_patterns", 1..=65_536),
    ("lease_pattern_chars", 1..=CHARS_MAX),
    ("max_runtime_sec", 1..=AGE_SEC_MAX),
    ("list_page_jobs", 1..=100_000),
    ("list_default_jobs", 1..=100_000),
    ("list_page_bytes", 4_096..=FRAME_BYTES_MAX),
    ("inline_result_bytes", 0..=FRAME_BYTES_MAX),
    ("chunk_bytes", 1_024..=FRAME_BYTES_MAX),
    ("result_bytes", 1..=BYTES_MAX),
    ("agent_line_bytes", 4_096..=PEER_BYTES_MAX),
    ("agent_stderr_bytes", 0..=PEER_BYTES_MAX),
    ("job_attempts", 1..=65_536),
    ("cancel_grace_ms", 0..=WAIT_MS_MAX),
    ("kill_grace_ms", 0..=WAIT_MS_MAX),
    ("shutdown_grace_ms", 0..=WAIT_MS_MAX),
];

/// How much of another limit a limit needs.
#[derive(Clone, Copy)]
enum Needs {
    /// As much as itself.
    Itself,
    /// Itself as the payload of a frame.
    Frame,
    /// Itself in base64, which makes four bytes of three, as the payload of a frame.
    FrameInBase64,
}

impl Needs {
    fn of(self, value: u64) -> u64 {
        match self {
            Needs::Itself => value,
            Needs::Frame => value + HEADROOM,
            Needs::FrameInBase64 => value.div_ceil(3) * 4 + HEADROOM,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Needs::Itself => "must be at most",
            Needs::Frame => "with 2048 bytes for its envelope must fit into",
            Needs::FrameInBase64 => "in base64 with 2048 bytes for its envelope must fit into",
        }
    }
}

/// One limit must fit into another.
struct Rule {
    small: &'static str,
    needs: Needs,
    large: &'static str,
}

const RULES: &[Rule] = &[
    Rule { small: "hello_bytes", needs: Needs::Itself, large: "frame_bytes" },
    Rule { small: "inline_result_bytes", needs: Needs::Frame, large: "frame_bytes" },
    Rule { small: "list_page_bytes", needs: Needs::Frame, large: "frame_bytes" },
    Rule { small: "chunk_bytes", needs: Needs::FrameInBase64, large: "frame_bytes" },
    Rule { small: "chunk_bytes", needs: Needs::FrameInBase64, large: "agent_line_bytes" },
    Rule { small: "list_default_jobs", needs: Needs::Itself, large: "list_page_jobs" },
    Rule { small: "lag_signal_events", needs: Needs::Itself, large: "lag_detach_events" },
    Rule { small: "lag_detach_events", needs: Needs::Itself, large: "session_buffer_events" },
];

/// The smallest and the largest value of a limit. One without an entry is at least 1.
pub(super) fn bounds(name: &str) -> RangeInclusive<u64> {
    let found = BOUNDS.iter().find(|(known, _)| *known == name);
    found.map_or(1..=BYTES_MAX, |(_, bounds)| bounds.clone())
}

/// A value that takes part in a comparison, with what people know it by.
struct Known {
    label: String,
    value: u64,
    source: Source,
}

impl Known {
    fn shown(&self) -> String {
        format!("{} = {} ({})", self.label, self.value, self.source)
    }
}

/// Reads every limit from all layers. `resume_window` takes part because finished jobs must outlive it.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    defaults: &Limits,
    resume_window: (u64, Source),
) -> Option<Limits> {
    let flags = flags(resolver);
    let built_in = serde_json::to_value(defaults).unwrap_or_default();
    let mut known = BTreeMap::new();
    for name in Limits::NAMES {
        let default = built_in.get(name).and_then(Value::as_u64).unwrap_or_default();
        let value = one(resolver, name, default, &flags);
        known.insert(*name, value);
    }
    if resolver.is_complete() {
        let (value, source) = resume_window;
        let window = Known { label: keys::RESUME_WINDOW.path.into(), value, source };
        check_together(resolver, &known, &window);
    }
    let values: Map<String, Value> =
        known.iter().map(|(name, known)| ((*name).to_owned(), Value::from(known.value))).collect();
    match serde_json::from_value(Value::Object(values)) {
        Ok(limits) => Some(limits),
        Err(error) => {
            // A value within the bounds that this machine's words cannot hold.
            resolver.refuse(Source::Default, "limits", error.to_string());
            None
        }
    }
}

fn one(resolver: &mut Resolver<'_>, name: &str, default: u64, flags: &[(&str, &str)]) -> Known {
    let label = format!("limits.{name}");
    let env_name = keys::env_of_limit(name);
    let mut given = Vec::new();
    given.extend(resolver.document.and_then(|document| document.get("limits", name)));
    given.extend(resolver.env_text(&env_name).map(|text| (Raw::Text(text), Source::Env(env_name))));
    let flagged = flags.iter().filter(|(flag, _)| *flag == name);
    given.extend(flagged.map(|(_, text)| (Raw::Text(text), Source::Flag(format!("--limit {name}")))));
    let (mut value, mut source) = (default, Source::Default);
    for (raw, place) in given {
        match raw.integer(&bounds(name)) {
            Ok(number) => (value, source) = (number, place),
            Err(problem) => resolver.refuse(place, &label, problem),
        }
    }
    resolver.show(&label, value.to_string(), source.clone());
    Known { label, value, source }
}

/// The flags `--limit NAME=VALUE` that name a limit.
fn flags<'a>(resolver: &mut Resolver<'a>) -> Vec<(&'a str, &'a str)> {
    let mut flags = Vec::new();
    for text in &resolver.args.limits {
        let place = || Source::Flag("--limit".into());
        match text.split_once('=') {
            Some((name, value)) if Limits::NAMES.contains(&name) => flags.push((name, value)),
            Some((name, _)) => {
                let hint = suggest::hint(name, Limits::NAMES.iter().copied());
                resolver.refuse(place(), "limits", format!("there is no limit {}{hint}", quoted(name)));
            }
            None => resolver.refuse(place(), "limits", format!("expected NAME=VALUE, got {}", quoted(text))),
        }
    }
    flags
}

/// Refuses limits that are sound alone and useless together.
fn check_together(resolver: &mut Resolver<'_>, known: &BTreeMap<&str, Known>, window: &Known) {
    for Rule { small, needs, large } in RULES {
        let (Some(small), Some(large)) = (known.get(small), known.get(large)) else { continue };
        if needs.of(small.value) > large.value {
            refuse_pair(resolver, small, needs.words(), large);
        }
    }
    if let Some(age) = known.get("finished_age_sec")
        && window.value > age.value
    {
        refuse_pair(resolver, window, "must be at most", age);
    }
}

fn refuse_pair(resolver: &mut Resolver<'_>, small: &Known, words: &str, large: &Known) {
    // The one that somebody has written is the one to look at.
    let at = if small.source == Source::Default { large } else { small };
    let problem = format!("{} {words} {}", small.shown(), large.shown());
    resolver.refuse_plain(at.source.clone(), problem);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_bounds_that_allow_its_default() {
        let defaults = serde_json::to_value(Limits::default()).unwrap();
        for name in Limits::NAMES {
            assert!(BOUNDS.iter().any(|(known, _)| known == name), "{name} has no bounds");
            assert!(bounds(name).contains(&defaults[name].as_u64().unwrap()), "{name}");
        }
        assert_eq!(BOUNDS.len(), Limits::NAMES.len());
        let named = RULES.iter().flat_map(|rule| [rule.small, rule.large]);
        assert!(named.into_iter().all(|name| Limits::NAMES.contains(&name)));
        assert!(Needs::Frame.words().contains(&HEADROOM.to_string()));
    }
}
