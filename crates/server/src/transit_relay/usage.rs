//! Writes the usage records: SQLite tables as in the Python relay, and JSON lines.
//!
//! It uses its own thread, so that no connection waits for a disk. `wormhole_magic::relay::Usage` defines the
//! contents: no addresses, no tokens. Both files have a size limit.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};
use wormhole_kit::UnixTime;
use wormhole_magic::relay::{Record, Usage};

use super::counters::Statistics;
use crate::ServerError;
use crate::database::{create_file, is_over};

/// Writes records. [`UsageLog::close`] waits until all are on disk.
#[derive(Debug)]
pub(super) struct UsageLog {
    recorder: Recorder,
    thread: Option<JoinHandle<()>>,
}

/// Sends records to the writer.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    /// `None` if usage records are disabled.
    queue: Option<SyncSender<Entry>>,
    blur: Duration,
}

#[derive(Debug)]
enum Entry {
    Usage(Record),
    Statistics(Statistics, UnixTime),
    /// The last entry.
    End,
}

/// The destinations of records.
#[derive(Debug)]
struct Writer {
    db: Option<Connection>,
    log: Option<LogFile>,
    rebooted: UnixTime,
    /// Maximum size of each of them in bytes; 0 means unlimited.
    limit: u64,
}

/// The file of JSON lines.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl UsageLog {
    /// Opens or creates the configured database and log. Neither becomes larger than `limit` bytes; 0 means unlimited.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub(super) fn open(
        db: Option<&Path>,
        log: Option<&Path>,
        blur: Duration,
        limit: u64,
    ) -> Result<Self, ServerError> {
        if db.is_none() && log.is_none() {
            return Ok(Self { recorder: Recorder { queue: None, blur }, thread: None });
        }
        let mut writer = Writer {
            db: db.map(open_database).transpose()?,
            log: log.map(LogFile::open).transpose()?,
            rebooted: SystemTime::now().into(),
            limit,
        };
        let (sender, receiver) = sync_channel(MAX_QUEUE);
        let thread = std::thread::Builder::new()
            .name("relay-usage".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| ServerError::System(error.to_string()))?;
        Ok(Self { recorder: Recorder { queue: Some(sender), blur }, thread: Some(thread) })
    }

    /// Creates a recorder.
    pub(super) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Waits until all records are written.
    pub(super) async fn close(self) {
        let (Some(queue), Some(thread)) = (self.recorder.queue, self.thread) else { return };
        let end = move || {
            // An error means that the thread has ended already.
            let _ = queue.send(Entry::End);
            if thread.join().is_err() {
                tracing::error!("the thread that writes usage records has panicked");
            }
        };
        let _ = tokio::task::spawn_blocking(end).await;
    }
}

impl Recorder {
    /// Records the end of a pair or connection, now.
    pub(super) fn record(&self, usage: Usage) {
        self.send(|now, blur| Entry::Usage(usage.record(now, blur)));
    }

    /// Records the current statistics.
    pub(super) fn statistics(&self, statistics: Statistics) {
        self.send(|now, _| Entry::Statistics(statistics, now));
    }

    fn send(&self, entry: impl FnOnce(UnixTime, Duration) -> Entry) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(entry(SystemTime::now().into(), self.blur)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            // A slow disk must not stop the relay.
            Err(TrySendError::Full(_)) => {
                tracing::warn!("a usage record was dropped, because too many are waiting");
            }
        }
    }
}

impl Writer {
    /// Writes records until the end.
    fn run(&mut self, entries: &Receiver<Entry>) {
        let mut ended = false;
        while !ended && let Ok(first) = entries.recv() {
            let mut batch = vec![first];
            batch.extend(entries.try_iter().take(MAX_QUEUE));
            ended = batch.iter().any(|entry| matches!(entry, Entry::End));
            if let Err(error) = self.write_rows(&batch) {
                tracing::warn!(%error, "could not write usage records to the database");
            }
            if let Err(error) = self.write_lines(&batch) {
                tracing::warn!(%error, "could not write usage records to the log");
            }
        }
    }

