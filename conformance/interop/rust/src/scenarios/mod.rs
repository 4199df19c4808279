//! The scenarios, by subject.

mod cancel;
mod envelopes;
mod handshake;
mod jobs;
mod results;
mod subscriptions;

use std::future::Future;
use std::pin::Pin;

use crate::world::{Outcome, World};

type Run = fn(World) -> Pin<Box<dyn Future<Output = Outcome>>>;

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    pub transports: &'static [&'static str],
    pub run: Run,
}

const BOTH: &[&str] = &["ws", "stdio"];
/// Over stdio a process is a session and keeps its jobs to itself.
const SHARED: &[&str] = &["ws"];

macro_rules! scenarios {
    ($($transports:ident $module:ident::$name:ident,)*) => {
        /// All of them, in the order in which they run.
        pub fn all() -> Vec<Scenario> {
            vec![$(Scenario {
                name: stringify!($name),
                transports: $transports,
                run: |world| Box::pin($module::$name(world)),
            },)*]
        }
    };
}

scenarios! {
    BOTH handshake::a_session_opens_and_tells_its_agents,
    BOTH handshake::capabilities_are_what_both_can_do,
    BOTH handshake::a_wrong_token_is_refused,
    BOTH handshake::an_idle_session_lives_through_three_heartbeat_intervals,
    SHARED handshake::many_sessions_live_side_by_side,
    BOTH jobs::echo_returns_what_it_was_given,
    BOTH jobs::versions_are_resolved_or_refused,
    BOTH jobs::an_unknown_tool_is_refused,
    BOTH jobs::a_tool_that_cannot_be_named_is_refused,
    BOTH jobs::a_failure_has_its_code_and_message,
    BOTH jobs::invocations_side_by_side_with_refusals_among_them,
    BOTH jobs::a_hundred_jobs_one_after_the_other,
    BOTH jobs::artifacts_are_refused_and_the_session_goes_on,
    SHARED jobs::a_job_outlives_its_connection,
    BOTH cancel::a_cancelled_job_ends_as_cancelled,
    BOTH cancel::cancelling_twice_ends_it_once,
    BOTH cancel::cancelling_a_finished_job_changes_nothing,
    BOTH cancel::cancelling_one_of_many_leaves_the_others,
    BOTH results::a_result_of_700_kilobytes_comes_whole,
    BOTH results::a_small_chunked_result_comes_whole,
    BOTH results::who_streams_gets_no_value,
    BOTH subscriptions::events_arrive_in_order_and_numbered,
    BOTH subscriptions::filters_pass_only_what_they_name,
    BOTH subscriptions::what_is_given_up_is_told_nothing_more,
    BOTH subscriptions::a_cancelled_job_is_told_of,
    BOTH subscriptions::a_chunked_result_is_put_together_from_its_chunks,
    SHARED subscriptions::jobs_of_another_session_are_told_of,
    SHARED subscriptions::another_principal_is_told_nothing,
    BOTH envelopes::pings_are_answered_by_their_own_pongs,
    BOTH envelopes::jobs_are_listed_with_pages_and_filters,
    BOTH envelopes::a_repeated_invocation_is_the_same_job,
    BOTH envelopes::another_command_under_the_same_key_is_refused,
    BOTH envelopes::a_repeated_invocation_joins_a_running_job,
    BOTH envelopes::a_lease_is_granted_as_it_was_asked_for,
    BOTH envelopes::a_cancel_is_accepted_or_refused,
    BOTH envelopes::what_agents_say_decodes,
    BOTH envelopes::what_is_not_there_is_refused,
    BOTH envelopes::events_are_numbered_and_acknowledged,
    BOTH envelopes::five_megabytes_of_text_in_chunks,
    BOTH envelopes::five_megabytes_of_bytes_in_chunks,
    BOTH envelopes::a_close_ends_the_connection,
    SHARED envelopes::a_job_of_another_session_is_observed_with_its_history,
    SHARED envelopes::another_principal_sees_nothing_of_a_job,
}
