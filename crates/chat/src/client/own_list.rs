//! The list of our own devices: each of them keeps it complete.
//!
//! | what happens | what follows |
//! |---|---|
//! | a connection is open | the newest list and our devices are requested |
//! | we are not in the list, or devices in it do not exist any more, or the server has lost it | a new list, signed by us, is published in its place |
//! | another device was faster | the same again, at most 10 times |
//! | the list with us is stored | our keys are published, and messages are sent |
//!
//! A device without a place in the list publishes no keys and sends nothing: others would refuse it.

use rand_core::CryptoRngCore;

use super::exchange::{NewDeviceList, OwnDeviceList, Request, Response};
use super::pending::Purpose;
use super::store::Changes;
use super::{Client, ClientOutput};
use crate::address::DeviceId;
use crate::device_list::{DeviceList, OwnDevice};
use crate::time::Timestamp;

/// What this device does about the list of our devices.
#[derive(Debug, Default)]
pub(super) struct OwnList {
    /// Whether the service has lists.
    is_on: bool,
    /// Whether a list with us was published, or the service has none.
    is_ready: bool,
    /// How often another device was faster, since the last connection.
    conflicts: u32,
    /// The list that is being published.
    publishing: Option<DeviceList>,
}

/// What to do about the list of our devices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceListUpdate {
    /// The newest list, once it is published. `None`: there is none, and no other can be made.
    pub list: Option<DeviceList>,
    /// What must be published for that.
    pub publish: Option<NewDeviceList>,
}

impl Client {
    /// Keeps the signed list of our devices complete, from now on. Call it directly after [`Client::new`] or
    /// [`Client::restore`], if the service stores such lists: until a list with this device is stored, no keys are published and
    /// nothing is sent.
    pub fn manage_device_list(&mut self) {
        let us = self.us;
        self.lists.own.is_on = true;
        let list = self.lists.of(us.account);
        let id = self.identity.registration_id;
        self.lists.own.is_ready = list.is_some_and(|list| list.has(us.device, id));
        if !self.lists.own.is_ready {
            let is_other =
                |it: &ClientOutput| !matches!(it, ClientOutput::Request(_, Request::Publish(_)));
            self.outputs.retain(is_other);
            self.held.iter_mut().for_each(|(_, held)| held.retain(is_other));
            self.pending.forget(Purpose::Publish);
        }
        self.ask_for_own_list();
    }

    /// Whether others may hear of this device: it is in the list, or the service has no lists.
    pub(super) const fn is_listed(&self) -> bool {
        !self.lists.own.is_on || self.lists.own.is_ready
    }

    /// A new connection is open.
    pub(super) fn check_own_list(&mut self) {
        self.lists.own.conflicts = 0;
        self.ask_for_own_list();
    }

    fn ask_for_own_list(&mut self) {
        let is_busy = [Purpose::OwnList, Purpose::PublishList].map(|it| self.pending.has(it));
        if self.lists.own.is_on && is_busy == [false; 2] {
            let request = self.request(Purpose::OwnList, Request::DeviceList);
            self.after_commits(vec![request]);
        }
    }

    /// What must be done about the list of our devices, if the server shows this. Devices in `sign` are added. Nothing changes
    /// here: this is for a program that has no connection, too.
    pub fn update_device_list(
        &self,
        now: Timestamp,
        shown: &OwnDeviceList,
        sign: &[DeviceId],
        rng: &mut impl CryptoRngCore,
    ) -> DeviceListUpdate {
        let (us, pair) = (self.us, &self.identity.pair);
        let stored = shown.stored.as_ref();
        let open = |(_, list): &(u64, Vec<u8>)| DeviceList::open(list, us.account, pair.public());
        let newest = stored.and_then(|stored| open(stored).ok());
        let pinned = self.lists.of(us.account);
        let is_newer =
            |list: &&DeviceList| pinned.is_none_or(|pinned| pinned.revision < list.revision);
        let base = newest.as_ref().filter(is_newer).or(pinned);
        // Whatever the server says, this device exists.
        let mut existing = shown.devices.clone();
        existing.retain(|it| it.device != us.device);
        let registration_id = self.identity.registration_id;
        existing.push(OwnDevice { device: us.device, registration_id, has_keys: true });
        let sign = [&[us.device], sign].concat();
        let next = DeviceList::next(base, us.account, &existing, &sign, now);
        let is_stored = base.is_some() && newest.as_ref() == base;
        let is_same = |next: &DeviceList| base.is_some_and(|base| next.has_same_devices(base));
        match next {
            Some(next) if !(is_stored && is_same(&next)) => {
                let publish = NewDeviceList {
                    previous: stored.map(|(revision, _)| *revision),
                    revision: next.revision,
                    list: next.sign(pair, rng),
                };
                DeviceListUpdate { list: Some(next), publish: Some(publish) }
            }
            Some(_) | None => DeviceListUpdate { list: base.cloned(), publish: None },
        }
    }

    pub(super) fn handle_own_list(
        &mut self,
        now: Timestamp,
        response: Response,
        rng: &mut impl CryptoRngCore,
    ) {
        let Response::DeviceList(shown) = response else {
            // The service has no lists.
            return self.now_listed(now);
        };
        let DeviceListUpdate { list, publish } = self.update_device_list(now, &shown, &[], rng);
        let Some(list) = list else { return self.now_listed(now) };
        self.report_own_devices(&list, &shown.devices);
        if let Some(new) = publish {
            self.lists.own.publishing = Some(list);
            let request =
                self.request(Purpose::PublishList, Request::PublishDeviceList(Box::new(new)));
            self.outputs.push_back(request);
        } else {
            self.own_list_is(now, list);
        }
    }

    pub(super) fn handle_list_published(&mut self, now: Timestamp, response: &Response) {
        let published = self.lists.own.publishing.take();
        match (response, published) {
            (Response::Done, Some(list)) => self.own_list_is(now, list),
            (Response::DeviceListConflict, _) => {
                self.lists.own.conflicts += 1;
                if self.lists.own.conflicts <= MAX_CONFLICTS {
                    self.ask_for_own_list();
                }
            }
            // The service does not accept it. Others can write to us nevertheless, as long as there is no list.
            _ => self.now_listed(now),
        }
    }

    /// The server has this list, in which we are.
    fn own_list_is(&mut self, now: Timestamp, list: DeviceList) {
        if self.lists.of(self.us.account) != Some(&list) {
            let mut changes = Changes::default();
            self.pin(list, &mut changes);
            self.commit(changes, Vec::new());
        }
        self.now_listed(now);
    }

    fn now_listed(&mut self, now: Timestamp) {
        if !std::mem::replace(&mut self.lists.own.is_ready, true) {
            self.publish_waiting_keys();
            self.continue_sending(now);
        }
    }

    /// Tells the user about devices of our account that nobody has signed.
    fn report_own_devices(&mut self, list: &DeviceList, existing: &[OwnDevice]) {
        let us = self.us;
        let mut changes = Changes::default();
        let is_unsigned = |it: &&OwnDevice| {
            // A device without keys may be about to sign itself.
            it.has_keys && it.device != us.device && !list.has(it.device, it.registration_id)
        };
        let unsigned: Vec<_> = existing.iter().filter(is_unsigned).copied().collect();
        for OwnDevice { device, registration_id, .. } in unsigned {
            self.report_unsigned(us.account, device, registration_id, &mut changes);
        }
        self.commit(changes, Vec::new());
    }
}

/// How often in a row another device may be faster.
const MAX_CONFLICTS: u32 = 10;
