//! Sources and destinations that continue only when the test allows it.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;

/// Gives a stream its contents. The stream ends when this value is dropped.
pub(crate) struct Feeder(UnboundedSender<io::Result<Vec<u8>>>);

/// A stream with this name, and its feeder.
pub(crate) fn fed(name: &str) -> (Feeder, Outgoing) {
    let (feeder, pieces) = unbounded_channel();
    let reader = Box::new(FedReader { pieces, rest: Vec::new() });
    (Feeder(feeder), Outgoing::Stream { name: name.to_owned(), reader })
}

impl Feeder {
    /// Lets the reader return these bytes.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        self.0.send(Ok(bytes.to_vec())).unwrap();
    }

    /// Lets the reader return this error once.
    pub(crate) fn fail(&self, kind: io::ErrorKind) {
        self.0.send(Err(kind.into())).unwrap();
    }
}

/// Accepts a stream, feeds its first byte, and waits until that has arrived.
pub(crate) async fn accept_first_byte(
    receiver: &mut Transfer,
    feeder: &Feeder,
    destination: Destination,
) {
    offer(receiver).await;
    receiver.accept(destination);
    feeder.feed(b"x");
    progress(receiver, 1).await;
}

struct FedReader {
    pieces: UnboundedReceiver<io::Result<Vec<u8>>>,
    /// What did not fit into the last buffer.
    rest: Vec<u8>,
}

impl Read for FedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

/// An operation of a writer.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Operation {
    Flush,
    Write,
}

/// Controls a writer that stops before its first operation of one kind.
pub(crate) struct Holder {
    reached: UnboundedReceiver<()>,
    /// Dropping it lets the writer continue.
    barrier: Option<mpsc::Sender<()>>,
    contents: Arc<Mutex<Vec<u8>>>,
    is_flushed: Arc<AtomicBool>,
}

/// A writer that stops before this operation, and its holder.
pub(crate) fn held(operation: Operation) -> (Holder, Destination) {
    let (reach, reached) = unbounded_channel();
    let (barrier, released) = mpsc::channel();
    let (contents, is_flushed) = (Arc::default(), Arc::default());
    let holder = Holder {
        reached,
        barrier: Some(barrier),
        contents: Arc::clone(&contents),
        is_flushed: Arc::clone(&is_flushed),
    };
    let writer = HeldWriter { operation, reach, released, contents, is_flushed };
    (holder, Destination::Writer(Box::new(writer)))
}

impl Holder {
    /// Waits until the writer has stopped.
    pub(crate) async fn until_reached(&mut self) {
        timeout(PATIENCE, self.reached.recv()).await.expect("the writer was not used").unwrap();
    }

    /// Lets the writer continue.
    pub(crate) fn release(&mut self) {
        self.barrier = None;
    }

    /// Everything that was written.
    pub(crate) fn contents(&self) -> Vec<u8> {
        self.contents.lock().unwrap().clone()
    }

    /// Whether a flush has succeeded.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed.load(Ordering::SeqCst)
    }
}

struct HeldWriter {
    operation: Operation,
    reach: UnboundedSender<()>,
    released: mpsc::Receiver<()>,
    contents: Arc<Mutex<Vec<u8>>>,
    is_flushed: Arc<AtomicBool>,
}

impl HeldWriter {
    fn hold(&self, operation: Operation) {
        if self.operation == operation {
            // The test may have ended.
            let _ended = self.reach.send(());
            let _released = self.released.recv();
        }
    }
}

impl Write for HeldWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hold(Operation::Write);
        self.contents.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hold(Operation::Flush);
        self.is_flushed.store(true, Ordering::SeqCst);
        Ok(())
    }
}
