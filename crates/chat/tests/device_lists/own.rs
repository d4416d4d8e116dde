//! Signing and publishing the list of the own account.

use super::*;

#[test]
fn each_device_signs_itself_before_others_get_its_keys() {
    let mut world = two();
    let second = world.join(BOB, 2, &identity(BOB));
    let is_about_keys = |request: &Request| matches!(request, Request::Publish(_));
    let keys = world.run_until(second, is_about_keys);
    let list = &world.server.lists[&account(BOB)].1;
    let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
    assert_eq!(list.devices.iter().map(|it| it.device.number()).collect::<Vec<_>>(), [1, 2]);
    world.answer(second, keys);
    world.run(second);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    assert_eq!(world.devices[1].texts().last().unwrap(), "to both");
    assert_eq!(world.devices[second].texts(), ["to both"]);
    // The list did not change its mind about anything, and nobody was worried.
    assert_eq!((revision(&world, 0, BOB), unsigned(&world, 0)), (Some(2), vec![]));
    assert_eq!(failures(&world, 0), []);
}

#[test]
fn attack_9_a_server_that_loses_our_list_gets_it_again() {
    let mut world = two();
    link(&mut world, 2);
    world.exchange();
    let first = forged(account(BOB), &identity(77));
    for shown in [None, Some(first)] {
        match shown {
            Some(list) => drop(world.server.lists.insert(account(BOB), list)),
            None => drop(world.server.lists.remove(&account(BOB))),
        }
        let injected = inject(&mut world, 5);
        world.exchange();
        let (_, list) = &world.server.lists[&account(BOB)];
        let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
        let devices: Vec<_> = list.devices.iter().map(|it| it.device.number()).collect();
        // The server cannot use the moment to get another device signed.
        assert_eq!(devices, [1, 2]);
        world.server.devices.remove(&address(BOB, 5));
        world.devices.remove(injected);
    }
}

#[test]
fn two_devices_that_sign_themselves_at_once_are_both_in_the_list() {
    let mut world = two();
    let [second, third] = [2, 3].map(|device| world.join(BOB, device, &identity(BOB)));
    let is_list = |request: &Request| matches!(request, Request::PublishDeviceList(_));
    let list = world.run_until(second, is_list);
    world.run(third);
    world.answer(second, list);
    world.run(second);
    say(&mut world, 0, BOB, "to three");
    world.settle();
    for which in [1, second, third] {
        assert_eq!(world.devices[which].texts().last().unwrap(), "to three");
    }
    assert_eq!(revision(&world, 0, BOB), Some(3));
}

#[test]
fn attack_9_a_list_that_the_server_has_denied_and_shown_to_others_is_published_again() {
    let mut world = two();
    let second = world.join(BOB, 2, &identity(BOB));
    let is_list = |request: &Request| matches!(request, Request::PublishDeviceList(_));
    let (id, request) = world.run_until(second, is_list);
    let Request::PublishDeviceList(new) = request else { panic!() };
    let honest = world.server.lists[&account(BOB)].clone();
    let denied = (new.revision, new.list);
    assert_eq!(fetch(&mut world, Some(denied)), []);
    assert_eq!(revision(&world, 0, BOB), Some(2));
    world.server.lists.insert(account(BOB), honest);
    world.input(second, ClientInput::Response(id, Response::DeviceListConflict));
    world.crash(second);
    world.run(second);
    say(&mut world, 0, BOB, "to both");
    world.exchange();
    assert_eq!(world.devices[second].texts().last().unwrap(), "to both");
    assert_eq!(failures(&world, 0), []);
    let (revision, list) = &world.server.lists[&account(BOB)];
    let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
    assert_eq!((*revision, Some(&list)), (2, world.devices[0].client.device_list(account(BOB))));
}

#[test]
fn attack_9_who_signs_a_device_again_replaces_a_list_that_others_refuse() {
    let mut world = two();
    link(&mut world, 2);
    world.exchange();
    let shown = shown_to(&world, BOB);
    assert_eq!(update(&mut world, 1, &shown, None).publish, None);
    let first = update(&mut world, 1, &shown, Some(2));
    assert_eq!(first.publish.unwrap().revision, 3);
    let _changes = world.devices[1].client.record_signed_list(&first.list.clone().unwrap());
    // A server that denies it each time cannot drive the revision up.
    let second = update(&mut world, 1, &shown, Some(2));
    assert_eq!((second.publish.unwrap().revision, second.list), (3, first.list));
}

