//! Two stores with one PostgreSQL database, at the same time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::fixture::{Closure, Fixture, Person, everything, job};
use super::requests::two_people_with_requests;
use super::samples::curve_key;
use super::{Backend, Postgresql};
use crate::messaging::store::{
    Acknowledgement, BundleReply, Consent, ConsentState, Device, DeviceKey, KeySet, MessageName,
    Pair, Rows, Sent, Store, StoreError, Turn, Work,
};
use wormhole_chat::Timestamp;

/// Runs the turns of one node: everybody sends to everybody, confirms what has arrived and takes keys.
fn turn(people: &[Person], number: u64, arrived: &[(DeviceKey, Vec<i64>)]) -> Turn {
    let mut turn = Turn::default();
    for (from, to) in people.iter().flat_map(|from| people.iter().map(move |to| (from, to))) {
        if from.account.key != to.account.key {
            turn.submissions.push(job(from.write(to, number)));
        }
    }
    for (device, positions) in arrived {
        turn.acknowledgements.extend(positions.iter().map(|position| {
            job(Acknowledgement { device: *device, message: MessageName::Position(*position) })
        }));
    }
    turn.pages.extend(people.iter().map(|person| job(everything(person.device()))));
    turn
}

/// Executes turns until each message of this node is sent. Returns how many were accepted, and the receipts.
fn run(store: &mut dyn Store, people: &[Person], first: u64) -> (usize, usize) {
    let (mut accepted, mut receipts, mut arrived) = (0, 0, Vec::new());
    for number in first..first + TURNS {
        let mut turn = turn(people, number, &arrived);
        store.apply(&mut turn, Timestamp(1_700_000_000_000)).unwrap();
        let is_stored =
            |sent: &Sent| matches!(sent, Sent::Stored { devices, .. } if devices.len() == 1);
        accepted +=
            turn.submissions.iter().filter(|it| it.answer.as_ref().is_some_and(is_stored)).count();
        let acknowledged = turn.acknowledgements.iter().filter_map(|job| job.answer.as_ref());
        receipts += acknowledged.map(|answer| answer.receipts.len()).sum::<usize>();
        arrived.clear();
        for job in turn.pages {
            let page = job.answer.unwrap().unwrap().page;
            let positions = page.messages.iter().map(|(position, _)| *position).collect();
            arrived.push((job.request.device, positions));
        }
    }
    (accepted, receipts)
}

#[test]
fn turns_of_two_nodes_run_at_the_same_time_without_deadlocks() {
    let Some(backend) = Postgresql::start() else { return };
    let name = "two_nodes";
    let mut fixture = Fixture::new(&backend, name);
    let [alice, bob] = fixture.two_people();
    let more = (103..=106).map(|number| fixture.person(&bob.app, &format!("+14155550{number}")));
    let mut people: Vec<Person> = more.collect();
    people.extend([alice, bob]);
    let reversed: Vec<Person> = people.iter().rev().cloned().collect();
    let mut other = backend.open(name);
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(other.as_mut(), &reversed, 1_000_000));
        (run(fixture.store(), &people, 1), other.join().unwrap())
    });
    let all = people.len() * (people.len() - 1) * usize::try_from(TURNS).unwrap();
    assert_eq!((one.0, two.0), (all, all));
    // Each message has one receipt, from the node that removed it, or is still waiting.
    let mut waiting = 0;
    for person in &people {
        let queue = fixture.queue(person.device());
        let positions: BTreeSet<i64> = queue.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions.len(), queue.len());
        waiting +=
            queue.iter().filter(|it| it.1.kind != wormhole_chat::EnvelopeKind::Receipt).count();
    }
    assert_eq!(one.1 + two.1 + waiting, 2 * all);
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'two_nodes'";
    assert_eq!(backend.postgres.execute("postgres", sql), "0");
}

#[test]
fn two_nodes_give_each_one_time_key_to_one_asker() {
    let Some(backend) = Postgresql::start() else { return };
    let name = "two_nodes_keys";
    let mut fixture = Fixture::new(&backend, name);
    let [_, bob] = fixture.two_people();
    let curve = Some((1..=200).map(curve_key).collect());
    fixture.put_keys(bob.device(), KeySet { curve, ..KeySet::default() });
    let request = fixture.ask(&bob.id(), None);
    let take = |store: &mut dyn Store| -> Vec<u32> {
        let mut ids = Vec::new();
        for _ in 0..50 {
            let jobs = vec![job(request.clone()), job(request.clone()), job(request.clone())];
            let mut turn = Turn { bundles: jobs, ..Turn::default() };
            store.apply(&mut turn, Timestamp(1_700_000_000_000)).unwrap();
            for job in turn.bundles {
                let Some(BundleReply::Bundle(mut bundle)) = job.answer else { panic!("no bundle") };
                ids.extend(bundle.devices.remove(0).one_time.map(|key| key.id));
            }
        }
        ids
    };
    let mut other = backend.open(name);
    let mut ids = std::thread::scope(|scope| {
        let other = scope.spawn(|| take(other.as_mut()));
        let mut ids = take(fixture.store());
        ids.extend(other.join().unwrap());
        ids
    });
    ids.sort_unstable();
    assert_eq!(ids, (1..=200).collect::<Vec<u32>>());
}

