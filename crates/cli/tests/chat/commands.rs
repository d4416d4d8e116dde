//! Two people in two apps: every command, and its errors.

use crate::service::{ALICE, BOB, Service, texts};

#[test]
fn two_people_in_two_apps_exchange_texts_and_files() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    std::fs::write(alice.path("photo.jpg"), &content).unwrap();
    alice.succeed(&["send", BOB, "hello\x1b[2J\nsecond line"]);
    alice.succeed(&["send", &format!("{BOB}@com.example.two"), "--file", "photo.jpg", "a photo"]);
    let received = bob.succeed(&["receive"]);
    // Nobody else whom Bob knows has this number.
    let from = format!(" UTC  {ALICE}@com.example.one: ");
    assert!(
        received.contains(&format!("{from}hello\\u{{1b}}[2J\n    second line\n")),
        "{received}"
    );
    assert!(
        received.contains(&format!(
            "{from}a photo\n    file: photo.jpg (300.0 kB)\n    saved: ./photo.jpg\n"
        )),
        "{received}"
    );
    assert!(std::fs::read(bob.path("photo.jpg")).unwrap() == content, "another file");
    let again = bob.run(&["receive"]);
    assert!(again.stdout.is_empty() && again.stderr.contains("No new messages."), "{again}");

    // An answer, from standard input, to a name.
    bob.succeed(&["contacts", ALICE, "--name", "Alice"]);
    let mut sending = bob.start(&["send", "Alice", "-"]);
    sending.type_in("from a pipe\n");
    sending.end_input();
    let sent = sending.end();
    assert_eq!(sent.exit, 0, "{sent}");
    let messages = alice.messages();
    assert_eq!(texts(&messages), ["from a pipe"]);
    assert_eq!(messages[0]["from"]["number"], BOB);
    assert_eq!(messages[0]["from"]["app"], "com.example.two");
    assert!(messages[0]["from"]["claimed_number"].is_null());
    assert_eq!(messages[0]["identity_changed"], false);
    let contacts = bob.succeed(&["contacts"]);
    assert!(contacts.contains(&format!("  Alice ({ALICE}@com.example.one)\n")), "{contacts}");
}

