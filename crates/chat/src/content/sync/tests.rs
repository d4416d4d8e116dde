//! Tests of sync messages: what was written is read, and what others write is read or ignored.

use super::people::MAX_BLOCKED;
use super::*;
use crate::address::AccountId;
use crate::content::DataMessage;
use crate::content::rules::Timer;
use crate::group::GroupId;

#[test]
fn decisions_are_read_as_they_were_written() {
    let [alice, bob] = [1, 2].map(|byte| AccountId::from_bytes([byte; 16]));
    let decided = |account, decision, decided| PersonDecision {
        account,
        decision,
        decided: Timestamp(decided),
    };
    for decisions in [
        vec![],
        vec![decided(bob, RequestDecision::Accept, 0)],
        vec![decided(bob, RequestDecision::Block, 7)],
        vec![decided(bob, RequestDecision::Delete, 8), decided(alice, RequestDecision::Accept, 0)],
    ] {
        for blocked in [vec![], vec![alice], vec![alice, bob]] {
            let decisions = decisions.clone();
            let sync = SyncMessage::Requests(RequestSync { blocked, decisions });
            assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
            assert!(!sync.is_visible());
        }
    }
}

#[test]
fn settings_of_the_account_are_read_as_they_were_written() {
    for read_receipts in [false, true] {
        let sync = ConfigurationSync { read_receipts, decided: Timestamp(9) };
        let sync = SyncMessage::Configuration(sync);
        assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
        assert!(!sync.is_visible());
    }
    // Deployed clients write no time, and other settings: only typing indicators (3).
    let off = ConfigurationSync { read_receipts: false, decided: Timestamp(0) };
    assert_eq!(SyncMessage::decode(&[74, 2, 8, 0]), Ok(SyncMessage::Configuration(off)));
    assert_eq!(SyncMessage::decode(&[74, 2, 24, 1]), Ok(SyncMessage::Other));
}

#[test]
fn timers_are_read_as_they_were_written() {
    let timer = Timer { seconds: 60, version: 3 };
    let of_account = TimerScope::Account(AccountId::from_bytes([7; 16]));
    let of_group = TimerScope::Group(GroupId::from_bytes([8; 16]));
    let timers = [of_account, of_group].map(|of| TimerSync { of, timer });
    let sync = SyncMessage::Timers(timers.to_vec());
    assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
    assert!(!sync.is_visible());
    // Field 103 with an empty entry: it names no conversation.
    assert_eq!(SyncMessage::decode(&[0xba, 6, 0]), Ok(SyncMessage::Other));
}

#[test]
fn names_are_read_as_they_were_written_and_bounded() {
    let name = |name: Option<&str>| NameSync {
        account: AccountId::from_bytes([7; 16]),
        name: name.map(str::to_owned),
        decided: Timestamp(9),
    };
    let sync = SyncMessage::Names(vec![name(Some("Bob")), name(None)]);
    assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
    assert!(!sync.is_visible() && !format!("{sync:?}").contains("Bob"));
    let long = "x".repeat(MAX_NAME + 1);
    let sync = SyncMessage::Names(vec![name(Some(&long)), name(Some(&long[1..]))]);
    let expected = SyncMessage::Names(vec![name(Some(&long[1..]))]);
    assert_eq!(SyncMessage::decode(&sync.encode()), Ok(expected));
}

#[test]
fn decisions_about_identity_keys_are_read_as_they_were_written() {
    let account = AccountId::from_bytes([3; 16]);
    let private = crate::key::PrivateKey::from_secret(&wormhole_kit::Secret::new([9; 32]));
    let key = *crate::key::KeyPair::from(private).public();
    let private = crate::key::PrivateKey::from_secret(&wormhole_kit::Secret::new([8; 32]));
    let kept = *crate::key::KeyPair::from(private).public();
    for decision in
        [IdentityChoice::Accepted, IdentityChoice::Refused { kept }, IdentityChoice::Verified]
    {
        let decision = IdentitySync { account, key, decision, decided: Timestamp(77) };
        let sync = SyncMessage::Identities(vec![decision]);
        assert_eq!(SyncMessage::decode(&sync.encode()), Ok(sync.clone()));
        assert!(!sync.is_visible());
    }
    // A replaced key of deployed clients (state 2), and one without a key.
    assert_eq!(SyncMessage::decode(&[58, 2, 24, 2]), Ok(SyncMessage::Other));
    assert_eq!(SyncMessage::decode(&[58, 0]), Ok(SyncMessage::Other));
}

