//! Registration, credentials, apps and attributes.

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;

const ALICE: &str = "+14155550101";
const ATTRIBUTES: &str = r#"{"registrationId":1,"fetchesMessages":true}"#;

#[test]
fn a_number_is_registered_with_its_code_and_known_by_its_credentials() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let account = alice.get("/v1/accounts/whoami").expect(200);
    assert_eq!((&account["uuid"], &account["number"]), (&json!(alice.uuid), &json!(ALICE)));
    assert_eq!(account["app"], "com.example.one");
    let mut by_id = server.client();
    by_id.log_in(&format!("{}.1", alice.uuid), &alice.password, None);
    assert_eq!(by_id.get("/v1/accounts/me").expect(200)["number"], ALICE);
    for (user, password) in
        [(ALICE, "wrong"), ("+14155550199", "any"), ("+14155550101.2", &alice.password)]
    {
        let mut other = server.client();
        other.log_in(user, password, None);
        assert_eq!(other.get("/v1/accounts/whoami").expect(401)["error"], "bad_credentials");
    }
}

#[test]
fn what_can_never_be_right_uses_up_no_attempt() {
    let server = Server::start(&[]);
    let mut alice = server.client();
    alice.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    alice.log_in(ALICE, "password", None);
    for text in ["x", "12345", "1234567", "12345x"] {
        alice.put(&format!("/v1/accounts/code/{text}"), ATTRIBUTES).expect(403);
    }
    let path = format!("/v1/accounts/code/{}", server.code(ALICE));
    for attributes in [r#"{"registrationId":-1}"#, r#"{"signalingKey":"AAAA"}"#] {
        let status = alice.put(&path, attributes).status;
        assert!([415, 422].contains(&status), "{attributes}: {status}");
    }
    alice.put(&path, ATTRIBUTES).expect(200);
}

#[test]
fn a_code_is_used_once_and_five_wrong_ones_use_it_up() {
    let server = Server::start(&[]);
    let mut alice = server.client();
    alice.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    let code = server.code(ALICE);
    alice.log_in(ALICE, "password", None);
    // As it is displayed.
    alice.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(200);
    let again = alice.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(403);
    assert_eq!(again["error"], "bad_code");
    // More attempts than the rate allows are not even compared.
    assert_eq!(
        alice.put("/v1/accounts/code/100000", ATTRIBUTES).expect(413)["error"],
        "rate_limited"
    );
}

#[test]
fn sms_and_voice_codes_are_limited_and_other_transports_refused() {
    let server = Server::start(&[]);
    let client = server.client();
    let ask = |transport: &str, number: &str| {
        client.get(&format!("/v1/accounts/{transport}/code/{number}"))
    };
    ask("sms", ALICE).expect(200);
    ask("sms", ALICE).expect(200);
    let limited = ask("sms", ALICE);
    limited.expect(413);
    assert!(limited.head.contains("Retry-After: 30"), "{}", limited.head);
    ask("voice", ALICE).expect(200);
    assert_eq!(ask("fax", ALICE).expect(415)["error"], "bad_transport");
    for bad in ["14155550101", "+1415", "+1415555010x", "%2B", "+14155550101%0A"] {
        assert_eq!(ask("sms", bad).expect(400)["error"], "bad_number", "{bad}");
    }
}

#[test]
fn a_second_registration_replaces_the_devices_but_not_the_account() {
    let server = Server::start(&[]);
    let first = Client::register(&server, ALICE, None);
    let mut second = server.client();
    second.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    let code = server.code(ALICE);
    second.log_in(ALICE, "new password", None);
    let account = second.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(200);
    assert_eq!(account["uuid"], first.uuid.as_str());
    first.get("/v1/accounts/whoami").expect(401);
    second.get("/v1/accounts/whoami").expect(200);
}

