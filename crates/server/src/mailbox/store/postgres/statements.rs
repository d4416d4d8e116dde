//! The statements of a batch, prepared once for each connection.

use tokio_postgres::{Client, Error, Statement};

use super::schema;
use crate::database::postgres::{self, Tables};

/// All prepared statements.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) lock: Statement,
    pub(super) nameplates: Statement,
    pub(super) mailboxes: Statement,
    pub(super) short_names: Statement,
    pub(super) lists: Statement,
    pub(super) replays: Statement,
    pub(super) messages_after: Statement,
    pub(super) mailbox_page: Statement,
    pub(super) touch: Statement,
    pub(super) forget_nodes: Statement,
    pub(super) last_batch: Statement,
    pub(super) count: Statement,
    pub(super) save_server: Statement,
    pub(super) save_node: Statement,
    pub(super) delete_messages: Statement,
    pub(super) delete_mailboxes: Statement,
    pub(super) delete_nameplates: Statement,
    pub(super) save_nameplates: Statement,
    pub(super) save_mailboxes: Statement,
    pub(super) insert_messages: Statement,
    pub(super) notify: Statement,
}

impl postgres::Statements for Statements {
    const TABLES: Tables = Tables { main: "wormhole_server", steps: &schema::STEPS };

    #[expect(clippy::cognitive_complexity, reason = "one line for each statement")]
    async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            lock: client.prepare(LOCK).await?,
            nameplates: client.prepare(NAMEPLATES).await?,
            mailboxes: client.prepare(MAILBOXES).await?,
            short_names: client.prepare(SHORT_NAMES).await?,
            lists: client.prepare(LISTS).await?,
            replays: client.prepare(REPLAYS).await?,
            messages_after: client.prepare(MESSAGES_AFTER).await?,
            mailbox_page: client.prepare(MAILBOX_PAGE).await?,
            touch: client.prepare(TOUCH).await?,
            forget_nodes: client.prepare(FORGET_NODES).await?,
            last_batch: client.prepare(LAST_BATCH).await?,
            count: client.prepare(COUNT).await?,
            save_server: client.prepare(SAVE_SERVER).await?,
            save_node: client.prepare(SAVE_NODE).await?,
            delete_messages: client.prepare(DELETE_MESSAGES).await?,
            delete_mailboxes: client.prepare(DELETE_MAILBOXES).await?,
            delete_nameplates: client.prepare(DELETE_NAMEPLATES).await?,
            save_nameplates: client.prepare(SAVE_NAMEPLATES).await?,
            save_mailboxes: client.prepare(SAVE_MAILBOXES).await?,
            insert_messages: client.prepare(INSERT_MESSAGES).await?,
            notify: client.prepare(NOTIFY).await?,
        })
    }
}

/// Locks the row of the server: only one transaction of all nodes can have this lock at a time.
const LOCK: &str = "SELECT version, uptime, stored_bytes, next_mailbox, last_message
    FROM wormhole_server FOR UPDATE";

/// The nameplates with these names, and those of the mailboxes with these names.
const NAMEPLATES: &str = "
    SELECT plate.app, plate.name, plate.mailbox, plate.crowded,
        plate.side_1, plate.added_1, plate.claimed_1, plate.side_2, plate.added_2, plate.claimed_2
    FROM unnest($1::bytea[], $2::bytea[]) AS named (app, name)
    JOIN wormhole_nameplates AS plate ON plate.app = named.app AND plate.name = named.name
    UNION ALL
    SELECT plate.app, plate.name, plate.mailbox, plate.crowded,
        plate.side_1, plate.added_1, plate.claimed_1, plate.side_2, plate.added_2, plate.claimed_2
    FROM unnest($3::bytea[], $4::bytea[]) AS named (app, id)
    JOIN wormhole_mailboxes AS box ON box.app = named.app AND box.id = named.id
    JOIN wormhole_nameplates AS plate ON plate.app = box.app AND plate.name = box.nameplate";

/// The mailboxes of the nameplates with these names, and the mailboxes with these names.
const MAILBOXES: &str = "
    SELECT box.key, box.app, box.id, box.nameplate, box.messages, box.bytes, box.last_message,
        box.used, box.crowded, box.side_1, box.added_1, box.opened_1, box.mood_1,
        box.side_2, box.added_2, box.opened_2, box.mood_2
    FROM unnest($1::bytea[], $2::bytea[]) AS named (app, name)
    JOIN wormhole_nameplates AS plate ON plate.app = named.app AND plate.name = named.name
    JOIN wormhole_mailboxes AS box ON box.app = plate.app AND box.id = plate.mailbox
    UNION ALL
    SELECT box.key, box.app, box.id, box.nameplate, box.messages, box.bytes, box.last_message,
        box.used, box.crowded, box.side_1, box.added_1, box.opened_1, box.mood_1,
        box.side_2, box.added_2, box.opened_2, box.mood_2
    FROM unnest($3::bytea[], $4::bytea[]) AS named (app, id)
    JOIN wormhole_mailboxes AS box ON box.app = named.app AND box.id = named.id";

const SHORT_NAMES: &str = "SELECT app, name FROM wormhole_nameplates
    WHERE app = ANY ($1::bytea[]) AND octet_length(name) <= 3";

const LISTS: &str = "
    SELECT listed.app, plate.name FROM unnest($1::bytea[]) AS listed (app)
    CROSS JOIN LATERAL (
        SELECT name FROM wormhole_nameplates WHERE app = listed.app ORDER BY name LIMIT $2
    ) AS plate";

