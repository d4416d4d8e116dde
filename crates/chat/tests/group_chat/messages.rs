//! Messages to groups: when they are sent, and who reads them.

use super::*;

#[test]
fn a_message_waits_until_the_first_person_has_joined() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    world.say(0, group, "hello");
    world.run(0);
    let waiting = |world: &World| world.devices[0].client.group_outbox().count();
    assert_eq!(waiting(&world), 1);
    world.settle();
    assert_eq!((waiting(&world), world.read(1, group)), (0, vec!["hello".to_owned()]));
}

#[test]
fn a_message_for_somebody_who_then_declines_is_reported_as_not_sent() {
    let mut world = World::new(1);
    world.calm_down();
    world.people(2);
    let identity = KeyPair::random(&mut world.rng);
    let stranger = world.join(9, 1, &identity);
    world.run(stranger);
    let group = world.create(0);
    let password = LinkPassword::random(&mut world.rng);
    world.change(0, group, GroupChange::SetLink(Some(password)));
    world.invite(0, group, &[stranger]);
    world.settle();
    let sent = world.say(0, group, "for the stranger");
    world.run(0);
    let work = |world: &mut World| {
        for which in [0, 1, stranger, 0, 1, stranger, 0] {
            world.run(which);
            world.deliver(which);
        }
    };
    // Somebody else joins with the link.
    let link = world.devices[0].client.group_link(group).unwrap();
    world.devices[1].client.join_group(world.now, &link, &mut world.rng);
    work(&mut world);
    world.change(stranger, group, GroupChange::Decline);
    work(&mut world);
    let failed = GroupEvent::NotSent(sent, SendFailure::NoDevice);
    assert!(world.events(0, group).contains(&failed));
    assert_eq!(world.read(1, group), Vec::<String>::new());
}

#[test]
fn somebody_who_only_sends_reaches_people_who_have_joined_since() {
    let mut world = World::new(1);
    world.calm_down();
    world.people(3);
    let group = world.create(0);
    world.invite(0, group, &[1, 2]);
    world.run(0);
    [1, 2].into_iter().for_each(|which| world.deliver(which));
    assert_eq!(world.membership(2, group), Some(Membership::Member));
    assert_eq!(world.members(0, group), 1);
    // A new connection. What has arrived for Alice is not read.
    world.input(0, ClientInput::Connected);
    world.say(0, group, "hello");
    world.run(0);
    [1, 2].into_iter().for_each(|which| world.deliver(which));
    assert_eq!([1, 2].map(|which| world.read(which, group)), [["hello"], ["hello"]]);
}

#[test]
fn an_account_with_one_device_never_asks_for_its_own_keys() {
    let mut world = World::new(1);
    world.server.has_lists = true;
    world.people(2);
    let group = world.group();
    world.input(0, ClientInput::Connected);
    world.say(0, group, "hello");
    world.settle();
    assert_eq!(world.read(1, group), ["hello"]);
    let own = world.server.asked_for_keys.iter().filter(|(from, of)| from == of);
    assert_eq!(own.count(), 0);
}

#[test]
fn all_devices_of_members_read_messages_and_those_of_the_sender_get_copies() {
    let mut world = World::new(1);
    world.server.reports_other_devices = true;
    let identities: Vec<_> = (0..2).map(|_| KeyPair::random(&mut world.rng)).collect();
    world.join(1, 1, &identities[0]);
    world.join(1, 2, &identities[0]);
    world.join(2, 1, &identities[1]);
    world.join(2, 2, &identities[1]);
    (0..4).for_each(|which| world.run(which));
    world.introduce();
    let group = world.create(0);
    world.invite(0, group, &[2]);
    world.settle();
    for which in 0..4 {
        assert_eq!(world.membership(which, group), Some(Membership::Member), "{which}");
    }
    world.say(0, group, "one");
    world.settle();
    world.say(3, group, "two");
    world.settle();
    assert_eq!(world.read(2, group), ["one"]);
    assert_eq!(world.read(3, group), ["one"]);
    assert_eq!(world.read(0, group), ["two"]);
    assert_eq!(world.read(1, group), ["two"]);
    let copies = |which: usize| {
        let contents = world.devices[which].inbox.iter().map(|received| &received.content);
        contents.filter(|content| matches!(content, Content::Sync(_))).count()
    };
    assert_eq!([0, 1, 2, 3].map(copies), [0, 1, 1, 0]);
    // A new device of a member is noticed, and a device that is removed reads nothing later.
    world.join(2, 3, &identities[1]);
    world.run(4);
    world.say(0, group, "three");
    world.settle();
    assert!(world.read(3, group).contains(&"three".to_owned()));
    let chain = world.devices[0].rows()[&StoreKey::OwnSenderKey(group)][33..37].to_vec();
    let gone = world.devices.remove(3);
    world.server.devices.remove(&gone.address);
    world.say(0, group, "four");
    world.settle();
    let next = world.devices[0].rows()[&StoreKey::OwnSenderKey(group)][33..37].to_vec();
    assert_ne!(chain, next, "the key is another one");
    assert!(world.read(2, group).contains(&"four".to_owned()));
}

#[test]
fn a_new_device_learns_the_groups_of_its_account_and_talks_in_them() {
    let mut world = World::new(1);
    world.server.reports_other_devices = true;
    let identities: Vec<_> = (0..2).map(|_| KeyPair::random(&mut world.rng)).collect();
    world.join(1, 1, &identities[0]);
    world.join(2, 1, &identities[1]);
    (0..2).for_each(|which| world.run(which));
    world.introduce();
    let group = world.group();
    world.say(0, group, "before");
    world.settle();
    let new = world.join(1, 2, &identities[0]);
    world.run(new);
    let ask = |world: &mut World, which: usize| {
        let (now, rng) = (world.now, &mut world.rng);
        world.devices[which].client.ask_for_groups(now, rng);
        world.devices[which].client.outbox_len()
    };
    assert_eq!(ask(&mut world, 0), 0, "the first device is not new");
    assert_eq!(ask(&mut world, new), 1);
    assert_eq!(ask(&mut world, new), 1, "one request is enough");
    world.settle();
    assert_eq!(world.membership(new, group), Some(Membership::Member));
    world.say(1, group, "hello");
    world.settle();
    assert_eq!(world.read(new, group), ["hello"]);
    world.say(new, group, "from the new device");
    world.settle();
    assert!(world.read(1, group).contains(&"from the new device".to_owned()));
    assert_eq!(ask(&mut world, new), 0);
    // It has the keys of an administrator, too.
    world.remove(new, group, 1);
    world.settle();
    assert_eq!(world.members(0, group), 1);
}
