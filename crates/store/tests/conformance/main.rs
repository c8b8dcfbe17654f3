//! What a store has to do on every engine: each check takes an empty store. Here they run on `SQLite` and on
//! PostgreSQL.

mod callbacks;
mod copy;
mod dead_letters;
mod digests;
mod directory;
mod events;
mod history;
mod inbox;
mod notifications;
mod retention;
mod sample;
mod sealing;
mod sends;
mod slots;

use bellbuoy_store::Store;
use bellbuoy_testkit::postgres::Postgres;

/// One test for each check on each engine.
macro_rules! checks {
    ($($area:ident { $($check:ident,)* })*) => {
        mod sqlite {
            $(mod $area {
                $(#[tokio::test]
                async fn $check() {
                    let directory = tempfile::tempdir().expect("a directory");
                    crate::$area::$check(crate::sqlite_store(directory.path()).await).await;
                })*
            })*
        }

        mod postgres {
            $(mod $area {
                $(#[tokio::test]
                async fn $check() {
                    let server = crate::Postgres::start().await;
                    crate::$area::$check(crate::postgres_store(&server).await).await;
                })*
            })*
        }
    };
}

async fn sqlite_store(directory: &std::path::Path) -> Store {
    Store::open(&format!("sqlite:{}", directory.join("store.db").display())).await.expect("an empty store")
}

async fn postgres_store(server: &Postgres) -> Store {
    Store::open(&server.database().await).await.expect("an empty store")
}

