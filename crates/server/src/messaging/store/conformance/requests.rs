//! Tests of who may write to whom.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wormhole_chat::{AccountId, Envelope, EnvelopeKind, Timestamp};

use super::fixture::{Fixture, Person, job, stored};
use super::samples::{new_device, some_keys};
use crate::messaging::rate_limits::{Action, Budget, RateLimits};
use crate::messaging::store::rules::consent::{
    ALLOWANCE, Decision, DecisionRefusal, MAX_BLOCKED, MAX_REQUESTS, MAX_REQUESTS_OF_SENDER,
    Reported, decide,
};
use crate::messaging::store::{
    AccountKey, Consent, ConsentState, DeviceColumns, Expiry, IntraApp, MessageName, Pair, Report,
    ReportedMessage, Sent, Submission, Turn, WorkError,
};

/// A device that knows message requests.
pub(super) fn device_with_requests(number: u32) -> DeviceColumns {
    let attributes = r#"{"voice":true,"capabilities":{"messageRequests":true,"x":7}}"#.into();
    DeviceColumns { attributes, ..new_device(number) }
}

/// Alice, and Bob, whose device knows message requests.
fn people(fixture: &mut Fixture<'_>) -> [Person; 2] {
    let [alice, bob] = fixture.two_people();
    set_device(fixture, &bob, device_with_requests(1));
    [alice, bob]
}

/// Changes the primary device of a person.
fn set_device(fixture: &mut Fixture<'_>, person: &Person, device: DeviceColumns) {
    let key = person.device();
    fixture.rows(move |rows| rows.update_device(key, &device));
}

pub(super) fn pair(recipient: &Person, sender: &Person) -> Pair {
    Pair { recipient: recipient.account.key, sender: sender.account.key }
}

pub(super) fn consent(fixture: &mut Fixture<'_>, pair: Pair) -> Option<(ConsentState, u32)> {
    let consent = fixture.rows(move |rows| rows.consent(pair));
    consent.map(|consent| (consent.state, consent.messages))
}

fn put(fixture: &mut Fixture<'_>, pair: Pair, state: ConsentState, since: u64) {
    let consent = Consent { state, since: Timestamp(since), messages: 1 };
    fixture.rows(move |rows| rows.put_consent(pair, Some(consent)));
}

pub(super) fn decided(
    fixture: &mut Fixture<'_>,
    by: &Person,
    about: AccountId,
    decision: Decision,
) -> Result<(), DecisionRefusal> {
    let (by, now) = (by.account.clone(), fixture.now);
    fixture.rows(move |rows| match decide(rows, &by, about, &decision, now) {
        Ok(()) => Ok(Ok(())),
        Err(WorkError::Refused(refusal)) => Ok(Err(refusal)),
        Err(WorkError::Store(error)) => Err(error),
    })
}

/// Sends messages with these timestamps; each gets the answer that an accepted one gets. Returns those that arrive.
fn sent(
    fixture: &mut Fixture<'_>,
    from: &Person,
    to: &Person,
    timestamps: impl IntoIterator<Item = u64>,
) -> Vec<u64> {
    for timestamp in timestamps {
        let answer = fixture.send(from.write(to, timestamp));
        assert!(matches!(answer, Sent::Stored { needs_sync: false, .. }), "{answer:?}");
    }
    fixture.timestamps(to.device())
}

pub(super) fn consents_are_read_as_they_were_written(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let app = fixture.app("com.c", IntraApp::Delivered);
    let carol = fixture.person(&app, "+14155550103");
    let pairs = [pair(&bob, &alice), pair(&bob, &carol)];
    assert_eq!(consent(fixture, pairs[0]), None);
    for state in [ConsentState::Pending, ConsentState::Blocked, ConsentState::Accepted] {
        put(fixture, pairs[0], state, 5);
        put(fixture, pairs[1], state, 6);
        fixture.reopen();
        assert_eq!(consent(fixture, pairs[0]), Some((state, 1)));
        assert_eq!(consent(fixture, pair(&alice, &bob)), None);
        let key = bob.account.key;
        let list = |max| {
            move |rows: &mut dyn crate::messaging::store::Rows| rows.consents_of(key, state, max)
        };
        let all = fixture.rows(list(10));
        let since: Vec<_> = all.iter().map(|(account, it)| (account.id, it.since.0)).collect();
        assert_eq!(since, [(carol.account.id, 6), (alice.account.id, 5)]);
        assert_eq!(fixture.rows(list(1)).len(), 1);
        assert_eq!(fixture.rows(move |rows| rows.count_consents(key, state)), 2);
    }
    let removed = pairs[0];
    fixture.rows(move |rows| rows.put_consent(removed, None));
    assert_eq!(consent(fixture, removed), None);
    let account = carol.account.key;
    fixture.rows(move |rows| rows.delete_account(account));
    assert_eq!(consent(fixture, pairs[1]), None);
}

