//! Tests every rule and every error message of the reference server, for one client, with a simulated store.

use serde_json::{Value, json};

use super::*;
use crate::mailbox::message::PermissionRequired;

fn now() -> UnixTime {
    UnixTime::from_secs_f64(1_500.25)
}

/// A client that has been greeted.
fn greeted() -> Client {
    let mut client = Client::new(&Welcome::default(), now());
    assert_eq!(frames(&mut client), [json!({"type": "welcome", "welcome": {}})]);
    client
}

/// A client that has also bound.
fn bound() -> Client {
    let mut client = greeted();
    say(&mut client, json!({"type": "bind", "appid": "app", "side": "us"}));
    answer(&mut client, &Answer::Bound);
    frames(&mut client);
    client
}

fn say(client: &mut Client, message: Value) {
    client.handle_frame(now(), message.to_string().as_bytes());
}

/// Everything the client is sent now, without its `server_tx`; requests stay.
fn frames(client: &mut Client) -> Vec<Value> {
    let mut frames = Vec::new();
    while let Some(frame) = client.slots.pop() {
        let mut frame: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(frame.as_object_mut().unwrap().remove("server_tx"), Some(json!(1500.25)));
        frames.push(frame);
    }
    frames
}

/// The next request to the store.
fn request(client: &mut Client) -> (RequestId, Request) {
    client.requests.pop_front().expect("no request")
}

/// Answers what the store is asked next.
fn answer(client: &mut Client, answer: &Answer) -> Request {
    let (id, request) = request(client);
    client.handle_answer(now(), id, answer);
    request
}

/// The answers to one message, without its acknowledgement.
fn reply(client: &mut Client, message: Value) -> Vec<Value> {
    say(client, message.clone());
    let mut frames = frames(client);
    let ack = json!({"type": "ack", "id": message.get("id")});
    assert_eq!(frames.remove(0), ack, "{message}");
    frames
}

/// Asserts that the message is acknowledged and refused with these words.
#[track_caller]
fn refused(client: &mut Client, message: Value, words: &str) {
    let error = json!({"type": "error", "error": words, "orig": message});
    assert_eq!(reply(client, message), [error]);
    assert!(client.requests.is_empty());
}

fn message(side: &str, phase: &str) -> Arc<StoredMessage> {
    let new = NewMessage::new(phase.into(), "00ff".into(), "\"ab\"".into());
    Arc::new(StoredMessage::new(side.into(), new, UnixTime::from_secs(0)))
}

fn shown(side: &str, phase: &str) -> Value {
    json!({"type": "message", "side": side, "phase": phase, "body": "00ff", "id": "ab",
        "server_rx": 0.0})
}

#[test]
fn a_ping_is_answered_before_bind_and_with_any_json() {
    let mut client = greeted();
    let pong = reply(&mut client, json!({"type": "ping", "ping": {"a": [1.5, null]}, "id": 7}));
    assert_eq!(pong, [json!({"type": "pong", "pong": {"a": [1.5, null]}})]);
    refused(&mut client, json!({"type": "ping"}), "ping requires 'ping'");
}

#[test]
fn everything_else_has_to_wait_for_bind() {
    let mut client = greeted();
    for kind in [
        "list",
        "allocate",
        "claim",
        "release",
        "open",
        "add",
        "close",
        "nonsense",
        "",
        "submit-permissions",
    ] {
        refused(&mut client, json!({"type": kind}), "must bind first");
    }
    refused(&mut client, json!({"type": 7}), "must bind first");
    refused(&mut client, json!({"type": null}), "must bind first");
}

#[test]
fn bind_needs_an_application_and_a_side_and_comes_once() {
    let mut client = greeted();
    refused(&mut client, json!({"type": "bind"}), "bind requires 'appid'");
    refused(&mut client, json!({"type": "bind", "appid": "a"}), "bind requires 'side'");
    say(&mut client, json!({"type": "bind", "appid": "a", "side": "s"}));
    assert_eq!(answer(&mut client, &Answer::Bound), Request::Bind(None, None));
    assert_eq!(frames(&mut client), [json!({"type": "ack", "id": null})]);
    assert_eq!(**client.identity().unwrap(), Identity::new("a".into(), "s".into()));
    refused(&mut client, json!({"type": "bind", "appid": "a", "side": "s"}), "already bound");
}

