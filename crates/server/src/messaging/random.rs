//! Random values: ids, codes and the bytes of secrets.

use rand_core::{OsRng, RngCore};
use uuid::{Builder, Uuid};
use wormhole_chat::AccountId;

/// Random bytes.
pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// A random UUID. (RFC 9562, section 5.4)
pub(super) fn uuid() -> Uuid {
    Builder::from_random_bytes(bytes()).into_uuid()
}

/// The id of a new account.
pub(super) fn account_id() -> AccountId {
    AccountId::from_bytes(uuid().into_bytes())
}

/// A registration id for a device whose client has chosen none: 1 to 16380.
pub(super) fn registration_id() -> u32 {
    OsRng.next_u32() % 16_380 + 1
}

/// A random code of six digits, 100000 to 999999.
pub(super) fn verification_code() -> u32 {
    // The remainder of 64 bits makes no number more likely than another by more than 1 in 10^13.
    let number = OsRng.next_u64() % u64::from(CODES);
    FIRST_CODE + u32::try_from(number).unwrap_or_default()
}

/// The least code: six digits without a zero in front.
const FIRST_CODE: u32 = 100_000;

/// Number of codes.
const CODES: u32 = 900_000;