pub(super) fn a_stranger_sends_some_messages_until_the_recipient_decides(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = people(fixture);
    let delivered = sent(fixture, &alice, &bob, 1..=10);
    assert_eq!(delivered, (1..=u64::from(ALLOWANCE)).collect::<Vec<_>>());
    assert_eq!(consent(fixture, pair(&bob, &alice)), Some((ConsentState::Pending, ALLOWANCE)));
    // A repeated message is not another one, also if it was withheld.
    assert_eq!(sent(fixture, &alice, &bob, 1..=10), delivered);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Accept), Ok(()));
    assert_eq!(sent(fixture, &alice, &bob, 10..=12), [1, 2, 3, 4, 5, 11, 12]);
    // All of one turn are counted, too.
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Delete), Ok(()));
    let turn = (21..=30).map(|timestamp| alice.write(&bob, timestamp)).collect();
    fixture.send_all(turn);
    assert_eq!(fixture.timestamps(bob.device())[7..], [21, 22, 23, 24, 25]);
}

pub(super) fn a_blocked_sender_gets_the_same_answers(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Block), Ok(()));
    assert!(sent(fixture, &alice, &bob, 1..=3).is_empty());
    assert_eq!(fixture.send(alice.write_to(bob.id(), &[1, 2], 4)), super::sending::extra(&[2]));
    let mut stale = alice.write(&bob, 5);
    stale.messages[0].registration_id = Some(99);
    assert!(matches!(fixture.send(stale), Sent::Mismatched(_)));
    // Bob may still write, but that does not accept Alice.
    assert_eq!(sent(fixture, &bob, &alice, [6]), [6]);
    assert!(sent(fixture, &alice, &bob, [7]).is_empty());
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Delete), Ok(()));
    assert_eq!(sent(fixture, &alice, &bob, [8]), [8]);
}

pub(super) fn whoever_writes_to_somebody_gets_answers(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    set_device(fixture, &alice, device_with_requests(1));
    let answers = pair(&alice, &bob);
    for (unwritten, delivered) in [
        // Bob does not know Alice: what is only for those who are connected is no request.
        (Submission { is_ephemeral: true, ..alice.write(&bob, 1) }, vec![]),
        (Submission { accepts_answers: false, ..alice.write(&bob, 2) }, vec![bob.device()]),
        (with_kind(alice.write(&bob, 3), EnvelopeKind::PlaintextContent), vec![bob.device()]),
    ] {
        assert_eq!(fixture.send(unwritten), stored(&delivered));
        assert_eq!(consent(fixture, answers), None);
    }
    sent(fixture, &bob, &alice, 1..=2);
    assert_eq!(consent(fixture, answers), Some((ConsentState::Pending, 2)));
    sent(fixture, &alice, &bob, [4]);
    assert_eq!(consent(fixture, answers), Some((ConsentState::Accepted, 0)));
    assert_eq!(sent(fixture, &bob, &alice, 3..=10), (1..=10).collect::<Vec<_>>());
    // What Bob has written to Alice accepts her, too.
    assert_eq!(sent(fixture, &alice, &bob, 11..=15).len(), 8);
}

fn with_kind(mut submission: Submission, kind: EnvelopeKind) -> Submission {
    submission.messages.iter_mut().for_each(|message| message.kind = kind);
    submission
}

