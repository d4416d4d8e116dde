//! Errors say what fits the command that has failed.

use crate::service::{ALICE, BOB, Service};

#[test]
fn the_advice_about_an_unknown_name_fits_the_names_that_the_command_takes() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    let (contacts, groups) = ("`wormhole chat contacts`", "`wormhole chat group list`");
    let requests = "`wormhole chat requests`";
    for (command, advice) in [
        (&["history", "Nobody"][..], &[contacts, groups][..]),
        (&["send", "Nobody", "x"], &[contacts, groups]),
        (&["safety", "Nobody"], &[contacts]),
        (&["requests", "accept", "Nobody"], &[requests]),
        (&["group", "show", "Nobody"], &[groups]),
    ] {
        let refused = alice.run(command);
        refused.failed(2, " is called 'Nobody'");
        for list in [contacts, groups, requests] {
            assert_eq!(refused.stderr.contains(list), advice.contains(&list), "{refused}");
        }
    }
    alice.run(&["send", "12345678", "x"]).failed(2, "does not begin with + and a country code");
}

#[test]
fn a_new_passphrase_comes_from_its_own_option() {
    let service = Service::new();
    let alice = service.registered("alice", ALICE, "com.example.one");
    std::fs::write(alice.path("pw"), "secret\n").unwrap();
    let refused = alice.run(&["config", "--protect", "passphrase", "--passphrase-file", "pw"]);
    refused.failed(2, "no new passphrase was given");
    assert!(refused.stderr.contains("--new-passphrase-file FILE"), "{refused}");
    alice.succeed(&["config", "--protect", "passphrase", "--new-passphrase-file", "pw"]);
    alice.succeed(&["receive", "--passphrase-file", "pw"]);
    let bob = service.person("bob");
    let refused = bob.run(&["register", BOB, "--server", &service.url, "--ask-passphrase"]);
    assert!(refused.stderr.contains("the option --passphrase-file FILE"), "{refused}");
}

#[test]
fn a_registration_without_an_app_is_not_called_a_wrong_app() {
    // This app was not added.
    let service = Service::start(&["--default-app", "com.example.three"]);
    let alice = service.person("alice");
    let register = ["register", ALICE, "--server", &service.url];
    let refused = alice.run(&register);
    refused.failed(1, "the server does not accept a registration without an app");
    assert!(refused.stderr.contains("--app NAME --token-file FILE"), "{refused}");
    let token = service.path("com.example.two");
    let app = ["--app", "com.example.one", "--token-file", token.to_str().unwrap()];
    let refused = alice.run(&[&register[..], &app].concat());
    refused.failed(1, "the server does not accept the app's name and token");
}
