//! The archive of a mail server in SQLite, on a thread of its own: bounded by age and bytes.
//!
//! It keeps what every node sees, and nothing that a node does not see. What waits to be kept is
//! bounded; what comes faster than the disk takes it is lost, and counted in the log.

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

use super::{ArchiveSettings, StartError};

/// The archive, for those who use it.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    jobs: mpsc::Sender<Job>,
    count: Arc<AtomicU64>,
}

/// What is asked of the thread.
#[derive(Debug)]
enum Job {
    Keep(Envelope),
    Page { request: Box<ArchiveRequest>, after: Option<Place>, reply: oneshot::Sender<Page> },
}

/// Where an envelope stands: [`ArchiveKey::to_bytes`].
type Place = [u8; 36];

/// A part of an answer.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) envelopes: Vec<Envelope>,
    /// From where to go on, if there may be more.
    pub(super) after: Option<Place>,
}

impl Archive {
    /// Opens the database, making it if needed. The thread ends with the last clone.
    pub(super) fn open(
        path: &Path,
        settings: &ArchiveSettings,
    ) -> Result<(Self, JoinHandle<()>), StartError> {
        let count = Arc::new(AtomicU64::new(0));
        let database = Connection::open(path).map_err(broken)?;
        let store = Store::open(database, settings, Arc::clone(&count)).map_err(broken)?;
        let (jobs, received) = mpsc::channel(MAX_JOBS);
        let thread = Builder::new().name("whisper archive".into());
        let thread = thread.spawn(move || store.serve(received));
        let thread = thread.map_err(|error| StartError::Data(error.kind()))?;
        Ok((Self { jobs, count }, thread))
    }

    /// Keeps an envelope soon. Returns whether there was room.
    pub(super) fn keep(&self, envelope: &Envelope) -> bool {
        self.jobs.try_send(Job::Keep(envelope.clone())).is_ok()
    }

    /// A part of the answer to a request, behind a place. `None` if the archive is gone.
    pub(super) async fn page(self, request: ArchiveRequest, after: Option<Place>) -> Option<Page> {
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

/// The open database.
struct Store {
    database: Connection,
    max_age: Duration,
    max_bytes: u64,
    bytes: u64,
    count: Arc<AtomicU64>,
    next_expiry: Instant,
}

impl Store {
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

    /// Does what is asked until nobody can ask any more: all that waits with one commit.
    fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let rest = std::iter::from_fn(|| jobs.try_recv().ok()).take(BATCH);
            if let Err(error) = self.batch(std::iter::once(first).chain(rest)) {
                tracing::warn!(%error, "archive failed");
                if !self.database.is_autocommit() {
                    let _worse = self.database.execute_batch("ROLLBACK");
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
                    // Whoever asked may be gone.
                    let _unheard = reply.send(self.page(&request, after)?);
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

    fn page(&self, request: &ArchiveRequest, after: Option<Place>) -> rusqlite::Result<Page> {
        let oldest = request.from.max(self.oldest());
        let start = after.map_or_else(|| oldest.to_be_bytes().to_vec(), |place| place.to_vec());
        // Longer than any place that begins with this second.
        let end = [&request.until.to_be_bytes()[..], &[0xff; 33]].concat();
        let sql = "SELECT place, envelope FROM envelopes WHERE place > ? AND place < ? \
                   ORDER BY place LIMIT ?";
        let mut select = self.database.prepare_cached(sql)?;
        let mut rows = select.query(params![start, end, MAX_ROWS])?;
        let mut page = Page { envelopes: Vec::new(), after: None };
        let (mut seen, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            seen += 1;
            let place: Place = row.get(0)?;
            let encoded = row.get_ref(1)?.as_blob()?;
            // What does not parse was not written by us.
            if let Ok(envelope) = Envelope::parse(encoded)
                && request.wants(&envelope)
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

    /// Forgets what is too old, now and then, and the oldest when there is too much.
    fn expire(&mut self) -> rusqlite::Result<()> {
        if Instant::now() >= self.next_expiry {
            self.next_expiry = Instant::now() + EXPIRY_INTERVAL;
            let oldest = self.oldest().to_be_bytes();
            while self.forget_oldest(Some(&oldest))? {}
        }
        while self.bytes > self.max_bytes && self.forget_oldest(None)? {}
        Ok(())
    }

    /// Forgets the oldest one, if it comes before `before`. Returns whether there was one.
    fn forget_oldest(&mut self, before: Option<&[u8]>) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM envelopes WHERE id = (SELECT id FROM envelopes ORDER BY place LIMIT 1) \
                   AND place < coalesce(?, x'ffffffffff') RETURNING length(envelope)";
        let mut delete = self.database.prepare_cached(sql)?;
        let gone: Option<u64> = delete.query_row([before], |row| row.get(0)).optional()?;
        let Some(gone) = gone else { return Ok(false) };
        self.bytes = self.bytes.saturating_sub(gone);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Ok(true)
    }

    /// The second before which nothing is kept.
    fn oldest(&self) -> u32 {
        let oldest = UnixTime::from(SystemTime::now()).saturating_sub(self.max_age);
        u32::try_from(oldest.as_secs()).unwrap_or(u32::MAX)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// SQLite's words name tables and files, never values.
fn broken(error: rusqlite::Error) -> StartError {
    StartError::Archive(error.to_string())
}

/// `place` sorts by time: see [`ArchiveKey`].
const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
    CREATE TABLE IF NOT EXISTS envelopes \
    (id INTEGER PRIMARY KEY, place BLOB NOT NULL UNIQUE, envelope BLOB NOT NULL); \
    PRAGMA user_version = 1;";

/// Jobs that wait for the thread.
const MAX_JOBS: usize = 4096;

/// Jobs after the first that share a commit.
const BATCH: usize = 1023;

/// Rows that are looked at for one page.
const MAX_ROWS: usize = 1000;

/// Bytes of envelopes after which a page is full.
const PAGE_BYTES: usize = 128 * 1024;

/// Time between two looks for what is too old.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
