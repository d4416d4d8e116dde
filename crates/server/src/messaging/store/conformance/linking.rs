//! Devices that wait for the message with which they are linked to an account.

use std::time::Duration;

use wormhole_chat::Timestamp;

use super::fixture::Fixture;
use super::samples::NOW;
use crate::messaging::store::{Expiry, LinkCode, ProvisioningAddress, TokenHash};

const FIRST: ProvisioningAddress = ProvisioningAddress([1; 16]);
const SECOND: ProvisioningAddress = ProvisioningAddress([0xff; 16]);

/// Stores a message; false if nobody waits for one.
fn put(fixture: &mut Fixture<'_>, address: ProvisioningAddress, message: &'static [u8]) -> bool {
    fixture.rows(move |rows| rows.put_provisioning_message(address, NOW, message))
}

fn take(fixture: &mut Fixture<'_>, address: ProvisioningAddress) -> Option<Vec<u8>> {
    fixture.rows(move |rows| rows.take_provisioning_message(address))
}

pub(super) fn a_message_for_a_waiting_device_is_taken_once(fixture: &mut Fixture<'_>) {
    for address in [FIRST, SECOND] {
        fixture.rows(move |rows| rows.insert_provisioning(address, NOW));
    }
    assert_eq!(take(fixture, FIRST), None);
    assert!(put(fixture, FIRST, b"message\0"));
    assert!(!put(fixture, FIRST, b"another"), "it has one");
    fixture.reopen();
    assert_eq!(take(fixture, SECOND), None);
    assert_eq!(take(fixture, FIRST).as_deref(), Some(&b"message\0"[..]));
    assert_eq!(take(fixture, FIRST), None);
    assert!(!put(fixture, FIRST, b"late"), "the device has got its message");
}

pub(super) fn an_address_that_is_old_or_unknown_gets_no_message(fixture: &mut Fixture<'_>) {
    assert!(!put(fixture, FIRST, b"message"));
    fixture.rows(|rows| rows.insert_provisioning(FIRST, Timestamp(NOW.0 - 1)));
    assert!(!put(fixture, FIRST, b"message"));
    fixture.rows(|rows| rows.insert_provisioning(SECOND, NOW));
    assert!(put(fixture, SECOND, b""), "an empty message is a message");
    assert_eq!(take(fixture, SECOND), Some(Vec::new()));
}

pub(super) fn an_address_is_removed_with_its_message(fixture: &mut Fixture<'_>) {
    for address in [FIRST, SECOND] {
        fixture.rows(move |rows| rows.insert_provisioning(address, NOW));
        assert!(put(fixture, address, b"message"));
    }
    fixture.rows(|rows| rows.delete_provisioning(FIRST));
    assert_eq!(take(fixture, FIRST), None);
    assert_eq!(take(fixture, SECOND).as_deref(), Some(&b"message"[..]));
}

pub(super) fn old_addresses_and_codes_for_devices_are_removed(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let (alice, bob) = (alice.account.key, bob.account.key);
    let code = |shown| LinkCode { hash: TokenHash([7; 32]), shown };
    let (old, recent) = (Timestamp(NOW.0 - 2000), Timestamp(NOW.0 - 500));
    fixture.rows(move |rows| rows.put_device_code(alice, Some(&code(old))));
    fixture.rows(move |rows| rows.put_device_code(bob, Some(&code(recent))));
    fixture.rows(move |rows| rows.insert_provisioning(FIRST, old));
    fixture.rows(move |rows| rows.insert_provisioning(SECOND, recent));
    let long = Duration::from_secs(1_000_000);
    let expiry = Expiry { messages: long, sent: long, codes: Duration::from_secs(1) };
    fixture.store().prune(expiry, NOW).unwrap();
    assert_eq!(fixture.rows(move |rows| rows.device_code(alice)), None);
    assert_eq!(fixture.rows(move |rows| rows.device_code(bob)), Some(code(recent)));
    let put = |fixture: &mut Fixture<'_>, address| {
        fixture.rows(move |rows| rows.put_provisioning_message(address, Timestamp(0), b""))
    };
    assert_eq!((put(fixture, FIRST), put(fixture, SECOND)), (false, true));
}
