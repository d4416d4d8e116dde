//! Handing out keys.

use std::collections::BTreeSet;

use super::fixture::{Fixture, Person};
use super::samples::{
    curve_key, device_id, kyber_key, kyber_signed_key, last_resort_key, new_device, signed_key,
};
use crate::messaging::store::{
    Asker, Bundle, BundleReply, BundleRequest, DeviceBundle, DeviceColumns, KeySet, OneTimeKey,
    PushId, Requester,
};

/// A person with one device that has these one-time keys.
fn with_keys(fixture: &mut Fixture<'_>, ids: &[u32]) -> Person {
    let [_, bob] = fixture.two_people();
    let curve = Some(ids.iter().copied().map(curve_key).collect());
    fixture.put_keys(bob.device(), KeySet { curve, ..KeySet::default() });
    bob
}

/// The one-time keys in bundles.
fn one_time(bundles: Vec<Option<Bundle>>) -> Vec<Option<OneTimeKey>> {
    bundles.into_iter().map(|bundle| bundle.unwrap().devices.remove(0).one_time).collect()
}

fn ask(fixture: &Fixture<'_>, of: &Person, times: usize) -> Vec<BundleRequest> {
    vec![fixture.ask(&of.id(), Some(1)); times]
}

fn take(fixture: &mut Fixture<'_>, of: &Person, times: usize) -> Vec<Option<Bundle>> {
    let requests = ask(fixture, of, times);
    fixture.bundles(requests)
}

pub(super) fn attack_5_one_turn_gives_the_last_one_time_key_to_one_of_ten_askers(
    fixture: &mut Fixture<'_>,
) {
    let bob = with_keys(fixture, &[6]);
    let keys = one_time(take(fixture, &bob, 10));
    assert_eq!(keys[0], Some(curve_key(6)));
    assert!(keys[1..].iter().all(Option::is_none));
}

pub(super) fn attack_5_two_turns_give_the_last_one_time_key_to_one_asker(
    fixture: &mut Fixture<'_>,
) {
    let bob = with_keys(fixture, &[6]);
    assert_eq!(one_time(take(fixture, &bob, 1)), [Some(curve_key(6))]);
    assert_eq!(one_time(take(fixture, &bob, 1)), [None]);
}

pub(super) fn one_time_keys_are_given_in_the_order_of_their_ids(fixture: &mut Fixture<'_>) {
    let ids = [30, 10, 20, 50, 40];
    let bob = with_keys(fixture, &ids);
    let mut given = one_time(take(fixture, &bob, 2));
    given.extend(one_time(take(fixture, &bob, 3)));
    let expected: BTreeSet<u32> = ids.into();
    let expected: Vec<_> = expected.into_iter().map(|id| Some(curve_key(id))).collect();
    assert_eq!(given, expected);
    let device = bob.device();
    assert_eq!(fixture.rows(move |rows| rows.count_keys(device)), [0, 0]);
}

pub(super) fn a_bundle_contains_what_the_device_has_published(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let everything = KeySet {
        signed: Some(signed_key(2)),
        last_resort: Some(last_resort_key(3)),
        kyber_last_resort: Some(kyber_signed_key(4)),
        curve: Some(vec![curve_key(5)]),
        kyber: Some(vec![kyber_key(6)]),
    };
    fixture.put_keys(bob.device(), everything);
    let device = DeviceBundle {
        device: device_id(1),
        registration_id: 10,
        signed: Some(signed_key(2)),
        one_time: Some(curve_key(5)),
        last_resort: Some(last_resort_key(3)),
        kyber: Some(kyber_signed_key(6)),
    };
    let bundle = fixture.bundle(&bob.id(), None);
    assert_eq!(bundle, Some(Bundle { account: bob.account, devices: vec![device] }));
    let bundle = fixture.bundle(&alice.id(), None).unwrap();
    assert_eq!(bundle.devices[0].signed, Some(signed_key(1)));
    assert_eq!(bundle.devices[0].last_resort, None);
    assert_eq!(bundle.devices[0].kyber, None);
}

pub(super) fn a_kyber_key_of_last_resort_is_given_when_no_other_is_left(fixture: &mut Fixture<'_>) {
    let [_, bob] = fixture.two_people();
    let keys = KeySet {
        kyber_last_resort: Some(kyber_signed_key(4)),
        kyber: Some(vec![kyber_key(6)]),
        ..KeySet::default()
    };
    fixture.put_keys(bob.device(), keys);
    let bundles = take(fixture, &bob, 3);
    let kyber: Vec<u32> =
        bundles.into_iter().map(|it| it.unwrap().devices[0].kyber.as_ref().unwrap().id).collect();
    assert_eq!(kyber, [6, 4, 4]);
}

pub(super) fn a_request_for_all_devices_gets_those_that_messages_must_be_addressed_to(
    fixture: &mut Fixture<'_>,
) {
    let [_, mut bob] = fixture.two_people();
    let silent = |number| DeviceColumns { fetches_messages: false, ..new_device(number) };
    fixture.device(&mut bob, silent(2));
    let push = Some(PushId::Gcm("gcm".into()));
    fixture.device(&mut bob, DeviceColumns { push, ..silent(3) });
    fixture.device_without_keys(&mut bob, new_device(4));
    let old = fixture.device_without_keys(&mut bob, new_device(5));
    let last_resort = Some(last_resort_key(7));
    fixture.put_keys(old, KeySet { last_resort, ..KeySet::default() });
    let numbers = |bundle: Option<Bundle>| -> Vec<u8> {
        bundle.into_iter().flat_map(|it| it.devices).map(|it| it.device.number()).collect()
    };
    assert_eq!(numbers(fixture.bundle(&bob.id(), None)), [1, 3, 5]);
    // A request that names a device gets its keys, if it has published any.
    for (device, expected) in [(2, &[2][..]), (4, &[]), (5, &[5]), (6, &[])] {
        assert_eq!(numbers(fixture.bundle(&bob.id(), Some(device))), expected);
    }
}

pub(super) fn a_removed_device_gets_no_keys(fixture: &mut Fixture<'_>) {
    let bob = with_keys(fixture, &[6]);
    let requests = ask(fixture, &bob, 1);
    let Asker::Device(Requester { device, .. }) = requests[0].asker else { panic!() };
    fixture.rows(move |rows| rows.delete_device(device));
    assert_eq!(fixture.take(requests), [BundleReply::UnknownRequester]);
    let device = bob.device();
    assert_eq!(fixture.rows(move |rows| rows.count_keys(device)), [1, 0]);
}

pub(super) fn a_device_without_keys_and_a_stranger_have_no_bundle(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let key = bob.account.key;
    fixture.rows(move |rows| rows.delete_account(key));
    assert_eq!(fixture.bundle(&bob.id(), None), None);
    assert_eq!(fixture.bundle(&alice.id(), Some(2)), None);
    let unknown = "+14155550109".parse().unwrap();
    assert_eq!(fixture.bundle(&unknown, Some(1)), None);
    assert!(fixture.bundle(&alice.id(), Some(1)).is_some());
}
