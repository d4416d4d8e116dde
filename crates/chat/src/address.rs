//! Addresses of sessions: an account and one of its devices.
//!
//! Phone numbers change owners, so no session is identified by one.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// An account, identified by the id that the server assigned.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AccountId([u8; 16]);

impl AccountId {
    /// Creates an id from the 16 bytes of a UUID.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the UUID.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(Uuid::from_bytes_ref(&self.0).as_hyphenated(), f)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({self})")
    }
}

impl FromStr for AccountId {
    type Err = NotAnAccountId;

    /// Parses the hyphenated form of 36 characters, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, NotAnAccountId> {
        if text.len() != HYPHENATED {
            return Err(NotAnAccountId);
        }
        Uuid::try_parse(text).map(|uuid| Self(uuid.into_bytes())).map_err(|_| NotAnAccountId)
    }
}

/// The text is not a UUID such as `9d0652a3-dcc3-4d11-975f-74d61598733f`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an account id: expected a UUID with hyphens")]
pub struct NotAnAccountId;

/// A device of an account, 1 to 127. The first one registered is 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceId(u8);

impl DeviceId {
    /// The device that registered the account.
    pub const PRIMARY: Self = Self(1);

    /// Creates an id from a number from 1 to 127.
    pub fn new(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=MAX_DEVICE).contains(number)).map(Self)
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The address of a session: one device of one account.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// The owner of the device.
    pub account: AccountId,
    /// The device among those of the account.
    pub device: DeviceId,
}

impl Address {
    /// Encodes the id kind (0: account), the UUID and the device in 18 bytes, as messages
    /// authenticate it.
    fn to_wire(self) -> [u8; ADDRESS] {
        let mut wire = [ACCOUNT; ADDRESS];
        let bytes = self.account.0.into_iter().chain([self.device.0]);
        wire.iter_mut().skip(1).zip(bytes).for_each(|(to, from)| *to = from);
        wire
    }
}

/// The sending and the receiving device of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// The sender.
    pub from: Address,
    /// The recipient.
    pub to: Address,
}

impl Route {
    /// Encodes sender and recipient in 36 bytes, as messages authenticate them.
    pub(crate) fn to_wire(self) -> [u8; ROUTE] {
        let mut wire = [0; ROUTE];
        let bytes = self.from.to_wire().into_iter().chain(self.to.to_wire());
        wire.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        wire
    }
}

/// Length of a UUID with hyphens.
const HYPHENATED: usize = 36;

/// The highest device number that all clients support.
const MAX_DEVICE: u8 = 127;

/// The kind byte of an account's id.
const ACCOUNT: u8 = 0;

/// Length of an encoded address.
const ADDRESS: usize = 18;

/// Length of two encoded addresses.
pub(crate) const ROUTE: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_reads_as_it_is_written() {
        let text = "9d0652a3-dcc3-4d11-975f-74d61598733f";
        let id: AccountId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        let braces = format!("{{{text}}}");
        for bad in ["", "9d0652a3dcc34d11975f74d61598733f", &braces, &text[1..]] {
            assert_eq!(bad.parse::<AccountId>(), Err(NotAnAccountId));
        }
    }

    #[test]
    fn a_device_is_between_1_and_127() {
        assert_eq!(DeviceId::new(0), None);
        assert_eq!(DeviceId::new(1), Some(DeviceId::PRIMARY));
        assert_eq!(DeviceId::new(127).map(DeviceId::number), Some(127));
        assert_eq!(DeviceId::new(128), None);
        assert_eq!(DeviceId::new(257), None);
    }
}
