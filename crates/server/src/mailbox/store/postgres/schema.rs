//! The tables in PostgreSQL.
//!
//! Names, contents and ids are `bytea`: they come from clients and may contain the character U+0000, which
//! PostgreSQL's text cannot hold.

/// The SQL statements that upgrade each version to the next one. The first creates version 1.
pub(super) const STEPS: [&str; 2] = [TABLES, SHORT_NAMEPLATES];

const TABLES: &str = "
    CREATE TABLE wormhole_server ( -- one row: a transaction of any node locks it first
        only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
        version INTEGER NOT NULL,
        uptime DOUBLE PRECISION NOT NULL, -- seconds during which nodes have run
        stored_bytes BIGINT NOT NULL,
        next_mailbox BIGINT NOT NULL,
        last_message BIGINT NOT NULL
    ) WITH (fillfactor = 20);
    INSERT INTO wormhole_server (version, uptime, stored_bytes, next_mailbox, last_message)
        VALUES (0, 0, 0, 1, 0);
    CREATE TABLE wormhole_nodes (
        id BIGINT PRIMARY KEY,
        batch BIGINT NOT NULL, -- the last transaction of this node
        used DOUBLE PRECISION NOT NULL -- uptime
    ) WITH (fillfactor = 20);
    CREATE TABLE wormhole_nameplates (
        app BYTEA NOT NULL,
        name BYTEA NOT NULL,
        mailbox BYTEA NOT NULL,
        crowded BOOLEAN NOT NULL, -- a third side was refused
        side_1 BYTEA,
        added_1 DOUBLE PRECISION, -- seconds since 1970
        claimed_1 BOOLEAN,
        side_2 BYTEA,
        added_2 DOUBLE PRECISION,
        claimed_2 BOOLEAN,
        PRIMARY KEY (app, name)
    );
    CREATE TABLE wormhole_mailboxes (
        key BIGINT PRIMARY KEY,
        app BYTEA NOT NULL,
        id BYTEA NOT NULL,
        nameplate BYTEA, -- the one it was created for, in use or not
        messages BIGINT NOT NULL,
        bytes BIGINT NOT NULL,
        last_message BIGINT NOT NULL,
        used DOUBLE PRECISION NOT NULL, -- uptime
        crowded BOOLEAN NOT NULL,
        side_1 BYTEA,
        added_1 DOUBLE PRECISION,
        opened_1 BOOLEAN,
        mood_1 BYTEA,
        side_2 BYTEA,
        added_2 DOUBLE PRECISION,
        opened_2 BOOLEAN,
        mood_2 BYTEA,
        UNIQUE (app, id)
    ) WITH (fillfactor = 70);
    CREATE TABLE wormhole_messages (
        mailbox BIGINT NOT NULL, -- key of its mailbox
        position BIGINT NOT NULL, -- grows from message to message, over all mailboxes
        side BYTEA NOT NULL,
        phase BYTEA NOT NULL,
        body BYTEA NOT NULL,
        client_id BYTEA NOT NULL, -- JSON
        server_rx DOUBLE PRECISION NOT NULL, -- seconds since 1970
        PRIMARY KEY (mailbox, position)
    );
    ALTER TABLE wormhole_messages ALTER COLUMN body SET STORAGE EXTERNAL;
";

/// Each allocation reads the short nameplates of its application, and there may be many long ones.
const SHORT_NAMEPLATES: &str = "
    CREATE INDEX wormhole_short_nameplates ON wormhole_nameplates (app, name)
        WHERE octet_length(name) <= 3;
";
