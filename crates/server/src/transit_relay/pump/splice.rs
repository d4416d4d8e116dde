//! Forwards data inside the kernel: from a socket into a pipe and into the other socket, without copying
//! (Linux).
//!
//! Pipes need descriptors, so they are leased for one burst at a time and their number is limited. Without a free
//! pipe, data is copied.

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

/// The open pipes, used or idle.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    open: AtomicUsize,
    /// Whether pipes are not used, because the system does not support splicing of sockets.
    disabled: AtomicBool,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A leased pipe. Returned when dropped, unless data is left in it.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    left: usize,
}

impl Pipes {
    /// Leases an empty pipe; `None` if too many are in use, or there are no descriptors.
    pub(super) fn lease(&self) -> Option<Lease<'_>> {
        if self.disabled.load(Ordering::Relaxed) {
            return None;
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let pipe = idle.or_else(|| self.create())?;
        Some(Lease { pipes: self, pipe: Some(pipe), left: 0 })
    }

    /// Stops leasing pipes.
    pub(super) fn disable(&self) {
        self.disabled.store(true, Ordering::Relaxed);
    }

    fn create(&self) -> Option<Pipe> {
        if self.open.fetch_add(1, Ordering::Relaxed) < MAX_PIPES
            && let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        {
            // Without this, bursts are smaller: unprivileged processes have a limit.
            let _: Result<usize, Errno> = fcntl_setpipe_size(&writer, MAX_PIECE);
            return Some(Pipe { reader, writer });
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn put_back(&self, pipe: Pipe) {
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
            Some(pipe) if self.left == 0 => self.pipes.put_back(pipe),
            // The data in the pipe belongs to this pair and must never reach another one.
            _ => {
                self.pipes.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Lease<'_> {
    /// Fills the empty pipe with available data. `None` if no data has arrived yet.
    fn fill(&mut self, source: &TcpStream, max: usize) -> io::Result<Option<usize>> {
        let Some(pipe) = &self.pipe else { return Ok(None) };
        let moved = source.try_io(Interest::READABLE, || {
            Ok(splice(source, None, &pipe.writer, None, max, FLAGS)?)
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

    /// Empties the pipe, waiting for the other side if necessary, and calls `on_progress` whenever it accepts
    /// data.
    async fn empty(&mut self, sink: &TcpStream, on_progress: impl Fn()) -> io::Result<()> {
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
            on_progress();
        }
        Ok(())
    }
}

/// Moves all available data.
///
/// # Errors
/// The direction has stopped.
pub(super) async fn burst(
    source: &TcpStream,
    sink: &TcpStream,
    mut pipe: Lease<'_>,
    meter: &Meter<'_>,
) -> Result<(), Stopped> {
    let max = meter.max_piece();
    loop {
        let count = match pipe.fill(source, max) {
            Ok(Some(0)) => return Err(Stopped::SourceEnded),
            Ok(Some(count)) => count,
            Ok(None) => return Ok(()),
            Err(error) if is_unsupported(&error) => {
                pipe.pipes.disable();
                return copy::burst(source, sink, meter).await;
            }
            Err(_) => return Err(Stopped::SourceEnded),
        };
        let from = End::Tcp(source);
        meter.write_within_limit(from, pipe.empty(sink, || meter.record_progress(from))).await?;
        meter.count_and_pause(count, from).await;
        // A busy pair must not block its thread.
        tokio::task::consume_budget().await;
    }
}

/// Whether the system does not support splicing of sockets, as in some sandboxes.
fn is_unsupported(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Move pages instead of copying them, and never wait.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Maximum number of open pipes: each needs two descriptors, and with more active directions memory bandwidth is the
/// limit anyway.
const MAX_PIPES: usize = 512;

/// Number of idle pipes to keep.
const MAX_IDLE: usize = 32;
