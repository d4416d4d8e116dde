//! Handshakes of two nodes, with geth's packets, and with invalid packets.

use data_encoding::HEXLOWER;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use serde_json::Value;

use super::*;
use crate::devp2p::rlpx::{FrameError, SEALED_HEADER};

/// The RLPx part of the vector file.
fn vectors() -> Value {
    let all =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/whisper/vectors.json"));
    let all: Value = serde_json::from_str(all).unwrap();
    all["rlpx"].clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().trim_start_matches("0x").as_bytes()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn private_key(value: &Value) -> PrivateKey {
    PrivateKey::from_secret(&Secret::new(array(value))).unwrap()
}

/// Geth's initiator A after it has sent `auth`.
fn geth_initiator(keys: &Value, auth: Vec<u8>) -> ExpectAck {
    let local = private_key(&keys["static_key_A_initiator"]);
    let remote = private_key(&keys["static_key_B_recipient"]).public_key();
    let ephemeral = private_key(&keys["ephemeral_key_A"]);
    let randomness = Randomness { ephemeral, nonce: array(&keys["nonce_A"]), padding: 0 };
    ExpectAck { local, remote, randomness, auth }
}

/// Geth's recipient B.
fn geth_recipient(keys: &Value) -> ExpectAuth {
    let mut recipient =
        ExpectAuth::start(&private_key(&keys["static_key_B_recipient"]), &mut rng());
    recipient.randomness.ephemeral = private_key(&keys["ephemeral_key_B"]);
    recipient.randomness.nonce = array(&keys["nonce_B"]);
    recipient
}

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(1)
}

/// Seals a frame at one end and opens it at the other.
fn carry(sealer: &mut Sealer, opener: &mut Opener) -> Result<(), FrameError> {
    let mut frame = sealer.seal(&[b"frame"])?;
    let (header, body) = frame.split_at_mut(SEALED_HEADER);
    let size = opener.header(&(*header).try_into().unwrap())?;
    assert_eq!(opener.body(size, body)?, b"frame");
    Ok(())
}

#[test]
fn every_auth_of_geth_is_read() {
    let vectors = vectors();
    let keys = &vectors["keys"];
    for case in vectors["auth"].as_array().unwrap() {
        let (wire, recipient) = (bytes(&case["wire"]), geth_recipient(keys));
        let packet = recipient.packet(&wire).unwrap().unwrap();
        let plain = case["plain_pre_eip8"].as_bool().unwrap();
        assert_eq!(packet.form, if plain { PacketFormat::Plain } else { PacketFormat::Sized });
        let auth = Auth::open(&packet, &recipient.local).unwrap();
        assert_eq!(auth.signature.0, array(&case["signature"]));
        assert_eq!(auth.remote.node_id().0, array(&case["initiator_pubkey"]));
        assert_eq!(auth.nonce, array(&case["nonce"]));

        // The initiator accepts the answer, which has the same format.
        let mut accepted = recipient.finish(&packet).unwrap();
        let initiator = geth_initiator(keys, wire);
        let ack = initiator.packet(&accepted.ack).unwrap().unwrap();
        assert_eq!(ack.form, packet.form);
        let mut connected = initiator.finish(&ack).unwrap();
        carry(&mut connected.sealer, &mut accepted.connected.opener).unwrap();
        carry(&mut accepted.connected.sealer, &mut connected.opener).unwrap();
    }
}

#[test]
fn every_ack_of_geth_is_read() {
    let vectors = vectors();
    for case in vectors["ack"].as_array().unwrap() {
        let initiator = geth_initiator(&vectors["keys"], Vec::new());
        let wire = bytes(&case["wire"]);
        let ack = initiator.packet(&wire).unwrap().unwrap();
        assert_eq!(ack.length(), wire.len());
        let plaintext = ack.open(&initiator.local).unwrap();
        let expected = [bytes(&case["random_pubkey"]), bytes(&case["nonce"])];
        match ack.form {
            PacketFormat::Plain => assert!(plaintext.starts_with(&expected.concat())),
            PacketFormat::Sized => {
                let mut fields = Rlp::new(&plaintext).list().unwrap();
                assert_eq!(fields.string().unwrap(), expected[0]);
                assert_eq!(fields.string().unwrap(), expected[1]);
            }
        }
        initiator.finish(&ack).unwrap();
    }
}

