//! Sender keys: whose are accepted, and when they are replaced.

use super::*;

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