#[test]
fn a_stranger_that_uses_two_nodes_sends_no_more_messages() {
    let Some(backend) = Postgresql::start() else { return };
    let name = "two_nodes_requests";
    let mut fixture = Fixture::new(&backend, name);
    let [alice, bob] = two_people_with_requests(&mut fixture);
    let mut other = backend.open(name);
    let send = |store: &mut dyn Store, first: u64| {
        for timestamp in first..first + 20 {
            let submissions = vec![job(alice.write(&bob, timestamp))];
            let mut turn = Turn { submissions, ..Turn::default() };
            store.apply(&mut turn, Timestamp(1_700_000_000_000)).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| send(other.as_mut(), 100));
        send(fixture.store(), 1);
        other.join().unwrap();
    });
    assert_eq!(fixture.queue(bob.device()).len(), 5);
    // A decision at one node applies at the other at once, even if that one has cached an earlier answer.
    let pair = Pair { recipient: bob.account.key, sender: alice.account.key };
    for (state, first, expected) in
        [(ConsentState::Accepted, 200, 25), (ConsentState::Blocked, 300, 25)]
    {
        let consent = Consent { state, since: Timestamp(1), messages: 0 };
        fixture.rows(move |rows| rows.put_consent(pair, Some(consent)));
        send(other.as_mut(), first);
        assert_eq!(fixture.queue(bob.device()).len(), expected);
    }
}

#[test]
fn people_who_answer_each_other_through_two_nodes_accept_each_other() {
    let Some(backend) = Postgresql::start() else { return };
    let name = "two_nodes_answers";
    let mut fixture = Fixture::new(&backend, name);
    let [alice, bob] = two_people_with_requests(&mut fixture);
    let mut other = backend.open(name);
    let send = |store: &mut dyn Store, from: &Person, to: &Person| {
        for timestamp in 1..=30 {
            let submissions = vec![job(from.write(to, timestamp))];
            let mut turn = Turn { submissions, ..Turn::default() };
            store.apply(&mut turn, Timestamp(1_700_000_000_000)).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| send(other.as_mut(), &bob, &alice));
        send(fixture.store(), &alice, &bob);
        other.join().unwrap();
    });
    for (recipient, sender) in [(&alice, &bob), (&bob, &alice)] {
        let pair = Pair { recipient: recipient.account.key, sender: sender.account.key };
        let consent = fixture.rows(move |rows| rows.consent(pair));
        assert_eq!(consent.map(|it| it.state), Some(ConsentState::Accepted));
    }
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'two_nodes_answers'";
    assert_eq!(backend.postgres.execute("postgres", sql), "0");
}

#[test]
fn nodes_read_accounts_at_the_same_time() {
    let Some(backend) = Postgresql::start() else { return };
    let name = "two_nodes_read";
    let mut fixture = Fixture::new(&backend, name);
    let [alice, _] = fixture.two_people();
    let mut other = backend.open(name);
    let (started, has_started) = mpsc::channel();
    let (finish, may_finish) = mpsc::channel();
    let key = alice.account.key;
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let read = move |rows: &mut dyn Rows| {
                started.send(()).unwrap();
                may_finish.recv_timeout(PATIENCE).unwrap();
                rows.devices(key)
            };
            read_devices(other.as_mut(), read)
        });
        has_started.recv_timeout(PATIENCE).unwrap();
        let devices = read_devices(fixture.store(), move |rows| rows.devices(key));
        finish.send(()).unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(reading.join().unwrap(), devices);
    });
}

/// Executes a turn that only reads.
fn read_devices(
    store: &mut dyn Store,
    read: impl FnMut(&mut dyn Rows) -> Result<Vec<Device>, StoreError> + Send + 'static,
) -> Vec<Device> {
    let devices = Arc::new(Mutex::new(None));
    let shared_work: Vec<Box<dyn Work>> = vec![Box::new(Closure(read, Arc::clone(&devices)))];
    let mut turn = Turn { shared_work, ..Turn::default() };
    store.apply(&mut turn, Timestamp(1_700_000_000_000)).unwrap();
    devices.lock().unwrap().take().unwrap()
}

/// After this time, a node waits for another one.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many turns each node executes.
const TURNS: u64 = 60;
