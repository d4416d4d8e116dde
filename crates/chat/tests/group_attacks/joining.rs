//! People with a link, and people who join while others write.

use super::*;

#[test]
fn attack_18_whoever_has_a_link_can_neither_replace_keys_nor_append_more_than_one_entry() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    let link = world.enable_link(0, group);
    let access = link.key.link_access(group, &link.password);
    let thief = world.account(3);
    let append = |world: &mut World, next: Option<AccessHashes>, entry: &[u8]| {
        let place = (group, world.next(group));
        world.server.append(thief, place, &access, next, entry)
    };
    assert!(matches!(append(&mut world, Some(STOLEN), b"mine"), Response::Refused));
    assert!(matches!(append(&mut world, None, b"junk"), Response::Done));
    assert!(matches!(append(&mut world, None, b"more"), Response::Refused));
    // Others still join, and administrators still replace the link.
    world.follow(2, &link);
    assert_eq!(world.membership(2, group), Some(Membership::Member));
    world.enable_link(0, group);
    assert!(matches!(append(&mut world, None, b"later"), Response::NotFound));
    world.assert_same(&[0, 1, 2], group);
}

#[test]
fn messages_written_while_we_are_alone_are_for_those_whom_we_had_invited() {
    let mut world = World::new(1);
    world.people(4);
    world.calm_down();
    let group = world.create(0);
    let link = world.enable_link(0, group);
    let alice = world.account(0);
    world.input(1, ClientInput::DoNotKeep(alice));
    world.invite(0, group, &[1]);
    world.say(0, group, "for Bob");
    let exchange = |world: &mut World| (0..8).for_each(|_| world.exchange());
    exchange(&mut world);
    // Somebody else comes with the link first.
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[2].client.join_group(now, &link, rng);
    exchange(&mut world);
    world.crash(0);
    exchange(&mut world);
    world.say(0, group, "for both");
    exchange(&mut world);
    assert_eq!(world.read(2, group), ["for both"]);
    assert_eq!(world.devices[0].client.group_outbox().count(), 1);
    world.change(1, group, GroupChange::Accept { app: None });
    world.settle();
    assert_eq!(world.members(0, group), 3);
    assert_eq!(world.read(1, group), ["for Bob"]);
    assert_eq!(world.read(2, group), ["for both"]);
    assert_eq!(world.devices[0].client.group_outbox().count(), 0);
    assert!(world.events(0, group).iter().all(|it| !matches!(it, GroupEvent::PartlySent(_))));
}

#[test]
fn somebody_who_is_welcomed_before_the_answer_of_the_server_learns_that_joining_has_worked() {
    for is_lost in [false, true] {
        let mut world = World::new(1);
        world.people(2);
        world.calm_down();
        let group = world.create(0);
        let link = world.enable_link(0, group);
        let (now, rng) = (world.now, &mut world.rng);
        let (_, change) = world.devices[1].client.join_group(now, &link, rng);
        let appends = |request: &Request| matches!(request, Request::AppendGroupEntry { .. });
        let (id, request) = world.run_until(1, appends);
        let answer = world.server.answer(world.devices[1].address, request);
        world.input(0, ClientInput::Connected);
        world.run(0);
        world.deliver(1);
        let next = if is_lost { ClientInput::Connected } else { ClientInput::Response(id, answer) };
        world.input(1, next);
        world.settle();
        assert_eq!(world.membership(1, group), Some(Membership::Member));
        let finished = world.devices[1].events.iter().find_map(|event| match event {
            ClientEvent::ChangeFinished(id, outcome) => Some((*id, *outcome)),
            _ => None,
        });
        assert_eq!(finished, Some((change.unwrap(), Ok(()))), "the answer is lost: {is_lost}");
    }
}

#[test]
fn whoever_joins_with_a_link_gets_the_keys_of_members_from_an_administrator() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.create(0);
    let link = world.enable_link(0, group);
    world.follow(1, &link);
    assert_eq!(world.view(1, group).secret(), world.view(0, group).secret());
    assert_eq!(world.view(1, group).admin_key(), None);
    // A link that a member makes is as good.
    let link = world.devices[1].client.group_link(group).unwrap();
    world.follow(2, &link);
    world.say(2, group, "hello");
    world.settle();
    assert_eq!(world.read(1, group), ["hello"]);
    world.change(2, group, GroupChange::Leave { successor: None });
    world.settle();
    assert_eq!(world.membership(2, group), Some(Membership::Outside));
}

/// An entry in which somebody is alone in the group, with the link that others have.
fn forged(world: &mut World, link: &GroupLink, revision: u64) -> Vec<u8> {
    let pair = KeyPair::random(&mut world.rng);
    let author = Author { account: world.account(2), identity: *pair.public() };
    let mut state = world.devices[0].client.group_state(link.group).unwrap().clone();
    let role = Role::Admin;
    let member = Member { identity: author.identity, role, app: None };
    (state.members, state.title) = ([(author.account, member)].into(), "Trap".to_owned());
    state.revision = revision;
    let (previous, change) = (Some(link.head), GroupChange::SetTimer(0));
    let entry = GroupEntry { group: link.group, revision, previous, author, change, state };
    entry.seal(&link.key, &pair, &mut world.rng).unwrap()
}

#[test]
fn attack_18_a_newcomer_with_a_link_is_not_shown_a_forged_group() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    let link = world.enable_link(0, group);
    // Somebody with the link appends the forged entry.
    let trap = forged(&mut world, &link, link.revision + 1);
    world.log(group).push(trap);
    world.follow(3, &link);
    assert_eq!(world.membership(3, group), Some(Membership::Member));
    world.assert_same(&[0, 1, 3], group);
    // The server puts one into the place that the link names.
    let link = world.devices[0].client.group_link(group).unwrap();
    let place = usize::try_from(link.revision).unwrap();
    let trap = forged(&mut world, &link, link.revision);
    world.log(group)[place] = trap;
    world.follow(2, &link);
    assert_eq!(world.membership(2, group), Some(Membership::Outside));
    assert_eq!(world.devices[2].client.group_state(group), None);
}
