//! How every back end must behave. Each case runs on each back end.

mod durability;
mod fixture;
mod groups;
mod keys;
mod limits;
mod linking;
mod logins;
mod nodes;
mod receiving;
mod repeating;
mod requests;
mod rows;
mod samples;
mod sealed;
mod sealed_requests;
mod sending;
mod upgrades;
mod usernames;

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;

use wormhole_testbed::{Durability, Postgres, installed_or_skip};

use super::{POSTGRES_STEPS, PostgresStore, SQLITE_STEPS, SqliteStore, Store};
use crate::ServerError;
use crate::database::postgres::DatabaseUrl;

/// Where a case keeps its data.
trait Backend {
    /// A database of its own for a case. The same name means the same database.
    fn open(&self, name: &str) -> Box<dyn Store>;

    /// Opens a database that exists, if that is possible.
    fn reopen(&self, name: &str) -> Result<Box<dyn Store>, ServerError>;

    /// Removes the database.
    fn remove(&self, name: &str);

    /// Executes SQL in a database that is not open. Returns the rows of a query.
    fn execute(&self, name: &str, sql: &str) -> Vec<String>;

    /// The steps that create the tables of each version from those of the one before.
    fn steps(&self) -> &'static [&'static str];

    /// The statements that turn the tables of each version into those of the one before, the first for version 2.
    fn steps_back(&self) -> &'static [&'static str];

    /// Says that a database has the tables of a version.
    fn set_version(&self, name: &str, version: usize);

    /// A query for all columns of all tables, as one text in each row.
    fn columns(&self) -> &'static str;
}

/// A SQLite file in a folder of its own.
struct Sqlite;

impl Sqlite {
    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("wormhole-messaging-{}-{name}", std::process::id()))
    }

    fn file(name: &str) -> PathBuf {
        Self::folder(name).join("messaging.sqlite")
    }
}

impl Backend for Sqlite {
    fn open(&self, name: &str) -> Box<dyn Store> {
        let folder = Self::folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        self.reopen(name).unwrap()
    }

    fn reopen(&self, name: &str) -> Result<Box<dyn Store>, ServerError> {
        Ok(Box::new(SqliteStore::open(&Self::file(name))?))
    }

    fn remove(&self, name: &str) {
        let _ = std::fs::remove_dir_all(Self::folder(name));
    }

    fn execute(&self, name: &str, sql: &str) -> Vec<String> {
        std::fs::create_dir_all(Self::folder(name)).unwrap();
        let database = rusqlite::Connection::open(Self::file(name)).unwrap();
        if !sql.starts_with("SELECT") {
            database.execute_batch(sql).unwrap();
            return Vec::new();
        }
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn steps(&self) -> &'static [&'static str] {
        &SQLITE_STEPS
    }

    fn steps_back(&self) -> &'static [&'static str] {
        &[
            "DROP TABLE device_codes; DROP TABLE provisioning",
            "ALTER TABLE pending_codes DROP COLUMN askers;
            DROP TABLE device_codes;
            CREATE TABLE device_codes (
                account INTEGER PRIMARY KEY,
                code INTEGER NOT NULL,
                sent INTEGER NOT NULL,
                attempts INTEGER NOT NULL
            );
            CREATE INDEX device_codes_sent ON device_codes (sent);
            INSERT INTO device_codes SELECT key, 123456, 1, 0 FROM accounts",
            "ALTER TABLE accounts DROP COLUMN access_key;
            ALTER TABLE accounts DROP COLUMN is_unrestricted;
            DROP TABLE delivery_keys; DROP TABLE profiles",
            "DROP TABLE group_logs; DROP TABLE group_entries; DROP TABLE consents;
            DROP TABLE reports; DROP TABLE report_key; DROP TABLE usernames",
            "ALTER TABLE accounts DROP COLUMN device_list_revision;
            ALTER TABLE accounts DROP COLUMN device_list",
        ]
    }

    fn set_version(&self, name: &str, version: usize) {
        self.execute(name, &format!("PRAGMA user_version = {version}"));
    }

    fn columns(&self) -> &'static str {
        "SELECT t.name || ' ' || c.name || ' ' || c.type || c.\"notnull\" || c.pk
        FROM sqlite_schema t JOIN pragma_table_info(t.name) c
        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1"
    }
}

