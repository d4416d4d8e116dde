//! A changed identity key.

use crate::service::{ALICE, BOB, Person, Service, texts};

#[test]
fn a_changed_identity_key_stops_sending_until_it_is_accepted() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "to the first phone"]);
    assert_eq!(texts(&bob.messages()), ["to the first phone"]);
    let before = alice.succeed(&["safety", BOB]);
    // Somebody registers Bob's number again: Bob with a new phone, or a thief of the number.
    let new = service.registered("new", BOB, "com.example.one");
    let refused = alice.run(&["send", BOB, "are you still Bob?"]);
    assert_eq!(refused.exit, 1, "{refused}");
    let words = ["safety number", "has changed", "waits", "--verify"];
    assert!(words.iter().all(|word| refused.stderr.contains(word)), "{refused}");
    assert_eq!(new.messages().len(), 0);
    let after = alice.run(&["safety", BOB]);
    let shown = after.out();
    assert!(
        shown.starts_with("Safety number with ") && shown.contains("It has changed"),
        "{after}"
    );
    let number = new_number(&shown);
    assert_ne!(number, before);
    shows_words_for_both_numbers(&alice, &number);
    assert!(alice.succeed(&["contacts"]).contains("safety number has changed"));
    // Alice's own half is in both numbers: only the other half says whose key it is.
    let own: Vec<_> = number.lines().filter(|line| before.contains(line)).collect();
    assert_eq!(own.len(), 1, "{after}");
    let compare = format!("The line {} is your own half. It is in both numbers: compare", own[0]);
    assert!(shown.contains(&compare), "{after}");

    let mut declined = alice.start(&["safety", BOB, "--verify"]);
    declined.type_in("n\n");
    let declined = declined.end();
    assert!(declined.exit == 1 && declined.stderr.contains("nothing has changed"), "{declined}");
    assert_eq!(new.messages().len(), 0);
    let verified = alice.run(&["safety", BOB, "--verify", &number]);
    assert!(verified.stderr.contains("The waiting message is sent."), "{verified}");
    assert_eq!(texts(&new.messages()), ["are you still Bob?"]);
    alice.succeed(&["send", BOB, "welcome back"]);
    assert_eq!(texts(&new.messages()), ["welcome back"]);
}

#[test]
fn all_messages_that_waited_are_sent_when_the_new_number_is_accepted() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "to the first phone"]);
    assert_eq!(bob.messages().len(), 1);
    let new = service.registered("new", BOB, "com.example.one");
    let texts_that_wait = ["one", "two", "three", "four"];
    for text in texts_that_wait {
        assert_eq!(alice.run(&["send", BOB, text]).exit, 1);
    }
    let accepted = alice.run(&["safety", BOB, "--accept"]);
    assert_eq!(accepted.exit, 0, "{accepted}");
    assert!(accepted.stderr.contains("4 waiting messages are sent."), "{accepted}");
    assert_eq!(texts(&new.messages()), texts_that_wait);
    let again = alice.run(&["safety", BOB, "--accept"]);
    again.failed(1, "the safety number has not changed: there is nothing to accept");
}

/// Checks that `--words` shows no number of a changed contact as digits.
fn shows_words_for_both_numbers(person: &Person, number: &str) {
    let words = person.succeed(&["safety", BOB, "--words"]);
    let lines = words.lines().filter(|line| line.split(' ').count() == 13);
    assert!(lines.count() == 4 && !words.contains(&number[..11]), "{words}");
}

/// The new number in what `safety` prints about a changed one.
fn new_number(shown: &str) -> String {
    shown.lines().skip(1).take(2).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn each_side_is_told_how_the_new_number_can_be_compared() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    assert_eq!(bob.messages().len(), 1);
    let new = service.registered("new", BOB, "com.example.one");
    let early = new.run(&["safety", ALICE]);
    early.failed(1, "you have not exchanged a message");
    assert!(early.stderr.contains(&format!("`wormhole chat send {ALICE} hello`")), "{early}");
    let waits = alice.run(&["send", BOB, "are you Bob?"]);
    assert!(waits.stderr.contains("can see it after sending you a message"), "{waits}");
    new.succeed(&["send", ALICE, "hello"]);
    assert_eq!(new.succeed(&["safety", ALICE]), {
        let warned = alice.run(&["receive"]);
        let compare = format!("`wormhole chat safety {BOB} --verify`");
        assert_eq!(warned.stderr.matches(&compare).count(), 1, "{warned}");
        new_number(&alice.succeed(&["safety", BOB]))
    });
}

