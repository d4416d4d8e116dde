//! Copies the databases of a server into another directory, even while the server uses them.
//!
//! Each copy is consistent: `SQLite` reads it in one transaction. A copy gets its final name when it is complete and on
//! the disk. State that a Whisper node has only in memory is not copied.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use wormhole_disk::{durable, private, with_suffix};

use crate::config::Settings;
use crate::database::SqlPath;
use crate::service::StoredFile;
use crate::{ServerError, mailbox};

/// One file to copy.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Item {
    from: PathBuf,
    /// Name relative to the target directory.
    name: PathBuf,
    is_database: bool,
}

/// Copies the files of these settings to `target`. Returns a line for each copy.
pub(crate) fn run(settings: &Settings, target: &Path) -> Result<String, ServerError> {
    let items = items(settings);
    for (number, item) in items.iter().enumerate() {
        if items.iter().take(number).any(|earlier| earlier.name == item.name) {
            let reason = "two databases have the same file name: rename one, so that the copies do not overwrite each other";
            return Err(error(&item.name, reason));
        }
    }
    let mut report = String::new();
    if settings.service::<mailbox::Config>().is_some_and(|config| config.db.file().is_none()) {
        report += "the mailbox's database is not copied: use pg_dump for PostgreSQL\n";
    }
    for item in items {
        let bytes = item.copy(target)?;
        report += &format!("{} ({bytes} bytes)\n", target.join(&item.name).display());
    }
    Ok(report)
}

fn items(settings: &Settings) -> Vec<Item> {
    let files = settings.services.iter().flat_map(|config| config.files());
    let item = |file: StoredFile| Item {
        name: name_of(&file.path, &settings.data),
        from: file.path,
        is_database: file.is_database,
    };
    files.map(item).collect()
}

/// The name of a copy: relative to the data directory, so that a server can start from the copies.
fn name_of(path: &Path, data: &Path) -> PathBuf {
    let below = path.strip_prefix(data).unwrap_or(path);
    let stays_inside = below.components().all(|part| matches!(part, Component::Normal(_)));
    if stays_inside {
        below.to_owned()
    } else {
        path.file_name().map(PathBuf::from).unwrap_or_default()
    }
}

impl Item {
    /// Copies the file and returns the size of the copy in bytes.
    fn copy(&self, target: &Path) -> Result<u64, ServerError> {
        let to = target.join(&self.name);
        if !self.from.is_file() {
            let reason = "there is no such file: use the same options as the running server, \
                          especially --data and --config";
            return Err(error(&self.from, reason));
        }
        let folder = to.parent().unwrap_or(target);
        private::create_directory(folder).map_err(|cause| error(folder, &cause.to_string()))?;
        if same_file(&self.from, &to) {
            return Err(error(&to, "this is the database itself: choose another directory"));
        }
        if std::fs::metadata(with_suffix(&to, "-wal")).is_ok_and(|log| log.len() > 0) {
            return Err(error(
                &to,
                "a running server uses this directory: choose another one for the copies",
            ));
        }
        let part = with_suffix(&to, ".part");
        // Remove an incomplete copy of an earlier attempt.
        let _ = std::fs::remove_file(&part);
        private::create_if_missing(&part).map_err(|cause| error(&part, &cause.to_string()))?;
        let copied = self.copy_and_rename(&part, &to);
        if copied.is_err() {
            // The error matters, not whether the incomplete copy could be removed.
            let _left_behind = std::fs::remove_file(&part);
        }
        copied
    }

    fn copy_and_rename(&self, part: &Path, to: &Path) -> Result<u64, ServerError> {
        if self.is_database {
            copy_database(&self.from, part)
                .map_err(|cause| error(&self.from, &cause.to_string()))?;
        } else {
            std::fs::copy(&self.from, part).map_err(|cause| error(to, &cause.to_string()))?;
        }
        finish(part, to).map_err(|cause| error(to, &cause.to_string()))
    }
}

/// Copies a database into an empty file.
fn copy_database(from: &Path, to: &Path) -> rusqlite::Result<()> {
    // Not read-only: reading the log of a killed server writes to its index.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(from, flags)?;
    database.busy_timeout(BUSY_TIMEOUT)?;
    database.execute("VACUUM INTO ?", [SqlPath(to)]).map(drop)
}

/// Flushes a complete copy and gives it its name. Returns its size.
fn finish(part: &Path, to: &Path) -> io::Result<u64> {
    durable::rename(part, to)?;
    Ok(std::fs::metadata(to)?.len())
}

fn same_file(one: &Path, two: &Path) -> bool {
    match (one.canonicalize(), two.canonicalize()) {
        (Ok(one), Ok(two)) => one == two,
        _ => false,
    }
}

fn error(path: &Path, reason: &str) -> ServerError {
    ServerError::Backup { path: path.display().to_string(), reason: reason.into() }
}

/// Time to wait for a server that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty folder, removed after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("wormhole-backup-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _left = std::fs::remove_dir_all(&self.0);
        }
    }

    fn item(from: PathBuf) -> Item {
        Item { from, name: "copy.sqlite".into(), is_database: true }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_unicode_gets_a_whole_copy() {
        use std::os::unix::ffi::OsStrExt;
        let folder = Folder::new("latin");
        let target = folder.0.join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        let from = folder.0.join("mailbox.sqlite");
        let tables = "CREATE TABLE a (b); INSERT INTO a VALUES (7);";
        Connection::open(&from).unwrap().execute_batch(tables).unwrap();
        assert!(item(from).copy(&target).unwrap() > 0);
        let copy = Connection::open(target.join("copy.sqlite")).unwrap();
        assert_eq!(copy.query_row("SELECT b FROM a", [], |row| row.get(0)), Ok(7));
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_copy_leaves_nothing_behind() {
        let folder = Folder::new("failed");
        let (from, target) = (folder.0.join("mailbox.sqlite"), folder.0.join("copies"));
        std::fs::write(&from, "not a database, but as long as the header of one".repeat(9))
            .unwrap();
        assert!(matches!(item(from).copy(&target), Err(ServerError::Backup { .. })));
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
    }

    #[test]
    fn copies_are_named_as_below_the_data_directory() {
        let name = |path: &str, data: &str| name_of(Path::new(path), Path::new(data));
        assert_eq!(name("./mailbox.sqlite", "."), Path::new("mailbox.sqlite"));
        assert_eq!(name("/data/whisper/nodekey", "/data"), Path::new("whisper/nodekey"));
        assert_eq!(name("/elsewhere/usage.sqlite", "/data"), Path::new("usage.sqlite"));
        assert_eq!(name("/data/../other.sqlite", "/data"), Path::new("other.sqlite"));
    }
}
