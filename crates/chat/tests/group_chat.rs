//! Clients in groups, through a server, with losses and crashes.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use groups::text;
use world::World;
use wormhole_chat::group::{ChangeError, GroupChange, GroupId, LinkPassword, Role};
use wormhole_chat::{
    Address, ClientEvent, ClientInput, Content, Delivery, DistributionId, Envelope, EnvelopeKind,
    GroupContent, GroupEvent, GroupFailure, KeyPair, Membership, SendFailure, SenderKey, StoreKey,
};

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
fn attack_18_a_sender_key_of_somebody_who_is_no_member_is_ignored() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    world.settle();
    let key = SenderKey::random(DistributionId::random(&mut world.rng), &mut world.rng);
    let mut content = GroupContent::notice(group, 100);
    let distribution = key.distribution_message().encode().to_vec();
    content.inner = Some(Box::new(Content::SenderKeyDistribution(distribution)));
    let to = world.account(0);
    world.input(2, ClientInput::Send(to, Content::Group(Box::new(content))));
    world.settle();
    let from = world.devices[2].address;
    let is_injected =
        |key: &&StoreKey| matches!(key, StoreKey::SenderKey { from: it, .. } if *it == from);
    assert_eq!(world.devices[0].rows().keys().filter(is_injected).count(), 0);
    let is_early = |key: &&StoreKey| matches!(key, StoreKey::EarlyGroupMessage(_));
    assert_eq!(world.devices[0].rows().keys().filter(is_early).count(), 0);
}

/// Delivers bytes as a message with a sender key, from an account.
fn inject(world: &mut World, to: usize, from: Address, bytes: Vec<u8>) {
    let mut envelope = Envelope::new(EnvelopeKind::SenderKey, world.now);
    envelope.source_account = Some(from.account);
    envelope.source_device = Some(from.device);
    envelope.content = Some(bytes);
    world.input(to, ClientInput::Envelope(Delivery(u64::MAX), Box::new(envelope)));
    world.run(to);
}

/// The padded content of a message to a group.
fn plaintext(group: GroupId, body: &str) -> Vec<u8> {
    let mut content = GroupContent::notice(group, 0);
    content.inner = Some(Box::new(text(body)));
    wormhole_chat::pad(&Content::Group(Box::new(content)).encode()).to_vec()
}

#[test]
fn attack_18_a_signature_by_another_member_is_rejected() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    (0..3).for_each(|which| {
        world.say(which, group, "first");
    });
    world.settle();
    let own = |world: &World, which: usize| {
        let row = world.devices[which].rows()[&StoreKey::OwnSenderKey(group)].clone();
        let length = usize::try_from(u32::from_be_bytes(row[12..16].try_into().unwrap())).unwrap();
        SenderKey::decode(&row[16..16 + length]).unwrap()
    };
    // Person 2 knows the chain of person 1, as all members do, but not the key that signs.
    let (theirs, mut ours) = (own(&world, 1), own(&world, 2));
    let mut forged = theirs.encode().to_vec();
    let signing = ours.encode().to_vec();
    let at = forged.len() - 64;
    forged[at..].copy_from_slice(&signing[at..]);
    let mut forged = SenderKey::decode(&forged).unwrap();
    world.now.0 += 1000;
    let [from, other] = [1, 2].map(|which| world.devices[which].address);
    let bytes = forged.encrypt(&plaintext(group, "forged"), &mut world.rng).unwrap();
    inject(&mut world, 0, from, bytes);
    // Nor is a message of person 2 one of person 1.
    let bytes = ours.encrypt(&plaintext(group, "mine"), &mut world.rng).unwrap();
    inject(&mut world, 0, from, bytes.clone());
    assert_eq!(world.read(0, group), ["first", "first"]);
    // Person 1 is asked for it, and says that there is no such message.
    let count = world.devices[0].events.len();
    world.settle();
    let rejected = |event: &&ClientEvent| matches!(event, ClientEvent::NotRead(..));
    assert_eq!(world.devices[0].events[count..].iter().filter(rejected).count(), 1);
    inject(&mut world, 0, other, bytes);
    assert_eq!(world.read(0, group), ["first", "first", "mine"]);
}

#[test]
fn attack_18_a_key_is_for_one_group_and_a_known_chain_is_not_read_twice() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.group();
    let other = world.create(0);
    world.invite(0, other, &[1]);
    world.settle();
    let from = world.devices[1].address;
    let to = world.account(0);
    let mut key = SenderKey::random(DistributionId::random(&mut world.rng), &mut world.rng);
    let announce = |world: &mut World, group: GroupId, key: &SenderKey| {
        let mut content = GroupContent::notice(group, 0);
        let key = key.distribution_message().encode().to_vec();
        content.inner = Some(Box::new(Content::SenderKeyDistribution(key)));
        world.input(1, ClientInput::Send(to, Content::Group(Box::new(content))));
        world.settle();
    };
    announce(&mut world, group, &key);
    let first = key.clone();
    let bytes = key.encrypt(&plaintext(group, "one"), &mut world.rng).unwrap();
    inject(&mut world, 0, from, bytes.clone());
    assert_eq!(world.read(0, group), ["one"]);
    // The same state of the chain again, and the same id for another group.
    announce(&mut world, group, &first);
    inject(&mut world, 0, from, bytes);
    announce(&mut world, other, &key);
    let bytes = key.encrypt(&plaintext(other, "two"), &mut world.rng).unwrap();
    inject(&mut world, 0, from, bytes);
    assert_eq!((world.read(0, group).len(), world.read(0, other).len()), (1, 0));
    // A message inside names another group than its key.
    let bytes = key.encrypt(&plaintext(group, "three"), &mut world.rng).unwrap();
    inject(&mut world, 0, from, bytes);
    assert_eq!(world.read(0, group), ["one", "three"]);
}

