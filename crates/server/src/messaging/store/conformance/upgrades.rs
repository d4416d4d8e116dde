//! Databases of earlier and later versions, with data.

use std::time::Duration;

use super::fixture::{Fixture, stored};
use super::samples::{BOB, NOW, curve_key, device_id, kyber_key, new_device};
use super::sending::alice_and_bob;
use crate::messaging::store::{
    App, Askers, Expiry, KeySet, LinkCode, Login, LoginName, MessageName, PendingCode,
    ProvisioningAddress, Sent, TokenHash, VerificationCode,
};

const ADDRESS: ProvisioningAddress = ProvisioningAddress([1; 16]);

/// The messages that wait since before the upgrade.
const OLD: u64 = 1;

pub(super) fn data_of_every_earlier_version_survives_an_upgrade(fixture: &mut Fixture<'_>) {
    let [alice, bob] = alice_and_bob(fixture, 2);
    let app = App { tokens: vec![TokenHash([3; 32])], ..bob.app.clone() };
    fixture.rows(move |rows| rows.update_app(&app));
    let keys = KeySet {
        curve: Some((1..100).map(curve_key).collect()),
        kyber: Some((1..100).map(kyber_key).collect()),
        ..KeySet::default()
    };
    fixture.put_keys(bob.device(), keys);
    let code = PendingCode {
        code: VerificationCode(123_456),
        sent: NOW,
        attempts: 3,
        askers: Askers::none(),
    };
    let pending = code.clone();
    fixture.rows(move |rows| rows.put_pending_code(&BOB.parse().unwrap(), Some(&pending)));
    let old = alice.write(&bob, OLD);
    assert!(matches!(fixture.send(old.clone()), Sent::Stored { .. }));
    let name = LoginName::Number(BOB.parse().unwrap());
    let login = Login { name, device: device_id(2), app: None };
    let found = fixture.find(login.clone());
    assert_eq!(found.len(), 1);
    for (round, version) in (0..).zip((1..fixture.version()).rev()) {
        let queue = fixture.queue(bob.device());
        fixture.downgrade(version);
        assert_eq!(fixture.queue(bob.device()), queue, "version {version}");
        assert_eq!(fixture.find(login.clone()), found);
        let read = fixture.rows(|rows| rows.pending_code(&BOB.parse().unwrap()));
        assert_eq!(read, Some(code.clone()));
        // A message that was accepted before the upgrade is not stored again.
        assert_eq!(fixture.send(old.clone()), stored(&[]));
        let bundle = fixture.bundle(&bob.id(), Some(1)).unwrap();
        assert_eq!(bundle.devices[0].one_time, Some(curve_key(round + 1)));
        assert_eq!(bundle.devices[0].kyber.as_ref().map(|key| key.id), Some(round + 1));
        // New messages are delivered after the old ones, and confirmed.
        let timestamp = 100 + u64::from(round);
        let devices: Vec<_> = bob.devices.iter().map(|(key, _)| *key).collect();
        assert_eq!(fixture.send(alice.write(&bob, timestamp)), stored(&devices));
        assert_eq!(fixture.timestamps(bob.device()), [OLD, timestamp]);
        let newest = fixture.queue(bob.device())[1].0;
        let receipts = fixture.acknowledge(bob.device(), MessageName::Position(newest));
        assert_eq!(receipts, [alice.device()]);
    }
    let counts = fixture.store().count().unwrap();
    assert_eq!((counts.accounts, counts.devices), (2, 3));
}

pub(super) fn after_an_upgrade_everything_can_be_stored(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = fixture.two_people();
    let account = alice.account.key;
    let code = LinkCode { hash: TokenHash([5; 32]), shown: NOW };
    for version in (1..fixture.version()).rev() {
        fixture.rows(move |rows| rows.put_device_code(account, None));
        fixture.downgrade(version);
        // A code of six digits of an earlier version is not valid any more.
        assert_eq!(fixture.rows(move |rows| rows.device_code(account)), None);
        let put = code.clone();
        fixture.rows(move |rows| rows.put_device_code(account, Some(&put)));
        assert_eq!(fixture.rows(move |rows| rows.device_code(account)), Some(code.clone()));
        fixture.rows(move |rows| rows.insert_provisioning(ADDRESS, NOW));
        fixture.rows(move |rows| rows.put_provisioning_message(ADDRESS, NOW, b"message"));
        let message = fixture.rows(move |rows| rows.take_provisioning_message(ADDRESS));
        assert_eq!(message.as_deref(), Some(&b"message"[..]));
        fixture.device(&mut bob, new_device(u32::try_from(version).unwrap() + 1));
    }
    let second = Duration::from_secs(1);
    fixture.now.0 += 5000;
    fixture.prune(Expiry { messages: second, sent: second, codes: second });
    assert_eq!(fixture.rows(move |rows| rows.device_code(account)), None);
}

pub(super) fn a_database_of_a_newer_version_is_refused(fixture: &mut Fixture<'_>) {
    let newer = fixture.version() + 1;
    let error = fixture.refuse_version(newer);
    assert!(error.contains("made by a newer version of this server"), "{error}");
    assert!(error.contains(&format!("schema {newer}")) && error.contains("upgrade"), "{error}");
}
