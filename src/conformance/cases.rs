//! The cases that come with the binary: `conformance/cases/AREA/NAME.case`.

use super::case::{Case, NotACase};

macro_rules! cases {
    ($($name:literal,)*) => {
        const TEXTS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../conformance/cases/", $name, ".case"))),)*];
    };
}

cases! {
    "ack/backwards",
    "ack/does_not_move_the_resume",
    "ack/for_nobody_else",
    "ack/is_not_answered_by_an_event",
    "ack/kept_past_the_window",
    "ack/less_is_kept",
    "ack/nonsense",
    "ack/of_another_session",
    "decisions/another_version",
    "decisions/lost_welcome",
    "decisions/numbers_from_one",
    "decisions/refused_handshake_closes",
    "decisions/resume_ahead_of_the_stream",
    "decisions/somebody_elses_job_is_none",
    "decisions/unknown_type_is_refused",
    "decisions/unresumable_is_told_alike",
    "errors/bad_job_ids",
    "errors/bad_submits",
    "errors/code_of_nobody",
    "errors/exhausted",
    "errors/exhausted_whatever_the_agent_says",
    "errors/good_submits",
    "errors/internal",
    "errors/internal_whatever_the_agent_says",
    "errors/job_that_is_there",
    "errors/malformed",
    "errors/no_such_job",
    "errors/no_such_job_to_subscribe",
    "errors/no_timeout",
    "errors/retryable",
    "errors/somebody_elses_job",
    "errors/timeout",
    "errors/trace",
    "errors/traces_apart",
    "errors/unknown_agent",
    "heartbeat/answering_keeps_the_session",
    "heartbeat/numbers_unbroken",
    "heartbeat/ping_without_nonce",
    "heartbeat/pong",
    "heartbeat/pong_unasked",
    "heartbeat/pong_under_load",
    "heartbeat/runtime_pings",
    "heartbeat/silence_cancels_nothing",
    "heartbeat/silence_ends_no_job",
    "heartbeat/silence_forgets_no_session",
    "jobs/cancel",
    "jobs/echo",
    "jobs/unknown_agent",
    "listing/bad_filters",
    "listing/by_agent",
    "listing/by_status",
    "listing/by_time",
    "listing/cursor_of_nobody",
    "listing/cursor_of_somebody_else",
    "listing/does_not_subscribe",
    "listing/last_page",
    "listing/limit",
    "listing/limit_nought",
    "listing/no_filter",
    "listing/not_of_others",
    "listing/one_answer",
    "listing/own_events_go_on",
    "listing/own_jobs_of_other_sessions",
    "listing/pages",
    "listing/row",
    "listing/row_follows_the_job",
    "resume/any_token",
    "resume/caught_up",
    "resume/ended_meanwhile",
    "resume/keeps_authority",
    "resume/keeps_subscriptions",
    "resume/live_after_replay",
    "resume/many_missed",
    "resume/nothing_yet",
    "resume/old_token",
    "resume/replay",
    "resume/somebody_elses_token",
    "resume/token_of_another_session",
    "resume/token_rotates",
    "resume/twice",
    "resume/unknown_session",
    "resume/while_connected",
    "resume/window_not_over",
    "resume/window_over",
    "sessions/bad_token",
    "sessions/chunks_not_negotiated",
    "sessions/close",
    "sessions/close_cancels_nothing",
    "sessions/close_is_final",
    "sessions/close_leaves_jobs",
    "sessions/drop_cancels_nothing",
    "sessions/empty_token",
    "sessions/features_both_name",
    "sessions/good_token",
    "sessions/ids_are_the_runtimes",
    "sessions/list_before_hello",
    "sessions/listing_not_negotiated",
    "sessions/no_token",
    "sessions/one_error_fails_one_request",
    "sessions/pings_not_negotiated",
    "sessions/progress_not_negotiated",
    "sessions/resume",
    "sessions/second_hello",
    "sessions/sessions_are_apart",
    "sessions/subscribing_not_negotiated",
    "sessions/token_in_another_place",
    "sessions/unknown_features",
    "sessions/welcome",
    "sessions/welcome_only_to_a_hello",
    "wire/blank_line",
    "wire/deep",
    "wire/envelope",
    "wire/forged_event",
    "wire/many_at_once",
    "wire/missing_fields",
    "wire/not_an_object",
    "wire/not_json",
    "wire/speaks",
    "wire/text_of_any_script",
    "wire/unknown_field_is_no_known_one",
    "wire/unknown_fields",
    "wire/unknown_fields_first",
    "wire/unknown_type",
}

/// A case that cannot be read, by its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("conformance/cases/{name}.case: {error}")]
pub struct BadCase {
    /// Its area and name.
    pub name: String,
    /// What is wrong with it.
    pub error: NotACase,
}

/// Every case, by area and name.
///
/// # Errors
/// The first that cannot be read; a test keeps those of the binary sound.
pub fn built_in() -> Result<Vec<Case>, BadCase> {
    let read = TEXTS
        .iter()
        .map(|(name, text)| Case::read(name, text).map_err(|error| BadCase { name: (*name).into(), error }));
    read.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::catalogue::Catalogue;
    use super::*;

    #[test]
    fn every_case_of_the_directory_is_there_and_can_be_read() {
        let mut found = BTreeSet::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases");
        for area in std::fs::read_dir(&root).unwrap() {
            let area = area.unwrap();
            for file in std::fs::read_dir(area.path()).unwrap() {
                let path = file.unwrap().path();
                let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
                found.insert(format!("{}/{stem}", area.file_name().to_string_lossy()));
            }
        }
        let cases = built_in().unwrap_or_else(|bad| panic!("{bad}"));
        let known: BTreeSet<String> = cases.iter().map(|case| case.name.clone()).collect();
        assert_eq!(known, found, "list in src/conformance/cases.rs what conformance/cases has");
        assert!(TEXTS.is_sorted_by_key(|(name, _)| *name), "the list is sorted");
    }

    #[test]
    fn what_a_case_checks_is_in_the_catalogue() {
        let catalogue = Catalogue::built_in().unwrap();
        for case in built_in().unwrap() {
            for id in case.checks {
                assert!(catalogue.find(id).is_ok(), "{} checks {id}", case.name);
            }
        }
    }
}
