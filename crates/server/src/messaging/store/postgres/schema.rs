//! The tables in PostgreSQL. Times are milliseconds since 1970.
//!
//! Texts that clients choose are `bytea`, because they may contain the character U+0000, which PostgreSQL's text cannot
//! hold. Numbers and names of apps are checked before, and are text.

/// The SQL statements that upgrade each version to the next one. The first creates version 1.
pub(in crate::messaging::store) const STEPS: [&str; 6] = [
    "
    CREATE TABLE messaging_server ( -- one row
        only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
        version INTEGER NOT NULL,
        accounts_version BIGINT NOT NULL -- grows when accounts, devices or keys of a device change
    );
    INSERT INTO messaging_server (version, accounts_version) VALUES (0, 0);
    CREATE TABLE messaging_apps (
        key BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        refuses_intra BOOLEAN NOT NULL, -- whether it delivers between its own users itself
        token_1 BYTEA, -- SHA-256, the newest first
        token_2 BYTEA
    );
    CREATE TABLE messaging_codes (
        number TEXT PRIMARY KEY,
        code BIGINT NOT NULL,
        sent BIGINT NOT NULL,
        attempts BIGINT NOT NULL
    );
    CREATE INDEX messaging_codes_sent ON messaging_codes (sent);
    CREATE TABLE messaging_accounts (
        key BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id BYTEA NOT NULL UNIQUE, -- 16 bytes
        app BIGINT NOT NULL, -- key of its app
        number TEXT NOT NULL,
        token BYTEA NOT NULL, -- of the number, in the directory
        is_default BOOLEAN NOT NULL,
        is_discoverable BOOLEAN NOT NULL,
        shows_app BOOLEAN NOT NULL,
        identity BYTEA,
        created BIGINT NOT NULL,
        verified BIGINT NOT NULL, -- when its owner last proved to have the number
        UNIQUE (number, app)
    );
    CREATE UNIQUE INDEX messaging_accounts_default ON messaging_accounts (number) WHERE is_default;
    CREATE INDEX messaging_accounts_token ON messaging_accounts (token) WHERE is_discoverable;
    CREATE TABLE messaging_devices (
        key BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account BIGINT NOT NULL, -- key of its account
        number INTEGER NOT NULL,
        password BYTEA NOT NULL, -- SHA-256 of salt and password
        salt BYTEA NOT NULL,
        registration_id BIGINT NOT NULL,
        has_keys BOOLEAN NOT NULL DEFAULT FALSE, -- a signed prekey or a key of last resort
        fetches_messages BOOLEAN NOT NULL,
        apn BYTEA,
        voip BYTEA,
        gcm BYTEA,
        signaling_key BYTEA,
        name BYTEA,
        attributes BYTEA NOT NULL, -- JSON
        created BIGINT NOT NULL,
        last_seen BIGINT NOT NULL,
        UNIQUE (account, number)
    );
    CREATE TABLE messaging_device_keys (
        device BIGINT PRIMARY KEY,
        signed_id BIGINT,
        signed_key BYTEA,
        signed_signature BYTEA,
        last_resort_id BIGINT,
        last_resort_key BYTEA,
        kyber_id BIGINT, -- of last resort
        kyber_key BYTEA,
        kyber_signature BYTEA
    );
    CREATE TABLE messaging_one_time_keys (
        device BIGINT NOT NULL,
        kind SMALLINT NOT NULL, -- 0: X25519, 1: Kyber-1024
        id BIGINT NOT NULL,
        public_key BYTEA NOT NULL,
        signature BYTEA,
        PRIMARY KEY (device, kind, id)
    );
    CREATE TABLE messaging_queues ( -- one row for each device
        device BIGINT PRIMARY KEY,
        position BIGINT NOT NULL, -- of the newest message that was ever stored
        messages BIGINT NOT NULL, -- that are stored now
        bytes BIGINT NOT NULL -- of their envelopes
    ) WITH (fillfactor = 50);
    CREATE TABLE messaging_messages (
        device BIGINT NOT NULL,
        position BIGINT NOT NULL,
        server_timestamp BIGINT NOT NULL,
        is_ephemeral BOOLEAN NOT NULL,
        is_to_number BOOLEAN NOT NULL, -- how the sender has named the recipient
        kind BIGINT NOT NULL,
        guid BYTEA NOT NULL,
        source BYTEA NOT NULL, -- id of the sender's account
        source_number TEXT NOT NULL,
        timestamp BIGINT NOT NULL, -- 64 bits of the sender, as a signed number
        envelope BYTEA NOT NULL,
        PRIMARY KEY (device, position)
    );
    ALTER TABLE messaging_messages ALTER COLUMN envelope SET STORAGE EXTERNAL;
    CREATE INDEX messaging_messages_guid ON messaging_messages (device, guid);
    CREATE INDEX messaging_messages_sent ON messaging_messages (device, timestamp);
    CREATE INDEX messaging_messages_age ON messaging_messages (server_timestamp);
    CREATE INDEX messaging_messages_ephemeral ON messaging_messages (server_timestamp)
        WHERE is_ephemeral;
    CREATE TABLE messaging_sent (
        timestamp BIGINT NOT NULL,
        device BIGINT NOT NULL, -- of the sender
        account BIGINT NOT NULL, -- of the recipient
        content BIGINT NOT NULL, -- 64 bits of a hash
        accepted BIGINT NOT NULL,
        -- Clients send the current time, so most rows are added at the end.
        PRIMARY KEY (timestamp, device, account, content)
    );
    CREATE INDEX messaging_sent_accepted ON messaging_sent (accepted);
",
    "
    CREATE TABLE messaging_device_codes (
        account BIGINT PRIMARY KEY,
        code BIGINT NOT NULL,
        sent BIGINT NOT NULL,
        attempts BIGINT NOT NULL
    );
    CREATE INDEX messaging_device_codes_sent ON messaging_device_codes (sent);
    CREATE TABLE messaging_provisioning (
        address BYTEA PRIMARY KEY, -- where a device waits to be linked
        opened BIGINT NOT NULL,
        message BYTEA
    );
    CREATE INDEX messaging_provisioning_opened ON messaging_provisioning (opened);
",
    "
    ALTER TABLE messaging_codes ADD COLUMN askers BYTEA NOT NULL DEFAULT ''; -- 9 bytes for each network
    DROP TABLE messaging_device_codes; -- of six digits, which can be guessed
    CREATE TABLE messaging_device_codes (
        account BIGINT PRIMARY KEY,
        hash BYTEA NOT NULL, -- SHA-256
        shown BIGINT NOT NULL
    );
    CREATE INDEX messaging_device_codes_shown ON messaging_device_codes (shown);
",
    "
    ALTER TABLE messaging_accounts
        ADD COLUMN access_key BYTEA, -- 16 bytes, which senders without credentials show
        ADD COLUMN is_unrestricted BOOLEAN NOT NULL DEFAULT FALSE; -- such senders need no key
    CREATE TABLE messaging_delivery_keys ( -- one row, once somebody needs them
        only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
        root BYTEA NOT NULL, -- private key of the trust root
        server BYTEA NOT NULL, -- private key that certifies senders
        certificate BYTEA NOT NULL -- of that key, signed by the trust root
    );
    CREATE TABLE messaging_profiles (
        account BIGINT PRIMARY KEY,
        version TEXT, -- of what follows
        name BYTEA, -- encrypted, as all texts
        about BYTEA,
        emoji BYTEA,
        old_name BYTEA, -- from clients whose profiles have no versions
        avatar BYTEA UNIQUE -- 16 bytes, the id of the picture
    );
",
    "
    CREATE TABLE messaging_groups (
        id BYTEA PRIMARY KEY, -- 16 bytes
        creator BIGINT NOT NULL, -- key of an account
        access BYTEA NOT NULL, -- SHA-256 of the key of members
        admin_access BYTEA NOT NULL, -- of the key of administrators
        link_access BYTEA, -- of the key of the link, if it is enabled
        latest BIGINT NOT NULL -- revision of the newest entry
    );
    CREATE INDEX messaging_groups_creator ON messaging_groups (creator);
    CREATE TABLE messaging_group_entries (
        group_id BYTEA NOT NULL,
        revision BIGINT NOT NULL,
        author BIGINT NOT NULL, -- key of an account
        access BYTEA NOT NULL, -- that the author has shown
        next_access BYTEA, -- the keys after the entry, if it has replaced them
        next_admin_access BYTEA,
        next_link_access BYTEA,
        entry BYTEA NOT NULL,
        PRIMARY KEY (group_id, revision)
    );
    ALTER TABLE messaging_group_entries ALTER COLUMN entry SET STORAGE EXTERNAL;
    CREATE TABLE messaging_consents (
        recipient BIGINT NOT NULL, -- key of an account
        sender BIGINT NOT NULL, -- key of an account
        state SMALLINT NOT NULL, -- 0: pending, 1: accepted, 2: blocked
        since BIGINT NOT NULL,
        messages BIGINT NOT NULL, -- that were delivered while it was pending
        PRIMARY KEY (recipient, sender)
    );
    CREATE INDEX messaging_consents_recipient
        ON messaging_consents (recipient, state, since, sender);
    CREATE INDEX messaging_consents_sender ON messaging_consents (sender, state);
    CREATE TABLE messaging_usernames (
        name TEXT PRIMARY KEY, -- in lower case
        account BIGINT NOT NULL UNIQUE
    );
    CREATE TABLE messaging_reports (
        reporter BYTEA NOT NULL, -- id of an account
        reported BIGINT NOT NULL, -- when
        sender BYTEA NOT NULL, -- id of the account that has sent the message
        guid BYTEA NOT NULL,
        accepted BIGINT NOT NULL, -- when the message was sent
        content BYTEA NOT NULL, -- SHA-256 of what was encrypted
        PRIMARY KEY (reporter, guid)
    );
    CREATE INDEX messaging_reports_reported ON messaging_reports (reported);
    CREATE INDEX messaging_reports_sender ON messaging_reports (sender);
    CREATE TABLE messaging_report_key ( -- one row
        only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
        secret BYTEA NOT NULL -- marks messages, so that reports can be checked
    );
",
    "
    ALTER TABLE messaging_accounts
        ADD COLUMN device_list_revision BIGINT,
        ADD COLUMN device_list BYTEA; -- signed by the account, at most 4 KiB
",
];