pub(super) fn an_account_with_an_old_device_gets_everything_but_blocked_senders(
    fixture: &mut Fixture<'_>,
) {
    let [alice, mut bob] = fixture.two_people();
    assert_eq!(sent(fixture, &alice, &bob, 1..=8).len(), 8);
    assert_eq!(consent(fixture, pair(&bob, &alice)), None, "nothing is remembered");
    set_device(fixture, &bob, device_with_requests(1));
    let old = fixture.device(&mut bob, new_device(2));
    assert_eq!(sent(fixture, &alice, &bob, 11..=18).len(), 16);
    assert_eq!(consent(fixture, pair(&bob, &alice)), None);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Block), Ok(()));
    assert_eq!(sent(fixture, &alice, &bob, 21..=28).len(), 16);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Delete), Ok(()));
    // A device that cannot receive does not count.
    fixture.rows(move |rows| rows.delete_keys(old));
    bob.devices.pop();
    assert_eq!(sent(fixture, &alice, &bob, 31..=40).len(), 21);
}

pub(super) fn strangers_get_no_receipts(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    let confirm = |fixture: &mut Fixture<'_>, timestamp| {
        let source = alice.account.id.to_string();
        fixture.acknowledge(bob.device(), MessageName::Sent(source, Timestamp(timestamp)))
    };
    sent(fixture, &alice, &bob, 1..=3);
    assert_eq!(confirm(fixture, 1), []);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Block), Ok(()));
    assert_eq!(confirm(fixture, 2), []);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Accept), Ok(()));
    assert_eq!(confirm(fixture, 3), [alice.device()]);
    assert_eq!(fixture.timestamps(alice.device()), [3]);
}

pub(super) fn requests_of_a_recipient_are_limited(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    let key = bob.account.key;
    fixture.rows(move |rows| {
        for number in 0..i64::from(MAX_REQUESTS) {
            let pair = Pair { recipient: key, sender: AccountKey(1_000_000 + number) };
            let since = Timestamp(u64::try_from(number).unwrap() + 1);
            let state = ConsentState::Pending;
            rows.put_consent(pair, Some(Consent { state, since, messages: 1 }))?;
        }
        Ok(())
    });
    assert_eq!(sent(fixture, &alice, &bob, [1, 2]), [1, 2]);
    let count = fixture.rows(move |rows| rows.count_consents(key, ConsentState::Pending));
    assert_eq!(count, u64::from(MAX_REQUESTS));
    let [oldest, second] =
        [0, 1].map(|it| Pair { recipient: key, sender: AccountKey(1_000_000 + it) });
    assert_eq!(consent(fixture, oldest), None);
    assert!(consent(fixture, second).is_some());
    assert_eq!(consent(fixture, pair(&bob, &alice)), Some((ConsentState::Pending, 2)));
}

pub(super) fn a_sender_reaches_a_limited_number_of_strangers(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    let sender = alice.account.key;
    fixture.rows(move |rows| {
        for number in 1..i64::try_from(MAX_REQUESTS_OF_SENDER).unwrap() {
            let pair = Pair { recipient: AccountKey(1_000_000 + number), sender };
            let (state, since) = (ConsentState::Pending, Timestamp(5));
            rows.put_consent(pair, Some(Consent { state, since, messages: 1 }))?;
        }
        Ok(())
    });
    let app = bob.app.clone();
    let carol = fixture.person(&app, "+14155550103");
    set_device(fixture, &carol, device_with_requests(1));
    // Both in one turn: the first is the last one that Alice reaches.
    let answers = fixture.send_all(vec![alice.write(&bob, 1), alice.write(&carol, 1)]);
    assert!(answers.iter().all(|it| matches!(it, Sent::Stored { .. })), "{answers:?}");
    assert_eq!(sent(fixture, &alice, &bob, [2]), [1, 2]);
    assert!(sent(fixture, &alice, &carol, [2]).is_empty());
    assert_eq!(consent(fixture, pair(&carol, &alice)), None);
    assert_eq!(decided(fixture, &carol, alice.account.id, Decision::Accept), Ok(()));
    assert_eq!(sent(fixture, &alice, &carol, [3]), [3]);
}

