//! Attacks by a service, or with clocks, on clients of several people. Numbered as in docs/chat-protocol.md "Attacks".

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "support/world.rs"]
mod world;

use world::World;
use wormhole_chat::{
    ClientEvent, ClientInput, Content, DataMessage, KeyPair, ReadError, Timestamp,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// Three people who have all written to each other.
fn three_people() -> World {
    let mut world = World::new(5);
    for account in [1, 2, 3] {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    (0..3).for_each(|which| world.run(which));
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)] {
        say(&mut world, from, to, "hello");
        world.deliver(to);
    }
    world.settle();
    world.devices.iter_mut().for_each(|device| device.inbox.clear());
    world
}

fn say(world: &mut World, from: usize, to: usize, text: &str) {
    let data = DataMessage { body: Some(text.to_owned()), ..DataMessage::default() };
    let to = world.devices[to].address.account;
    world.now.0 += 1;
    world.input(from, ClientInput::Send(to, Content::Data(Box::new(data))));
    world.run(from);
}

fn not_read(world: &World, which: usize) -> Vec<ReadError> {
    let events = world.devices[which].events.iter();
    let errors = events.filter_map(|event| match event {
        ClientEvent::NotRead(_, why) => Some(*why),
        _ => None,
    });
    errors.collect()
}

#[test]
fn attack_10_a_session_with_one_account_reads_nothing_in_the_name_of_another() {
    let mut world = three_people();
    let (alice, carol) = (world.devices[ALICE].address, world.devices[CAROL].address);
    say(&mut world, ALICE, BOB, "from Alice");
    // The server names Carol as the sender.
    let before = world.devices[BOB].rows().clone();
    world.deliver_changed(BOB, |envelope| {
        assert_eq!(envelope.source_account, Some(alice.account));
        envelope.source_account = Some(carol.account);
    });
    assert_eq!(world.devices[BOB].texts(), Vec::<String>::new());
    let session =
        |key: &wormhole_chat::StoreKey| matches!(key, wormhole_chat::StoreKey::Session(_));
    let sessions = |rows: &std::collections::BTreeMap<_, zeroize::Zeroizing<Vec<u8>>>| {
        let rows = rows.iter().filter(|(key, _)| session(key));
        rows.map(|(key, value)| (*key, value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(sessions(&before), sessions(world.devices[BOB].rows()), "no session has changed");
    // Both conversations go on. Carol, who is asked for the message, has not sent one.
    world.settle();
    say(&mut world, ALICE, BOB, "again");
    say(&mut world, CAROL, BOB, "from Carol");
    world.settle();
    assert_eq!(world.devices[BOB].texts(), ["again", "from Carol"]);
    assert_eq!(not_read(&world, BOB).len(), 1);
}

#[test]
fn attack_22_messages_from_clocks_that_are_wrong_by_years_are_read_and_change_no_timestamp_of_ours()
{
    let mut world = three_people();
    let now = world.now;
    for (clock, text) in [(u64::MAX / 2, "future"), (1, "past"), (now.0, "present")] {
        // Each time another clock of Alice.
        let which = if clock == 1 { CAROL } else { ALICE };
        world.now = Timestamp(clock);
        say(&mut world, which, BOB, text);
        world.now = now;
        world.deliver(BOB);
    }
    assert_eq!(world.devices[BOB].texts(), ["future", "past", "present"]);
    // A timestamp identifies a message, so those of one device always increase.
    let times: Vec<_> = world.devices[BOB].inbox.iter().map(|it| (it.from, it.timestamp)).collect();
    assert!(times[0].1 < times[2].1 && times[0].0 == times[2].0, "{times:?}");
    say(&mut world, BOB, ALICE, "answer");
    world.deliver(ALICE);
    let answer = world.devices[ALICE].inbox.last().unwrap();
    assert!(answer.timestamp.0 <= now.0 + 10, "the clock of Bob counts: {:?}", answer.timestamp);
    assert_eq!(not_read(&world, BOB), []);
}
