//! Accepts sealed messages: the envelopes do not name the sender, who shows the access keys of the recipients instead, or
//! credentials that nobody else learns of. A message to many accounts goes to all of them in one transaction.
//!
//! For each recipient, a sender with credentials has the same rules as for a message to it alone: what strangers may send is
//! separate from what others may, and the sender does not notice whether it is blocked. But members of a group who do not know
//! each other write more than strangers: what waits for a decision is reported as if there were no room, so that it is kept.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wormhole_chat::service::{CurrentDevice, Destination, Mismatch, Recipient, check_recipients};
use wormhole_chat::{AccountId, Envelope, EnvelopeKind, MultiRecipientMessage, Timestamp};

use super::consent::{ALLOWANCE, Consents, Policy, Verdict};
use super::envelope::{NOBODY, send_sealed};
use super::lookup::{Queues, devices_of};
use super::submissions::hash;
use crate::messaging::rate_limits::{Action, Budget};
use crate::messaging::store::tables::{
    RecipientDevice, SenderQueue, StoredMessage, SubmissionKey, Tables,
};
use crate::messaging::store::{
    Access, Account, AccountKey, Consent, ConsentState, DeviceKey, IntraApp, Job, NewMessage, Pair,
    ReadRows, SealedMessages, SealedProof, SealedSent, SealedSubmission, Sender, StoreError,
    UnidentifiedCaller,
};

/// Finds the account that an unidentified client addresses. Reads the same rows whether it exists or not, so that the time of the answer
/// does not show it.
pub(in crate::messaging) fn find(
    rows: &mut dyn ReadRows,
    destination: &Destination,
) -> Result<Option<Account>, StoreError> {
    let (number, app) = match destination {
        Destination::Account(id) => return rows.account(*id),
        Destination::Username(name) => return rows.account_with_name(name),
        Destination::Number(number) => (number, None),
        Destination::NumberInApp(number, app) => (number, Some(app)),
    };
    let is_meant = |account: &Account| match app {
        Some(app) => account.app_name == *app,
        None => account.is_default,
    };
    Ok(rows.accounts_of(number)?.into_iter().find(is_meant))
}

/// Executes all sealed submissions.
pub(super) fn accept(
    tables: &mut dyn Tables,
    jobs: &mut [Job<SealedSubmission, SealedSent>],
    budget: Option<&Budget>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let destinations: Vec<_> = jobs.iter().flat_map(|job| &job.request.destinations).collect();
    let mut accounts = tables.resolve(&destinations)?.into_iter();
    let requests = jobs.iter().map(|job| {
        let accounts = accounts.by_ref().take(job.request.destinations.len()).collect();
        Request { submission: &job.request, accounts }
    });
    let requests: Vec<Request<'_>> = requests.collect();
    let mut acceptance = SealedAcceptance::new(tables, &requests, budget, now)?;
    let answers: Vec<_> = requests.iter().map(|request| acceptance.accept(request)).collect();
    tables.insert_messages(&acceptance.messages)?;
    tables.insert_sent(&acceptance.remembered, now)?;
    acceptance.consents.write(tables)?;
    super::answer(jobs, answers);
    Ok(())
}

/// A submission, and the accounts of its destinations.
#[derive(Debug)]
struct Request<'a> {
    submission: &'a SealedSubmission,
    accounts: Vec<Option<Account>>,
}

/// The facts for accepting sealed messages, and the messages that are accepted.
#[derive(Debug)]
struct SealedAcceptance<'a> {
    now: Timestamp,
    budget: Option<&'a Budget>,
    devices: HashMap<AccountKey, Vec<RecipientDevice>>,
    /// Between recipients and devices that show their credentials.
    consents: Consents,
    queues: Queues,
    /// Submissions that are stored, before or by this turn.
    sent: HashSet<SubmissionKey>,
    /// The messages that this turn stores.
    messages: Vec<StoredMessage<'static>>,
    remembered: Vec<SubmissionKey>,
}

/// An account that gets a message.
#[derive(Debug)]
struct Target<'a> {
    account: &'a Account,
    /// Its devices that must get it.
    devices: Vec<RecipientDevice>,
    /// The devices that the sender has named.
    addressed: Vec<Recipient>,
    /// Its place among the recipients.
    place: usize,
}

