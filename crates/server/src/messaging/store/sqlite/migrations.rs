//! The tables, and their earlier versions.

use std::path::Path;

use rusqlite::Connection;

use crate::ServerError;
use crate::database::{self, Schema};

/// Opens the database; creates or upgrades it if needed.
pub(super) fn open(path: &Path) -> Result<Connection, ServerError> {
    let refusal = |_: &Connection| Ok("not a database of the messaging service".into());
    database::open(path, Schema { steps: &STEPS, table: "one_time_keys", refusal })
}

/// The statements that create each version from the one before. Times are milliseconds since 1970.
pub(in crate::messaging::store) const STEPS: [&str; 6] = [
    "
    CREATE TABLE counters (
        key INTEGER PRIMARY KEY CHECK (key = 1),
        position INTEGER NOT NULL, -- of the newest message that was ever stored
        messages INTEGER NOT NULL -- that are stored now
    );
    INSERT INTO counters VALUES (1, 0, 0);
    CREATE TABLE apps (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        refuses_intra INTEGER NOT NULL, -- whether it delivers between its own users itself
        token_1 BLOB, -- SHA-256, the newest first
        token_2 BLOB
    );
    CREATE TABLE pending_codes (
        number TEXT PRIMARY KEY,
        code INTEGER NOT NULL,
        sent INTEGER NOT NULL,
        attempts INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX pending_codes_sent ON pending_codes (sent);
    CREATE TABLE accounts (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE, -- 16 bytes
        app INTEGER NOT NULL, -- key of its app
        number TEXT NOT NULL,
        token BLOB NOT NULL, -- of the number, in the directory
        is_default INTEGER NOT NULL,
        is_discoverable INTEGER NOT NULL,
        shows_app INTEGER NOT NULL,
        identity BLOB,
        created INTEGER NOT NULL,
        verified INTEGER NOT NULL, -- when its owner last proved to have the number
        UNIQUE (number, app)
    );
    CREATE UNIQUE INDEX accounts_default ON accounts (number) WHERE is_default;
    CREATE INDEX accounts_token ON accounts (token) WHERE is_discoverable;
    CREATE TABLE devices (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        account INTEGER NOT NULL, -- key of its account
        number INTEGER NOT NULL,
        password BLOB NOT NULL, -- SHA-256 of salt and password
        salt BLOB NOT NULL,
        registration_id INTEGER NOT NULL,
        has_keys INTEGER NOT NULL DEFAULT 0, -- a signed prekey or a key of last resort
        fetches_messages INTEGER NOT NULL,
        apn TEXT,
        voip TEXT,
        gcm TEXT,
        signaling_key BLOB,
        name TEXT,
        attributes TEXT NOT NULL, -- JSON
        created INTEGER NOT NULL,
        last_seen INTEGER NOT NULL,
        UNIQUE (account, number)
    );
    CREATE TABLE device_keys (
        device INTEGER PRIMARY KEY,
        signed_id INTEGER,
        signed_key BLOB,
        signed_signature BLOB,
        last_resort_id INTEGER,
        last_resort_key BLOB,
        kyber_id INTEGER, -- of last resort
        kyber_key BLOB,
        kyber_signature BLOB
    );
    CREATE TABLE one_time_keys (
        device INTEGER NOT NULL,
        kind INTEGER NOT NULL, -- 0: X25519, 1: Kyber-1024
        id INTEGER NOT NULL,
        public_key BLOB NOT NULL,
        signature BLOB,
        PRIMARY KEY (device, kind, id)
    ) WITHOUT ROWID;
    CREATE TABLE messages (
        device INTEGER NOT NULL,
        position INTEGER NOT NULL,
        server_timestamp INTEGER NOT NULL,
        is_ephemeral INTEGER NOT NULL,
        is_to_number INTEGER NOT NULL, -- how the sender has named the recipient
        kind INTEGER NOT NULL,
        guid BLOB NOT NULL,
        source BLOB NOT NULL, -- id of the sender's account
        source_number TEXT NOT NULL,
        source_device INTEGER NOT NULL,
        timestamp INTEGER NOT NULL, -- 64 bits of the sender, as a signed number
        envelope BLOB NOT NULL,
        PRIMARY KEY (device, position)
    ) WITHOUT ROWID;
    CREATE INDEX messages_guid ON messages (device, guid);
    CREATE INDEX messages_timestamp ON messages (device, timestamp);
    CREATE INDEX messages_ephemeral ON messages (server_timestamp) WHERE is_ephemeral;
    CREATE TABLE sent (
        key INTEGER PRIMARY KEY, -- in the order of acceptance
        device INTEGER NOT NULL, -- of the sender
        account INTEGER NOT NULL, -- of the recipient
        timestamp INTEGER NOT NULL,
        content INTEGER NOT NULL, -- 64 bits of a hash
        accepted INTEGER NOT NULL,
        -- Clients send the current time, so most rows are added at the end.
        UNIQUE (timestamp, device, account, content)
    );
",
    "
    CREATE TABLE device_codes (
        account INTEGER PRIMARY KEY,
        code INTEGER NOT NULL,
        sent INTEGER NOT NULL,
        attempts INTEGER NOT NULL
    );
    CREATE INDEX device_codes_sent ON device_codes (sent);
    CREATE TABLE provisioning (
        address BLOB PRIMARY KEY, -- where a device waits to be linked
        opened INTEGER NOT NULL,
        message BLOB
    );
    CREATE INDEX provisioning_opened ON provisioning (opened);
",
    "
    ALTER TABLE pending_codes ADD COLUMN askers BLOB NOT NULL DEFAULT x''; -- 9 bytes for each network
    DROP TABLE device_codes; -- of six digits, which can be guessed
    CREATE TABLE device_codes (
        account INTEGER PRIMARY KEY,
        hash BLOB NOT NULL, -- SHA-256
        shown INTEGER NOT NULL
    );
    CREATE INDEX device_codes_shown ON device_codes (shown);
",
    "
    ALTER TABLE accounts ADD COLUMN access_key BLOB; -- 16 bytes, which senders without credentials show
    ALTER TABLE accounts ADD COLUMN is_unrestricted INTEGER NOT NULL DEFAULT 0; -- such senders need no key
    CREATE TABLE delivery_keys ( -- one row, once somebody needs them
        key INTEGER PRIMARY KEY CHECK (key = 1),
        root BLOB NOT NULL, -- private key of the trust root
        server BLOB NOT NULL, -- private key that certifies senders
        certificate BLOB NOT NULL -- of that key, signed by the trust root
    );
    CREATE TABLE profiles (
        account INTEGER PRIMARY KEY,
        version TEXT, -- of what follows
        name BLOB, -- encrypted, as all texts
        about BLOB,
        emoji BLOB,
        old_name BLOB, -- from clients whose profiles have no versions
        avatar BLOB UNIQUE -- 16 bytes, the id of the picture
    );
",
    "
    CREATE TABLE group_logs (
        id BLOB PRIMARY KEY, -- 16 bytes
        creator INTEGER NOT NULL, -- key of an account
        access BLOB NOT NULL, -- SHA-256 of the key of members
        admin_access BLOB NOT NULL, -- of the key of administrators
        link_access BLOB, -- of the key of the link, if it is enabled
        latest INTEGER NOT NULL -- revision of the newest entry
    ) WITHOUT ROWID;
    CREATE INDEX group_logs_creator ON group_logs (creator);
    CREATE TABLE group_entries (
        group_id BLOB NOT NULL,
        revision INTEGER NOT NULL,
        author INTEGER NOT NULL, -- key of an account
        access BLOB NOT NULL, -- that the author has shown
        next_access BLOB, -- the keys after the entry, if it has replaced them
        next_admin_access BLOB,
        next_link_access BLOB,
        entry BLOB NOT NULL,
        PRIMARY KEY (group_id, revision)
    );
    CREATE TABLE consents (
        recipient INTEGER NOT NULL, -- key of an account
        sender INTEGER NOT NULL, -- key of an account
        state INTEGER NOT NULL, -- 0: pending, 1: accepted, 2: blocked
        since INTEGER NOT NULL,
        messages INTEGER NOT NULL, -- that were delivered while it was pending
        PRIMARY KEY (recipient, sender)
    );
    CREATE INDEX consents_recipient ON consents (recipient, state, since, sender);
    CREATE INDEX consents_sender ON consents (sender, state);
    CREATE TABLE usernames (
        name TEXT PRIMARY KEY, -- in lower case
        account INTEGER NOT NULL UNIQUE
    ) WITHOUT ROWID;
    CREATE TABLE reports (
        reporter BLOB NOT NULL, -- id of an account
        reported INTEGER NOT NULL, -- when
        sender BLOB NOT NULL, -- id of the account that has sent the message
        guid BLOB NOT NULL,
        accepted INTEGER NOT NULL, -- when the message was sent
        content BLOB NOT NULL, -- SHA-256 of what was encrypted
        PRIMARY KEY (reporter, guid)
    );
    CREATE INDEX reports_reported ON reports (reported);
    CREATE INDEX reports_sender ON reports (sender);
    CREATE TABLE report_key (
        key INTEGER PRIMARY KEY CHECK (key = 1),
        secret BLOB NOT NULL -- marks messages, so that reports can be checked
    );
",
    "
    ALTER TABLE accounts ADD COLUMN device_list_revision INTEGER;
    ALTER TABLE accounts ADD COLUMN device_list BLOB; -- signed by the account, at most 4 KiB
",
];
