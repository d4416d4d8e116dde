//! The known answers of `vectors/whisper/vectors.json` that concern Whisper itself, computed by
//! go-ethereum 1.9.7: envelopes, work, blooms, messages, keys.

#![expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

use data_encoding::HEXLOWER;
use serde_json::Value;
use wormhole_kit::Secret;
use wormhole_whisper::{
    devp2p::key::{PrivateKey, PublicKey, keccak256},
    shh::{
        Bloom, Draft, Envelope, Message, Miner, SymmetricKey, Topic, Work,
        miner::Backend,
        packet::{self, Packet},
        seal,
    },
};

/// The named part of the vector file.
fn part(name: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/whisper/vectors.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[name].clone()
}

/// The cases of a part; at least one.
fn cases(name: &str) -> Vec<Value> {
    let cases = part(name).as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

/// All envelopes of the file.
fn envelopes() -> Vec<Value> {
    let nested = [cases("messages"), cases("seal_from_nonce_0")].concat();
    let nested = nested.into_iter().map(|case| case["envelope"].clone());
    cases("envelopes_edge").into_iter().chain(nested).collect()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("no text {field} in {case}"))
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    HEXLOWER.decode(text(case, field).strip_prefix("0x").unwrap().as_bytes()).unwrap()
}

fn secret(case: &Value, field: &str) -> Secret<32> {
    Secret::new(bytes(case, field).try_into().unwrap())
}

fn number(case: &Value, field: &str) -> u32 {
    case[field].as_u64().unwrap().try_into().unwrap()
}

/// A number, or a text for numbers that JSON cannot represent.
fn float(case: &Value, field: &str) -> f64 {
    case[field].as_f64().unwrap_or_else(|| text(case, field).parse().unwrap())
}

fn topic(case: &Value) -> Topic {
    Topic(bytes(case, "topic").try_into().unwrap())
}

fn nonce(case: &Value) -> u64 {
    text(case, "nonce").parse().unwrap()
}

fn draft(case: &Value) -> Draft {
    let (expiry, ttl) = (number(case, "expiry"), number(case, "ttl"));
    Draft { expiry, ttl, topic: topic(case), data: bytes(case, "data") }
}

#[test]
fn envelopes_encode_and_parse_as_in_the_reference() {
    for case in envelopes() {
        let envelope = draft(&case).finish(nonce(&case));
        assert_eq!(envelope.encoded(), bytes(&case, "rlp"));
        assert_eq!(Envelope::parse(&bytes(&case, "rlp")).as_ref(), Ok(&envelope));
        assert_eq!(envelope.hash().to_string(), text(&case, "envelope_hash"));
        assert_eq!(envelope.encoded().len(), number(&case, "len_rlp") as usize);
        assert_eq!(envelope.size(), number(&case, "geth_size_20_plus_data") as usize);
        assert_eq!(envelope.data(), bytes(&case, "data"));
        let fields = (envelope.expiry(), envelope.ttl(), envelope.topic(), envelope.nonce());
        let expected = (number(&case, "expiry"), number(&case, "ttl"), topic(&case), nonce(&case));
        assert_eq!(fields, expected);
    }
}

#[test]
fn work_is_the_reference_s_to_the_last_bit() {
    for case in envelopes() {
        let envelope = draft(&case).finish(nonce(&case));
        let work = envelope.work().as_f64();
        assert_eq!(format!("0x{:016x}", work.to_bits()), text(&case, "geth_pow_bits"));
        let early = envelope.work_if_early(3).as_f64();
        let expected = float(&case, "geth_pow_if_3s_early_diff");
        // Parsing decimals may be wrong in the last bit.
        assert!((early - expected).abs() <= f64::EPSILON * expected, "{case}");
    }
}

#[test]
fn a_draft_asks_for_enough_bits_by_every_reading_of_the_specification() {
    for case in [cases("messages"), cases("seal_from_nonce_0")].concat() {
        let target = Work::new(float(&case, "pow_target")).unwrap();
        let draft = draft(&case["envelope"]);
        let bits = draft.bits_needed(target);
        assert!(bits >= number(&case, "target_leading_zero_bits"));
        let least = f64::from(bits).exp2() / f64::from(draft.ttl);
        for size in [draft.data.len() + 20, draft.finish(u64::MAX).encoded().len()] {
            assert!(least / size as f64 >= target.as_f64());
        }
    }
}

#[test]
fn the_bits_for_a_target_are_the_reference_s() {
    for case in cases("pow_to_bits") {
        let size = 20 + number(&case, "data_len") as usize;
        let bits = Work::new(float(&case, "pow")).unwrap().bits_needed(size, number(&case, "ttl"));
        assert_eq!(bits, number(&case, "leading_zero_bits_needed"));
    }
}

#[test]
fn mining_finds_the_nonces_of_the_reference() {
    for case in cases("seal_from_nonce_0") {
        let bits = number(&case, "target_leading_zero_bits");
        for backend in [Backend::Portable, Backend::Avx2, Backend::Avx512] {
            let mut miner = Miner::new(&draft(&case["envelope"]), bits).with_backend(backend);
            assert_eq!(miner.step(u64::MAX), Some(nonce(&case["envelope"])), "{backend:?}");
        }
    }
}