#[test]
fn the_own_number_is_not_another_person() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    for command in [&["safety", ALICE][..], &["send", ALICE, "to myself"]] {
        alice.run(command).failed(2, "this is your own account");
    }
}

#[test]
fn a_refused_number_leaves_the_one_before_and_its_message_is_shown_as_not_sent() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "to the first phone"]);
    assert_eq!(bob.messages().len(), 1);
    let before = alice.succeed(&["safety", BOB]);
    alice.run(&["safety", BOB, "--refuse"]).failed(1, "there is nothing to refuse");
    let thief = service.registered("thief", BOB, "com.example.one");
    assert_eq!(alice.run(&["send", BOB, "my secret"]).exit, 1);

    let compared = alice.run(&["safety", BOB, "--verify", &before]);
    compared.failed(1, "the new one belongs to somebody else");
    let refuse = format!("`wormhole chat safety {BOB} --refuse`");
    assert!(compared.stderr.contains(&refuse), "{compared}");
    let shown = alice.run(&["safety", BOB]);
    assert!(shown.out().contains(&format!("The previous number:\n{before}")), "{shown}");
    let refused = alice.run(&["safety", BOB, "--refuse"]);
    assert_eq!(refused.exit, 0, "{refused}");
    assert!(refused.stderr.contains("The previous number is valid again."), "{refused}");
    assert!(refused.stderr.contains("1 message was not sent, and never will be."), "{refused}");
    // What could not be printed is not forgotten.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let lost = alice.command(&["outbox"]).stdout(full).output().unwrap();
    assert_eq!(lost.status.code(), Some(1), "{lost:?}");
    let listed = alice.run(&["outbox"]).out();
    assert!(listed.contains("this message was not sent"), "{listed}");
    assert!(listed.contains("\n    my secret\n"), "{listed}");
    assert_eq!(new_number(&alice.succeed(&["safety", BOB])), before);
    assert!(thief.messages().is_empty());
    assert!(alice.run(&["outbox"]).stderr.contains("No messages wait"));
}

#[test]
fn a_number_that_was_refused_by_mistake_can_be_accepted() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "to the first phone"]);
    assert_eq!(bob.messages().len(), 1);
    let phone = service.registered("phone", BOB, "com.example.one");
    assert_eq!(alice.run(&["send", BOB, "are you there?"]).exit, 1);
    let number = new_number(&alice.succeed(&["safety", BOB]));
    phone.succeed(&["send", ALICE, "hello from the new phone"]);
    assert_eq!(texts(&alice.messages()), ["hello from the new phone"]);
    alice.succeed(&["safety", BOB, "--refuse"]);
    phone.succeed(&["send", ALICE, "it is me"]);
    let received = alice.succeed(&["receive"]);
    let how = format!("`wormhole chat safety {BOB}` shows it, and how to accept it");
    assert!(received.contains("that you have refused") && received.contains(&how), "{received}");

    alice.run(&["safety", BOB, "--accept"]).failed(1, "has not changed since you refused one");
    let again = alice.run(&["send", BOB, "again"]);
    again.failed(1, "a key of the recipient that you have refused");
    let verified = alice.run(&["safety", BOB, "--verify", &number]);
    assert_eq!(verified.exit, 0, "{verified}");
    assert!(verified.stderr.contains("is verified"), "{verified}");
    for text in ["you see", "nothing needs to be sent twice"] {
        phone.succeed(&["send", ALICE, text]);
        assert_eq!(texts(&alice.messages()), [text]);
    }
    alice.succeed(&["send", BOB, "so it is you"]);
    assert_eq!(phone.messages().len(), 1);
}

#[test]
fn the_outbox_shows_what_waits_to_whom_and_why() {
    let mut service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    assert_eq!(bob.messages().len(), 1);
    assert!(
        alice
            .succeed(&["config"])
            .contains("waiting     0 received messages, 0 messages to send\n")
    );
    service.stop();
    let waiting = alice.start(&["send", BOB, "later"]);
    waiting.wait_for_prompt("Not sent yet: ");
    waiting.signal("INT");
    assert_eq!(waiting.end().exit, 130);
    let config = alice.run(&["config"]);
    assert!(config.out().contains("0 received messages, 1 message to send\n"), "{config}");
    assert!(config.stderr.contains("`wormhole chat outbox`"), "{config}");
    let listed = alice.run(&["outbox"]);
    assert!(listed.out().contains(&format!("  to {BOB}@com.example.one: it waits")), "{listed}");
    service.resume();
    let new = service.registered("new", BOB, "com.example.one");
    let blocked = alice.succeed(&["outbox"]);
    let compare = format!("`wormhole chat safety {BOB} --verify`");
    assert!(blocked.contains(&compare), "{blocked}");
    alice.succeed(&["safety", BOB, "--accept"]);
    assert_eq!(texts(&new.messages()), ["later"]);
}

