//! Whether a message of a stranger is delivered, and what a recipient decides about strangers.
//! (docs/chat-service.md "Message requests")
//!
//! The rules hold for accounts whose devices all know message requests; a blocked sender is refused if one of them does. A
//! sender never learns what was decided: its message gets the same answer, whether it is delivered or not.

use std::collections::{BTreeMap, HashMap};

use wormhole_chat::{AccountId, Timestamp};

use crate::messaging::store::tables::{RecipientDevice, Tables};
use crate::messaging::store::{
    Account, AccountKey, Consent, ConsentState, Pair, Report, ReportedMessage, Rows, StoreError,
    WorkError,
};

/// The consent between pairs of accounts, and its changes in a turn.
#[derive(Debug, Default)]
pub(super) struct Consents {
    known: HashMap<Pair, Option<Consent>>,
    /// How many recipients have not answered a sender yet.
    waiting: HashMap<AccountKey, u64>,
    changed: BTreeMap<Pair, Consent>,
}

/// The decision about a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// The recipient knows the sender, or does not know message requests.
    Deliver,
    /// The recipient has not decided yet.
    DeliverAsRequest,
    /// The recipient does not want it, or enough messages of the sender wait for a decision.
    Withhold,
}

/// How an account treats those who write to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Policy {
    /// No device knows message requests: everything is delivered.
    Everything,
    /// A device does not know message requests: everything is delivered, but not from blocked senders.
    ExceptBlocked,
    /// All devices know message requests.
    Requests,
}

impl Policy {
    /// The policy of an account with these devices.
    pub(super) fn from_devices(devices: &[RecipientDevice], now: Timestamp) -> Self {
        if !devices.iter().any(|device| device.has_requests) {
            return Self::Everything;
        }
        let mut enabled = devices.iter().filter(|device| device.is_enabled(now));
        if enabled.all(|device| device.has_requests) { Self::Requests } else { Self::ExceptBlocked }
    }

    /// Whether the sender of a message may learn that it has arrived.
    pub(super) fn sends_receipt(self, consent: Option<Consent>) -> bool {
        let state = consent.map(|consent| consent.state);
        match self {
            Self::Everything => true,
            Self::ExceptBlocked => state != Some(ConsentState::Blocked),
            Self::Requests => state == Some(ConsentState::Accepted),
        }
    }
}

impl Consents {
    /// Reads what is known about these pairs.
    pub(super) fn read(
        tables: &mut dyn Tables,
        pairs: impl IntoIterator<Item = Pair>,
    ) -> Result<Self, StoreError> {
        let pairs = super::distinct(pairs);
        if pairs.is_empty() {
            return Ok(Self::default());
        }
        let consents = tables.consents(&pairs)?;
        Ok(Self { known: pairs.into_iter().zip(consents).collect(), ..Self::default() })
    }

    /// Reads how many recipients have not answered the senders of new requests.
    pub(super) fn count_waiting(
        &mut self,
        tables: &mut dyn Tables,
        requests: impl IntoIterator<Item = Pair>,
    ) -> Result<(), StoreError> {
        let new = requests.into_iter().filter(|pair| self.get(*pair).is_none());
        let senders = super::distinct(new.map(|pair| pair.sender));
        if !senders.is_empty() {
            let counts = tables.count_requests_of(&senders)?;
            self.waiting.extend(senders.into_iter().zip(counts));
        }
        Ok(())
    }

    /// Returns the consent of a pair.
    pub(super) fn get(&self, pair: Pair) -> Option<Consent> {
        self.known.get(&pair).copied().flatten()
    }

    /// The decision about a message.
    pub(super) fn verdict(&self, policy: Policy, pair: Pair) -> Verdict {
        let consent = self.get(pair);
        match (policy, consent.map(|consent| consent.state)) {
            (Policy::Everything, _)
            | (Policy::ExceptBlocked, None | Some(ConsentState::Pending))
            | (_, Some(ConsentState::Accepted)) => Verdict::Deliver,
            (_, Some(ConsentState::Blocked)) => Verdict::Withhold,
            (Policy::Requests, Some(ConsentState::Pending)) => {
                let delivered = consent.map_or(0, |consent| consent.messages);
                if delivered < ALLOWANCE { Verdict::DeliverAsRequest } else { Verdict::Withhold }
            }
            (Policy::Requests, None) => {
                let waiting = self.waiting.get(&pair.sender).copied().unwrap_or_default();
                if waiting < MAX_REQUESTS_OF_SENDER {
                    Verdict::DeliverAsRequest
                } else {
                    Verdict::Withhold
                }
            }
        }
    }

