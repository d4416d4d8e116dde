//! The tables of nameplates, mailboxes and messages, and their earlier versions.

use std::path::Path;

use rusqlite::Connection;

use super::import::Owner;
use crate::ServerError;
use crate::database::{self, Schema};

/// Opens the database; creates or upgrades it if needed.
pub(super) fn open(path: &Path) -> Result<Connection, ServerError> {
    database::open(path, Schema { steps: &STEPS, table: "nameplates", refusal })
}

/// Says why a file with other tables is not used.
fn refusal(database: &Connection) -> rusqlite::Result<String> {
    Ok(match Owner::of(database, "main")? {
        Owner::Python(_) => PYTHON.into(),
        Owner::Ours | Owner::Usage | Owner::Unknown => "not a database of this server".into(),
    })
}

/// The SQL statements that upgrade each version to the next one. The first creates version 1.
const STEPS: [&str; 1] = ["
    CREATE TABLE nameplates (
        app TEXT NOT NULL,
        name TEXT NOT NULL,
        mailbox TEXT NOT NULL,
        crowded INTEGER NOT NULL DEFAULT 0, -- a third side was refused
        side_1 TEXT,
        added_1 REAL, -- seconds since 1970
        claimed_1 INTEGER,
        side_2 TEXT,
        added_2 REAL,
        claimed_2 INTEGER,
        PRIMARY KEY (app, name)
    ) WITHOUT ROWID;
    CREATE TABLE mailboxes (
        key INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        id TEXT NOT NULL,
        nameplate TEXT, -- the one for which it was created, even if released
        messages INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        updated REAL NOT NULL, -- seconds since 1970
        crowded INTEGER NOT NULL DEFAULT 0,
        side_1 TEXT,
        added_1 REAL,
        opened_1 INTEGER,
        mood_1 TEXT,
        side_2 TEXT,
        added_2 REAL,
        opened_2 INTEGER,
        mood_2 TEXT,
        UNIQUE (app, id)
    );
    CREATE TABLE messages (
        mailbox INTEGER NOT NULL, -- key of its mailbox
        number INTEGER NOT NULL,
        side TEXT NOT NULL,
        phase TEXT NOT NULL,
        body TEXT NOT NULL,
        server_rx REAL NOT NULL, -- seconds since 1970
        id TEXT NOT NULL, -- JSON
        PRIMARY KEY (mailbox, number)
    ) WITHOUT ROWID;
"];

/// What to do with a database of the Python server.
const PYTHON: &str = "a database of the Python mailbox server: import it into a new one with \
     `wormhole-server import FILE`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_the_python_server_is_refused_with_the_command_that_imports_it() {
        let name = format!("wormhole-python-{}.sqlite", std::process::id());
        let file = std::env::temp_dir().join(name);
        let python = Connection::open(&file).unwrap();
        let tables = "CREATE TABLE version (version INTEGER); INSERT INTO version VALUES (1);
            CREATE TABLE nameplate_sides (x); CREATE TABLE mailbox_sides (x)";
        python.execute_batch(tables).unwrap();
        drop(python);
        let refusal = open(&file).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(refusal.contains("wormhole-server import"), "{refusal}");
    }
}
