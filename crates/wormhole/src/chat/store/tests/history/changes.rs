//! Edits, deletions for all, and reactions.

use wormhole_chat::{Edit, Reaction};

use super::*;
use crate::chat::store::change_of;

/// A change of an earlier message, at this time.
pub(super) fn change(from: u8, timestamp: u64, content: Content) -> Commit {
    let (from, timestamp) = (address(from), Timestamp(timestamp));
    let received = Received { from, timestamp, content, identity_changed: false };
    let history = change_of(&received).into_iter().collect();
    Commit { history, ..Commit::default() }
}

pub(super) fn edit(target: u64, text: &str) -> Content {
    Content::Edit(Box::new(Edit { target: Timestamp(target), message: data(text, None) }))
}

pub(super) fn delete(target: u64) -> Content {
    let delete = Some(Timestamp(target));
    Content::Data(Box::new(DataMessage { delete, ..DataMessage::default() }))
}

pub(super) fn react(target: (u8, u64), emoji: Option<&str>) -> Content {
    let target = MessageRef { author: account(target.0), timestamp: Timestamp(target.1) };
    let emoji = emoji.map(|emoji| emoji.parse().unwrap());
    let reaction = Some(Reaction { emoji, target });
    Content::Data(Box::new(DataMessage { reaction, ..DataMessage::default() }))
}

#[test]
fn an_edit_of_the_author_replaces_the_text_and_its_words_in_any_order() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 1000, "first")])).unwrap();
    fill(&mut store, 4096);
    store.commit(&change(1, 3000, edit(1000, "third"))).unwrap();
    store.commit(&change(1, 2000, edit(1000, "second"))).unwrap();
    store.commit(&change(1, 3000, edit(1000, "again"))).unwrap();
    store.commit(&change(2, 4000, edit(1000, "forged"))).unwrap();
    store.commit(&change(1, 1000 + 86_400_001, edit(1000, "late"))).unwrap();
    assert_eq!(search(&mut store, "third"), ["third"]);
    for other in ["first", "second", "forged", "again", "late"] {
        assert_eq!(search(&mut store, other), Vec::<String>::new(), "{other}");
    }
    let found = found(&mut store, &HistoryQuery::search("third", None));
    let earlier: Vec<_> = found[0].edits.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(earlier, ["first", "second"]);
}

#[test]
fn a_message_that_its_author_deletes_keeps_nothing_of_what_it_said() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 1000, "regretted")])).unwrap();
    store.commit(&change(1, 1500, edit(1000, "regretted more"))).unwrap();
    store.commit(&change(2, 1600, react((1, 1000), Some("👍")))).unwrap();
    store.commit(&change(2, 1700, delete(1000))).unwrap();
    assert_eq!(search(&mut store, "regretted"), ["regretted more"]);
    store.commit(&change(1, 1700, delete(1000))).unwrap();
    store.commit(&change(1, 1800, edit(1000, "back"))).unwrap();
    let messages = all(&mut store, with(1));
    let message = &messages[0];
    assert!(message.is_deleted && message.text.is_none() && message.edits.is_empty());
    assert!(message.reactions.is_empty() && search(&mut store, "regretted").is_empty());
}

#[test]
fn the_last_reaction_of_each_person_counts() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 1000, "text")])).unwrap();
    let emojis = |store: &mut Store| {
        let message = all(store, None).remove(0);
        message.reactions.iter().map(|it| it.emoji.to_string()).collect::<Vec<_>>()
    };
    store.commit(&change(1, 1200, react((1, 1000), Some("👍")))).unwrap();
    store.commit(&change(1, 1100, react((1, 1000), Some("👎")))).unwrap();
    assert_eq!(emojis(&mut store), ["👍"]);
    store.commit(&change(1, 1300, react((1, 1000), None))).unwrap();
    store.commit(&change(1, 1250, react((1, 1000), Some("👎")))).unwrap();
    assert_eq!(emojis(&mut store), Vec::<String>::new());
    // Our own, from here.
    let (timestamp, to) = (Timestamp(1400), account(1));
    let content = Box::new(react((1, 1000), Some("🎉")));
    store.commit(&outbox(vec![OutboxChange::Added { timestamp, to, content }])).unwrap();
    assert_eq!(emojis(&mut store), ["🎉"]);
    // Somebody in another conversation.
    store.commit(&change(2, 1500, react((1, 1000), Some("😀")))).unwrap();
    assert_eq!(emojis(&mut store), ["🎉"]);
    assert_eq!(all(&mut store, None).len(), 1);
}

#[test]
fn what_was_read_on_another_device_is_read_here() {
    let folder = Folder::new();
    let mut store = keeping(&folder);
    store.commit(&received(vec![message_at(1, 1000, "text")])).unwrap();
    let read = MessageRef { author: account(1), timestamp: Timestamp(1000) };
    let sync = Content::Sync(SyncMessage::Read(vec![read]).encode().to_vec());
    store.commit(&change(9, 1100, sync)).unwrap();
    assert_eq!(all(&mut store, None)[0].state, HistoryState::Read);
}