#[test]
fn the_frames_of_geth_s_initiator_are_sealed_and_opened_to_the_byte() {
    let vectors = vectors();
    let keys = &vectors["keys"];
    let (auth, ack) = (bytes(&vectors["auth"][1]["wire"]), bytes(&vectors["ack"][1]["wire"]));
    let initiator = geth_initiator(keys, auth.clone());
    let ack = initiator.packet(&ack).unwrap().unwrap();
    let mut sealer = initiator.finish(&ack).unwrap().sealer;
    // Our recipient would send a different ack, so its keys are derived from geth's.
    let shared = SharedValues {
        shared: private_key(&keys["ephemeral_key_B"])
            .agree(&private_key(&keys["ephemeral_key_A"]).public_key()),
        initiator_nonce: array(&keys["nonce_A"]),
        recipient_nonce: array(&keys["nonce_B"]),
    };
    let [to_recipient, to_initiator] = shared.ciphers(&auth, &ack.wire);
    let secrets = &vectors["secrets"];
    assert_eq!(to_recipient.mac_digest(), array(&secrets["initiator_egress_mac_digest"]));
    assert_eq!(to_initiator.mac_digest(), array(&secrets["initiator_ingress_mac_digest"]));
    let mut opener = Opener::from(to_recipient);

    let frames = vectors["frames_initiator_to_recipient"].as_array().unwrap();
    assert_eq!(frames.len(), 5);
    for frame in frames {
        let code = rlp::uint(frame["code"].as_u64().unwrap());
        let mut payload = bytes(&frame["body_rlp"]);
        if frame["snappy"].as_bool().unwrap() {
            payload = snap::raw::Encoder::new().compress_vec(&payload).unwrap();
        }
        let wire = bytes(&frame["wire"]);
        let (header, body) = wire.split_first_chunk().unwrap();
        let size = opener.header(header).unwrap();
        let mut body = body.to_vec();
        let opened = opener.body(size, &mut body).unwrap();
        assert!(opened.starts_with(&code));
        // Compressors may differ; what they pack may not.
        if frame["snappy"].as_bool().unwrap() {
            let packed = &opened[code.len()..];
            let unpacked = snap::raw::Decoder::new().decompress_vec(packed).unwrap();
            assert_eq!(unpacked, bytes(&frame["body_rlp"]));
            payload = packed.to_vec();
        }
        assert_eq!(sealer.seal(&[&code, &payload]).unwrap(), wire);
    }
}

#[test]
fn two_of_us_connect() {
    let (mut rng, local) = (rng(), PrivateKey::random(&mut rng()));
    let remote = PrivateKey::random(&mut rng);
    let (initiator, auth) = ExpectAck::start(&local, remote.public_key(), &mut rng);
    let recipient = ExpectAuth::start(&remote, &mut rng);
    let packet = recipient.packet(&auth).unwrap().unwrap();
    let mut accepted = recipient.finish(&packet).unwrap();
    assert_eq!(accepted.connected.remote, local.public_key());
    let ack = initiator.packet(&accepted.ack).unwrap().unwrap();
    let mut connected = initiator.finish(&ack).unwrap();
    assert_eq!(connected.remote, remote.public_key());
    carry(&mut connected.sealer, &mut accepted.connected.opener).unwrap();
    carry(&mut accepted.connected.sealer, &mut connected.opener).unwrap();
}

#[test]
fn a_packet_is_split_off_only_when_it_is_complete() {
    let vectors = vectors();
    let recipient = geth_recipient(&vectors["keys"]);
    for case in vectors["auth"].as_array().unwrap() {
        let wire = bytes(&case["wire"]);
        for length in 0..wire.len() {
            assert_eq!(recipient.packet(&wire[..length]), Ok(None), "{length} bytes");
        }
        let longer = [wire.as_slice(), b"frame"].concat();
        assert_eq!(recipient.packet(&longer).unwrap().unwrap().length(), wire.len());
    }
}

