//! Carries the bytes of a pair, both ways, until one of the two leaves.
//!
//! Never more is read than the other side takes: a slow reader slows its partner and costs no
//! memory. Two TCP links are joined inside the kernel where it can do that ([`splice`]), others by
//! copying. A silent pair holds no buffer and no pipe.
//!
//! Once one side has gone, the other gets the last bytes, and whatever it sends meanwhile is read and
//! discarded: many programs read nothing while they cannot write. The [`ending`] bounds how long that
//! takes: a survivor that takes bytes has more time than one that does not.

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

/// What all pumps share.
#[derive(Debug)]
pub(super) struct Tools {
    /// Zero is no limit.
    bytes_per_second: u64,
    /// How long a pair may last after one of its links has gone.
    last_bytes: ending::Limits,
    pub(super) counters: Arc<Counters>,
    #[cfg(target_os = "linux")]
    pipes: splice::Pipes,
}

/// Bytes that went through a pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Carried {
    /// From the first link to the second.
    pub(super) from_first: u64,
    /// From the second link to the first.
    pub(super) from_second: u64,
}

/// Why one direction stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stopped {
    /// Nothing more will come; what came has been handed on. The pair is over.
    SourceEnded,
    /// The other side takes nothing any more. The opposite direction may still bring what that side
    /// sent last.
    SinkGone,
    /// The source has gone, and the other side did not take the last bytes in time. The pair is over.
    TimedOut,
}

/// What the two directions of a pair share.
#[derive(Debug)]
struct Pair<'a> {
    tools: &'a Tools,
    rate: Option<Mutex<RateLimit>>,
    ending: Ending,
}

/// Counts and slows one direction.
#[derive(Debug)]
struct Meter<'a> {
    pair: &'a Pair<'a>,
    bytes: AtomicU64,
}

/// A pair that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) carried: Carried,
    pub(super) ending: Ending,
}

impl Tools {
    /// The tools of one relay. Zero `bytes_per_second` are no limit.
    pub(super) fn new(bytes_per_second: u64, counters: Arc<Counters>) -> Self {
        Self {
            bytes_per_second,
            last_bytes: LAST_BYTES,
            counters,
            #[cfg(target_os = "linux")]
            pipes: splice::Pipes::default(),
        }
    }

    /// Another limit on how long a pair may last after one of its links has gone, whatever the other
    /// takes meanwhile.
    #[cfg(test)]
    pub(super) const fn last_bytes_within(&mut self, limit: Duration) {
        self.last_bytes = ending::Limits { silence: limit, total: limit };
    }

    /// Another limit on how long it may last while the other takes nothing.
    #[cfg(test)]
    pub(super) const fn silent_for(&mut self, limit: Duration) {
        self.last_bytes.silence = limit;
    }

    /// Never splices, as on a system that cannot.
    #[cfg(test)]
    pub(super) fn copy_always(&self) {
        #[cfg(target_os = "linux")]
        self.pipes.give_up();
    }
}

impl Meter<'_> {
    /// How many bytes may be moved between two pauses.
    fn piece(&self) -> usize {
        let fair = self.pair.tools.bytes_per_second / PIECES_PER_SECOND;
        let fair = usize::try_from(fair).unwrap_or(MAX_PIECE).clamp(MIN_PIECE, MAX_PIECE);
        if self.pair.rate.is_some() { fair } else { MAX_PIECE }
    }

    /// Takes note of bytes handed on.
    fn count(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pair.tools.counters.carried(bytes);
        bytes
    }

    /// Until when to pause after these bytes.
    fn until_paid(&self, bytes: u64) -> Option<Instant> {
        let mut rate = self.pair.rate.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        rate.carried(bytes, Instant::now())
    }

    /// Takes note of bytes of the `source` that were handed on, and pauses if they came too fast.
    async fn carried(&self, bytes: usize, source: End<'_>) {
        let pause = self.until_paid(self.count(bytes));
        if let Some(until) = pause {
            if source.has_closed() {
                self.pair.ending.begin();
                self.pair.ending.progress(until.into());
            }
            // Boxed: a timer is large, and most pairs never need one.
            Box::pin(tokio::time::sleep_until(until.into())).await;
        }
    }

    /// Takes note that the other side has taken some of the bytes of the `source`. After the end of the
    /// source only these count: a link that has gone halfway may still take bytes itself.
    fn taken(&self, source: End<'_>) {
        let ending = &self.pair.ending;
        if ending.has_begun() && source.has_closed() {
            ending.progress(Instant::now().into());
        }
    }

    /// Waits until the `write` of the source's bytes is done: as long as it takes while the source is
    /// there, and until the [`Ending`] is over when it has gone. The write says what is [taken](Self::taken).
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

