//! Changes that somebody announces and the log does not show.

use super::*;

/// The members whose changes are missing, as a device has reported, and whether messages wait.
fn missing(world: &World, which: usize, group: GroupId) -> Vec<(AccountId, bool)> {
    let events = world.events(which, group).into_iter();
    let missing = events.filter_map(|event| match event {
        GroupEvent::ChangeMissing { by, is_waiting } => Some((by, is_waiting)),
        _ => None,
    });
    missing.collect()
}

/// Whether a client waits for nothing except the end of the day for which it keeps sent messages.
fn reads_no_more(world: &World, which: usize) -> bool {
    let deadline = world.devices[which].client.deadline();
    deadline.is_none_or(|at| at.0 > world.now.0 + 3_600_000)
}

#[test]
fn attack_18_a_hidden_removal_stops_messages_to_the_group_until_it_is_shown() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.group();
    world.say(1, group, "to all");
    world.settle();
    world.remove(0, group, 3);
    world.run(0);
    let hidden = world.log(group).pop().unwrap();
    world.deliver(1);
    let admin = world.account(0);
    assert_eq!(missing(&world, 1, group), [(admin, true)]);
    let sent = world.server.group_messages;
    world.say(1, group, "not for person 3");
    world.run(1);
    assert!(world.devices[1].client.is_group_behind(group));
    assert_eq!(world.devices[1].client.group_delay(group), Some(GroupDelay::ChangeMissing));
    // It asks again for some time.
    for _ in 0..40 {
        world.now.0 += 600_000;
        world.input(1, ClientInput::Timeout);
        world.run(1);
    }
    assert!(reads_no_more(&world, 1));
    assert_eq!(missing(&world, 1, group), [(admin, true)]);
    world.crash(1);
    world.introduce();
    world.run(1);
    assert_eq!(missing(&world, 1, group), [(admin, true); 2], "once after each start");
    assert_eq!(world.server.group_messages, sent);
    world.log(group).push(hidden);
    world.input(1, ClientInput::Connected);
    world.settle();
    assert_eq!(world.devices[1].client.group_delay(group), None);
    assert_eq!(world.read(2, group), ["to all", "not for person 3"]);
    assert_eq!(world.read(3, group), ["to all"]);
}

#[test]
fn attack_18_a_member_who_invents_a_change_does_not_stop_messages_and_is_named_once() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    world.say(1, group, "first");
    world.settle();
    let victim = world.account(1);
    for _ in 0..3 {
        let content = Content::Group(Box::new(GroupContent::notice(group, 1000)));
        world.input(2, ClientInput::Send(victim, content));
        world.run(2);
        world.deliver(1);
    }
    assert_eq!(missing(&world, 1, group), [(world.account(2), false)]);
    world.say(1, group, "second");
    world.settle();
    assert_eq!(world.read(0, group), ["first", "second"]);
    // Once it is no member any more, nothing is missing.
    world.remove(0, group, 2);
    world.settle();
    assert!(reads_no_more(&world, 1));
}

#[test]
fn attack_11_people_who_are_not_members_make_us_read_a_log_only_a_few_times_in_a_minute() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    world.settle();
    let link = world.enable_link(0, group);
    pretend(&mut world, 2, group, 1);
    let victim = world.account(1);
    let before = world.server.log_reads;
    let notify = |world: &mut World, revision| {
        let content = Content::Group(Box::new(GroupContent::notice(group, revision)));
        world.input(2, ClientInput::Send(victim, content));
        world.run(2);
        world.deliver(1);
    };
    for revision in 100..150 {
        notify(&mut world, revision);
    }
    assert_eq!(world.server.log_reads, before + 5);
    // What was named in the meantime is read later, and so is what happens meanwhile.
    world.follow(3, &link);
    world.say(3, group, "I am new");
    world.settle();
    world.now.0 += 60_000;
    world.input(1, ClientInput::Timeout);
    world.settle();
    assert_eq!(world.members(1, group), 3);
    assert_eq!(world.read(1, group), ["I am new"]);
    assert!(reads_no_more(&world, 1));
}

#[test]
fn attack_18_wrong_keys_for_our_other_devices_do_not_hide_groups_from_them_later() {
    let mut world = World::new(1);
    let pair = KeyPair::random(&mut world.rng);
    for device in [1, 2] {
        let which = world.join(1, device, &pair);
        world.run(which);
    }
    world.server.edits_bundles = Some(|bundles| bundles.extend(bundles.clone()));
    world.input(0, ClientInput::Synchronise(SyncMessage::GroupsWanted));
    world.run(0);
    assert_eq!(world.devices[0].events.last(), Some(&ClientEvent::ForeignDevice));
    world.server.edits_bundles = None;
    let group = world.create(0);
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Member));
}

#[test]
fn attack_11_a_former_device_of_ours_stops_messages_to_a_group_only_for_some_time() {
    let mut world = World::new(1);
    let [ours, theirs] = [1, 2].map(|_| KeyPair::random(&mut world.rng));
    for (account, device, pair) in [(1, 1, &ours), (1, 2, &ours), (2, 1, &theirs)] {
        let which = world.join(account, device, pair);
        world.run(which);
    }
    world.introduce();
    let group = world.group();
    world.say(0, group, "first");
    world.settle();
    let us = world.account(0);
    for (revision, is_behind) in [(u64::MAX, false), (5000, false), (500, true)] {
        let content = Content::Group(Box::new(GroupContent::notice(group, revision)));
        world.input(1, ClientInput::Send(us, content));
        world.run(1);
        world.deliver(0);
        assert_eq!(world.devices[0].client.is_group_behind(group), is_behind, "{revision}");
    }
    for _ in 0..40 {
        world.now.0 += 600_000;
        world.input(0, ClientInput::Timeout);
        world.run(0);
    }
    assert!(!world.devices[0].client.is_group_behind(group));
    world.crash(0);
    world.introduce();
    world.run(0);
    assert!(!world.devices[0].client.is_group_behind(group));
    world.say(0, group, "second");
    world.settle();
    assert_eq!(world.read(2, group), ["first", "second"]);
}
