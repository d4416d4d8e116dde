//! The other devices of our account: linking one, the names that only the account can read, and what the devices tell each
//! other.

use rand_core::CryptoRngCore;

use super::outbox::Outgoing;
use super::pending::Purpose;
use super::store::Changes;
use super::{Client, ClientEvent, ClientOutput, CopyFailure, ReadError, SendFailure};
use crate::address::AccountId;
use crate::content::{Content, SentTranscript, SyncMessage};
use crate::padding::unpad;
use crate::provisioning::{ProvisionMessage, open_device_name, seal_device_name};
use crate::time::Timestamp;

impl Client {
    /// The message for another device that becomes a device of our account. It contains our identity key. `code` is the one with which the
    /// server accepts the device.
    pub fn provision(&self, number: Option<String>, code: String) -> ProvisionMessage {
        ProvisionMessage {
            identity: self.identity.pair.clone(),
            number,
            code,
            user_agent: None,
            profile_key: None,
            read_receipts: None,
            account: Some(self.us.account),
        }
    }

    /// Encrypts the name of a device of our account. `None` never happens with a valid identity key.
    pub fn seal_device_name(&self, name: &str, rng: &mut impl CryptoRngCore) -> Option<Vec<u8>> {
        seal_device_name(name, self.identity.pair.public(), rng)
    }

    /// Decrypts the name of a device of our account.
    pub fn open_device_name(&self, sealed: &[u8]) -> Option<String> {
        open_device_name(&self.identity.pair, sealed)
    }

    /// Remembers, until the program ends, the number and the app of an account. Our other devices learn them together with what
    /// we write to it.
    pub fn describe(&mut self, account: AccountId, number: Option<String>, app: Option<String>) {
        self.described.insert(account, (number, app));
    }

    /// Whether our account has other devices, as the server says.
    pub(super) fn record_other_devices(&mut self, has_others: bool) {
        self.groups.other_devices = Some(has_others);
    }

    /// Continues with the messages for our other devices, once the server has said whether there are any.
    pub(super) fn continue_syncs(&mut self, now: Timestamp) {
        let own = self.us.account;
        if self.groups.other_devices == Some(false) {
            for timestamp in self.outbox.unencrypted_for(own) {
                if self.outbox.get(&timestamp).is_some_and(|outgoing| self.is_sync(outgoing)) {
                    self.give_up(timestamp, SendFailure::NoDevice);
                }
            }
        }
        self.advance_account(now, own);
    }

    /// Whether a message for our other devices waits until the server has said whether there are any.
    pub(super) fn waits_for_own_list(&self, outgoing: &Outgoing) -> bool {
        self.groups.other_devices.is_none()
            && self.pending.has(Purpose::OwnList)
            && self.is_sync(outgoing)
    }

    /// Sends a message to our other devices. Without another device, nothing happens.
    pub(super) fn synchronise(&mut self, now: Timestamp, message: &SyncMessage) {
        if self.groups.other_devices == Some(false) {
            return;
        }
        let content = Content::Sync(message.encode().to_vec());
        let mut changes = Changes::default();
        let timestamp = self.put_sync(now, &content, &mut changes);
        let dropped = self.limit_syncs(&mut changes);
        self.commit(changes, dropped);
        self.advance(now, timestamp);
    }

    /// Number of messages in the outbox for our other devices. [`Client::outbox`] does not list them.
    pub fn waiting_syncs(&self) -> usize {
        let own = self.us.account;
        let waiting = [self.outbox.encrypted_for(own), self.outbox.unencrypted_for(own)];
        let waiting = waiting.iter().flatten().filter_map(|timestamp| self.outbox.get(timestamp));
        waiting.filter(|outgoing| self.is_sync(outgoing)).count()
    }

    /// Removes the oldest messages for our other devices beyond the limits: a device that fetches none must not keep us from writing
    /// to others. Returns what to report.
    pub(super) fn limit_syncs(&mut self, changes: &mut Changes) -> Vec<ClientOutput> {
        let own = self.us.account;
        let mut waiting = self.outbox.encrypted_for(own);
        waiting.extend(self.outbox.unencrypted_for(own));
        waiting.sort_unstable();
        let size = |it: &Timestamp| self.outbox.get(it).map_or(0, Outgoing::len);
        let (mut count, mut bytes) = (waiting.len(), waiting.iter().map(size).sum::<usize>());
        let mut dropped = Vec::new();
        for timestamp in waiting {
            if count <= MAX_SYNCS && bytes <= MAX_SYNC_BYTES {
                break;
            }
            let Some(outgoing) = self.outbox.get(&timestamp) else { continue };
            if self.is_sync(outgoing) {
                (count, bytes) = (count - 1, bytes - outgoing.len());
                self.drop_outgoing(timestamp, changes);
                let event = ClientEvent::NotCopied(timestamp, CopyFailure::TooMany);
                dropped.push(ClientOutput::Event(event));
            }
        }
        dropped
    }