#[test]
fn a_list_of_blocked_accounts_of_deployed_clients_is_read() {
    let account = "9d0652a3-dcc3-4d11-975f-74d61598733f";
    // A number (1), an id of a group (2), an account (3), and one that is malformed.
    let list =
        [&[10, 2, b'+', b'1', 18, 1, 7, 26, 36][..], account.as_bytes(), &[26, 1, b'x']].concat();
    let sync = [&[50, u8::try_from(list.len()).unwrap()][..], &list].concat();
    let blocked = vec![account.parse().unwrap()];
    let expected = SyncMessage::Requests(RequestSync { blocked, decisions: Vec::new() });
    assert_eq!(SyncMessage::decode(&sync), Ok(expected));
    let many =
        RequestSync { blocked: vec![AccountId::from_bytes([7; 16]); 3000], decisions: Vec::new() };
    let Ok(SyncMessage::Requests(read)) =
        SyncMessage::decode(&SyncMessage::Requests(many).encode())
    else {
        panic!("not a list")
    };
    assert_eq!(read.blocked.len(), MAX_BLOCKED);
}

#[test]
fn a_transcript_is_read_as_it_was_written_and_not_printed() {
    let message = DataMessage { body: Some("secret".to_owned()), ..DataMessage::default() };
    let sent = SentTranscript {
        to: AccountId::from_bytes([7; 16]),
        number: Some("+14155550101".to_owned()),
        app: Some("com.one".to_owned()),
        timestamp: Timestamp(1234),
        message,
        edits: None,
    };
    let edit = SentTranscript { edits: Some(Timestamp(1200)), ..sent.clone() };
    for (sent, is_visible) in [(sent, true), (edit, false)] {
        let sent = SyncMessage::Sent(Box::new(sent));
        assert_eq!(SyncMessage::decode(&sent.encode()), Ok(sent.clone()));
        assert_eq!(sent.is_visible(), is_visible);
        let printed = format!("{sent:?}");
        assert!(!printed.contains("secret") && !printed.contains("+1415"), "{printed}");
    }
}

#[test]
fn what_was_read_is_read_as_it_was_written() {
    let read = |number: u8| MessageRef {
        author: AccountId::from_bytes([number; 16]),
        timestamp: Timestamp(number.into()),
    };
    let marks = SyncMessage::Read(vec![read(1), read(2)]);
    assert_eq!(SyncMessage::decode(&marks.encode()), Ok(marks));
    // As newer clients write it, together with one that names the sender by a number.
    let bytes = [&[42, 20, 16, 1, 34, 16][..], &[1; 16], &[42, 5, 16, 1, 10, 1, b'+']].concat();
    assert_eq!(SyncMessage::decode(&bytes), Ok(SyncMessage::Read(vec![read(1)])));
}

#[test]
fn what_other_programs_synchronise_is_ignored_and_malformed_bytes_are_refused() {
    // Nothing, a list of contacts (2), and a message to a group: without a recipient (7).
    for other in [&b""[..], &[18, 2, 8, 1], &[10, 6, 16, 1, 26, 2, 10, 0]] {
        assert_eq!(SyncMessage::decode(other), Ok(SyncMessage::Other), "{other:?}");
        assert!(!SyncMessage::Other.is_visible());
    }
    assert_eq!(SyncMessage::decode(&[10, 9]), Err(ContentError::Malformed));
}
