//! Invitations, links, removals, and changes by several people.

use super::*;

#[test]
fn contacts_join_a_group_and_read_what_is_written_to_it() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.group();
    for which in 0..4 {
        assert_eq!(world.membership(which, group), Some(Membership::Member));
        assert_eq!(world.members(which, group), 4);
    }
    let before = world.server.group_messages;
    world.say(0, group, "one");
    world.say(0, group, "two");
    world.settle();
    // One upload for each message, whatever the number of members.
    assert_eq!(world.server.group_messages, before + 2);
    world.say(2, group, "three");
    world.settle();
    // The network may change their order.
    let read = |which: usize| BTreeSet::from_iter(world.read(which, group));
    assert_eq!(read(1), BTreeSet::from(["one", "two", "three"].map(String::from)));
    assert_eq!(read(2), BTreeSet::from(["one", "two"].map(String::from)));
    assert_eq!(world.read(0, group), ["three"]);
    for which in 0..4 {
        let failed = |event: &ClientEvent| {
            matches!(event, ClientEvent::NotRead(..) | ClientEvent::NotSent(..))
        };
        assert!(!world.devices[which].events.iter().any(failed));
    }
}

#[test]
fn an_invitation_of_somebody_unknown_waits_for_the_user() {
    let mut world = World::new(1);
    for account in 1..=2 {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    (0..2).for_each(|which| world.run(which));
    let group = world.group();
    assert_eq!(world.membership(1, group), Some(Membership::Invited));
    let inviter = world.account(0);
    assert!(world.events(1, group).contains(&GroupEvent::Invited(inviter)));
    world.crash(1);
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Invited));
    world.change(1, group, GroupChange::Accept { app: None });
    world.settle();
    assert_eq!(world.members(0, group), 2);
    world.say(1, group, "thanks");
    world.settle();
    assert_eq!(world.read(0, group), ["thanks"]);
}

#[test]
fn attack_18_a_removed_member_cannot_read_later_messages() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    for which in 0..3 {
        world.say(which, group, &format!("before {which}"));
    }
    world.settle();
    assert_eq!(world.read(2, group).len(), 2);
    // The removed device keeps all its keys.
    let kept = world.devices[2].rows().clone();
    world.remove(0, group, 2);
    world.settle();
    assert_eq!(world.membership(2, group), Some(Membership::Outside));
    assert!(world.events(2, group).contains(&GroupEvent::Removed));
    let queue = |world: &World| world.server.devices[&world.devices[2].address].waiting();
    assert_eq!(queue(&world), 0);
    for which in 0..2 {
        assert_eq!(world.members(which, group), 2);
        world.say(which, group, &format!("after {which}"));
    }
    world.settle();
    assert_eq!(queue(&world), 0, "nothing is sent to it");
    assert!(world.read(1, group).contains(&"after 0".to_owned()));
    // And what others write is encrypted with other keys than those that it has.
    let chain = |rows: &BTreeMap<StoreKey, zeroize::Zeroizing<Vec<u8>>>| {
        let own = rows.get(&StoreKey::OwnSenderKey(group)).unwrap();
        // Epoch, time, length, format, distribution id: then the chain id.
        own[16 + 1 + 16..16 + 1 + 16 + 4].to_vec()
    };
    let keys: Vec<_> =
        kept.iter().filter(|(key, _)| matches!(key, StoreKey::SenderKey { .. })).collect();
    assert_eq!(keys.len(), 2);
    for which in 0..2 {
        let chain = chain(world.devices[which].rows());
        assert!(keys.iter().all(|(_, value)| !value.windows(4).any(|bytes| bytes == chain)));
    }
    // What it writes is refused.
    let sent =
        world.devices[2].client.send_to_group(world.now, group, &text("still"), &mut world.rng);
    assert_eq!(sent, Err(GroupFailure::Unknown));
}

#[test]
fn two_administrators_at_once_both_get_what_they_want() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.group();
    let account = world.account(1);
    world.change(0, group, GroupChange::SetRole { account, role: Role::Admin });
    world.settle();
    world.remove(0, group, 2);
    world.remove(1, group, 3);
    world.change(1, group, GroupChange::SetTimer(60));
    world.settle();
    for which in 0..2 {
        let state = world.devices[which].client.group_state(group).unwrap();
        assert_eq!((state.members.len(), state.epoch, state.expire_timer), (2, 2, 60));
    }
    for which in 2..4 {
        assert_eq!(world.membership(which, group), Some(Membership::Outside));
    }
    // A change that is not possible any more is reported.
    let person = world.account(2);
    world.change(1, group, GroupChange::SetRole { account: person, role: Role::Admin });
    world.settle();
    let failed = world.events(1, group).into_iter().any(|event| {
        let why = GroupFailure::NotPermitted(ChangeError::NotMember);
        matches!(event, GroupEvent::ChangeFailed(_, it) if it == why)
    });
    assert!(failed);
    world.say(0, group, "still here");
    world.settle();
    assert_eq!(world.read(1, group), ["still here"]);
}

