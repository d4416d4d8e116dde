//! People who wait for a decision do not get in the way of others, and survive a restart.

use super::super::requests::{Decision, Evidence, PeopleChanges};
use super::*;

/// A store that keeps messages of strangers apart.
fn asking(folder: &Folder) -> Store {
    let mut store = if folder.0.exists() { folder.open().unwrap() } else { folder.create() };
    store.set_holds_requests(true);
    store
}

fn stranger(number: u32, timestamp: u64, length: usize) -> Received {
    let mut id = [0xaa; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let from = Address { account: AccountId::from_bytes(id), device: DeviceId::PRIMARY };
    let timestamp = Timestamp(timestamp);
    let data = DataMessage { body: Some("x".repeat(length)), ..DataMessage::default() };
    let content = Content::Data(Box::new(data));
    Received { from, timestamp, content, identity_changed: false }
}

/// How many messages of each account wait.
fn waiting(store: &Store) -> Vec<(AccountId, usize)> {
    let requests = store.requests().unwrap();
    requests.into_iter().map(|(account, messages)| (account, messages.len())).collect()
}

fn people(people: PeopleChanges) -> Commit {
    Commit { people, ..Commit::default() }
}

#[test]
fn messages_of_strangers_wait_until_one_is_accepted() {
    let folder = Folder::new();
    let mut store = asking(&folder);
    let mut known = received(vec![message(1, "one"), message(2, "two"), message(3, "three")]);
    known.written_to.insert(account(2));
    known.add_contact(Contact { name: Some("Carol".into()), ..crate::chat::contact(account(3)) });
    assert_eq!(store.commit(&known).unwrap().len(), 2);
    assert_eq!(store.take_new_requests().into_iter().collect::<Vec<_>>(), [account(1)]);
    drop(store);
    let mut store = asking(&folder);
    assert_eq!(waiting(&store), [(account(1), 1)]);
    assert_eq!((store.received_count(), store.request_count()), (2, 1));
    // The same message again is not another one.
    store.commit(&received(vec![message(1, "one")])).unwrap();
    assert_eq!(waiting(&store), [(account(1), 1)]);
    // A number alone does not say that it is the right person.
    let numbered = Contact { is_default: true, ..crate::chat::contact(account(1)) };
    let mut named = Commit::default();
    named.add_contact(numbered);
    assert_eq!(store.commit(&named), Ok(vec![]));
    let accepted = Commit { written_to: [account(1)].into(), ..Commit::default() };
    let ids = store.commit(&accepted).unwrap();
    drop(store);
    let store = asking(&folder);
    assert_eq!((waiting(&store), store.received_count()), (vec![], 3));
    let before = ids[0].0 - 1;
    let (id, stored) = store.received_after(Some(ReceivedId(before))).unwrap().unwrap();
    assert_eq!((id, stored), (ids[0], StoredMessage::Read(message(1, "one"))));
    assert_eq!(store.received_after(Some(id)), Ok(None), "it is the newest one");
}

#[test]
fn strangers_fill_neither_the_store_nor_the_place_of_others() {
    let folder = Folder::new();
    let mut store = asking(&folder);
    let many = (1..=100).map(|timestamp| stranger(0, timestamp, 10)).collect();
    store.commit(&received(many)).unwrap();
    assert_eq!(waiting(&store)[0].1, 20);
    let long = (1..=9).map(|timestamp| stranger(1, timestamp, 200_000)).collect();
    store.commit(&received(long)).unwrap();
    assert_eq!(waiting(&store)[1].1, 5, "one MiB");
    // The second one writes again; then so many others that the first one is forgotten.
    let many = (2..=1000).map(|number| stranger(number, 1, 10)).collect();
    store.commit(&received(many)).unwrap();
    assert_eq!(store.request_count(), 1000);
    assert_eq!(waiting(&store)[0].0, stranger(1, 0, 0).from.account);
    let long = (0..20).map(|number| stranger(5000 + number, 1, 1_000_000)).collect();
    store.commit(&received(long)).unwrap();
    let left = waiting(&store).len();
    assert!((10..=17).contains(&left), "{left}: each has almost a MiB");
    assert_eq!((store.received_count(), store.received_bytes()), (0, 0));
    drop(store);
    assert_eq!(waiting(&asking(&folder)).len(), left);
}

#[test]
fn decisions_and_evidence_survive_a_restart() {
    let folder = Folder::new();
    let mut store = asking(&folder);
    store.commit(&received(vec![message(1, "one"), message(2, "two")])).unwrap();
    let proof = |number: u8| Evidence {
        guid: [number; 16],
        accepted: Timestamp(number.into()),
        content: [number; 32],
        token: [number; 32],
    };
    let evidence = (1..=7).map(|number| (account(1), proof(number))).collect();
    store.commit(&people(PeopleChanges { evidence, ..PeopleChanges::default() })).unwrap();
    let newest: Vec<Evidence> = (3..=7).map(proof).collect();
    assert_eq!(store.evidence(account(1)), Ok(newest.clone()));
    let decided = PeopleChanges {
        decisions: [
            (account(1), Some(Decision::Report(newest.clone()))),
            (account(2), Some(Decision::Accept)),
            (account(3), Some(Decision::Delete)),
            (account(4), Some(Decision::Block)),
        ]
        .into(),
        blocked: [(account(1), true), (account(4), true)].into(),
        deleted: [account(1)].into(),
        ..PeopleChanges::default()
    };
    store.commit(&people(decided)).unwrap();
    drop(store);
    let mut store = asking(&folder);
    assert_eq!(store.evidence(account(1)), Ok(vec![]));
    assert_eq!(store.blocked(), &[account(1), account(4)].into());
    assert_eq!(waiting(&store), [(account(2), 1)]);
    let mut decisions = store.decisions().unwrap();
    decisions.sort_unstable_by_key(|(account, _)| *account);
    let expected = [Decision::Report(newest), Decision::Accept, Decision::Delete, Decision::Block];
    let expected: Vec<_> = (1..).map(account).zip(expected).collect();
    assert_eq!(decisions, expected);
    let told = PeopleChanges {
        decisions: [(account(1), None), (account(3), None)].into(),
        blocked: [(account(1), false)].into(),
        ..PeopleChanges::default()
    };
    store.commit(&people(told)).unwrap();
    drop(store);
    let store = asking(&folder);
    assert_eq!((store.decisions().unwrap().len(), store.blocked().len()), (2, 1));
}

#[test]
fn without_requests_messages_of_strangers_are_like_others() {
    let folder = Folder::new();
    let mut store = folder.create();
    assert_eq!(store.commit(&received(vec![message(1, "one")])).unwrap().len(), 1);
    assert_eq!((store.received_count(), store.request_count()), (1, 0));
}
