//! Accepts messages: to all devices of an account or to none, and each submission only once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wormhole_chat::service::{
    CurrentDevice, Destination, Mismatch, Recipient, check_recipients, check_some_recipients,
};
use wormhole_chat::{Envelope, EnvelopeKind, Timestamp};

use super::consent::{Consents, Policy, Verdict};
use super::envelope::Source;
use super::lookup::{Queues, devices_of};
use crate::messaging::rate_limits::{Action, Budget};
use crate::messaging::store::tables::{
    RecipientDevice, SenderQueue, StoredMessage, SubmissionKey, Tables,
};
use crate::messaging::store::{
    Account, AccountKey, IntraApp, Job, NewMessage, Pair, ReportKey, Sent, StoreError, Submission,
};

/// Executes all submissions.
pub(super) fn accept(
    tables: &mut dyn Tables,
    jobs: &mut [Job<Submission, Sent>],
    budget: Option<&Budget>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let destinations: Vec<_> = jobs.iter().map(|job| &job.request.destination).collect();
    let accounts = tables.resolve(&destinations)?;
    let submissions: Vec<_> = jobs.iter().map(|job| &job.request).zip(&accounts).collect();
    let report_key = tables.report_key();
    let (mut acceptance, keys) = Acceptance::new(tables, &submissions, budget, now, &report_key)?;
    let mut answers = Vec::with_capacity(submissions.len());
    for ((submission, account), key) in submissions.into_iter().zip(keys) {
        answers.push(match account {
            _ if !acceptance.knows_sender(submission) => Sent::UnknownSender,
            Some(account) => acceptance.accept(submission, account, key),
            None => Sent::NotFound,
        });
    }
    tables.insert_messages(&acceptance.messages)?;
    tables.insert_sent(&acceptance.remembered, now)?;
    acceptance.consents.write(tables)?;
    super::answer(jobs, answers);
    Ok(())
}

/// The facts for accepting messages, and the messages that are accepted.
#[derive(Debug)]
struct Acceptance<'a> {
    now: Timestamp,
    budget: Option<&'a Budget>,
    report_key: &'a ReportKey,
    consents: Consents,
    /// Of senders and recipients.
    devices: HashMap<AccountKey, Vec<RecipientDevice>>,
    queues: Queues,
    /// Submissions that are stored, before or by this turn.
    sent: HashSet<SubmissionKey>,
    /// The messages that this turn stores.
    messages: Vec<StoredMessage<'a>>,
    remembered: Vec<SubmissionKey>,
}

/// The hash of each submission; `None` if it is not remembered.
type SubmissionKeys = Vec<Option<SubmissionKey>>;