#[test]
fn equal_changes_have_outcomes_of_their_own() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.group();
    let account = world.account(1);
    let promote = || GroupChange::SetRole { account, role: Role::Admin };
    let remove = GroupChange::Remove { account, password: None };
    // The second change is superfluous, the fourth comes after the removal.
    let ids = [promote(), promote(), remove, promote()].map(|change| {
        let (now, rng) = (world.now, &mut world.rng);
        world.devices[0].client.change_group(now, group, change, rng).unwrap()
    });
    world.settle();
    let finished = world.devices[0].events.iter().filter_map(|event| match event {
        ClientEvent::ChangeFinished(id, outcome) if ids.contains(id) => Some((*id, *outcome)),
        _ => None,
    });
    let refused = Err(GroupFailure::NotPermitted(ChangeError::NotMember));
    let expected = ids.into_iter().zip([Ok(()), Ok(()), Ok(()), refused]);
    assert_eq!(finished.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn a_link_lets_people_in_until_it_is_replaced_and_a_leaver_loses_the_secret() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.create(0);
    let password = LinkPassword::random(&mut world.rng);
    world.change(0, group, GroupChange::SetLink(Some(password)));
    world.settle();
    let link = world.devices[0].client.group_link(group).unwrap();
    for which in 1..3 {
        let (now, rng) = (world.now, &mut world.rng);
        world.devices[which].client.join_group(now, &link, rng);
        world.settle();
        assert_eq!(world.membership(which, group), Some(Membership::Member));
    }
    world.change(1, group, GroupChange::Leave { successor: None });
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Outside));
    // The administrator has started a new epoch, with another link.
    let state = world.devices[0].client.group_state(group).unwrap();
    assert_eq!((state.epoch, state.members.len()), (1, 2));
    let next = world.devices[0].client.group_link(group).unwrap();
    assert_ne!(next.password, link.password);
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[3].client.join_group(now, &link, rng);
    world.settle();
    assert_eq!(world.membership(3, group), Some(Membership::Outside));
    world.say(2, group, "hello");
    world.settle();
    assert_eq!(world.read(0, group), ["hello"]);
}

#[test]
fn somebody_who_was_removed_can_be_invited_again() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    world.remove(0, group, 1);
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Outside));
    world.invite(0, group, &[1]);
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Member));
    world.say(1, group, "back");
    world.settle();
    assert_eq!(world.read(2, group), ["back"]);
}

#[test]
fn somebody_who_is_removed_by_a_new_administrator_learns_it_once() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let away = 2;
    let others_work = |world: &mut World| {
        for _ in 0..3 {
            for which in [0, 1] {
                world.run(which);
                world.deliver(which);
            }
        }
    };
    let account = world.devices[1].address.account;
    world.change(0, group, GroupChange::SetRole { account, role: Role::Admin });
    others_work(&mut world);
    world.remove(1, group, away);
    others_work(&mut world);
    let times = |world: &World| {
        world.events(away, group).iter().filter(|it| **it == GroupEvent::Removed).count()
    };
    let connect = |world: &mut World| {
        world.input(away, ClientInput::Connected);
        world.run(away);
        world.deliver(away);
    };
    // It has not read that the other one is an administrator, and the next keys could be on their way.
    connect(&mut world);
    assert_eq!((world.membership(away, group), times(&world)), (Some(Membership::Member), 0));
    world.now.0 += 30_000;
    connect(&mut world);
    assert_eq!((world.membership(away, group), times(&world)), (Some(Membership::Outside), 1));
    connect(&mut world);
    assert_eq!(times(&world), 1);
}

#[test]
fn a_member_who_only_claims_a_removal_is_not_believed() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let content = GroupContent { removed: true, ..GroupContent::notice(group, 0) };
    let to = world.devices[2].address.account;
    world.input(1, ClientInput::Send(to, Content::Group(Box::new(content))));
    world.settle();
    world.now.0 += 30_000;
    world.settle();
    assert_eq!(world.membership(2, group), Some(Membership::Member));
    world.say(0, group, "still here");
    world.settle();
    assert_eq!(world.read(2, group), ["still here"]);
}
