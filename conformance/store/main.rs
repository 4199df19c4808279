//! What every store promises: one suite, run on each of them; and what the one that stays promises beside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)] // Test code.

mod audit;
mod contract;
mod durable;
mod random;
mod torn;
mod world;

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $name() { crate::contract::$name(crate::world::World::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() { crate::contract::$name(crate::world::World::sqlite()).await; })*
        }
    };
}

contract!(
    a_batch_is_applied_whole_and_in_order,
    tickets_grow_and_a_stale_epoch_is_refused,
    a_listing_is_filtered_and_belongs_to_one_principal,
    pages_do_not_shift_when_jobs_come,
    records_are_bounded_by_count_and_bytes,
    what_is_trimmed_is_gone_and_the_rest_stays,
    a_removed_job_is_gone,
    extents_continue_and_move_what_is_attached,
    what_was_put_is_found_at_the_next_start,
    a_full_store_takes_no_new_work,
);
