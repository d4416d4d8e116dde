//! The known answers of `vectors/magic/vectors.json`, which the Python reference computed: codes,
//! keys, sealed messages, transit, dilation and file transfer.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod dilation;
mod keys;
mod spake2;
mod transit;
mod words;

use data_encoding::HEXLOWER;
use rand_chacha::rand_core::{CryptoRng, Error, RngCore};
use serde_json::Value;
use wormhole_kit::Secret;

/// Every part of the file with what it holds, and the module here that tests it.
const EXPECTED: &[(&str, &str, &[&str])] = &[
    ("_about", "a remark", &[]),
    ("derive_key", "keys", &["_desc", "cases", "key"]),
    ("derive_phase_key", "keys", &["_desc", "cases", "key"]),
    (
        "dilation",
        "dilation",
        &[
            "_desc",
            "dilation_key",
            "follower_ephemeral_private",
            "follower_to_leader",
            "handshake1_leader_frame",
            "handshake2_follower_frame",
            "leader_ephemeral_private",
            "leader_to_follower",
            "prologue_follower_ascii",
            "prologue_leader_ascii",
            "relay_handshake_ascii",
        ],
    ),
    ("json_encoding_note", "a remark", &[]),
    ("secretbox", "keys", &["_desc", "cases"]),
    (
        "spake2_params_ed25519",
        "spake2",
        &["M", "M_str", "N", "N_str", "S", "S_str", "_desc", "group_order_L"],
    ),
    ("spake2_symmetric", "spake2 and keys", &["_desc", "cases"]),
    (
        "spake2_upstream_compat",
        "spake2",
        &[
            "_desc",
            "finalize_symmetric",
            "key",
            "msg1",
            "msg2",
            "password_to_scalar",
            "pw",
            "scalar1_le32",
            "scalar2_le32",
        ],
    ),
    (
        "transit",
        "transit",
        &[
            "_desc",
            "receiver_ack_record",
            "receiver_handshake_ascii",
            "receiver_record_key",
            "relay_handshake_ascii",
            "relay_side",
            "sender_handshake_ascii",
            "sender_record_key",
            "sender_records",
            "transit_key",
        ],
    ),
    (
        "wordlist",
        "words",
        &[
            "_desc",
            "byte00_even_odd",
            "byteFF_even_odd",
            "even_by_byte",
            "n",
            "n_even",
            "n_odd",
            "odd_by_byte",
            "sha256_even_sorted_newline",
            "sha256_odd_sorted_newline",
        ],
    ),
];

#[test]
fn no_part_of_the_file_goes_untested_unnoticed() {
    let all: Value = serde_json::from_str(&read("vectors.json")).unwrap();
    let fields = |value: &Value| -> Vec<String> {
        let mut names: Vec<_> =
            value.as_object().into_iter().flatten().map(|f| f.0.clone()).collect();
        names.sort_unstable();
        names
    };
    let parts: Vec<_> = EXPECTED.iter().map(|(part, ..)| *part).collect();
    assert_eq!(fields(&all), parts);
    for (part, tested_by, expected) in EXPECTED {
        assert_eq!(fields(&all[part]), *expected, "{part}: {tested_by}");
    }
}

fn read(file: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/magic/");
    std::fs::read_to_string(format!("{folder}{file}")).unwrap()
}

/// The named part of the vector file.
fn vectors(part: &str) -> Value {
    let all: Value = serde_json::from_str(&read("vectors.json")).unwrap();
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

/// A predictable source of random bytes: returns these bytes, then zeros.
struct Fixed(Vec<u8>);

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        unimplemented!("all draws are of bytes")
    }

    fn next_u64(&mut self) -> u64 {
        unimplemented!("all draws are of bytes")
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        to.fill(0);
        let length = to.len().min(self.0.len());
        to[..length].copy_from_slice(&self.0);
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Fixed {}