    /// Nothing is copied to devices of our account that do not have our identity key, and the user cannot accept another one.
    pub(super) fn give_up_syncs(&mut self, account: AccountId) {
        for timestamp in self.outbox.unencrypted_for(account) {
            if self.outbox.get(&timestamp).is_some_and(|outgoing| self.is_sync(outgoing)) {
                self.give_up(timestamp, SendFailure::NotAuthentic);
            }
        }
    }

    /// Asks for the keys of our other devices again, also if some had another identity key before.
    pub(super) fn trust_own_devices_again(&mut self, changes: &mut Changes) {
        let own = self.us.account;
        if let Some(peer) = self.peers.get_mut(&own)
            && peer.changed.take().is_some()
        {
            changes.put_peer(own, peer);
        }
    }

    /// Whether a message in the outbox is for our other devices only, and not one that the user has written.
    pub(super) fn is_sync(&self, outgoing: &Outgoing) -> bool {
        outgoing.to == self.us.account && matches!(content(outgoing), Some(Content::Sync(_)))
    }

    /// Whether a message in the outbox asks our other devices for the groups of the account.
    pub(super) fn asks_for_groups(&self, outgoing: &Outgoing) -> bool {
        let sync = match content(outgoing) {
            Some(Content::Sync(sync)) if outgoing.to == self.us.account => sync,
            Some(_) | None => return false,
        };
        SyncMessage::decode(&sync) == Ok(SyncMessage::GroupsWanted)
    }

    /// Whether a message in the outbox is one that the user has not written: for our other devices, or about a group.
    pub(super) fn is_background(&self, outgoing: &Outgoing) -> bool {
        match content(outgoing) {
            Some(Content::Sync(_)) => outgoing.to == self.us.account,
            Some(Content::Group(group)) => group.inner.is_none_or(|inner| !inner.is_visible()),
            Some(
                Content::Call(_)
                | Content::Data(_)
                | Content::DecryptionError(_)
                | Content::Direct(_)
                | Content::Edit(_)
                | Content::Null
                | Content::Receipt(_)
                | Content::SenderKeyDistribution(_)
                | Content::Typing(_)
                | Content::Unknown,
            )
            | None => false,
        }
    }

    /// Copies a sent message for our other devices.
    pub(super) fn transcript(&self, timestamp: Timestamp, sent: &Outgoing) -> Option<Content> {
        if sent.to == self.us.account {
            return None;
        }
        let (message, edits) = match content(sent)? {
            Content::Data(message) => (*message, None),
            Content::Edit(edit) => (edit.message, Some(edit.target)),
            Content::Call(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Group(_)
            | Content::Null
            | Content::Receipt(_)
            | Content::SenderKeyDistribution(_)
            | Content::Sync(_)
            | Content::Typing(_)
            | Content::Unknown => return None,
        };
        let (number, app) = self.described.get(&sent.to).cloned().unwrap_or_default();
        let transcript = SentTranscript { to: sent.to, number, app, timestamp, message, edits };
        let transcript = SyncMessage::Sent(Box::new(transcript));
        Some(Content::Sync(transcript.encode().to_vec()))
    }

    /// The account that a message of another device of ours was sent to.
    ///
    /// # Errors
    /// It does not come from our account, or is malformed.
    pub(super) fn sent_elsewhere(
        &mut self,
        from: AccountId,
        sync: &[u8],
    ) -> Result<Option<AccountId>, ReadError> {
        if from != self.us.account {
            return Err(ReadError::Unsupported);
        }
        match SyncMessage::decode(sync).map_err(|_| ReadError::Malformed)? {
            SyncMessage::GroupsWanted => {
                self.groups.are_wanted = true;
                Ok(None)
            }
            SyncMessage::Configuration(_)
            | SyncMessage::DeviceList(_)
            | SyncMessage::Identities(_)
            | SyncMessage::Names(_)
            | SyncMessage::Other
            | SyncMessage::Read(_)
            | SyncMessage::Requests(_)
            | SyncMessage::SentToGroup(_)
            | SyncMessage::Timers(_) => Ok(None),
            SyncMessage::Sent(sent) => Ok(Some(sent.to)),
        }
    }
}

/// Maximum number of messages for our own account that wait.
const MAX_SYNCS: usize = 1000;

/// Maximum number of bytes of them, with their ciphertexts.
const MAX_SYNC_BYTES: usize = 16 << 20;

fn content(outgoing: &Outgoing) -> Option<Content> {
    Content::decode_stored(unpad(&outgoing.plaintext)?).ok()
}
