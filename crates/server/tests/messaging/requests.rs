//! Message requests and reports.

use data_encoding::BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Answer, Client};
use crate::keys::keys;
use crate::messages::{message, with_keys};
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// A client with keys that knows message requests.
pub(crate) fn with_requests(server: &Server, number: &str, seed: u64) -> Client {
    let client = with_keys(server, number, seed);
    let attributes = r#"{"registrationId":1001,"capabilities":{"messageRequests":true}}"#;
    client.put("/v1/accounts/attributes", attributes).expect(200);
    client
}

fn send(from: &Client, to: &Client, timestamp: u64) -> Answer {
    from.put(&format!("/v1/messages/{}", to.uuid), &message("hello", timestamp).to_string())
}

fn queue(client: &Client) -> Vec<Value> {
    client.get("/v1/messages").expect(200)["messages"].as_array().unwrap().clone()
}

fn decide(client: &Client, about: &Client, action: &str) -> Answer {
    client.put(&format!("/v1/requests/{}", about.uuid), &json!({"action": action}).to_string())
}

/// An answer without the time.
fn visible(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let head = answer.head.lines().filter(|line| !line.starts_with("Date:"));
    (answer.status, head.map(str::to_owned).collect(), answer.body.clone())
}

#[test]
fn a_sender_cannot_see_whether_it_is_pending_accepted_or_blocked() {
    let server = Server::start(&[]);
    let alice = with_keys(&server, ALICE, 1);
    let people = [(BOB, 2), ("+14155550103", 3), ("+14155550104", 4), ("+14155550105", 5)];
    let [pending, accepted, blocked, old] = people.map(|(number, seed)| {
        if seed == 5 {
            with_keys(&server, number, seed)
        } else {
            with_requests(&server, number, seed)
        }
    });
    decide(&accepted, &alice, "accept").expect(200);
    decide(&blocked, &alice, "block").expect(200);
    for timestamp in 1..=10 {
        let expected = visible(&send(&alice, &old, timestamp));
        assert_eq!(expected.0, 200);
        for to in [&pending, &accepted, &blocked] {
            assert_eq!(visible(&send(&alice, to, timestamp)), expected, "{timestamp}");
        }
    }
    let waiting = [&pending, &accepted, &blocked, &old].map(|client| queue(client).len());
    assert_eq!(waiting, [5, 10, 0, 10]);
    // Wrong devices, and keys.
    let wrong = |to: &Client| {
        let mut wrong = message("hello", 11);
        wrong["messages"][0]["destinationDeviceId"] = json!(2);
        let sent = alice.put(&format!("/v1/messages/{}", to.uuid), &wrong.to_string());
        let keys = alice.get(&format!("/v2/keys/{}/1", to.uuid));
        (visible(&sent), keys.status)
    };
    let expected = wrong(&old);
    assert_eq!((expected.0.0, expected.1), (409, 200));
    for to in [&pending, &accepted, &blocked] {
        assert_eq!(wrong(to), expected);
    }
}

#[test]
fn only_the_sender_of_an_accepted_message_gets_a_receipt() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_requests(&server, BOB, 2));
    let confirm = |timestamp| {
        bob.delete(&format!("/v1/messages/{}/{timestamp}", alice.uuid)).expect(200);
    };
    (1..=2).for_each(|timestamp| drop(send(&alice, &bob, timestamp).expect(200)));
    confirm(1);
    decide(&bob, &alice, "block").expect(200);
    confirm(2);
    send(&alice, &bob, 3).expect(200);
    decide(&bob, &alice, "accept").expect(200);
    send(&alice, &bob, 4).expect(200);
    assert_eq!(queue(&bob).len(), 1);
    confirm(4);
    let receipts = queue(&alice);
    let timestamps: Vec<_> = receipts.iter().map(|it| it["timestamp"].as_u64().unwrap()).collect();
    assert_eq!(timestamps, [4]);
}