#[test]
fn filters_are_sent_with_all_bits_and_tested_with_go_ethereum_s() {
    for case in cases("topic_bloom") {
        let (right, weak) = (Bloom::of([topic(&case)]), Bloom::weak(topic(&case)));
        assert_eq!(right.as_bytes().as_slice(), bytes(&case, "eip627_bloom"));
        assert_eq!(weak.as_bytes().as_slice(), bytes(&case, "geth_bloom"));
        assert_eq!(right == weak, case["same"].as_bool().unwrap());
        assert!(right.matches(topic(&case)) && weak.matches(topic(&case)));
        assert_eq!(weak.matches_strictly(topic(&case)), right == weak);
    }
    for case in envelopes() {
        let weak = Bloom::weak(topic(&case));
        assert_eq!(weak.as_bytes().as_slice(), bytes(&case, "bloom"));
    }
}

#[test]
fn envelopes_are_read_as_strictly_as_by_the_reference() {
    for case in cases("rlp_strictness_geth") {
        let accepted = Envelope::parse(&bytes(&case, "rlp")).is_ok();
        assert_eq!(accepted, case["accepted"].as_bool().unwrap(), "{}", text(&case, "name"));
    }
}

#[test]
fn messages_are_parsed_like_go_ethereum_without_its_crashes() {
    for case in cases("plaintext_parse") {
        let parsed = Message::parse(&bytes(&case, "plaintext"));
        if case["geth"] == true {
            let message = parsed.unwrap_or_else(|error| panic!("{error} in {case}"));
            assert_eq!(message.payload, bytes(&case, "payload"));
            assert_eq!(message.padding, bytes(&case, "padding"));
        } else {
            assert!(parsed.is_err(), "{case}");
        }
    }
}

#[test]
fn encrypted_messages_of_go_ethereum_decrypt_to_their_payload() {
    for case in cases("messages") {
        let data = bytes(&case["envelope"], "data");
        let plaintext = if case["sym_key"].is_string() {
            let key = SymmetricKey::new(secret(&case, "sym_key")).unwrap();
            assert_eq!(data[data.len() - 12..], bytes(&case, "salt"));
            key.open(&data).unwrap()
        } else {
            let key = PrivateKey::from_secret(&secret(&case, "recipient_private")).unwrap();
            seal::open_for(&key, &data).unwrap()
        };
        assert_eq!(*plaintext, bytes(&case, "plaintext"));
        assert_eq!(u32::from(plaintext[0]), number(&case, "flags"));
        let message = Message::parse(&plaintext).unwrap();
        assert_eq!(message.payload, bytes(&case, "payload"));
        assert_eq!(message.padding.len(), number(&case, "padding_len") as usize);
        let signer = case["sender_public"].is_string().then(|| bytes(&case, "sender_public"));
        assert_eq!(message.signer, signer.map(|key| PublicKey::from_sec1(&key).unwrap()));
    }
}

#[test]
fn signatures_are_made_as_by_the_reference() {
    let alice = PrivateKey::from_secret(&secret(&part("keys"), "alice_private")).unwrap();
    for case in cases("messages").iter().filter(|case| case["signature"].is_string()) {
        let plaintext = bytes(case, "plaintext");
        let digest = keccak256(&[&plaintext[..plaintext.len() - 65]]);
        assert_eq!(digest.as_slice(), bytes(case, "signed_hash"));
        assert_eq!(alice.sign(&digest).0.as_slice(), bytes(case, "signature"));
    }
}

#[test]
fn passwords_become_the_keys_of_the_reference() {
    for case in cases("password_key") {
        let key = SymmetricKey::from_password(text(&case, "password_utf8"));
        assert_eq!(*key.secret(), secret(&case, "key"));
    }
}

#[test]
fn packets_are_taken_apart_and_put_together_as_by_the_reference() {
    for case in [cases("status_packets"), cases("packets")].concat() {
        let (code, body) = (number(&case, "code").try_into().unwrap(), bytes(&case, "payload"));
        let again = match Packet::decode(code, &body).unwrap() {
            Packet::Status(status) => status.encode(),
            Packet::MinWork(work) => packet::encode_min_work(work),
            Packet::Bloom(bloom) => packet::encode_bloom(&bloom),
            Packet::Messages(envelopes) => {
                let envelopes: Vec<_> = envelopes.collect();
                packet::encode_messages(envelopes.iter().map(Envelope::encoded))
            }
            Packet::Direct(mut envelopes) => envelopes.next().unwrap().encoded().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(again, body, "{case}");
        if case["batch_hash_keccak256_of_payload"].is_string() {
            let hash = bytes(&case, "batch_hash_keccak256_of_payload");
            assert_eq!(keccak256(&[&body]).as_slice(), hash);
        }
    }
}

#[test]
fn a_status_says_what_the_reference_meant() {
    let expected = [
        ("default geth node (PoW 0.2, no bloom, full)", 0.2, Bloom::FULL, false),
        ("light node", 0.2, Bloom::FULL, true),
        ("PoW 0", 0.0, Bloom::FULL, false),
        ("PoW 1.5, bloom of topic 01020304", 1.5, Bloom::weak(Topic([1, 2, 3, 4])), false),
    ];
    for (case, (name, work, bloom, light)) in cases("status_packets").iter().zip(expected) {
        assert_eq!(text(case, "name"), name);
        let body = bytes(case, "payload");
        let Ok(Packet::Status(status)) = Packet::decode(packet::STATUS, &body) else { panic!() };
        assert_eq!(status.min_work, Work::new(work).unwrap());
        assert_eq!((status.bloom, status.light, status.confirmations), (bloom, light, false));
    }
}
