//! Messages from the server.

use sha2::{Digest as _, Sha256};
use wormhole_chat::{
    Changes, ClientInput, Content, Delivery, Envelope, EnvelopeKind, ReadError, Receipt, Received,
    SyncMessage, Timestamp, Unreadable,
};

use super::socket::{Incoming, RequestOrigin};
use super::{Driver, people};
use crate::chat::change::{is_change, is_kept};
use crate::chat::message::Event;
use crate::chat::store::{Contact, change_of};
use crate::chat::written::transcript;
use crate::chat::{AppName, PhoneNumber};

impl Driver {
    /// Handles a request of the server.
    pub(super) fn receive(&mut self, Incoming { request, origin }: Incoming) {
        let path = request.path.split('?').next().unwrap_or_default();
        match (request.verb.as_str(), path) {
            ("PUT", "/api/v1/message") => {
                self.envelope(request.body.as_deref().unwrap_or_default(), origin);
            }
            ("PUT", "/api/v1/queue/empty") => {
                self.socket.respond(origin, 200);
                self.socket.reset_pause();
                self.is_up_to_date = true;
            }
            _ => self.socket.respond(origin, 404),
        }
    }

    fn envelope(&mut self, bytes: &[u8], origin: RequestOrigin) {
        let hash = Sha256::digest(bytes).into();
        let Ok(envelope) = Envelope::decode(bytes) else {
            // The server would deliver it again and again, so it is acknowledged, but only when the reason is durable.
            let (timestamp, why) = (Timestamp(0), ReadError::Malformed);
            let unreadable = vec![Unreadable { from: None, timestamp, why }];
            let changes = Changes { unreadable, ..Changes::default() };
            return self.commits.add_acknowledged(changes, hash, origin);
        };
        if envelope.source_account.is_some_and(|account| self.is_blocked(account)) {
            // Not even decrypted. A server that says otherwise about the sender gains nothing, see `without_invisible`.
            return self.socket.respond(origin, 200);
        }
        // A sealed message may use a prekey, too.
        let kinds = [EnvelopeKind::PreKeyBundle, EnvelopeKind::UnidentifiedSender];
        if kinds.contains(&envelope.kind) {
            self.upkeep.count_soon();
        }
        if envelope.kind != EnvelopeKind::Receipt {
            // Its sender may have a new device.
            self.requests.forget_fetched();
        }
        self.last_delivery += 1;
        self.deliveries.insert(self.last_delivery, origin);
        self.hashes.insert(self.last_delivery, hash);
        self.read(Delivery(self.last_delivery), Box::new(envelope));
    }

    /// Reads the envelopes that have waited for the lists of the devices of their senders.
    pub(super) fn read_again(&mut self) {
        while let Some((delivery, envelope)) = self.again.pop_front() {
            self.read(delivery, envelope);
        }
    }

    fn read(&mut self, delivery: Delivery, envelope: Box<Envelope>) {
        let Delivery(id) = delivery;
        self.source = source(&envelope);
        self.envelope = self.hashes.get(&id).copied();
        self.evidence = people::evidence(&envelope);
        self.input(ClientInput::Envelope(delivery, envelope));
        self.process_outputs();
        (self.source, self.envelope, self.evidence) = (None, None, None);
    }

    /// Drops messages that are not for a person, reports those that we cannot show, and remembers what the server said about
    /// the senders of the others.
    pub(super) fn without_invisible(&mut self, mut changes: Changes) -> Changes {
        self.learn_decisions(&changes.received);
        changes.received.retain(|received| !self.is_blocked(received.from.account));
        without_unaccepted_changes(&mut changes);
        self.learn_profile_keys(&changes.received);
        for change in changes.received.iter().filter_map(change_of) {
            self.commits.add_history(change);
        }
        let (kept, others): (Vec<_>, Vec<_>) = changes.received.into_iter().partition(is_kept);
        changes.received = kept;
        others.iter().for_each(|received| self.fleeting(received));
        self.receive_direct(&others);
        self.set_arrived_timers(&changes.received);
        let unsupported = others.iter().filter(|received| is_for_a_person(&received.content));
        let unsupported = unsupported.map(|received| unreadable(received, ReadError::Unsupported));
        changes.unreadable.extend(unsupported);
        for sent in changes.received.iter().filter_map(transcript) {
            self.add_accepted(sent.to);
            let contact =
                Contact { number: sent.number, app: sent.app, ..crate::chat::contact(sent.to) };
            if let Some(contact) = self.contacts.with_hint(contact) {
                self.put(contact);
            }
        }
        self.remember_evidence(&changes.received);
        let senders = changes.received.iter().map(|received| received.from.account);
        let source = self.source.take();
        if let Some(source) = source.filter(|it| senders.into_iter().any(|from| from == it.account))
            && let Some(contact) = self.contacts.with_hint(source)
        {
            self.put(contact);
        }
        changes
    }
}

