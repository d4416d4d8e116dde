//! The archive of a mail server: a SQLite database on its own thread, limited in age and size.
//!
//! It contains encrypted envelopes only, as every node sees them. The queue of the thread is limited;
//! envelopes that arrive faster than the disk can write them are lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};
use wormhole_kit::UnixTime;
use wormhole_whisper::shh::{
    Envelope,
    archive::{ArchiveKey, ArchiveRequest},
};

use super::super::{ArchiveSettings, StartError};

/// A handle to the thread with the database. Clones use the same one.
#[derive(Clone, Debug)]
pub(in crate::node) struct ArchiveStore {
    jobs: mpsc::Sender<Job>,
    count: Arc<AtomicU64>,
}

/// A job for the thread.
#[derive(Debug)]
enum Job {
    Keep(Envelope),
    Page { request: Box<ArchiveRequest>, after: Option<Position>, reply: oneshot::Sender<Page> },
}

/// The position of an envelope in the order of the archive: [`ArchiveKey::to_bytes`].
type Position = [u8; 36];

/// A part of the reply to a request.
#[derive(Debug)]
pub(in crate::node) struct Page {
    pub(in crate::node) envelopes: Vec<Envelope>,
    /// The position after which to continue, if there may be more.
    pub(in crate::node) after: Option<Position>,
}

impl ArchiveStore {
    /// Opens the database, and creates it if needed. The thread ends when the last clone is dropped.
    pub(in crate::node) fn open(
        path: &Path,
        settings: &ArchiveSettings,
    ) -> Result<(Self, JoinHandle<()>), StartError> {
        let count = Arc::new(AtomicU64::new(0));
        let connection = Connection::open(path).map_err(cannot_open)?;
        let store =
            Database::open(connection, settings, Arc::clone(&count)).map_err(cannot_open)?;
        let (jobs, received) = mpsc::channel(MAX_JOBS);
        let thread = Builder::new().name("whisper archive".into());
        let thread = thread.spawn(move || store.serve(received));
        let thread = thread.map_err(|error| StartError::Data(error.kind()))?;
        Ok((Self { jobs, count }, thread))
    }

    /// Queues an envelope to be written. Returns whether there was room.
    pub(super) fn keep(&self, envelope: &Envelope) -> bool {
        self.jobs.try_send(Job::Keep(envelope.clone())).is_ok()
    }

    /// The part of the reply to a request after a position. `None` if the thread has ended.
    pub(in crate::node) async fn page(
        self,
        request: ArchiveRequest,
        after: Option<Position>,
    ) -> Option<Page> {
        let (reply, page) = oneshot::channel();
        let job = Job::Page { request: Box::new(request), after, reply };
        self.jobs.send(job).await.ok()?;
        page.await.ok()
    }

    /// Number of envelopes.
    pub(super) fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// The open database, on its thread.
struct Database {
    database: Connection,
    max_age: Duration,
    max_bytes: u64,
    bytes: u64,
    count: Arc<AtomicU64>,
    next_expiry: Instant,
}

impl Database {
    fn open(
        database: Connection,
        settings: &ArchiveSettings,
        count: Arc<AtomicU64>,
    ) -> rusqlite::Result<Self> {
        database.busy_timeout(Duration::from_secs(5))?;
        database.execute_batch(SCHEMA)?;
        let sql = "SELECT count(*), coalesce(sum(length(envelope)), 0) FROM envelopes";
        let (rows, bytes) = database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        count.store(rows, Ordering::Relaxed);
        let ArchiveSettings { max_age, max_bytes, .. } = *settings;
        let mut store =
            Self { database, max_age, max_bytes, bytes, count, next_expiry: Instant::now() };
        store.expire()?;
        Ok(store)
    }

