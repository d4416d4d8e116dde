//! Reports of the client and of the connection, as events for the application and as states that handles watch.

use wormhole_chat::{ClientEvent, GroupEvent, SendFailure, Timestamp};

use super::Driver;
use crate::chat::Conversation;
use crate::chat::error::{DeliveryError, RequestError};
use crate::chat::message::{Connection, Event, KeyState, Progress};

impl Driver {
    /// Updates the state of our keys. Refused keys stay refused until the server has accepted them.
    pub(super) fn update_key_state(&self) {
        let is_published = *self.signals.keys.borrow() == KeyState::Published;
        match (self.core.is_publishing(), is_published) {
            (false, false) => self.set_key_state(KeyState::Published),
            (true, true) => self.set_key_state(KeyState::Publishing),
            (false, true) | (true, false) => {}
        }
    }

    pub(super) fn set_key_state(&self, state: KeyState) {
        let is_new = *self.signals.keys.borrow() != state;
        if let KeyState::Refused(error) = &state
            && is_new
        {
            self.emit(Event::KeysRefused(error.clone()));
        }
        self.signals.keys.send_replace(state);
    }

    pub(super) fn handle_lost(&mut self, error: RequestError) {
        self.deliveries.clear();
        self.hashes.clear();
        self.is_up_to_date = false;
        self.sealing.forget_devices();
        self.signals.connection.send_replace(Connection::Disconnected(error.clone()));
        if !error.may_retry() {
            self.outbox.set_refusal(Some(error.clone()));
        }
        self.emit(Event::Disconnected(error));
    }

    pub(super) fn report(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Accepted(timestamp, account) => {
                let progress = self.outbox.add(timestamp, Conversation::Account(account));
                if let Some(reply) = self.accepting.pop_front() {
                    // The one who asked may be gone. The message is sent anyway.
                    let _gone = reply.send((timestamp, progress));
                }
            }
            ClientEvent::Cancelled(timestamp) => {
                self.report_left(timestamp, Progress::NotSent(DeliveryError::Cancelled));
            }
            ClientEvent::ChangeFinished(change, outcome) => {
                self.group_changes.finish(change, outcome.map_err(Into::into));
            }
            ClientEvent::ForeignDevice => self.emit(Event::ForeignDevice),
            ClientEvent::Group(group, event) => {
                self.group_message(group, &event);
                if event == GroupEvent::Removed {
                    self.group_changes.fail_all(group);
                }
                self.emit(Event::Group { group, event });
            }
            ClientEvent::IdentityChanged(account, key) => {
                self.outbox.set_blocked(account, Some(key));
                self.emit(Event::IdentityChanged { account, key });
            }
            ClientEvent::NotCopied(timestamp, why) => {
                self.requests.forget(timestamp);
                self.emit(Event::NotCopied(why));
            }
            ClientEvent::NotSent(timestamp, failure) => {
                let to =
                    self.report_left(timestamp, Progress::NotSent(DeliveryError::Failed(failure)));
                if let Some(Conversation::Account(to)) = to
                    && failure == SendFailure::NoDevice
                {
                    self.contacts.set_unreachable(to);
                }
            }
            // The application takes messages from the store, also those that could not be read.
            ClientEvent::NotRead(..) | ClientEvent::Received(_) => {}
            ClientEvent::Sent(timestamp) => {
                self.report_left(timestamp, Progress::OnServer);
            }
            ClientEvent::ListsDiffer => self.emit(Event::ListsDiffer),
            ClientEvent::StoreIsOlder => self.emit(Event::StoreIsOlder),
            ClientEvent::UnsignedDevice(device) => self.emit(Event::UnsignedDevice { device }),
        }
    }

    /// Reports a message that has left the outbox. Returns its recipient.
    pub(super) fn report_left(
        &mut self,
        message: Timestamp,
        progress: Progress,
    ) -> Option<Conversation> {
        let to = self.outbox.remove(message, &progress)?;
        self.emit(Event::Progress { message, to, progress });
        Some(to)
    }

    pub(super) fn emit(&self, event: Event) {
        // The receiver may be gone.
        let _unheard = self.signals.events.send(event);
    }
}
