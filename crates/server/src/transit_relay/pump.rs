//! Forwards the data of a pair in both directions until one side closes.
//!
//! It reads no more than the other side accepts: a slow reader slows its partner down and uses no memory. Between two
//! TCP connections, data is forwarded inside the kernel if possible ([`splice`]), otherwise by copying. A silent pair
//! has no buffer and no pipe.
//!
//! When one side has closed, the other side receives the last bytes, and its own data is read and discarded, because
//! many programs do not read while they cannot write. [`ending`] limits the time for that; a side that makes progress
//! gets more time.

mod copy;
mod ending;
#[cfg(target_os = "linux")]
mod splice;
mod web;

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::counters::Counters;
use super::link::{self, RelayLink};
use super::pairing::Paired;
use super::rate::RateLimit;
use ending::Ending;
use web::End;

/// The context that all pairs share: limits, metrics and pipes.
#[derive(Debug)]
pub(super) struct PumpContext {
    /// Zero means unlimited.
    bytes_per_second: u64,
    /// How long a pair may last after one side has closed.
    last_bytes: ending::Limits,
    pub(super) counters: Arc<Counters>,
    #[cfg(target_os = "linux")]
    pipes: splice::Pipes,
}

/// Number of forwarded bytes of a pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Forwarded {
    /// From the first link to the second.
    pub(super) from_first: u64,
    /// From the second link to the first.
    pub(super) from_second: u64,
}

/// Why a direction stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stopped {
    /// The source has ended, and all its data was forwarded. The pair ends.
    SourceEnded,
    /// The other side does not accept data any more. The opposite direction may still have unsent data of it.
    SinkGone,
    /// The source has ended, and the other side did not accept the last bytes in time. The pair ends.
    TimedOut,
}

/// The shared state of the two directions of a pair.
#[derive(Debug)]
struct Pair<'a> {
    context: &'a PumpContext,
    rate: Option<Mutex<RateLimit>>,
    ending: Ending,
}

/// Counts and limits one direction.
#[derive(Debug)]
struct Meter<'a> {
    pair: &'a Pair<'a>,
    bytes: AtomicU64,
}

/// A finished pair.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) forwarded: Forwarded,
    pub(super) ending: Ending,
}

impl PumpContext {
    /// Creates the state of a relay. A `bytes_per_second` of zero means unlimited.
    pub(super) fn new(bytes_per_second: u64, counters: Arc<Counters>) -> Self {
        Self {
            bytes_per_second,
            last_bytes: LAST_BYTES,
            counters,
            #[cfg(target_os = "linux")]
            pipes: splice::Pipes::default(),
        }
    }

    /// Sets the total time limit for the last bytes.
    #[cfg(test)]
    pub(super) const fn last_bytes_within(&mut self, limit: Duration) {
        self.last_bytes = ending::Limits { silence: limit, total: limit };
    }

    /// Sets the time limit without progress for the last bytes.
    #[cfg(test)]
    pub(super) const fn silent_for(&mut self, limit: Duration) {
        self.last_bytes.silence = limit;
    }

    /// Disables splicing.
    #[cfg(test)]
    pub(super) fn copy_always(&self) {
        #[cfg(target_os = "linux")]
        self.pipes.disable();
    }
}

impl Meter<'_> {
    /// Maximum number of bytes between two pauses.
    fn max_piece(&self) -> usize {
        let fair = self.pair.context.bytes_per_second / PIECES_PER_SECOND;
        let fair = usize::try_from(fair).unwrap_or(MAX_PIECE).clamp(MIN_PIECE, MAX_PIECE);
        if self.pair.rate.is_some() { fair } else { MAX_PIECE }
    }

    /// Counts forwarded bytes.
    fn count(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pair.context.counters.forwarded(bytes);
        bytes
    }

    /// When to continue after these bytes; `None` means at once.
    fn pause_after(&self, bytes: u64) -> Option<Instant> {
        let mut rate = self.pair.rate.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        rate.forwarded(bytes, Instant::now())
    }

    /// Counts forwarded bytes of the `source`, and pauses if the rate is too high.
    async fn count_and_pause(&self, bytes: usize, source: End<'_>) {
        if let Some(until) = self.pause_after(self.count(bytes)) {
            if source.has_closed() {
                self.pair.ending.begin();
                self.pair.ending.progress(until.into());
            }
            // Boxed, because a timer is large and most pairs never need one.
            Box::pin(tokio::time::sleep_until(until.into())).await;
        }
    }

    /// Records that the other side accepted bytes of the `source`. After the end of the source, only this counts as
    /// progress: bytes in the other direction do not, because a half-closed connection may still accept them.
    fn record_progress(&self, source: End<'_>) {
        let ending = &self.pair.ending;
        if ending.has_begun() && source.has_closed() {
            ending.progress(Instant::now().into());
        }
    }

    /// Waits for the `write` of the source's bytes. There is no time limit while the source is open; after it has ended,
    /// [`Ending`] limits the time. The write reports [progress](Self::record_progress).
    async fn write_within_limit<E>(
        &self,
        source: End<'_>,
        write: impl Future<Output = Result<(), E>>,
    ) -> Result<(), Stopped> {
        let ending = &self.pair.ending;
        if ending.is_over() {
            return Err(Stopped::TimedOut);
        }
        let mut write = pin!(write);
        tokio::select! {
            biased;
            written = &mut write => return written.map_err(|_| Stopped::SinkGone),
            () = source.closed() => ending.begin(),
        }
        let written = ending.limit(write).await.ok_or(Stopped::TimedOut)?;
        written.map_err(|_| Stopped::SinkGone)
    }
}

