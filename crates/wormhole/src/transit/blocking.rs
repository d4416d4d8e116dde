//! The chosen connection on a thread that may block: the carrier of bulk data.
//!
//! Records are encrypted and written, or read and decrypted, in one buffer per direction: only the kernel copies file
//! data, and no memory is allocated per record.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::sleep;
use wormhole_magic::transit::record::{HEADER, record_length};
use wormhole_magic::transit::{Opener, Sealer};

use super::pipe::PipeError;
use crate::net::{LinkFailure, NetLink, Outbox, TcpInfo};
use crate::transfer::carrier::{Carrier, CarrierMonitor};

/// A pipe of records for its own thread.
pub(crate) struct BlockingPipe {
    stream: Stream,
    sealer: Sealer,
    opener: Opener,
    batch: Batch,
    inbox: Inbox,
    /// Bytes written to the stream so far.
    written: Arc<AtomicU64>,
}

impl BlockingPipe {
    /// Takes over a link. Must be called on the runtime that drives it.
    pub(super) fn new(
        link: NetLink,
        sealer: Sealer,
        opener: Opener,
        received: Vec<u8>,
    ) -> io::Result<Self> {
        let stream = match link {
            NetLink::Tcp(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                Stream::Tcp(stream)
            }
            link @ NetLink::WebSocket(_) => Stream::Async(AsyncStream {
                link,
                outbox: Outbox::default(),
                received: Vec::new(),
                patience: None,
                runtime: Handle::current(),
                aborted: Arc::new(Notify::new()),
            }),
        };
        let (batch, inbox) = (Batch::new(), Inbox::new(received));
        Ok(Self { stream, sealer, opener, batch, inbox, written: Arc::default() })
    }
}

impl Carrier for BlockingPipe {
    type Monitor = PipeMonitor;

    fn monitor(&self) -> io::Result<PipeMonitor> {
        match &self.stream {
            Stream::Tcp(stream) => {
                let acknowledged = TcpInfo::of(stream).map_or(0, |info| info.acknowledged);
                let (stream, written) = (stream.try_clone()?, Arc::clone(&self.written));
                Ok(PipeMonitor::Tcp { stream, written, acknowledged })
            }
            Stream::Async(stream) => {
                let (aborted, socket) = (Arc::clone(&stream.aborted), stream.link.inner_socket());
                Ok(PipeMonitor::Async { aborted, socket })
            }
        }
    }

    fn room(&mut self) -> Option<&mut [u8]> {
        self.batch.room()
    }

