//! What must be true when everything is delivered.

use std::collections::BTreeMap;

use wormhole_chat::{Address, Timestamp};

use super::{Device, Installation, Town, from_name};

impl Town {
    /// Every message was read exactly once by every installation of a device that should read it, and still exists.
    pub(crate) fn check(&mut self, seed: u64) {
        let problems = self.problems();
        assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
    }

    /// What is wrong when everything is delivered.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        let mut problems = self.check_readings();
        for device in &self.devices {
            let place = device.address;
            let mut repeated = device.texts.iter().filter(|(_, count)| **count != 1);
            let again = repeated.find(|((text, is_copy), _)| !self.may_repeat(text, *is_copy));
            problems.extend(again.map(|again| format!("{place:?} has shown again: {again:?}")));
            let not_read = device.not_read.iter().filter(|it| self.should_be_read(device, it));
            problems.extend(not_read.map(|it| format!("{place:?} reports as unreadable: {it:?}")));
            if device.has_noticed_rollback && Some(device.address) != self.forgetful {
                problems.push(format!("{place:?} believes that its store is old"));
            }
        }
        problems
    }

    fn check_readings(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        let devices = self.devices.iter();
        let alive: BTreeMap<Installation, &Device> =
            devices.map(|device| ((device.address, device.registration_id), device)).collect();
        for ((from, timestamp), stored) in &self.server.stored {
            for device in stored.iter().filter_map(|installation| alive.get(installation)) {
                // Nobody can send it again to the device that has forgotten its session.
                let is_lost = Some(device.address) == self.forgetful && !alive.contains_key(from);
                // The sender does not have it any more. The recipient knows that there was a message.
                let name = (Some(from.0), *timestamp);
                let is_forgotten = self.was_forgotten(&name) && device.not_read.contains(&name);
                let shown = device.shown.get(&(from.0, *timestamp)).copied().unwrap_or_default();
                self.counts.forgotten += usize::from(is_forgotten && shown == 0);
                if shown != 1 && !(shown == 0 && (is_lost || is_forgotten)) {
                    let place = device.address;
                    problems.push(format!("{place:?} has shown {name:?} {shown} times"));
                }
                self.counts.readings += 1;
            }
            // The other devices of the sender have a copy, unless the sender is gone or has lost what it had to copy.
            let Some((to, text)) = self.accepted.get(&(*from, *timestamp)) else { continue };
            if !alive.contains_key(from) || Some(from.0) == self.forgetful {
                continue;
            }
            assert!(stored.iter().all(|(address, _)| address.account == *to));
            let copies = &self.server.copies[&(*from, *timestamp)];
            for device in copies.iter().filter_map(|installation| alive.get(installation)) {
                if !device.texts.contains_key(&(text.clone(), true)) {
                    problems.push(format!("{:?} has no copy of {text:?}", device.address));
                }
            }
        }
        problems
    }

    /// Whether a device sent a message, and its store was then replaced with an older copy.
    fn was_forgotten(&self, (from, timestamp): &(Option<Address>, Timestamp)) -> bool {
        let time = self.forgotten.filter(|_| *from == self.forgetful);
        time.is_some_and(|[since, to]| (since..=to).contains(timestamp))
    }

    /// A device that has lost that it has copied a message copies it again.
    fn may_repeat(&self, text: &str, is_copy: bool) -> bool {
        let forgetful = self.forgetful.map(from_name);
        is_copy && forgetful.is_some_and(|name| text.ends_with(&name))
    }

    /// Whether the report of a device that it could not read a message is wrong.
    fn should_be_read(&self, device: &Device, name: &(Option<Address>, Timestamp)) -> bool {
        let is_alive = |(address, id): &Installation| {
            self.devices.iter().any(|it| (it.address, it.registration_id) == (*address, *id))
        };
        let mut stored = self.server.stored.keys().filter(|(_, time)| *time == name.1);
        let exists = stored.any(|(it, _)| Some(it.0) == name.0 && is_alive(it));
        !self.was_forgotten(name) && (Some(device.address) != self.forgetful || exists)
    }
}
