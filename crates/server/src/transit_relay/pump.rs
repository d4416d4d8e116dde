//! Carries the bytes of a pair, both ways, until one of the two leaves.
//!
//! Never more is read than the other side takes: a slow reader slows its partner and costs no
//! memory. Two TCP links are joined inside the kernel where it can do that ([`splice`]), others by
//! copying. A silent pair holds no buffer and no pipe.

mod copy;
#[cfg(target_os = "linux")]
mod splice;
mod web;

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::TcpStream;

use super::counters::Counters;
use super::link::{self, Link};
use super::meeting::Arrived;
use super::pace::Pace;
use web::End;

/// What all pumps share.
#[derive(Debug)]
pub(super) struct Tools {
    /// Zero is no limit.
    bytes_per_second: u64,
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
}

/// Counts and slows one direction.
#[derive(Debug)]
struct Meter<'a> {
    tools: &'a Tools,
    pace: Option<&'a Mutex<Pace>>,
    bytes: AtomicU64,
}

impl Tools {
    /// The tools of one relay. Zero `bytes_per_second` are no limit.
    pub(super) fn new(bytes_per_second: u64, counters: Arc<Counters>) -> Self {
        Self {
            bytes_per_second,
            counters,
            #[cfg(target_os = "linux")]
            pipes: splice::Pipes::default(),
        }
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
        let fair = self.tools.bytes_per_second / PIECES_PER_SECOND;
        let fair = usize::try_from(fair).unwrap_or(MAX_PIECE).clamp(MIN_PIECE, MAX_PIECE);
        if self.pace.is_some() { fair } else { MAX_PIECE }
    }

    /// Takes note of bytes handed on.
    fn count(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tools.counters.carried(bytes);
        bytes
    }

    /// Until when to pause after these bytes.
    fn until_paid(&self, bytes: u64) -> Option<Instant> {
        let mut pace = self.pace?.lock().unwrap_or_else(PoisonError::into_inner);
        pace.carried(bytes, Instant::now())
    }

    /// Takes note of bytes handed on, and pauses if they came too fast.
    async fn carried(&self, bytes: usize) {
        let pause = self.until_paid(self.count(bytes));
        if let Some(until) = pause {
            // Boxed: a timer is large, and most pairs never need one.
            Box::pin(tokio::time::sleep_until(until.into())).await;
        }
    }
}

/// Greets both links and carries until the pair is over. The links are still to be
/// [parted](part) from.
pub(super) async fn carry(first: &mut Arrived, second: &mut Arrived, tools: &Tools) -> Carried {
    let limited = tools.bytes_per_second > 0;
    let pace = limited.then(|| Mutex::new(Pace::new(tools.bytes_per_second, Instant::now())));
    let meter = || Meter { tools, pace: pace.as_ref(), bytes: AtomicU64::new(0) };
    let (there, back) = (meter(), meter());
    let to_first = first.words(&mut second.early, &back);
    let to_second = second.words(&mut first.early, &there);
    if let (Link::Tcp(one), Link::Tcp(two)) = (&first.link, &second.link) {
        // A failure shows again when bytes are to be carried.
        let _: io::Result<()> = link::write_all(one, &to_first.concat()).await;
        let _: io::Result<()> = link::write_all(two, &to_second.concat()).await;
        until_over(carry_tcp(one, two, &there), carry_tcp(two, one, &back)).await;
    } else {
        let (one, two) = (End::of(&first.link), End::of(&second.link));
        let both = async {
            one.greet(to_first).await;
            two.greet(to_second).await;
            until_over(web::carry(one, two, &there), web::carry(two, one, &back)).await;
        };
        // Boxed, so that pairs of plain links do not pay for its size.
        Box::pin(both).await;
    }
    Carried { from_first: there.bytes.into_inner(), from_second: back.bytes.into_inner() }
}

impl Arrived {
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

/// Ends both links, with what they have been sent still arriving.
pub(super) async fn part(first: Arrived, second: Arrived) {
    tokio::join!(first.link.finish(Vec::new()), second.link.finish(Vec::new()));
}

/// Runs both directions until one has ended and nothing more can be gained from the other.
async fn until_over(there: impl Future<Output = Stopped>, back: impl Future<Output = Stopped>) {
    let (mut there, mut back) = (pin!(there), pin!(back));
    tokio::select! {
        stopped = &mut there => if stopped == Stopped::SinkGone {
            back.await;
        },
        stopped = &mut back => if stopped == Stopped::SinkGone {
            there.await;
        },
    }
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
    match meter.tools.pipes.lease() {
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

/// Pieces in a second of a pair whose pace is limited.
const PIECES_PER_SECOND: u64 = 8;