#[test]
fn a_registered_number_may_be_refused() {
    let server = Server::start(&["--reject-registered"]);
    Client::register(&server, ALICE, None);
    let mut second = server.client();
    second.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    let code = server.code(ALICE);
    second.log_in(ALICE, "new password", None);
    let refused = second.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(417);
    assert_eq!(refused["error"], "registered");
}

#[test]
fn one_number_in_two_apps_is_two_accounts() {
    let server = Server::start(&[]);
    let token = server.add_app("com.example.two");
    let one = Client::register(&server, ALICE, None);
    let two = Client::register(&server, ALICE, Some(("com.example.two", &token)));
    assert_ne!(one.uuid, two.uuid);
    assert_eq!(two.get("/v1/accounts/whoami").expect(200)["app"], "com.example.two");
    let wrong_token = "0".repeat(64);
    let cases: [(&str, &str); 4] = [
        ("com.example.two", &wrong_token),
        ("com.example.one", &token),
        ("com.example.three", &token),
        ("com example", &token),
    ];
    for app in cases {
        let mut client = server.client();
        client.log_in(ALICE, &two.password, Some(app));
        assert_eq!(client.get("/v1/accounts/whoami").status, 401, "{app:?}");
    }
    // The Platform API has other names for the same headers.
    let mut client = two;
    client.headers[1].0 = "X-App-ID".into();
    client.headers[2].0 = "X-App-Token".into();
    client.get("/v1/accounts/whoami").expect(200);
}

#[test]
fn an_account_outside_of_the_default_app_needs_the_headers_of_its_app() {
    let server = Server::start(&[]);
    let token = server.add_app("com.example.two");
    let with = Client::register(&server, ALICE, Some(("com.example.two", &token)));
    let mut without = with.clone();
    without.headers.truncate(1);
    assert_eq!(without.get("/v1/accounts/whoami").expect(401)["error"], "bad_package");
    with.get("/v1/accounts/whoami").expect(200);
    // Clients of 2014 request attachments without naming an app.
    without.get("/v1/attachments/").expect(200);
    // The same number and password in the default app is another account.
    let one = Client::register(&server, ALICE, None);
    assert_eq!(without.get("/v1/accounts/whoami").expect(200)["uuid"], one.uuid.as_str());
    server.app(&["revoke", "com.example.two"]);
    with.get("/v1/attachments/").expect(401);
}

#[test]
fn wrong_passwords_are_limited_for_each_name() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut guesser = server.client();
    guesser.log_in(ALICE, "wrong", None);
    let statuses: Vec<u16> = (0..30).map(|_| guesser.get("/v1/accounts/whoami").status).collect();
    assert!(statuses[..20].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.contains(&413), "{statuses:?}");
    // Another name has a limit of its own.
    guesser.log_in(&alice.uuid, "wrong", None);
    guesser.get("/v1/accounts/whoami").expect(401);
    while guesser.get("/v1/accounts/whoami").status == 401 {}
    // The device was registered with its password, so it is not locked out, whichever name it uses.
    let mut by_id = server.client();
    by_id.log_in(&alice.uuid, &alice.password, None);
    by_id.get("/v1/accounts/whoami").expect(200);
    alice.get("/v1/accounts/whoami").expect(200);
}

#[test]
fn strangers_who_ask_for_codes_do_not_keep_the_owner_from_registering() {
    let server = Server::start(&["--trust-proxy", "x-real-ip"]);
    let at = |mut client: Client, network: &str| {
        client.headers.push(("X-Real-IP".into(), network.into()));
        client
    };
    let ask = |network: &str| {
        let client = at(server.client(), network);
        client.get(&format!("/v1/accounts/sms/code/{ALICE}")).status
    };
    for stranger in 1..=11 {
        let network = format!("198.51.100.{stranger}");
        assert_eq!([ask(&network), ask(&network)], [200, 200], "{network}");
    }
    // They have used up the codes, but the owner has the last one, and asks for it.
    assert_eq!(ask("192.0.2.1"), 200);
    let mut owner = server.client();
    owner.log_in(ALICE, "password-of-the-owner", None);
    let owner = at(owner, "192.0.2.1");
    let code = server.code(ALICE);
    let wrong = if code == "123-456" { "123-457" } else { "123-456" };
    owner.put(&format!("/v1/accounts/code/{wrong}"), ATTRIBUTES).expect(403);
    owner.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(200);
    // A used code is replaced at once.
    assert_eq!(ask("203.0.113.1"), 200);
    while server.code(ALICE) == code {}
}

