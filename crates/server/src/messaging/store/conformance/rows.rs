//! Single rows: what is written is read again, and what belongs together is removed together.

use std::sync::Arc;

use wormhole_chat::{Timestamp, directory_token};

use super::fixture::{Closure, Fixture};
use super::samples::{
    ALICE, BOB, NOW, curve_key, kyber_key, kyber_signed_key, last_resort_key, new_account,
    new_device, signed_key,
};
use crate::messaging::store::{
    Account, Askers, Counts, Device, DeviceColumns, IntraApp, KeySet, LinkCode, MessageName,
    NetworkHash, NewAccount, PendingCode, PushId, Rows, Sent, StoreError, StoredDeviceList,
    TokenHash, Turn, VerificationCode,
};

pub(super) fn apps_are_created_once_and_updated(fixture: &mut Fixture<'_>) {
    let mut app = fixture.app("com.b", IntraApp::Delivered);
    let other = fixture.app("com.a", IntraApp::Refused);
    let name = app.name.clone();
    let again = fixture.rows(move |rows| rows.insert_app(&name, IntraApp::Refused));
    assert_eq!(again, None);
    app.intra = IntraApp::Refused;
    for tokens in [1, 2, 0] {
        app.tokens = (0..tokens).map(|number| TokenHash([number; 32])).collect();
        let (written, name) = (app.clone(), app.name.clone());
        fixture.rows(move |rows| rows.update_app(&written));
        assert_eq!(fixture.rows(move |rows| rows.app(&name)), Some(app.clone()));
    }
    assert_eq!(fixture.rows(|rows| rows.apps()), [other, app]);
    assert_eq!(fixture.rows(|rows| rows.app(&"com.c".parse().unwrap())), None);
}

pub(super) fn a_verification_code_is_replaced_and_removed(fixture: &mut Fixture<'_>) {
    let code = |attempts| {
        let mut askers = Askers::none();
        for network in ["192.0.2.1", "2001:db8::1"] {
            let network = NetworkHash::of(&ALICE.parse().unwrap(), network.parse().unwrap());
            askers.add(network);
            (0..attempts).for_each(|_| askers.count(network));
        }
        let code = VerificationCode(999_999);
        PendingCode { code, sent: Timestamp(9), attempts, askers }
    };
    for stored in [Some(code(0)), Some(code(1)), None] {
        let written = stored.clone();
        fixture.rows(move |rows| rows.put_pending_code(&ALICE.parse().unwrap(), written.as_ref()));
        let read = fixture.rows(|rows| rows.pending_code(&ALICE.parse().unwrap()));
        assert_eq!(read, stored);
        assert_eq!(fixture.rows(|rows| rows.pending_code(&BOB.parse().unwrap())), None);
    }
}

pub(super) fn a_code_for_another_device_is_replaced_and_removed(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let (alice, bob) = (alice.account.key, bob.account.key);
    let code = |byte| LinkCode { hash: TokenHash([byte; 32]), shown: Timestamp(9) };
    for stored in [Some(code(0)), Some(code(1)), None] {
        let written = stored.clone();
        fixture.rows(move |rows| rows.put_device_code(alice, written.as_ref()));
        assert_eq!(fixture.rows(move |rows| rows.device_code(alice)), stored);
        assert_eq!(fixture.rows(move |rows| rows.device_code(bob)), None);
    }
    fixture.rows(move |rows| rows.put_device_code(alice, Some(&code(0))));
    fixture.rows(move |rows| rows.delete_account(alice));
    assert_eq!(fixture.rows(move |rows| rows.device_code(alice)), None);
}

pub(super) fn accounts_are_found_by_id_and_by_number(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let elsewhere = fixture.person(&bob.app, ALICE);
    let expected = Account { is_default: false, ..alice.account.clone() };
    let id = alice.account.id;
    assert_eq!(fixture.rows(move |rows| rows.account(id)), Some(expected.clone()));
    let found = fixture.rows(|rows| rows.accounts_of(&ALICE.parse().unwrap()));
    assert_eq!(found, [expected, elsewhere.account]);
    let unknown = new_account(&bob.app, BOB).id;
    assert_eq!(fixture.rows(move |rows| rows.account(unknown)), None);
}

