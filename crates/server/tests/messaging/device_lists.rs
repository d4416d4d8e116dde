//! The signed list of an account's devices, whose signature the service does not check.

use data_encoding::BASE64_NOPAD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use wormhole_chat::{AccountId, DeviceList, KeyPair, Timestamp};

use crate::client::Client;
use crate::keys::keys;
use crate::messages::{message, with_keys};
use crate::sealed::{MRM, Sealer, upload};
use crate::server::Server;
use crate::socket::provisioning::link;

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

/// Bob with a second device, which the list of this revision does not name.
fn bob_with_unsigned_device(server: &Server, revision: u64) -> (Client, Client) {
    let bob = with_keys(server, BOB, 2);
    let (laptop, _) = link(server, &bob);
    laptop.put("/v2/keys", &keys(2, 1).to_string()).expect(200);
    assert_eq!(put(&bob, None, &list(&bob, revision, 1)).0, 200);
    (bob, laptop)
}

fn waiting(client: &Client) -> usize {
    client.get("/v1/messages").expect(200)["messages"].as_array().unwrap().len()
}

#[test]
fn devices_that_are_left_out_are_not_missing_as_long_as_the_list_is_the_newest() {
    let server = Server::start(&[]);
    let alice = with_keys(&server, ALICE, 1);
    let (bob, laptop) = bob_with_unsigned_device(&server, 3);
    let send = |timestamp: u64, left_out: &Value| {
        let mut body = message("hello", timestamp);
        body["leftOut"] = left_out.clone();
        let answer = alice.put(&format!("/v1/messages/{BOB}"), &body.to_string());
        (answer.status, answer.json())
    };
    let missing = json!({"missingDevices": [2], "extraDevices": []});
    for other in [
        Value::Null,
        json!({"revision": 2, "devices": [2]}),
        json!({"revision": 4, "devices": [2]}),
        json!({"revision": 3, "devices": [3]}),
        json!({"revision": 3, "devices": []}),
    ] {
        assert_eq!(send(1, &other), (409, missing.clone()), "{other}");
    }
    assert_eq!(waiting(&bob), 0);
    // The server need not have all of them.
    let all = json!({"revision": 3, "devices": [2, 9, 300]});
    assert_eq!(send(1, &all), (200, json!({"needsSync": false})));
    assert_eq!((waiting(&bob), waiting(&laptop)), (1, 0));
    // A newer list may name the device.
    assert_eq!(put(&bob, Some(3), &list(&bob, 4, 2)).0, 200);
    assert_eq!(send(2, &all), (409, missing));
    assert_eq!(send(2, &json!({"revision": 4, "devices": [2]})).0, 200);
    assert_eq!(send(3, &json!({"revision": "x", "devices": [2]})).0, 415);
    assert_eq!((waiting(&bob), waiting(&laptop)), (2, 0));
}

#[test]
fn a_device_that_gets_a_message_is_not_left_out() {
    let server = Server::start(&[]);
    let alice = with_keys(&server, ALICE, 1);
    let (bob, laptop) = bob_with_unsigned_device(&server, 1);
    let mut body = message("hello", 1);
    let mut second = body["messages"][0].clone();
    second["destinationDeviceId"] = json!(2);
    second["destinationRegistrationId"] = json!(77);
    body["messages"].as_array_mut().unwrap().push(second);
    body["leftOut"] = json!({"revision": 1, "devices": [2]});
    let answer = alice.put(&format!("/v1/messages/{BOB}"), &body.to_string());
    let extra = json!({"missingDevices": [], "extraDevices": [2]});
    assert_eq!((answer.status, answer.json()), (409, extra));
    assert_eq!((waiting(&bob), waiting(&laptop)), (0, 0));
}

#[test]
fn a_message_for_many_leaves_devices_out_in_the_same_way() {
    let server = Server::start(&[]);
    let alice = with_keys(&server, ALICE, 1);
    let (bob, laptop) = bob_with_unsigned_device(&server, 3);
    let sealed = Sealer::new(&alice).seal(&[(&bob, 2, 1, 1001)]).encode();
    let send = |left_out: &str| upload(&alice, &format!("?ts=1{left_out}"), MRM, &sealed);
    for other in [String::new(), format!("&leftOut={}.2.2", bob.uuid)] {
        let wrong = send(&other).expect(409);
        let devices = json!({"missingDevices": [2], "extraDevices": []});
        assert_eq!(wrong, json!([{"uuid": bob.uuid, "devices": devices}]), "{other}");
    }
    let device = format!("{}.2.3", bob.uuid);
    for malformed in ["x", &device[1..], &vec![device.as_str(); 65].join(",")] {
        assert!((400..500).contains(&send(&format!("&leftOut={malformed}")).status), "{malformed}");
    }
    send(&format!("&leftOut={device}")).expect(200);
    assert_eq!((waiting(&bob), waiting(&laptop)), (1, 0));
}
