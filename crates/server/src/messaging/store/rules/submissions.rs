//! Accepts messages: to all devices of an account or to none, and each submission only once.

use std::collections::{HashMap, HashSet};

use wormhole_chat::service::{CurrentDevice, Mismatch, Recipient, check_recipients};
use wormhole_chat::{Envelope, Timestamp};

use super::envelope::Source;
use super::lookup::{Queues, devices_of};
use crate::messaging::store::tables::{RecipientDevice, StoredMessage, SubmissionKey, Tables};
use crate::messaging::store::{
    Account, AccountKey, IntraApp, Job, NewMessage, Sent, StoreError, Submission,
};

/// Executes all submissions.
pub(super) fn accept(
    tables: &mut dyn Tables,
    jobs: &mut [Job<Submission, Sent>],
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let destinations: Vec<_> = jobs.iter().map(|job| &job.request.destination).collect();
    let accounts = tables.resolve(&destinations)?;
    let submissions: Vec<_> = jobs.iter().map(|job| &job.request).zip(&accounts).collect();
    let mut acceptance = Acceptance::new(tables, &submissions, now)?;
    let mut answers = Vec::with_capacity(submissions.len());
    for (submission, account) in submissions {
        answers.push(match account {
            _ if !acceptance.knows_sender(submission) => Sent::UnknownSender,
            Some(account) => acceptance.accept(submission, account),
            None => Sent::NotFound,
        });
    }
    tables.insert_messages(&acceptance.messages)?;
    tables.insert_sent(&acceptance.remembered, now)?;
    super::answer(jobs, answers);
    Ok(())
}

/// What must be known to accept messages, and what is accepted.
#[derive(Debug)]
struct Acceptance<'a> {
    now: Timestamp,
    /// Of senders and recipients.
    devices: HashMap<AccountKey, Vec<RecipientDevice>>,
    queues: Queues,
    /// Submissions that are stored, before or by this turn.
    sent: HashSet<SubmissionKey>,
    /// What this turn stores.
    messages: Vec<StoredMessage<'a>>,
    remembered: Vec<SubmissionKey>,
}

impl<'a> Acceptance<'a> {
    fn new(
        tables: &mut dyn Tables,
        submissions: &[(&'a Submission, &Option<Account>)],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let accounts = || submissions.iter().filter_map(|(_, account)| account.as_ref());
        let senders = submissions.iter().map(|(submission, _)| submission.sender.account.key);
        let devices = devices_of(tables, senders.chain(accounts().map(|account| account.key)))?;
        let recipients = accounts().filter_map(|account| devices.get(&account.key)).flatten();
        let queues = Queues::of(tables, recipients.map(|device| device.key))?;
        let key = |(submission, account): &(&Submission, &Option<Account>)| {
            account.as_ref().map(|account| identify(submission, account))
        };
        let keys: Vec<SubmissionKey> = submissions.iter().filter_map(key).collect();
        let were_sent = tables.were_sent(&keys)?;
        let sent =
            keys.into_iter().zip(were_sent).filter_map(|(key, was_sent)| was_sent.then_some(key));
        let (messages, remembered) = (Vec::new(), Vec::new());
        Ok(Self { now, devices, queues, sent: sent.collect(), messages, remembered })
    }

    /// Whether the sending device still exists.
    fn knows_sender(&self, Submission { sender, .. }: &Submission) -> bool {
        let devices = self.devices.get(&sender.account.key);
        devices.into_iter().flatten().any(|device| device.key == sender.device_key)
    }

    fn accept(&mut self, submission: &'a Submission, account: &Account) -> Sent {
        if is_refused(submission, account) {
            return Sent::RefusedIntraApp;
        }
        let key = identify(submission, account);
        let needs_sync = !self.others(submission, submission.sender.account.key).is_empty();
        if self.sent.contains(&key) {
            return Sent::Stored { needs_sync, devices: Vec::new() };
        }
        let recipients = self.others(submission, account.key);
        if recipients.is_empty() && !is_to_self(submission, account) {
            return Sent::NotFound;
        }
        if let Err(mismatch) = check(submission, &recipients) {
            return Sent::Mismatched(mismatch);
        }
        let messages = self.build(submission, account, &recipients);
        if !self.queues.admit_all(&messages) {
            return Sent::QueueFull;
        }
        let devices = messages.iter().map(|message| message.device).collect();
        self.messages.extend(messages);
        self.sent.insert(key);
        self.remembered.push(key);
        Sent::Stored { needs_sync, devices }
    }

    /// The devices of an account that can receive messages, without the sending device.
    fn others(&self, submission: &Submission, account: AccountKey) -> Vec<RecipientDevice> {
        let is_other = |device: &&RecipientDevice| device.key != submission.sender.device_key;
        let devices = self.devices.get(&account).into_iter().flatten();
        devices.filter(|device| device.is_enabled()).filter(is_other).copied().collect()
    }

    /// One message for each device. The recipients are checked already.
    fn build(
        &self,
        submission: &'a Submission,
        to: &Account,
        recipients: &[RecipientDevice],
    ) -> Vec<StoredMessage<'a>> {
        let sender = &submission.sender;
        let source = Source { account: &sender.account, device: sender.device };
        let build = |message: &NewMessage| {
            let device = recipients.iter().find(|device| device.number == message.device)?;
            let envelope = Envelope {
                body: message.body.clone(),
                content: message.content.clone(),
                urgent: Some(submission.is_urgent),
                ephemeral: submission.is_ephemeral.then_some(true),
                ..Envelope::new(message.kind, submission.timestamp)
            };
            Some(source.send(envelope, to, device, self.now))
        };
        submission.messages.iter().filter_map(build).collect()
    }
}

/// Whether the app of the sender delivers this message itself. The devices of one account may always send to each other.
fn is_refused(submission: &Submission, account: &Account) -> bool {
    let app = &submission.sender.app;
    let is_intra_app = account.app == app.key && !is_to_self(submission, account);
    is_intra_app && app.intra == IntraApp::Refused
}

fn is_to_self(submission: &Submission, account: &Account) -> bool {
    account.key == submission.sender.account.key
}

/// Checks that a submission is addressed to exactly these devices.
fn check(submission: &Submission, recipients: &[RecipientDevice]) -> Result<(), Mismatch> {
    let current = |device: &RecipientDevice| CurrentDevice {
        device: device.number,
        registration_id: device.registration_id,
    };
    let recipient = |message: &NewMessage| Recipient {
        device: message.device,
        registration_id: message.registration_id,
    };
    let current: Vec<CurrentDevice> = recipients.iter().map(current).collect();
    let addressed: Vec<Recipient> = submission.messages.iter().map(recipient).collect();
    check_recipients(&current, &addressed)
}

fn identify(submission: &Submission, account: &Account) -> SubmissionKey {
    SubmissionKey {
        sender: submission.sender.device_key,
        destination: account.key,
        timestamp: submission.timestamp,
    }
}
