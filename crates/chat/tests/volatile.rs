//! Receipts and typing: sent like messages, but without a place in the store.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]
#![allow(dead_code, reason = "it uses a part of the world")]

#[path = "support/world.rs"]
mod world;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use world::World;
use wormhole_chat::{
    AccountId, ClientEvent, ClientInput, Content, DataMessage, KeyPair, Receipt, ReceiptKind,
    StoreKey, Timestamp, Typing,
};

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn receipt() -> Content {
    Content::Receipt(Receipt { kind: ReceiptKind::Read, timestamps: vec![Timestamp(7)] })
}

fn volatile(content: Content, is_online: bool) -> ClientInput {
    ClientInput::SendVolatile { to: account(1), content, is_online }
}

/// Alice and Bob, who have written to each other.
fn world() -> World {
    let mut world = World::new(5);
    for number in 1..=2 {
        let identity = KeyPair::random(&mut ChaCha8Rng::seed_from_u64(number.into()));
        world.join(number, 1, &identity);
    }
    world.settle();
    for (which, to) in [(0, 2), (1, 1)] {
        let text = DataMessage { body: Some("hello".to_owned()), ..DataMessage::default() };
        world.input(which, ClientInput::Send(account(to), Content::Data(Box::new(text))));
        world.settle();
    }
    world
}

#[test]
fn a_receipt_arrives_and_leaves_no_trace() {
    let mut world = world();
    let events = world.devices[1].events.len();
    world.input(1, volatile(receipt(), false));
    world.settle();
    assert_eq!(world.devices[0].inbox.last().unwrap().content, receipt());
    assert_eq!(world.devices[1].events.len(), events);
    let is_outgoing = |key: &StoreKey| matches!(key, StoreKey::Outgoing(_));
    assert!(!world.devices[1].rows().keys().any(is_outgoing));
}

#[test]
fn what_is_not_sent_is_tried_again_until_the_program_ends_and_typing_is_not() {
    let mut world = world();
    world.server.is_down = true;
    let typing = Typing { timestamp: Timestamp(0), started: true, group: None };
    world.input(1, volatile(receipt(), false));
    world.input(1, volatile(Content::Typing(typing), true));
    world.run(1);
    assert_eq!((world.devices[1].outbox_len(), world.devices[1].waiting()), (2, 0));
    world.input(1, ClientInput::Connected);
    world.run(1);
    assert_eq!(world.devices[1].outbox_len(), 1);
    world.server.is_down = false;
    world.settle();
    assert_eq!(world.devices[0].inbox.last().unwrap().content, receipt());

    world.server.is_down = true;
    world.input(1, volatile(receipt(), false));
    world.run(1);
    world.crash(1);
    assert_eq!(world.devices[1].outbox_len(), 0);
    let is_message = |event: &ClientEvent| matches!(event, ClientEvent::NotSent(..));
    assert!(!world.devices[1].events.iter().any(is_message));
}
