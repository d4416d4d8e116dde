//! Completes envelopes: what the service says about a message, for messages of people and for receipts alike.

use sha2::{Digest, Sha256};
use wormhole_chat::{AccountId, DeviceId, Envelope, Timestamp};

use crate::messaging::random;
use crate::messaging::store::tables::{RecipientDevice, StoredMessage};
use crate::messaging::store::{Account, ReportKey, ReportedMessage};

/// The device that sends a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) account: &'a Account,
    pub(super) device: DeviceId,
    /// Whether the recipient learns the number of the sender.
    pub(super) shows_number: bool,
    /// Marks messages that can be reported.
    pub(super) report_key: Option<&'a ReportKey>,
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
        let envelope = Envelope {
            source: Some(self.name()),
            source_account: Some(self.account.id),
            source_device: Some(self.device),
            source_app: Some(self.account.app_name.to_string()),
            ..envelope
        };
        let report = self.report_key.map(|key| (key, self.account.id));
        StoredMessage {
            source: self.account.id,
            source_number: self.account.number.as_str(),
            source_device: self.device,
            ..complete(envelope, to, device, now, report)
        }
    }
}

/// Creates the envelope of a message whose sender only the recipient knows.
pub(super) fn send_sealed(
    envelope: Envelope,
    to: &Account,
    device: &RecipientDevice,
    now: Timestamp,
) -> StoredMessage<'static> {
    complete(envelope, to, device, now, None)
}

/// Adds what the service knows about every message. With a key and a sender, it can be reported.
fn complete(
    envelope: Envelope,
    to: &Account,
    device: &RecipientDevice,
    now: Timestamp,
    report: Option<(&ReportKey, AccountId)>,
) -> StoredMessage<'static> {
    let guid = random::uuid();
    let report_token = report.filter(|_| device.has_requests).map(|(key, sender)| {
        let content = envelope.content.as_ref().or(envelope.body.as_ref());
        let content = Sha256::digest(content.map_or(&[][..], Vec::as_slice)).into();
        let message = ReportedMessage { sender, guid: guid.into_bytes(), accepted: now, content };
        key.token(&message, to.id).to_vec()
    });
    let envelope = Envelope {
        report_token,
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
        source: NOBODY,
        source_number: "",
        source_device: DeviceId::PRIMARY,
        timestamp: envelope.timestamp,
        server_timestamp: now,
        is_ephemeral: envelope.ephemeral.unwrap_or_default(),
        is_to_number: false,
        envelope: envelope.encode(),
    }
}

/// The account of all senders who do not show who they are: together, they have the share of a queue that one sender has.
pub(super) const NOBODY: AccountId = AccountId::from_bytes([0; 16]);