/// Sends the greetings and forwards data until the pair ends. Then the caller must [close](close_pair) the connections.
pub(super) async fn forward(
    first: &mut Paired,
    second: &mut Paired,
    context: &PumpContext,
) -> Finished {
    let limited = context.bytes_per_second > 0;
    let rate =
        limited.then(|| Mutex::new(RateLimit::new(context.bytes_per_second, Instant::now())));
    let pair = Pair { context, rate, ending: Ending::new(context.last_bytes) };
    let meter = || Meter { pair: &pair, bytes: AtomicU64::new(0) };
    let (there, back) = (meter(), meter());
    let to_first = first.first_messages(&mut second.early, &back);
    let to_second = second.first_messages(&mut first.early, &there);
    let ends = (End::of(&first.link), End::of(&second.link));
    if let (RelayLink::Tcp(one), RelayLink::Tcp(two)) = (&first.link, &second.link) {
        // An error occurs again when data is forwarded.
        let _: io::Result<()> = link::write_all(one, &to_first.concat(), || {}).await;
        let _: io::Result<()> = link::write_all(two, &to_second.concat(), || {}).await;
        let (there, back) = (forward_tcp(one, two, &there), forward_tcp(two, one, &back));
        run_until_closed(there, back, ends, &pair.ending).await;
    } else {
        let (one, two) = ends;
        let both = async {
            one.greet(to_first).await;
            two.greet(to_second).await;
            let (there, back) = (web::forward(one, two, &there), web::forward(two, one, &back));
            run_until_closed(there, back, ends, &pair.ending).await;
        };
        // Boxed, so that pairs of plain connections do not need its memory.
        Box::pin(both).await;
    }
    let forwarded =
        Forwarded { from_first: there.bytes.into_inner(), from_second: back.bytes.into_inner() };
    Finished { forwarded, ending: pair.ending }
}

impl Paired {
    /// The first messages for this side: its greeting, then its partner's early data.
    fn first_messages(&mut self, early: &mut Vec<u8>, meter: &Meter<'_>) -> Vec<Vec<u8>> {
        let mut messages = std::mem::take(&mut self.greeting);
        if !early.is_empty() {
            meter.count(early.len());
            messages.push(std::mem::take(early));
        }
        messages
    }
}

/// Closes both connections. Sent data still arrives, unless the time limit has been exceeded.
pub(super) async fn close_pair(first: Paired, second: Paired, ending: Ending) {
    if ending.is_over() {
        first.link.reset();
        second.link.reset();
    } else {
        tokio::join!(first.link.finish(Vec::new()), second.link.finish(Vec::new()));
    }
}

/// Runs both directions until one has ended and the other one cannot continue.
async fn run_until_closed(
    there: impl Future<Output = Stopped>,
    back: impl Future<Output = Stopped>,
    (first, second): (End<'_>, End<'_>),
    ending: &Ending,
) {
    let (mut there, mut back) = (pin!(there), pin!(back));
    tokio::select! {
        stopped = &mut there => if stopped == Stopped::SinkGone {
            Box::pin(last_bytes(back, first, ending)).await;
        },
        stopped = &mut back => if stopped == Stopped::SinkGone {
            Box::pin(last_bytes(there, second, ending)).await;
        },
    }
}

/// Forwards the last data of a closed connection to the side that is still open, and discards that side's own data: it
/// may write before it reads.
async fn last_bytes(forward: impl Future<Output = Stopped>, open_side: End<'_>, ending: &Ending) {
    let both = async {
        let discard = async {
            open_side.discard().await;
            // This side has closed its own direction, but may still be reading.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = forward => {}
            () = discard => {}
        }
    };
    ending.limit(both).await;
}

/// Forwards one direction between plain connections.
async fn forward_tcp(source: &TcpStream, sink: &TcpStream, meter: &Meter<'_>) -> Stopped {
    loop {
        if link::readable(source).await.is_err() {
            return Stopped::SourceEnded;
        }
        // Boxed, so that a silent pair does not need its memory.
        if let Err(stopped) = Box::pin(burst(source, sink, meter)).await {
            return stopped;
        }
    }
}

/// Moves all available data.
#[cfg(target_os = "linux")]
async fn burst(source: &TcpStream, sink: &TcpStream, meter: &Meter<'_>) -> Result<(), Stopped> {
    match meter.pair.context.pipes.lease() {
        Some(pipe) => splice::burst(source, sink, pipe, meter).await,
        None => copy::burst(source, sink, meter).await,
    }
}

/// Moves all available data.
#[cfg(not(target_os = "linux"))]
async fn burst(source: &TcpStream, sink: &TcpStream, meter: &Meter<'_>) -> Result<(), Stopped> {
    copy::burst(source, sink, meter).await
}

/// Maximum number of bytes to move at once: a full pipe.
const MAX_PIECE: usize = 1 << 20;

/// Minimum number of bytes to move at once, for slow limits.
const MIN_PIECE: usize = 4 << 10;

/// Number of pieces per second of a pair with a rate limit.
const PIECES_PER_SECOND: u64 = 8;

/// How long a pair may last after one side has closed. A side that accepts nothing for 30 seconds has vanished too. The
/// system buffers at most a few megabytes per connection; sending them takes minutes on a slow connection.
const LAST_BYTES: ending::Limits =
    ending::Limits { silence: Duration::from_secs(30), total: Duration::from_secs(600) };
