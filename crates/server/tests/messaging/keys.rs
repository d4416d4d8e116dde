//! Prekeys, in the shape of clients of 2014 and in that of later ones.

use data_encoding::BASE64_NOPAD;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use wormhole_chat::KeyPair;

use crate::client::Client;
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// Keys of a device, as JSON of later clients.
pub(crate) fn keys(seed: u64, one_time: u32) -> Value {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let identity = KeyPair::random(&mut rng);
    let encode = |bytes: &[u8]| BASE64_NOPAD.encode(bytes);
    let signed = KeyPair::random(&mut rng);
    let signature = identity.sign(&signed.public().encode(), &mut rng);
    let pre_keys: Vec<Value> = (1..=one_time)
        .map(|id| json!({"keyId": id, "publicKey": encode(&KeyPair::random(&mut rng).public().encode())}))
        .collect();
    json!({
        "identityKey": encode(&identity.public().encode()),
        "signedPreKey": {"keyId": 7, "publicKey": encode(&signed.public().encode()), "signature": encode(&signature.0)},
        "preKeys": pre_keys,
    })
}

#[test]
fn each_one_time_key_is_given_out_once_and_then_none() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    let published = keys(1, 2);
    bob.put("/v2/keys/", &published.to_string()).expect(200);
    assert_eq!(bob.get("/v2/keys").expect(200), json!({"count": 2, "pqCount": 0}));
    let taken: Vec<Value> =
        (0..3).map(|_| alice.get(&format!("/v2/keys/{BOB}/*")).expect(200)).collect();
    for (number, bundle) in taken.iter().enumerate() {
        assert_eq!(bundle["identityKey"], published["identityKey"]);
        assert_eq!(bundle["uuid"], bob.uuid.as_str());
        let device = &bundle["devices"][0];
        assert_eq!((&device["deviceId"], &device["registrationId"]), (&json!(1), &json!(1001)));
        assert_eq!(device["signedPreKey"], published["signedPreKey"]);
        assert_eq!(device["preKey"], published["preKeys"].get(number).cloned().unwrap_or_default());
    }
    assert_eq!(bob.get("/v2/keys/").expect(200)["count"], 0);
    assert_eq!(bob.get("/v2/keys/signed").expect(200), published["signedPreKey"]);
}

#[test]
fn attack_5_one_asker_cannot_use_up_the_one_time_keys_of_a_device() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    bob.put("/v2/keys/", &keys(1, 100).to_string()).expect(200);
    let statuses: Vec<u16> =
        (0..1000).map(|_| alice.get(&format!("/v2/keys/{BOB}/*")).status).collect();
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!((1..=10).contains(&taken), "{taken}");
    assert!(statuses.iter().skip(10).all(|status| *status == 413), "{statuses:?}");
    assert_eq!(bob.get("/v2/keys/").expect(200)["count"], 100 - taken);
    // Others are not affected.
    let carol = Client::register(&server, "+14155550103", None);
    let bundle = carol.get(&format!("/v2/keys/{BOB}/*")).expect(200);
    assert!(bundle["devices"][0]["preKey"].is_object());
}

