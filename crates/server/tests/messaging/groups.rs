//! The logs of groups.

use data_encoding::BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Answer, Client};
use crate::server::Server;

const GROUP: &str = "000102030405060708090a0b0c0d0e0f";
const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";
const KEY: [u8; 32] = [1; 32];
const NEXT_KEY: [u8; 32] = [2; 32];

fn hash(key: [u8; 32]) -> String {
    BASE64.encode(&Sha256::digest(key))
}

/// The key of administrators, where members have this key.
fn admin(key: [u8; 32]) -> [u8; 32] {
    key.map(|byte| byte + 0x10)
}

/// The key of the link, where members have this key.
fn link(key: [u8; 32]) -> [u8; 32] {
    key.map(|byte| byte + 0x20)
}

/// The same client, which shows this key, and says that members have this next one.
pub(crate) fn member(client: &Client, key: Option<[u8; 32]>, next: Option<[u8; 32]>) -> Client {
    let mut client = client.clone();
    client.headers.extend(key.map(|key| ("Group-Access".into(), BASE64.encode(&key))));
    let next_keys = |next| {
        let names = ["Group-Next-Access", "Group-Next-Admin", "Group-Next-Link"];
        let hashes = [next, admin(next), link(next)].map(hash);
        names.map(String::from).into_iter().zip(hashes)
    };
    client.headers.extend(next.into_iter().flat_map(next_keys));
    client
}

fn append(client: &Client, revision: impl std::fmt::Display, entry: &str) -> Answer {
    client.put(&format!("/v1/groups/{GROUP}/entries/{revision}"), entry)
}

fn read(client: &Client, query: &str) -> Answer {
    client.get(&format!("/v1/groups/{GROUP}/entries{query}"))
}

/// Two people, of whom the first has created a group.
fn with_group(server: &Server) -> [Client; 2] {
    let people = [ALICE, BOB].map(|number| Client::register(server, number, None));
    append(&member(&people[0], None, Some(KEY)), 0, "first").expect(200);
    people
}

fn entry(revision: u32, text: &str) -> Value {
    json!({"revision": revision, "entry": BASE64.encode(text.as_bytes())})
}

#[test]
fn members_append_and_read_entries_in_one_order() {
    let server = Server::start(&[]);
    let [alice, bob] = with_group(&server).map(|client| member(&client, Some(KEY), None));
    append(&bob, 1, "second").expect(200);
    let refused = append(&alice, 1, "another second").expect(409);
    assert_eq!(refused, json!({"revision": 1}));
    append(&alice, 2, "third").expect(200);
    let [first, second, third] = [entry(0, "first"), entry(1, "second"), entry(2, "third")];
    let all = json!({"entries": [first, second, third], "revision": 2});
    assert_eq!(read(&bob, "").expect(200), all);
    assert_eq!(read(&bob, "?from=2").expect(200)["entries"], json!([third]));
    assert_eq!(read(&bob, "?from=3").expect(200), json!({"entries": [], "revision": 2}));
    assert_eq!(read(&bob, "?from=x").expect(400)["error"], "bad_request");
    let server = server.restart();
    assert_eq!(read(&bob.at(&server), "").expect(200), all);
}

#[test]
fn a_wrong_access_key_and_an_unknown_group_are_the_same() {
    let server = Server::start(&[]);
    let [alice, _] = with_group(&server);
    let unknown = member(&alice, Some(KEY), None);
    let other = GROUP.replace('f', "e");
    let expected = unknown.get(&format!("/v1/groups/{other}/entries")).expect(404);
    assert_eq!(expected["error"], "not_found");
    let unknown = unknown.put(&format!("/v1/groups/{other}/entries/1"), "entry");
    assert_eq!(unknown.expect(404), expected);
    for wrong in [member(&alice, None, None), member(&alice, Some(NEXT_KEY), None)] {
        assert_eq!(read(&wrong, "").expect(404), expected);
        assert_eq!(append(&wrong, 1, "entry").expect(404), expected);
    }
    // Somebody who takes the id again learns nothing about the group.
    let again = append(&member(&alice, None, Some(NEXT_KEY)), 0, "first");
    assert_eq!(again.expect(404), expected);
}

#[test]
fn a_malformed_id_or_revision_is_named() {
    let server = Server::start(&[]);
    let [alice, _] = with_group(&server);
    for malformed in ["xyz", "00", "0001"] {
        let path = format!("/v1/groups/{malformed}/entries");
        assert_eq!(member(&alice, Some(KEY), None).get(&path).status, 422);
    }
    for revision in ["01", "+1", "-1", "x", "4294967296"] {
        assert_eq!(append(&member(&alice, Some(KEY), None), revision, "entry").status, 422);
    }
}