#[test]
fn a_message_arrives_while_the_other_side_follows() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    let following = bob.start(&["receive", "--follow", "--json", "--to", "."]);
    following.wait_for(r#""event":"chat-up-to-date"#);
    std::fs::write(alice.path("a.txt"), "content").unwrap();
    alice.succeed(&["send", BOB, "now", "-f", "a.txt"]);
    following.wait_for(r#""text":"now""#);
    following.wait_for(r#""state":"saved""#);
    let second = bob.run(&["send", ALICE, "hello"]);
    assert_eq!(second.exit, 1);
    assert!(second.stderr.contains("another `wormhole chat` command uses the account"), "{second}");
    following.signal("INT");
    let ended = following.end();
    assert_eq!(ended.exit, 130, "{ended}");
    assert_eq!(std::fs::read(bob.path("a.txt")).unwrap(), b"content");
}

#[test]
fn the_safety_number_is_the_same_on_both_sides_and_can_be_verified() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    assert_eq!(bob.messages().len(), 1);
    let number = alice.succeed(&["safety", BOB]);
    assert_eq!(bob.succeed(&["safety", ALICE]), number);
    assert_eq!(number.split_whitespace().map(str::len).collect::<Vec<_>>(), [5; 12]);
    let mistyped = alice.run(&["safety", BOB, "--verify", "123"]);
    mistyped.failed(2, "a safety number has 60 digits, not 3");
    assert!(!mistyped.stderr.contains("somebody"), "{mistyped}");
    let wrong = alice.run(&["safety", BOB, "--verify", &"0".repeat(60)]);
    assert_eq!(wrong.exit, 1, "{wrong}");
    alice.succeed(&["safety", BOB, "--verify", &number]);
    assert!(alice.succeed(&["contacts"]).contains("  verified\n"));
    let mut asking = bob.start(&["safety", ALICE, "--verify"]);
    asking.type_in("y\n");
    let asked = asking.end();
    assert!(asked.exit == 0 && asked.stderr.contains("is verified"), "{asked}");
}

#[test]
fn a_wrong_code_can_be_corrected_and_a_number_registered_once() {
    let service = Service::new();
    let alice = service.person("alice");
    let register = ["register", ALICE, "--server", &service.url];
    alice.succeed(&register);
    let pending = alice.succeed(&["config"]);
    assert!(pending.contains("account     not confirmed yet"), "{pending}");
    let early = alice.run(&["send", BOB, "hello"]);
    assert!(early.exit == 1 && early.stderr.contains("wormhole chat verify CODE"), "{early}");
    let code = service.code(ALICE);
    let wrong = if code == "000-000" { "111-111" } else { "000-000" };
    // Only what may be a code is an attempt: the server permits two at once.
    for typed in ["hello", "12-345", "1234567", ""] {
        let not_a_code = alice.run(&["verify", typed]);
        not_a_code.failed(2, &format!("'{typed}' is not a code"));
        assert!(not_a_code.stderr.contains("six digits, such as 123-456"), "{not_a_code}");
    }
    let refused = alice.run(&["verify", wrong]);
    assert!(refused.exit == 1 && refused.stderr.contains("code is wrong"), "{refused}");
    let id = alice.succeed(&["verify", &code]);
    let shown = alice.succeed(&["config"]);
    assert!(shown.contains(&format!("account     {id}")), "{shown}");
    let again = alice.run(&register);
    assert!(again.exit == 1 && again.stderr.contains("--account NAME"), "{again}");
}

#[test]
fn a_passphrase_protects_the_account_and_can_be_changed() {
    let service = Service::new();
    let alice = service.person("alice").with_variable("WORMHOLE_CHAT_PASSPHRASE", "first");
    alice.register(&service, ALICE, "com.example.one");
    assert!(alice.succeed(&["config"]).contains("protection  passphrase\n"));
    let nobody = service.person("alice");
    let without = nobody.run(&["receive"]);
    assert!(without.exit == 2 && without.stderr.contains("no passphrase was given"), "{without}");
    let wrong = service.person("alice").with_variable("WORMHOLE_CHAT_PASSPHRASE", "wrong");
    let refused = wrong.run(&["receive"]);
    assert!(refused.exit == 1 && refused.stderr.contains("the passphrase is wrong"), "{refused}");
    std::fs::write(alice.path("new"), "second\n").unwrap();
    let change = ["config", "--protect", "passphrase", "--new-passphrase-file", "new"];
    alice.succeed(&change);
    assert_eq!(alice.run(&["receive"]).exit, 1);
    nobody.succeed(&["receive", "--passphrase-file", "new"]);
    nobody.succeed(&["config", "--passphrase-file", "new", "--protect", "key-file"]);
    nobody.succeed(&["receive"]);
}

#[test]
fn a_message_to_an_unknown_number_or_without_a_server_is_explained() {
    let mut service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let unknown = alice.run(&["send", "+14155550199", "hello"]);
    assert!(unknown.exit == 1 && unknown.stderr.contains("is not registered"), "{unknown}");
    let digits = alice.run(&["send", "14155550102", "hello"]);
    digits.failed(2, "does not begin with + and a country code");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "first"]);
    service.stop();
    let unreachable = bob.run(&["receive"]);
    assert!(
        unreachable.exit == 1 && unreachable.stderr.contains("cannot be reached"),
        "{unreachable}"
    );
    let waiting = alice.start(&["send", BOB, "second"]);
    waiting.wait_for_prompt("Not sent yet: ");
    waiting.signal("INT");
    let ended = waiting.end();
    assert!(ended.exit == 130 && ended.stderr.contains("is in the outbox"), "{ended}");
    let wrong = alice.start(&["send", BOB, "wrong"]);
    wrong.wait_for_prompt("Not sent yet: ");
    wrong.signal("INT");
    let wrong = wrong.end();
    let id = wrong.stderr.split_once("`wormhole chat outbox --cancel ").expect(&wrong.stderr).1;
    let id = id.split_once('`').unwrap().0;
    assert!(alice.succeed(&["outbox", "--cancel", id]).contains("cancelled"), "{wrong}");
    service.resume();
    alice.succeed(&["send", "+1 (415) 555-0102", "third"]);
    assert_eq!(texts(&bob.messages()), ["first", "second", "third"]);
}

#[test]
fn a_name_leads_to_one_person() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let _bob = service.registered("bob", BOB, "com.example.one");
    let _carol = service.registered("carol", "+14155550103", "com.example.one");
    alice.succeed(&["contacts", BOB, "--name", "Bob"]);
    let again = alice.run(&["contacts", "+14155550103", "--name", "Bob"]);
    again.failed(2, "--name: you have given the name 'Bob' to ");
    alice.run(&["contacts", BOB, "--name", "+1 Bob"]).failed(2, "looks like a phone number");
    alice.succeed(&["contacts", BOB, "--name", "Bob"]);
    alice.succeed(&["contacts", BOB, "--name", ""]);
    alice.succeed(&["contacts", "+14155550103", "--name", "Bob"]);
}

