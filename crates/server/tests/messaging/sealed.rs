//! Messages whose sender the server does not learn: certificates, access keys, and one upload for many accounts.

use data_encoding::BASE64;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use wormhole_chat::{
    ContentHint, DeviceId, KeyPair, MultiRecipientMessage, PublicKey, SealedContent, SealedDevice,
    SealedKind, SealedRecipient, SenderCertificate, Timestamp,
};

use crate::client::{Answer, Client};
use crate::keys::keys;
use crate::messages::{message, with_keys};
use crate::server::Server;
use crate::socket::Socket;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";
const CAROL: &str = "+14155550103";

/// The access key of the person with this number.
fn access_key(seed: u8) -> [u8; 16] {
    [seed; 16]
}

/// Somebody to whom others who know the access key may send.
pub(crate) fn with_access(server: &Server, number: &str, seed: u8) -> Client {
    let client = with_keys(server, number, seed.into());
    let key = BASE64.encode(&access_key(seed));
    let attributes = json!({"unidentifiedAccessKey": key, "fetchesMessages": true});
    client.put("/v1/accounts/attributes", &attributes.to_string()).expect(200);
    client
}

/// A client that shows only this access key.
pub(crate) fn stranger(server: &Server, key: &[u8]) -> Client {
    let mut client = server.client();
    client.headers = vec![("Unidentified-Access-Key".into(), BASE64.encode(key))];
    client
}

fn sealed(timestamp: u64) -> String {
    let mut sealed = message("sealed", timestamp);
    sealed["messages"][0]["type"] = json!(6);
    sealed.to_string()
}

fn queue(client: &Client) -> Vec<Value> {
    client.get("/v1/messages").expect(200)["messages"].as_array().unwrap().clone()
}

#[test]
fn a_sealed_message_arrives_without_its_sender_and_has_no_receipt() {
    let server = Server::start(&[]);
    let bob = with_access(&server, BOB, 2);
    let stranger = stranger(&server, &access_key(2));
    for (number, to) in (1..).zip([bob.uuid.as_str(), BOB, "+14155550102@com.example.one"]) {
        let sent = stranger.put(&format!("/v1/messages/{to}"), &sealed(number));
        assert_eq!(sent.expect(200), json!({"needsSync": false}), "{to}");
        // A repetition is stored once.
        stranger.put(&format!("/v1/messages/{to}"), &sealed(number)).expect(200);
    }
    let messages = queue(&bob);
    assert_eq!(messages.len(), 3, "{messages:?}");
    for message in &messages {
        assert_eq!((&message["type"], &message["content"]), (&json!(6), &json!("c2VhbGVk")));
        for field in ["source", "sourceUuid", "sourceDevice", "sourceApp"] {
            assert_eq!(message[field], Value::Null, "{field}");
        }
        let guid = message["guid"].as_str().unwrap();
        bob.delete(&format!("/v1/messages/uuid/{guid}")).expect(200);
    }
    assert_eq!(queue(&bob), Vec::<Value>::new());
}

#[test]
fn a_wrong_access_key_and_an_account_that_does_not_exist_get_the_same_answer() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_access(&server, BOB, 2));
    let nobody = "00000000-0000-4000-8000-000000000000";
    let (right, wrong) = (stranger(&server, &access_key(2)), stranger(&server, &access_key(3)));
    let zero = stranger(&server, &[0; 16]);
    let bodies = |client: &Client, to: &str| {
        let answers = [
            client.put(&format!("/v1/messages/{to}"), &sealed(1)),
            client.get(&format!("/v2/keys/{to}/*")),
            client.get(&format!("/v2/keys/{to}/1")),
        ];
        answers.map(|answer: Answer| (answer.status, String::from_utf8(answer.body).unwrap()))
    };
    let expected = bodies(&wrong, nobody);
    assert!(expected.iter().all(|(status, _)| *status == 401), "{expected:?}");
    for (client, to) in [
        (&wrong, bob.uuid.as_str()),
        (&right, nobody),
        (&right, "+14155550199"),
        // An account that has no access key, and one whose key is not all zeros.
        (&zero, alice.uuid.as_str()),
        (&zero, bob.uuid.as_str()),
    ] {
        assert_eq!(bodies(client, to), expected, "{to}");
    }
    assert_eq!(queue(&bob), Vec::<Value>::new());
    right.get(&format!("/v2/keys/{}/*", bob.uuid)).expect(200);
}