pub(super) fn strangers_cannot_use_up_what_a_recipient_may_receive(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    let app = bob.app.clone();
    let carol = fixture.person(&app, "+14155550103");
    assert_eq!(decided(fixture, &bob, carol.account.id, Decision::Accept), Ok(()));
    let budget = Budget { limits: RateLimits::new(false).into(), now: Instant::now() };
    // Others have written to Bob.
    assert_eq!(budget.spend(Action::Request, bob.account.key, 999), Ok(()));
    let mut send = |from: &Person, timestamp| {
        let submissions = vec![job(from.write(&bob, timestamp))];
        let mut turn = Turn { submissions, budget: Some(budget.clone()), ..Turn::default() };
        fixture.apply(&mut turn).unwrap();
        turn.submissions.remove(0).answer.unwrap()
    };
    assert_eq!(send(&alice, 1), stored(&[bob.device()]));
    assert_eq!(send(&alice, 2), stored(&[]), "the answer to the client is the same");
    assert_eq!(send(&carol, 3), stored(&[bob.device()]));
    // The limit of all bytes refuses everybody in the same way.
    assert_eq!(budget.spend(Action::InboundKib, bob.account.key, 131_000), Ok(()));
    let long = |from: &Person| {
        let mut long = from.write(&bob, 9);
        long.messages[0].content = Some(vec![7; 100 << 10]);
        long
    };
    let submissions = vec![job(long(&alice)), job(long(&carol))];
    let mut turn = Turn { submissions, budget: Some(budget.clone()), ..Turn::default() };
    fixture.apply(&mut turn).unwrap();
    let is_limited = |sent: &Option<Sent>| matches!(sent, Some(Sent::Limited(_)));
    assert!(turn.submissions.iter().all(|job| is_limited(&job.answer)), "{turn:?}");
}

pub(super) fn receipts_do_not_use_up_what_messages_may_send(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    let budget = Budget { limits: RateLimits::new(false).into(), now: Instant::now() };
    let mut send = |submission: Submission| {
        let submissions = vec![job(submission)];
        let mut turn = Turn { submissions, budget: Some(budget.clone()), ..Turn::default() };
        fixture.apply(&mut turn).unwrap();
        turn.submissions.remove(0).answer.unwrap()
    };
    for timestamp in 0.. {
        let receipt = Submission { accepts_answers: false, ..bob.write(&alice, timestamp) };
        if matches!(send(receipt), Sent::Limited(_)) {
            break;
        }
        assert!(timestamp < 1000, "receipts are limited, too");
    }
    assert_eq!(send(bob.write(&alice, 5000)), stored(&[alice.device()]));
}

pub(super) fn a_stranger_that_is_typing_is_no_request(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    let typing = Submission { is_ephemeral: true, ..alice.write(&bob, 1) };
    assert_eq!(fixture.send(typing), stored(&[]), "the answer to the client is the same");
    assert_eq!(consent(fixture, pair(&bob, &alice)), None);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Accept), Ok(()));
    let typing = Submission { is_ephemeral: true, ..alice.write(&bob, 2) };
    assert_eq!(fixture.send(typing), stored(&[bob.device()]));
}

/// The report of the recipient of an envelope, and the token.
fn report_of(envelope: &Envelope) -> (Reported, [u8; 32]) {
    let guid: AccountId = envelope.guid.as_ref().unwrap().parse().unwrap();
    let content = Sha256::digest(envelope.content.as_ref().unwrap()).into();
    let accepted = envelope.server_timestamp.unwrap();
    let message = Reported { guid: *guid.as_bytes(), accepted, content };
    (message, envelope.report_token.clone().unwrap().try_into().unwrap())
}

pub(super) fn a_report_needs_the_token_of_the_message(fixture: &mut Fixture<'_>) {
    let [alice, bob] = people(fixture);
    set_device(fixture, &alice, device_with_requests(1));
    sent(fixture, &alice, &bob, [1]);
    let (message, token) = report_of(&fixture.queue(bob.device())[0].1);
    fixture.reopen();
    let mut refused = |by: &Person, about: &Person, message, token| {
        let report = Decision::Report { message, token };
        let result = decided(fixture, by, about.account.id, report);
        assert_eq!(result, Err(DecisionRefusal::WrongToken));
    };
    refused(&bob, &alice, message, [7; 32]);
    refused(&bob, &alice, Reported { guid: [7; 16], ..message }, token);
    refused(&bob, &alice, Reported { accepted: Timestamp(7), ..message }, token);
    refused(&bob, &alice, Reported { content: [7; 32], ..message }, token);
    refused(&alice, &bob, message, token);
    assert_eq!(fixture.rows(|rows| rows.reports(10)), []);
    assert_eq!(consent(fixture, pair(&bob, &alice)), Some((ConsentState::Pending, 1)));
    for _ in 0..2 {
        let report = Decision::Report { message, token };
        assert_eq!(decided(fixture, &bob, alice.account.id, report), Ok(()));
    }
    let Reported { guid, accepted, content } = message;
    let message = ReportedMessage { sender: alice.account.id, guid, accepted, content };
    let expected = Report { reporter: bob.account.id, reported: fixture.now, message };
    assert_eq!(fixture.rows(|rows| rows.reports(10)), [expected]);
    assert_eq!(consent(fixture, pair(&bob, &alice)), Some((ConsentState::Blocked, 1)));
}