#[test]
fn hints_name_the_account_of_the_command() {
    let service = Service::new();
    let alice = service.person("alice");
    let nothing = alice.run(&["receive", "--account", "work"]);
    nothing.failed(1, "there is no chat account 'work' here");
    let register = "`wormhole chat register +NUMBER --server URL --account work`";
    assert!(nothing.stderr.contains(register), "{nothing}");
    let register = ["register", ALICE, "--server", &service.url, "--account", "work"];
    let asked = alice.run(&register);
    assert!(asked.stderr.contains("`wormhole chat verify CODE --account work`"), "{asked}");
    let code = service.code(ALICE);
    let wrong = if code == "000-000" { "111-111" } else { "000-000" };
    let wrong = alice.run(&["verify", wrong, "--account", "work"]);
    assert!(wrong.stderr.contains("register +NUMBER --server URL --account work`"), "{wrong}");
    alice.succeed(&["verify", &code, "--account", "work"]);
    let unknown = alice.run(&["send", "Bob", "hello", "--account", "work"]);
    assert!(unknown.stderr.contains("`wormhole chat contacts --account work`"), "{unknown}");
}

#[test]
fn the_account_shows_whether_the_server_has_refused_it() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    alice.succeed(&["receive"]);
    assert!(!alice.succeed(&["config"]).contains("\nrefused"));
    let new = service.registered("new", ALICE, "com.example.one");
    alice
        .run(&["send", BOB, "hello"])
        .failed(1, "the server does not accept this account any more");
    let config = alice.run(&["config"]);
    assert!(config.out().contains("\nrefused     since 20"), "{config}");
    let why =
        " UTC: the server does not accept this account any more: it was deleted, its number was";
    assert!(config.out().contains(why), "{config}");
    assert!(config.stderr.contains("use it there"), "{config}");
    let shown = alice.run(&["config", "--json"]).events().remove(0);
    assert!(shown["refused"]["since"].as_u64().unwrap() > 1_600_000_000, "{shown}");
    assert!(new.run(&["config", "--json"]).events()[0]["refused"].is_null());
}

#[test]
fn the_own_account_is_not_a_contact() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.run(&["contacts", ALICE]).failed(2, "this is your own account");
    let empty = alice.run(&["contacts"]);
    assert!(empty.stdout.is_empty() && empty.stderr.contains("with anyone yet"), "{empty}");
    alice.succeed(&["contacts", BOB]);
    let listed = alice.succeed(&["contacts"]);
    let id = bob.succeed(&["config", "--json"]);
    let id = serde_json::from_str::<serde_json::Value>(&id).unwrap()["account"].clone();
    assert_eq!(listed, format!("{}  {BOB}@com.example.one\n", id.as_str().unwrap()));
}

#[test]
fn a_new_token_of_the_app_makes_an_account_usable_again() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    alice.succeed(&["contacts", BOB]);
    service.app(&["revoke", "com.example.one"]);
    let refused = alice.run(&["send", BOB, "hello"]);
    refused.failed(1, "the server does not accept the app's name and token");
    assert!(refused.stderr.contains("`wormhole chat config --token-file FILE`"), "{refused}");
    assert!(alice.succeed(&["config"]).contains("\nrefused     since "));

    let printed = service.app(&["rotate", "com.example.one"]);
    let (_, token) = printed.trim().split_once(' ').unwrap();
    std::fs::write(alice.path("token"), token).unwrap();
    let config = alice.succeed(&["config", "--token-file", "token"]);
    assert!(!config.contains("\nrefused"), "{config}");
    let sent = alice.run(&["outbox"]);
    assert!(sent.stderr.contains("The waiting message is sent."), "{sent}");
    assert_eq!(texts(&bob.messages()), ["hello"]);

    let carol = service.person("carol");
    carol.succeed(&["register", "+14155550103", "--server", &service.url]);
    std::fs::write(carol.path("token"), token).unwrap();
    let no_app = carol.run(&["config", "--token-file", "token"]);
    no_app.failed(2, "in the default app of the server, which needs no token");

    let dave = service.person("dave");
    let unreachable = dave.run(&["register", "+14155550104", "--server", "http://127.0.0.1:1"]);
    assert_eq!(unreachable.exit, 1, "{unreachable}");
    std::fs::write(dave.path("token"), token).unwrap();
    let unregistered = dave.run(&["config", "--token-file", "token"]);
    unregistered.failed(2, "--token-file: no number is registered in this account");
    let hint = "register first: `wormhole chat register +NUMBER --server URL`";
    assert!(unregistered.stderr.contains(hint), "{unregistered}");
}
