//! The signed list of an account's devices, whose signature the service does not check.

use data_encoding::BASE64_NOPAD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use wormhole_chat::{AccountId, DeviceList, KeyPair, Timestamp};

use crate::client::Client;
use crate::keys::keys;
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// A signed list of an account without devices, made at this time.
fn list(owner: &Client, revision: u64, time: u64) -> (u64, String) {
    let account: AccountId = owner.uuid.parse().unwrap();
    let created = Timestamp(time);
    let list = DeviceList { account, revision, created, devices: vec![], former: vec![] };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let signed = list.sign(&KeyPair::random(&mut rng), &mut rng);
    (revision, BASE64_NOPAD.encode(&signed))
}

fn put(client: &Client, previous: Option<u64>, (revision, list): &(u64, String)) -> (u16, Value) {
    let body = json!({"previous": previous, "revision": revision, "list": list}).to_string();
    let answer = client.put("/v1/devices/list", &body);
    (answer.status, answer.json())
}

/// The list that others get with the keys of Bob.
fn shown(asker: &Client) -> Value {
    asker.get(&format!("/v2/keys/{BOB}/*")).expect(200)["deviceList"].clone()
}

#[test]
fn two_devices_that_change_the_list_at_once_do_not_overwrite_each_other() {
    let server = Server::start(&[]);
    let bob = Client::register(&server, BOB, None);
    let [first, second, third] =
        [(1, 1), (2, 2), (2, 3)].map(|(revision, time)| list(&bob, revision, time));
    let nothing = json!({"revision": null, "list": null});
    assert_eq!(put(&bob, Some(1), &first), (409, nothing));
    // The answer may be lost, so the same list can be sent again.
    for _ in 0..2 {
        assert_eq!(put(&bob, None, &first), (200, json!({})));
    }
    assert_eq!(put(&bob, Some(1), &second), (200, json!({})));
    let newest = json!({"revision": 2, "list": second.1});
    for previous in [None, Some(1)] {
        assert_eq!(put(&bob, previous, &third), (409, newest.clone()));
    }
    let own = bob.get("/v1/devices/list").expect(200);
    assert_eq!((&own["revision"], &own["list"]), (&json!(2), &newest["list"]));
    assert_eq!(own["devices"], json!([{"id": 1, "registrationId": 1001, "hasKeys": false}]));
    bob.put("/v2/keys", &keys(1, 1).to_string()).expect(200);
    assert_eq!(bob.get("/v1/devices/list").expect(200)["devices"][0]["hasKeys"], true);
}

#[test]
fn whoever_gets_keys_gets_the_list_with_them() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    bob.put("/v2/keys", &keys(1, 10).to_string()).expect(200);
    assert_eq!(shown(&alice), Value::Null);
    assert_eq!(put(&bob, None, &list(&bob, 1, 1)).0, 200);
    assert_eq!(shown(&alice), list(&bob, 1, 1).1);
    let access = BASE64_NOPAD.encode(&[9; 16]);
    let attributes = json!({"registrationId": 1001, "fetchesMessages": true,
        "unidentifiedAccessKey": access});
    bob.put("/v1/accounts/attributes", &attributes.to_string()).expect(200);
    let mut stranger = server.client();
    stranger.headers = vec![("Unidentified-Access-Key".into(), access)];
    assert_eq!(shown(&stranger), list(&bob, 1, 1).1);
}

#[test]
fn a_list_of_an_earlier_identity_key_or_owner_is_dropped() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    // A new account publishes its list first.
    assert_eq!(put(&bob, None, &list(&bob, 1, 1)).0, 200);
    bob.put("/v2/keys", &keys(1, 1).to_string()).expect(200);
    assert_eq!(shown(&alice), list(&bob, 1, 1).1);
    bob.put("/v2/keys", &keys(1, 1).to_string()).expect(200);
    assert_eq!(shown(&alice), list(&bob, 1, 1).1);
    bob.put("/v2/keys", &keys(2, 1).to_string()).expect(200);
    assert_eq!(shown(&alice), Value::Null);
    assert_eq!(put(&bob, None, &list(&bob, 2, 2)).0, 200);
    let bob = Client::register(&server, BOB, None);
    assert_eq!(bob.get("/v1/devices/list").expect(200)["list"], Value::Null);
    assert_eq!(put(&bob, None, &list(&bob, 1, 3)).0, 200);
    bob.put("/v2/keys", &keys(3, 1).to_string()).expect(200);
    assert_eq!(shown(&alice), list(&bob, 1, 3).1);
}

#[test]
fn a_list_that_cannot_be_one_is_refused() {
    let server = Server::start(&[]);
    let bob = Client::register(&server, BOB, None);
    let bytes = |length: usize| BASE64_NOPAD.encode(&vec![1; length]);
    assert_eq!(put(&bob, None, &(1, bytes(0))).0, 422);
    assert_eq!(put(&bob, None, &(1, bytes(4097))).0, 422);
    assert_eq!(put(&bob, None, &(0, bytes(1))).0, 422);
    assert_eq!(put(&bob, None, &(1 << 53, bytes(1))).0, 422);
    assert_eq!(put(&bob, Some(0), &(1, bytes(1))).0, 422);
    assert_eq!(put(&bob, None, &(1, bytes(100))).0, 422);
    assert_eq!(put(&bob, None, &list(&bob, (1 << 53) - 1, 1)).0, 200);
    server.client().get("/v1/devices/list").expect(401);
}

#[test]
fn attack_9_a_list_is_stored_only_with_its_own_revision_and_account() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    let (_, first) = list(&bob, 1, 1);
    // What others leave out would never match this revision.
    assert_eq!(put(&bob, None, &(7, first.clone())).0, 422);
    assert_eq!(put(&alice, None, &(1, first.clone())).0, 422);
    assert_eq!(bob.get("/v1/devices/list").expect(200)["revision"], Value::Null);
    assert_eq!(put(&bob, None, &(1, first)).0, 200);
}
