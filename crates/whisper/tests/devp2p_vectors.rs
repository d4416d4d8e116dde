//! The known answers of `vectors/whisper/vectors.json` for the devp2p half, which go-ethereum
//! 1.9.7 computed. Those that need the inside of a handshake are in
//! `src/devp2p/rlpx/tests.rs`.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use data_encoding::HEXLOWER_PERMISSIVE;
use rand_chacha::rand_core::{CryptoRng, Error, RngCore};
use serde_json::Value;
use wormhole_kit::Secret;
use wormhole_whisper::devp2p::{
    base::Hello,
    capability::Capability,
    discovery::packet::Packet,
    ecies,
    enode::Endpoint,
    key::{NodeId, PrivateKey, PublicKey},
    rlp::{Rlp, RlpError},
};

/// The named part of the vector file.
fn vectors(part: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/whisper/vectors.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[part].clone()
}

/// The cases of a part; at least one.
fn cases(part: &Value) -> &[Value] {
    let cases = part.as_array().unwrap();
    assert!(!cases.is_empty());
    cases
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("no text {field} in {case}"))
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    let text = text(case, field);
    HEXLOWER_PERMISSIVE.decode(text.trim_start_matches("0x").as_bytes()).unwrap()
}

fn private_key(case: &Value, field: &str) -> PrivateKey {
    PrivateKey::from_secret(&Secret::new(bytes(case, field).try_into().unwrap())).unwrap()
}

/// A random number generator with known output.
struct Prepared(Vec<u8>);

impl RngCore for Prepared {
    fn next_u32(&mut self) -> u32 {
        unimplemented!("only bytes are needed")
    }

    fn next_u64(&mut self) -> u64 {
        unimplemented!("only bytes are needed")
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        let rest = self.0.split_off(to.len());
        to.copy_from_slice(&self.0);
        self.0 = rest;
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Prepared {}

#[test]
fn public_keys_are_geth_s() {
    let keys = vectors("keys");
    for name in ["alice", "bob"] {
        let public = private_key(&keys, &format!("{name}_private")).public_key();
        let expected = bytes(&keys, &format!("{name}_public"));
        assert_eq!(public.to_uncompressed().as_slice(), expected);
        assert_eq!(PublicKey::from_sec1(&expected), Ok(public));
        assert_eq!(public.node_id(), NodeId(expected[1..].try_into().unwrap()));
    }
}

#[test]
fn ecies_seals_to_geth_s_bytes_and_opens_them() {
    for case in cases(&vectors("ecies")) {
        let (key, sealed) = (private_key(case, "recipient_private"), bytes(case, "ciphertext"));
        let plaintext = bytes(case, "plaintext");
        assert_eq!(*ecies::open(&key, &sealed, b"").unwrap(), plaintext);
        let drawn = [bytes(case, "ephemeral_private"), bytes(case, "iv")].concat();
        let ours = ecies::seal(&key.public_key(), &plaintext, b"", &mut Prepared(drawn));
        assert_eq!(ours, sealed);
    }
}

/// Reads the five fields of an envelope, as `shh` does.
fn read_envelope(encoded: &[u8]) -> Result<(), RlpError> {
    let mut fields = Rlp::only_list(encoded)?;
    let (_expiry, _ttl) = (fields.u32()?, fields.u32()?);
    let (_topic, _data) = (fields.array::<4>()?, fields.string()?);
    let _nonce = fields.u64()?;
    fields.end()
}

#[test]
fn rlp_is_as_strict_as_geth_s() {
    let expected = [
        ("ok", Ok(())),
        ("leading zero in ttl", Err(RlpError::LeadingZero)),
        ("topic 3 bytes", Err(RlpError::WrongLength { wanted: 4, actual: 3 })),
        ("topic 5 bytes", Err(RlpError::WrongLength { wanted: 4, actual: 5 })),
        ("extra sixth element", Err(RlpError::TooManyItems)),
        ("missing nonce", Err(RlpError::TooFewItems)),
        ("expiry 5 bytes", Err(RlpError::IntegerTooLarge)),
        ("nonce 9 bytes", Err(RlpError::IntegerTooLarge)),
        ("non canonical data 817f", Err(RlpError::NotCanonical)),
        ("ttl encoded as 0x00", Err(RlpError::LeadingZero)),
        ("trailing bytes after list", Err(RlpError::TooManyItems)),
    ];
    let part = vectors("rlp_strictness_geth");
    for (case, (name, verdict)) in cases(&part).iter().zip(expected) {
        assert_eq!(text(case, "name"), name);
        assert_eq!(verdict.is_ok(), case["accepted"].as_bool().unwrap());
        assert_eq!(read_envelope(&bytes(case, "rlp")), verdict, "{name}");
    }
    assert_eq!(cases(&part).len(), expected.len());
}

#[test]
fn the_hello_of_the_vectors_is_read_and_written() {
    let frames = &vectors("rlpx")["frames_initiator_to_recipient"];
    let encoded = bytes(&frames[0], "body_rlp");
    let hello = Hello::decode(&encoded).unwrap();
    assert_eq!((hello.version, hello.client_id.as_str()), (5, "whisper-rs/0.1"));
    assert_eq!(hello.capabilities, [Capability { name: "shh".into(), version: 6 }]);
    assert_eq!(hello.listen_port, 30_303);
    assert_eq!(hello.encode(), encoded);
}

#[test]
fn the_datagrams_of_eip_8_are_read_as_geth_reads_them() {
    let vectors = vectors("discv4_eip8");
    let packets: Vec<_> = cases(&vectors)
        .iter()
        .map(|case| {
            let received = Packet::open(&bytes(case, "packet")).unwrap();
            assert_eq!(received.hash.as_slice(), bytes(case, "hash"));
            assert_eq!(received.sender.0.as_slice(), bytes(case, "sender_public"));
            assert_eq!(received.packet.expiration(), Some(1_136_239_445));
            received.packet
        })
        .collect();
    let at = |ip: &str, udp, tcp| Endpoint { ip: ip.parse().unwrap(), tcp, udp };
    let expiration = 1_136_239_445;
    let ping = |record| Packet::Ping {
        from: at("127.0.0.1", 3322, 5544),
        to: at("::1", 2222, 3333),
        expiration,
        record,
    };
    assert_eq!(packets[0], ping(None));
    // geth 1.9.7 calls it the rest; since EIP-868 it is the record's sequence.
    assert_eq!(packets[1], ping(Some(1)));
    let far = at("2001:db8:85a3:8d3:1319:8a2e:370:7348", 2222, 33338);
    let from = at("2001:db8:3c4d:15::abcd:ef12", 3322, 5544);
    assert_eq!(packets[2], Packet::Ping { from, to: far, expiration, record: None });
    assert!(matches!(packets[3], Packet::Pong { to, ping: [0xfb, 0xc9, ..], .. } if to == far));
    let target = NodeId(bytes(&cases(&vectors)[4], "sender_public").try_into().unwrap());
    assert_eq!(packets[4], Packet::FindNode { target, expiration });
    let Packet::Neighbors { nodes, .. } = &packets[5] else { panic!("{:?}", packets[5]) };
    let endpoints: Vec<_> = nodes.iter().filter_map(|node| node.endpoint).collect();
    assert_eq!(
        endpoints,
        [
            at("99.33.22.55", 4444, 4445),
            at("1.2.3.4", 1, 1),
            at("2001:db8:3c4d:15::abcd:ef12", 3333, 3333),
            at("2001:db8:85a3:8d3:1319:8a2e:370:7348", 999, 1000),
        ]
    );
    assert_eq!(nodes[0].id.0[..2], [0x31, 0x55]);
}
