//! Changes that are repeated, reordered, hidden, or made at the same time.

use super::*;

#[test]
fn changes_beyond_the_limit_are_refused_and_the_others_survive_a_restart() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.group();
    world.server.is_down = true;
    for seconds in 1..=32 {
        world.change(0, group, GroupChange::SetTimer(seconds));
    }
    let (now, rng) = (world.now, &mut world.rng);
    let more = world.devices[0].client.change_group(now, group, GroupChange::SetTimer(33), rng);
    assert_eq!(more, Err(GroupFailure::TooManyChanges));
    world.run(0);
    world.crash(0);
    world.server.is_down = false;
    world.settle();
    assert_eq!(world.timer(1, group), 32);
    world.change(0, group, GroupChange::SetTimer(33));
    world.settle();
    assert_eq!(world.timer(1, group), 33);
}

#[test]
fn attack_18_a_server_that_repeats_a_change_later_achieves_nothing() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    for seconds in [60, 30] {
        world.change(0, group, GroupChange::SetTimer(seconds));
        world.settle();
    }
    // The first of the two comes again, at the end.
    let log = world.log(group);
    let again = log[log.len() - 2].clone();
    log.push(again);
    world.settle();
    (0..3).for_each(|which| assert_eq!(world.timer(which, group), 30));
    world.change(0, group, GroupChange::SetTimer(10));
    world.settle();
    (0..3).for_each(|which| assert_eq!(world.timer(which, group), 10));
}

#[test]
fn attack_18_a_server_that_reorders_or_hides_changes_achieves_nothing() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let first = world.log(group).len();
    for seconds in [60, 30] {
        world.change(0, group, GroupChange::SetTimer(seconds));
        world.run(0);
    }
    assert_eq!(world.log(group).len(), first + 2);
    let honest = world.log(group).clone();
    world.log(group).swap(first, first + 1);
    (0..3).for_each(|_| world.exchange());
    assert_eq!(world.timer(1, group), 0);
    // It hides the first one.
    world.log(group)[first].clone_from(&honest[0]);
    world.log(group)[first + 1].clone_from(&honest[first + 1]);
    (0..3).for_each(|_| world.exchange());
    assert_eq!(world.timer(1, group), 0);
    *world.log(group) = honest;
    world.settle();
    assert_eq!(world.timer(1, group), 30);
    world.assert_same(&[0, 1, 2], group);
}

/// A group of three, whose administrator has an identity key that the test knows.
fn group_with_key(world: &mut World) -> (GroupId, KeyPair) {
    let pair = KeyPair::random(&mut world.rng);
    world.join(1, 1, &pair);
    for account in 2..=3 {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    (0..3).for_each(|which| world.run(which));
    world.introduce();
    (world.group(), pair)
}

#[test]
fn attack_18_a_member_who_is_shown_another_log_does_not_follow_it_further() {
    let mut world = World::new(1);
    let (group, pair) = group_with_key(&mut world);
    let view = world.view(0, group);
    let author = (world.account(0), &pair);
    let latest = view.state().revision;
    let [ours, theirs] = [60, 30].map(|seconds| {
        let change = GroupChange::SetTimer(seconds);
        view.draft(latest, author, &change, &mut world.rng).unwrap().entry
    });
    // The administrator and the server agree to deceive person 1.
    world.log(group).push(theirs);
    world.input(1, ClientInput::Connected);
    world.run(1);
    assert_eq!(world.timer(1, group), 30);
    *world.log(group).last_mut().unwrap() = ours;
    world.settle();
    assert_eq!([0, 2].map(|which| world.timer(which, group)), [60, 60]);
    world.change(0, group, GroupChange::SetTimer(10));
    world.settle();
    assert_eq!([0, 2].map(|which| world.timer(which, group)), [10, 10]);
    assert_eq!(world.timer(1, group), 30, "the two logs cannot be joined again");
}

#[test]
fn attack_18_an_entry_of_a_removed_administrator_has_no_effect() {
    let mut world = World::new(1);
    let (group, pair) = group_with_key(&mut world);
    world.set_role(0, group, 1, Role::Admin);
    let old = world.view(0, group);
    world.remove(1, group, 0);
    world.settle();
    assert_eq!(world.membership(0, group), Some(Membership::Outside));
    let author = (world.account(0), &pair);
    let change = GroupChange::SetTimer(60);
    let stale = old.draft(world.next(group) - 1, author, &change, &mut world.rng).unwrap();
    // The server stores it for a friend, and even somebody who knows the next secret cannot make it valid.
    world.log(group).push(stale.entry);
    let current = world.view(1, group);
    let revision = world.next(group);
    let author = Author { account: world.account(0), identity: *pair.public() };
    let previous = Some(current.head());
    let state = wormhole_chat::group::GroupState { revision, ..current.state().clone() };
    let entry = GroupEntry { group, revision, previous, author, change, state };
    let sealed = entry.seal(current.key(), &pair, &mut world.rng).unwrap();
    let keys = EpochKeys { secret: current.secret().unwrap().clone(), admin: None };
    let read = current.clone().read(revision, &sealed, &[keys]);
    assert!(read.is_err(), "{read:?}");
    world.log(group).push(sealed);
    world.settle();
    for which in [1, 2] {
        assert_eq!((world.timer(which, group), world.members(which, group)), (0, 2));
    }
    world.change(1, group, GroupChange::SetTimer(10));
    world.settle();
    world.assert_same(&[1, 2], group);
    assert_eq!(world.timer(2, group), 10);
}

#[test]
fn attack_18_of_two_administrators_who_remove_each_other_at_once_one_stays() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        world.people(3);
        let group = world.group();
        world.set_role(0, group, 1, Role::Admin);
        world.remove(0, group, 1);
        world.remove(1, group, 0);
        world.settle();
        let stays = [0, 1].map(|which| world.membership(which, group) == Some(Membership::Member));
        assert_eq!(stays.iter().filter(|stays| **stays).count(), 1, "seed {seed}");
        let one = usize::from(stays[1]);
        world.assert_same(&[one, 2], group);
        world.say(one, group, "only us");
        world.settle();
        assert_eq!(world.read(2, group), ["only us"]);
        assert_eq!(world.read(1 - one, group), [""; 0]);
    }
}
