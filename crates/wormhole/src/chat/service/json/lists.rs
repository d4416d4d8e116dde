//! The signed list of our devices.

use serde::{Deserialize, Serialize};
use wormhole_chat::{DeviceId, NewDeviceList, OwnDevice, OwnDeviceList};

use super::Base64;

/// The list of our devices, and which exist.
#[derive(Debug, Deserialize)]
pub(in crate::chat::service) struct OwnList {
    revision: Option<u64>,
    list: Option<Base64>,
    devices: Vec<ExistingDevice>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExistingDevice {
    id: u32,
    registration_id: u32,
    has_keys: bool,
}

impl OwnList {
    /// Converts the answer; `None` if a device has an invalid number.
    pub(in crate::chat::service) fn check(self) -> Option<OwnDeviceList> {
        let devices = self.devices.iter().map(|it| {
            let device = DeviceId::new(it.id)?;
            let ExistingDevice { registration_id, has_keys, .. } = *it;
            Some(OwnDevice { device, registration_id, has_keys })
        });
        let stored = self.revision.zip(self.list).map(|(revision, Base64(list))| (revision, list));
        Some(OwnDeviceList { stored, devices: devices.collect::<Option<_>>()? })
    }
}

/// A list of our devices that replaces another one.
#[derive(Debug, Serialize)]
pub(in crate::chat::service) struct NewList {
    previous: Option<u64>,
    revision: u64,
    list: Base64,
}

impl From<&NewDeviceList> for NewList {
    fn from(new: &NewDeviceList) -> Self {
        let NewDeviceList { previous, revision, list } = new;
        Self { previous: *previous, revision: *revision, list: Base64(list.clone()) }
    }
}
