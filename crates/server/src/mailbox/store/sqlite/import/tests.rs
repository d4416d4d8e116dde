//! Tests the import with tables like those of the Python server. `crates/cli/tests/interop` imports a database that
//! the Python server has created.

use std::path::PathBuf;

use super::*;

/// A temporary folder of one test, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("wormhole-import-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn target(&self) -> PathBuf {
        self.0.join("mailbox.sqlite")
    }

    /// A database of the Python server without rows.
    fn python(&self) -> (PathBuf, Connection) {
        let path = self.0.join("relay.sqlite");
        let database = Connection::open(&path).unwrap();
        let tables = "
            CREATE TABLE version (version INTEGER);
            INSERT INTO version VALUES (1);
            CREATE TABLE nameplates (
                id INTEGER PRIMARY KEY AUTOINCREMENT, app_id VARCHAR, name VARCHAR,
                mailbox_id VARCHAR, request_id VARCHAR
            );
            CREATE TABLE nameplate_sides (
                nameplates_id REFERENCES nameplates (id), claimed BOOLEAN, side VARCHAR, added INTEGER
            );
            CREATE TABLE mailboxes (
                app_id VARCHAR, id VARCHAR PRIMARY KEY, updated INTEGER, for_nameplate BOOLEAN
            );
            CREATE TABLE mailbox_sides (
                mailbox_id REFERENCES mailboxes (id), opened BOOLEAN, side VARCHAR, added INTEGER,
                mood VARCHAR
            );
            CREATE TABLE messages (
                app_id VARCHAR, mailbox_id VARCHAR, side VARCHAR, phase VARCHAR, body VARCHAR,
                server_rx INTEGER, msg_id VARCHAR
            );";
        database.execute_batch(tables).unwrap();
        (path, database)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

const NOW: UnixTime = UnixTime::from_secs(2000);

/// The rows that a query finds, as text.
fn rows(path: &Path, sql: &str) -> Vec<String> {
    let database = Connection::open(path).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn nameplates_mailboxes_and_messages_are_imported_in_order() {
    let folder = Folder::new("both");
    let (path, python) = folder.python();
    let batch = "
        INSERT INTO mailboxes VALUES ('app', 'box', 1000.5, 1);
        INSERT INTO nameplates (app_id, name, mailbox_id) VALUES ('app', '4', 'box');
        INSERT INTO nameplate_sides VALUES (1, 1, 'one', 1000.5);
        INSERT INTO mailbox_sides VALUES ('box', 1, 'one', 1000.5, NULL);
        INSERT INTO messages VALUES ('app', 'box', 'one', 'version', '0102', 1001.5, NULL);
        INSERT INTO messages VALUES ('app', 'box', 'one', 'pake', '00ff', 1000.75, 'abc');";
    python.execute_batch(batch).unwrap();
    drop(python);
    let imported = import(&path, &folder.target(), NOW).unwrap();
    assert_eq!(imported, Imported { nameplates: 1, mailboxes: 1, messages: 2 });
    let sql =
        "SELECT app || ' ' || name || ' ' || mailbox || ' ' || side_1 || ' ' || claimed_1 || ' '
        || crowded || ' ' || (side_2 IS NULL) FROM nameplates";
    assert_eq!(rows(&folder.target(), sql), ["app 4 box one 1 0 1"]);
    let sql =
        "SELECT app || ' ' || id || ' ' || nameplate || ' ' || messages || ' ' || bytes || ' '
        || opened_1 || ' ' || (mood_1 IS NULL) FROM mailboxes";
    // Names and contents, and the ids as JSON: "abc" and null.
    assert_eq!(rows(&folder.target(), sql), ["app box 4 2 28 1 1"]);
    let sql = "SELECT number || ' ' || side || ' ' || phase || ' ' || body || ' ' || id || ' '
        || server_rx FROM messages ORDER BY number";
    let expected = ["1 one pake 00ff \"abc\" 1000.75", "2 one version 0102 null 1001.5"];
    assert_eq!(rows(&folder.target(), sql), expected);
}

#[test]
fn a_released_nameplate_stays_released_and_a_third_side_stays_rejected() {
    let folder = Folder::new("released");
    let (path, python) = folder.python();
    let batch = "
        INSERT INTO mailboxes VALUES ('app', 'box', 1000, 1);
        INSERT INTO mailbox_sides VALUES ('box', 1, 'one', 1000, NULL);
        INSERT INTO mailbox_sides VALUES ('box', 0, 'two', 1001, 'happy');
        INSERT INTO mailbox_sides VALUES ('box', 1, 'three', 1002, NULL);";
    python.execute_batch(batch).unwrap();
    drop(python);
    let imported = import(&path, &folder.target(), NOW).unwrap();
    assert_eq!(imported, Imported { nameplates: 0, mailboxes: 1, messages: 0 });
    let sql =
        "SELECT side_1 || ' ' || opened_1 || ' ' || side_2 || ' ' || opened_2 || ' ' || mood_2
        || ' ' || crowded || ' [' || nameplate || ']' FROM mailboxes";
    assert_eq!(rows(&folder.target(), sql), ["one 1 two 0 happy 1 []"]);
}

#[test]
fn imported_mailboxes_count_as_used_now() {
    let folder = Folder::new("age");
    let (path, python) = folder.python();
    python.execute_batch("INSERT INTO mailboxes VALUES ('app', 'box', 1.0, 0)").unwrap();
    drop(python);
    import(&path, &folder.target(), NOW).unwrap();
    let sql = "SELECT updated || ' ' || (nameplate IS NULL) FROM mailboxes";
    assert_eq!(rows(&folder.target(), sql), ["2000.0 1"]);
}

#[test]
fn errors_for_files_that_cannot_be_imported_say_what_to_do() {
    let folder = Folder::new("refused");
    let refusal = |path: &Path| import(path, &folder.target(), NOW).unwrap_err().to_string();
    assert!(refusal(&folder.0.join("none")).contains("there is no such file"));
    let text = folder.0.join("text");
    std::fs::write(&text, "not a database, though it is long enough to be looked at as one")
        .unwrap();
    assert!(refusal(&text).contains("not a database"));
    let other = folder.0.join("other.sqlite");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    assert!(refusal(&other).contains("not a database of the Python mailbox server"));
    let ours = folder.0.join("ours.sqlite");
    drop(migrations::open(&ours).unwrap());
    assert!(refusal(&ours).contains("--mailbox-db"));
    let usage = folder.0.join("usage.sqlite");
    let tables = "CREATE TABLE version (version INTEGER); CREATE TABLE current (rebooted INTEGER)";
    Connection::open(&usage).unwrap().execute_batch(tables).unwrap();
    assert!(refusal(&usage).contains("usage-db"));
    let (path, python) = folder.python();
    python.execute_batch("UPDATE version SET version = 2").unwrap();
    drop(python);
    assert!(refusal(&path).contains("version 2"));
    assert!(!folder.target().exists(), "a failed import leaves an empty database behind");
}

#[test]
fn an_import_that_fails_in_the_middle_leaves_no_database_behind() {
    let folder = Folder::new("middle");
    let (path, python) = folder.python();
    python.execute_batch("DROP TABLE messages").unwrap();
    drop(python);
    assert!(import(&path, &folder.target(), NOW).is_err());
    assert!(!folder.target().exists());
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_can_be_imported() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new("latin");
    let (path, python) = folder.python();
    python.execute_batch("INSERT INTO mailboxes VALUES ('app', 'box', 1.0, 0)").unwrap();
    drop(python);
    let latin = folder.0.join(std::ffi::OsStr::from_bytes(b"caf\xe9.sqlite"));
    std::fs::rename(&path, &latin).unwrap();
    assert_eq!(import(&latin, &folder.target(), NOW).map(|it| it.mailboxes), Ok(1));
}

#[test]
fn a_database_that_is_not_empty_is_not_changed() {
    let folder = Folder::new("full");
    let (path, python) = folder.python();
    python.execute_batch("INSERT INTO mailboxes VALUES ('app', 'box', 1.0, 0)").unwrap();
    drop(python);
    import(&path, &folder.target(), NOW).unwrap();
    let refusal = import(&path, &folder.target(), NOW).unwrap_err().to_string();
    assert!(refusal.contains("holds mailboxes already"), "{refusal}");
    assert_eq!(rows(&folder.target(), "SELECT id FROM mailboxes"), ["box"]);
}

#[test]
fn a_database_that_a_server_uses_is_not_changed() {
    let folder = Folder::new("locked");
    let (path, python) = folder.python();
    drop(python);
    let _server = Lock::take(&folder.target()).unwrap();
    let refusal = import(&path, &folder.target(), NOW).unwrap_err().to_string();
    assert!(refusal.contains("in use by another process"), "{refusal}");
}
