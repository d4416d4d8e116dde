//! Finding the device that a client claims to be.

use super::fixture::{Fixture, Person};
use super::samples::{ALICE, device_id, new_device};
use crate::messaging::store::{Found, Login, LoginName};

/// Alice in two apps, in one of them with two devices.
fn alice_twice(fixture: &mut Fixture<'_>) -> [Person; 2] {
    let [mut alice, bob] = fixture.two_people();
    fixture.device(&mut alice, new_device(2));
    let elsewhere = fixture.person(&bob.app, ALICE);
    alice.account.is_default = false;
    [alice, elsewhere]
}

fn by_number(device: u32) -> Login {
    let name = LoginName::Number(ALICE.parse().unwrap());
    Login { name, device: device_id(device), app: None }
}

fn names(found: &[Found]) -> Vec<(&str, u8)> {
    let name = |it: &'_ Found| it.device.columns.number.number();
    found.iter().map(|it| (it.app.name.as_str(), name(it))).collect()
}

pub(super) fn a_login_by_number_finds_the_device_in_each_app(fixture: &mut Fixture<'_>) {
    let [alice, _] = alice_twice(fixture);
    let found = fixture.find(by_number(1));
    assert_eq!(names(&found), [("com.a", 1), ("com.b", 1)]);
    assert_eq!(found[0].account, alice.account);
    assert_eq!(found[0].app, alice.app);
    assert_eq!(found[0].device.key, alice.device());
    assert_eq!(found[0].device.columns, new_device(1));
    assert!(found[0].device.has_keys);
    assert_eq!(names(&fixture.find(by_number(2))), [("com.a", 2)]);
    assert_eq!(fixture.find(by_number(3)), []);
}

pub(super) fn a_login_by_account_finds_the_device_of_that_account(fixture: &mut Fixture<'_>) {
    let people = alice_twice(fixture);
    for person in people {
        let name = LoginName::Account(person.account.id);
        let found = fixture.find(Login { name, device: device_id(1), app: None });
        assert_eq!(names(&found), [(person.app.name.as_str(), 1)]);
    }
}

pub(super) fn a_login_that_names_an_app_finds_nothing_elsewhere(fixture: &mut Fixture<'_>) {
    let [alice, elsewhere] = alice_twice(fixture);
    let app = Some(elsewhere.app.name);
    let found = fixture.find(Login { app: app.clone(), ..by_number(1) });
    assert_eq!(names(&found), [("com.b", 1)]);
    assert_eq!(fixture.find(Login { app: app.clone(), ..by_number(2) }), []);
    let name = LoginName::Account(alice.account.id);
    assert_eq!(fixture.find(Login { name, device: device_id(1), app }), []);
}
