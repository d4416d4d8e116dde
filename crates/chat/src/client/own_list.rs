//! The list of our own devices: each of them keeps it complete.
//!
//! | what happens | what follows |
//! |---|---|
//! | a connection is open | the newest list and our devices are requested |
//! | we are not in the list, or devices in it do not exist any more, or the server has lost it | a new list, signed by us, is published in its place |
//! | another device was faster | the same again, at most 10 times; then the user is told |
//! | we have signed a newer list than the server shows | that one is published again, or one with a greater revision: the server may have shown it to others |
//! | the list with us is stored | our keys are published, and messages are sent |
//! | the server shows us a newer list | our other devices learn that |
//! | another device of ours knows a list that the server does not show us | a greater one replaces both, and the user is told, once |
//!
//! A device without a place in the list publishes no keys and sends nothing: others would refuse it.

use rand_core::CryptoRngCore;
use wormhole_kit::Reader;

use super::exchange::{NewDeviceList, OwnDeviceList, Request, RequestId, Response};
use super::pending::Purpose;
use super::store::{Changes, RestoreError, StoreKey};
use super::{Client, ClientEvent, ClientOutput};
use crate::address::DeviceId;
use crate::content::SyncMessage;
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
    /// The newest list that we have signed. The server may have shown it to others, whatever it has answered.
    signed: Option<DeviceList>,
    /// A list that the server has shown to another device of ours, according to that device, and the last request that was made before we learnt
    /// that: only answers to later ones show whether the server hides it.
    told: Option<(DeviceList, RequestId)>,
    /// Whether our other devices must learn which list the server shows us.
    must_tell: bool,
    /// How often the server has shown another list than that, since this program was started.
    forks: u32,
}

impl OwnList {
    /// Adds a stored row.
    pub(super) fn restore(&mut self, value: &mut Reader<'_>) -> Result<(), RestoreError> {
        let bytes = value.take(value.rest().len())?;
        self.signed = Some(DeviceList::decode(bytes).map_err(|_| RestoreError::Damaged)?);
        Ok(())
    }
}

