//! Carries bytes inside the kernel: from a socket into a pipe and on into the other socket, without
//! ever copying them (Linux).
//!
//! Pipes cost descriptors, so they are lent for one burst at a time and their number is bounded.
//! Whoever finds none copies.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::web::End;
use super::{MAX_PIECE, Meter, Stopped, copy};

/// The pipes that are open, at work or idle.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    open: AtomicUsize,
    /// Set when the system turns out not to splice sockets.
    useless: AtomicBool,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A pipe lent for a burst. Goes back when dropped, unless something is left in it.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    left: usize,
}

impl Pipes {
    /// Lends an empty pipe; `None` if there are enough at work, or no descriptors left.
    pub(super) fn lease(&self) -> Option<Lease<'_>> {
        if self.useless.load(Ordering::Relaxed) {
            return None;
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let pipe = idle.or_else(|| self.create())?;
        Some(Lease { pipes: self, pipe: Some(pipe), left: 0 })
    }

    /// Lends no pipe any more.
    pub(super) fn give_up(&self) {
        self.useless.store(true, Ordering::Relaxed);
    }

    fn create(&self) -> Option<Pipe> {
        if self.open.fetch_add(1, Ordering::Relaxed) < MAX_PIPES
            && let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        {
            // Without it bursts are smaller: the system grants an unprivileged process only so much.
            let _: Result<usize, Errno> = fcntl_setpipe_size(&writer, MAX_PIECE);
            return Some(Pipe { reader, writer });
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn take_back(&self, pipe: Pipe) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(pipe);
        } else {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        match self.pipe.take() {
            Some(pipe) if self.left == 0 => self.pipes.take_back(pipe),
            // What is left belongs to one pair and must never reach another.
            _ => {
                self.pipes.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Lease<'_> {
    /// Fills the empty pipe with what there is. `None` if that is nothing yet.
    fn fill(&mut self, source: &TcpStream, most: usize) -> io::Result<Option<usize>> {
        let Some(pipe) = &self.pipe else { return Ok(None) };
        let moved = source.try_io(Interest::READABLE, || {
            Ok(splice(source, None, &pipe.writer, None, most, FLAGS)?)
        });
        match moved {
            Ok(count) => {
                self.left = count;
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Empties the pipe, waiting for the other side where it must, and says each time when that has
    /// `taken` something.
    async fn empty(&mut self, sink: &TcpStream, taken: impl Fn()) -> io::Result<()> {
        let Some(pipe) = &self.pipe else { return Ok(()) };
        while self.left > 0 {
            let left = self.left;
            let moved = sink.async_io(Interest::WRITABLE, || {
                Ok(splice(&pipe.reader, None, sink, None, left, FLAGS)?)
            });
            match moved.await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.left = left.saturating_sub(count),
            }
            taken();
        }
        Ok(())
    }
}

/// Moves what there is, until there is nothing more for the moment.
///
/// # Errors
/// The direction has stopped.
pub(super) async fn burst(
    source: &TcpStream,
    sink: &TcpStream,
    mut pipe: Lease<'_>,
    meter: &Meter<'_>,
) -> Result<(), Stopped> {
    let most = meter.piece();
    loop {
        let count = match pipe.fill(source, most) {
            Ok(Some(0)) => return Err(Stopped::SourceEnded),
            Ok(Some(count)) => count,
            Ok(None) => return Ok(()),
            Err(error) if is_unsupported(&error) => {
                pipe.pipes.give_up();
                return copy::burst(source, sink, meter).await;
            }
            Err(_) => return Err(Stopped::SourceEnded),
        };
        let from = End::Tcp(source);
        meter.hand_on(from, pipe.empty(sink, || meter.taken(from))).await?;
        meter.carried(count, from).await;
        // A pair that always has more must not keep its thread from the others.
        tokio::task::consume_budget().await;
    }
}

/// Whether the system cannot splice sockets at all, as in some sandboxes.
fn is_unsupported(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Move pages rather than copy them, and never wait.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Pipes that may be open. Our choice: each is two descriptors, and a relay with more directions at
/// work at once is bound by its memory bus anyway.
const MAX_PIPES: usize = 512;

/// Pipes that are kept for the next burst.
const MAX_IDLE: usize = 32;
