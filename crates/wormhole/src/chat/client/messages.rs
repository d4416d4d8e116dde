//! The received messages, in order, together with what else happens.

use tokio::sync::watch;

use super::{Client, Events};
use crate::chat::change;
use crate::chat::error::Ended;
use crate::chat::message::Event;
use crate::chat::store::{ReceivedId, StoreError, StoredMessage};

/// The received messages and other events.
///
/// The messages, also those that cannot be read, come from the store: each stream begins with the oldest one that is not
/// [`done`](super::Client::done), and none is left out, however slow the application is. If other events are left out, because
/// the application is slow, the stream says how many ([`Event::Missed`]).
///
/// The stream keeps the client running.
#[derive(Debug)]
pub struct Messages {
    client: Client,
    last: Option<ReceivedId>,
    events: Events,
    /// Comes after the messages that arrived before it.
    event: Option<Event>,
    news: watch::Receiver<()>,
}

impl Messages {
    pub(super) fn new(client: Client) -> Self {
        let (events, news) = (Events::new(client.clone()), client.signals.news.subscribe());
        Self { client, last: None, events, event: None, news }
    }

    /// Waits for the next message or event. If the returned future is dropped, nothing is lost.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            self.news.mark_unchanged();
            let Some(stored) = self.stored().await else {
                return Err(self.client.wait_for_end().await);
            };
            let stored = stored?;
            if let Some((id, event)) = stored {
                self.last = Some(id);
                return Ok(event);
            }
            if let Some(event) = self.event.take() {
                return Ok(event);
            }
            tokio::select! {
                event = self.events.next() => self.event = Some(event?),
                _ = self.news.changed() => {}
            }
        }
    }

    /// The next message in the store. `None` if the client has ended.
    async fn stored(&self) -> Option<Result<Option<(ReceivedId, Event)>, StoreError>> {
        let last = self.last;
        let stored = self.client.store.run(move |store| {
            let Some((id, message)) = store.received_after(last)? else { return Ok(None) };
            let event = match message {
                StoredMessage::Read(received) => {
                    let contact = |account| {
                        let known = store.contact(account)?;
                        Ok::<_, StoreError>(known.unwrap_or_else(|| crate::chat::contact(account)))
                    };
                    change::event(id, received, contact)?
                }
                StoredMessage::Unreadable { from, timestamp, why, more } => {
                    Event::NotRead { id, from, timestamp, why, more }
                }
            };
            Ok(Some((id, event)))
        });
        stored.await
    }
}