/// A PostgreSQL server with a database for each case.
struct Postgresql {
    postgres: Postgres,
    databases: RefCell<HashSet<String>>,
}

impl Postgresql {
    /// Starts a new server; `None` if PostgreSQL is not installed.
    fn start() -> Option<Self> {
        let postgres = installed_or_skip(Postgres::start(Durability::Process, None))?;
        Some(Self { postgres, databases: RefCell::default() })
    }

    /// The database of this name. Creates it if it does not exist.
    fn database(&self, name: &str) -> String {
        // PostgreSQL shortens longer names.
        let name: String = name.chars().take(60).collect();
        if self.databases.borrow_mut().insert(name.clone()) {
            self.postgres.create_database(&name);
        }
        name
    }
}

impl Backend for Postgresql {
    fn open(&self, name: &str) -> Box<dyn Store> {
        self.reopen(name).unwrap()
    }

    fn reopen(&self, name: &str) -> Result<Box<dyn Store>, ServerError> {
        let url = DatabaseUrl::from(self.postgres.url(&self.database(name)));
        Ok(Box::new(PostgresStore::open(&url)?))
    }

    fn remove(&self, _: &str) {
        // All databases are removed with the server.
    }

    fn execute(&self, name: &str, sql: &str) -> Vec<String> {
        let rows = self.postgres.execute(&self.database(name), sql);
        rows.lines().map(str::to_owned).collect()
    }

    fn steps(&self) -> &'static [&'static str] {
        &POSTGRES_STEPS
    }

    fn steps_back(&self) -> &'static [&'static str] {
        &[
            "DROP TABLE messaging_device_codes; DROP TABLE messaging_provisioning",
            "ALTER TABLE messaging_codes DROP COLUMN askers;
            DROP TABLE messaging_device_codes;
            CREATE TABLE messaging_device_codes (
                account BIGINT PRIMARY KEY,
                code BIGINT NOT NULL,
                sent BIGINT NOT NULL,
                attempts BIGINT NOT NULL
            );
            CREATE INDEX messaging_device_codes_sent ON messaging_device_codes (sent);
            INSERT INTO messaging_device_codes SELECT key, 123456, 1, 0 FROM messaging_accounts",
            "ALTER TABLE messaging_accounts DROP COLUMN access_key, DROP COLUMN is_unrestricted;
            DROP TABLE messaging_delivery_keys; DROP TABLE messaging_profiles",
            "DROP TABLE messaging_groups; DROP TABLE messaging_group_entries;
            DROP TABLE messaging_consents; DROP TABLE messaging_reports;
            DROP TABLE messaging_report_key; DROP TABLE messaging_usernames",
            "ALTER TABLE messaging_accounts DROP COLUMN device_list_revision,
                DROP COLUMN device_list",
        ]
    }

    fn set_version(&self, name: &str, version: usize) {
        self.execute(name, &format!("UPDATE messaging_server SET version = {version}"));
    }

    fn columns(&self) -> &'static str {
        "SELECT table_name || ' ' || column_name || ' ' || data_type || is_nullable
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1"
    }
}

/// Makes tests of the cases, for each back end. A case gets an empty store.
macro_rules! cases {
    ($($module:ident { $($case:ident,)* })*) => {
        mod sqlite {
            $($(
                #[test]
                fn $case() {
                    super::run(&super::Sqlite, stringify!($case), super::$module::$case);
                }
            )*)*
        }

        mod postgresql {
            $($(
                #[test]
                fn $case() {
                    let Some(backend) = super::Postgresql::start() else { return };
                    super::run(&backend, stringify!($case), super::$module::$case);
                }
            )*)*
        }
    };
}

