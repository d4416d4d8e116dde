//! Announcements of groups by strangers, former members and others.

use super::*;

#[test]
fn attack_11_strangers_cannot_keep_out_the_groups_of_contacts_or_of_each_other() {
    let mut world = World::new(1);
    for account in 1..=13 {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    (0..13).for_each(|which| world.run(which));
    let contact = world.account(1);
    world.input(0, ClientInput::Keep(contact));
    let open = |world: &World| world.devices[0].client.groups().count();
    // One stranger invites to many groups, and leaves room for others.
    let invite = |world: &mut World, which: usize, count: usize| {
        for _ in 0..count {
            let group = world.create(which);
            world.invite(which, group, &[0]);
        }
        world.settle();
    };
    invite(&mut world, 2, 12);
    assert_eq!(open(&world), 10);
    (3..13).for_each(|which| invite(&mut world, which, 10));
    assert_eq!(open(&world), 100);
    let group = world.create(1);
    world.invite(1, group, &[0]);
    world.settle();
    assert_eq!(world.membership(0, group), Some(Membership::Member));
    // The limit still holds after a restart.
    world.crash(0);
    invite(&mut world, 12, 1);
    assert_eq!(open(&world), 101);
}

/// A false announcement of a group and a real invitation reach person 1 before it can read the log.
fn announce_and_invite(
    world: &mut World,
    group: GroupId,
    (liar, false_one): (usize, GroupContent),
    is_false_first: bool,
) {
    let victim = world.account(1);
    world.calm_down();
    pretend(world, liar, group, 1);
    if !is_false_first {
        world.invite(0, group, &[1]);
        world.run(0);
    }
    let content = Content::Group(Box::new(false_one));
    world.input(liar, ClientInput::Send(victim, content));
    world.run(liar);
    if is_false_first {
        world.invite(0, group, &[1]);
        world.run(0);
    }
    // Both arrive before the log can be read, and survive a restart.
    world.server.is_down = true;
    world.deliver(1);
    assert_eq!(world.membership(1, group), Some(Membership::Unread));
    world.crash(1);
    world.introduce();
    world.run(1);
    world.server.is_down = false;
    world.settle();
    let case = if is_false_first { "the false one is first" } else { "the real one is first" };
    assert_eq!(world.membership(1, group), Some(Membership::Member), "{case}");
}

#[test]
fn attack_18_an_invented_announcement_does_not_hide_an_invitation() {
    for is_false_first in [true, false] {
        let mut world = World::new(1);
        world.people(3);
        let group = world.create(0);
        world.run(0);
        let mut content = GroupContent::notice(group, 5);
        content.secret = Some(GroupSecret::random(&mut world.rng));
        content.head = Some(EntryHash([7; 32]));
        announce_and_invite(&mut world, group, (2, content), is_false_first);
    }
}

#[test]
fn attack_18_a_former_member_who_announces_an_old_state_does_not_hide_an_invitation() {
    for is_false_first in [true, false] {
        let mut world = World::new(1);
        world.people(4);
        let group = world.create(0);
        world.invite(0, group, &[2, 3]);
        world.settle();
        let old = world.view(2, group);
        // Two epochs later, nobody who begins with the old state can read the next entry.
        for which in [2, 3] {
            world.remove(0, group, which);
            world.settle();
        }
        let mut content = GroupContent::notice(group, old.state().revision);
        content.secret = old.secret().cloned();
        content.head = Some(old.head());
        announce_and_invite(&mut world, group, (2, content), is_false_first);
    }
}
