//! Hands out keys. A one-time key goes to exactly one of those who ask.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use wormhole_chat::Timestamp;

use super::lookup::{devices_of, distinct};
use crate::messaging::rate_limits::{Action, Budget};
use crate::messaging::store::tables::{PublishedKeys, RecipientDevice, Tables, WantedKeys};
use crate::messaging::store::{
    Access, Account, AccountKey, Asker, Bundle, BundleReply, BundleRequest, DeviceBundle,
    DeviceKey, Job, KeyKind, OneTimeKey, Requester, SignedKey, StoreError, UnidentifiedCaller,
};

/// Answers all requests for keys.
pub(super) fn take(
    tables: &mut dyn Tables,
    jobs: &mut [Job<BundleRequest, BundleReply>],
    budget: Option<&Budget>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let destinations: Vec<_> = jobs.iter().map(|job| &job.request.destination).collect();
    let accounts = tables.resolve(&destinations)?;
    let askers = jobs.iter().filter_map(|job| match job.request.asker {
        Asker::Device(requester) => Some(requester.account),
        Asker::Unidentified(_) => None,
    });
    let known = accounts.iter().flatten().map(|account| account.key).chain(askers);
    let devices = devices_of(tables, known)?;
    let choose = |(job, account): (&Job<BundleRequest, _>, _)| {
        Choice::make(&job.request, account, &devices, now).within(budget, job.request.asker)
    };
    let choices: Vec<Choice> = jobs.iter().zip(accounts).map(choose).collect();
    let mut keys = BundleKeys::take(tables, choices.iter().flat_map(Choice::devices))?;
    super::answer(jobs, choices.into_iter().map(|choice| choice.answer(&mut keys)));
    Ok(())
}

/// The result of looking up the devices whose keys are wanted.
#[derive(Debug)]
enum Choice {
    Devices(Account, Vec<RecipientDevice>),
    Limited(Duration),
    NotFound,
    Unauthorized,
    UnknownRequester,
}

impl Choice {
    fn make(
        request: &BundleRequest,
        account: Option<Account>,
        devices: &HashMap<AccountKey, Vec<RecipientDevice>>,
        now: Timestamp,
    ) -> Self {
        let of = |account| devices.get(&account).map_or(&[][..], Vec::as_slice);
        match request.asker {
            Asker::Device(Requester { account, device }) => {
                if !of(account).iter().any(|it| it.key == device) {
                    return Self::UnknownRequester;
                }
            }
            Asker::Unidentified(UnidentifiedCaller { key, .. }) => {
                if !Access::allow([account.as_ref().map(|account| &account.access)], &key) {
                    return Self::Unauthorized;
                }
            }
        }
        let Some(account) = account else { return Self::NotFound };
        match select(request, of(account.key), now) {
            devices if devices.is_empty() => Self::NotFound,
            devices => Self::Devices(account, devices),
        }
    }

    /// Limits how often an account takes keys of the same device, however it spells the request, and how often strangers do.
    fn within(self, budget: Option<&Budget>, asker: Asker) -> Self {
        let spend = |device| match (budget, asker) {
            (Some(budget), Asker::Device(Requester { account, .. })) => {
                budget.spend(Action::PreKeys, (account, device), 1)
            }
            (Some(budget), Asker::Unidentified(UnidentifiedCaller { network, .. })) => {
                budget.spend(Action::PreKeys, (network, device), 1)?;
                budget.spend(Action::PreKeysOfStrangers, device, 1)
            }
            (None, _) => Ok(()),
        };
        let limit = self.devices().try_for_each(spend);
        limit.map_or_else(Self::Limited, |()| self)
    }

    fn devices(&self) -> impl Iterator<Item = DeviceKey> + Clone {
        let devices = match self {
            Self::Devices(_, devices) => devices.as_slice(),
            Self::Limited(_) | Self::NotFound | Self::Unauthorized | Self::UnknownRequester => &[],
        };
        devices.iter().map(|device| device.key)
    }

    fn answer(self, keys: &mut BundleKeys) -> BundleReply {
        match self {
            Self::Devices(account, devices) => {
                let devices = devices.iter().map(|device| keys.bundle(device)).collect();
                BundleReply::Bundle(Bundle { account, devices })
            }
            Self::Limited(pause) => BundleReply::Limited(pause),
            Self::NotFound => BundleReply::NotFound,
            Self::Unauthorized => BundleReply::Unauthorized,
            Self::UnknownRequester => BundleReply::UnknownRequester,
        }
    }
}

/// The devices whose keys are asked for: one that has keys, or all that messages must be addressed to.
fn select(
    request: &BundleRequest,
    devices: &[RecipientDevice],
    now: Timestamp,
) -> Vec<RecipientDevice> {
    let is_asked = |device: &&RecipientDevice| match request.device {
        Some(number) => device.number == number && device.has_keys,
        None => device.is_enabled(now),
    };
    devices.iter().filter(is_asked).copied().collect()
}

/// The keys of all devices that are asked for in a turn.
#[derive(Debug)]
struct BundleKeys {
    published: HashMap<DeviceKey, PublishedKeys>,
    /// The highest id first.
    one_time: HashMap<(DeviceKey, KeyKind), Vec<OneTimeKey>>,
}

impl BundleKeys {
    /// Takes one key of each kind for each time that a device is named.
    fn take(
        tables: &mut dyn Tables,
        devices: impl Iterator<Item = DeviceKey> + Clone,
    ) -> Result<Self, StoreError> {
        let mut counts = BTreeMap::new();
        devices.clone().for_each(|device| *counts.entry(device).or_default() += 1);
        let kinds = [KeyKind::Curve, KeyKind::Kyber];
        let wanted: Vec<WantedKeys> = counts
            .into_iter()
            .flat_map(|(device, count)| kinds.map(|kind| WantedKeys { device, kind, count }))
            .collect();
        let taken = tables.take_one_time_keys(&wanted)?.into_iter().map(|mut keys| {
            keys.reverse();
            keys
        });
        let one_time =
            wanted.iter().map(|wanted| (wanted.device, wanted.kind)).zip(taken).collect();
        let devices = distinct(devices);
        let published = tables.published_keys(&devices)?;
        Ok(Self { published: devices.into_iter().zip(published).collect(), one_time })
    }

    fn bundle(&mut self, device: &RecipientDevice) -> DeviceBundle {
        let published = self.published.get(&device.key).cloned().unwrap_or_default();
        let kyber = self.next(device.key, KeyKind::Kyber).and_then(|key| {
            Some(SignedKey { id: key.id, key: key.key, signature: key.signature? })
        });
        DeviceBundle {
            device: device.number,
            registration_id: device.registration_id,
            signed: published.signed,
            one_time: self.next(device.key, KeyKind::Curve),
            last_resort: published.last_resort,
            kyber: kyber.or(published.kyber_last_resort),
        }
    }

    fn next(&mut self, device: DeviceKey, kind: KeyKind) -> Option<OneTimeKey> {
        self.one_time.get_mut(&(device, kind))?.pop()
    }
}
