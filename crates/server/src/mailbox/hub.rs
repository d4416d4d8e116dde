//! The links' access to the store, which one thread owns.
//!
//! The thread takes all waiting requests as one batch, stores them in one transaction, and then answers them. While one
//! batch is written to disk, requests for the next batch accumulate, so a busier server needs fewer writes per request.
//! All answers and messages of a batch are passed to the links' threads at once: waking each link from the store's
//! thread would cost more than storing its request.

mod listeners;
mod maintenance;
mod queue;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{Identity, Request, RequestId};

use super::inbox::Inbox;
use super::wake::Changed;
use crate::ServerError;
use listeners::Delivery;
use queue::{ClientRequest, Queue};
pub(super) use worker::Parts;
use worker::StoreWorker;

/// A handle to the store's thread.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    queue: Arc<Queue>,
    records_clients: bool,
    /// Interrupts the store while it waits for a lost database.
    stop: CancellationToken,
}

/// Receives the reason if the thread has ended early.
pub(super) type Failed = oneshot::Receiver<ServerError>;

impl Hub {
    /// Starts the thread. It ends after [`Hub::close`], once all earlier requests have been handled. It also ends when
    /// the database is lost; then the receiver gets the reason.
    ///
    /// A task delivers the answers, so this must be called inside a tokio runtime.
    pub(super) fn start(parts: Parts) -> std::io::Result<(Self, JoinHandle<()>, Failed)> {
        let queue = Arc::new(Queue::default());
        let hub = Self {
            queue: Arc::clone(&queue),
            records_clients: parts.usage.is_some(),
            stop: parts.store.stop_signal(),
        };
        let (deliveries, receiver) = mpsc::channel(UNDELIVERED_BATCHES);
        let thread = std::thread::Builder::new().name("mailbox store".into());
        let (fail, failed) = oneshot::channel();
        let handle = thread.spawn(move || {
            if let Err(error) = StoreWorker::new(parts).run(&queue, &deliveries) {
                tracing::error!(%error, "the mailbox server stops because its database is lost");
                // If the service has ended already, nobody needs the reason.
                let _ = fail.send(error);
            }
        })?;
        // Ends with the thread.
        tokio::spawn(deliver(receiver));
        Ok((hub, handle, failed))
    }

    /// Whether the statistics record clients.
    pub(super) const fn records_clients(&self) -> bool {
        self.records_clients
    }

    /// Sends a request to the store. The answer goes to the inbox.
    pub(super) fn request(
        &self,
        inbox: &Arc<Inbox>,
        client: &Arc<Identity>,
        id: RequestId,
        request: Request,
    ) {
        let share = inbox.share(request.bytes());
        let (inbox, client) = (Arc::clone(inbox), Arc::clone(client));
        let request = ClientRequest { inbox, client, id, request, share };
        self.queue.push(|pending| pending.requests.push(request));
    }

    /// Removes a link from the listeners. It must make no more requests.
    pub(super) fn disconnect(&self, link: u64) {
        self.queue.push(|pending| pending.disconnected.push(link));
    }

    /// Reads and delivers messages that other nodes have added to these mailboxes.
    pub(super) fn fetch_changed(&self, changed: Changed) {
        if !changed.is_nothing() {
            self.queue.push(|pending| pending.changed.merge(changed));
        }
    }

    /// Reads and delivers messages that other nodes have added to any mailbox.
    pub(super) fn fetch_all(&self) {
        self.fetch_changed(Changed::Everything);
    }

    /// Makes the store's thread return unused memory to the system.
    pub(super) fn release_memory(&self) {
        self.queue.push(|pending| pending.release_memory = true);
    }

    /// Ends the thread once it has handled all waiting requests. It then no longer waits for a lost database.
    pub(super) fn close(&self) {
        self.queue.close();
        self.stop.cancel();
    }
}

/// Puts the events of each batch into the inboxes. It runs on the links' threads, so the store's thread wakes only one
/// task per batch.
async fn deliver(mut batches: mpsc::Receiver<Vec<Delivery>>) {
    while let Some(batch) = batches.recv().await {
        batch.into_iter().for_each(Delivery::deliver);
    }
}

/// Number of batches that may wait to be delivered. If there are more, the store's thread waits.
const UNDELIVERED_BATCHES: usize = 2;

/// The current time for records and frames.
pub(super) fn unix_now() -> UnixTime {
    std::time::SystemTime::now().into()
}

#[cfg(test)]
mod simulation;
