//! The names that accounts choose.

use wormhole_chat::service::{Destination, Username};

use super::fixture::{Fixture, Person, stored};
use crate::messaging::store::rules::usernames::{NameRefusal, choose};
use crate::messaging::store::{Sent, WorkError};

fn name(text: &str) -> Username {
    text.parse().unwrap()
}

fn chosen(
    fixture: &mut Fixture<'_>,
    person: &Person,
    text: Option<&str>,
) -> Result<(), NameRefusal> {
    let (account, chosen) = (person.account.clone(), text.map(name));
    fixture.rows(move |rows| match choose(rows, &account, chosen.as_ref()) {
        Ok(()) => Ok(Ok(())),
        Err(WorkError::Refused(refusal)) => Ok(Err(refusal)),
        Err(WorkError::Store(error)) => Err(error),
    })
}

/// The name of a person.
fn own(fixture: &mut Fixture<'_>, person: &Person) -> Option<Username> {
    let key = person.account.key;
    fixture.rows(move |rows| rows.username(key))
}

pub(super) fn a_name_is_read_replaced_and_removed(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let find = |fixture: &mut Fixture<'_>, text: &str| {
        let wanted = name(text);
        fixture.rows(move |rows| rows.account_with_name(&wanted)).map(|account| account.id)
    };
    assert_eq!((own(fixture, &alice), find(fixture, "alice")), (None, None));
    for text in ["alice", "alice", "al.ice_2"] {
        assert_eq!(chosen(fixture, &alice, Some(text)), Ok(()));
        fixture.reopen();
        assert_eq!(own(fixture, &alice), Some(name(text)));
        assert_eq!(find(fixture, text), Some(alice.account.id));
    }
    assert_eq!(find(fixture, "alice"), None);
    assert_eq!(chosen(fixture, &bob, Some("alice")), Ok(()));
    assert_eq!(chosen(fixture, &alice, None), Ok(()));
    assert_eq!((own(fixture, &alice), find(fixture, "al.ice_2")), (None, None));
    let key = bob.account.key;
    fixture.rows(move |rows| rows.delete_account(key));
    assert_eq!(find(fixture, "alice"), None);
    assert_eq!(chosen(fixture, &alice, Some("alice")), Ok(()));
}

pub(super) fn a_name_belongs_to_one_account(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    assert_eq!(chosen(fixture, &alice, Some("name")), Ok(()));
    assert_eq!(chosen(fixture, &bob, Some("bob")), Ok(()));
    assert_eq!(chosen(fixture, &bob, Some("NAME")), Err(NameRefusal::Taken));
    assert_eq!((own(fixture, &alice), own(fixture, &bob)), (Some(name("name")), Some(name("bob"))));
}

pub(super) fn a_message_to_a_name_reaches_its_present_account(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let app = bob.app.clone();
    let carol = fixture.person(&app, "+14155550103");
    let to: Destination = "@Somebody".parse().unwrap();
    let send = |fixture: &mut Fixture<'_>, timestamp| {
        fixture.send(alice.write_to(to.clone(), &[1], timestamp))
    };
    assert_eq!(send(fixture, 1), Sent::NotFound);
    for (mut timestamp, person) in [(2, &bob), (3, &carol)] {
        assert_eq!(chosen(fixture, person, Some("somebody")), Ok(()));
        for _ in 0..2 {
            assert_eq!(send(fixture, timestamp), stored(&[person.device()]));
            timestamp += 10;
        }
        assert_eq!(chosen(fixture, person, None), Ok(()));
        assert_eq!(send(fixture, timestamp), Sent::NotFound);
    }
    assert_eq!(fixture.timestamps(carol.device()), [3, 13]);
}
