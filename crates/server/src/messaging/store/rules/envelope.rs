//! Completes envelopes: what the service says about a message, for messages of people and for receipts alike.

use wormhole_chat::{DeviceId, Envelope, Timestamp};

use crate::messaging::random;
use crate::messaging::store::Account;
use crate::messaging::store::tables::{RecipientDevice, StoredMessage};

/// The device that sends a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) account: &'a Account,
    pub(super) device: DeviceId,
    /// Whether the recipient learns the number of the sender.
    pub(super) shows_number: bool,
}

impl<'a> Source<'a> {
    /// The name of the sender. It is never empty, because some clients cannot read such an envelope.
    fn name(self) -> String {
        if self.shows_number {
            self.account.number.to_string()
        } else {
            self.account.id.to_string()
        }
    }

    /// Adds the sender, the recipient, an id and the time to an envelope with a message, and encodes it for the queue
    /// of a device.
    pub(super) fn send(
        self,
        envelope: Envelope,
        to: &Account,
        device: &RecipientDevice,
        now: Timestamp,
    ) -> StoredMessage<'a> {
        let guid = random::uuid();
        let envelope = Envelope {
            source: Some(self.name()),
            source_account: Some(self.account.id),
            source_device: Some(self.device),
            source_app: Some(self.account.app_name.to_string()),
            guid: Some(guid.to_string()),
            server_timestamp: Some(now),
            destination: Some(to.id),
            destination_app: Some(to.app_name.to_string()),
            ..envelope
        };
        StoredMessage {
            device: device.key,
            guid: guid.into_bytes(),
            kind: envelope.kind,
            source: self.account.id,
            source_number: &self.account.number,
            source_device: self.device,
            timestamp: envelope.timestamp,
            server_timestamp: now,
            is_ephemeral: envelope.ephemeral.unwrap_or_default(),
            is_to_number: false,
            envelope: envelope.encode(),
        }
    }
}