#[test]
fn without_credentials_only_sealed_messages_are_sent_and_with_credentials_none() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_access(&server, ALICE, 1), with_access(&server, BOB, 2));
    let path = format!("/v1/messages/{}", bob.uuid);
    let stranger = stranger(&server, &access_key(2));
    stranger.put(&path, &message("open", 1).to_string()).expect(422);
    alice.put(&path, &sealed(1)).expect(422);
    let mut both = alice;
    both.headers.extend(stranger.headers.clone());
    both.put(&path, &sealed(1)).expect(400);
    // Nothing else is possible with an access key.
    for path in ["/v1/messages", "/v2/keys", "/v1/accounts/whoami", "/v1/certificate/delivery"] {
        stranger.get(path).expect(401);
    }
    server.client().put(&path, &sealed(1)).expect(401);
    for malformed in ["", "!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "\u{e9}"] {
        let mut client = server.client();
        client.headers = vec![("Unidentified-Access-Key".into(), malformed.into())];
        client.put(&path, &sealed(1)).expect(401);
    }
    assert_eq!(queue(&bob), Vec::<Value>::new());
}

#[test]
fn the_owner_replaces_the_key_and_may_allow_everybody() {
    let server = Server::start(&[]);
    let bob = with_access(&server, BOB, 2);
    let set = |attributes: Value| bob.put("/v1/accounts/attributes", &attributes.to_string());
    let send = |seed, timestamp| {
        stranger(&server, &access_key(seed)).put(&format!("/v1/messages/{BOB}"), &sealed(timestamp))
    };
    // What is missing stays.
    set(json!({"fetchesMessages": true})).expect(200);
    send(2, 1).expect(200);
    set(json!({"unidentifiedAccessKey": BASE64.encode(&access_key(9))})).expect(200);
    send(2, 2).expect(401);
    send(9, 2).expect(200);
    set(json!({"unidentifiedAccessKey": "AAAA"})).expect(422);
    set(json!({"unrestrictedUnidentifiedAccess": true})).expect(200);
    send(2, 3).expect(200);
    assert_eq!(queue(&bob).len(), 3);
    // The number may be registered again by somebody else.
    let again = with_keys(&server, BOB, 7);
    for seed in [2, 9] {
        send(seed, 4).expect(401);
    }
    assert_eq!(queue(&again), Vec::<Value>::new());
}

#[test]
fn a_certificate_names_the_sender_for_a_day_and_its_root_survives_a_restart() {
    let server = Server::start(&[]);
    let alice = with_keys(&server, ALICE, 1);
    let root = |server: &Server| server.client().get("/v1/certificate/root").expect(200);
    let first = root(&server);
    let key = BASE64.decode(first["root"].as_str().unwrap().as_bytes()).unwrap();
    let roots = [PublicKey::decode(&key).unwrap()];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    let get = |query: &str| {
        let answer = alice.get(&format!("/v1/certificate/delivery{query}")).expect(200);
        let bytes = BASE64.decode(answer["certificate"].as_str().unwrap().as_bytes()).unwrap();
        SenderCertificate::decode(&bytes).unwrap()
    };
    for (query, number) in
        [("", Some(ALICE)), ("?includeE164=true", Some(ALICE)), ("?includeE164=false", None)]
    {
        let certificate = get(query);
        let sender = certificate.verify(&roots, Timestamp(now)).unwrap();
        assert_eq!(sender.address.account.to_string(), alice.uuid);
        assert_eq!(sender.address.device, DeviceId::PRIMARY);
        assert_eq!(sender.number.as_deref(), number);
        let encoded = data_encoding::BASE64_NOPAD.encode(&sender.identity.encode());
        assert_eq!(keys(1, 1)["identityKey"], encoded.as_str());
        let day = 24 * 60 * 60 * 1000;
        assert!((now + day - 60_000..=now + day + 60_000).contains(&certificate.expires().0));
    }
    alice.get("/v1/certificate/delivery?includeE164=perhaps").expect(400);
    let without_keys = Client::register(&server, CAROL, None);
    without_keys.get("/v1/certificate/delivery").expect(404);
    server.client().get("/v1/certificate/delivery").expect(401);
    let server = server.restart();
    assert_eq!(root(&server), first);
}

/// Somebody who seals a message for many.
pub(crate) struct Sealer {
    identity: KeyPair,
    certificate: SenderCertificate,
}

