//! Rows about who may write to whom, and reports about messages.
//!
//! A row belongs to a recipient and one who writes to it. Without a row, they do not know each other.

use std::fmt;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use wormhole_chat::{AccountId, Timestamp};
use zeroize::Zeroizing;

use super::StoreError;
use super::rows::{Account, AccountKey};

/// Reading consents and reports, inside the transaction of a turn.
pub(in crate::messaging) trait ReadConsentRows {
    /// Whether a recipient wants messages of a sender, if it is known.
    fn consent(&mut self, pair: Pair) -> Result<Option<Consent>, StoreError>;

    /// The newest rows of a recipient in this state with the senders, the newest first.
    fn consents_of(
        &mut self,
        recipient: AccountKey,
        state: ConsentState,
        max: u32,
    ) -> Result<Vec<(Account, Consent)>, StoreError>;

    /// The number of rows of a recipient in this state.
    fn count_consents(
        &mut self,
        recipient: AccountKey,
        state: ConsentState,
    ) -> Result<u64, StoreError>;

    /// The newest reports, the newest first.
    fn reports(&mut self, max: u32) -> Result<Vec<Report>, StoreError>;
}

/// Writing consents and reports, inside the transaction of a turn that runs alone.
pub(in crate::messaging) trait ConsentRows: ReadConsentRows {
    /// Writes a row as the recipient wants it; `None` removes it.
    fn put_consent(&mut self, pair: Pair, consent: Option<Consent>) -> Result<(), StoreError>;

    /// The key that marks messages.
    fn report_key(&self) -> ReportKey;

    /// Adds a report, unless the same account has reported the same message before.
    fn insert_report(&mut self, report: &Report) -> Result<(), StoreError>;

    /// Removes the reports about an account; returns their number.
    fn delete_reports(&mut self, reported: AccountId) -> Result<u64, StoreError>;
}

/// Two accounts, of which one writes to the other.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::messaging) struct Pair {
    pub(in crate::messaging) recipient: AccountKey,
    pub(in crate::messaging) sender: AccountKey,
}

impl Pair {
    /// The pair in the other direction.
    pub(super) const fn reversed(self) -> Self {
        Self { recipient: self.sender, sender: self.recipient }
    }
}

/// Whether a recipient wants the messages of a sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Consent {
    pub(in crate::messaging) state: ConsentState,
    /// When it came into this state.
    pub(in crate::messaging) since: Timestamp,
    /// Messages that were delivered while it was pending. 0 if it is accepted, or was accepted before it was blocked.
    pub(in crate::messaging) messages: u32,
}

/// The decision of a recipient about a sender.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::messaging) enum ConsentState {
    /// It wants the messages, or has written to the sender.
    Accepted,
    /// It does not want them.
    Blocked,
    /// Nothing yet.
    Pending,
}

impl ConsentState {
    /// As it is stored.
    pub(super) const fn number(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Accepted => 1,
            Self::Blocked => 2,
        }
    }

    /// Decodes the stored number.
    pub(super) const fn of_number(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::Pending),
            1 => Some(Self::Accepted),
            2 => Some(Self::Blocked),
            _ => None,
        }
    }
}

/// A recipient has reported a message that the service has delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Report {
    pub(in crate::messaging) reporter: AccountId,
    /// When it was reported.
    pub(in crate::messaging) reported: Timestamp,
    pub(in crate::messaging) message: ReportedMessage,
}

/// Identifies a message that the service has delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct ReportedMessage {
    pub(in crate::messaging) sender: AccountId,
    /// The id that the service has given the message.
    pub(in crate::messaging) guid: [u8; 16],
    /// When the service has accepted it.
    pub(in crate::messaging) accepted: Timestamp,
    /// SHA-256 of what was encrypted.
    pub(in crate::messaging) content: [u8; 32],
}

/// With this secret, all nodes of the service mark messages, and recognise the marks in reports.
#[derive(Clone)]
pub(in crate::messaging) struct ReportKey(Zeroizing<[u8; 32]>);

impl ReportKey {
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Proves that the service has delivered this message to this account. (docs/chat-service.md "Reports")
    pub(in crate::messaging) fn token(
        &self,
        message: &ReportedMessage,
        recipient: AccountId,
    ) -> [u8; 32] {
        // HMAC accepts keys of any length.
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.as_slice()).map(|mac| {
            mac.chain_update(b"wormhole report\0")
                .chain_update(message.sender.as_bytes())
                .chain_update(recipient.as_bytes())
                .chain_update(message.guid)
                .chain_update(message.accepted.0.to_be_bytes())
                .chain_update(message.content)
        });
        mac.map(|mac| mac.finalize().into_bytes().into()).unwrap_or_default()
    }

    /// Whether a token belongs to this message. In constant time.
    pub(in crate::messaging) fn proves(
        &self,
        token: &[u8; 32],
        message: &ReportedMessage,
        recipient: AccountId,
    ) -> bool {
        self.token(message, recipient).ct_eq(token).into()
    }
}

impl fmt::Debug for ReportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReportKey(…)")
    }
}
