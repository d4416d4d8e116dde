//! A confirmed change is durable, and a failed one has no effect.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::fixture::{Closure, Fixture, everything, job, stored};
use super::samples::{curve_key, device_id, new_account, new_device, some_keys};
use crate::messaging::store::{
    Acknowledgement, Counts, Job, KeySet, Login, LoginName, MAX_QUEUED_MESSAGES, MessageName,
    Reply, Rows, StoreError, Turn,
};

pub(super) fn what_was_committed_survives_a_restart(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let curve = Some(vec![curve_key(1), curve_key(2)]);
    fixture.put_keys(bob.device(), KeySet { curve, ..KeySet::default() });
    fixture.bundle(&bob.id(), None);
    for timestamp in 1..=3 {
        fixture.send(alice.write(&bob, timestamp));
    }
    let queue = fixture.queue(bob.device());
    fixture.acknowledge(bob.device(), MessageName::Position(queue[0].0));
    fixture.reopen();
    assert_eq!(fixture.queue(bob.device()), queue[1..]);
    assert_eq!(fixture.timestamps(alice.device()), [1]);
    let bundle = fixture.bundle(&bob.id(), None).unwrap();
    assert_eq!(bundle.devices[0].one_time, Some(curve_key(2)));
    let name = LoginName::Account(alice.account.id);
    let found = fixture.find(Login { name, device: device_id(1), app: None });
    assert_eq!(found[0].account, alice.account);
    assert_eq!(found[0].device.columns, new_device(1));
}

/// A request, and what its client receives.
fn awaited<Q, A>(request: Q) -> (Job<Q, A>, oneshot::Receiver<Result<A, StoreError>>) {
    let (reply, answer): (Reply<A>, _) = oneshot::channel();
    (Job { request, answer: None, reply }, answer)
}

/// Expects that a client gets an error.
fn assert_failed<A>(mut answer: oneshot::Receiver<Result<A, StoreError>>) {
    assert!(matches!(answer.try_recv(), Ok(Err(StoreError::Database(_)))));
}

pub(super) fn a_failed_turn_changes_nothing_and_answers_with_errors(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let curve = Some(vec![curve_key(1)]);
    fixture.put_keys(bob.device(), KeySet { curve, ..KeySet::default() });
    fixture.send(alice.write(&bob, 1));
    let queue = fixture.queue(bob.device());
    let mut turn = Turn::default();
    let account = new_account(&bob.app, CAROL);
    let insert = move |rows: &mut dyn Rows| rows.insert_account(&account);
    turn.work.push(Box::new(Closure(insert, Arc::default())));
    let request = fixture.ask(&bob.id(), None);
    let (bundle, no_bundle) = awaited(request);
    let which = MessageName::Position(queue[0].0);
    let acknowledgement = Acknowledgement { device: bob.device(), message: which };
    let (acknowledgement, no_acknowledgement) = awaited(acknowledgement);
    let (submission, not_sent) = awaited(alice.write(&bob, 2));
    let (page, no_page) = awaited(everything(bob.device()));
    turn.bundles.push(bundle);
    turn.acknowledgements.push(acknowledgement);
    turn.submissions.push(submission);
    turn.pages.push(page);
    fixture.store().fail_next_commit();
    let result = fixture.apply(&mut turn);
    assert!(result.is_err());
    turn.finish(&result);
    assert_failed(no_bundle);
    assert_failed(no_acknowledgement);
    assert_failed(not_sent);
    assert_failed(no_page);
    assert_eq!(fixture.queue(bob.device()), queue);
    assert_eq!(fixture.queue(alice.device()), []);
    assert_eq!(fixture.rows(|rows| rows.accounts_of(&CAROL.parse().unwrap())), []);
    let counts = fixture.store().count().unwrap();
    assert_eq!(counts, Counts { accounts: 2, devices: 2, messages: 1 });
    let bundle = fixture.bundle(&bob.id(), None).unwrap();
    assert_eq!(bundle.devices[0].one_time, Some(curve_key(1)));
    // The client repeats its request.
    assert_eq!(fixture.send(alice.write(&bob, 2)), stored(&[bob.device()]));
    assert_eq!(fixture.timestamps(bob.device()), [1, 2]);
}

pub(super) fn sizes_of_queues_are_right_after_a_failed_turn(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let submissions = |timestamps: std::ops::Range<u64>| -> Turn {
        let jobs = timestamps.map(|timestamp| job(alice.write(&bob, timestamp)));
        Turn { submissions: jobs.collect(), ..Turn::default() }
    };
    // One sender gets half of a queue.
    let most = MAX_QUEUED_MESSAGES / 2;
    fixture.apply(&mut submissions(0..1)).unwrap();
    for _ in 0..2 {
        fixture.store().fail_next_commit();
        fixture.apply(&mut submissions(1..most)).unwrap_err();
    }
    let mut turn = submissions(1..most);
    fixture.apply(&mut turn).unwrap();
    let all_stored = stored(&[bob.device()]);
    assert!(turn.submissions.iter().all(|job| job.answer.as_ref() == Some(&all_stored)));
    assert_eq!(fixture.store().count().unwrap().messages, most);
}

pub(super) fn positions_are_never_used_again(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let mut newest = 0;
    for timestamp in 1..=4 {
        fixture.send(alice.write(&bob, timestamp));
        let (position, _) = fixture.queue(bob.device()).remove(0);
        assert!(position > newest);
        newest = position;
        fixture.acknowledge(bob.device(), MessageName::Position(position));
        let receipt = fixture.queue(alice.device()).remove(0).0;
        fixture.acknowledge(alice.device(), MessageName::Position(receipt));
        fixture.reopen();
    }
}

pub(super) fn rows_are_counted(fixture: &mut Fixture<'_>) {
    assert_eq!(fixture.store().count().unwrap(), Counts::default());
    let [alice, mut bob] = fixture.two_people();
    fixture.device(&mut bob, new_device(2));
    fixture.send(alice.write(&bob, 1));
    let expected = Counts { accounts: 2, devices: 3, messages: 2 };
    assert_eq!(fixture.store().count().unwrap(), expected);
    fixture.reopen();
    assert_eq!(fixture.store().count().unwrap(), expected);
}

pub(super) fn a_device_of_a_failed_turn_does_not_exist(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let account = bob.account.key;
    let insert = move |rows: &mut dyn Rows| {
        let device = rows.insert_device(account, &new_device(2))?;
        rows.put_keys(device, &some_keys())
    };
    let mut turn = Turn::default();
    turn.work.push(Box::new(Closure(insert, Arc::default())));
    turn.submissions.push(job(alice.write(&bob, 1)));
    fixture.store().fail_next_commit();
    fixture.apply(&mut turn).unwrap_err();
    assert_eq!(fixture.send(alice.write(&bob, 2)), stored(&[bob.device()]));
}

const CAROL: &str = "+14155550103";