#[test]
fn a_packet_with_any_bit_flipped_is_refused() {
    let vectors = vectors();
    let wire = bytes(&vectors["auth"][1]["wire"]);
    for place in (0..wire.len()).step_by(7) {
        let mut forged = wire.clone();
        forged[place] ^= 1;
        let recipient = geth_recipient(&vectors["keys"]);
        match recipient.packet(&forged) {
            Ok(None) => assert!(place < SIZE, "only a size can ask for more"),
            Ok(Some(packet)) => {
                assert_eq!(recipient.finish(&packet).err(), Some(HandshakeError::Unreadable));
            }
            Err(error) => assert!(matches!(error, HandshakeError::TooLong(_))),
        }
    }
}

#[test]
fn a_packet_of_absurd_size_is_refused_by_its_first_two_bytes() {
    let recipient = ExpectAuth::start(&PrivateKey::random(&mut rng()), &mut rng());
    assert_eq!(recipient.packet(&[0xff, 0xff]), Err(HandshakeError::TooLong(65_537)));
    let empty = recipient.packet(&[0, 0]).unwrap().unwrap();
    assert_eq!(recipient.finish(&empty).err(), Some(HandshakeError::Unreadable));
}

/// Encrypts fields of an auth and delivers them.
fn answer(fields: &[u8]) -> Result<(), HandshakeError> {
    let local = PrivateKey::random(&mut rng());
    let sealing = ecies::Randomness::draw(&mut rng());
    let wire = seal_sized(&local.public_key(), fields.to_vec(), sealing, MIN_PADDING);
    let recipient = ExpectAuth::start(&local, &mut rng());
    let packet = recipient.packet(&wire)?.unwrap();
    recipient.finish(&packet).map(|_| ())
}

#[test]
fn fields_that_prove_nothing_are_refused() {
    let stranger = PrivateKey::random(&mut rng()).public_key().node_id();
    let off_the_curve = rlp::list(|auth| {
        auth.string(&[1; 65]).string(&[1; 64]).string(&[0; 32]).uint(4);
    });
    assert_eq!(answer(&off_the_curve), Err(HandshakeError::NotAPoint));
    let unsigned = rlp::list(|auth| {
        auth.string(&[0; 65]).string(&stranger.0).string(&[0; 32]).uint(4);
    });
    assert_eq!(answer(&unsigned), Err(HandshakeError::Forged));
    let short = rlp::list(|auth| {
        auth.string(&[0; 65]);
    });
    assert_eq!(answer(&short), Err(HandshakeError::Malformed(RlpError::TooFewItems)));
    let string = Err(HandshakeError::Malformed(RlpError::ExpectedList));
    assert_eq!(answer(&[]), string);
}

#[test]
fn an_auth_recorded_and_replayed_yields_other_keys() {
    let vectors = vectors();
    let wire = bytes(&vectors["auth"][1]["wire"]);
    let local = private_key(&vectors["keys"]["static_key_B_recipient"]);
    let mut rng = rng();
    let [mut first, mut second] = [(), ()].map(|()| {
        let recipient = ExpectAuth::start(&local, &mut rng);
        let packet = recipient.packet(&wire).unwrap().unwrap();
        recipient.finish(&packet).unwrap().connected
    });
    let frame = first.sealer.seal(&[b"frame"]);
    assert_ne!(frame, second.sealer.seal(&[b"frame"]));
}

#[test]
fn half_a_handshake_does_not_print_its_secrets() {
    let key = PrivateKey::random(&mut rng());
    let recipient = ExpectAuth::start(&key, &mut rng());
    assert_eq!(
        format!("{recipient:?}"),
        "ExpectAuth { local: PrivateKey(…), randomness: Randomness(…), sealing: Randomness(…) }"
    );
}