#[test]
fn requests_are_listed_until_they_are_decided() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_requests(&server, BOB, 2));
    let list = |client: &Client| client.get("/v1/requests").expect(200)["requests"].clone();
    assert_eq!(list(&bob), json!([]));
    (1..=7).for_each(|timestamp| drop(send(&alice, &bob, timestamp).expect(200)));
    let listed = list(&bob);
    let since = listed[0]["since"].as_u64().unwrap();
    assert!(since > 1_600_000_000_000);
    let mut expected = json!({
        "uuid": alice.uuid, "app": "com.example.one", "number": ALICE, "state": "pending",
        "since": since, "messages": 5,
    });
    assert_eq!(listed, json!([expected]));
    assert_eq!(list(&alice), json!([]), "the sender sees nothing");
    decide(&bob, &alice, "block").expect(200);
    let server = server.restart();
    let (alice, bob) = (alice.at(&server), bob.at(&server));
    let listed = list(&bob);
    expected["state"] = json!("blocked");
    expected["since"] = listed[0]["since"].clone();
    assert_eq!(listed, json!([expected]));
    decide(&bob, &alice, "accept").expect(200);
    assert_eq!(list(&bob), json!([]));
    send(&alice, &bob, 8).expect(200);
    assert_eq!(queue(&bob).len(), 6);
    // Writing to a person accepts the answers of this person.
    decide(&bob, &alice, "delete").expect(200);
    send(&bob, &alice, 9).expect(200);
    (11..=20).for_each(|timestamp| drop(send(&alice, &bob, timestamp).expect(200)));
    assert_eq!((list(&bob), queue(&bob).len()), (json!([]), 16));
}

#[test]
fn a_decision_that_makes_no_sense_is_refused() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_requests(&server, BOB, 2));
    decide(&bob, &bob, "block").expect(404);
    for unknown in ["9d0652a3-dcc3-4d11-975f-74d61598733f", "+14155550101", "x"] {
        let path = format!("/v1/requests/{unknown}");
        bob.put(&path, r#"{"action":"accept"}"#).expect(404);
    }
    assert_eq!(decide(&bob, &alice, "greet").expect(415)["error"], "bad_json");
    assert_eq!(decide(&bob, &alice, "report").expect(422)["error"], "invalid");
    server.client().get("/v1/requests").expect(401);
    server.client().put(&format!("/v1/requests/{}", alice.uuid), "{}").expect(401);
}

#[test]
fn the_operator_reads_reports_about_messages_that_were_delivered() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_requests(&server, BOB, 2));
    (1..=2).for_each(|timestamp| drop(send(&alice, &bob, timestamp).expect(200)));
    send(&bob, &alice, 3).expect(200);
    assert!(queue(&alice)[0].get("reportSpamToken").is_none(), "her client does not know it");
    let report = |message: &Value| {
        let content = BASE64.decode(message["content"].as_str().unwrap().as_bytes()).unwrap();
        json!({
            "action": "report", "guid": message["guid"], "token": message["reportSpamToken"],
            "serverTimestamp": message["serverTimestamp"],
            "contentHash": BASE64.encode(&Sha256::digest(content)),
        })
    };
    let [first, second] = [0, 1].map(|index| report(&queue(&bob)[index]));
    let path = format!("/v1/requests/{}", alice.uuid);
    let mut forged = first.clone();
    forged["contentHash"] = json!(BASE64.encode(&[7; 32]));
    assert_eq!(bob.put(&path, &forged.to_string()).expect(422)["error"], "invalid");
    assert_eq!(reports(&server, &["list"]), "");
    bob.put(&path, &first.to_string()).expect(200);
    // Deployed clients use another path.
    let guid = second["guid"].as_str().unwrap();
    let path = format!("/v1/messages/report/{}/{guid}", alice.uuid);
    bob.request("POST", &path, &second.to_string()).expect(200);
    let listed = reports(&server, &["list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2);
    let about = format!("{} {ALICE}@com.example.one", alice.uuid);
    let by = format!("{} {BOB}@com.example.one", bob.uuid);
    let plain = |guid: &Value| guid.as_str().unwrap().replace('-', "");
    for report in [&first, &second] {
        let end = format!(" {about} reported-by {by} message {}", plain(&report["guid"]));
        let line = lines.iter().find(|line| line.ends_with(&end)).unwrap();
        assert_eq!(line.find('T'), Some(10), "{line}");
    }
    assert_eq!(reports(&server, &["list", "--max", "1"]).lines().count(), 1);
    send(&alice, &bob, 4).expect(200);
    assert_eq!(queue(&bob).len(), 2, "she is blocked");
    assert_eq!(reports(&server, &["remove", &alice.uuid]), "2\n");
    assert_eq!(reports(&server, &["list"]), "");
}

/// Runs `wormhole-server report` and returns what it prints.
fn reports(server: &Server, arguments: &[&str]) -> String {
    server.command("report", arguments)
}

#[test]
fn a_registration_again_keeps_what_was_decided() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_requests(&server, BOB, 2));
    decide(&bob, &alice, "block").expect(200);
    let again = Client::register(&server, ALICE, None);
    assert_eq!(again.uuid, alice.uuid);
    again.put("/v2/keys", &keys(3, 1).to_string()).expect(200);
    send(&again, &bob, 1).expect(200);
    assert_eq!(queue(&bob), Vec::<Value>::new());
}