#[test]
fn a_number_with_another_account_is_explained_and_can_be_accepted() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    alice.succeed(&["send", BOB, "hello"]);
    service.delete(&bob);
    let owner = service.registered("owner", BOB, "com.example.one");
    let moved = alice.run(&["send", BOB, "for Bob"]);
    moved.failed(1, "belongs to another account now");
    let option = format!("`wormhole chat contacts {BOB} --accept-account ");
    let account = moved.stderr.split_once(&option).expect(&moved.stderr).1;
    let account = account.split_once('`').unwrap().0;
    assert!(owner.succeed(&["config"]).contains(account), "{moved}");
    alice.run(&["contacts", BOB, "--accept-account", "x"]).failed(2, "'x' is not an account id");
    let own = alice.succeed(&["config", "--json"]);
    let own = serde_json::from_str::<serde_json::Value>(&own).unwrap()["account"].clone();
    let own = alice.run(&["contacts", BOB, "--accept-account", own.as_str().unwrap()]);
    own.failed(2, "this is the id of your own account");
    // The number that the new owner claims is that of somebody whom Alice knows.
    owner.succeed(&["send", ALICE, "hello"]);
    let received = alice.succeed(&["receive"]);
    let claim = format!("  {account} (says it is {BOB}@com.example.one): hello\n");
    assert!(received.contains(&claim), "{received}");
    let accepted = alice.run(&["contacts", BOB, "--accept-account", account]);
    assert!(accepted.exit == 0 && accepted.out().starts_with(account), "{accepted}");
    let words = format!("From now on, messages to {BOB} go to the account {account}. Compare its");
    assert!(accepted.stderr.contains(&words), "{accepted}");
    alice.succeed(&["send", BOB, "for the new owner"]);
    assert_eq!(texts(&owner.messages()), ["for the new owner"]);
    let again = alice.run(&["contacts", BOB, "--accept-account", account]);
    assert!(again.stderr.contains(&format!("{BOB} already belongs to the account {account}.")));
}

#[test]
fn the_account_of_a_contact_can_be_accepted_for_another_number() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.one");
    let carol = service.registered("carol", CAROL, "com.example.one");
    for person in [BOB, CAROL] {
        alice.succeed(&["send", person, "hello"]);
    }
    service.delete(&bob);
    let id = carol.succeed(&["config", "--json"]);
    let id = serde_json::from_str::<serde_json::Value>(&id).unwrap()["account"].clone();
    let id = id.as_str().unwrap();
    let accepted = alice.run(&["contacts", BOB, "--accept-account", id]);
    let words = format!(
        "messages to {BOB} go to the account {id}, and messages to {CAROL} no longer do. Compare its \
         safety number: `wormhole chat safety {BOB} --verify`"
    );
    assert!(accepted.exit == 0 && accepted.stderr.contains(&words), "{accepted}");
    let unknown =
        ["contacts", "+14155550109", "--accept-account", &id.replace(&id[..8], "00000000")];
    let unknown = alice.run(&unknown);
    assert!(unknown.stderr.contains("When you have exchanged a message, compare"), "{unknown}");
    alice.succeed(&["send", BOB, "for Carol"]);
    assert_eq!(texts(&carol.messages()), ["hello", "for Carol"]);
}

const CAROL: &str = "+14155550103";

#[test]
fn the_number_can_be_compared_as_words_or_a_picture() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let bob = service.registered("bob", BOB, "com.example.two");
    alice.succeed(&["send", BOB, "hello"]);
    assert_eq!(bob.messages().len(), 1);
    let words = bob.succeed(&["safety", ALICE, "--words"]);
    assert_eq!(words.lines().map(|line| line.split(' ').count()).collect::<Vec<_>>(), [13, 13]);
    alice.run(&["safety", BOB, "--verify", "guitarist revenge"]).failed(2, "26 words");
    assert!(!alice.succeed(&["contacts"]).contains("verified"));
    let verified = alice.run(&["safety", BOB, "--verify", &words]);
    assert!(verified.stderr.contains("is verified"), "{verified}");
    assert!(alice.succeed(&["contacts"]).contains("verified"));
    let picture = alice.run(&["safety", BOB, "--qr"]);
    assert!(picture.stderr.contains('█') && picture.out().contains(' '), "{picture}");
}