pub(super) fn one_account_of_each_number_is_its_default(fixture: &mut Fixture<'_>) {
    let apps = ["com.a", "com.b", "com.c"].map(|name| fixture.app(name, IntraApp::Delivered));
    let people = apps.map(|app| fixture.person(&app, ALICE));
    let defaults = |fixture: &mut Fixture<'_>| -> Vec<bool> {
        let accounts = fixture.rows(|rows| rows.accounts_of(&ALICE.parse().unwrap()));
        accounts.iter().map(|account| account.is_default).collect()
    };
    // The newest that was created as the default is the default.
    assert_eq!(defaults(fixture), [false, false, true]);
    let second = Account { is_default: true, ..people[1].account.clone() };
    fixture.rows(move |rows| rows.update_account(&second));
    assert_eq!(defaults(fixture), [false, true, false]);
    let key = people[1].account.key;
    fixture.rows(move |rows| rows.delete_account(key));
    assert_eq!(defaults(fixture), [false, false]);
    let first = Account { is_default: true, ..people[0].account.clone() };
    fixture.rows(move |rows| rows.update_account(&first));
    assert_eq!(defaults(fixture), [true, false]);
    // An account that is not the default does not replace it.
    let app = fixture.app("com.d", IntraApp::Delivered);
    let another = NewAccount { is_default: false, ..new_account(&app, ALICE) };
    assert!(!fixture.rows(move |rows| rows.insert_account(&another)).is_default);
    assert_eq!(defaults(fixture), [true, false, false]);
}

pub(super) fn what_may_change_in_an_account_is_written(fixture: &mut Fixture<'_>) {
    let [alice, _] = fixture.two_people();
    assert_eq!((alice.account.identity.clone(), alice.account.is_discoverable), (None, true));
    let list = StoredDeviceList { revision: 1 << 52, list: [7; 4096].into() };
    let changed = Account { identity: Some(vec![5; 33]), is_discoverable: false, ..alice.account };
    for device_list in [Some(list), None] {
        let changed = Account { device_list, ..changed.clone() };
        let (written, id) = (changed.clone(), changed.id);
        fixture.rows(move |rows| rows.update_account(&written));
        assert_eq!(fixture.rows(move |rows| rows.account(id)), Some(changed));
    }
}

pub(super) fn a_directory_token_finds_discoverable_accounts_in_all_apps(fixture: &mut Fixture<'_>) {
    let [_, bob] = fixture.two_people();
    let elsewhere = fixture.person(&bob.app, ALICE);
    let find = |fixture: &mut Fixture<'_>, numbers: &[&str]| -> Vec<_> {
        let tokens: Vec<_> = numbers.iter().map(|number| directory_token(number)).collect();
        let mut found = fixture.rows(move |rows| rows.accounts_with_tokens(&tokens));
        found.sort_by_key(|account| account.key);
        found.into_iter().map(|account| (account.number.to_string(), account.app)).collect()
    };
    assert_eq!(find(fixture, &[]), []);
    assert_eq!(find(fixture, &["+14155550109"]), []);
    let found = find(fixture, &[ALICE, "+14155550109", BOB]);
    let numbers: Vec<&str> = found.iter().map(|(number, _)| number.as_str()).collect();
    assert_eq!(numbers, [ALICE, BOB, ALICE]);
    assert_eq!(found[2].1, elsewhere.app.key);
    let hidden = Account { is_discoverable: false, ..elsewhere.account };
    fixture.rows(move |rows| rows.update_account(&hidden));
    assert_eq!(find(fixture, &[ALICE]).len(), 1);
}

pub(super) fn devices_are_read_as_they_were_written(fixture: &mut Fixture<'_>) {
    let [mut alice, _] = fixture.two_people();
    let apn = |voip| Some(PushId::Apn { id: "apn".into(), voip });
    let full = DeviceColumns {
        signaling_key: Some(vec![3; 52]),
        name: Some("phone".into()),
        fetches_messages: false,
        push: apn(Some("voip".into())),
        attributes: r#"{"voice":true}"#.into(),
        ..new_device(3)
    };
    let variants = [
        full.clone(),
        DeviceColumns { push: apn(None), number: new_device(4).number, ..full.clone() },
        DeviceColumns { push: Some(PushId::Gcm("g".into())), number: new_device(2).number, ..full },
    ];
    let mut expected = vec![new_device(1)];
    for device in variants {
        expected.push(device.clone());
        fixture.device_without_keys(&mut alice, device);
    }
    expected.sort_by_key(|device| device.number);
    let key = alice.account.key;
    let devices: Vec<Device> = fixture.rows(move |rows| rows.devices(key));
    let has_keys: Vec<bool> = devices.iter().map(|device| device.has_keys).collect();
    assert_eq!(has_keys, [true, false, false, false]);
    assert_eq!(devices.into_iter().map(|it| it.columns).collect::<Vec<_>>(), expected);
}

