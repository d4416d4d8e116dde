//! Properties of `devp2p`: no input makes a decoder panic, and values survive a round trip. Peers and discovery have their own tests in `src`.

use std::net::IpAddr;

use proptest::prelude::*;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use wormhole_whisper::devp2p::{
    base::{DisconnectReason, Hello},
    capability::{Capability, Protocol, Shared},
    discovery::packet::Packet,
    ecies,
    enode::{Endpoint, Enode},
    enr::Record,
    key::{PrivateKey, keccak256},
    rlp::{self, Rlp},
    snappy,
};

fn key(seed: u64) -> PrivateKey {
    PrivateKey::random(&mut ChaCha12Rng::seed_from_u64(seed))
}

/// Bytes that are more often almost valid than random ones: small numbers, RLP headers.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), 0x80_u8..0x90, 0xb7_u8..0xc8, Just(0)];
    prop::collection::vec(byte, 0..400)
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (any::<IpAddr>(), any::<u16>(), any::<u16>()).prop_map(|(ip, tcp, udp)| Endpoint {
        ip: ip.to_canonical(),
        tcp,
        udp,
    })
}

fn protocols() -> impl Strategy<Value = Vec<Protocol>> {
    // Both sides must agree on the length of a protocol, so it depends on the name.
    let protocol = ("[a-c]{1,2}", 0_u32..4).prop_map(|(name, version)| {
        let length = if name.len() == 1 { 7 } else { 14 };
        Protocol::new(name, version, length)
    });
    prop::collection::vec(protocol, 0..8)
}

/// Reads all items.
fn walk(mut items: Rlp<'_>, depth: usize) {
    while !items.is_empty() {
        let mut copy = items;
        let _ = (copy.u64(), copy.bool(), copy.array::<4>(), copy.string());
        if let Ok(list) = items.list().or_else(|_| items.raw().map(Rlp::new))
            && depth > 0
        {
            walk(list, depth - 1);
        } else {
            return;
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in bytes()) {
        walk(Rlp::new(&bytes), 8);
        let list = rlp::list(|list| { list.raw(&bytes); });
        walk(Rlp::new(&list), 8);
        for bytes in [&bytes, &list] {
            let _ = Hello::decode(bytes);
            let _ = DisconnectReason::decode(bytes);
            let _ = Record::decode(bytes);
            let _ = ecies::open(&key(1), bytes, b"");
            let _ = Packet::open(&[keccak256(&[bytes]).as_slice(), bytes].concat());
            if let Ok(unpacked) = snappy::unpack(bytes, 1000) {
                prop_assert!(unpacked.len() <= 1000);
            }
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text: String, hex in "[0-9a-f]{126,130}") {
        for text in [text.clone(), format!("enode://{text}"), format!("enode://{hex}@{text}")] {
            let _ = Enode::parse(&text);
            let _ = Record::parse(&format!("enr:{text}"));
        }
    }

    #[test]
    fn enodes_and_records_read_back(seed: u64, sequence: u64, endpoint in endpoint()) {
        let key = key(seed);
        let enode = Enode { id: key.public_key().node_id(), endpoint: Some(endpoint) };
        prop_assert_eq!(Enode::parse(&enode.to_string()), Ok(enode));
        let record = Record::sign(&key, sequence, &endpoint);
        prop_assert_eq!(record.enode(), enode);
        prop_assert_eq!(Record::parse(&record.to_string()), Ok(record));
    }

    #[test]
    fn messages_unpack_to_themselves(message: Vec<u8>) {
        let packed = snappy::pack(&message).unwrap();
        prop_assert_eq!(snappy::unpack(&packed, message.len()), Ok(message));
    }

    #[test]
    fn both_sides_give_every_message_the_same_code(ours in protocols(), theirs in protocols()) {
        let named = |list: &[Protocol]| -> Vec<Capability> {
            list.iter().map(|protocol| protocol.capability.clone()).collect()
        };
        let here = Shared::new(&ours, &named(&theirs));
        let there = Shared::new(&theirs, &named(&ours));
        for wire in 0..200 {
            let meaning = |shared: &Shared, list: &[Protocol]| {
                shared.resolve(wire).map(|(id, code)| (list.get(id.0).cloned(), code))
            };
            prop_assert_eq!(meaning(&here, &ours), meaning(&there, &theirs));
            if let Some((id, code)) = here.resolve(wire) {
                prop_assert_eq!(here.wire_code(id, code), Some(wire));
            }
        }
    }
}