impl<'a> SealedAcceptance<'a> {
    fn new(
        tables: &mut dyn Tables,
        requests: &[Request<'_>],
        budget: Option<&'a Budget>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let accounts = requests.iter().flat_map(Request::accounts).map(|account| account.key);
        let senders = requests.iter().filter_map(|request| request.submission.proof.sender());
        let devices = devices_of(tables, accounts.chain(senders.map(|it| it.account.key)))?;
        let decides = |pair: &Pair| {
            let devices = devices.get(&pair.recipient);
            devices.is_some_and(|devices| Policy::from_devices(devices, now) != Policy::Everything)
        };
        let pairs: Vec<_> = requests.iter().flat_map(Request::pairs).filter(decides).collect();
        let mut consents = Consents::read(tables, pairs.iter().copied())?;
        let asks = |pair: &Pair| {
            let devices = devices.get(&pair.recipient);
            devices.is_some_and(|devices| Policy::from_devices(devices, now) == Policy::Requests)
        };
        consents.count_waiting(tables, pairs.into_iter().filter(asks))?;
        let all = requests.iter().flat_map(Request::accounts);
        let all = all.flat_map(|account| devices.get(&account.key)).flatten();
        let queues = all.map(|device| SenderQueue { device: device.key, source: NOBODY });
        let queues = Queues::read(tables, queues)?;
        let known: Vec<_> = requests.iter().filter_map(|it| it.identify(&devices)).collect();
        let were_sent = tables.were_sent(&known)?.into_iter();
        let sent = known.into_iter().zip(were_sent);
        let sent = sent.filter_map(|(key, was_sent)| was_sent.then_some(key)).collect();
        let (messages, remembered) = (Vec::new(), Vec::new());
        Ok(Self { now, budget, devices, consents, queues, sent, messages, remembered })
    }

    fn accept(&mut self, request: &Request<'_>) -> SealedSent {
        if let Some(refusal) = self.refuse(request) {
            return refusal;
        }
        let stored = |unknown, full, devices| SealedSent::Stored { unknown, full, devices };
        let key = request.identify(&self.devices);
        if key.is_some_and(|key| self.sent.contains(&key)) {
            return stored(Vec::new(), Vec::new(), Vec::new());
        }
        let (targets, unknown) = self.targets(request);
        let is_one = matches!(request.submission.messages, SealedMessages::One(_));
        if is_one && targets.is_empty() {
            return SealedSent::NotFound;
        }
        let mismatches: Vec<_> = targets.iter().filter_map(Target::mismatch).collect();
        if !mismatches.is_empty() {
            return SealedSent::Mismatched(mismatches);
        }
        if let Err(pause) = self.limit_sender(request) {
            return SealedSent::Limited(pause);
        }
        let (mut full, mut devices) = (Vec::new(), Vec::new());
        let mut contents = request.submission.contents().enumerate();
        for target in &targets {
            // Targets are in the order of the recipients, some of which are left out.
            let Some((_, content)) = contents.find(|(place, _)| *place == target.place) else {
                break;
            };
            match self.store(request.submission, target, &content) {
                Ok(stored) => devices.extend(stored),
                Err(NotAccepted::Limited(pause)) if is_one => return SealedSent::Limited(pause),
                Err(NotAccepted::QueueFull) if is_one => return SealedSent::QueueFull,
                Err(_) => full.push(target.account.id),
            }
        }
        // A repetition must be able to reach those who had no room.
        if full.is_empty() {
            self.sent.extend(key);
            self.remembered.extend(key);
        }
        stored(unknown, full, devices)
    }

    /// Why a submission is not accepted, whatever it contains.
    fn refuse(&self, request: &Request<'_>) -> Option<SealedSent> {
        let access = request.accounts.iter().map(|it| it.as_ref().map(|account| &account.access));
        match &request.submission.proof {
            SealedProof::Unidentified(stranger) => {
                (!Access::allow(access, &stranger.key)).then_some(SealedSent::Unauthorized)
            }
            SealedProof::Device(sender) if !self.knows(sender) => Some(SealedSent::UnknownSender),
            SealedProof::Device(sender) => {
                let is_own = |account: &&Account| account.app == sender.app.key;
                let is_refused = sender.app.intra == IntraApp::Refused
                    && request.accounts().any(|account| is_own(&account));
                is_refused.then_some(SealedSent::RefusedIntraApp)
            }
        }
    }

    /// Whether a message is delivered. Its sender must not notice that it is blocked, so everything that it does notice is decided
    /// without this. A sender with an access key knows the recipient.
    fn verdict(&self, pair: Option<Pair>) -> Verdict {
        let Some(pair) = pair.filter(|pair| pair.sender != pair.recipient) else {
            return Verdict::Deliver;
        };
        let devices = self.devices.get(&pair.recipient);
        let policy =
            devices.map_or(Policy::Everything, |devices| Policy::from_devices(devices, self.now));
        self.consents.verdict(policy, pair)
    }

    /// Whether the sending device still exists.
    fn knows(&self, sender: &Sender) -> bool {
        let devices = self.devices.get(&sender.account.key);
        devices.into_iter().flatten().any(|device| device.key == sender.device_key)
    }

    /// The accounts that get a message, and the ids of those that cannot get any.
    fn targets<'r>(&self, request: &'r Request<'_>) -> (Vec<Target<'r>>, Vec<AccountId>) {
        let SealedSubmission { proof, destinations, left_out, .. } = request.submission;
        let own = proof.sender().map(|sender| sender.device_key);
        let is_needed =
            |device: &&RecipientDevice| device.is_enabled(self.now) && Some(device.key) != own;
        let (mut targets, mut unknown) = (Vec::new(), Vec::new());
        let addressed = request.submission.addressed();
        let recipients = request.accounts.iter().zip(destinations).zip(addressed);
        for (place, ((account, destination), addressed)) in recipients.enumerate() {
            let all = account.as_ref().and_then(|account| self.devices.get(&account.key));
            let is_left_out = |device: &&RecipientDevice| {
                account.as_ref().is_some_and(|account| {
                    let mut of_account =
                        left_out.iter().filter(|(id, _)| id.is_none_or(|id| id == account.id));
                    of_account.any(|(_, left_out)| left_out.contains(account, device.number))
                })
            };
            let devices = all.into_iter().flatten().filter(is_needed);
            let devices: Vec<_> = devices.filter(|it| !is_left_out(it)).copied().collect();
            match (account, destination) {
                (Some(account), _) if !devices.is_empty() => {
                    targets.push(Target { account, devices, addressed, place });
                }
                (Some(Account { id, .. }), _) | (None, Destination::Account(id)) => {
                    unknown.push(*id);
                }
                (
                    None,
                    Destination::Number(_)
                    | Destination::NumberInApp(..)
                    | Destination::Username(_),
                ) => {}
            }
        }
        (targets, unknown)
    }