pub(super) fn an_updated_device_keeps_its_key_its_keys_and_its_messages(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    fixture.send(alice.write(&bob, 1));
    let changed = DeviceColumns {
        password: TokenHash([1; 32]),
        salt: [2; 16],
        registration_id: 77,
        signaling_key: Some(vec![3; 52]),
        name: Some("phone".into()),
        fetches_messages: false,
        push: Some(PushId::Gcm("gcm".into())),
        attributes: "{}".into(),
        created: Timestamp(50),
        last_seen: Timestamp(60),
        ..new_device(1)
    };
    let (key, account, written) = (bob.device(), bob.account.key, changed.clone());
    fixture.rows(move |rows| rows.update_device(key, &written));
    let devices = fixture.rows(move |rows| rows.devices(account));
    assert_eq!(devices, [Device { key, columns: changed, has_keys: true }]);
    assert_eq!(fixture.timestamps(key), [1]);
}

pub(super) fn the_key_of_a_deleted_device_is_never_used_again(fixture: &mut Fixture<'_>) {
    let [mut alice, _] = fixture.two_people();
    let mut keys = vec![alice.device()];
    for _ in 0..3 {
        let key = fixture.device(&mut alice, new_device(2));
        assert!(!keys.contains(&key));
        keys.push(key);
        fixture.rows(move |rows| rows.delete_device(key));
        fixture.reopen();
    }
}

pub(super) fn a_deleted_device_takes_its_messages_and_keys_along(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = fixture.two_people();
    let key = fixture.device(&mut bob, new_device(2));
    let keys = KeySet { curve: Some(vec![curve_key(1)]), ..KeySet::default() };
    fixture.put_keys(key, keys);
    fixture.send(alice.write(&bob, 1));
    fixture.rows(move |rows| rows.delete_device(key));
    assert_eq!(fixture.queue(key), []);
    let first = bob.device();
    let left = fixture.rows(move |rows| Ok((rows.count_keys(key)?, rows.signed_key(key)?)));
    assert_eq!(left, ([0, 0], None));
    assert_eq!(fixture.timestamps(first), [1]);
    let position = fixture.queue(first)[0].0;
    assert_eq!(fixture.acknowledge(key, MessageName::Position(position)), []);
}

pub(super) fn the_last_day_of_a_device_only_grows(fixture: &mut Fixture<'_>) {
    let [_, bob] = fixture.two_people();
    let (account, device) = (bob.account.key, bob.device());
    for (day, expected) in [(5, NOW.0), (NOW.0 + 7, NOW.0 + 7), (NOW.0, NOW.0 + 7)] {
        fixture.rows(move |rows| rows.record_last_seen(device, Timestamp(day)));
        let [found] = fixture.rows(move |rows| rows.devices(account)).try_into().unwrap();
        assert_eq!(found.columns.last_seen.0, expected);
    }
}

pub(super) fn a_device_that_withdraws_its_keys_gets_no_messages(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let device = bob.device();
    let curve = Some(vec![curve_key(1)]);
    fixture.put_keys(device, KeySet { curve, ..KeySet::default() });
    fixture.send(alice.write(&bob, 1));
    fixture.rows(move |rows| rows.delete_keys(device));
    assert_eq!(fixture.rows(move |rows| rows.count_keys(device)), [0, 0]);
    assert_eq!(fixture.rows(move |rows| rows.signed_key(device)), None);
    assert_eq!(fixture.bundle(&bob.id(), Some(1)), None);
    assert_eq!(fixture.send(alice.write(&bob, 2)), Sent::NotFound);
    // Earlier messages wait.
    assert_eq!(fixture.timestamps(device), [1]);
    let signed = Some(signed_key(5));
    fixture.put_keys(device, KeySet { signed: signed.clone(), ..KeySet::default() });
    let bundle = fixture.bundle(&bob.id(), Some(1)).unwrap();
    assert_eq!((&bundle.devices[0].signed, &bundle.devices[0].one_time), (&signed, &None));
}

