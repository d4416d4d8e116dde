//! Forwards the data of a pair in both directions until one side closes.
//!
//! It reads no more than the other side accepts: a slow reader slows its partner down and uses no memory. Two TCP
//! connections are joined inside the kernel if possible ([`splice`]), others by copying. A silent pair has no buffer
//! and no pipe.
//!
//! When one side has closed, the other side receives the last bytes, and its own data is read and discarded, because
//! many programs do not read while they cannot write. [`ending`] limits the time for that: a side that makes progress
//! has more time.

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

/// The shared state of all pairs.
#[derive(Debug)]
pub(super) struct Tools {
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
pub(super) struct Carried {
    /// From the first link to the second.
    pub(super) from_first: u64,
    /// From the second link to the first.
    pub(super) from_second: u64,
}

/// Why a direction stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stopped {
    /// The source has ended, and all its data was forwarded. The pair is over.
    SourceEnded,
    /// The other side does not accept data any more. The opposite direction may still have its last
    /// data.
    SinkGone,
    /// The source has ended, and the other side did not accept the last bytes in time. The pair is over.
    TimedOut,
}

/// The shared state of the two directions of a pair.
#[derive(Debug)]
struct Pair<'a> {
    tools: &'a Tools,
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
    pub(super) carried: Carried,
    pub(super) ending: Ending,
}

impl Tools {
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
        self.pipes.give_up();
    }
}

impl Meter<'_> {
    /// Maximum number of bytes between two pauses.
    fn piece(&self) -> usize {
        let fair = self.pair.tools.bytes_per_second / PIECES_PER_SECOND;
        let fair = usize::try_from(fair).unwrap_or(MAX_PIECE).clamp(MIN_PIECE, MAX_PIECE);
        if self.pair.rate.is_some() { fair } else { MAX_PIECE }
    }

    /// Counts forwarded bytes.
    fn count(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pair.tools.counters.carried(bytes);
        bytes
    }

    /// When to continue after these bytes.
    fn until_paid(&self, bytes: u64) -> Option<Instant> {
        let mut rate = self.pair.rate.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        rate.carried(bytes, Instant::now())
    }

    /// Counts forwarded bytes of the `source`, and pauses if the rate is too high.
    async fn carried(&self, bytes: usize, source: End<'_>) {
        let pause = self.until_paid(self.count(bytes));
        if let Some(until) = pause {
            if source.has_closed() {
                self.pair.ending.begin();
                self.pair.ending.progress(until.into());
            }
            // Boxed, because a timer is large and most pairs never need one.
            Box::pin(tokio::time::sleep_until(until.into())).await;
        }
    }

    /// Records that the other side accepted bytes of the `source`. After the end of the source only this counts,
    /// because a half-closed connection may still accept bytes itself.
    fn taken(&self, source: End<'_>) {
        let ending = &self.pair.ending;
        if ending.has_begun() && source.has_closed() {
            ending.progress(Instant::now().into());
        }
    }

    /// Waits for the `write` of the source's bytes: without a limit while the source is open, and until the [`Ending`] is
    /// over after it has ended. The write reports [progress](Self::taken).
    async fn hand_on<E>(
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

/// Sends the greetings and forwards data until the pair is over. Then the connections must be
/// [closed](part).
pub(super) async fn carry(first: &mut Paired, second: &mut Paired, tools: &Tools) -> Finished {
    let limited = tools.bytes_per_second > 0;
    let rate = limited.then(|| Mutex::new(RateLimit::new(tools.bytes_per_second, Instant::now())));
    let pair = Pair { tools, rate, ending: Ending::new(tools.last_bytes) };
    let meter = || Meter { pair: &pair, bytes: AtomicU64::new(0) };
    let (there, back) = (meter(), meter());
    let to_first = first.words(&mut second.early, &back);
    let to_second = second.words(&mut first.early, &there);
    let ends = (End::of(&first.link), End::of(&second.link));
    if let (RelayLink::Tcp(one), RelayLink::Tcp(two)) = (&first.link, &second.link) {
        // An error occurs again when data is forwarded.
        let _: io::Result<()> = link::write_all(one, &to_first.concat(), || {}).await;
        let _: io::Result<()> = link::write_all(two, &to_second.concat(), || {}).await;
        let (there, back) = (carry_tcp(one, two, &there), carry_tcp(two, one, &back));
        until_over(there, back, ends, &pair.ending).await;
    } else {
        let (one, two) = ends;
        let both = async {
            one.greet(to_first).await;
            two.greet(to_second).await;
            let (there, back) = (web::carry(one, two, &there), web::carry(two, one, &back));
            until_over(there, back, ends, &pair.ending).await;
        };
        // Boxed, so that pairs of plain connections do not need its memory.
        Box::pin(both).await;
    }
    let carried =
        Carried { from_first: there.bytes.into_inner(), from_second: back.bytes.into_inner() };
    Finished { carried, ending: pair.ending }
}

impl Paired {
    /// The first messages for this side: its greeting, then its partner's early data.
    fn words(&mut self, early: &mut Vec<u8>, meter: &Meter<'_>) -> Vec<Vec<u8>> {
        let mut words = std::mem::take(&mut self.greeting);
        if !early.is_empty() {
            meter.count(early.len());
            words.push(std::mem::take(early));
        }
        words
    }
}

/// Closes both connections. Sent data still arrives, unless the time is over.
pub(super) async fn part(first: Paired, second: Paired, ending: Ending) {
    if ending.is_over() {
        first.link.reset();
        second.link.reset();
    } else {
        tokio::join!(first.link.finish(Vec::new()), second.link.finish(Vec::new()));
    }
}

/// Runs both directions until one has ended and the other one cannot continue.
async fn until_over(
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

/// Forwards the last data of a closed connection to the `survivor`, and discards the survivor's own data: it may
/// write before it reads.
async fn last_bytes(carry: impl Future<Output = Stopped>, survivor: End<'_>, ending: &Ending) {
    let both = async {
        let discard = async {
            survivor.discard().await;
            // It has closed its direction, but may still be reading.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = carry => {}
            () = discard => {}
        }
    };
    ending.limit(both).await;
}

/// Forwards one direction between plain connections.
async fn carry_tcp(source: &TcpStream, sink: &TcpStream, meter: &Meter<'_>) -> Stopped {
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
    match meter.pair.tools.pipes.lease() {
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

/// How long a pair may last after one side has closed. A side that accepts nothing for so long is gone too, and the
/// system buffers at most a few megabytes per connection, which take minutes on a slow connection.
const LAST_BYTES: ending::Limits =
    ending::Limits { silence: Duration::from_secs(30), total: Duration::from_secs(600) };