    /// Executes jobs until the last handle is dropped. All jobs that wait share one commit.
    fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let rest = std::iter::from_fn(|| jobs.try_recv().ok()).take(BATCH);
            if let Err(error) = self.batch(std::iter::once(first).chain(rest)) {
                tracing::warn!(%error, "the archive cannot be read or written");
                if !self.database.is_autocommit() {
                    let _failed = self.database.execute_batch("ROLLBACK");
                }
            }
        }
    }

    fn batch(&mut self, jobs: impl Iterator<Item = Job>) -> rusqlite::Result<()> {
        self.database.execute_batch("BEGIN IMMEDIATE")?;
        for job in jobs {
            match job {
                Job::Keep(envelope) => self.keep(&envelope)?,
                Job::Page { request, after, reply } => {
                    // The link may have ended.
                    let _gone = reply.send(self.page(&request, after)?);
                }
            }
        }
        self.expire()?;
        self.database.execute_batch("COMMIT")
    }

    fn keep(&mut self, envelope: &Envelope) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO envelopes (place, envelope) VALUES (?, ?)";
        let mut insert = self.database.prepare_cached(sql)?;
        let place = ArchiveKey::of(envelope).to_bytes();
        if insert.execute(params![place, envelope.encoded()])? > 0 {
            self.bytes = self.bytes.saturating_add(length(envelope.encoded()));
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn page(&self, request: &ArchiveRequest, after: Option<Position>) -> rusqlite::Result<Page> {
        let oldest = request.from.max(self.oldest());
        let start = after.map_or_else(|| oldest.to_be_bytes().to_vec(), |place| place.to_vec());
        // Greater than every position in the last second.
        let end = [&request.until.to_be_bytes()[..], &[0xff; 33]].concat();
        let sql = "SELECT place, envelope FROM envelopes WHERE place > ? AND place < ? \
                   ORDER BY place LIMIT ?";
        let mut select = self.database.prepare_cached(sql)?;
        let mut rows = select.query(params![start, end, MAX_ROWS])?;
        let mut page = Page { envelopes: Vec::new(), after: None };
        let (mut seen, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            seen += 1;
            let place: Position = row.get(0)?;
            let encoded = row.get_ref(1)?.as_blob()?;
            // An envelope that does not parse was not written by this program.
            if let Ok(envelope) = Envelope::parse(encoded)
                && request.matches(&envelope)
            {
                bytes += encoded.len();
                page.envelopes.push(envelope);
            }
            if seen == MAX_ROWS || bytes >= PAGE_BYTES {
                page.after = Some(place);
                break;
            }
        }
        Ok(page)
    }

    /// Deletes envelopes that are too old, once in a while, and the oldest ones if there are too many.
    fn expire(&mut self) -> rusqlite::Result<()> {
        if Instant::now() >= self.next_expiry {
            self.next_expiry = Instant::now() + EXPIRY_INTERVAL;
            let oldest = self.oldest().to_be_bytes();
            while self.delete_oldest(Some(&oldest))? {}
        }
        while self.bytes > self.max_bytes && self.delete_oldest(None)? {}
        Ok(())
    }

    /// Deletes the oldest envelope, if it is before the position `before`. Returns whether there was one.
    fn delete_oldest(&mut self, before: Option<&[u8]>) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM envelopes WHERE id = (SELECT id FROM envelopes ORDER BY place LIMIT 1) \
                   AND place < coalesce(?, x'ffffffffff') RETURNING length(envelope)";
        let mut delete = self.database.prepare_cached(sql)?;
        let deleted: Option<u64> = delete.query_row([before], |row| row.get(0)).optional()?;
        let Some(deleted) = deleted else { return Ok(false) };
        self.bytes = self.bytes.saturating_sub(deleted);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Ok(true)
    }

    /// The second before which everything is deleted.
    fn oldest(&self) -> u32 {
        let oldest = UnixTime::from(SystemTime::now()).saturating_sub(self.max_age);
        u32::try_from(oldest.as_secs()).unwrap_or(u32::MAX)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The texts of SQLite contain names of tables and files, but no data.
fn cannot_open(error: rusqlite::Error) -> StartError {
    StartError::Archive(error.to_string())
}

/// `place` sorts by time: see [`ArchiveKey`].
const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
    CREATE TABLE IF NOT EXISTS envelopes \
    (id INTEGER PRIMARY KEY, place BLOB NOT NULL UNIQUE, envelope BLOB NOT NULL); \
    PRAGMA user_version = 1;";

/// Maximum number of jobs that wait for the thread.
const MAX_JOBS: usize = 4096;

/// Maximum number of jobs that share a commit with the first one.
const BATCH: usize = 1023;

/// Maximum number of rows that are read for one page.
const MAX_ROWS: usize = 1000;

/// Bytes of envelopes after which a page is full.
const PAGE_BYTES: usize = 128 * 1024;

/// Time between two searches for envelopes that are too old.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
