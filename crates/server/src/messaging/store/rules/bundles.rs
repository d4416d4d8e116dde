//! Hands out keys. A one-time key goes to exactly one of those who ask.

use std::collections::{BTreeMap, HashMap};

use super::lookup::{devices_of, distinct};
use crate::messaging::store::tables::{PublishedKeys, RecipientDevice, Tables, WantedKeys};
use crate::messaging::store::{
    Account, Bundle, BundleRequest, DeviceBundle, DeviceKey, Job, KeyKind, OneTimeKey, SignedKey,
    StoreError,
};

/// Answers all requests for keys.
pub(super) fn take(
    tables: &mut dyn Tables,
    jobs: &mut [Job<BundleRequest, Option<Bundle>>],
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let destinations: Vec<_> = jobs.iter().map(|job| &job.request.destination).collect();
    let accounts = tables.resolve(&destinations)?;
    let known = accounts.iter().flatten().map(|account| account.key);
    let devices = devices_of(tables, known)?;
    let asked = |(job, account): (&Job<BundleRequest, _>, Option<Account>)| {
        let account = account?;
        let devices = devices.get(&account.key).map_or(&[][..], Vec::as_slice);
        let devices = select(&job.request, devices);
        (!devices.is_empty()).then_some((account, devices))
    };
    let asked: Vec<_> = jobs.iter().zip(accounts).map(asked).collect();
    let selected = asked.iter().flatten().flat_map(|(_, devices)| devices);
    let mut keys = Keys::take(tables, selected.map(|device| device.key))?;
    let bundles = asked.into_iter().map(|asked| {
        let (account, devices) = asked?;
        let devices = devices.iter().map(|device| keys.bundle(device)).collect();
        Some(Bundle { account, devices })
    });
    super::answer(jobs, bundles);
    Ok(())
}

/// The devices whose keys are asked for: one that has keys, or all that messages must be addressed to.
fn select(request: &BundleRequest, devices: &[RecipientDevice]) -> Vec<RecipientDevice> {
    let is_asked = |device: &&RecipientDevice| match request.device {
        Some(number) => device.number == number && device.has_keys,
        None => device.is_enabled(),
    };
    devices.iter().filter(is_asked).copied().collect()
}

/// The keys of all devices that are asked for in a turn.
#[derive(Debug)]
struct Keys {
    published: HashMap<DeviceKey, PublishedKeys>,
    /// The highest id first.
    one_time: HashMap<(DeviceKey, KeyKind), Vec<OneTimeKey>>,
}

impl Keys {
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