#[test]
fn invented_names_are_limited_for_their_network_and_lock_out_no_neighbour() {
    let server = Server::start(&["--limit-loopback"]);
    let alice = Client::register(&server, ALICE, None);
    let bob = Client::register(&server, "+14155550102", None);
    let invent = |number: usize| {
        let mut client = server.client();
        client.log_in(&format!("+1415556{number:04}"), "any", None);
        client.get("/v1/accounts/whoami").status
    };
    let wrong = (0..9999).map(invent).take_while(|status| *status == 401).count();
    assert!((1000..5000).contains(&wrong), "{wrong}");
    // Devices that were registered here are not affected, although they have never logged in.
    for device in [alice, bob] {
        device.get("/v1/accounts/whoami").expect(200);
    }
}

#[test]
fn attributes_that_are_not_sent_stay() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    alice.put("/v1/accounts/name", r#"{"deviceName":"phone"}"#).expect(200);
    alice.put("/v1/accounts/attributes", r#"{"voice":true}"#).expect(200);
    let devices = alice.get("/v1/devices").expect(200);
    assert_eq!(devices["devices"][0]["name"], "phone");
    let day: u64 = 24 * 60 * 60 * 1000;
    let seen = devices["devices"][0]["lastSeen"].as_u64().unwrap();
    assert!(seen > 0 && seen.is_multiple_of(day), "{seen}");
}

#[test]
fn the_directory_shows_apps_only_if_the_owner_wants_it() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, "+14155550102", None));
    let token = data_encoding::BASE64_NOPAD.encode(&wormhole_chat::directory_token("+14155550102"));
    // However often a token is sent, it is answered once.
    let ask = || {
        let body = json!({"contacts": [token, token, token]}).to_string();
        alice.put("/v1/directory/tokens", &body).expect(200)["contacts"].clone()
    };
    let attributes = |json: &str| bob.put("/v1/accounts/attributes", json).expect(200);
    assert_eq!(ask(), json!([{"token": token, "apps": []}]));
    attributes(r#"{"showAppInDirectory":true}"#);
    assert_eq!(ask(), json!([{"token": token, "apps": ["com.example.one"]}]));
    attributes(r#"{"discoverableByPhoneNumber":false}"#);
    assert_eq!(ask(), json!([]));
    // A second registration does not undo it.
    Client::register(&server, "+14155550102", None);
    assert_eq!(ask(), json!([]));
    let many = json!({"contacts": vec![&token; 50_001]}).to_string();
    assert_eq!(alice.put("/v1/directory/tokens", &many).expect(400)["error"], "too_large");
}

#[test]
fn an_app_has_two_tokens_at_most_and_a_revoked_one_is_refused() {
    let server = Server::start(&[]);
    let first = server.add_app("com.example.two");
    let second = server.app(&["rotate", "com.example.two"]);
    let second = second.trim().split_once(' ').unwrap().1.to_owned();
    let alice = Client::register(&server, ALICE, Some(("com.example.two", &first)));
    let status = |token: &str| {
        let mut client = alice.clone();
        client.log_in(ALICE, &alice.password, Some(("com.example.two", token)));
        client.get("/v1/accounts/whoami").status
    };
    assert_eq!((status(&first), status(&second)), (200, 200));
    let third = server.app(&["rotate", "com.example.two"]);
    let third = third.trim().split_once(' ').unwrap().1.to_owned();
    assert_eq!((status(&first), status(&second), status(&third)), (401, 200, 200));
    server.app(&["revoke", "com.example.two", &third]);
    assert_eq!((status(&second), status(&third)), (200, 401));
    server.app(&["revoke", "com.example.two"]);
    assert_eq!(status(&second), 401);
    assert_eq!(server.app(&["list"]), "com.example.one all 1\ncom.example.two all 0\n");
}

#[test]
fn without_a_default_app_clients_must_name_theirs() {
    let server = Server::start_without_default_app();
    let token = server.add_app("com.example.two");
    let mut client = server.client();
    let request = format!("/v1/accounts/sms/code/{ALICE}");
    // No code is sent, and no attempt is used up, for a client that could not use it.
    for app in [None, Some(("com.example.two", "wrong")), Some(("com.example.three", &*token))] {
        client.log_in(ALICE, "password", app);
        for _ in 0..5 {
            assert_eq!(client.get(&request).expect(401)["error"], "bad_package");
        }
    }
    client.log_in(ALICE, "password", Some(("com.example.two", &token)));
    client.get(&request).expect(200);
    let code = server.code(ALICE);
    client.log_in(ALICE, "password", None);
    let refused = client.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(401);
    assert_eq!(refused["error"], "bad_package");
    client.log_in(ALICE, "password", Some(("com.example.two", &token)));
    client.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(200);
}

#[test]
fn wrong_attributes_and_bodies_are_told_apart() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let put = |body: &str| alice.put("/v1/accounts/attributes", body).status;
    assert_eq!(put(ATTRIBUTES), 200);
    for malformed in
        ["", "{", "[]", r#"{"registrationId":"x"}"#, r#"{"registrationId":-1}"#, "\u{1}"]
    {
        assert_eq!(put(malformed), 415, "{malformed}");
    }
    let long = format!(r#"{{"registrationId":1,"name":"{}"}}"#, "x".repeat(513));
    for invalid in
        [r#"{"registrationId":16384}"#, r#"{"registrationId":1,"signalingKey":"AAAA"}"#, &long]
    {
        assert_eq!(put(invalid), 422, "{invalid}");
    }
    let huge = format!(r#"{{"registrationId":1,"unknown":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(alice.put("/v1/accounts/attributes", &huge).expect(400)["error"], "too_large");
}

#[test]
fn push_ids_are_set_and_removed_under_all_names_of_their_channel() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let put = |channel: &str, body: &Value| {
        alice.put(&format!("/v1/accounts/{channel}/"), &body.to_string()).status
    };
    assert_eq!(put("apn", &json!({"apnRegistrationId": "a"})), 200);
    for channel in ["gcm", "gms", "fcm"] {
        assert_eq!(put(channel, &json!({"gcmRegistrationId": "g"})), 200);
        assert_eq!(alice.delete(&format!("/v1/accounts/{channel}/")).status, 200);
    }
    assert_eq!(put("gcm", &json!({"apnRegistrationId": "a"})), 422);
    assert_eq!(put("xmpp", &json!({"gcmRegistrationId": "g"})), 404);
}

#[test]
fn a_deleted_account_is_gone() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    alice.delete("/v1/accounts/me").expect(200);
    alice.get("/v1/accounts/whoami").expect(401);
    let again = Client::register(&server, ALICE, None);
    assert_ne!(again.uuid, alice.uuid);
}

#[test]
fn the_log_names_no_numbers_tokens_and_passwords() {
    let server = Server::start(&["--log-level", "trace"]);
    let token = server.add_app("com.example.two");
    let alice = Client::register(&server, ALICE, Some(("com.example.two", &token)));
    alice.get("/v1/accounts/whoami").expect(200);
    alice.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    let code = server.code(ALICE);
    let log = server.log().join("\n");
    for secret in
        [ALICE, &ALICE[1..], &token, &alice.password, &code, &alice.headers[0].1, &alice.uuid]
    {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
