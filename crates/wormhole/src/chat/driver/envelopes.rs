//! Messages from the server.

use wormhole_chat::{
    Changes, ClientInput, Delivery, Envelope, EnvelopeKind, ReadError, Timestamp, Unreadable,
};

use super::Driver;
use super::socket::{Incoming, RequestOrigin};
use crate::chat::store::Contact;
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
                self.socket.works();
                self.is_up_to_date = true;
            }
            _ => self.socket.respond(origin, 404),
        }
    }

    fn envelope(&mut self, bytes: &[u8], origin: RequestOrigin) {
        let Ok(envelope) = Envelope::decode(bytes) else {
            // The server would deliver it again for ever, so it is acknowledged, but only when the reason is durable.
            let (timestamp, why) = (Timestamp(0), ReadError::Malformed);
            let unreadable = vec![Unreadable { from: None, timestamp, why }];
            let changes = Changes { unreadable, ..Changes::default() };
            return self.commits.add_acknowledged(changes, origin);
        };
        if envelope.kind == EnvelopeKind::PreKeyBundle {
            self.upkeep.used();
        }
        self.source = source(&envelope);
        self.last_delivery += 1;
        self.deliveries.insert(self.last_delivery, origin);
        self.input(ClientInput::Envelope(Delivery(self.last_delivery), Box::new(envelope)));
        self.process_outputs();
        self.source = None;
    }

    /// Drops messages that have nothing for a person, and remembers what the server said about the senders of the others.
    pub(super) fn without_invisible(&mut self, mut changes: Changes) -> Changes {
        changes.received.retain(|received| received.content.is_visible());
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
