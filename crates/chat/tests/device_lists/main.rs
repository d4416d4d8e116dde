//! The signed lists of the devices of accounts: a server can neither add a device that its account has not signed, nor show an
//! older list.
//!
//! | file | tests |
//! |---|---|
//! | `group` | unsigned devices of members of a group |
//! | `invalid` | lists that a device refuses, and accounts and services without lists |
//! | `own` | signing and publishing the list of the own account |
//! | `removed` | devices that were removed from a list |
//! | `unsigned` | devices that their account has not signed |

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "../support/groups.rs"]
mod groups;
#[path = "../support/world.rs"]
mod world;

mod group;
mod invalid;
mod own;
mod removed;
mod unsigned;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use world::World;
use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, Address, ClientEvent, ClientInput, ConfigurationSync, Content, DataMessage,
    DeviceId, DeviceList, DeviceListUpdate, GroupEvent, KeyPair, OwnDevice, OwnDeviceList,
    ReadError, Received, Request, Response, SendFailure, SyncMessage, Timestamp,
};

const ALICE: u8 = 1;
const BOB: u8 = 2;

fn identity(seed: u8) -> KeyPair {
    KeyPair::random(&mut ChaCha8Rng::seed_from_u64(seed.into()))
}

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn address(number: u8, device: u32) -> Address {
    Address { account: account(number), device: DeviceId::new(device).unwrap() }
}

/// Alice and Bob have one device each, and have written to each other.
fn two() -> World {
    let mut world = World::new(7);
    world.server.has_lists = true;
    world.server.reports_other_devices = true;
    for person in [ALICE, BOB] {
        let which = world.join(person, 1, &identity(person));
        world.run(which);
    }
    say(&mut world, 0, BOB, "hello");
    say(&mut world, 1, ALICE, "hi");
    world.settle();
    world
}

/// Adds a device of Bob whose program knows no lists, or which the server has invented with a key of Bob.
fn inject(world: &mut World, device: u32) -> usize {
    world.server.has_lists = false;
    let which = world.join(BOB, device, &identity(BOB));
    world.run(which);
    world.server.has_lists = true;
    which
}

/// Adds a device of Bob that signs itself.
fn link(world: &mut World, device: u32) -> usize {
    let which = world.join(BOB, device, &identity(BOB));
    world.run(which);
    which
}

fn say(world: &mut World, which: usize, to: u8, text: &str) {
    let data = DataMessage { body: Some(text.to_owned()), ..DataMessage::default() };
    world.input(which, ClientInput::Send(account(to), Content::Data(Box::new(data))));
    world.run(which);
}

fn failures(world: &World, which: usize) -> Vec<SendFailure> {
    let events = world.devices[which].events.iter();
    let failure = |event: &ClientEvent| match event {
        ClientEvent::NotSent(_, failure) => Some(*failure),
        _ => None,
    };
    events.filter_map(failure).collect()
}

/// The devices about which the user of a device was told.
fn unsigned(world: &World, which: usize) -> Vec<Address> {
    let events = world.devices[which].events.iter();
    let device = |event: &ClientEvent| match event {
        ClientEvent::UnsignedDevice(device) => Some(*device),
        _ => None,
    };
    events.filter_map(device).collect()
}

fn refused(world: &World, which: usize) -> usize {
    let events = world.devices[which].events.iter();
    let is_refused =
        |event: &&ClientEvent| matches!(event, ClientEvent::NotRead(_, ReadError::UnsignedDevice));
    events.filter(is_refused).count()
}

fn revision(world: &World, which: usize, of: u8) -> Option<u64> {
    world.devices[which].client.device_list(account(of)).map(|list| list.revision)
}

/// A list of one device of Bob, with a greater revision than the newest one.
fn forged(of: AccountId, pair: &KeyPair) -> (u64, Vec<u8>) {
    let device = OwnDevice { device: DeviceId::PRIMARY, registration_id: 1, has_keys: true };
    let mut list = DeviceList::next(None, of, &[device], &[], Timestamp(1)).unwrap();
    list.revision = 50;
    (50, list.sign(pair, &mut ChaCha8Rng::seed_from_u64(99)))
}

fn shown_to(world: &World, of: u8) -> OwnDeviceList {
    let Response::DeviceList(shown) = world.server.own_list(account(of)) else { panic!() };
    shown
}

/// The update of the list of a device, if the user signs another one.
fn update(
    world: &mut World,
    which: usize,
    shown: &OwnDeviceList,
    sign: Option<u32>,
) -> DeviceListUpdate {
    let sign = sign.map(|number| {
        let device = DeviceId::new(number).unwrap();
        let shown = shown.devices.iter().find(|it| it.device == device).unwrap();
        (device, shown.registration_id)
    });
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[which].client.update_device_list(now, shown, sign.as_slice(), rng)
}

/// The server names another device of Bob, so that Alice fetches his keys, together with this list.
fn fetch(world: &mut World, list: Option<(u64, Vec<u8>)>) -> Vec<SendFailure> {
    match list {
        Some(list) => drop(world.server.lists.insert(account(BOB), list)),
        None => drop(world.server.lists.remove(&account(BOB))),
    }
    inject(world, 9);
    say(world, 0, BOB, "to all your devices");
    failures(world, 0)
}

fn waiting(world: &World) -> usize {
    world.server.devices[&address(ALICE, 1)].waiting()
}