/// Greets both links and carries until the pair is over. The links are still to be
/// [parted](part) from.
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
        // A failure shows again when bytes are to be carried.
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
        // Boxed, so that pairs of plain links do not pay for its size.
        Box::pin(both).await;
    }
    let carried =
        Carried { from_first: there.bytes.into_inner(), from_second: back.bytes.into_inner() };
    Finished { carried, ending: pair.ending }
}

impl Paired {
    /// What it is told first: its greeting, then what its partner sent early.
    fn words(&mut self, early: &mut Vec<u8>, meter: &Meter<'_>) -> Vec<Vec<u8>> {
        let mut words = std::mem::take(&mut self.greeting);
        if !early.is_empty() {
            meter.count(early.len());
            words.push(std::mem::take(early));
        }
        words
    }
}

/// Ends both links. What they have been sent still arrives, unless its time is over.
pub(super) async fn part(first: Paired, second: Paired, ending: Ending) {
    if ending.is_over() {
        first.link.reset();
        second.link.reset();
    } else {
        tokio::join!(first.link.finish(Vec::new()), second.link.finish(Vec::new()));
    }
}

/// Runs both directions until one has ended and nothing more can be gained from the other.
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

/// Carries what is left of a link that has gone to the `survivor`, and discards everything that the
/// survivor sends meanwhile: it may be waiting to write before it reads.
async fn last_bytes(carry: impl Future<Output = Stopped>, survivor: End<'_>, ending: &Ending) {
    let both = async {
        let discard = async {
            survivor.discard().await;
            // Having said its last, it may still be reading.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = carry => {}
            () = discard => {}
        }
    };
    ending.limit(both).await;
}

/// Carries one direction between plain links.
async fn carry_tcp(source: &TcpStream, sink: &TcpStream, meter: &Meter<'_>) -> Stopped {
    loop {
        if link::readable(source).await.is_err() {
            return Stopped::SourceEnded;
        }
        // Boxed, so that a silent pair does not pay for its size.
        if let Err(stopped) = Box::pin(burst(source, sink, meter)).await {
            return stopped;
        }
    }
}

/// Moves what there is, until there is nothing more for the moment.
#[cfg(target_os = "linux")]
async fn burst(source: &TcpStream, sink: &TcpStream, meter: &Meter<'_>) -> Result<(), Stopped> {
    match meter.pair.tools.pipes.lease() {
        Some(pipe) => splice::burst(source, sink, pipe, meter).await,
        None => copy::burst(source, sink, meter).await,
    }
}

/// Moves what there is, until there is nothing more for the moment.
#[cfg(not(target_os = "linux"))]
async fn burst(source: &TcpStream, sink: &TcpStream, meter: &Meter<'_>) -> Result<(), Stopped> {
    copy::burst(source, sink, meter).await
}

/// Most bytes moved at once: a full pipe.
const MAX_PIECE: usize = 1 << 20;

/// Fewest bytes moved at once, however slow the pair must be.
const MIN_PIECE: usize = 4 << 10;

/// Pieces in a second of a pair whose rate is limited.
const PIECES_PER_SECOND: u64 = 8;

/// How long a pair may last after one of its links has gone. Our choice: a peer that takes nothing for
/// so long has gone, too, and what the system holds for a link is a few megabytes, which take a slow
/// peer minutes.
const LAST_BYTES: ending::Limits =
    ending::Limits { silence: Duration::from_secs(30), total: Duration::from_secs(600) };
