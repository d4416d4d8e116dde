//! The events of a client without received messages.

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::Client;
use crate::chat::error::Ended;
use crate::chat::message::{Connection, Event};

/// The events of a client without received messages, which stay in the store.
///
/// If events are left out, because the application is slow, the stream says how many ([`Event::Missed`]). The stream keeps the
/// client running.
#[derive(Debug)]
pub struct Events {
    client: Client,
    /// The state when the stream began.
    first: Option<Event>,
    events: broadcast::Receiver<Event>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        let signals = &client.signals;
        let events = signals.events.subscribe();
        // Those who come later want to know it, too.
        let is_up_to_date = *signals.connection.borrow() == Connection::UpToDate;
        let first = is_up_to_date.then_some(Event::UpToDate);
        let ended = signals.ended.subscribe();
        Self { client, first, events, ended }
    }

    /// Waits for the next event. If the returned future is dropped, nothing is lost.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn next(&mut self) -> Result<Event, Ended> {
        if let Some(event) = self.first.take() {
            return Ok(event);
        }
        tokio::select! {
            biased;
            _ = self.ended.wait_for(Option::is_some) => {}
            event = self.events.recv() => match event {
                Ok(event) => return Ok(event),
                Err(RecvError::Lagged(missed)) => return Ok(Event::Missed(missed)),
                // The client is in this stream.
                Err(RecvError::Closed) => {}
            },
        }
        Err(self.client.wait_for_end().await)
    }
}