#[test]
fn an_entry_needs_credentials_a_length_and_a_first_access_key() {
    let server = Server::start(&[]);
    let [alice, _] = with_group(&server);
    let stranger = member(&server.client(), Some(KEY), None);
    append(&stranger, 1, "entry").expect(401);
    read(&stranger, "").expect(401);
    let alice = member(&alice, Some(KEY), None);
    let new = format!("/v1/groups/{}/entries/0", GROUP.replace('f', "e"));
    assert_eq!(alice.put(&new, "entry").expect(422)["error"], "invalid");
    assert_eq!(append(&alice, 1, "").expect(422)["error"], "invalid");
    let hashed = hash(NEXT_KEY);
    for incomplete in [
        &[("Group-Next-Access", "AAAA"), ("Group-Next-Admin", &hashed)][..],
        &[("Group-Next-Access", &hashed)],
        &[("Group-Next-Admin", &hashed)],
        &[("Group-Next-Link", &hashed)],
    ] {
        let mut malformed = alice.clone();
        let headers = incomplete.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        malformed.headers.extend(headers);
        append(&malformed, 1, "entry").expect(422);
    }
    let long = "x".repeat(256 << 10);
    assert_eq!(append(&alice, 1, &format!("{long}x")).expect(400)["error"], "too_large");
    append(&alice, 1, &long).expect(200);
    // An answer has at least one entry, and at most 512 KiB of them.
    append(&alice, 2, &long).expect(200);
    append(&alice, 3, &long).expect(200);
    let revisions = |query| {
        let answer = read(&alice, query).expect(200);
        let entries = answer["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["revision"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((revisions(""), revisions("?from=1")), (vec![0, 1], vec![1, 2]));
}

#[test]
fn attack_18_only_the_key_of_administrators_replaces_keys_and_a_link_joins_once() {
    let server = Server::start(&[]);
    let [alice, bob] = with_group(&server);
    for key in [KEY, link(KEY)] {
        let thief = member(&bob, Some(key), Some(NEXT_KEY));
        assert_eq!(append(&thief, 1, "mine").expect(403)["error"], "not_admin");
        assert_eq!(read(&thief, "").expect(200)["revision"], 0);
    }
    let joiner = member(&bob, Some(link(KEY)), None);
    append(&joiner, 1, "join").expect(200);
    append(&joiner, 1, "join").expect(200);
    assert_eq!(append(&joiner, 2, "flood").expect(403)["error"], "already_joined");
    append(&member(&alice, Some(admin(KEY)), Some(NEXT_KEY)), 2, "remove Bob").expect(200);
    for key in [KEY, link(KEY)] {
        read(&member(&bob, Some(key), None), "").expect(404);
        append(&member(&bob, Some(key), None), 3, "back").expect(404);
    }
    read(&member(&bob, Some(link(NEXT_KEY)), None), "").expect(200);
}

#[test]
fn an_entry_replaces_the_keys_and_a_repeated_one_changes_nothing() {
    let server = Server::start(&[]);
    let [alice, bob] = with_group(&server);
    append(&member(&alice, None, Some(KEY)), 0, "first").expect(200);
    let rotation = member(&alice, Some(admin(KEY)), Some(NEXT_KEY));
    for _ in 0..2 {
        append(&rotation, 1, "second").expect(200);
    }
    append(&rotation, 1, "another second").expect(404);
    append(&member(&bob, Some(KEY), None), 2, "third").expect(404);
    read(&member(&bob, Some(KEY), None), "").expect(404);
    append(&member(&bob, Some(NEXT_KEY), None), 2, "third").expect(200);
    let entries = read(&member(&alice, Some(NEXT_KEY), None), "").expect(200);
    assert_eq!(entries["revision"], 2);
}

#[test]
fn an_account_appends_and_creates_a_limited_number_of_entries() {
    let server = Server::start(&[]);
    let [alice, bob] = with_group(&server).map(|client| member(&client, Some(KEY), None));
    let mut limited = None;
    for revision in 1..=200 {
        let answer = append(&alice, revision, "entry");
        if answer.status != 200 {
            limited = Some((revision, answer));
            break;
        }
    }
    let (revision, answer) = limited.unwrap();
    assert_eq!(answer.expect(413)["error"], "rate_limited");
    assert!(answer.head.contains("Retry-After"), "{}", answer.head);
    // About 120 at once, and one in a second.
    assert!((100..=180).contains(&revision), "{revision}");
    append(&bob, revision, "entry").expect(200);
}
