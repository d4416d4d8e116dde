//! The received messages, in order, together with what else happens.

use tokio::sync::{broadcast, watch};

use crate::chat::account::WeakStore;
use crate::chat::driver::Signals;
use crate::chat::error::Ended;
use crate::chat::message::{Event, ReceivedMessage};
use crate::chat::store::{ReceivedId, StoreError};

/// The received messages and other events.
///
/// The messages come from the store: each stream begins with the oldest message that is not
/// [`done`](super::Client::done), and no message is left out, however slow the application is. Other events are left out if the
/// application is slow.
#[derive(Debug)]
pub struct Messages {
    /// The client keeps it open.
    store: WeakStore,
    last: Option<ReceivedId>,
    events: broadcast::Receiver<Event>,
    /// Comes after the messages that arrived before it.
    event: Option<Event>,
    news: watch::Receiver<()>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Messages {
    pub(super) fn new(store: WeakStore, signals: &Signals) -> Self {
        let events = signals.events.subscribe();
        // Those who come later want to know it, too.
        let event = signals.up_to_date.borrow().then_some(Event::UpToDate);
        Self {
            store,
            last: None,
            events,
            event,
            news: signals.news.subscribe(),
            ended: signals.ended.subscribe(),
        }
    }

    /// Waits for the next message or event. If the returned future is dropped, nothing is lost.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            self.news.mark_unchanged();
            if let Some(message) = self.stored().await.ok_or_else(|| self.ended())?? {
                self.last = Some(message.id);
                return Ok(Event::Message(Box::new(message)));
            }
            if let Some(event) = self.event.take() {
                return Ok(event);
            }
            tokio::select! {
                biased;
                _ = self.ended.changed() => return Err(self.ended()),
                event = self.events.recv() => self.event = event.ok(),
                _ = self.news.changed() => {}
            }
        }
    }

    fn ended(&self) -> Ended {
        self.ended.borrow().clone().unwrap_or(Ended::Closed)
    }

    /// The next message in the store. `None` if the client has ended.
    async fn stored(&self) -> Option<Result<Option<ReceivedMessage>, StoreError>> {
        let last = self.last;
        let stored = self.store.run(move |store| {
            let Some((id, received)) = store.received_after(last)? else { return Ok(None) };
            let account = received.from.account;
            let contact = store.contact(account)?;
            let contact = contact.unwrap_or_else(|| crate::chat::contact(account));
            Ok(Some(ReceivedMessage::new(id, received, contact)))
        });
        stored.await
    }
}