impl Sealer {
    pub(crate) fn new(alice: &Client) -> Self {
        let answer = alice.get("/v1/certificate/delivery").expect(200);
        let bytes = BASE64.decode(answer["certificate"].as_str().unwrap().as_bytes()).unwrap();
        Self {
            identity: KeyPair::random(&mut ChaCha20Rng::seed_from_u64(1)),
            certificate: SenderCertificate::decode(&bytes).unwrap(),
        }
    }

    pub(crate) fn seal(&self, to: &[(&Client, u64, u32, u16)]) -> MultiRecipientMessage {
        let recipients = to.iter().map(|(client, seed, device, registration_id)| {
            let identity = KeyPair::random(&mut ChaCha20Rng::seed_from_u64(*seed));
            let device = DeviceId::new(*device).unwrap();
            SealedRecipient {
                account: client.uuid.parse().unwrap(),
                identity: *identity.public(),
                devices: vec![SealedDevice { device, registration_id: *registration_id }],
            }
        });
        let content = SealedContent {
            kind: SealedKind::SenderKey,
            certificate: self.certificate.clone(),
            message: vec![7; 100],
            hint: ContentHint::Default,
            group: None,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let recipients: Vec<_> = recipients.collect();
        MultiRecipientMessage::seal(&content, &self.identity, &recipients, &mut rng).unwrap()
    }
}

/// Uploads a message to many.
pub(crate) fn upload(client: &Client, query: &str, kind: &str, body: &[u8]) -> Answer {
    let mut head = format!(
        "PUT /v1/messages/multi_recipient{query} HTTP/1.1\r\nHost: localhost\r\n\
         Connection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in &client.headers {
        head += &format!("{name}: {value}\r\n");
    }
    client.send(&[head.as_bytes(), b"\r\n", body].concat())
}

pub(crate) const MRM: &str = "application/vnd.signal-messenger.mrm";

#[test]
fn one_upload_reaches_all_members_with_the_keys_of_all_or_with_credentials() {
    let server = Server::start(&[]);
    let token = server.add_app("com.example.two");
    let (alice, bob) = (with_access(&server, ALICE, 1), with_access(&server, BOB, 2));
    // A member in another app.
    let carol = Client::register(&server, CAROL, Some(("com.example.two", &token)));
    carol.put("/v2/keys", &keys(3, 1).to_string()).expect(200);
    let key = json!({"unidentifiedAccessKey": BASE64.encode(&access_key(3))});
    carol.put("/v1/accounts/attributes", &key.to_string()).expect(200);
    let message = Sealer::new(&alice).seal(&[(&bob, 2, 1, 1001), (&carol, 3, 1, 1001)]);
    let both = stranger(&server, &access_key(2 ^ 3));
    let one = stranger(&server, &access_key(2));
    let body = message.encode();
    upload(&one, "?ts=1", MRM, &body).expect(401);
    upload(&server.client(), "?ts=1", MRM, &body).expect(401);
    for client in [&both, &alice, &both] {
        let sent = upload(client, "?ts=1&online=false&urgent=true", MRM, &body).expect(200);
        assert_eq!(sent, json!({"uuids404": [], "uuids413": []}));
    }
    upload(&alice, "?ts=2", MRM, &body).expect(200);
    for member in [&bob, &carol] {
        let messages = queue(member);
        assert_eq!(messages.len(), 2, "the same message is stored once: {messages:?}");
        let expected = message.for_account(member.uuid.parse().unwrap()).unwrap();
        for message in messages {
            assert_eq!((&message["type"], &message["source"]), (&json!(6), &Value::Null));
            assert_eq!(message["sourceUuid"], Value::Null);
            assert_eq!(message["content"], BASE64.encode(&expected).as_str());
        }
    }
}

#[test]
fn wrong_devices_of_one_member_keep_the_message_from_all() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_access(&server, ALICE, 1), with_access(&server, BOB, 2));
    let carol = with_access(&server, CAROL, 3);
    let sealer = Sealer::new(&alice);
    let send = |bob_device, bob_registration, carol_registration| {
        let to = [(&bob, 2, bob_device, bob_registration), (&carol, 3, 1, carol_registration)];
        upload(&alice, "?ts=1", MRM, &sealer.seal(&to).encode())
    };
    let wrong = send(2, 1001, 5).expect(409);
    let devices = json!({"missingDevices": [1], "extraDevices": [2]});
    assert_eq!(wrong, json!([{"uuid": bob.uuid, "devices": devices}]));
    let stale = send(1, 1001, 5).expect(410);
    assert_eq!(stale, json!([{"uuid": carol.uuid, "devices": {"staleDevices": [1]}}]));
    assert_eq!((queue(&bob), queue(&carol)), (Vec::new(), Vec::new()));
    // A registration id of 0 is not compared.
    send(1, 0, 1001).expect(200);
    assert_eq!((queue(&bob).len(), queue(&carol).len()), (1, 1));
}