    /// Writes a batch in one transaction: many short connections cost one flush.
    fn write_rows(&mut self, batch: &[Entry]) -> rusqlite::Result<()> {
        let Some(db) = &mut self.db else { return Ok(()) };
        let transaction = db.transaction()?;
        for entry in batch {
            match entry {
                Entry::Usage(record) => {
                    transaction.prepare_cached(INSERT_USAGE)?.execute(params![
                        record.started.as_secs_f64(),
                        record.total_time,
                        record.waiting_time,
                        record.total_bytes,
                        record.mood.as_str(),
                    ])?
                }
                Entry::Statistics(statistics, now) => {
                    transaction.execute("DELETE FROM `current`", [])?;
                    transaction.prepare_cached(INSERT_CURRENT)?.execute(params![
                        self.rebooted.as_secs(),
                        now.as_secs(),
                        statistics.connected,
                        statistics.waiting,
                        statistics.incomplete_bytes,
                    ])?
                }
                Entry::End => 0,
            };
        }
        transaction.commit()?;
        // New rows reuse the space.
        while is_over(db, self.limit)? && db.execute(DELETE_OLDEST_TENTH, [])? > 0 {}
        Ok(())
    }

    fn write_lines(&mut self, batch: &[Entry]) -> io::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        for entry in batch {
            if let Entry::Usage(record) = entry {
                let mut line = serde_json::to_vec(record)?;
                line.push(b'\n');
                log.append(&line, self.limit)?;
            }
        }
        Ok(())
    }
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, ServerError> {
        Self::open_or_create(path).map_err(|error| ServerError::Database {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    }

    fn open_or_create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    /// Appends a line. If the file would become too large, it is renamed to `FILE.old` first, and a new one begins.
    fn append(&mut self, line: &[u8], limit: u64) -> io::Result<()> {
        let more = u64::try_from(line.len()).unwrap_or(u64::MAX);
        // Both files together stay within the limit.
        if limit > 0 && self.bytes > 0 && self.bytes.saturating_add(more) > limit / 2 {
            let mut old = self.path.as_os_str().to_owned();
            old.push(".old");
            std::fs::rename(&self.path, old)?;
            *self = Self::open_or_create(&self.path)?;
        }
        self.bytes = self.bytes.saturating_add(more);
        self.file.write_all(line)
    }
}

/// Opens the database, or creates it with the tables of the Python relay.
fn open_database(path: &Path) -> Result<Connection, ServerError> {
    let refused =
        |reason: String| ServerError::Database { path: path.display().to_string(), reason };
    let prepare = || -> rusqlite::Result<(Connection, i64)> {
        create_file(path)?;
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY_TIME)?;
        // With WAL, readers do not block writing.
        db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        if !transaction.table_exists(None, "version")? {
            transaction.execute_batch(SCHEMA)?;
        }
        let version = transaction.query_row("SELECT version FROM version", [], |row| row.get(0))?;
        transaction.commit()?;
        Ok((db, version))
    };
    match prepare() {
        Ok((db, VERSION)) => Ok(db),
        Ok((_, version)) => Err(refused(format!(
            "has version {version}, but this server supports only version {VERSION}: use another file"
        ))),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// Maximum number of waiting entries: some seconds of a busy relay.
const MAX_QUEUE: usize = 4096;

/// How long to wait while readers of the statistics lock the database.
const BUSY_TIME: Duration = Duration::from_secs(5);

/// Version of the tables, as in the Python relay.
const VERSION: i64 = 1;

const INSERT_USAGE: &str = "INSERT INTO `usage` \
    (`started`, `total_time`, `waiting_time`, `total_bytes`, `result`) VALUES (?, ?, ?, ?, ?)";

const DELETE_OLDEST_TENTH: &str = "DELETE FROM `usage` WHERE rowid <= \
    (SELECT min(rowid) + (max(rowid) - min(rowid)) / 10 FROM `usage`)";

const INSERT_CURRENT: &str = "INSERT INTO `current` \
    (`rebooted`, `updated`, `connected`, `waiting`, `incomplete_bytes`) VALUES (?, ?, ?, ?, ?)";

/// Tables and columns as in the Python relay, so that its tools can read them. Times in seconds since 1970.
const SCHEMA: &str = "
    CREATE TABLE `version` (`version` INTEGER);
    INSERT INTO `version` VALUES (1);
    CREATE TABLE `current` (
        `rebooted` INTEGER, `updated` INTEGER,
        `connected` INTEGER, `waiting` INTEGER, `incomplete_bytes` INTEGER
    );
    CREATE TABLE `usage` (
        `started` INTEGER, `total_time` INTEGER, `waiting_time` INTEGER,
        `total_bytes` INTEGER, `result` VARCHAR
    );
    CREATE INDEX `usage_started_index` ON `usage` (`started`);
    CREATE INDEX `usage_result_index` ON `usage` (`result`);
";
