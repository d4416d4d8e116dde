//! The columns of rows, in the order in which both back ends read them.

use super::{DeviceColumns, IntraApp, KeyKind, PushId};

/// The columns of an account `a` in an app `p`.
macro_rules! account_columns {
    () => {
        "a.key, a.id, a.app, p.name, a.number, a.is_default, a.is_discoverable, a.shows_app,
        a.verified, a.identity, a.access_key, a.is_unrestricted, a.device_list_revision, a.device_list"
    };
}

/// The columns of an app `p`.
macro_rules! app_columns {
    () => {
        "p.key, p.name, p.refuses_intra, p.token_1, p.token_2"
    };
}

/// The columns of a device `d`.
macro_rules! device_columns {
    () => {
        "d.key, d.has_keys, d.number, d.password, d.salt, d.registration_id, d.signaling_key, d.name,
        d.fetches_messages, d.apn, d.voip, d.gcm, d.attributes, d.created, d.last_seen"
    };
}

pub(super) use {account_columns, app_columns, device_columns};

/// Number of columns of an account.
pub(super) const ACCOUNT_COLUMNS: usize = 14;

/// Number of columns of a device.
pub(super) const DEVICE_COLUMNS: usize = 15;

/// Whether a device with these attributes, which are a JSON object, knows message requests.
pub(super) fn has_requests(attributes: &[u8]) -> bool {
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Capabilities {
        message_requests: bool,
    }

    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Attributes {
        capabilities: Capabilities,
    }

    // Clients choose the types of their capabilities, so others are simply not ours.
    let attributes: Attributes = serde_json::from_slice(attributes).unwrap_or_default();
    attributes.capabilities.message_requests
}

impl KeyKind {
    /// As it is stored.
    pub(super) const fn number(self) -> i16 {
        match self {
            Self::Curve => 0,
            Self::Kyber => 1,
        }
    }
}

impl IntraApp {
    /// Decodes the column `refuses_intra`.
    pub(super) const fn of_column(refuses: bool) -> Self {
        if refuses { Self::Refused } else { Self::Delivered }
    }
}

impl PushId {
    /// Decodes the columns `apn`, `voip` and `gcm`.
    pub(super) fn of_columns(
        apn: Option<String>,
        voip: Option<String>,
        gcm: Option<String>,
    ) -> Option<Self> {
        match (apn, gcm) {
            (Some(id), _) => Some(Self::Apn { id, voip }),
            (None, gcm) => gcm.map(Self::Gcm),
        }
    }
}

impl DeviceColumns {
    /// The columns `apn`, `voip` and `gcm`.
    pub(super) fn push_columns(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        match &self.push {
            None => (None, None, None),
            Some(PushId::Apn { id, voip }) => (Some(id), voip.as_deref(), None),
            Some(PushId::Gcm(id)) => (None, None, Some(id)),
        }
    }
}
