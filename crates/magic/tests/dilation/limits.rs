//! A hostile peer costs a limited number of connections and a limited amount of memory, also during reconnections; and each
//! frame may arrive in parts, or only in part.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wormhole_kit::{Input, Instant, Output, Session};
use wormhole_magic::dilation::{
    Dilation, DilationCommand, DilationEvent, DilationMessage, DilationRecord, DilationSide,
    MAX_DIALS, MAX_NEW_ADDRESSES, Please, SubchannelId,
};
use wormhole_magic::transit::{Hint, Permit, RelayHint, Target, TcpHint};

use crate::hostile::Attack;
use crate::node::{Paths, config};

/// Executes a command, and returns the new connections.
fn dialled(
    victim: &mut Dilation<ChaCha8Rng>,
    now: Instant,
    message: &DilationMessage,
) -> Vec<Target> {
    let command = DilationCommand::Mailbox(message.encode());
    victim.handle(now, Input::Command(command)).unwrap();
    let mut dialled = Vec::new();
    while let Some(output) = victim.poll() {
        if let Output::Connect(_, target) = output {
            dialled.push(target);
        }
    }
    dialled
}

/// A victim that follows.
fn follower(now: Instant) -> Dilation<ChaCha8Rng> {
    let settings = config(false, Paths::Direct, 1);
    let version = settings.version;
    let mut victim = Dilation::new(settings, now, ChaCha8Rng::seed_from_u64(1));
    let side = DilationSide::leading(&mut ChaCha8Rng::seed_from_u64(2));
    let please = Please { side, version, extended: false, aes: false };
    dialled(&mut victim, now, &DilationMessage::Please(please));
    victim
}

#[test]
fn a_leader_that_reconnects_ten_thousand_times_cannot_make_us_scan_a_network() {
    let now = Instant::now();
    let mut victim = follower(now);
    let mut total = 0;
    for generation in 0..10_000_u32 {
        let hints = (0..64).map(|host| {
            let address = Ipv4Addr::from(0x0909_0000 + generation * 64 + host);
            Hint::Direct(TcpHint::new(address.to_string(), 22))
        });
        total += dialled(&mut victim, now, &DilationMessage::Reconnect).len();
        total += dialled(&mut victim, now, &DilationMessage::Hints(hints.collect())).len();
    }
    assert_eq!(total, MAX_NEW_ADDRESSES);
    // Later, an honest peer is dialled again.
    let later = now + Duration::from_secs(70);
    assert_eq!(dialled(&mut victim, later, &DilationMessage::Reconnect).len(), 0);
    let hint = Hint::Direct(TcpHint::new("9.9.9.9", 4000));
    assert_eq!(dialled(&mut victim, later, &DilationMessage::Hints(vec![hint])).len(), 1);
}

#[test]
fn a_peer_cannot_make_us_scan_a_network_with_names_whose_addresses_change() {
    let now = Instant::now();
    let mut victim = follower(now);
    let names = |generation| {
        let names = (0..64).map(|number| format!("{number}.{generation}.example.com"));
        let hints = names.map(|name| Hint::Direct(TcpHint::new(name, 22)));
        DilationMessage::Hints(hints.collect())
    };
    dialled(&mut victim, now, &DilationMessage::Reconnect);
    // Each may have eight addresses.
    let first = dialled(&mut victim, now, &names(0)).len();
    assert_eq!(first, 128 / 8);
    let mut total = first;
    for generation in 1..1000 {
        total += dialled(&mut victim, now, &DilationMessage::Reconnect).len();
        total += dialled(&mut victim, now, &names(generation)).len();
    }
    assert_eq!(total, MAX_NEW_ADDRESSES / 8);
}

#[test]
fn the_same_addresses_can_be_tried_as_often_as_one_generation_needs() {
    let now = Instant::now();
    let mut victim = follower(now);
    let hints = || {
        let addresses = (0..64).map(|host| format!("9.9.9.{host}"));
        let hints = addresses.map(|address| Hint::Direct(TcpHint::new(address, 4000)));
        DilationMessage::Hints(hints.collect())
    };
    let mut total = 0;
    for _ in 0..1000 {
        total += dialled(&mut victim, now, &DilationMessage::Reconnect).len();
        total += dialled(&mut victim, now, &hints()).len();
    }
    assert_eq!(total, MAX_DIALS);
}

#[test]
fn relays_that_the_peer_names_are_few_and_not_at_our_own_services() {
    let now = Instant::now();
    let mut settings = config(false, Paths::Direct, 1);
    settings.policy = wormhole_magic::transit::RelayPolicy::Auto;
    let version = settings.version;
    let mut victim = Dilation::new(settings, now, ChaCha8Rng::seed_from_u64(1));
    let side = DilationSide::leading(&mut ChaCha8Rng::seed_from_u64(2));
    let please = Please { side, version, extended: true, aes: false };
    dialled(&mut victim, now, &DilationMessage::Please(please));
    let relays =
        (0..1000_u16).map(|port| Hint::Relay(RelayHint::tcp(TcpHint::new("db.local", port))));
    let message = DilationMessage::Hints(relays.collect());
    let mut targets = dialled(&mut victim, now, &message);
    for second in 1..4 {
        let now = now + Duration::from_secs(second);
        victim.handle_timeout(now).unwrap();
        targets.extend(dialled(&mut victim, now, &DilationMessage::Unknown));
    }
    assert!(!targets.is_empty());
    assert!(targets.iter().all(|target| target.permit == Permit::PublicOrOwnNetwork));
    let mut addresses: Vec<_> = targets.iter().map(|it| format!("{:?}", it.address)).collect();
    addresses.sort();
    addresses.dedup();
    assert!(addresses.len() <= 16, "{}", addresses.len());
}