pub(super) fn only_devices_that_know_requests_get_a_token(fixture: &mut Fixture<'_>) {
    let [alice, mut bob] = people(fixture);
    let old = fixture.device(&mut bob, new_device(2));
    sent(fixture, &alice, &bob, [1]);
    assert!(fixture.queue(bob.device())[0].1.report_token.is_some());
    assert_eq!(fixture.queue(old)[0].1.report_token, None);
}

pub(super) fn reports_are_removed_by_the_operator_or_after_some_time(fixture: &mut Fixture<'_>) {
    let report = |number: u8, reported| {
        let (sender, guid) = (AccountId::from_bytes([number % 2; 16]), [number; 16]);
        let message =
            ReportedMessage { sender, guid, accepted: Timestamp(1), content: [number; 32] };
        Report { reporter: AccountId::from_bytes([9; 16]), reported, message }
    };
    let now = fixture.now;
    let old = Timestamp(now.0 - 91 * 24 * 60 * 60 * 1000);
    let reports = [report(1, old), report(2, now), report(3, Timestamp(now.0 - 1))];
    for report in reports.clone() {
        fixture.rows(move |rows| rows.insert_report(&report));
    }
    let [first, second, third] = reports;
    assert_eq!(fixture.rows(|rows| rows.reports(10)), [second.clone(), third.clone(), first]);
    assert_eq!(fixture.rows(|rows| rows.reports(1)), std::slice::from_ref(&second));
    let long = Duration::from_secs(1_000_000);
    fixture.prune(Expiry { messages: long, sent: long, codes: long });
    assert_eq!(fixture.rows(|rows| rows.reports(10)), [second.clone(), third]);
    let reported = AccountId::from_bytes([1; 16]);
    assert_eq!(fixture.rows(move |rows| rows.delete_reports(reported)), 1);
    assert_eq!(fixture.rows(|rows| rows.reports(10)), [second]);
}

pub(super) fn an_account_decides_about_others_that_exist_and_blocks_so_many(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = people(fixture);
    let unknown = AccountId::from_bytes([7; 16]);
    for about in [unknown, bob.account.id] {
        for decision in [Decision::Accept, Decision::Block, Decision::Delete] {
            let refused = decided(fixture, &bob, about, decision);
            assert_eq!(refused, Err(DecisionRefusal::NotFound));
        }
    }
    let key = bob.account.key;
    fixture.rows(move |rows| {
        for number in 0..i64::try_from(MAX_BLOCKED).unwrap() {
            let pair = Pair { recipient: key, sender: AccountKey(1_000_000 + number) };
            let (state, since) = (ConsentState::Blocked, Timestamp(5));
            rows.put_consent(pair, Some(Consent { state, since, messages: 0 }))?;
        }
        Ok(())
    });
    let block =
        |fixture: &mut Fixture<'_>| decided(fixture, &bob, alice.account.id, Decision::Block);
    assert_eq!(block(fixture), Err(DecisionRefusal::TooManyBlocked));
    put(fixture, pair(&bob, &alice), ConsentState::Blocked, 5);
    assert_eq!(block(fixture), Ok(()), "she is blocked already");
}

/// Two accounts with devices that know message requests.
pub(super) fn two_people_with_requests(fixture: &mut Fixture<'_>) -> [Person; 2] {
    let [alice, bob] = people(fixture);
    set_device(fixture, &alice, device_with_requests(1));
    fixture.put_keys(alice.device(), some_keys());
    [alice, bob]
}