impl Driver {
    /// Reports what is not stored.
    fn fleeting(&self, received: &Received) {
        let from = received.from.account;
        match &received.content {
            Content::Receipt(Receipt { kind, timestamps }) => {
                let messages = timestamps.clone();
                self.emit(Event::Receipt { from, kind: *kind, messages });
            }
            Content::Typing(typing) if self.core.knows(from) => {
                self.emit(Event::Typing { from, group: None, started: typing.started });
            }
            Content::Group(content) => {
                // The client has checked that its author is a member.
                if let Some(Content::Typing(typing)) = content.inner.as_deref() {
                    let (group, started) = (Some(content.group), typing.started);
                    self.emit(Event::Typing { from, group, started });
                }
            }
            Content::Sync(sync) => {
                if let Ok(SyncMessage::Read(read)) = SyncMessage::decode(sync) {
                    self.emit(Event::ReadElsewhere(read));
                }
            }
            Content::Call(_)
            | Content::Data(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Edit(_)
            | Content::Null
            | Content::SenderKeyDistribution(_)
            | Content::Typing(_)
            | Content::Unknown => {}
        }
    }
}

/// Removes contents that would change something in the name of a person whose identity key the user has not accepted. New messages with
/// such a key are shown with a remark, but the server could have invented it, so it must not change what the person has written.
fn without_unaccepted_changes(changes: &mut Changes) {
    let received = std::mem::take(&mut changes.received);
    for message in received {
        let is_fleeting = matches!(
            message.content,
            Content::Direct(_) | Content::Receipt(_) | Content::Typing(_)
        );
        if !message.identity_changed || !is_fleeting && !is_change(&message) {
            changes.received.push(message);
        } else if !is_fleeting {
            changes.unreadable.push(unreadable(&message, ReadError::UnacceptedIdentity));
        }
    }
}

fn unreadable(received: &Received, why: ReadError) -> Unreadable {
    Unreadable { from: Some(received.from), timestamp: received.timestamp, why }
}

/// Whether a content that has neither text nor files may still be meant for a person, such as a sticker.
fn is_for_a_person(content: &Content) -> bool {
    match content {
        Content::Data(data) => {
            let is_change = data.reaction.is_some() || data.delete.is_some();
            !data.end_session && !data.expire_timer_update && !data.profile_key_update && !is_change
        }
        Content::Group(group) => group.inner.as_deref().is_some_and(is_for_a_person),
        Content::Unknown => true,
        Content::Call(_)
        | Content::DecryptionError(_)
        | Content::Direct(_)
        | Content::Edit(_)
        | Content::Null
        | Content::Receipt(_)
        | Content::SenderKeyDistribution(_)
        | Content::Sync(_)
        | Content::Typing(_) => false,
    }
}

/// The sender of an envelope, as the server describes it.
fn source(envelope: &Envelope) -> Option<Contact> {
    let number = envelope.source.as_ref().and_then(|source| source.parse().ok());
    let app = envelope.source_app.as_ref().and_then(|app| app.parse().ok());
    Some(Contact {
        number: number.map(|number: PhoneNumber| number.to_string()),
        app: app.map(|app: AppName| app.to_string()),
        ..crate::chat::contact(envelope.source_account?)
    })
}

#[cfg(test)]
mod tests {
    use wormhole_chat::DataMessage;

    use super::*;

    #[test]
    fn only_what_may_be_for_a_person_is_reported() {
        let data = |data| is_for_a_person(&Content::Data(Box::new(data)));
        assert!(data(DataMessage::default()) && is_for_a_person(&Content::Unknown));
        assert!(!data(DataMessage { end_session: true, ..DataMessage::default() }));
        assert!(!data(DataMessage { expire_timer_update: true, ..DataMessage::default() }));
        assert!(!is_for_a_person(&Content::Null));
    }
}