#[test]
fn a_peer_that_stops_reading_during_a_reconnection_is_disconnected_and_gets_everything_later() {
    let mut attack = Attack::new();
    attack.connect();
    let open = DilationCommand::Open { number: 0, subprotocol: "echo".into() };
    attack.command(open).unwrap();
    let id = SubchannelId::Ours(0);
    attack.command(DilationCommand::Write(id, b"hello".to_vec())).unwrap();
    for _ in 0..20 {
        // The link is lost, and on the next one the peer takes nothing.
        attack.mailbox(&DilationMessage::Lost).unwrap();
        attack.mailbox(&DilationMessage::Reconnecting).unwrap();
        attack.connect_unread();
        attack.victim.set_congested(true);
        attack.command(DilationCommand::Write(id, b"more".to_vec())).unwrap();
        assert!(attack.victim.poll().is_none());
    }
    // It is silent as well, so this link is lost, too.
    attack.events.clear();
    attack.now += Duration::from_secs(2);
    attack.victim.handle_timeout(attack.now).unwrap();
    attack.now += Duration::from_secs(3);
    attack.command(DilationCommand::Hints(vec![])).unwrap();
    attack.victim.handle_timeout(attack.now).unwrap();
    attack.command(DilationCommand::Hints(vec![])).unwrap();
    assert!(attack.victim.current().is_none());
    assert!(attack.events.contains(&DilationEvent::Disconnected));
    attack.mailbox(&DilationMessage::Reconnecting).unwrap();
    attack.connect_unread();
    let data: Vec<u8> = attack.received().iter().flat_map(data_of).collect();
    assert_eq!(data, ["hello".to_owned(), "more".repeat(20)].concat().into_bytes());
}

fn data_of(record: &DilationRecord) -> Vec<u8> {
    if let DilationRecord::Data { data, .. } = record { data.clone() } else { Vec::new() }
}

#[test]
fn a_record_that_arrives_byte_by_byte_is_handled_once_and_only_at_its_end() {
    let mut attack = Attack::new();
    attack.connect();
    let frames = [
        attack.sealed(&DilationRecord::Open {
            subchannel: 2,
            number: 0,
            subprotocol: "echo".into(),
        }),
        attack.sealed(&DilationRecord::Data { subchannel: 2, number: 1, data: b"hello".to_vec() }),
        attack.sealed(&DilationRecord::Close { subchannel: 2, number: 2 }),
    ];
    let id = SubchannelId::Theirs(2);
    let expected = [
        DilationEvent::Opened { id, subprotocol: "echo".into() },
        DilationEvent::Data(id, b"hello".to_vec()),
        DilationEvent::Finished(id),
    ];
    attack.events.clear();
    for (frame, event) in frames.iter().zip(&expected) {
        let (last, rest) = frame.split_last().unwrap();
        for byte in rest {
            attack.bytes(&[*byte]).unwrap();
            assert!(attack.events.is_empty());
        }
        attack.bytes(&[*last]).unwrap();
        assert_eq!(attack.events.drain(..).as_slice(), std::slice::from_ref(event));
    }
}

#[test]
fn a_link_that_is_lost_within_a_frame_leaves_nothing_of_it() {
    let record = DilationRecord::Open { subchannel: 2, number: 0, subprotocol: "echo".into() };
    let mut attack = Attack::new();
    attack.connect();
    let length = attack.sealed(&record).len();
    for part in 0..length {
        attack.mailbox(&DilationMessage::Lost).unwrap();
        attack.mailbox(&DilationMessage::Reconnecting).unwrap();
        attack.connect();
        let frame = attack.sealed(&record);
        attack.bytes(&frame[..part]).unwrap();
    }
    assert!(!attack.events.iter().any(|it| matches!(it, DilationEvent::Opened { .. })));
    attack.mailbox(&DilationMessage::Lost).unwrap();
    attack.mailbox(&DilationMessage::Reconnecting).unwrap();
    attack.connect();
    attack.send(&record).unwrap();
    assert!(attack.events.iter().any(|it| matches!(it, DilationEvent::Opened { .. })));
}

#[test]
fn a_frame_with_any_changed_byte_only_costs_the_link() {
    let mut attack = Attack::new();
    let record = DilationRecord::Open { subchannel: 2, number: 0, subprotocol: "echo".into() };
    attack.connect();
    let length = attack.sealed(&record).len();
    // The first four bytes are the length, which another test changes.
    for at in 4..length {
        attack.mailbox(&DilationMessage::Lost).unwrap();
        attack.mailbox(&DilationMessage::Reconnecting).unwrap();
        attack.connect();
        let mut frame = attack.sealed(&record);
        frame[at] ^= 1;
        attack.bytes(&frame).unwrap();
        assert_eq!(attack.victim.current(), None, "byte {at}");
        attack.mailbox(&DilationMessage::Reconnecting).unwrap();
    }
    assert!(!attack.events.iter().any(|it| matches!(it, DilationEvent::Opened { .. })));
}