    /// Counts a message that is delivered although the recipient has not decided yet.
    pub(super) fn count_request(&mut self, pair: Pair, now: Timestamp) {
        let before = self.get(pair);
        if before.is_none() {
            *self.waiting.entry(pair.sender).or_default() += 1;
        }
        let new = Consent { state: ConsentState::Pending, since: now, messages: 0 };
        let consent = before.unwrap_or(new);
        self.change(pair, Consent { messages: consent.messages.saturating_add(1), ..consent });
    }

    /// Accepts the answers of an account to which another one writes, unless it has blocked the other one.
    pub(super) fn accept(&mut self, pair: Pair, now: Timestamp) {
        let state = self.get(pair).map(|consent| consent.state);
        if matches!(state, None | Some(ConsentState::Pending)) {
            self.change(pair, Consent { state: ConsentState::Accepted, since: now, messages: 0 });
        }
    }

    fn change(&mut self, pair: Pair, consent: Consent) {
        self.known.insert(pair, Some(consent));
        self.changed.insert(pair, consent);
    }

    /// Writes what has changed.
    pub(super) fn write(self, tables: &mut dyn Tables) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        tables.update_consents(&self.changed.into_iter().collect::<Vec<_>>())
    }
}

/// A decision of a recipient about a sender.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum Decision {
    Accept,
    Block,
    /// Forget the sender: its next message is a new request.
    Delete,
    /// Report a message to the operator, and block its sender.
    Report {
        message: Reported,
        token: [u8; 32],
    },
}

/// A message as its recipient describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Reported {
    pub(in crate::messaging) guid: [u8; 16],
    pub(in crate::messaging) accepted: Timestamp,
    /// SHA-256 of what was encrypted.
    pub(in crate::messaging) content: [u8; 32],
}

/// Why a decision is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum DecisionRefusal {
    /// There is no such account, or it is the own one.
    NotFound,
    /// The account has blocked as many others as it may.
    TooManyBlocked,
    /// The service has not delivered the reported message.
    WrongToken,
}

/// Executes a decision of an account about another one.
///
/// # Errors
/// Nothing has changed.
pub(in crate::messaging) fn decide(
    rows: &mut dyn Rows,
    recipient: &Account,
    sender: AccountId,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), WorkError<DecisionRefusal>> {
    let other = rows.account(sender)?.filter(|other| other.key != recipient.key);
    let other = other.ok_or(WorkError::Refused(DecisionRefusal::NotFound))?;
    let pair = Pair { recipient: recipient.key, sender: other.key };
    let state = match decision {
        Decision::Accept => ConsentState::Accepted,
        Decision::Delete => return Ok(rows.put_consent(pair, None)?),
        Decision::Block => ConsentState::Blocked,
        Decision::Report { message, token } => {
            report(rows, recipient, sender, *message, token, now)?;
            ConsentState::Blocked
        }
    };
    let before = rows.consent(pair)?;
    if before.is_some_and(|consent| consent.state == state) {
        return Ok(());
    }
    if state == ConsentState::Blocked && rows.count_consents(recipient.key, state)? >= MAX_BLOCKED {
        return Err(WorkError::Refused(DecisionRefusal::TooManyBlocked));
    }
    // A sender that was blocked gets the same answers as before, so it must be known how much was delivered.
    let was_pending = before.filter(|consent| consent.state == ConsentState::Pending);
    let messages = was_pending.filter(|_| state == ConsentState::Blocked);
    let messages = messages.map_or(0, |consent| consent.messages);
    Ok(rows.put_consent(pair, Some(Consent { state, since: now, messages }))?)
}

fn report(
    rows: &mut dyn Rows,
    recipient: &Account,
    sender: AccountId,
    Reported { guid, accepted, content }: Reported,
    token: &[u8; 32],
    now: Timestamp,
) -> Result<(), WorkError<DecisionRefusal>> {
    let message = ReportedMessage { sender, guid, accepted, content };
    if !rows.report_key().proves(token, &message, recipient.id) {
        return Err(WorkError::Refused(DecisionRefusal::WrongToken));
    }
    Ok(rows.insert_report(&Report { reporter: recipient.id, reported: now, message })?)
}

/// Messages that somebody may send before the recipient decides.
pub(in crate::messaging) const ALLOWANCE: u32 = 5;

/// Maximum number of requests of a recipient that wait for its decision. Then the oldest one is removed, as if it had been deleted.
pub(in crate::messaging) const MAX_REQUESTS: u32 = 1000;

/// Maximum number of recipients that have not answered a sender. Then it reaches no others that do not know it.
pub(in crate::messaging) const MAX_REQUESTS_OF_SENDER: u64 = 1000;

/// Maximum number of senders that a recipient has accepted. Then the oldest one is removed.
pub(in crate::messaging) const MAX_ACCEPTED: u32 = 20_000;

/// Maximum number of senders that a recipient has blocked.
pub(in crate::messaging) const MAX_BLOCKED: u64 = 2000;