impl<'a> Acceptance<'a> {
    fn new(
        tables: &mut dyn Tables,
        submissions: &[(&'a Submission, &Option<Account>)],
        budget: Option<&'a Budget>,
        now: Timestamp,
        report_key: &'a ReportKey,
    ) -> Result<(Self, SubmissionKeys), StoreError> {
        let accounts = || submissions.iter().filter_map(|(_, account)| account.as_ref());
        let senders = submissions.iter().map(|(submission, _)| submission.sender.account.key);
        let devices = devices_of(tables, senders.chain(accounts().map(|account| account.key)))?;
        let of = |account: &Option<Account>| {
            let devices = account.as_ref().and_then(|account| devices.get(&account.key));
            devices.map_or(&[][..], Vec::as_slice)
        };
        let queues = submissions.iter().flat_map(|(submission, account)| {
            let source = submission.sender.account.id;
            of(account).iter().map(move |device| SenderQueue { device: device.key, source })
        });
        let queues = Queues::read(tables, queues)?;
        let key = |(submission, account): &(&Submission, &Option<Account>)| {
            identify(submission, account.as_ref()?, of(account))
        };
        let keys: SubmissionKeys = submissions.iter().map(key).collect();
        let known: Vec<SubmissionKey> = keys.iter().flatten().copied().collect();
        let were_sent = tables.were_sent(&known)?;
        let sent =
            known.into_iter().zip(were_sent).filter_map(|(key, was_sent)| was_sent.then_some(key));
        let (sent, messages, remembered) = (sent.collect(), Vec::new(), Vec::new());
        let consents = Consents::default();
        let mut acceptance =
            Self { now, budget, report_key, consents, devices, queues, sent, messages, remembered };
        acceptance.read_consents(tables, submissions)?;
        Ok((acceptance, keys))
    }

    /// Reads who may write to whom, for accounts that decide about it.
    fn read_consents(
        &mut self,
        tables: &mut dyn Tables,
        submissions: &[(&'a Submission, &Option<Account>)],
    ) -> Result<(), StoreError> {
        let pairs = submissions.iter().filter_map(|(submission, account)| {
            let account = account.as_ref().filter(|account| !is_to_self(submission, account))?;
            Some((submission, pair(submission, account)))
        });
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        for (submission, pair) in pairs {
            if self.policy(pair.recipient) != Policy::Everything {
                requests.push(pair);
            }
            if accepts_answers(submission) && self.policy(pair.sender) != Policy::Everything {
                answers.push(pair.reversed());
            }
        }
        self.consents = Consents::read(tables, requests.iter().chain(&answers).copied())?;
        let is_new = |pair: &Pair| self.policy(pair.recipient) == Policy::Requests;
        let new: Vec<Pair> = requests.into_iter().filter(is_new).collect();
        self.consents.count_waiting(tables, new)
    }

    /// How an account treats those who write to it.
    fn policy(&self, account: AccountKey) -> Policy {
        let devices = self.devices.get(&account);
        devices.map_or(Policy::Everything, |devices| Policy::from_devices(devices, self.now))
    }

    /// Whether the sending device still exists.
    fn knows_sender(&self, Submission { sender, .. }: &Submission) -> bool {
        let devices = self.devices.get(&sender.account.key);
        devices.into_iter().flatten().any(|device| device.key == sender.device_key)
    }

    fn accept(
        &mut self,
        submission: &'a Submission,
        account: &Account,
        key: Option<SubmissionKey>,
    ) -> Sent {
        if let Err(pause) = self.limit_messages(submission, account) {
            return Sent::Limited(pause);
        }
        if is_refused(submission, account) {
            return Sent::RefusedIntraApp;
        }
        let needs_sync = !self.others(submission, submission.sender.account.key).is_empty();
        if key.is_some_and(|key| self.sent.contains(&key)) {
            return Sent::Stored { needs_sync, devices: Vec::new() };
        }
        let mut recipients = self.others(submission, account.key);
        if let Some(left_out) = &submission.left_out {
            recipients.retain(|device| !left_out.contains(account, device.number));
        }
        if recipients.is_empty() && !is_to_self(submission, account) {
            return Sent::NotFound;
        }
        if let Err(mismatch) = check(submission, &recipients) {
            return Sent::Mismatched(mismatch);
        }
        let messages = self.build(submission, account, &recipients);
        let verdict = self.verdict(submission, account);
        if let Err(pause) = self.limit_bytes(submission, account, verdict) {
            return Sent::Limited(pause);
        }
        let verdict = self.limit_requests(submission, account, verdict);
        let Some(messages) = self.admit(messages, &recipients, verdict) else {
            return Sent::QueueFull;
        };
        self.update_consents(submission, account, verdict);
        let devices = messages.iter().map(|message| message.device).collect();
        self.messages.extend(messages);
        self.sent.extend(key);
        self.remembered.extend(key);
        Sent::Stored { needs_sync, devices }
    }

    /// Limits how often an account sends to another one. Receipts and the like have a limit of their own, so that they do not use
    /// up that of messages.
    fn limit_messages(&self, submission: &Submission, to: &Account) -> Result<(), Duration> {
        let Some(budget) = self.budget else { return Ok(()) };
        let action = if accepts_answers(submission) { Action::Message } else { Action::Background };
        budget.spend(action, (submission.sender.account.key, to.key), 1)
    }

    /// Whether a message is delivered. Its sender must not notice it, so everything that it does notice is decided
    /// without this.
    fn verdict(&self, submission: &Submission, to: &Account) -> Verdict {
        if is_to_self(submission, to) {
            return Verdict::Deliver;
        }
        let verdict = self.consents.verdict(self.policy(to.key), pair(submission, to));
        // Typing of a stranger is not delivered, and must not become a request.
        match verdict {
            Verdict::DeliverAsRequest if submission.is_ephemeral => Verdict::Withhold,
            Verdict::Deliver | Verdict::DeliverAsRequest | Verdict::Withhold => verdict,
        }
    }

    /// Limits the bytes that an account receives, after all other checks: a message that is not stored costs nothing. Strangers
    /// have limits of their own, but get the same answers.
    fn limit_bytes(
        &self,
        submission: &Submission,
        to: &Account,
        verdict: Verdict,
    ) -> Result<(), Duration> {
        let Some(budget) = self.budget else { return Ok(()) };
        let kib = submission.kib();
        let pair = (submission.sender.account.key, to.key);
        budget.spend(Action::InboundKibFromSender, pair, kib)?;
        match verdict {
            Verdict::Deliver => budget.spend(Action::InboundKib, to.key, kib),
            Verdict::DeliverAsRequest | Verdict::Withhold => {
                budget.check(Action::InboundKib, to.key, kib)
            }
        }
    }

    /// Withholds a request if strangers have written to the recipient too much, so that they cannot fill its queue.
    fn limit_requests(&self, submission: &Submission, to: &Account, verdict: Verdict) -> Verdict {
        let (Verdict::DeliverAsRequest, Some(budget)) = (verdict, self.budget) else {
            return verdict;
        };
        let kib = budget.spend(Action::RequestKib, to.key, submission.kib());
        match kib.and_then(|()| budget.spend(Action::Request, to.key, 1)) {
            Ok(()) => verdict,
            Err(_) => Verdict::Withhold,
        }
    }

    /// Records an accepted message: its recipient has a request, and its sender wants answers.
    fn update_consents(&mut self, submission: &Submission, to: &Account, verdict: Verdict) {
        if is_to_self(submission, to) {
            return;
        }
        let pair = pair(submission, to);
        if verdict == Verdict::DeliverAsRequest {
            self.consents.count_request(pair, self.now);
        }
        if accepts_answers(submission) && self.policy(pair.sender) != Policy::Everything {
            self.consents.accept(pair.reversed(), self.now);
        }
    }

    /// Counts the messages, and returns those that fit into the queues. Withheld messages are checked in the same way, but not stored, so
    /// that the answer does not reveal the verdict.
    fn admit(
        &mut self,
        messages: Vec<StoredMessage<'a>>,
        recipients: &[RecipientDevice],
        verdict: Verdict,
    ) -> Option<Vec<StoredMessage<'a>>> {
        if verdict == Verdict::Withhold {
            return self.queues.would_admit(&messages, recipients).then(Vec::new);
        }
        self.queues.admit(messages, recipients)
    }

    /// The devices of an account that can receive messages, without the sending device.
    fn others(&self, submission: &Submission, account: AccountKey) -> Vec<RecipientDevice> {
        let is_other = |device: &&RecipientDevice| device.key != submission.sender.device_key;
        let devices = self.devices.get(&account).into_iter().flatten();
        devices.filter(|device| device.is_enabled(self.now)).filter(is_other).copied().collect()
    }

    /// One message for each device. The recipients are checked already.
    fn build(
        &self,
        submission: &'a Submission,
        to: &Account,
        recipients: &[RecipientDevice],
    ) -> Vec<StoredMessage<'a>> {
        let sender = &submission.sender;
        let (account, device) = (&sender.account, sender.device);
        let report_key = Some(self.report_key);
        let source = Source { account, device, shows_number: true, report_key };
        let is_to_number = match submission.destination {
            Destination::Account(_) | Destination::Username(_) => false,
            Destination::Number(_) | Destination::NumberInApp(..) => true,
        };
        let build = |message: &NewMessage| {
            let device = recipients.iter().find(|device| device.number == message.device)?;
            let envelope = Envelope {
                body: message.body.clone(),
                content: message.content.clone(),
                urgent: Some(submission.is_urgent),
                ephemeral: submission.is_ephemeral.then_some(true),
                ..Envelope::new(message.kind, submission.timestamp)
            };
            let message = source.send(envelope, to, device, self.now);
            Some(StoredMessage { is_to_number, ..message })
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

/// The recipient and the sender of a submission.
const fn pair(submission: &Submission, to: &Account) -> Pair {
    Pair { recipient: to.key, sender: submission.sender.account.key }
}

/// Whether the message accepts answers of its recipient. Ephemeral messages and decryption errors do not: programs send them,
/// not people.
fn accepts_answers(submission: &Submission) -> bool {
    let is_written = |message: &NewMessage| message.kind != EnvelopeKind::PlaintextContent;
    submission.accepts_answers
        && !submission.is_ephemeral
        && submission.messages.iter().any(is_written)
}

fn is_to_self(submission: &Submission, account: &Account) -> bool {
    account.key == submission.sender.account.key
}

/// Checks that a submission is addressed to exactly these devices, or to some of them if it is partial.
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
    match submission.is_partial {
        false => check_recipients(&current, &addressed),
        true => check_some_recipients(&current, &addressed),
    }
}

impl Submission {
    /// Bytes of all messages.
    fn bytes(&self) -> usize {
        self.messages.iter().map(NewMessage::bytes).sum()
    }

    /// The size in KiB, rounded up.
    fn kib(&self) -> u32 {
        u32::try_from(self.bytes().div_ceil(1024)).unwrap_or(u32::MAX)
    }
}

/// The hash that identifies a submission. `None` for an ephemeral one, which is worth nothing by the time it is repeated.
fn identify(
    submission: &Submission,
    account: &Account,
    devices: &[RecipientDevice],
) -> Option<SubmissionKey> {
    let key = SubmissionKey {
        sender: submission.sender.device_key,
        destination: account.key,
        timestamp: submission.timestamp,
        content: hash(&submission.messages, devices),
    };
    (!submission.is_ephemeral).then_some(key)
}

/// Hashes messages and the rows of the devices that they are for.
pub(super) fn hash(messages: &[NewMessage], devices: &[RecipientDevice]) -> i64 {
    let mut hash = Sha256::new();
    for message in messages {
        let device = devices.iter().find(|device| device.number == message.device);
        hash.update([message.device.number()]);
        hash.update(device.map_or(0, |device| device.key.0).to_be_bytes());
        hash.update(message.kind.number().to_be_bytes());
        for part in [&message.body, &message.content] {
            let part = part.as_deref().unwrap_or_default();
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}
