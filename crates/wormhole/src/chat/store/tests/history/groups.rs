//! The history of groups.

use wormhole_chat::group::GroupId;
use wormhole_chat::{GroupContent, GroupTranscript};

use super::changes::{change, delete, edit, react};
use super::*;

const WALKS: GroupId = GroupId::from_bytes([3; 16]);

const IN_WALKS: Option<Conversation> = Some(Conversation::Group(WALKS));

/// The same in the name of a group.
fn in_group(content: Content) -> Content {
    let mut group = GroupContent::notice(WALKS, 1);
    group.inner = Some(Box::new(content));
    Content::Group(Box::new(group))
}

fn group_message(from: u8, timestamp: u64, text: &str) -> Received {
    let message = message_at(from, timestamp, text);
    Received { content: in_group(message.content.clone()), ..message }
}

fn recipients(timestamp: u64, members: &[u8]) -> HistoryChange {
    let members = members.iter().map(|number| account(*number)).collect();
    HistoryChange::Recipients { group: WALKS, timestamp: Timestamp(timestamp), members }
}

fn receipt(from: u8, kind: ReceiptKind, timestamp: u64) -> HistoryChange {
    HistoryChange::Receipt(account(from), Receipt { kind, timestamps: vec![Timestamp(timestamp)] })
}

fn history(changes: Vec<HistoryChange>) -> Commit {
    Commit { history: changes, ..Commit::default() }
}

#[test]
fn attack_31_changes_in_a_group_concern_only_its_messages() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    let alone = message_at(1, 1000, "alone");
    store.commit(&received(vec![alone, group_message(1, 1000, "together")])).unwrap();
    store.commit(&change(1, 2000, in_group(edit(1000, "edited")))).unwrap();
    store.commit(&change(2, 2500, in_group(edit(1000, "forged")))).unwrap();
    store.commit(&change(2, 3000, in_group(react((1, 1000), Some("👍"))))).unwrap();
    // Somebody reacts to the message of the group, but not in it.
    store.commit(&change(2, 4000, react((1, 1000), Some("👎")))).unwrap();
    assert_eq!(texts(&all(&mut store, with(1))), ["alone"]);
    let messages = all(&mut store, IN_WALKS);
    assert_eq!((texts(&messages), messages[0].reactions.len()), (vec!["edited".to_owned()], 1));
    assert_eq!(messages[0].reactions[0].emoji.as_str(), "👍");
    store.commit(&change(1, 5000, in_group(delete(1000)))).unwrap();
    assert!(all(&mut store, IN_WALKS)[0].is_deleted);
    assert_eq!(texts(&all(&mut store, with(1))), ["alone"]);
}

#[test]
fn attack_31_a_message_of_ours_knows_which_members_have_read_it() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    let content = Box::new(Content::Data(Box::new(data("at three?", None))));
    let added = OutboxChange::AddedToGroup { timestamp: Timestamp(50), group: WALKS, content };
    store.commit(&outbox(vec![added])).unwrap();
    // Early: the recipients are not known yet.
    store.commit(&history(vec![receipt(1, ReceiptKind::Delivery, 50)])).unwrap();
    store.commit(&history(vec![recipients(50, &[1, 2])])).unwrap();
    store.commit(&outbox(vec![OutboxChange::Sent(Timestamp(50))])).unwrap();
    let states = |store: &mut Store| {
        let message = all(store, IN_WALKS).remove(0);
        let states: Vec<_> = message.recipients.iter().map(|it| it.state).collect();
        (message.state, states)
    };
    let (waiting, delivered, read) =
        (HistoryState::Waiting, HistoryState::Delivered, HistoryState::Read);
    assert_eq!(states(&mut store), (HistoryState::OnServer, vec![delivered, waiting]));
    // Somebody who is not a member did not get it.
    store.commit(&history(vec![receipt(3, ReceiptKind::Read, 50)])).unwrap();
    store.commit(&history(vec![receipt(2, ReceiptKind::Read, 50)])).unwrap();
    assert_eq!(states(&mut store), (delivered, vec![delivered, read]));
    store.commit(&history(vec![receipt(1, ReceiptKind::Read, 50)])).unwrap();
    drop(store);
    let mut store = folder.open().unwrap();
    assert_eq!(states(&mut store), (read, vec![read, read]));
}

#[test]
fn what_our_other_devices_send_to_a_group_is_in_the_history_once_with_its_changes() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    let copy = |at: u64, timestamp: u64, message: DataMessage, edits: Option<u64>| {
        let transcript = GroupTranscript {
            group: WALKS,
            timestamp: Timestamp(timestamp),
            message,
            edits: edits.map(Timestamp),
        };
        let sync = SyncMessage::SentToGroup(Box::new(transcript)).encode().to_vec();
        let (from, timestamp, content) = (address(9), Timestamp(at), Content::Sync(sync));
        Received { from, timestamp, content, identity_changed: false }
    };
    let edited = copy(101, 90, data("after", None), Some(77));
    let history = change_of(&edited).into_iter().collect();
    store.commit(&Commit { history, ..Commit::default() }).unwrap();
    for at in [100, 102] {
        store.commit(&received(vec![copy(at, 77, data("before", None), None)])).unwrap();
    }
    let messages = all(&mut store, IN_WALKS);
    assert_eq!(texts(&messages), ["after"]);
    assert!(messages[0].is_ours && messages[0].edits[0].text == "before");
}
