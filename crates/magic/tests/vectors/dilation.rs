//! Dilation: the known answers of the reference, and its recorded records and mailbox messages.

use serde_json::Value;
use wormhole_magic::dilation::frame::PREFIX;
use wormhole_magic::dilation::noise::{FrameOpener, FrameSealer, Initiator, NoiseCipher, respond};
use wormhole_magic::dilation::{
    DilationKey, DilationMessage, DilationRecord, DilationRole, DilationSide,
};

use crate::{Fixed, bytes, read, secret, text, vectors};

/// Both ends after the handshake of the vectors.
struct Ends {
    leader: (FrameSealer, FrameOpener),
    follower: (FrameSealer, FrameOpener),
}

fn key(vectors: &Value) -> DilationKey {
    DilationKey::from_secret(secret(vectors, "dilation_key"))
}

fn handshake(vectors: &Value) -> Ends {
    let psk = key(vectors).psk().clone();
    let leader = &mut Fixed(bytes(vectors, "leader_ephemeral_private"));
    let follower = &mut Fixed(bytes(vectors, "follower_ephemeral_private"));
    let (initiator, first) = Initiator::start(NoiseCipher::ChaChaPoly, &psk, leader);
    assert_eq!(first[..], bytes(vectors, "handshake1_leader_frame")[PREFIX..]);
    let (answer, sealer, opener) =
        respond(NoiseCipher::ChaChaPoly, &psk, &first, follower).unwrap();
    assert_eq!(answer[..], bytes(vectors, "handshake2_follower_frame")[PREFIX..]);
    Ends { leader: initiator.finish(&answer).unwrap(), follower: (sealer, opener) }
}

/// Checks the frames of one direction. The last frame of the vectors is only described.
fn check(frames: &Value, sealer: &mut FrameSealer, opener: &mut FrameOpener) {
    for case in frames.as_array().unwrap().iter().filter(|case| case["frame"].is_string()) {
        let (plaintext, frame) = (bytes(case, "plaintext"), bytes(case, "frame"));
        let record = DilationRecord::decode(&plaintext).unwrap();
        let (head, body) = record.encode_parts();
        assert_eq!(sealer.seal(&head, body).unwrap(), frame, "{case}");
        assert_eq!(opener.open(frame[PREFIX..].to_vec()).unwrap(), plaintext, "{case}");
    }
}

#[test]
fn the_lines_before_the_handshake_are_those_of_the_reference() {
    let vectors = vectors("dilation");
    let line = |role: DilationRole| String::from_utf8(role.prologue().to_vec()).unwrap();
    assert_eq!(line(DilationRole::Leader), text(&vectors, "prologue_leader_ascii"));
    assert_eq!(line(DilationRole::Follower), text(&vectors, "prologue_follower_ascii"));
    let relay = text(&vectors, "relay_handshake_ascii");
    let side = DilationSide::parse(&relay[relay.len() - 17..relay.len() - 1]).unwrap();
    assert_eq!(key(&vectors).relay_line(&side), relay.as_bytes());
}

#[test]
fn frames_are_those_of_the_reference_in_both_directions() {
    let vectors = vectors("dilation");
    let mut ends = handshake(&vectors);
    check(&vectors["leader_to_follower"], &mut ends.leader.0, &mut ends.follower.1);
    check(&vectors["follower_to_leader"], &mut ends.follower.0, &mut ends.leader.1);
}

#[test]
fn a_record_that_is_too_long_for_one_noise_message_is_split_like_in_the_reference() {
    use sha2::Digest;
    let vectors = vectors("dilation");
    let mut ends = handshake(&vectors);
    let (sealer, opener) = (&mut ends.leader.0, &mut ends.follower.1);
    check(&vectors["leader_to_follower"], sealer, opener);
    let case = vectors["leader_to_follower"].as_array().unwrap().last().unwrap();
    let record = DilationRecord::Data { subchannel: 1, number: 3, data: vec![0x5a; 65511] };
    let frame = sealer.seal(&record.encode(), &[]).unwrap();
    let length = u32::from_be_bytes(frame[..PREFIX].try_into().unwrap());
    assert_eq!(u64::from(length), case["frame_len_field"].as_u64().unwrap());
    assert_eq!(sha2::Sha256::digest(&frame)[..], bytes(case, "frame_sha256"));
    let opened = opener.open(frame[PREFIX..].to_vec()).unwrap();
    assert_eq!(DilationRecord::decode(&opened), Ok(record));
}

#[test]
fn recorded_records_and_mailbox_messages_are_understood() {
    for file in ["trace-dilation-direct.jsonl", "trace-dilation-relay.jsonl"] {
        let (mut records, mut kinds) = (0, Vec::new());
        for line in read(file).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            match event["ev"].as_str().unwrap() {
                "L2-send" => {
                    let plaintext = bytes(&event, "plaintext");
                    let record = DilationRecord::decode(&plaintext).unwrap();
                    assert_eq!(record.encode(), plaintext);
                    records += 1;
                }
                "mailbox-dilate-rx" => {
                    let plaintext = text(&event, "plaintext");
                    let message = DilationMessage::decode(plaintext.as_bytes()).unwrap();
                    assert_ne!(message, DilationMessage::Unknown, "{plaintext}");
                    // Ours are the same JSON objects.
                    let ours: Value = serde_json::from_slice(&message.encode()).unwrap();
                    assert_eq!(ours, serde_json::from_str::<Value>(plaintext).unwrap());
                    kinds.push(ours["type"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
        assert!(records >= 10, "{file}");
        assert_eq!(kinds.iter().filter(|kind| *kind == "please").count(), 2, "{file}");
    }
}