#[test]
fn any_client_version_is_understood_as_far_as_it_goes() {
    let cases = [
        (json!(["rust", "0.8"]), Request::Bind(Some("rust".into()), Some("0.8".into()))),
        (json!(["rust"]), Request::Bind(Some("rust".into()), None)),
        (json!([7, "0.8", 9]), Request::Bind(None, Some("0.8".into()))),
        (json!({"a": 1}), Request::Bind(None, None)),
        (json!("rust"), Request::Bind(None, None)),
        (json!(null), Request::Bind(None, None)),
    ];
    for (version, expected) in cases {
        let mut client = greeted();
        let bind = json!({"type": "bind", "appid": "a", "side": "s", "client_version": version});
        say(&mut client, bind);
        assert_eq!(request(&mut client).1, expected);
    }
}

#[test]
fn an_unknown_type_is_refused_after_bind() {
    let mut client = bound();
    refused(&mut client, json!({"type": "nonsense", "id": "x"}), "unknown type");
    refused(&mut client, json!({"type": ["list"]}), "unknown type");
}

#[test]
fn a_message_without_a_type_is_refused_without_acknowledgement() {
    let mut client = bound();
    say(&mut client, json!({"id": "x"}));
    let error = json!({"type": "error", "error": "missing 'type'", "orig": {"id": "x"}});
    assert_eq!(frames(&mut client), [error]);
}

#[test]
fn frames_that_are_no_json_objects_are_refused_and_the_link_lives_on() {
    let mut client = bound();
    let cases: [(&[u8], &str, Value); 9] = [
        (b"", "frame is not valid JSON", json!(null)),
        (b"{", "frame is not valid JSON", json!(null)),
        (b"{\"type\": \"list\"} x", "frame is not valid JSON", json!(null)),
        (b"{\"type\": NaN}", "frame is not valid JSON", json!(null)),
        (b"\xff\xfe", "frame is not valid JSON", json!(null)),
        (b"{\"type\": \"\xff\"}", "frame is not valid JSON", json!(null)),
        (b"[\"type\"]", "frame is not a JSON object", json!(["type"])),
        (b"\"type\"", "frame is not a JSON object", json!("type")),
        (b" 17 ", "frame is not a JSON object", json!(17)),
    ];
    for (frame, words, orig) in cases {
        client.handle_frame(now(), frame);
        let error = json!({"type": "error", "error": words, "orig": orig});
        assert_eq!(frames(&mut client), [error]);
    }
    client.handle_oversized(now(), 1000);
    let words = "frame is longer than 1000 bytes";
    assert_eq!(frames(&mut client), [json!({"type": "error", "error": words, "orig": null})]);
    assert_eq!(reply(&mut client, json!({"type": "ping", "ping": 1})).len(), 1);
}

#[test]
fn a_frame_nested_a_million_deep_is_only_another_bad_frame() {
    let mut client = bound();
    client.handle_frame(now(), "[".repeat(1_000_000).as_bytes());
    assert_eq!(frames(&mut client)[0]["error"], "frame is not valid JSON");
    let deep = format!("{{\"type\":\"ping\",\"ping\":{}{}}}", "[".repeat(9999), "]".repeat(9999));
    client.handle_frame(now(), deep.as_bytes());
    assert!(client.slots.pop().unwrap().contains("\"ack\""));
    assert!(client.slots.pop().unwrap().contains("\"pong\":null"));
    let deep = format!("{{\"type\":\"ping\",\"ping\":{}{}}}", "[".repeat(500), "]".repeat(500));
    client.handle_frame(now(), deep.as_bytes());
    client.slots.pop();
    assert!(client.slots.pop().unwrap().contains("[[[[["));
}