/// What to do about the list of our devices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceListUpdate {
    /// The newest list, once it is published. `None`: there is none, and no other can be made.
    pub list: Option<DeviceList>,
    /// What must be published for that.
    pub publish: Option<NewDeviceList>,
    /// Whether the server does not show a list that it has shown to another device of ours.
    pub is_forked: bool,
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

    /// What must be done about the list of our devices, if the server shows this. Devices in `sign`, with these registration ids, are
    /// added; one that is in the list already gets a list with a greater revision. Former devices are not added. Nothing changes
    /// here: this is for a program that has no connection, too. [Record](Self::record_signed_list) the list before it is sent.
    pub fn update_device_list(
        &self,
        now: Timestamp,
        shown: &OwnDeviceList,
        sign: &[(DeviceId, u32)],
        rng: &mut impl CryptoRngCore,
    ) -> DeviceListUpdate {
        let (us, pair) = (self.us, &self.identity.pair);
        let stored = shown.stored.as_ref();
        let open = |(_, list): &(u64, Vec<u8>)| DeviceList::open(list, us.account, pair.public());
        let pinned = self.lists.of(us.account);
        let newest = stored.and_then(|stored| open(stored).ok());
        let newest = newest.as_ref().filter(|list| list.may_follow(pinned));
        let signed = self.lists.own.signed.as_ref();
        // What we have signed and the server denies may lack devices that were listed since, so only its revision counts. Of two with
        // the same revision, the pinned one.
        let base = [newest, pinned].into_iter().flatten().max_by_key(|list| list.revision);
        let ahead = signed.filter(|it| base.is_none_or(|base| it.revision > base.revision));
        // The server shows each device another list, or holds one back.
        let told = self.lists.own.told.as_ref().map(|(told, _)| told);
        let told = told.filter(|told| is_hidden(told, base));
        let is_forked = told.is_some();
        // Whatever the server says, this device exists.
        let mut existing = shown.devices.clone();
        existing.retain(|it| {
            let was_removed = told.is_some_and(|told| told.had(it.device, it.registration_id));
            it.device != us.device && !was_removed
        });
        let registration_id = self.identity.registration_id;
        existing.push(OwnDevice { device: us.device, registration_id, has_keys: true });
        // The server may name a removed device again, with another number. That we exist, we know.
        let had = |(device, id): (DeviceId, u32)| base.is_some_and(|base| base.had(device, id));
        let mut sign: Vec<_> = sign.iter().copied().filter(|it| !had(*it)).collect();
        let is_stored = base.is_some() && newest == base;
        let is_forced = is_stored
            && sign.iter().any(|(device, id)| base.is_some_and(|it| it.has(*device, *id)));
        sign.push((us.device, registration_id));
        let of_told = told.iter().flat_map(|told| &told.devices);
        let of_told = of_told.map(|it| (it.device, it.registration_id));
        sign.extend(of_told.filter(|it| !had(*it)));
        let next = DeviceList::next(base, us.account, &existing, &sign, now);
        let above = ahead.into_iter().chain(told).map(|it| it.revision + 1).max().unwrap_or(0);
        let next = next.map(|next| DeviceList { revision: next.revision.max(above), ..next });
        let Some(next) = next.filter(|next| next.revision <= DeviceList::MAX_REVISION) else {
            return DeviceListUpdate { list: base.cloned(), publish: None, is_forked };
        };
        // Others may have pinned ours, and then refuse another one with the same revision.
        let is_ours_refused =
            |base: &DeviceList| signed.is_some_and(|it| it.revision == base.revision && it != base);
        if let Some(base) = base.filter(|base| next.has_same_devices(base))
            && is_stored
            && !is_forced
            && ahead.is_none()
            && told.is_none()
            && !is_ours_refused(base)
        {
            return DeviceListUpdate { list: Some(base.clone()), publish: None, is_forked };
        }
        // A server that denies a list must not be able to drive the revisions up.
        let again = ahead.filter(|it| {
            let is_above = told.is_none_or(|told| told.revision < it.revision);
            is_above && next.has_same_devices(it)
        });
        let list = again.cloned().unwrap_or(next);
        let publish = NewDeviceList {
            previous: stored.map(|(revision, _)| *revision),
            revision: list.revision,
            list: list.sign(pair, rng),
        };
        DeviceListUpdate { list: Some(list), publish: Some(publish), is_forked }
    }

    /// Remembers that we have signed a list, so that the next one has a greater revision. Make the changes durable before the list is
    /// sent.
    pub fn record_signed_list(&mut self, list: &DeviceList) -> Changes {
        let mut changes = Changes::default();
        if self.lists.own.signed.as_ref() != Some(list) {
            changes.put(StoreKey::SignedDeviceList, list.encode());
            self.lists.own.signed = Some(list.clone());
        }
        changes
    }

    pub(super) fn handle_own_list(
        &mut self,
        now: Timestamp,
        id: RequestId,
        response: Response,
        rng: &mut impl CryptoRngCore,
    ) {
        if self.lists.own.told.as_ref().is_some_and(|(_, after)| id <= *after) {
            return self.ask_for_own_list();
        }
        let Response::DeviceList(shown) = response else {
            // The service has no lists.
            self.now_listed(now);
            return self.continue_syncs(now);
        };
        // Also one without keys yet: it must not miss what it is told.
        let is_other = |it: &OwnDevice| it.device != self.us.device;
        self.record_other_devices(shown.devices.iter().any(is_other));
        self.continue_syncs(now);
        let update = self.update_device_list(now, &shown, &[], rng);
        let DeviceListUpdate { list, publish, is_forked } = update;
        let Some(list) = list else {
            self.event(ClientEvent::UnsignedDevice(self.us));
            return self.now_listed(now);
        };
        self.report_own_devices(&list, &shown.devices);
        if is_forked {
            self.report_fork();
        }
        if let Some(new) = publish {
            let changes = self.record_signed_list(&list);
            self.lists.own.publishing = Some(list);
            let request =
                self.request(Purpose::PublishList, Request::PublishDeviceList(Box::new(new)));
            self.commit(changes, vec![request]);
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
                } else {
                    self.event(ClientEvent::UnsignedDevice(self.us));
                }
            }
            // The service does not accept it. Others can write to us nevertheless, as long as there is no list.
            _ => self.now_listed(now),
        }
    }

    /// The server has this list, in which we are.
    fn own_list_is(&mut self, now: Timestamp, list: DeviceList) {
        let told = self.lists.own.told.take();
        self.lists.own.told = told.filter(|(told, _)| is_hidden(told, Some(&list)));
        if self.lists.own.told.is_some() {
            self.ask_for_own_list();
        }
        if self.lists.of(self.us.account) == Some(&list) {
            return self.now_listed(now);
        }
        let mut changes = Changes::default();
        self.pin(list, &mut changes);
        self.commit(changes, Vec::new());
        self.now_listed(now);
    }

    /// The server has shown us a newer list of our devices: the others learn which one.
    pub(super) const fn must_tell_own_list(&mut self) {
        self.lists.own.must_tell = self.lists.own.is_on;
    }

    /// Tells our other devices which list the server shows us, if it is new.
    pub(super) fn tell_own_list(&mut self, now: Timestamp) {
        if !self.lists.own.must_tell || !self.is_listed() {
            return;
        }
        self.lists.own.must_tell = false;
        let list = self.lists.of(self.us.account).filter(|list| list.devices.len() > 1);
        if let Some(list) = list.cloned() {
            self.synchronise(now, &SyncMessage::DeviceList(Box::new(list)));
        }
    }

    /// The server has shown this list to another device of ours. It must not show us another one.
    pub(super) fn learn_own_list(&mut self, list: DeviceList) {
        let pinned = self.lists.of(self.us.account);
        let is_possible = list.account == self.us.account && list.may_follow(pinned);
        let known = self.lists.own.told.as_ref().map(|(told, _)| told);
        let is_newer = is_hidden(&list, pinned) && is_hidden(&list, known);
        if is_possible && is_newer && self.lists.own.forks < MAX_FORKS {
            self.lists.own.told = Some((list, RequestId(self.last_request)));
            self.ask_for_own_list();
        }
    }

    /// Tells the user, once, that the server shows our devices different lists.
    fn report_fork(&mut self) {
        self.lists.own.forks += 1;
        if self.lists.own.forks == 1 {
            self.event(ClientEvent::ListsDiffer);
        }
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

/// Whether a list that one of our devices has signed differs from this one, which is not newer.
fn is_hidden(list: &DeviceList, shown: Option<&DeviceList>) -> bool {
    shown.is_none_or(|shown| {
        shown.revision < list.revision || shown.revision == list.revision && shown != list
    })
}

/// How often the lists of our devices may differ, since this program was started: a server must not make them sign without end.
const MAX_FORKS: u32 = 10;

/// How often in a row another device may be faster.
const MAX_CONFLICTS: u32 = 10;