#[test]
fn attack_5_the_last_one_time_key_goes_to_one_of_many_who_ask_at_once_and_the_rest_get_none() {
    let server = Server::start(&[]);
    let bob = Client::register(&server, BOB, None);
    let published = keys(1, 3);
    bob.put("/v2/keys/", &published.to_string()).expect(200);
    let askers: Vec<Client> = (0..8)
        .map(|number| Client::register(&server, &format!("+1415555020{number}"), None))
        .collect();
    let start = std::sync::Barrier::new(askers.len());
    let bundles: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = askers
            .iter()
            .map(|asker| {
                scope.spawn(|| {
                    start.wait();
                    asker.get(&format!("/v2/keys/{BOB}/*")).expect(200)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let given = bundles.iter().map(|bundle| &bundle["devices"][0]["preKey"]["keyId"]);
    let mut given: Vec<u64> = given.filter_map(Value::as_u64).collect();
    given.sort_unstable();
    assert_eq!(given, [1, 2, 3]);
    // Everybody can write to Bob nevertheless, and his device learns that it must publish others.
    for bundle in &bundles {
        assert_eq!(bundle["devices"][0]["signedPreKey"], published["signedPreKey"]);
    }
    assert_eq!(bob.get("/v2/keys/").expect(200)["count"], 0);
}

#[test]
fn clients_of_2014_publish_and_take_unsigned_keys() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    let published = keys(1, 2);
    let identity = &published["identityKey"];
    let key = |id: u32, number: usize| json!({"keyId": id, "publicKey": published["preKeys"][number]["publicKey"], "identityKey": identity});
    let old = json!({"lastResortKey": key(0x00ff_ffff, 0), "keys": [key(5, 1)]});
    bob.put("/v2/keys/", &old.to_string()).expect(200);
    for expected in [5, 0x00ff_ffff, 0x00ff_ffff] {
        let taken = alice.get(&format!("/v2/keys/{BOB}/1")).expect(200);
        let [key] = taken["keys"].as_array().unwrap().as_slice() else { panic!("{taken}") };
        assert_eq!((&key["keyId"], &key["identityKey"]), (&json!(expected), identity));
        assert_eq!((&key["deviceId"], &key["registrationId"]), (&json!(1), &json!(1001)));
        assert_eq!(taken["devices"], json!([]));
    }
}

#[test]
fn a_last_resort_key_that_is_no_key_is_ignored() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    let mut published = keys(1, 0);
    published["lastResortKey"] = json!({"keyId": 2_147_483_647_u32, "publicKey": "NDI="});
    bob.put("/v2/keys", &published.to_string()).expect(200);
    let device = &alice.get(&format!("/v2/keys/{}/1", bob.uuid)).expect(200)["devices"][0];
    assert_eq!(device["preKey"], Value::Null);
}

#[test]
fn keys_and_signatures_are_checked() {
    let server = Server::start(&[]);
    let bob = Client::register(&server, BOB, None);
    let put = |change: &dyn Fn(&mut Value)| {
        let mut published = keys(1, 1);
        change(&mut published);
        bob.put("/v2/keys", &published.to_string()).status
    };
    let other = keys(2, 1);
    assert_eq!(put(&|_| {}), 200);
    assert_eq!(put(&|keys| keys["identityKey"] = other["identityKey"].clone()), 422);
    assert_eq!(
        put(&|keys| keys["signedPreKey"]["signature"] = other["signedPreKey"]["signature"].clone()),
        422
    );
    assert_eq!(put(&|keys| keys["identityKey"] = Value::Null), 422);
    assert_eq!(put(&|keys| keys["preKeys"][0]["publicKey"] = json!("BQ")), 422);
    // A point of low order, and a wrong type.
    let mut low = [0; 33];
    low[0] = 5;
    assert_eq!(
        put(&|keys| keys["preKeys"][0]["publicKey"] = json!(BASE64_NOPAD.encode(&low))),
        422
    );
    low[0] = 6;
    assert_eq!(
        put(&|keys| keys["preKeys"][0]["publicKey"] = json!(BASE64_NOPAD.encode(&low))),
        422
    );
    assert_eq!(put(&|keys| keys["preKeys"][0]["keyId"] = json!(4_294_967_296_u64)), 422);
    assert_eq!(put(&|keys| keys["preKeys"] = json!(vec![keys["preKeys"][0].clone(); 101])), 422);
    assert_eq!(put(&|keys| keys["preKeys"] = json!("text")), 415);
    assert_eq!(put(&|keys| keys["signedPreKey"] = json!({"keyId": 1})), 415);
}

#[test]
fn keys_of_nobody_are_not_found_and_asking_again_and_again_is_limited() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    alice.get(&format!("/v2/keys/{BOB}/*")).expect(404);
    bob.put("/v2/keys", &keys(1, 100).to_string()).expect(200);
    for missing in
        ["+14155550199/1", &format!("{BOB}/2"), &format!("{BOB}/0"), &format!("{BOB}/1e0")]
    {
        assert_eq!(alice.get(&format!("/v2/keys/{missing}")).status, 404, "{missing}");
    }
    alice.get("/v2/keys/nobody/1").expect(400);
    // Six at once, however they are spelled. What was not found costs nothing.
    let names = ["*", "1"].map(|device| [BOB, &bob.uuid].map(|who| format!("{who}/{device}")));
    let names = names.as_flattened().iter().cycle().take(7);
    let statuses: Vec<u16> =
        names.map(|name| alice.get(&format!("/v2/keys/{name}")).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 413]);
    assert_eq!(bob.get("/v2/keys").expect(200)["count"], 94);
}

#[test]
fn a_new_identity_key_withdraws_what_was_signed_with_the_previous_one() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    bob.put("/v2/keys", &keys(1, 3).to_string()).expect(200);
    let mut other = keys(2, 0);
    let signed = other["signedPreKey"].take();
    other.as_object_mut().unwrap().remove("preKeys");
    bob.put("/v2/keys", &other.to_string()).expect(200);
    assert_eq!(bob.get("/v2/keys").expect(200)["count"], 0);
    alice.get(&format!("/v2/keys/{BOB}/1")).expect(404);
    bob.put("/v2/keys/signed", &signed.to_string()).expect(200);
    let bundle = alice.get(&format!("/v2/keys/{BOB}/1")).expect(200);
    assert_eq!(bundle["identityKey"], other["identityKey"]);
    assert_eq!(bundle["devices"][0]["signedPreKey"], signed);
    assert_eq!(bundle["devices"][0]["preKey"], Value::Null);
}

#[test]
fn a_device_writes_only_so_often() {
    let server = Server::start(&[]);
    let bob = Client::register(&server, BOB, None);
    let published = keys(1, 1).to_string();
    let first = (0..100).find(|_| bob.put("/v2/keys", &published).status == 413);
    assert!(first.is_some_and(|first| first >= 60), "{first:?}");
    bob.get("/v2/keys").expect(200);
}

#[test]
fn keys_that_are_invalid_count_because_checking_them_takes_long() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut invalid = keys(1, 1);
    invalid["signedPreKey"]["signature"] = keys(2, 1)["signedPreKey"]["signature"].clone();
    let paths = ["/v2/keys", "/v2/keys/signed"];
    let bodies = [invalid.to_string(), invalid["signedPreKey"].to_string()];
    alice.put("/v2/keys", &keys(1, 1).to_string()).expect(200);
    let publish = |number: usize| alice.put(paths[number % 2], &bodies[number % 2]).status;
    let refused = (0..500).map(publish).take_while(|status| *status == 422).count();
    assert!((59..500).contains(&refused), "{refused}");
    assert_eq!(publish(0), 413);
}