    /// Limits how much a network or an account can make the server store.
    fn limit_sender(&self, request: &Request<'_>) -> Result<(), Duration> {
        let Some(budget) = self.budget else { return Ok(()) };
        let kib = kib(request.submission.stored_bytes());
        match &request.submission.proof {
            SealedProof::Unidentified(UnidentifiedCaller { network: Some(network), .. }) => {
                budget.spend(Action::SealedKib, (None::<AccountKey>, Some(*network)), kib)
            }
            SealedProof::Unidentified(UnidentifiedCaller { network: None, .. }) => Ok(()),
            SealedProof::Device(sender) => {
                let owner = (Some(sender.account.key), None::<std::net::IpAddr>);
                budget.spend(Action::SealedKib, owner, kib)
            }
        }
    }

    /// Limits how much an account receives, once everything else is checked: what is not stored costs nothing. Those that it does
    /// not know use up nothing that others need, but get the same answers.
    fn limit_recipient(
        &self,
        submission: &SealedSubmission,
        to: &Account,
        bytes: usize,
        verdict: Verdict,
    ) -> Result<(), Duration> {
        let Some(budget) = self.budget else { return Ok(()) };
        match &submission.proof {
            SealedProof::Unidentified(UnidentifiedCaller { network, .. }) => {
                if let Some(network) = network {
                    budget.spend(Action::SealedMessage, (network, to.key), 1)?;
                }
                budget.spend(Action::SealedPerAccount, to.key, 1)?;
            }
            SealedProof::Device(sender) => {
                let pair = (sender.account.key, to.key);
                budget.spend(Action::InboundKibFromSender, pair, kib(bytes))?;
            }
        }
        match verdict {
            Verdict::Deliver => budget.spend(Action::InboundKib, to.key, kib(bytes)),
            Verdict::DeliverAsRequest | Verdict::Withhold => {
                budget.check(Action::InboundKib, to.key, kib(bytes))
            }
        }
    }

