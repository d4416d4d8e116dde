//! A message goes to all devices of an account or to none.

use std::collections::BTreeSet;

use crate::address::DeviceId;

/// A device of the recipient's account that can receive messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CurrentDevice {
    /// Its number.
    pub device: DeviceId,
    /// Changes when the device is registered again.
    pub registration_id: u32,
}

/// A device to which a message is addressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// Its number.
    pub device: DeviceId,
    /// The registration id that the sender knows. `None` if the sender has no session yet: then it is not compared.
    pub registration_id: Option<u32>,
}

/// Why nothing is delivered. The sender should correct its list of devices and send again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// The devices are not those of the account.
    Devices {
        /// Devices without a message.
        missing: Vec<DeviceId>,
        /// Devices that do not exist, or have two messages.
        extra: Vec<DeviceId>,
    },
    /// These devices were registered again, so the sender's sessions with them are useless.
    Stale(Vec<DeviceId>),
}

/// Checks that messages are addressed to each of the `current` devices exactly once. An account that sends to itself
/// passes its own other devices.
///
/// # Errors
/// The problem. A wrong list of devices is reported before stale devices.
pub fn check_recipients(
    current: &[CurrentDevice],
    recipients: &[Recipient],
) -> Result<(), Mismatch> {
    let addressed: BTreeSet<DeviceId> = recipients.iter().map(|it| it.device).collect();
    let missing = current.iter().map(|current| current.device);
    let missing: BTreeSet<DeviceId> = missing.filter(|it| !addressed.contains(it)).collect();
    check(current, recipients, missing.into_iter().collect())
}

/// Checks that messages are addressed to some of the `current` devices, to each at most once.
///
/// # Errors
/// The result of a check like [`check_recipients`], without missing devices.
pub fn check_some_recipients(
    current: &[CurrentDevice],
    recipients: &[Recipient],
) -> Result<(), Mismatch> {
    check(current, recipients, Vec::new())
}

fn check(
    current: &[CurrentDevice],
    recipients: &[Recipient],
    missing: Vec<DeviceId>,
) -> Result<(), Mismatch> {
    let (mut addressed, mut extra) = (BTreeSet::new(), BTreeSet::new());
    let known: BTreeSet<DeviceId> = current.iter().map(|current| current.device).collect();
    for recipient in recipients {
        if !known.contains(&recipient.device) || !addressed.insert(recipient.device) {
            extra.insert(recipient.device);
        }
    }
    if !missing.is_empty() || !extra.is_empty() {
        return Err(Mismatch::Devices { missing, extra: extra.into_iter().collect() });
    }
    let is_stale = |recipient: &&Recipient| {
        let current = current.iter().find(|current| current.device == recipient.device);
        current.is_some_and(|current| {
            recipient.registration_id.is_some_and(|expected| expected != current.registration_id)
        })
    };
    let mut stale: Vec<DeviceId> =
        recipients.iter().filter(is_stale).map(|recipient| recipient.device).collect();
    stale.sort_unstable();
    if stale.is_empty() { Ok(()) } else { Err(Mismatch::Stale(stale)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u32) -> DeviceId {
        DeviceId::new(number).unwrap()
    }

    fn current(devices: &[(u32, u32)]) -> Vec<CurrentDevice> {
        let device = |(number, registration_id): &(u32, u32)| CurrentDevice {
            device: device(*number),
            registration_id: *registration_id,
        };
        devices.iter().map(device).collect()
    }

    fn recipients(devices: &[(u32, Option<u32>)]) -> Vec<Recipient> {
        let recipient = |(number, registration_id): &(u32, Option<u32>)| Recipient {
            device: device(*number),
            registration_id: *registration_id,
        };
        devices.iter().map(recipient).collect()
    }

    fn mismatch(missing: &[u32], extra: &[u32]) -> Mismatch {
        let devices = |numbers: &[u32]| numbers.iter().map(|number| device(*number)).collect();
        Mismatch::Devices { missing: devices(missing), extra: devices(extra) }
    }

    #[test]
    fn every_device_gets_exactly_one_message() {
        let current = current(&[(1, 10), (2, 20)]);
        let check =
            |devices: &[(u32, Option<u32>)]| check_recipients(&current, &recipients(devices));
        assert_eq!(check(&[(1, Some(10)), (2, Some(20))]), Ok(()));
        assert_eq!(check(&[(2, None), (1, Some(10))]), Ok(()));
        assert_eq!(check(&[(1, Some(10))]), Err(mismatch(&[2], &[])));
        assert_eq!(check(&[(1, None), (2, None), (3, None)]), Err(mismatch(&[], &[3])));
        assert_eq!(check(&[(1, None), (2, None), (1, None)]), Err(mismatch(&[], &[1])));
        assert_eq!(check(&[]), Err(mismatch(&[1, 2], &[])));
    }

    #[test]
    fn a_partial_message_leaves_devices_out() {
        let current = current(&[(1, 10), (2, 20)]);
        let check =
            |devices: &[(u32, Option<u32>)]| check_some_recipients(&current, &recipients(devices));
        assert_eq!(check(&[(2, Some(20))]), Ok(()));
        assert_eq!(check(&[(1, None), (2, None)]), Ok(()));
        assert_eq!(check(&[(3, None)]), Err(mismatch(&[], &[3])));
        assert_eq!(check(&[(2, None), (2, None)]), Err(mismatch(&[], &[2])));
        assert_eq!(check(&[(2, Some(21))]), Err(Mismatch::Stale(vec![device(2)])));
    }

    #[test]
    fn a_wrong_list_is_reported_before_stale_devices() {
        let current = current(&[(1, 10), (2, 20)]);
        let check =
            |devices: &[(u32, Option<u32>)]| check_recipients(&current, &recipients(devices));
        assert_eq!(check(&[(1, Some(11))]), Err(mismatch(&[2], &[])));
        assert_eq!(
            check(&[(2, Some(21)), (1, Some(11))]),
            Err(Mismatch::Stale(vec![device(1), device(2)]))
        );
    }

    #[test]
    fn a_thousand_devices_are_checked_at_once() {
        let thousand: Vec<Recipient> = (0..1000)
            .map(|number| Recipient { device: device(number % 127 + 1), registration_id: None })
            .collect();
        let Err(Mismatch::Devices { missing, extra }) =
            check_recipients(&current(&[(1, 10)]), &thousand)
        else {
            panic!("accepted");
        };
        assert_eq!((missing.len(), extra.len()), (0, 127));
    }
}