#[test]
fn a_message_that_arrives_before_its_sender_key_is_read_when_the_key_arrives() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.group();
    let from = world.devices[1].address;
    let to = world.account(0);
    let mut key = SenderKey::random(DistributionId::random(&mut world.rng), &mut world.rng);
    let distribution = key.distribution_message().encode().to_vec();
    for number in 0..40 {
        let bytes = key.encrypt(&plaintext(group, &format!("{number}")), &mut world.rng).unwrap();
        inject(&mut world, 0, from, bytes);
    }
    // It is kept over a restart; of too many, the oldest are given up.
    world.crash(0);
    let is_early = |key: &&StoreKey| matches!(key, StoreKey::EarlyGroupMessage(_));
    assert_eq!(world.devices[0].rows().keys().filter(is_early).count(), 32);
    let mut content = GroupContent::notice(group, 0);
    content.inner = Some(Box::new(Content::SenderKeyDistribution(distribution)));
    world.input(1, ClientInput::Send(to, Content::Group(Box::new(content))));
    world.settle();
    let expected: Vec<_> = (8..40).map(|number| number.to_string()).collect();
    assert_eq!(world.read(0, group), expected);
    assert_eq!(world.devices[0].rows().keys().filter(is_early).count(), 0);
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
fn a_sender_key_is_replaced_after_two_weeks() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.group();
    let chain =
        |world: &World| world.devices[0].rows()[&StoreKey::OwnSenderKey(group)][33..37].to_vec();
    world.say(0, group, "one");
    world.settle();
    let first = chain(&world);
    world.now.0 += 13 * 86_400_000;
    world.say(0, group, "two");
    world.settle();
    assert_eq!(chain(&world), first);
    world.now.0 += 86_400_000;
    world.say(0, group, "three");
    world.settle();
    assert_ne!(chain(&world), first);
    assert_eq!(world.read(1, group), ["one", "two", "three"]);
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

#[test]
fn groups_survive_losses_and_crashes_at_any_moment() {
    (0..24).for_each(|seed| survive(seed, false));
}

#[test]
fn groups_survive_full_queues_with_losses_and_crashes_at_any_moment() {
    (100..130).for_each(|seed| survive(seed, true));
}

/// People write to a group and change it, while messages are lost, devices crash, and perhaps the server has no room for some.
fn survive(seed: u64, with_full_queues: bool) {
    let mut world = World::new(seed);
    world.people(4);
    let group = world.group();
    let account = world.account(1);
    world.change(0, group, GroupChange::SetRole { account, role: Role::Admin });
    world.settle();
    world.stir();
    let mut said = Vec::new();
    for number in 0..6 {
        let which = world.index(3);
        if world.membership(which, group) == Some(Membership::Member) {
            let body = format!("{number}");
            let timestamp = world.say(which, group, &body);
            said.push((which, timestamp, body));
        }
        if with_full_queues {
            let full = world.index(5);
            world.server.full = world.devices.get(full).map(|device| device.address.account);
            world.now.0 += 20_000;
            world.input(0, ClientInput::Timeout);
        }
        if number == 2 {
            world.remove(0, group, 3);
        }
        if number == 3 {
            world.change(1, group, GroupChange::SetTimer(60));
        }
        (0..40).for_each(|_| world.step_group());
    }
    world.server.full = None;
    world.calm_down();
    for _ in 0..3 {
        world.exchange();
        world.now.0 += 600_000;
    }
    world.settle();
    let states: Vec<_> = (0..3)
        .map(|which| world.devices[which].client.group_state(group).unwrap().clone())
        .collect();
    assert!(states.iter().all(|state| *state == states[0]), "seed {seed}");
    let accepted = |which: usize, timestamp| {
        world.events(which, group).contains(&GroupEvent::Accepted(timestamp))
    };
    for (which, timestamp, body) in said {
        for reader in (0..3).filter(|reader| *reader != which) {
            let times = world.read(reader, group).iter().filter(|text| **text == body).count();
            assert!(times <= 1, "seed {seed}: {body} was read {times} times");
            if accepted(which, timestamp) {
                assert_eq!(times, 1, "seed {seed}: {body} from {which} to {reader}");
            }
        }
    }
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
