//! The statements, prepared once for each connection.
//!
//! A statement for a list gets its entries as arrays, and returns the number of the entry with each row.

use tokio_postgres::{Client, Error, Statement};

use super::schema;
use super::templates::{
    find, load_accounts, select_accounts, select_apps, take_messages, take_messages_by,
};
use crate::database::postgres::{self, Tables};
use crate::messaging::store::columns::{account_columns, app_columns, device_columns};

/// Declares the prepared statements.
macro_rules! statements {
    ($($name:ident: $sql:expr,)*) => {
        /// All prepared statements.
        #[derive(Debug)]
        pub(super) struct Statements {
            $(pub(super) $name: Statement,)*
        }

        impl postgres::Statements for Statements {
            const TABLES: Tables = Tables { main: "messaging_server", steps: &schema::STEPS };

            async fn prepare(client: &Client) -> Result<Self, Error> {
                // One round trip for all. Boxed: together, they would overflow the stack of the thread.
                let ($($name,)*) =
                    futures_util::try_join!($(Box::pin(client.prepare($sql)),)*)?;
                Ok(Self { $($name,)* })
            }
        }
    };
}

statements! {
    state: "SELECT version, accounts_version FROM messaging_server",
    change_accounts: "UPDATE messaging_server SET accounts_version = accounts_version + 1",
    transaction: "SELECT pg_current_xact_id_if_assigned()::text",
    status: "SELECT pg_xact_status($1::text::xid8)",

    app: select_apps!("WHERE p.name = $1"),
    apps: select_apps!("ORDER BY p.name"),
    insert_app: "INSERT INTO messaging_apps (name, refuses_intra) VALUES ($1, $2)
        ON CONFLICT DO NOTHING RETURNING key",
    update_app: "UPDATE messaging_apps SET refuses_intra = $2, token_1 = $3, token_2 = $4
        WHERE key = $1",

    code: "SELECT code, sent, attempts, askers FROM messaging_codes WHERE number = $1",
    put_code: "INSERT INTO messaging_codes (number, code, sent, attempts, askers)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (number) DO UPDATE SET code = excluded.code, sent = excluded.sent,
            attempts = excluded.attempts, askers = excluded.askers",
    delete_code: "DELETE FROM messaging_codes WHERE number = $1",

    device_code: "SELECT hash, shown FROM messaging_device_codes WHERE account = $1",
    put_device_code: "INSERT INTO messaging_device_codes (account, hash, shown)
        VALUES ($1, $2, $3)
        ON CONFLICT (account) DO UPDATE SET hash = excluded.hash, shown = excluded.shown",
    delete_device_code: "DELETE FROM messaging_device_codes WHERE account = $1",
    insert_provisioning: "INSERT INTO messaging_provisioning (address, opened) VALUES ($1, $2)",
    put_provisioning_message: "UPDATE messaging_provisioning SET message = $3
        WHERE address = $1 AND opened >= $2 AND message IS NULL",
    // These do not wait for other transactions, so that no two of them wait for each other.
    take_provisioning_message: "DELETE FROM messaging_provisioning WHERE address IN (
        SELECT address FROM messaging_provisioning WHERE address = $1 AND message IS NOT NULL
        FOR UPDATE SKIP LOCKED) RETURNING message",
    delete_provisioning: "DELETE FROM messaging_provisioning WHERE address IN (
        SELECT address FROM messaging_provisioning WHERE address = $1 FOR UPDATE SKIP LOCKED)",

    group: "SELECT creator, access, admin_access, link_access, latest FROM messaging_groups
        WHERE id = $1",
    put_group: "INSERT INTO messaging_groups
            (id, creator, access, admin_access, link_access, latest)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE SET access = excluded.access,
            admin_access = excluded.admin_access, link_access = excluded.link_access,
            latest = excluded.latest",
    group_shares: "SELECT author, access, octet_length(entry)::bigint
        FROM messaging_group_entries WHERE group_id = $1 AND next_access IS NULL
        ORDER BY revision",
    count_groups: "SELECT count(*) FROM messaging_groups WHERE creator = $1",
    group_entry: "SELECT author, access, next_access, next_admin_access, next_link_access, entry
        FROM messaging_group_entries
        WHERE group_id = $1 AND revision = $2",
    group_entries: "SELECT revision, entry FROM (
            SELECT revision, entry, row_number() OVER before AS nth,
                sum(octet_length(entry)) OVER before AS total
            FROM messaging_group_entries WHERE group_id = $1 AND revision >= $2
            WINDOW before AS (ORDER BY revision ROWS UNBOUNDED PRECEDING)
        ) AS counted WHERE nth = 1 OR total <= $3::bigint ORDER BY revision",
    insert_group_entry: "INSERT INTO messaging_group_entries
            (group_id, revision, author, access, next_access, next_admin_access,
            next_link_access, entry)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    trim_group: "DELETE FROM messaging_group_entries e USING (
            SELECT revision, row_number() OVER after AS nth,
                sum(octet_length(entry)) OVER after AS total
            FROM messaging_group_entries WHERE group_id = $1
            WINDOW after AS (ORDER BY revision DESC ROWS UNBOUNDED PRECEDING)
        ) AS counted WHERE e.group_id = $1 AND e.revision = counted.revision
            AND counted.nth > 1 AND (e.revision < $2 OR counted.total > $3::bigint)",

    consents: "SELECT entry, c.state, c.since, c.messages
        FROM unnest($1::bigint[], $2::bigint[])
            WITH ORDINALITY AS named (recipient, sender, entry)
        JOIN messaging_consents c ON c.recipient = named.recipient AND c.sender = named.sender",
    consents_of: concat!(
        "SELECT ", account_columns!(), ", c.state, c.since, c.messages FROM messaging_consents c
        JOIN messaging_accounts a ON a.key = c.sender JOIN messaging_apps p ON p.key = a.app
        WHERE c.recipient = $1 AND c.state = $2
        ORDER BY c.since DESC, c.sender DESC LIMIT $3"
    ),
    count_consents: "SELECT count(*) FROM messaging_consents WHERE recipient = $1 AND state = $2",
    count_requests_of: "SELECT entry, found.requests FROM unnest($1::bigint[])
            WITH ORDINALITY AS named (sender, entry)
        CROSS JOIN LATERAL (
            SELECT count(*) AS requests FROM (
                SELECT FROM messaging_consents c
                WHERE c.sender = named.sender AND c.state = 0 LIMIT $2::bigint
            ) AS first) AS found",
    // All nodes write in the same order, so no two of them wait for each other.
    update_consents: "INSERT INTO messaging_consents AS c
            (recipient, sender, state, since, messages)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[],
            $5::bigint[]) AS n (recipient, sender, state, since, messages)
        ORDER BY recipient, sender
        ON CONFLICT (recipient, sender) DO UPDATE SET state = excluded.state,
            since = excluded.since, messages = excluded.messages
        WHERE c.state = 0",
    // Rows that another node is changing stay.
    trim_consents: "DELETE FROM messaging_consents WHERE (recipient, sender) IN (
        SELECT recipient, sender FROM messaging_consents
        WHERE recipient = $1 AND state = $2 AND sender IN (
            SELECT sender FROM messaging_consents WHERE recipient = $1 AND state = $2
            ORDER BY since DESC, sender DESC OFFSET $3::bigint)
        FOR UPDATE SKIP LOCKED)",
    put_consent: "INSERT INTO messaging_consents (recipient, sender, state, since, messages)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (recipient, sender) DO UPDATE SET state = excluded.state,
            since = excluded.since, messages = excluded.messages",
    delete_consent: "DELETE FROM messaging_consents WHERE recipient = $1 AND sender = $2",
    delete_consents: "DELETE FROM messaging_consents WHERE recipient = $1 OR sender = $1",
    report_key: "SELECT secret FROM messaging_report_key",
    insert_report_key: "INSERT INTO messaging_report_key (secret) VALUES ($1)
        ON CONFLICT DO NOTHING",
    insert_report: "INSERT INTO messaging_reports
            (reporter, reported, sender, guid, accepted, content)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    reports: "SELECT reporter, reported, sender, guid, accepted, content FROM messaging_reports
        ORDER BY reported DESC, reporter, guid LIMIT $1",
    delete_reports: "DELETE FROM messaging_reports WHERE sender = $1",

    profile: "SELECT version, name, about, emoji, old_name, avatar FROM messaging_profiles
        WHERE account = $1",
    put_profile: "INSERT INTO messaging_profiles
            (account, version, name, about, emoji, old_name, avatar)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (account) DO UPDATE SET version = excluded.version, name = excluded.name,
            about = excluded.about, emoji = excluded.emoji, old_name = excluded.old_name,
            avatar = excluded.avatar",
    delete_profile: "DELETE FROM messaging_profiles WHERE account = $1",
    has_avatar: "SELECT account FROM messaging_profiles WHERE avatar = $1",
    delivery_keys: "SELECT root, server, certificate FROM messaging_delivery_keys",
    insert_delivery_keys: "INSERT INTO messaging_delivery_keys (root, server, certificate)
        VALUES ($1, $2, $3)",
    account: select_accounts!("WHERE a.id = $1"),
    account_at: select_accounts!("WHERE a.key = $1"),
    account_with_name: select_accounts!(
        "JOIN messaging_usernames u ON u.account = a.key WHERE u.name = $1"
    ),
    username: "SELECT name FROM messaging_usernames WHERE account = $1",
    usernames: "SELECT name, account FROM messaging_usernames WHERE name = ANY ($1::text[])",
    insert_username: "INSERT INTO messaging_usernames (name, account) VALUES ($1, $2)",
    delete_username: "DELETE FROM messaging_usernames WHERE account = $1",
    accounts_of: select_accounts!("WHERE a.number = $1 ORDER BY a.key"),
    accounts_with_tokens: select_accounts!(
        "JOIN unnest($1::bytea[]) WITH ORDINALITY AS t (token, entry) ON a.token = t.token
        WHERE a.is_discoverable ORDER BY t.entry, a.key"
    ),
    insert_account: "INSERT INTO messaging_accounts
            (id, app, number, token, is_default, is_discoverable, shows_app, created, verified)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) RETURNING key",
    update_account: "UPDATE messaging_accounts
        SET is_default = $2, is_discoverable = $3, shows_app = $4, verified = $5, identity = $6,
            access_key = $7, is_unrestricted = $8,
            device_list_revision = $9, device_list = $10
        WHERE key = $1",
    clear_default: "UPDATE messaging_accounts SET is_default = FALSE
        WHERE number = $1 AND is_default",
    delete_account: "DELETE FROM messaging_accounts WHERE key = $1",

    devices: concat!(
        "SELECT ", device_columns!(), " FROM messaging_devices d WHERE d.account = $1
        ORDER BY d.number"
    ),
    insert_device: "WITH device AS (
            INSERT INTO messaging_devices (account, number, password, salt, registration_id,
                signaling_key, name, fetches_messages, apn, voip, gcm, attributes, created, last_seen)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING key)
        INSERT INTO messaging_queues (device, position, messages, bytes)
            SELECT key, 0, 0, 0 FROM device RETURNING device",
    update_device: "UPDATE messaging_devices SET password = $2, salt = $3, registration_id = $4,
            signaling_key = $5, name = $6, fetches_messages = $7, apn = $8, voip = $9, gcm = $10,
            attributes = $11, created = $12, last_seen = $13
        WHERE key = $1",
    // Returns the earlier day.
    record_last_seen: "WITH old AS (SELECT key, last_seen FROM messaging_devices WHERE key = $1)
        UPDATE messaging_devices d SET last_seen = $2 FROM old
        WHERE d.key = old.key AND d.last_seen < $2 RETURNING old.last_seen",
    delete_devices: "DELETE FROM messaging_devices WHERE key = ANY ($1::bigint[])",
    delete_queues: "DELETE FROM messaging_queues WHERE device = ANY ($1::bigint[])",
    delete_messages: "DELETE FROM messaging_messages WHERE device = ANY ($1::bigint[])",
    delete_device_keys: "DELETE FROM messaging_device_keys WHERE device = ANY ($1::bigint[])",
    delete_one_time_keys: "DELETE FROM messaging_one_time_keys WHERE device = ANY ($1::bigint[])",

    put_device_keys: "INSERT INTO messaging_device_keys AS k (device, signed_id, signed_key,
            signed_signature, last_resort_id, last_resort_key, kyber_id, kyber_key, kyber_signature)
        SELECT d.key, $2, $3, $4, $5, $6, $7, $8, $9 FROM messaging_devices d WHERE d.key = $1
        ON CONFLICT (device) DO UPDATE SET
            signed_id = coalesce(excluded.signed_id, k.signed_id),
            signed_key = coalesce(excluded.signed_key, k.signed_key),
            signed_signature = coalesce(excluded.signed_signature, k.signed_signature),
            last_resort_id = coalesce(excluded.last_resort_id, k.last_resort_id),
            last_resort_key = coalesce(excluded.last_resort_key, k.last_resort_key),
            kyber_id = coalesce(excluded.kyber_id, k.kyber_id),
            kyber_key = coalesce(excluded.kyber_key, k.kyber_key),
            kyber_signature = coalesce(excluded.kyber_signature, k.kyber_signature)
        RETURNING signed_id IS NOT NULL OR last_resort_id IS NOT NULL",
    set_has_keys: "UPDATE messaging_devices SET has_keys = $2 WHERE key = $1",
    delete_keys_of_kind: "DELETE FROM messaging_one_time_keys WHERE device = $1 AND kind = $2",
    // A client may send an id twice. The last key counts.
    insert_one_time_keys: "INSERT INTO messaging_one_time_keys
            (device, kind, id, public_key, signature)
        SELECT DISTINCT ON (id) $1::bigint, $2::smallint, id, public_key, signature
        FROM unnest($3::bigint[], $4::bytea[], $5::bytea[])
            WITH ORDINALITY AS given (id, public_key, signature, entry)
        ORDER BY id, entry DESC",
    count_keys: "SELECT count(*) FILTER (WHERE kind = 0), count(*) FILTER (WHERE kind = 1)
        FROM messaging_one_time_keys WHERE device = $1",
    published_keys: "SELECT entry, k.signed_id, k.signed_key, k.signed_signature, k.kyber_id,
            k.kyber_key, k.kyber_signature, k.last_resort_id, k.last_resort_key
        FROM unnest($1::bigint[]) WITH ORDINALITY AS named (device, entry)
        JOIN messaging_device_keys k ON k.device = named.device",
    // Keys that another node is giving out at the same time are skipped.
    take_one_time_keys: "WITH taken AS (
            SELECT w.entry, k.device, k.kind, k.id
            FROM unnest($1::bigint[], $2::smallint[], $3::bigint[])
                WITH ORDINALITY AS w (device, kind, count, entry)
            CROSS JOIN LATERAL (
                SELECT device, kind, id FROM messaging_one_time_keys
                WHERE device = w.device AND kind = w.kind
                ORDER BY id LIMIT w.count FOR UPDATE SKIP LOCKED
            ) AS k)
        DELETE FROM messaging_one_time_keys k USING taken t
        WHERE k.device = t.device AND k.kind = t.kind AND k.id = t.id
        RETURNING t.entry, k.id, k.public_key, k.signature",

    find_by_account: find!(
        "unnest($1::bytea[], $2::integer[]) WITH ORDINALITY AS l (id, device, entry)
        JOIN messaging_accounts a ON a.id = l.id"
    ),
    find_by_number: find!(
        "unnest($1::text[], $2::integer[]) WITH ORDINALITY AS l (number, device, entry)
        JOIN messaging_accounts a ON a.number = l.number"
    ),
    load_by_key: load_accounts!(
        "unnest($1::bigint[]) AS named (key) JOIN messaging_accounts a ON a.key = named.key"
    ),
    load_by_id: load_accounts!(
        "unnest($1::bytea[]) AS named (id) JOIN messaging_accounts a ON a.id = named.id"
    ),
    load_by_number: load_accounts!(
        "unnest($1::text[]) AS named (number)
        JOIN messaging_accounts a ON a.number = named.number AND a.is_default"
    ),
    load_by_app: load_accounts!(
        "unnest($1::text[], $2::text[]) AS named (number, app)
        JOIN messaging_apps o ON o.name = named.app
        JOIN messaging_accounts a ON a.number = named.number AND a.app = o.key"
    ),
    load_by_device: load_accounts!(
        "unnest($1::bigint[]) AS named (device)
        JOIN messaging_devices o ON o.key = named.device
        JOIN messaging_accounts a ON a.key = o.account"
    ),

    readers: "SELECT key, signaling_key FROM messaging_devices WHERE key = ANY ($1::bigint[])",

    lock_queues: "SELECT device, position, messages, bytes FROM messaging_queues
        WHERE device = ANY ($1::bigint[]) ORDER BY device FOR UPDATE",
    // The messages of one sender in a long queue.
    sender_sizes: "SELECT entry, count(*), coalesce(sum(octet_length(m.envelope)), 0)::bigint
        FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS named (device, source, entry)
        JOIN messaging_messages m ON m.device = named.device AND m.source = named.source
        GROUP BY entry",
    save_queues: "UPDATE messaging_queues q
        SET position = n.position, messages = n.messages, bytes = n.bytes
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
            AS n (device, position, messages, bytes)
        WHERE q.device = n.device",
    insert_messages: "INSERT INTO messaging_messages (device, position, server_timestamp,
            is_ephemeral, is_to_number, kind, guid, source, source_number, timestamp, envelope)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[],
            $5::boolean[], $6::bigint[], $7::bytea[], $8::bytea[], $9::text[], $10::bigint[],
            $11::bytea[])",
    take_by_position: take_messages!(
        "SELECT * FROM unnest($1::bigint[], $2::bigint[])
            WITH ORDINALITY AS a (device, position, entry)"
    ),
    take_by_guid: take_messages_by!(
        "unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS a (device, guid, entry)",
        "device, guid", "m.guid = a.guid"
    ),
    take_by_account: take_messages_by!(
        "unnest($1::bigint[], $2::bytea[], $3::bigint[])
            WITH ORDINALITY AS a (device, source, timestamp, entry)",
        "device, source, timestamp", "m.source = a.source AND m.timestamp = a.timestamp"
    ),
    take_by_number: take_messages_by!(
        "unnest($1::bigint[], $2::text[], $3::bigint[])
            WITH ORDINALITY AS a (device, source, timestamp, entry)",
        "device, source, timestamp", "m.source_number = a.source AND m.timestamp = a.timestamp"
    ),
    // The messages of each page, and the first one for which there is no room, without its envelope.
    pages: "SELECT p.entry, m.position, CASE WHEN m.fits THEN m.envelope END
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
            WITH ORDINALITY AS p (device, after, max_messages, max_bytes, entry)
        CROSS JOIN LATERAL (
            SELECT position, envelope,
                nth <= p.max_messages AND (nth = 1 OR total <= p.max_bytes) AS fits
            FROM (
                SELECT position, envelope, row_number() OVER before AS nth,
                    sum(octet_length(envelope)) OVER before AS total
                FROM (
                    SELECT position, envelope FROM messaging_messages
                    WHERE device = p.device AND position > p.after
                        AND NOT (is_ephemeral AND server_timestamp < $5::bigint)
                    ORDER BY position LIMIT p.max_messages + 1
                ) AS next
                WINDOW before AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
            ) AS counted
            WHERE nth <= 2 OR total - octet_length(envelope) <= p.max_bytes
        ) AS m
        ORDER BY p.entry, m.position",
    were_sent: "SELECT entry FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
            WITH ORDINALITY AS named (timestamp, device, account, content, entry)
        WHERE EXISTS (SELECT FROM messaging_sent s WHERE s.timestamp = named.timestamp
            AND s.device = named.device AND s.account = named.account
            AND s.content = named.content)",
    insert_sent: "INSERT INTO messaging_sent (timestamp, device, account, content, accepted)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])",

    count: "SELECT (SELECT count(*) FROM messaging_accounts),
        (SELECT count(*) FROM messaging_devices),
        (SELECT coalesce(sum(messages), 0)::bigint FROM messaging_queues)",
    expire_codes: "DELETE FROM messaging_codes WHERE number IN (
        SELECT number FROM messaging_codes WHERE sent < $1 ORDER BY sent LIMIT $2::bigint)",
    expire_device_codes: "DELETE FROM messaging_device_codes WHERE account IN (
        SELECT account FROM messaging_device_codes WHERE shown < $1 ORDER BY shown LIMIT $2::bigint
        FOR UPDATE SKIP LOCKED)",
    expire_provisioning: "DELETE FROM messaging_provisioning WHERE address IN (
        SELECT address FROM messaging_provisioning WHERE opened < $1
        ORDER BY opened LIMIT $2::bigint FOR UPDATE SKIP LOCKED)",
    expire_reports: "DELETE FROM messaging_reports WHERE (reporter, guid) IN (
        SELECT reporter, guid FROM messaging_reports WHERE reported < $1
        ORDER BY reported LIMIT $2::bigint FOR UPDATE SKIP LOCKED)",
    expire_sent: "DELETE FROM messaging_sent WHERE (timestamp, device, account, content) IN (
        SELECT timestamp, device, account, content FROM messaging_sent WHERE accepted < $1
        ORDER BY accepted LIMIT $2::bigint FOR UPDATE SKIP LOCKED)",
    expire_messages: "WITH old AS (
            SELECT device, position FROM messaging_messages WHERE server_timestamp < $1
            ORDER BY server_timestamp LIMIT $2::bigint FOR UPDATE SKIP LOCKED)
        DELETE FROM messaging_messages m USING old
        WHERE m.device = old.device AND m.position = old.position
        RETURNING m.device, octet_length(m.envelope)::bigint",
    expire_ephemeral: "WITH old AS (
            SELECT device, position FROM messaging_messages
            WHERE is_ephemeral AND server_timestamp < $1
            ORDER BY server_timestamp LIMIT $2::bigint FOR UPDATE SKIP LOCKED)
        DELETE FROM messaging_messages m USING old
        WHERE m.device = old.device AND m.position = old.position
        RETURNING m.device, octet_length(m.envelope)::bigint",
}