#[test]
fn attack_9_a_list_with_the_greatest_revision_does_not_prevent_later_ones() {
    let mut world = two();
    let mut list = world.devices[0].client.device_list(account(BOB)).unwrap().clone();
    list.revision = DeviceList::MAX_REVISION;
    let signed = list.sign(&identity(BOB), &mut ChaCha8Rng::seed_from_u64(3));
    let last = Some((list.revision, signed));
    assert_eq!(fetch(&mut world, last), [SendFailure::DeviceList]);
    world.input(1, ClientInput::Connected);
    world.run(1);
    assert!(world.server.lists[&account(BOB)].0 < 10);
    say(&mut world, 0, BOB, "again");
    world.exchange();
    assert_eq!(world.devices[1].texts().last().unwrap(), "again");
}

#[test]
fn attack_9_a_removed_device_is_only_signed_again_by_itself() {
    let mut world = two();
    let second = link(&mut world, 2);
    let before = shown_to(&world, BOB);
    world.server.devices.remove(&address(BOB, 2));
    world.input(1, ClientInput::Connected);
    world.run(1);
    let shown = OwnDeviceList { devices: before.devices, ..shown_to(&world, BOB) };
    let removed = shown.devices.iter().find(|it| it.device.number() == 2).copied().unwrap();
    let by_first = update(&mut world, 1, &shown, Some(2)).list.unwrap();
    assert!(!by_first.has(removed.device, removed.registration_id));
    let by_itself = update(&mut world, second, &shown, None).list.unwrap();
    assert!(by_itself.has(removed.device, removed.registration_id));
}

#[test]
fn attack_9_the_user_learns_if_our_list_cannot_be_completed() {
    let mut world = two();
    let second = world.join(BOB, 2, &identity(BOB));
    let is_list = |request: &Request| matches!(request, Request::PublishDeviceList(_));
    for _ in 0..11 {
        let (id, _) = world.run_until(second, is_list);
        assert_eq!(unsigned(&world, second), []);
        world.input(second, ClientInput::Response(id, Response::DeviceListConflict));
    }
    world.run(second);
    assert_eq!(unsigned(&world, second), [address(BOB, 2)]);
}

#[test]
fn attack_9_devices_that_are_shown_different_lists_notice_it_and_replace_both() {
    let mut world = two();
    let second = link(&mut world, 2);
    world.exchange();
    let older = world.server.lists[&account(BOB)].clone();
    let third = link(&mut world, 3);
    assert_eq!(revision(&world, third, BOB), Some(3));
    world.input(1, ClientInput::Connected);
    world.run(1);
    // The server hides the list with the third device from the second one.
    world.server.lists.insert(account(BOB), older);
    world.deliver(second);
    let differ = |world: &World, which: usize| {
        let events = world.devices[which].events.iter();
        events.filter(|event| **event == ClientEvent::ListsDiffer).count()
    };
    assert_eq!((differ(&world, second), revision(&world, second, BOB)), (1, Some(4)));
    let list = &world.server.lists[&account(BOB)].1;
    let list = DeviceList::open(list, account(BOB), identity(BOB).public()).unwrap();
    assert_eq!(list.devices.iter().map(|it| it.device.number()).collect::<Vec<_>>(), [1, 2, 3]);
    // The others are shown the new one, and nobody signs more.
    world.settle();
    assert_eq!((differ(&world, 1), differ(&world, second), differ(&world, third)), (0, 1, 0));
    assert_eq!(world.server.lists[&account(BOB)].0, 4);
}

#[test]
fn a_device_that_is_alone_asks_for_no_keys_of_its_own_account() {
    let mut world = two();
    let setting = ConfigurationSync { read_receipts: true, decided: Timestamp(1) };
    let synchronise = |world: &mut World| {
        world.input(0, ClientInput::Synchronise(SyncMessage::Configuration(setting)));
        world.run(0);
    };
    let asked = world.server.asked_for_keys.len();
    synchronise(&mut world);
    assert_eq!(world.server.asked_for_keys.len(), asked);
    // A linked device learns later changes.
    let laptop = world.join(ALICE, 2, &identity(ALICE));
    world.run(laptop);
    world.input(0, ClientInput::Connected);
    world.run(0);
    synchronise(&mut world);
    world.settle();
    let sent = Content::Sync(SyncMessage::Configuration(setting).encode().to_vec());
    assert!(world.devices[laptop].inbox.iter().any(|received| received.content == sent));
}
