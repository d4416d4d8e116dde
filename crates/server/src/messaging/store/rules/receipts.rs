//! Removes acknowledged messages, and tells their senders.

use std::collections::HashMap;

use wormhole_chat::service::Destination;
use wormhole_chat::{AccountId, Envelope, EnvelopeKind, Timestamp};

use super::consent::{Consents, Policy};
use super::envelope::Source;
use super::lookup::{Queues, devices_of, distinct};
use crate::messaging::store::tables::{
    Owner, RecipientDevice, SenderQueue, StoredMessage, Tables, TakenMessage,
};
use crate::messaging::store::{
    Account, AccountKey, Acknowledged, Acknowledgement, DeviceKey, Job, Pair, StoreError,
};

/// Executes all acknowledgements.
pub(super) fn acknowledge(
    tables: &mut dyn Tables,
    jobs: &mut [Job<Acknowledgement, Acknowledged>],
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let requests: Vec<_> = jobs.iter().map(|job| &job.request).collect();
    let taken = tables.take_messages(&requests)?;
    let receipts = Receipts::new(&taken, &requests);
    let facts = ReceiptContext::read(tables, &receipts, now)?;
    let devices = receipts.0.iter().flatten().flat_map(|receipt| facts.queues(receipt));
    let mut queues = Queues::read(tables, devices)?;
    let (mut messages, mut answers) = (Vec::new(), Vec::new());
    for receipt in &receipts.0 {
        let mut written: Vec<_> =
            receipt.iter().flat_map(|receipt| facts.write(receipt, now)).collect();
        // A sender that fetches nothing gets no more receipts.
        queues.admit_some(&mut written);
        answers.push(Acknowledged { receipts: written.iter().map(|it| it.device).collect() });
        messages.append(&mut written);
    }
    tables.insert_messages(&messages)?;
    super::answer(jobs, answers);
    Ok(())
}

/// A receipt that is due.
#[derive(Clone, Copy, Debug)]
struct Receipt {
    /// The device that has received the message.
    device: DeviceKey,
    /// The sender of the message.
    to: AccountId,
    timestamp: Timestamp,
    /// Whether the sender knows the number of the recipient already.
    shows_number: bool,
}

/// For each acknowledgement, the receipt that is due.
#[derive(Debug)]
struct Receipts(Vec<Option<Receipt>>);

impl Receipts {
    /// A receipt has no receipt, and neither has a message whose sender the server does not know.
    fn new(taken: &[Option<TakenMessage>], requests: &[&Acknowledgement]) -> Self {
        let receipt = |(taken, request): (&Option<TakenMessage>, &&Acknowledgement)| {
            let TakenMessage { kind, source: to, timestamp, is_to_number } = (*taken)?;
            let receipt =
                Receipt { device: request.device, to, timestamp, shows_number: is_to_number };
            let has_receipt =
                kind != EnvelopeKind::Receipt && kind != EnvelopeKind::UnidentifiedSender;
            has_receipt.then_some(receipt)
        };
        Self(taken.iter().zip(requests).map(receipt).collect())
    }
}

/// The facts for writing receipts.
#[derive(Debug)]
struct ReceiptContext {
    /// Of the devices that have received messages.
    owners: HashMap<DeviceKey, Owner>,
    /// The senders, with their devices.
    senders: HashMap<AccountId, (Account, Vec<RecipientDevice>)>,
    /// How those who have received messages treat those who write to them.
    policies: HashMap<AccountKey, Policy>,
    consents: Consents,
}

impl ReceiptContext {
    fn read(
        tables: &mut dyn Tables,
        receipts: &Receipts,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let receipts = || receipts.0.iter().flatten();
        let devices = distinct(receipts().map(|receipt| receipt.device));
        let owners = tables.owners(&devices)?;
        let owners = devices.into_iter().zip(owners);
        let owners: HashMap<DeviceKey, Owner> =
            owners.filter_map(|(key, owner)| Some((key, owner?))).collect();
        let accounts = distinct(receipts().map(|receipt| receipt.to));
        let destinations: Vec<_> = accounts.into_iter().map(Destination::Account).collect();
        let accounts = tables.resolve(&destinations.iter().collect::<Vec<_>>())?;
        let accounts: Vec<Account> = accounts.into_iter().flatten().collect();
        let mut devices = devices_of(tables, accounts.iter().map(|account| account.key))?;
        let senders = accounts.into_iter().map(|account| {
            let devices = devices.remove(&account.key).unwrap_or_default();
            (account.id, (account, devices))
        });
        let senders = senders.collect();
        let owned = devices_of(tables, owners.values().map(|owner| owner.account.key))?;
        let policies =
            owned.into_iter().map(|(key, devices)| (key, Policy::from_devices(&devices, now)));
        let policies = policies.collect();
        let mut facts = Self { owners, senders, policies, consents: Consents::default() };
        let pairs = receipts().filter_map(|receipt| facts.pair(receipt));
        facts.consents = Consents::read(tables, pairs)?;
        Ok(facts)
    }

    /// The recipient and the sender of a message, if the recipient decides who may write to it.
    fn pair(&self, receipt: &Receipt) -> Option<Pair> {
        let recipient = self.owners.get(&receipt.device)?.account.key;
        let (sender, _) = self.senders.get(&receipt.to)?;
        let decides = self.policy(recipient) != Policy::Everything;
        decides.then_some(Pair { recipient, sender: sender.key })
    }

    fn policy(&self, account: AccountKey) -> Policy {
        self.policies.get(&account).copied().unwrap_or(Policy::Everything)
    }

    /// Whether the sender may learn that its message has arrived.
    fn may_learn(&self, receipt: &Receipt) -> bool {
        self.pair(receipt)
            .is_none_or(|pair| self.policy(pair.recipient).sends_receipt(self.consents.get(pair)))
    }

    /// All devices of the sender, unless the message came from the own account, or the sender must not learn that it has
    /// arrived.
    fn recipients(&self, receipt: &Receipt) -> impl Iterator<Item = (&Account, &RecipientDevice)> {
        let owner = self.owners.get(&receipt.device);
        let is_own = owner.is_some_and(|owner| owner.account.id == receipt.to);
        let sender = self.senders.get(&receipt.to).filter(|_| !is_own && self.may_learn(receipt));
        sender
            .into_iter()
            .flat_map(|(account, devices)| devices.iter().map(move |device| (account, device)))
    }

    /// The queues that a receipt goes to.
    fn queues(&self, receipt: &Receipt) -> impl Iterator<Item = SenderQueue> {
        let owner = self.owners.get(&receipt.device).map(|owner| owner.account.id);
        let queue = |(device, source): (DeviceKey, AccountId)| SenderQueue { device, source };
        let devices = self.recipients(receipt).map(|(_, device)| device.key);
        devices.filter_map(move |device| Some(queue((device, owner?))))
    }

    /// The messages of a receipt, for all devices of the sender.
    fn write(&self, receipt: &Receipt, now: Timestamp) -> Vec<StoredMessage<'_>> {
        let Some(Owner { account, device }) = self.owners.get(&receipt.device) else {
            return Vec::new();
        };
        let shows_number = receipt.shows_number;
        let source = Source { account, device: *device, shows_number, report_key: None };
        let write = |(to, device): (&Account, &RecipientDevice)| {
            let envelope = Envelope::new(EnvelopeKind::Receipt, receipt.timestamp);
            source.send(Envelope { urgent: Some(false), ..envelope }, to, device, now)
        };
        self.recipients(receipt).map(write).collect()
    }
}