    fn add(&mut self, length: usize) -> Result<(), PipeError> {
        let end = self.batch.used + HEADER + length;
        let record =
            self.batch.buffer.get_mut(self.batch.used..end).ok_or(PipeError::TooLong(length))?;
        self.sealer.seal(record)?;
        self.batch.used = end;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PipeError> {
        let sealed = self.batch.buffer.get(..self.batch.used).unwrap_or_default();
        self.batch.used = 0;
        if sealed.is_empty() {
            return Ok(());
        }
        write_all(&mut self.stream, &self.written, sealed)
    }

    fn send(&mut self, record: &[u8]) -> Result<(), PipeError> {
        let record = self.sealer.seal_to_vec(record)?;
        write_all(&mut self.stream, &self.written, &record)
    }

    fn receive(&mut self) -> Result<&[u8], PipeError> {
        let range = loop {
            if let Some(range) = self.inbox.next_record()? {
                break range;
            }
            if self.inbox.fill(&mut self.stream).map_err(failure)? == 0 {
                return Err(LinkFailure::Closed.into());
            }
        };
        let record = self.inbox.buffer.get_mut(range).unwrap_or_default();
        Ok(self.opener.open(record)?)
    }

    fn try_receive(&mut self) -> Result<Option<&[u8]>, PipeError> {
        let mut range = self.inbox.next_record()?;
        if range.is_none() && self.stream.has_input(&mut self.inbox).map_err(failure)? {
            range = self.inbox.next_record()?;
        }
        let Some(range) = range else { return Ok(None) };
        let record = self.inbox.buffer.get_mut(range).unwrap_or_default();
        Ok(Some(self.opener.open(record)?))
    }

    fn wait(&mut self, patience: Duration) -> Result<bool, PipeError> {
        self.stream.set_patience(Some(patience)).map_err(failure)?;
        let outcome = self.inbox.fill(&mut self.stream);
        self.stream.set_patience(None).map_err(failure)?;
        match outcome {
            Ok(count) => Ok(count > 0),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }

    fn close(self) {
        match self.stream {
            // Errors do not matter, because the connection ends anyway.
            Stream::Tcp(stream) => drop(stream.shutdown(Shutdown::Write)),
            Stream::Async(mut stream) => {
                let runtime = stream.runtime;
                runtime.block_on(async {
                    tokio::select! {
                        () = poll_fn(|cx| stream.link.poll_close(cx)) => {}
                        () = stream.aborted.notified() => {}
                        // Everything was sent: do not wait for a relay that does not close the link.
                        () = sleep(CLOSE_TIMEOUT) => {}
                    }
                });
            }
        }
    }
}

/// Writes encrypted records. They are counted before they are written, so that the count is never less than the
/// acknowledged bytes.
fn write_all(stream: &mut Stream, written: &AtomicU64, bytes: &[u8]) -> Result<(), PipeError> {
    written.fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    stream.write_all(bytes).map_err(failure)
}

/// Watches a pipe from another thread.
#[derive(Debug)]
pub(crate) enum PipeMonitor {
    /// A link that only the runtime can drive.
    Async {
        /// Wakes up everything that waits for the link.
        aborted: Arc<Notify>,
        /// The socket below it, unless it leads to a SOCKS proxy.
        socket: Weak<TcpStream>,
    },
    /// A socket.
    Tcp {
        /// The socket itself.
        stream: TcpStream,
        /// Bytes written to it by the pipe.
        written: Arc<AtomicU64>,
        /// Bytes that were acknowledged before the first one of the pipe.
        acknowledged: u64,
    },
}

impl CarrierMonitor for PipeMonitor {
    /// The other end of the connection is the peer, or a relay.
    fn outstanding(&self) -> Option<u64> {
        let Self::Tcp { stream, written, acknowledged } = self else { return None };
        // In this order: bytes that are written after the query cannot be acknowledged in it.
        let info = TcpInfo::of(stream)?;
        let written = written.load(Ordering::Relaxed);
        Some(written.saturating_sub(info.acknowledged.saturating_sub(*acknowledged)))
    }

    /// A SOCKS proxy acknowledges everything itself, so a dead connection behind it is not noticed here.
    fn unanswered(&self) -> Option<Duration> {
        match self {
            Self::Tcp { stream, .. } => TcpInfo::of(stream)?.unanswered,
            Self::Async { socket, .. } => TcpInfo::of(socket.upgrade()?.as_ref())?.unanswered,
        }
    }

    fn abort(&self) {
        match self {
            Self::Async { aborted, .. } => aborted.notify_one(),
            // Fails if the connection has already ended.
            Self::Tcp { stream, .. } => drop(stream.shutdown(Shutdown::Both)),
        }
    }
}

/// Outgoing records: several per write, because system calls are expensive.
struct Batch {
    buffer: Vec<u8>,
    /// Bytes that contain encrypted records.
    used: usize,
}

impl Batch {
    fn new() -> Self {
        Self { buffer: Vec::new(), used: 0 }
    }

    /// Room for the plaintext of another record; `None` when the batch is full. Allocated on first use, because receivers
    /// need none.
    fn room(&mut self) -> Option<&mut [u8]> {
        if self.buffer.is_empty() {
            self.buffer.resize(BATCH * (HEADER + RECORD), 0);
        }
        let start = self.used + HEADER;
        self.buffer.get_mut(start..start + RECORD)
    }
}

/// Received bytes; those from `start` to `end` have not been decrypted.
struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    fn new(received: Vec<u8>) -> Self {
        let end = received.len();
        let mut buffer = received;
        buffer.resize(end.max(INBOX), 0);
        Self { buffer, start: 0, end }
    }

    /// The position of the next complete record, which is thereby consumed.
    fn next_record(&mut self) -> Result<Option<std::ops::Range<usize>>, PipeError> {
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(length) = record_length(waiting)? else { return Ok(None) };
        if waiting.len() < length {
            return Ok(None);
        }
        let range = self.start..self.start + length;
        self.start = range.end;
        Ok(Some(range))
    }

    /// Reads more bytes. Memory is only allocated for received bytes, never for announced ones.
    fn fill(&mut self, stream: &mut Stream) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        let count = stream.read(self.buffer.get_mut(self.end..).unwrap_or_default())?;
        self.end += count;
        Ok(count)
    }
}