    /// Withholds a request if strangers have written to the recipient too much, so that they cannot fill its queue.
    fn limit_requests(&self, to: &Account, bytes: usize, verdict: Verdict) -> Verdict {
        let (Verdict::DeliverAsRequest, Some(budget)) = (verdict, self.budget) else {
            return verdict;
        };
        let kib = budget.spend(Action::RequestKib, to.key, kib(bytes));
        match kib.and_then(|()| budget.spend(Action::Request, to.key, 1)) {
            Ok(()) => verdict,
            Err(_) => Verdict::Withhold,
        }
    }

    /// Whether the sender keeps a withheld message, because the recipient may still accept it. A sender that is blocked gets the
    /// same answers as before.
    fn waits(&self, submission: &SealedSubmission, pair: Pair) -> bool {
        let is_many = matches!(submission.messages, SealedMessages::Many(_));
        let is_exhausted = |consent: Consent| {
            consent.state != ConsentState::Blocked || consent.messages >= ALLOWANCE
        };
        is_many && !submission.is_ephemeral && self.consents.get(pair).is_none_or(is_exhausted)
    }

    /// Adds the messages for the devices of an account, and returns those that get one.
    fn store(
        &mut self,
        submission: &SealedSubmission,
        target: &Target<'_>,
        content: &Content<'_>,
    ) -> Result<Vec<DeviceKey>, NotAccepted> {
        let messages = target.devices.iter().filter_map(|device| {
            let (body, content) = content.for_device(device)?;
            let envelope = Envelope {
                body,
                content,
                urgent: Some(submission.is_urgent),
                ephemeral: submission.is_ephemeral.then_some(true),
                ..Envelope::new(EnvelopeKind::UnidentifiedSender, submission.timestamp)
            };
            Some(send_sealed(envelope, target.account, device, self.now))
        });
        let messages: Vec<_> = messages.collect();
        if !self.queues.would_admit(&messages, &target.devices) {
            return Err(NotAccepted::QueueFull);
        }
        let bytes = messages.iter().map(|message| message.envelope.len()).sum();
        let sender = submission.proof.sender().map(|sender| sender.account.key);
        let pair = sender.map(|sender| Pair { recipient: target.account.key, sender });
        let verdict = match self.verdict(pair) {
            Verdict::DeliverAsRequest if submission.is_ephemeral => Verdict::Withhold,
            verdict @ (Verdict::Deliver | Verdict::DeliverAsRequest | Verdict::Withhold) => verdict,
        };
        let limited = self.limit_recipient(submission, target.account, bytes, verdict);
        limited.map_err(NotAccepted::Limited)?;
        let verdict = self.limit_requests(target.account, bytes, verdict);
        if verdict == Verdict::Withhold {
            let waits = pair.is_some_and(|pair| self.waits(submission, pair));
            return if waits { Err(NotAccepted::Undecided) } else { Ok(Vec::new()) };
        }
        if let (Some(pair), Verdict::DeliverAsRequest) = (pair, verdict) {
            self.consents.count_request(pair, self.now);
        }
        let messages =
            self.queues.admit(messages, &target.devices).ok_or(NotAccepted::QueueFull)?;
        let devices = messages.iter().map(|message| message.device).collect();
        self.messages.extend(messages);
        Ok(devices)
    }
}

/// Why an account gets no message now.
#[derive(Clone, Copy, Debug)]
enum NotAccepted {
    Limited(Duration),
    QueueFull,
    /// The recipient has not decided about the sender yet, who may send no more until then.
    Undecided,
}

