//! Unsigned devices of members of a group.

use super::*;

/// Alice, Bob and Carol are in a group, and Bob has devices that he has not signed.
fn group_with_unsigned(devices: impl IntoIterator<Item = u32>) -> (World, GroupId, [usize; 2]) {
    let mut world = two();
    let carol = world.join(3, 1, &identity(3));
    world.run(carol);
    world.introduce();
    let group = world.group();
    let injected: Vec<_> = devices.into_iter().map(|device| inject(&mut world, device)).collect();
    (world, group, [carol, injected[0]])
}

#[test]
fn attack_9_a_server_that_insists_on_an_unsigned_device_withholds_a_message_from_its_owner_alone() {
    let (mut world, group, [carol, injected]) = group_with_unsigned([2]);
    world.server.insists = true;
    let timestamp = world.say(0, group, "to all");
    world.settle();
    assert_eq!(world.read(carol, group), ["to all"]);
    assert!(world.read(1, group).is_empty() && world.read(injected, group).is_empty());
    let partly = world.events(0, group).into_iter().find_map(|event| match event {
        GroupEvent::PartlySent(report) if report.timestamp == timestamp => Some(report),
        _ => None,
    });
    let partly = partly.unwrap();
    assert_eq!((partly.sent, partly.unreachable), (1, vec![account(BOB)]));
    // With the next connection, an honest server gets it for all.
    world.server.insists = false;
    world.exchange();
    world.say(0, group, "again");
    world.settle();
    assert_eq!(world.read(1, group), ["again"]);
    assert!(world.read(injected, group).is_empty());
}

#[test]
fn attack_9_a_member_whose_list_is_no_more_believed_does_not_stop_a_group() {
    let (mut world, group, [carol, _]) = group_with_unsigned([2]);
    let list = forged(account(BOB), &identity(77));
    world.server.lists.insert(account(BOB), list);
    world.say(0, group, "to all");
    world.settle();
    assert_eq!(world.read(carol, group), ["to all"]);
    assert!(world.read(1, group).is_empty());
}
