//! What is derived from the shared key, and messages sealed with it.

use wormhole_magic::{AppId, key::Key, secretbox};

use crate::{bytes, cases, secret, text, vectors};

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
