//! An account that GNOME Keyring protects, on a session bus of its own.

use wormhole_testbed::{DesktopKeyring, installed_or_skip};

use crate::service::{ALICE, BOB, Service};

#[test]
fn the_keyring_of_the_desktop_protects_the_account() {
    let Some(mut desktop) = installed_or_skip(DesktopKeyring::start()) else { return };
    let service = Service::new();
    let alice =
        service.person("alice").with_variable("DBUS_SESSION_BUS_ADDRESS", &desktop.address());
    let register = ["register", ALICE, "--server", &service.url, "--keyring"];
    alice.succeed(&register);
    alice.succeed(&["verify", &service.code(ALICE)]);
    alice.succeed(&["config", "--requests", "off"]);
    assert!(alice.succeed(&["config"]).contains("protection  keyring\n"));
    let bob = service.registered("bob", BOB, "com.example.one");
    bob.succeed(&["send", ALICE, "hello"]);
    assert_eq!(alice.messages().len(), 1);

    // Over SSH there is no bus, and the desktop may have locked its keyring.
    let elsewhere = service
        .person("alice")
        .with_variable("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .with_variable("XDG_RUNTIME_DIR", "/nonexistent");
    let refused = elsewhere.run(&["receive"]);
    refused.failed(1, "the keyring of the desktop cannot be reached");
    assert!(refused.stderr.contains("DBUS_SESSION_BUS_ADDRESS"), "{refused}");
    desktop.stop();
    desktop.start_again(false);
    let refused = alice.run(&["receive"]);
    refused.failed(1, "the keyring of the desktop is locked");
    assert!(refused.stderr.contains("unlock the keyring"), "{refused}");
    desktop.stop();
    desktop.start_again(true);

    alice.succeed(&["config", "--protect", "key-file"]);
    elsewhere.succeed(&["receive"]);
    alice.run(&register).failed(2, "the account exists already, with the protection key-file");
    alice.succeed(&["config", "--protect", "keyring"]);
    elsewhere.run(&["receive"]).failed(1, "the keyring of the desktop cannot be reached");
    alice.succeed(&["receive"]);
}