enum Stream {
    Async(AsyncStream),
    Tcp(TcpStream),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Async(stream) => stream.read(buffer),
            Self::Tcp(stream) => loop {
                match stream.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => return outcome,
                }
            },
        }
    }

    /// Reads available bytes without waiting. Returns whether there were any.
    fn has_input(&mut self, inbox: &mut Inbox) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true)?,
            Self::Async(stream) => stream.patience = Some(Duration::ZERO),
        }
        let outcome = inbox.fill(self);
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(false)?,
            Self::Async(stream) => stream.patience = None,
        }
        match outcome {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the time limit for reading; unlimited by default.
    fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Async(stream) => {
                stream.patience = patience;
                Ok(())
            }
            Self::Tcp(stream) => stream.set_read_timeout(patience),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Async(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

/// A link that only the runtime can drive, such as a WebSocket.
struct AsyncStream {
    link: NetLink,
    outbox: Outbox,
    received: Vec<u8>,
    patience: Option<Duration>,
    runtime: Handle,
    aborted: Arc<Notify>,
}

impl AsyncStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.received.is_empty() {
            let (link, received) = (&mut self.link, &mut self.received);
            let outcome = self.runtime.block_on(async {
                tokio::select! {
                    outcome = poll_fn(|cx| link.poll_receive(cx, received)) => outcome,
                    () = self.aborted.notified() => Err(LinkFailure::Closed),
                    () = pass(self.patience) => Err(LinkFailure::TimedOut),
                }
            });
            match outcome {
                Ok(()) => {}
                Err(LinkFailure::Closed) => return Ok(0),
                Err(LinkFailure::TimedOut) => return Err(io::ErrorKind::TimedOut.into()),
                Err(failure) => return Err(io::Error::other(failure)),
            }
        }
        let count = self.received.len().min(buffer.len());
        for (to, byte) in buffer.iter_mut().zip(self.received.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.outbox.push(bytes.to_vec());
        let (link, outbox) = (&mut self.link, &mut self.outbox);
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                outcome = poll_fn(|cx| link.poll_send(cx, outbox)) => outcome,
                () = self.aborted.notified() => Err(LinkFailure::Closed),
            }
        });
        outcome.map_err(io::Error::other)
    }
}

/// Waits for this time; indefinitely without one.
async fn pass(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Whether reading timed out. Systems report different errors.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn failure(error: io::Error) -> PipeError {
    PipeError::Link(error.kind().into())
}

/// Time limit for closing the link to a WebSocket relay.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Plaintext bytes of the records that we send. Python's receiver is slower with much longer ones.
const RECORD: usize = 64 << 10;

/// Number of records per write.
const BATCH: usize = 4;

/// Initial size of the receive buffer in bytes. It grows for longer records.
const INBOX: usize = 512 << 10;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use socket2::{SockFilter, SockRef};
    use tokio::net::TcpListener;
    use tokio::time::Instant;
    use wormhole_kit::Secret;
    use wormhole_magic::transit::{Role, TransitKey};

    use super::*;
    use crate::net::{Frames, Route, WebSocket};

    #[tokio::test]
    async fn a_dead_link_below_a_websocket_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let route = Route::default();
        let (ours, theirs) =
            tokio::join!(WebSocket::connect(&url, &route, Frames::Binary, 1 << 16), async {
                tokio_tungstenite::accept_async(listener.accept().await.unwrap().0).await
            },);
        let (mut link, theirs) = (NetLink::WebSocket(Box::new(ours.unwrap())), theirs.unwrap());
        // From here on the other end hears nothing, as if the cable had been pulled.
        let drop_all = SockFilter::new(0x06, 0, 0, 0);
        SockRef::from(theirs.get_ref()).attach_filter(&[drop_all]).unwrap();
        let mut outbox = Outbox::default();
        outbox.push(vec![7; 1000]);
        poll_fn(|cx| link.poll_send(cx, &mut outbox)).await.unwrap();

        let key = TransitKey::new(Secret::new([7; 32]));
        let (sealer, opener) = (Sealer::new(&key, Role::Sender), Opener::new(&key, Role::Receiver));
        let pipe = BlockingPipe::new(link, sealer, opener, Vec::new()).unwrap();
        let monitor = pipe.monitor().unwrap();
        let silence = Duration::from_millis(500);
        let deadline = Instant::now() + Duration::from_secs(10);
        while monitor.unanswered().is_none_or(|time| time < silence) {
            assert!(Instant::now() < deadline, "never noticed");
            sleep(Duration::from_millis(20)).await;
        }
        drop(pipe);
        assert_eq!(monitor.unanswered(), None, "the connection outlives its pipe");
    }
}
