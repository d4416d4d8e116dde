//! Publishes the events of a wormhole to the status, which futures read, and to one subscriber.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};
use wormhole_magic::wormhole::Event;

use super::events::EventSender;
use super::status::Status;
use super::{Closed, Delegate, Error, PeerMisbehaved};
use crate::net::LinkFailure;

/// The receivers of events.
pub(super) struct Publisher {
    pub(super) status: watch::Sender<Status>,
    pub(super) subscriber: Subscriber,
    /// For dilation messages, if the wormhole can be dilated.
    pub(super) dilation: Option<mpsc::Sender<Vec<u8>>>,
}

/// The receiver of messages and of all other events.
pub(super) enum Subscriber {
    /// A delegate of the application.
    Delegate(Box<dyn Delegate>),
    /// A queue for all events.
    Events(EventSender),
    /// Messages wait for [`Wormhole::receive_message`](super::Wormhole::receive_message).
    Messages {
        /// The messages.
        queue: mpsc::UnboundedSender<Vec<u8>>,
        /// Bytes in the queue.
        unread: Arc<Unread>,
    },
}

/// Size of received messages that have not been read.
#[derive(Debug, Default)]
pub(super) struct Unread(AtomicUsize);

impl Unread {
    pub(super) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) -> usize {
        self.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

impl Publisher {
    /// Publishes an event; `failure` is the error of the last lost link.
    ///
    /// # Errors
    /// The peer sends messages faster than the application reads them, and the limit is exceeded.
    pub(super) fn publish(
        &mut self,
        event: Event,
        failure: Option<&LinkFailure>,
    ) -> Result<(), Error> {
        self.status.send_modify(|status| status.update(&event));
        if let Some(dilation) = &self.dilation
            && let Event::Dilation { plaintext, .. } = event
        {
            return match dilation.try_send(plaintext) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    Err(PeerMisbehaved::TooManyEarlyMessages.into())
                }
            };
        }
        match &mut self.subscriber {
            Subscriber::Delegate(delegate) => call(delegate.as_mut(), event, failure),
            Subscriber::Events(events) => events.send(event, failure),
            Subscriber::Messages { queue, unread } => {
                if let Event::Message(message) = event {
                    if unread.add(message.len()) > MAX_UNREAD {
                        return Err(PeerMisbehaved::TooManyEarlyMessages.into());
                    }
                    // The reader is gone: the wormhole is about to be closed.
                    let _unread = queue.send(message);
                }
            }
        }
        Ok(())
    }

    /// Publishes the result.
    pub(super) fn end(self, end: Result<Closed, Error>) {
        match self.subscriber {
            Subscriber::Delegate(mut delegate) => delegate.on_closed(&end),
            Subscriber::Events(events) => events.end(end.clone()),
            Subscriber::Messages { .. } => {}
        }
        self.status.send_modify(|status| status.end = Some(end));
    }
}

/// Calls the method of a delegate for an event.
fn call(delegate: &mut dyn Delegate, event: Event, failure: Option<&LinkFailure>) {
    match event {
        Event::Server(server) => delegate.on_server(&server),
        Event::Welcome(welcome) => delegate.on_welcome(&welcome),
        Event::ServerLost => delegate.on_server_lost(),
        Event::ServerRetry { failures, pause } => {
            if let Some(why) = failure {
                delegate.on_server_retry(why, failures, pause);
            }
        }
        Event::ServerFound => delegate.on_server_found(),
        Event::Code(code) => delegate.on_code(&code),
        Event::CodeConsumed => delegate.on_code_consumed(),
        Event::Key(key) => delegate.on_key(&key),
        Event::Verifier(verifier) => delegate.on_verifier(&verifier),
        Event::Version(version) => delegate.on_versions(version.app_versions()),
        Event::Message(message) => delegate.on_message(message),
        Event::Closed(_)
        | Event::Dilation { .. }
        | Event::Nameplates(_)
        | Event::NameplateClaimed => {}
        // Delegates have no method for later events of the core.
        _ => {}
    }
}

/// Maximum number of dilation messages that wait to be read. They contain a few hints each.
pub(super) const MAX_UNREAD_DILATION: usize = 256;

/// Maximum size of messages that wait for the application, in bytes.
const MAX_UNREAD: usize = 64 << 20;