/// Fields 6 and 8 of an envelope.
type BodyAndContent = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The ciphertexts for the devices of an account.
enum Content<'a> {
    Each(&'a [NewMessage]),
    Same(Vec<u8>),
}

impl Content<'_> {
    /// Body and content for a device.
    fn for_device(&self, device: &RecipientDevice) -> Option<BodyAndContent> {
        match self {
            Self::Each(messages) => {
                let message = messages.iter().find(|message| message.device == device.number)?;
                Some((message.body.clone(), message.content.clone()))
            }
            Self::Same(content) => Some((None, Some(content.clone()))),
        }
    }
}

impl SealedProof {
    const fn sender(&self) -> Option<&Sender> {
        match self {
            Self::Device(sender) => Some(sender),
            Self::Unidentified(_) => None,
        }
    }
}

impl SealedSubmission {
    /// The devices that the sender has named, of each recipient.
    fn addressed(&self) -> Vec<Vec<Recipient>> {
        match &self.messages {
            SealedMessages::One(messages) => {
                let recipient = |message: &NewMessage| Recipient {
                    device: message.device,
                    registration_id: message.registration_id,
                };
                vec![messages.iter().map(recipient).collect()]
            }
            SealedMessages::Many(message) => {
                let devices = message.recipients().map(|(_, devices)| {
                    let recipient = |device: &wormhole_chat::SealedDevice| Recipient {
                        device: device.device,
                        registration_id: Some(device.registration_id.into()).filter(|id| *id > 0),
                    };
                    devices.iter().map(recipient).collect()
                });
                devices.collect()
            }
        }
    }

    /// Returns the content for each recipient.
    fn contents(&self) -> impl Iterator<Item = Content<'_>> {
        let (one, many): (_, Option<&MultiRecipientMessage>) = match &self.messages {
            SealedMessages::One(messages) => (Some(Content::Each(messages)), None),
            SealedMessages::Many(message) => (None, Some(message)),
        };
        let many = many.into_iter().flat_map(MultiRecipientMessage::messages);
        one.into_iter().chain(many.map(Content::Same))
    }
}

impl Request<'_> {
    fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter().flatten()
    }

    /// The recipients and the account whose credentials were shown.
    fn pairs(&self) -> Vec<Pair> {
        let sender = self.submission.proof.sender().map(|sender| sender.account.key);
        let pair = |recipient: &Account| Some(Pair { recipient: recipient.key, sender: sender? });
        self.accounts().filter_map(pair).collect()
    }

    /// The hash that identifies a submission, without its sender. `None` for an ephemeral one.
    fn identify(
        &self,
        devices: &HashMap<AccountKey, Vec<RecipientDevice>>,
    ) -> Option<SubmissionKey> {
        let of = |account: &Account| devices.get(&account.key).map_or(&[][..], Vec::as_slice);
        let SealedSubmission { messages, timestamp, is_ephemeral, .. } = self.submission;
        let (destination, content) = match messages {
            SealedMessages::One(messages) => {
                let account = self.accounts().next()?;
                (account.key, hash(messages, of(account)))
            }
            SealedMessages::Many(message) => {
                let mut hash = Sha256::new_with_prefix(message.encode());
                let devices = self.accounts().flat_map(of);
                devices.for_each(|device| hash.update(device.key.0.to_be_bytes()));
                let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
                (MANY, i64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        };
        let key = SubmissionKey { sender: NO_DEVICE, destination, timestamp: *timestamp, content };
        (!is_ephemeral).then_some(key)
    }
}

impl Target<'_> {
    /// Returns the errors in the devices that the sender has named.
    fn mismatch(&self) -> Option<(AccountId, Mismatch)> {
        let current = |device: &RecipientDevice| CurrentDevice {
            device: device.number,
            registration_id: device.registration_id,
        };
        let current: Vec<_> = self.devices.iter().map(current).collect();
        let checked = check_recipients(&current, &self.addressed);
        checked.err().map(|mismatch| (self.account.id, mismatch))
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Stands for the device of a sender whom the server does not remember. No device has this key.
const NO_DEVICE: DeviceKey = DeviceKey(0);

/// Stands for the recipient of a message to many. No account has this key.
const MANY: AccountKey = AccountKey(0);