#[test]
fn what_is_sent_back_is_exactly_what_came() {
    let mut client = greeted();
    let frame = r#"{"type":"x", "id": 123456789012345678901234567890, "z": 1e400, "z": "\u00e9"}"#;
    client.handle_frame(now(), frame.as_bytes());
    assert!(client.slots.pop().unwrap().contains(r#""id":123456789012345678901234567890,"#));
    assert!(client.slots.pop().unwrap().contains(&format!(r#""orig":{frame},"#)));
}

#[test]
fn long_values_come_back_shortened() {
    let long = "é\n".repeat(1_000_000);
    let cut = &long.chars().take(64).collect::<String>();
    let mut client = greeted();
    say(&mut client, json!({"type": "ping", "ping": long, "id": long}));
    let pong = json!({"type": "pong", "pong": cut});
    assert_eq!(frames(&mut client), [json!({"type": "ack", "id": cut}), pong]);
    // Bytes that are not text cannot be cut.
    let list = vec![0; 1000];
    say(&mut client, json!({"type": "ping", "ping": list, "id": {"a": list}}));
    let pong = json!({"type": "pong", "pong": null});
    assert_eq!(frames(&mut client), [json!({"type": "ack", "id": null}), pong]);
    // A long refused message keeps the keys that clients need to read it.
    let add = json!({"type": "add", "phase": "0", "body": "ab".repeat(1000), "id": 7, "x": long});
    say(&mut client, add);
    let orig = json!({"type": "add", "phase": "0", "body": "ab".repeat(32), "id": 7});
    let error = json!({"type": "error", "error": "must bind first", "orig": orig});
    assert_eq!(frames(&mut client), [json!({"type": "ack", "id": 7}), error]);
    for other in [json!(long), json!([long])] {
        client.handle_frame(now(), other.to_string().as_bytes());
        let orig = other.is_string().then_some(cut);
        let error = "frame is not a JSON object";
        assert_eq!(frames(&mut client), [json!({"type": "error", "error": error, "orig": orig})]);
    }
}

#[test]
fn a_message_that_waits_for_the_store_does_not_wait_here_as_well() {
    let mut client = opened();
    let body = "ab".repeat(1 << 20);
    say(&mut client, json!({"type": "add", "phase": "0", "body": body, "id": body}));
    let (id, request) = request(&mut client);
    assert!(client.held_bytes() < 2000 && request.bytes() < body.len() + 1000);
    client.handle_answer(now(), id, &Answer::Refused(Refusal::MailboxFull));
    let frames = frames(&mut client);
    assert_eq!(frames[1]["orig"]["body"], "ab".repeat(32));
}

#[test]
fn a_list_of_any_length_is_no_client_version() {
    let mut client = greeted();
    let version = vec![0; 1_000_000];
    say(&mut client, json!({"type": "bind", "appid": "a", "side": "s", "client_version": version}));
    assert_eq!(request(&mut client).1, Request::Bind(None, None));
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let mut client = bound();
    client.handle_frame(now(), br#"{"type":"nonsense","typ\u0065":"list"}"#);
    assert_eq!(request(&mut client).1, Request::List);
}

#[test]
fn values_of_the_wrong_type_are_named() {
    let cases = [
        (json!({"type": "claim", "nameplate": 4}), "'nameplate' must be a string"),
        (json!({"type": "claim", "nameplate": null}), "'nameplate' must be a string"),
        (json!({"type": "release", "nameplate": ["4"]}), "'nameplate' must be a string"),
        (json!({"type": "open", "mailbox": {}}), "'mailbox' must be a string"),
        (json!({"type": "close", "mailbox": 1}), "'mailbox' must be a string"),
        (json!({"type": "close", "mailbox": "m", "mood": {}}), "'mood' must be a string"),
    ];
    for (message, words) in cases {
        refused(&mut bound(), message, words);
    }
    let mut client = greeted();
    let bind = json!({"type": "bind", "appid": 1, "side": "s"});
    refused(&mut client, bind, "'appid' must be a string");
    let bind = json!({"type": "bind", "appid": "a", "side": []});
    refused(&mut client, bind, "'side' must be a string");
    let mut client = opened();
    let add = json!({"type": "add", "phase": 0, "body": ""});
    refused(&mut client, add, "'phase' must be a string");
    let add = json!({"type": "add", "phase": "0", "body": {"a": 1}});
    refused(&mut client, add, "'body' must be a string");
}

#[test]
fn names_beyond_any_use_are_refused() {
    let long = "x".repeat(MAX_NAME + 1);
    let open = json!({"type": "open", "mailbox": long});
    refused(&mut bound(), open, "'mailbox' is longer than 512 bytes");
    let bind = json!({"type": "bind", "appid": long, "side": "s"});
    refused(&mut greeted(), bind, "'appid' is longer than 512 bytes");
}

#[test]
fn nameplates_are_one_to_forty_ascii_digits() {
    for good in ["0", "4", "007", &"1".repeat(40)] {
        let mut client = bound();
        say(&mut client, json!({"type": "claim", "nameplate": good}));
        assert_eq!(request(&mut client).1, Request::Claim(good.into()));
    }
    for bad in ["", "4\n", " 4", "+4", "-4", "4a", "\u{664}", "\u{ff14}", &"1".repeat(41)] {
        let mut client = bound();
        let words = "nameplate must be 1 to 40 digits";
        refused(&mut client, json!({"type": "claim", "nameplate": bad}), words);
        // It does not count as the link's one claim.
        say(&mut client, json!({"type": "claim", "nameplate": "4"}));
        assert_eq!(request(&mut client).1, Request::Claim("4".into()));
    }
}

#[test]
fn list_names_the_nameplates() {
    let mut client = bound();
    say(&mut client, json!({"type": "list"}));
    answer(&mut client, &Answer::Nameplates(vec!["1".into(), "12".into()]));
    let list = json!({"type": "nameplates", "nameplates": [{"id": "1"}, {"id": "12"}]});
    assert_eq!(frames(&mut client)[1], list);
}

#[test]
fn allocate_works_once_unless_it_found_nothing() {
    let mut client = bound();
    say(&mut client, json!({"type": "allocate"}));
    let orig = json!({"type": "allocate"});
    answer(&mut client, &Answer::Refused(Refusal::NoFreeNameplate));
    let error = "unable to find a free nameplate-id";
    let error = json!({"type": "error", "error": error, "orig": orig});
    assert_eq!(frames(&mut client)[1], error);
    say(&mut client, json!({"type": "allocate"}));
    answer(&mut client, &Answer::Allocated("4".into()));
    assert_eq!(frames(&mut client)[1], json!({"type": "allocated", "nameplate": "4"}));
    let words = "you already allocated one, don't be greedy";
    refused(&mut client, json!({"type": "allocate"}), words);
}

#[test]
fn claim_works_once_and_a_refused_one_counts() {
    let mut client = bound();
    refused(&mut client, json!({"type": "claim"}), "claim requires 'nameplate'");
    let claim = json!({"type": "claim", "nameplate": "4", "id": "c"});
    say(&mut client, claim.clone());
    answer(&mut client, &Answer::Refused(Refusal::Crowded));
    let error = json!({"type": "error", "error": "crowded", "orig": claim});
    assert_eq!(frames(&mut client), [json!({"type": "ack", "id": "c"}), error]);
    refused(&mut client, claim, "only one claim per connection");
}

#[test]
fn claimed_names_the_mailbox_and_reclaimed_is_refused() {
    let mut client = bound();
    say(&mut client, json!({"type": "claim", "nameplate": "4"}));
    answer(&mut client, &Answer::Claimed("m".into()));
    assert_eq!(frames(&mut client)[1], json!({"type": "claimed", "mailbox": "m"}));
    let mut client = bound();
    say(&mut client, json!({"type": "claim", "nameplate": "4"}));
    answer(&mut client, &Answer::Refused(Refusal::Reclaimed));
    assert_eq!(frames(&mut client)[1]["error"], "reclaimed");
}

#[test]
fn release_goes_by_the_claim_or_names_its_nameplate() {
    let mut client = bound();
    let words = "release without nameplate must follow claim";
    refused(&mut client, json!({"type": "release"}), words);
    say(&mut client, json!({"type": "claim", "nameplate": "4"}));
    answer(&mut client, &Answer::Claimed("m".into()));
    frames(&mut client);
    let words = "release and claim must use same nameplate";
    refused(&mut client, json!({"type": "release", "nameplate": "5"}), words);
    say(&mut client, json!({"type": "release"}));
    assert_eq!(answer(&mut client, &Answer::Released), Request::Release("4".into()));
    assert_eq!(frames(&mut client)[1], json!({"type": "released"}));
    refused(&mut client, json!({"type": "release"}), "only one release per connection");
    let mut client = bound();
    say(&mut client, json!({"type": "release", "nameplate": "not claimed here"}));
    assert_eq!(request(&mut client).1, Request::Release("not claimed here".into()));
}

/// A client that has the mailbox `m` open.
fn opened() -> Client {
    let mut client = bound();
    say(&mut client, json!({"type": "open", "mailbox": "m"}));
    assert_eq!(answer(&mut client, &Answer::Opened(Vec::new())), Request::Open("m".into()));
    assert_eq!(frames(&mut client).len(), 1);
    client
}

#[test]
fn open_shows_what_is_there_and_what_comes() {
    let mut client = bound();
    refused(&mut client, json!({"type": "open"}), "open requires 'mailbox'");
    say(&mut client, json!({"type": "open", "mailbox": "m"}));
    let old = vec![message("us", "pake"), message("them", "pake")];
    answer(&mut client, &Answer::Opened(old));
    client.handle_message(now(), message("them", "version"));
    let expected = [shown("us", "pake"), shown("them", "pake"), shown("them", "version")];
    assert_eq!(frames(&mut client)[1..], expected);
    let again = json!({"type": "open", "mailbox": "m"});
    refused(&mut client, again, "only one open per connection");
}

#[test]
fn a_refused_open_leaves_the_link_without_a_mailbox() {
    let mut client = bound();
    let add = json!({"type": "add", "phase": "0", "body": ""});
    refused(&mut client, add.clone(), "must open mailbox before adding");
    say(&mut client, json!({"type": "open", "mailbox": "m"}));
    answer(&mut client, &Answer::Refused(Refusal::Crowded));
    assert_eq!(frames(&mut client)[1]["error"], "crowded");
    refused(&mut client, add, "must open mailbox before adding");
    say(&mut client, json!({"type": "open", "mailbox": "m"}));
    assert_eq!(request(&mut client).1, Request::Open("m".into()));
}

#[test]
fn an_add_that_followed_a_refused_open_at_once_is_refused_too() {
    let mut client = bound();
    say(&mut client, json!({"type": "open", "mailbox": "m"}));
    say(&mut client, json!({"type": "add", "phase": "0", "body": ""}));
    answer(&mut client, &Answer::Refused(Refusal::Crowded));
    answer(&mut client, &Answer::Refused(Refusal::NotOpen));
    let frames = frames(&mut client);
    assert_eq!(frames[1]["error"], "crowded");
    assert_eq!(frames[3]["error"], "must open mailbox before adding");
}

#[test]
fn add_needs_a_phase_and_a_body_and_is_echoed() {
    let mut client = opened();
    refused(&mut client, json!({"type": "add", "body": ""}), "missing 'phase'");
    refused(&mut client, json!({"type": "add", "phase": "0"}), "missing 'body'");
    say(&mut client, json!({"type": "add", "phase": "0", "body": "00ff", "id": "ab"}));
    let (id, asked) = request(&mut client);
    let new = NewMessage::new("0".into(), "00ff".into(), "\"ab\"".into());
    assert_eq!(asked, Request::Add { mailbox: "m".into(), message: new });
    assert_eq!(frames(&mut client), Vec::<Value>::new(), "acknowledged before it is stored");
    client.handle_answer(now(), id, &Answer::Added(message("us", "0")));
    assert_eq!(frames(&mut client), [json!({"type": "ack", "id": "ab"}), shown("us", "0")]);
}

#[test]
fn nothing_is_acknowledged_before_the_store_has_it() {
    let mut client = opened();
    for kind in ["allocate", "release", "close"] {
        say(&mut client, json!({"type": kind, "nameplate": "4"}));
    }
    client.handle_message(now(), message("them", "0"));
    assert_eq!(frames(&mut client), [shown("them", "0")]);
    answer(&mut client, &Answer::Refused(Refusal::Unavailable));
    let kinds: Vec<Value> = frames(&mut client).iter().map(|frame| frame["type"].clone()).collect();
    assert_eq!(kinds, ["ack", "error"]);
}

#[test]
fn a_replay_is_held_as_it_is_stored_and_shared() {
    let mut client = bound();
    let new = NewMessage::new("0".into(), "\u{1}".repeat(1000), "null".into());
    let stored = StoredMessage::new("us".into(), new, UnixTime::from_secs(0));
    let stored = Arc::new(stored);
    say(&mut client, json!({"type": "open", "mailbox": "m"}));
    answer(&mut client, &Answer::Opened(vec![Arc::clone(&stored); 100]));
    assert_eq!(Arc::strong_count(&stored), 101);
    // As a frame, each of the thousand characters takes six bytes.
    assert!(client.slots.held_bytes() < 200_000);
    assert_eq!(frames(&mut client).len(), 101);
    assert_eq!(client.slots.held_bytes(), 0);
}

#[test]
fn close_goes_by_the_open_or_names_its_mailbox() {
    let mut client = bound();
    let words = "close without mailbox must follow open";
    refused(&mut client, json!({"type": "close"}), words);
    let mut client = opened();
    let words = "open and close must use same mailbox";
    refused(&mut client, json!({"type": "close", "mailbox": "other"}), words);
    say(&mut client, json!({"type": "close", "mood": "happy"}));
    let expected = Request::Close { mailbox: "m".into(), mood: Some("happy".into()) };
    assert_eq!(answer(&mut client, &Answer::Closed), expected);
    assert_eq!(frames(&mut client)[1], json!({"type": "closed"}));
    refused(&mut client, json!({"type": "close"}), "only one close per connection");
    let add = json!({"type": "add", "phase": "0", "body": ""});
    refused(&mut client, add, "must open mailbox before adding");
}

#[test]
fn a_mailbox_that_was_never_opened_can_be_closed_and_a_mood_may_be_null() {
    let mut client = bound();
    say(&mut client, json!({"type": "close", "mailbox": "m", "mood": null}));
    assert_eq!(request(&mut client).1, Request::Close { mailbox: "m".into(), mood: None });
}

#[test]
fn open_is_allowed_again_after_close() {
    let mut client = opened();
    say(&mut client, json!({"type": "close"}));
    answer(&mut client, &Answer::Closed);
    say(&mut client, json!({"type": "open", "mailbox": "m"}));
    assert_eq!(request(&mut client).1, Request::Open("m".into()));
}

#[test]
fn a_refused_close_may_be_tried_again() {
    let mut client = bound();
    say(&mut client, json!({"type": "close", "mailbox": "m"}));
    answer(&mut client, &Answer::Refused(Refusal::Crowded));
    say(&mut client, json!({"type": "close", "mailbox": "m"}));
    assert_eq!(request(&mut client).1, Request::Close { mailbox: "m".into(), mood: None });
}

#[test]
fn frames_keep_the_order_of_the_messages_whenever_their_answers_come() {
    let mut client = bound();
    say(&mut client, json!({"type": "claim", "nameplate": "4", "id": 1}));
    say(&mut client, json!({"type": "ping", "ping": 2, "id": 2}));
    say(&mut client, json!({"type": "allocate", "id": 3}));
    let (claim, allocate) = (request(&mut client).0, request(&mut client).0);
    client.handle_answer(now(), allocate, &Answer::Refused(Refusal::TooManyClaims));
    assert_eq!(frames(&mut client), Vec::<Value>::new());
    client.handle_answer(now(), claim, &Answer::Claimed("m".into()));
    let kinds: Vec<Value> = frames(&mut client).iter().map(|frame| frame["type"].clone()).collect();
    assert_eq!(kinds, ["ack", "claimed", "ack", "pong", "ack", "error"]);
}

#[test]
fn a_message_comes_before_the_answers_that_the_store_gives_after_it() {
    let mut client = opened();
    say(&mut client, json!({"type": "close"}));
    client.handle_message(now(), message("them", "9"));
    answer(&mut client, &Answer::Closed);
    let frames = frames(&mut client);
    let ack = json!({"type": "ack", "id": null});
    assert_eq!(frames, [shown("them", "9"), ack, json!({"type": "closed"})]);
}

#[test]
fn input_pauses_while_too_many_requests_are_unanswered() {
    let mut client = bound();
    for _ in 0..MAX_UNANSWERED {
        assert!(client.wants_input());
        say(&mut client, json!({"type": "list"}));
    }
    assert!(!client.wants_input());
    answer(&mut client, &Answer::Nameplates(Vec::new()));
    assert!(client.wants_input());
    let mut client = opened();
    say(&mut client, json!({"type": "add", "phase": "0", "body": "x".repeat(MAX_HELD)}));
    assert!(!client.wants_input());
    answer(&mut client, &Answer::Added(message("us", "0")));
    assert!(client.wants_input());
}

/// A client of a server that demands work.
fn demanded(optional: bool) -> Client {
    let hashcash = Some(HashcashDemand::new(4, "here".into()));
    let ways = PermissionRequired { hashcash, none: optional.then(Default::default) };
    let welcome = Welcome { permission_required: Some(ways), ..Welcome::default() };
    let mut client = Client::new(&welcome, now());
    let demand = &frames(&mut client)[0]["welcome"]["permission-required"]["hashcash"];
    assert_eq!(*demand, json!({"bits": 4, "resource": "here"}));
    client
}

fn stamp(resource: &str) -> String {
    use rand_core::SeedableRng;
    let demand = HashcashDemand::new(4, resource.into());
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut mint = hashcash::Mint::start(&demand, now(), &mut rng).unwrap();
    mint.step(u32::MAX).unwrap()
}

#[test]
fn bind_is_denied_without_the_demanded_work_and_ends_the_link() {
    let mut client = demanded(false);
    let bind = json!({"type": "bind", "appid": "a", "side": "s"});
    refused(&mut client, bind.clone(), "permission denied");
    assert!(client.should_close() && !client.wants_input());
    say(&mut client, bind);
    assert_eq!(frames(&mut client), Vec::<Value>::new());
}

#[test]
fn bind_is_allowed_once_the_work_is_shown() {
    let mut client = demanded(false);
    let submit = |method: &str, stamp: &str| json!({"type": "submit-permissions", "method": method, "stamp": stamp});
    for bad in [
        submit("hashcash", &stamp("elsewhere")),
        submit("hashcash", "1:4:nonsense"),
        submit("none", &stamp("here")),
        json!({"type": "submit-permissions", "method": "hashcash"}),
        json!({"type": "submit-permissions"}),
    ] {
        refused(&mut client, bad, "permission denied");
    }
    assert!(reply(&mut client, submit("hashcash", &stamp("here"))).is_empty());
    say(&mut client, json!({"type": "bind", "appid": "a", "side": "s"}));
    assert_eq!(request(&mut client).1, Request::Bind(None, None));
}

#[test]
fn work_is_also_taken_under_the_name_that_wormhole_rs_gives_it() {
    let mut client = demanded(false);
    let stamp = stamp("here");
    let submit = json!({"type": "submit-permission", "method": "hashcash", "stamp": stamp});
    assert!(reply(&mut client, submit).is_empty());
    say(&mut client, json!({"type": "bind", "appid": "a", "side": "s"}));
    assert_eq!(request(&mut client).1, Request::Bind(None, None));
}

#[test]
fn work_that_is_only_offered_need_not_be_done() {
    let mut client = demanded(true);
    say(&mut client, json!({"type": "bind", "appid": "a", "side": "s"}));
    assert_eq!(request(&mut client).1, Request::Bind(None, None));
}