checks! {
    notifications {
        what_is_created_is_read_back_the_same,
        an_id_is_taken_once,
        an_update_writes_all_but_failures_author_and_success,
        what_is_not_there_is_neither_changed_nor_deleted,
        a_scope_lists_its_own_oldest_first,
        a_subject_is_covered_by_repository_namespace_and_registry,
        pages_hold_everything_once_even_when_rows_go,
        disabling_and_resetting_move_state_and_failures,
        a_disabled_notification_comes_back_on_probation_when_its_time_has_come,
        an_attempt_of_an_earlier_probation_does_not_end_a_later_one,
        the_version_grows_with_every_change_and_only_then,
        text_of_any_sort_is_kept_whole,
        an_author_lists_its_own_oldest_first,
    }
    events {
        a_new_event_is_admitted_and_its_second_message_is_not,
        the_same_message_is_admitted_again_until_the_fan_out_is_recorded,
        an_event_older_than_the_window_is_taken_over,
        one_batch_is_judged_in_its_own_order,
        a_source_has_ids_of_its_own,
        of_fifty_tasks_with_one_event_one_is_admitted,
        a_batch_of_any_size_is_admitted_once,
        an_event_is_read_back_by_id,
        the_newest_events_of_a_scope_are_found_and_no_others,
        events_since_a_time_come_newest_first_over_pages,
    }
    history {
        a_fan_out_adds_pending_deliveries_and_marks_the_event,
        an_attempt_alone_writes_the_whole_row,
        records_end_the_same_in_any_order_and_however_often,
        a_terminal_state_wins_over_waiting_of_the_same_attempt,
        a_later_attempt_wins_over_the_end_of_an_earlier,
        waits_and_ends_without_a_try_make_no_attempt,
        dead_deliveries_in_a_row_are_counted_once_each,
        a_delivered_one_sets_failures_back,
        a_death_by_our_own_fault_counts_against_nobody,
        the_last_success_is_noted_to_within_a_minute,
        failing_notifications_are_told_again_until_disabled,
        nothing_is_recorded_of_nothing,
        large_batches_are_recorded_whole,
        pages_are_newest_first_and_complete,
        each_filter_restricts,
        a_page_of_a_rare_thing_looks_at_a_bounded_stretch,
        a_foreign_cursor_is_refused,
        counts_are_by_method_and_state,
        records_from_many_tasks_add_up,
        text_of_any_sort_is_kept_whole,
    }
    dead_letters {
        a_letter_is_kept_once_and_read_back_with_its_bytes,
        pages_are_newest_first_and_filtered,
        a_discarded_letter_is_gone,
        large_bodies_are_kept_whole,
        a_foreign_cursor_is_refused,
    }
    digests {
        each_notification_and_subject_collects_by_itself_until_its_first_is_due,
        what_is_collected_again_stays_in_its_digest,
        what_was_told_is_not_collected_again_as_long_as_history_is_kept,
        what_another_message_brings_after_it_was_told_is_told_again,
        what_a_notification_collects_is_listed_until_it_is_told,
        a_digest_is_one_workers_until_its_lease_is_over_and_goes_when_it_is_forgotten,
        a_full_digest_takes_no_more_and_the_next_begins,
        collectors_and_takers_at_once_lose_nothing_and_take_nothing_twice,
    }
    directory {
        what_is_put_is_read_back_and_put_again_is_the_same,
        what_is_put_again_as_it_is_is_not_written_down,
        nothing_is_put_upon_what_is_not_there,
        teams_and_organizations_list_their_members_once,
        a_role_is_the_strongest_of_ones_own_and_ones_teams,
        a_team_that_goes_takes_its_grants_and_items_along,
        an_account_that_goes_takes_all_that_is_its_own_along_and_nothing_else,
        a_password_is_kept_apart_and_survives_a_change,
        a_session_ends_by_itself_by_its_holder_with_the_password_and_with_its_account,
        a_session_begins_only_by_what_is_the_password_of_that_very_account_by_then,
        a_repository_is_created_once_with_its_administrator,
        repositories_are_seen_once_and_stay_as_they_are,
        a_repository_that_goes_takes_its_own_along_but_no_longer_name,
        an_address_is_confirmed_by_the_last_code_for_its_repository_alone,
        a_token_is_found_by_its_hash_until_it_is_revoked_or_its_account_goes,
        a_change_is_written_down_with_who_made_it_and_no_change_is_not,
        a_disabling_is_not_undone_by_a_change_that_did_not_know_of_it,
        an_import_ends_the_same_however_often_and_a_dry_run_keeps_nothing,
    }
    inbox {
        a_delivery_tells_a_target_once,
        a_target_sees_its_own_newest_first,
        several_targets_are_one_list_and_each_item_says_whose_it_is,
        only_the_target_itself_dismisses,
        what_several_targets_have_not_put_away_is_one_list_without_gaps,
        a_foreign_cursor_is_refused,
        whoever_looks_after_a_notification_is_told_once_that_it_was_disabled,
        where_nobody_looks_after_it_the_superusers_are_told,
    }
    sealing {
        what_is_sealed_is_read_back_with_its_key_alone,
        a_new_key_takes_every_row_over_and_the_old_one_is_needed_no_more,
        without_a_key_nothing_is_sealed,
    }
    sends {
        an_attempt_is_one_senders_until_it_is_freed_or_its_turn_is_over,
        what_was_taken_before_the_clock_was_set_back_is_free_again,
        of_many_senders_at_once_each_attempt_is_taken_by_one,
    }
    slots {
        slots_of_a_receiver_are_never_more_than_its_cap_and_come_to_all_who_ask,
        a_lease_ends_by_itself_and_not_before,
        who_asks_after_its_end_holds_nothing,
        what_is_given_back_is_free_at_once_and_a_wish_is_forgotten,
        receivers_are_apart_and_many_are_asked_for_at_once,
        what_processes_see_of_a_receiver_is_one_health_that_each_change_of_is_heard_once,
        who_is_granted_slots_of_a_receiver_knows_how_it_is,
        what_many_processes_tell_at_once_is_all_counted_and_heard,
        what_was_leased_before_the_clock_was_set_back_is_forgotten,
        the_peace_of_a_receiver_ends_although_the_clock_was_set_back,
    }
    callbacks {
        a_callback_is_found_by_the_tokens_of_all_attempts_and_by_no_other,
        a_notifications_callbacks_are_listed_the_newest_first,
        what_was_not_called_back_in_time_is_counted_once_each_time_that_it_was_awaited,
        what_is_called_back_first_stands,
        after_a_success_the_next_link_is_due_until_one_process_has_queued_it,
        what_is_long_over_is_forgotten_with_its_tokens_unless_a_link_is_due,
    }
    retention {
        what_is_old_goes_in_chunks_and_what_is_new_stays,
        unfinished_deliveries_and_their_events_stay,
        a_delivery_that_ended_lately_stays_though_it_began_long_ago,
        attempts_go_with_their_delivery_alone,
        kept_rows_at_the_beginning_do_not_hide_what_is_behind,
        rows_of_a_time_to_come_do_not_hide_what_is_behind,
    }
}
