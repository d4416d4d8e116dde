//! Linking devices on a real database, with a clock and networks of our own.

use super::super::registration::tests::{Fixture, HOME, MINUTE, new_device, number};
use super::*;

const RIGHT: &str = "right";
const WRONG: &str = "wrong";

fn hash(code: &str) -> TokenHash {
    TokenHash::of(&[], code.as_bytes())
}

/// A number that is registered in an app.
fn registered(fixture: &mut Fixture, app: &str) -> Account {
    let code = fixture.ask(HOME, 123_456);
    fixture
        .register(code, HOME, app, super::super::registration::DirectoryChoice::default())
        .unwrap()
}

/// Requests a code for another device. Returns why the request was refused.
fn ask(fixture: &mut Fixture, account: &Account, code: &str) -> Result<(), LinkRefusal> {
    let now = fixture.now;
    fixture.decide(|rows| put_code(rows, account, hash(code), now))
}

/// Enters a code; returns the number of the new device.
fn link(fixture: &mut Fixture, code: &str, app: &str) -> Result<u8, LinkRefusal> {
    link_as(fixture, code, app, new_device(), "unknown")
}

/// Enters a code for this device with this password.
fn link_as(
    fixture: &mut Fixture,
    code: &str,
    app: &str,
    device: DeviceColumns,
    password: &str,
) -> Result<u8, LinkRefusal> {
    let link = Link {
        code: hash(code),
        name: LoginName::Number(number()),
        app: ClaimedApp { credentials: None, default: Some(app.parse().unwrap()) },
        password: Zeroizing::new(password.to_owned()),
        device,
    };
    let now = fixture.now;
    fixture.decide(|rows| link.link(rows, now)).map(|linked| linked.number.number())
}

#[test]
fn a_code_links_one_device_once() {
    let mut fixture = Fixture::new("link-once");
    let account = registered(&mut fixture, "com.a");
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Err(LinkRefusal::WrongCode));
    ask(&mut fixture, &account, RIGHT).unwrap();
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Ok(2));
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Err(LinkRefusal::WrongCode));
}

#[test]
fn a_device_whose_answer_was_lost_gets_it_again_and_nobody_else_does() {
    let mut fixture = Fixture::new("link-lost");
    let account = registered(&mut fixture, "com.a");
    let mut device = new_device();
    device.password = TokenHash::of(&device.salt, b"random");
    ask(&mut fixture, &account, RIGHT).unwrap();
    for _ in 0..2 {
        assert_eq!(link_as(&mut fixture, RIGHT, "com.a", device.clone(), "random"), Ok(2));
        fixture.wait(11 * MINUTE);
    }
    let refused = Err(LinkRefusal::WrongCode);
    assert_eq!(link_as(&mut fixture, RIGHT, "com.a", device.clone(), "another"), refused);
    // A code for the next device stays valid.
    ask(&mut fixture, &account, WRONG).unwrap();
    assert_eq!(link_as(&mut fixture, RIGHT, "com.a", device.clone(), "random"), Ok(2));
    assert_eq!(link(&mut fixture, WRONG, "com.a"), Ok(3));
    let second = DeviceId::new(2).unwrap();
    fixture.decide(|rows| remove_device(rows, &account, second)).unwrap();
    assert_eq!(link_as(&mut fixture, RIGHT, "com.a", device, "random"), refused);
}

#[test]
fn a_code_for_a_device_is_valid_for_ten_minutes_however_often_wrong_ones_are_entered() {
    let mut fixture = Fixture::new("link-expiry");
    let account = registered(&mut fixture, "com.a");
    ask(&mut fixture, &account, RIGHT).unwrap();
    fixture.wait(10 * MINUTE);
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Err(LinkRefusal::WrongCode));
    ask(&mut fixture, &account, RIGHT).unwrap();
    for _ in 0..200 {
        assert_eq!(link(&mut fixture, WRONG, "com.a"), Err(LinkRefusal::WrongCode));
    }
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Ok(2));
}

#[test]
fn a_code_is_for_the_account_in_one_app() {
    let mut fixture = Fixture::new("link-app");
    let account = registered(&mut fixture, "com.a");
    registered(&mut fixture, "com.b");
    ask(&mut fixture, &account, RIGHT).unwrap();
    assert_eq!(link(&mut fixture, RIGHT, "com.b"), Err(LinkRefusal::WrongCode));
    assert_eq!(link(&mut fixture, RIGHT, "com.c"), Err(LinkRefusal::WrongApp));
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Ok(2));
}

#[test]
fn an_account_has_six_devices_at_most_and_numbers_are_used_again() {
    let mut fixture = Fixture::new("link-six");
    let account = registered(&mut fixture, "com.a");
    for number in 2..=6 {
        ask(&mut fixture, &account, RIGHT).unwrap();
        assert_eq!(link(&mut fixture, RIGHT, "com.a"), Ok(number));
    }
    assert_eq!(ask(&mut fixture, &account, RIGHT), Err(LinkRefusal::TooManyDevices));
    let remove = |fixture: &mut Fixture, number| {
        let number = DeviceId::new(number).unwrap();
        fixture.decide(|rows| remove_device(rows, &account, number))
    };
    assert_eq!(remove(&mut fixture, 7), Err(LinkRefusal::NoSuchDevice));
    assert_eq!(remove(&mut fixture, 3), Ok(()));
    ask(&mut fixture, &account, RIGHT).unwrap();
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Ok(3));
}

#[test]
fn a_new_registration_makes_the_code_for_another_device_useless() {
    let mut fixture = Fixture::new("link-renewed");
    let account = registered(&mut fixture, "com.a");
    ask(&mut fixture, &account, RIGHT).unwrap();
    registered(&mut fixture, "com.a");
    assert_eq!(link(&mut fixture, RIGHT, "com.a"), Err(LinkRefusal::WrongCode));
}
