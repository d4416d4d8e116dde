//! Lists that a device refuses, and accounts and services without lists.

use super::*;

#[test]
fn attack_9_an_older_list_is_refused_also_after_a_restart() {
    let mut world = two();
    let older = world.server.lists[&account(BOB)].clone();
    let second = link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    assert_eq!(revision(&world, 0, BOB), Some(2));
    // A removed device cannot come back.
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(second);
    world.exchange();
    let removed_from = world.server.lists[&account(BOB)].clone();
    say(&mut world, 0, BOB, "to one");
    world.crash(0);
    assert_eq!(fetch(&mut world, Some(older)), [SendFailure::DeviceList]);
    world.server.lists.insert(account(BOB), removed_from);
    say(&mut world, 0, BOB, "again");
    assert_eq!(failures(&world, 0).len(), 1);
}

#[test]
fn attack_9_a_list_that_has_vanished_is_missed() {
    assert_eq!(fetch(&mut two(), None), [SendFailure::DeviceList]);
}

#[test]
fn attack_9_another_list_with_the_same_revision_is_refused() {
    let mut world = two();
    let mut list = world.devices[0].client.device_list(account(BOB)).unwrap().clone();
    list.created = Timestamp(list.created.0 + 1);
    let signed = list.sign(&identity(BOB), &mut ChaCha8Rng::seed_from_u64(3));
    let shown = Some((list.revision, signed));
    assert_eq!(fetch(&mut world, shown), [SendFailure::DeviceList]);
}

#[test]
fn attack_9_the_list_of_another_account_is_refused() {
    let mut world = two();
    assert_eq!(
        fetch(&mut world, Some(forged(account(ALICE), &identity(BOB)))),
        [SendFailure::DeviceList]
    );
}

#[test]
fn attack_9_a_list_that_another_key_has_signed_is_refused() {
    let mut world = two();
    let list = forged(account(BOB), &identity(77));
    assert_eq!(fetch(&mut world, Some(list.clone())), [SendFailure::DeviceList]);
    assert_eq!(revision(&world, 0, BOB), Some(1));
    // Also if there was none before.
    let mut world = World::new(8);
    for person in [ALICE, BOB] {
        let which = world.join(person, 1, &identity(person));
        world.run(which);
    }
    world.server.lists.insert(account(BOB), list);
    say(&mut world, 0, BOB, "hello");
    assert_eq!(failures(&world, 0), [SendFailure::DeviceList]);
}

#[test]
fn the_list_of_an_earlier_identity_key_counts_until_the_new_one_is_accepted() {
    let mut world = two();
    link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    assert_eq!(revision(&world, 0, BOB), Some(2));
    // Bob registers again: another key, and a first list.
    world.now.0 += 60_000;
    world.devices.retain(|device| device.address.account != account(BOB));
    world.server.devices.retain(|address, _| address.account != account(BOB));
    world.server.lists.remove(&account(BOB));
    let new = identity(66);
    let bob = world.join(BOB, 1, &new);
    world.run(bob);
    // What Bob writes is read and reported as before: the list of the earlier key says nothing about this device.
    say(&mut world, bob, ALICE, "it is me");
    world.deliver(0);
    let received = world.devices[0].inbox.last().unwrap();
    assert!(received.identity_changed && refused(&world, 0) == 0);
    say(&mut world, 0, BOB, "who are you");
    assert_eq!(revision(&world, 0, BOB), Some(2));
    world.input(0, ClientInput::AcceptIdentity(account(BOB), *new.public()));
    world.run(0);
    world.settle();
    assert_eq!(world.devices[bob].texts(), ["who are you"]);
    assert_eq!((revision(&world, 0, BOB), failures(&world, 0)), (Some(1), vec![]));
}

#[test]
fn an_account_without_a_list_works_as_before() {
    let mut world = World::new(9);
    world.server.has_lists = true;
    let alice = world.join(ALICE, 1, &identity(ALICE));
    world.run(alice);
    let bob = [1, 2].map(|device| inject(&mut world, device));
    say(&mut world, alice, BOB, "hello");
    say(&mut world, bob[1], ALICE, "hi");
    world.settle();
    assert_eq!(world.devices[alice].texts(), ["hi"]);
    assert_eq!(world.devices[bob[0]].texts(), ["hello"]);
    assert_eq!(revision(&world, alice, BOB), None);
}

#[test]
fn a_service_without_lists_is_no_obstacle() {
    let mut world = two();
    world.server.has_lists = false;
    let carol = world.join(3, 1, &identity(3));
    world.devices[carol].client.manage_device_list();
    world.run(carol);
    say(&mut world, carol, ALICE, "hello");
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "hello"]);
    assert_eq!(world.devices[carol].client.device_list(account(3)), None);
}

#[test]
fn attack_9_a_list_counts_also_if_the_keys_with_it_are_invalid() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "I am new");
    world.server.edits_bundles = Some(|bundles| bundles.clear());
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (1, 0));
    world.server.edits_bundles = Some(|bundles| bundles[0].signed.2.0[0] ^= 1);
    world.input(0, ClientInput::Connected);
    world.run(0);
    assert_eq!(world.devices[0].texts().last().unwrap(), "I am new");
}