pub(super) fn a_turn_names_the_devices_that_it_has_removed(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = fixture.two_people();
    let second = fixture.device(&mut bob, new_device(2));
    let removed = |fixture: &mut Fixture<'_>, work: Removal| {
        let mut turn = Turn::default();
        turn.work.push(Box::new(Closure(work, Arc::default())));
        fixture.apply(&mut turn).unwrap();
        turn.removed
    };
    let (account, device) = (bob.account.key, alice.device());
    let of_account = removed(fixture, Box::new(move |rows| rows.delete_account(account)));
    assert_eq!(of_account, [bob.device(), second]);
    let alone = removed(fixture, Box::new(move |rows| rows.delete_device(device)));
    assert_eq!(alone, [device]);
    assert_eq!(removed(fixture, Box::new(|_| Ok(()))), []);
}

type Removal = Box<dyn FnMut(&mut dyn Rows) -> Result<(), StoreError> + Send>;

pub(super) fn a_deleted_account_takes_its_devices_along(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = fixture.two_people();
    fixture.device(&mut bob, new_device(2));
    fixture.send(alice.write(&bob, 1));
    let (key, id) = (bob.account.key, bob.account.id);
    fixture.rows(move |rows| rows.delete_account(key));
    assert_eq!(fixture.rows(move |rows| rows.account(id)), None);
    assert_eq!(fixture.rows(move |rows| rows.devices(key)), []);
    for (device, _) in &bob.devices {
        assert_eq!(fixture.queue(*device), []);
    }
    let counts = fixture.store().count().unwrap();
    assert_eq!(counts, Counts { accounts: 1, devices: 1, messages: 0 });
    // The number is free again.
    let again = fixture.person(&bob.app, BOB);
    assert_ne!(again.account.key, key);
}

pub(super) fn only_the_parts_of_a_key_set_that_are_given_are_replaced(fixture: &mut Fixture<'_>) {
    let [mut alice, _] = fixture.two_people();
    let key = fixture.device_without_keys(&mut alice, new_device(2));
    let account = alice.account.key;
    let has_keys = move |fixture: &mut Fixture<'_>| {
        fixture.rows(move |rows| rows.devices(account))[1].has_keys
    };
    let state = move |fixture: &mut Fixture<'_>| {
        fixture.rows(move |rows| Ok((rows.count_keys(key)?, rows.signed_key(key)?)))
    };
    let one_time = KeySet {
        curve: Some((1..=3).map(curve_key).collect()),
        kyber: Some((1..=2).map(kyber_key).collect()),
        kyber_last_resort: Some(kyber_signed_key(9)),
        ..KeySet::default()
    };
    fixture.put_keys(key, one_time);
    assert_eq!(state(fixture), ([3, 2], None));
    // No session can be started with them alone.
    assert!(!has_keys(fixture));
    let last_resort = KeySet { last_resort: Some(last_resort_key(5)), ..KeySet::default() };
    fixture.put_keys(key, last_resort);
    assert!(has_keys(fixture));
    let signed = KeySet { signed: Some(signed_key(1)), ..KeySet::default() };
    fixture.put_keys(key, signed);
    assert_eq!(state(fixture), ([3, 2], Some(signed_key(1))));
    // An id that is sent twice counts once.
    let curve = Some(vec![curve_key(7), curve_key(7)]);
    let replaced = KeySet { signed: Some(signed_key(2)), curve, ..KeySet::default() };
    fixture.put_keys(key, replaced);
    assert_eq!(state(fixture), ([1, 2], Some(signed_key(2))));
    let bundle = fixture.bundle(&alice.id(), Some(2)).unwrap().devices.remove(0);
    assert_eq!(bundle.last_resort, Some(last_resort_key(5)));
    assert_eq!(bundle.one_time, Some(curve_key(7)));
}

pub(super) fn keys_of_a_device_that_does_not_exist_are_ignored(fixture: &mut Fixture<'_>) {
    let [mut alice, _] = fixture.two_people();
    let key = fixture.device(&mut alice, new_device(2));
    fixture.rows(move |rows| rows.delete_device(key));
    let keys = KeySet {
        signed: Some(signed_key(1)),
        curve: Some(vec![curve_key(1)]),
        ..KeySet::default()
    };
    fixture.put_keys(key, keys);
    let left = fixture.rows(move |rows| Ok((rows.count_keys(key)?, rows.signed_key(key)?)));
    assert_eq!(left, ([0, 0], None));
}