/// A case.
type Case = fn(&mut fixture::Fixture<'_>);

/// Runs a case on a back end.
fn run(backend: &dyn Backend, name: &str, case: Case) {
    case(&mut fixture::Fixture::new(backend, name));
}

cases! {
    rows {
        apps_are_created_once_and_updated,
        a_verification_code_is_replaced_and_removed,
        a_code_for_another_device_is_replaced_and_removed,
        accounts_are_found_by_id_and_by_number,
        one_account_of_each_number_is_its_default,
        what_may_change_in_an_account_is_written,
        a_directory_token_finds_discoverable_accounts_in_all_apps,
        devices_are_read_as_they_were_written,
        an_updated_device_keeps_its_key_its_keys_and_its_messages,
        the_key_of_a_deleted_device_is_never_used_again,
        a_deleted_device_takes_its_messages_and_keys_along,
        a_deleted_account_takes_its_devices_along,
        a_turn_names_the_devices_that_it_has_removed,
        the_last_day_of_a_device_only_grows,
        a_device_that_withdraws_its_keys_gets_no_messages,
        only_the_parts_of_a_key_set_that_are_given_are_replaced,
        keys_of_a_device_that_does_not_exist_are_ignored,
    }
    usernames {
        a_name_is_read_replaced_and_removed,
        a_name_belongs_to_one_account,
        a_message_to_a_name_reaches_its_present_account,
    }
    linking {
        a_message_for_a_waiting_device_is_taken_once,
        an_address_that_is_old_or_unknown_gets_no_message,
        an_address_is_removed_with_its_message,
        old_addresses_and_codes_for_devices_are_removed,
    }
    groups {
        the_log_of_a_group_is_read_as_it_was_written,
        entries_are_read_in_order_up_to_a_number_of_bytes,
        old_entries_are_removed_but_the_newest_one_stays,
        a_group_keeps_the_newest_entries,
        an_entry_needs_the_next_revision_and_the_access_key,
        a_repeated_entry_is_stored_once,
        an_entry_of_an_administrator_replaces_the_keys,
        attack_18_neither_a_member_nor_a_link_displaces_the_log,
        attack_18_neither_a_member_nor_a_link_replaces_keys,
        attack_18_a_link_permits_one_entry_of_each_account,
        an_account_creates_a_limited_number_of_groups,
    }
    logins {
        a_login_by_number_finds_the_device_in_each_app,
        a_login_by_account_finds_the_device_of_that_account,
        a_login_that_names_an_app_finds_nothing_elsewhere,
    }
    keys {
        attack_5_one_turn_gives_the_last_one_time_key_to_one_of_ten_askers,
        attack_5_two_turns_give_the_last_one_time_key_to_one_asker,
        one_time_keys_are_given_in_the_order_of_their_ids,
        a_bundle_contains_what_the_device_has_published,
        a_kyber_key_of_last_resort_is_given_when_no_other_is_left,
        a_request_for_all_devices_gets_those_that_messages_must_be_addressed_to,
        a_device_without_keys_and_a_stranger_have_no_bundle,
        a_removed_device_gets_no_keys,
    }
    sending {
        a_message_arrives_with_all_that_the_service_knows_about_it,
        a_destination_is_an_account_or_a_number_or_a_number_in_an_app,
        a_change_of_an_account_counts_for_the_next_message,
        a_partial_message_goes_only_to_the_devices_that_it_names,
        a_message_goes_to_all_devices_or_to_none,
        a_wrong_list_of_devices_is_reported_before_a_stale_device,
        a_device_that_is_registered_again_makes_its_sessions_stale,
        a_message_for_a_replaced_primary_device_is_not_for_its_successor,
        a_message_for_a_removed_linked_device_is_not_for_its_successor,
        devices_that_cannot_receive_need_no_message,
        a_linked_device_that_was_not_seen_for_a_month_needs_no_message,
        an_account_without_devices_that_can_receive_is_not_found,
        an_account_sends_to_its_own_other_devices,
        a_removed_device_sends_nothing,
        messages_inside_an_app_follow_its_policy,
        the_sender_learns_whether_it_has_other_devices,
    }
    sealed {
        a_profile_is_replaced_and_removed,
        a_deleted_account_takes_its_profile_along,
        the_keys_that_certify_senders_are_written_once_and_survive_a_restart,
        who_may_send_without_credentials_is_written_with_the_account,
        a_sealed_message_names_no_sender_and_has_no_receipt,
        a_wrong_access_key_and_an_account_that_does_not_exist_are_unauthorized,
        a_message_to_many_is_stored_for_all_devices_of_all_members_or_for_none,
        a_repeated_message_to_many_is_stored_once,
        a_member_without_room_is_left_out_and_reported,
        all_senders_without_credentials_share_one_part_of_a_queue,
        a_removed_device_sends_nothing_to_many,
        a_sealed_message_follows_the_policy_of_the_senders_app,
        one_turn_stores_a_message_to_a_thousand_members,
    }
    repeating {
        a_repeated_submission_is_stored_once,
        a_repeated_submission_succeeds_even_if_the_recipient_has_changed,
        another_timestamp_sender_or_destination_is_another_submission,
        another_content_is_another_submission,
        a_recipient_that_was_registered_again_gets_the_message_again,
        an_ephemeral_submission_is_not_remembered,
        a_refused_submission_may_be_repeated,
    }
    sealed_requests {
        attack_11_a_stranger_sends_as_little_to_many_as_to_one,
        attack_11_strangers_who_send_to_many_do_not_use_up_what_contacts_may_send,
        a_blocked_sender_to_many_gets_the_same_answers_as_an_accepted_one,
        a_stranger_to_many_does_not_notice_that_it_is_blocked,
        a_message_to_many_for_a_full_queue_uses_up_nothing,
    }
    requests {
        consents_are_read_as_they_were_written,
        a_stranger_sends_some_messages_until_the_recipient_decides,
        a_blocked_sender_gets_the_same_answers,
        whoever_writes_to_somebody_gets_answers,
        an_account_with_an_old_device_gets_everything_but_blocked_senders,
        strangers_get_no_receipts,
        requests_of_a_recipient_are_limited,
        a_sender_reaches_a_limited_number_of_strangers,
        strangers_cannot_use_up_what_a_recipient_may_receive,
        receipts_do_not_use_up_what_messages_may_send,
        a_stranger_that_is_typing_is_no_request,
        a_report_needs_the_token_of_the_message,
        only_devices_that_know_requests_get_a_token,
        reports_are_removed_by_the_operator_or_after_some_time,
        an_account_decides_about_others_that_exist_and_blocks_so_many,
    }
    receiving {
        a_page_ends_at_its_limits_and_says_whether_more_is_waiting,
        a_long_message_is_a_page_of_its_own,
        a_delivery_has_the_signaling_key_of_now,
        a_message_is_acknowledged_by_its_position,
        a_message_is_acknowledged_by_its_guid,
        a_message_is_acknowledged_by_its_sender_and_timestamp,
        a_message_is_acknowledged_once,
        nobody_acknowledges_the_messages_of_others,
        all_devices_of_the_sender_get_a_receipt,
        a_receipt_has_the_number_if_the_sender_knows_it,
        receipts_and_own_messages_have_no_receipt,
        a_sender_that_was_deleted_gets_no_receipt,
        a_turn_acknowledges_before_it_stores_and_reads_last,
        an_ephemeral_message_does_not_wait_for_long,
    }
    limits {
        one_sender_gets_as_much_of_a_queue_as_it_leaves_to_others,
        a_queue_has_room_for_a_number_of_messages,
        a_queue_has_room_for_a_number_of_bytes,
        a_full_queue_of_the_primary_device_refuses_the_message_for_all,
        a_linked_device_with_a_full_queue_is_left_out,
        a_sender_with_a_full_queue_gets_no_receipt,
        expired_messages_are_removed,
        pruning_is_done_in_steps,
        a_forgotten_submission_is_stored_again,
        expired_codes_are_removed,
    }
    durability {
        what_was_committed_survives_a_restart,
        a_failed_turn_changes_nothing_and_answers_with_errors,
        a_device_of_a_failed_turn_does_not_exist,
        sizes_of_queues_are_right_after_a_failed_turn,
        positions_are_never_used_again,
        rows_are_counted,
    }
    upgrades {
        data_of_every_earlier_version_survives_an_upgrade,
        after_an_upgrade_everything_can_be_stored,
        a_database_of_a_newer_version_is_refused,
    }
}