#[test]
fn members_who_do_not_exist_are_reported_to_somebody_with_credentials_only() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_access(&server, ALICE, 1), with_access(&server, BOB, 2));
    let mut nobody = bob.clone();
    nobody.uuid = "00000000-0000-4000-8000-000000000000".into();
    let body = Sealer::new(&alice).seal(&[(&bob, 2, 1, 1001), (&nobody, 3, 1, 1)]).encode();
    upload(&stranger(&server, &access_key(2)), "?ts=1", MRM, &body).expect(401);
    let sent = upload(&alice, "?ts=1", MRM, &body).expect(200);
    assert_eq!(sent["uuids404"], json!([nobody.uuid]));
    assert_eq!(queue(&bob).len(), 1);
}

#[test]
fn malformed_uploads_are_refused() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_access(&server, ALICE, 1), with_access(&server, BOB, 2));
    let sealer = Sealer::new(&alice);
    let body = sealer.seal(&[(&bob, 2, 1, 1001)]).encode();
    let empty = sealer.seal(&[]).encode();
    // Up to the shortest ciphertext: only the recipients see whether a longer one is complete.
    for length in (0..118).step_by(7) {
        upload(&alice, "?ts=1", MRM, &body[..length]).expect(422);
    }
    let mut version = body.clone();
    version[0] = 0x22;
    for malformed in [&version, &empty, &vec![0xff; 1000]] {
        upload(&alice, "?ts=1", MRM, malformed).expect(422);
    }
    upload(&alice, "?ts=1", MRM, &vec![0; (1 << 20) + 1]).expect(400);
    for query in ["", "?ts=", "?ts=x", "?ts=-1", "?ts=1&online=maybe", "?online=true"] {
        upload(&alice, query, MRM, &body).expect(400);
    }
    upload(&alice, "?ts=0", MRM, &body).expect(422);
    upload(&alice, "?ts=18446744073709551615", MRM, &body).expect(422);
    upload(&alice, "?ts=1", "application/json", &body).expect(415);
    assert_eq!(queue(&bob), Vec::<Value>::new());
}

#[test]
fn guessing_access_keys_is_limited_and_keeps_nobody_else_out() {
    let server = Server::start(&["--limit-loopback"]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_access(&server, BOB, 2));
    let wrong = stranger(&server, &access_key(3));
    let refused = (0..200).map(|_| wrong.get(&format!("/v2/keys/{BOB}/*")).status);
    let refused: Vec<u16> = refused.collect();
    assert_eq!((refused[0], refused[199]), (401, 413), "{refused:?}");
    alice.get(&format!("/v2/keys/{BOB}/*")).expect(200);
    assert_eq!(queue(&bob), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_credentials_sends_sealed_messages_and_does_nothing_else() {
    let server = Server::start(&[]);
    let bob = tokio::task::block_in_place(|| with_access(&server, BOB, 2));
    let mut to_bob = Socket::open(&server, &bob).await;
    let mut socket = Socket::anonymous(&server).await;
    let key = BASE64.encode(&access_key(2));
    let headers = [("Unidentified-Access-Key", key.as_str())];
    let path = format!("/v1/messages/{}", bob.uuid);
    assert_eq!(socket.ask_with("PUT", &path, &sealed(1), &headers).await.status, 200);
    let (_, envelope) = to_bob.next_message().await;
    assert_eq!((envelope.kind.number(), envelope.source), (6, None));
    assert_eq!(
        socket.ask_with("GET", &format!("/v2/keys/{BOB}/*"), "", &headers).await.status,
        200
    );
    assert_eq!(socket.ask_with("PUT", &path, &sealed(2), &[]).await.status, 401);
    for path in ["/v1/messages", "/v1/accounts/whoami", "/v1/certificate/delivery", "/v1/devices"] {
        assert_eq!(socket.ask_with("GET", path, "", &headers).await.status, 401, "{path}");
    }
    // On the socket of a device, the header changes nothing.
    assert_eq!(to_bob.ask_with("PUT", &path, &sealed(3), &headers).await.status, 422);
}