const REPLAYS: &str = "
    SELECT mailbox, position, side, phase, body, client_id, server_rx FROM wormhole_messages
    WHERE mailbox = ANY ($1::bigint[]) ORDER BY mailbox, position";

/// Messages after cursors, oldest first, up to a number of bytes, but at least one.
const MESSAGES_AFTER: &str = "
    SELECT cursor, position, side, phase, body, client_id, server_rx FROM (
        SELECT given.cursor, m.position, m.side, m.phase, m.body, m.client_id, m.server_rx,
            size.length, sum(size.length) OVER (ORDER BY m.position) AS total
        FROM unnest($1::bytea[], $2::bytea[], $3::bigint[])
            WITH ORDINALITY AS given (app, id, after, cursor)
        JOIN wormhole_mailboxes AS box ON box.app = given.app AND box.id = given.id
            AND box.last_message > given.after
        JOIN wormhole_messages AS m ON m.mailbox = box.key AND m.position > given.after
        CROSS JOIN LATERAL (SELECT $5::bigint + octet_length(m.side) + octet_length(m.phase)
            + octet_length(m.body) + octet_length(m.client_id) AS length) AS size
    ) AS found
    WHERE total - length < $4::bigint ORDER BY position";

/// The next mailboxes by key. The names are only needed if they are unused.
const MAILBOX_PAGE: &str = "
    SELECT key, is_unused, messages,
        CASE WHEN is_unused THEN app END, CASE WHEN is_unused THEN id END
    FROM wormhole_mailboxes
    CROSS JOIN LATERAL (SELECT used <= $2::double precision AS is_unused) AS comparison
    WHERE key > $1::bigint ORDER BY key LIMIT $3::bigint";

const TOUCH: &str = "
    UPDATE wormhole_mailboxes AS box SET used = $3::double precision
    FROM unnest($1::bytea[], $2::bytea[]) AS named (app, id)
    WHERE box.app = named.app AND box.id = named.id RETURNING box.app, box.id";

const FORGET_NODES: &str = "DELETE FROM wormhole_nodes WHERE used < $1::double precision";

const LAST_BATCH: &str = "SELECT batch FROM wormhole_nodes WHERE id = $1";

const COUNT: &str = "SELECT (SELECT count(*) FROM wormhole_nameplates),
    (SELECT count(*) FROM wormhole_mailboxes)";

/// Fails if another transaction has changed the row since this one read it: then a column would become NULL. The lock
/// prevents this already.
const SAVE_SERVER: &str = "UPDATE wormhole_server
    SET uptime = CASE WHEN next_mailbox = $5 AND last_message = $6 THEN $1::double precision END,
        stored_bytes = $2, next_mailbox = $3, last_message = $4";

const SAVE_NODE: &str = "INSERT INTO wormhole_nodes (id, batch, used) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, used = excluded.used";

const DELETE_MESSAGES: &str = "DELETE FROM wormhole_messages WHERE mailbox = ANY ($1::bigint[])";

const DELETE_MAILBOXES: &str = "DELETE FROM wormhole_mailboxes WHERE key = ANY ($1::bigint[])";

const DELETE_NAMEPLATES: &str = "
    DELETE FROM wormhole_nameplates AS plate
    USING unnest($1::bytea[], $2::bytea[]) AS named (app, name)
    WHERE plate.app = named.app AND plate.name = named.name";

const SAVE_NAMEPLATES: &str = "
    INSERT INTO wormhole_nameplates (app, name, mailbox, crowded,
        side_1, added_1, claimed_1, side_2, added_2, claimed_2)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::boolean[],
        $5::bytea[], $6::double precision[], $7::boolean[],
        $8::bytea[], $9::double precision[], $10::boolean[])
    ON CONFLICT (app, name) DO UPDATE SET mailbox = excluded.mailbox, crowded = excluded.crowded,
        side_1 = excluded.side_1, added_1 = excluded.added_1, claimed_1 = excluded.claimed_1,
        side_2 = excluded.side_2, added_2 = excluded.added_2, claimed_2 = excluded.claimed_2";

const SAVE_MAILBOXES: &str = "
    INSERT INTO wormhole_mailboxes (key, app, id, nameplate, messages, bytes, last_message, used,
        crowded, side_1, added_1, opened_1, mood_1, side_2, added_2, opened_2, mood_2)
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::double precision[], $9::boolean[],
        $10::bytea[], $11::double precision[], $12::boolean[], $13::bytea[],
        $14::bytea[], $15::double precision[], $16::boolean[], $17::bytea[])
    ON CONFLICT (key) DO UPDATE SET messages = excluded.messages, bytes = excluded.bytes,
        last_message = excluded.last_message, used = excluded.used, crowded = excluded.crowded,
        side_1 = excluded.side_1, added_1 = excluded.added_1, opened_1 = excluded.opened_1,
        mood_1 = excluded.mood_1, side_2 = excluded.side_2, added_2 = excluded.added_2,
        opened_2 = excluded.opened_2, mood_2 = excluded.mood_2";

const INSERT_MESSAGES: &str = "
    INSERT INTO wormhole_messages (mailbox, position, side, phase, body, client_id, server_rx)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[],
        $6::bytea[], $7::double precision[])";

const NOTIFY: &str = "SELECT pg_notify($1::text, payload) FROM unnest($2::text[]) AS payload";
