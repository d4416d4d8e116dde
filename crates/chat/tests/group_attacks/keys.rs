//! Keys of groups: who gets them, who can replace them, and keys that the server or former administrators have.

use super::*;

#[test]
fn attack_18_a_member_cannot_replace_the_keys_of_a_group_and_so_can_be_removed() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let view = world.view(1, group);
    assert_eq!(view.admin_key(), None, "only administrators have it");
    let access = view.secret().unwrap().access(group);
    let (thief, place) = (world.account(1), (group, world.next(group)));
    let answer = world.server.append(thief, place, &access, Some(STOLEN), b"mine");
    assert!(matches!(answer, Response::Refused), "{answer:?}");
    world.remove(0, group, 1);
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Outside));
    let place = (group, world.next(group));
    let answer = world.server.append(thief, place, &access, None, b"still here");
    assert!(matches!(answer, Response::NotFound), "{answer:?}");
    world.assert_same(&[0, 2], group);
}

/// The server invents an identity key, and signs the keys of a device with it.
fn invent_identity(bundles: &mut Vec<PreKeyBundle>) {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let invented = KeyPair::random(&mut rng);
    for bundle in bundles {
        bundle.identity = *invented.public();
        bundle.signed.2 = invented.sign(&bundle.signed.1.encode(), &mut rng);
        if let Some((_, key, signature)) = &mut bundle.kem {
            *signature = invented.sign(&key.encode(), &mut rng);
        }
    }
}

#[test]
fn attack_18_an_identity_key_that_the_server_invents_gets_no_keys_of_a_group() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.create(0);
    let link = world.enable_link(0, group);
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[1].client.join_group(now, &link, rng);
    world.run(1);
    world.server.edits_bundles = Some(invent_identity);
    world.input(0, ClientInput::Connected);
    world.run(0);
    assert_eq!(world.members(0, group), 2, "the log names the right key");
    let said = world.say(0, group, "secret");
    world.run(0);
    assert_eq!(world.waiting_kinds(1), []);
    // Nor after a restart.
    world.crash(0);
    world.run(0);
    assert_eq!(world.waiting_kinds(1), []);
    world.server.edits_bundles = None;
    world.deliver(0);
    let account = world.account(1);
    let right = world.devices[0].client.group_state(group).unwrap().members[&account].identity;
    let changed = ClientEvent::IdentityChanged(account, right);
    assert!(world.devices[0].events.contains(&changed), "{said:?}");
    world.input(0, ClientInput::AcceptIdentity(account, right));
    world.settle();
    assert_eq!(world.view(1, group).secret(), world.view(0, group).secret());
    world.say(0, group, "welcome");
    world.settle();
    assert!(world.read(1, group).contains(&"welcome".to_owned()));
}

#[test]
fn attack_18_each_administrator_who_goes_leaves_a_useless_key() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.group();
    let admin = |world: &World| world.server.groups[&group].keys.admin;
    let first = admin(&world);
    world.set_role(0, group, 1, Role::Admin);
    assert_eq!(admin(&world), first);
    let known = world.view(1, group).admin_key().unwrap().access().hash();
    assert_eq!(known, first, "the new administrator has the key");
    // By another one, by itself, by leaving, and by a removal.
    world.set_role(0, group, 1, Role::Member);
    assert_ne!(admin(&world), known);
    assert_eq!(world.view(1, group).admin_key(), None);
    type Way = fn(&mut World, GroupId);
    let ways: [Way; 3] = [
        |world, group| world.set_role(1, group, 1, Role::Member),
        |world, group| world.remove(0, group, 1),
        |world, group| world.change(2, group, GroupChange::Leave { successor: None }),
    ];
    for (person, way) in [1, 1, 2].into_iter().zip(ways) {
        world.set_role(0, group, person, Role::Admin);
        let known = world.view(person, group).admin_key().unwrap().access().hash();
        assert_eq!(known, admin(&world));
        way(&mut world, group);
        world.settle();
        assert_ne!(admin(&world), known);
        let current = world.view(0, group).admin_key().unwrap().access().hash();
        assert_eq!(admin(&world), current);
    }
}

#[test]
fn the_last_administrator_gives_the_key_to_the_successor() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let successor = Some(world.account(1));
    world.change(0, group, GroupChange::Leave { successor });
    world.settle();
    assert_eq!(world.membership(0, group), Some(Membership::Outside));
    // Which has also replaced it.
    world.remove(1, group, 2);
    world.settle();
    assert_eq!(world.members(1, group), 1);
}

#[test]
fn attack_18_whoever_we_remove_gets_nothing_although_the_removal_has_to_wait() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    world.say(0, group, "before");
    world.settle();
    // The server locks us out; the removal waits, also over a restart.
    let right = world.server.groups[&group].keys;
    world.server.groups.get_mut(&group).unwrap().keys = STOLEN;
    world.remove(0, group, 2);
    world.exchange();
    world.crash(0);
    world.say(0, group, "after");
    (0..5).for_each(|_| world.exchange());
    assert!(world.devices[0].client.is_changing_group(group));
    assert_eq!(world.devices[0].client.group_delay(group), Some(GroupDelay::NoKeys));
    // Nobody gets anything: others may have been removed in a log that we cannot read.
    assert_eq!([1, 2].map(|which| world.read(which, group)), [["before"], ["before"]]);
    world.server.groups.get_mut(&group).unwrap().keys = right;
    world.settle();
    assert_eq!(world.membership(2, group), Some(Membership::Outside));
    assert_eq!(world.members(1, group), 2);
    assert_eq!(world.read(1, group), ["before", "after"]);
    assert_eq!(world.read(2, group), ["before"]);
}

#[test]
fn attack_18_somebody_whom_we_remove_cannot_make_us_forget_that() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    world.set_role(0, group, 1, Role::Admin);
    let right = world.server.groups[&group].keys;
    world.server.groups.get_mut(&group).unwrap().keys = STOLEN;
    world.remove(0, group, 1);
    // The other administrator says that we were removed.
    let mut content = GroupContent::notice(group, 100);
    content.removed = true;
    let to = world.account(0);
    let content = Content::Group(Box::new(content));
    world.input(1, ClientInput::Send(to, content));
    (0..5).for_each(|_| world.exchange());
    assert_eq!(world.membership(0, group), Some(Membership::Outside));
    world.crash(0);
    world.server.groups.get_mut(&group).unwrap().keys = right;
    world.settle();
    assert_eq!(
        [0, 1].map(|which| world.membership(which, group)),
        [Some(Membership::Member), Some(Membership::Outside),]
    );
}
