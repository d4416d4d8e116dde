//! The known answers of `vectors/magic/vectors.json`, which the Python reference computed: codes,
//! keys and sealed messages.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use data_encoding::HEXLOWER;
use rand_chacha::rand_core::{CryptoRng, Error, RngCore};
use serde_json::Value;
use wormhole_kit::Secret;
use wormhole_magic::{AppId, code::Code, key::Key, secretbox, spake2::Spake2};

/// The named part of the vector file.
fn vectors(part: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/magic/vectors.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[part].clone()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("no text {field} in {case}"))
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    HEXLOWER.decode(text(case, field).as_bytes()).unwrap()
}

fn secret(case: &Value, field: &str) -> Secret<32> {
    Secret::new(bytes(case, field).try_into().unwrap())
}

/// Cases of a part, never none.
fn cases(part: &Value) -> &[Value] {
    let cases = part["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    cases
}

/// Gives out one secret scalar: 64 bytes, of which the exchange takes all at once.
struct Scalar(Vec<u8>);

impl RngCore for Scalar {
    fn next_u32(&mut self) -> u32 {
        unimplemented!("the exchange fills 64 bytes")
    }

    fn next_u64(&mut self) -> u64 {
        unimplemented!("the exchange fills 64 bytes")
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        assert_eq!(to.len(), 64);
        to.fill(0);
        to[..32].copy_from_slice(&self.0);
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Scalar {}

#[test]
fn spake2_gives_the_messages_and_keys_of_the_reference() {
    for case in cases(&vectors("spake2_symmetric")) {
        let code = Code::parse(text(case, "code")).unwrap();
        let app_id = AppId::new(text(case, "appid"));
        let start = |field| Spake2::start(&code, &app_id, &mut Scalar(bytes(case, field)));
        let (a, from_a) = start("scalar_a_le32");
        let (b, from_b) = start("scalar_b_le32");
        assert_eq!(from_a.as_slice(), bytes(case, "msg_a"));
        assert_eq!(from_b.as_slice(), bytes(case, "msg_b"));
        let key = Key::new(secret(case, "shared_key"));
        assert_eq!(a.finish(&from_b), Ok(key.clone()));
        assert_eq!(b.finish(&from_a), Ok(key));
    }
}

#[test]
fn keys_derive_as_in_the_reference() {
    for case in cases(&vectors("spake2_symmetric")) {
        let key = Key::new(secret(case, "shared_key"));
        assert_eq!(key.verifier().to_string(), text(case, "verifier"));
        // The reference's command line names its own application here, whatever `--appid` says.
        assert_eq!(key.transit_key(&AppId::default()), secret(case, "transit_key"));
        let dilation = key.derive("dilation-v1", 32).unwrap();
        assert_eq!(*dilation, bytes(case, "dilation_key"));
        for (name, _) in case["phase_keys"].as_object().unwrap() {
            let (side, phase) = name.split_once('/').unwrap();
            assert_eq!(key.phase_key(side, phase), secret(&case["phase_keys"], name));
        }
    }
}

#[test]
fn derive_key_agrees_with_the_reference() {
    let part = vectors("derive_key");
    let key = Key::new(secret(&part, "key"));
    for case in cases(&part) {
        let length = usize::try_from(case["length"].as_u64().unwrap()).unwrap();
        assert_eq!(*key.derive(text(case, "purpose"), length).unwrap(), bytes(case, "out"));
    }
}

#[test]
fn phase_keys_agree_with_the_reference() {
    let part = vectors("derive_phase_key");
    let key = Key::new(secret(&part, "key"));
    for case in cases(&part) {
        let derived = key.phase_key(text(case, "side"), text(case, "phase"));
        assert_eq!(derived, secret(case, "out"));
    }
}

#[test]
fn sealed_messages_open_to_the_same_bytes() {
    for case in cases(&vectors("secretbox")) {
        let (key, wire) = (secret(case, "key"), bytes(case, "wire"));
        assert_eq!(secretbox::open(&key, &wire), Ok(bytes(case, "plaintext")));
        let nonce = bytes(case, "nonce").try_into().unwrap();
        let mut buffer = bytes(case, "plaintext");
        let mac = secretbox::seal_in_place(&key, &nonce, &mut buffer);
        assert_eq!([nonce.as_slice(), &mac, &buffer].concat(), wire);
    }
}

#[test]
fn the_word_list_is_the_reference_s() {
    let part = vectors("wordlist");
    let all = wormhole_magic::code::completion::complete_words;
    let two = std::num::NonZeroU8::new(2).unwrap();
    for (list, typed, end) in [("odd_by_byte", "", "-"), ("even_by_byte", "x-", "")] {
        let words = part[list].as_array().unwrap();
        let mut words: Vec<_> = words
            .iter()
            .map(|word| format!("{typed}{}{end}", word.as_str().unwrap().to_lowercase()))
            .collect();
        words.sort_unstable();
        assert_eq!(all(typed, two), words);
    }
}
