//! The fuzz targets of groups.

use std::sync::LazyLock;

use wormhole_chat::group::{
    GroupChange, GroupEntry, GroupId, GroupLink, GroupState, GroupView, MAX_ENTRY,
};
use wormhole_chat::{AccountId, KeyPair};

use super::rng;

/// An entry of the log: as it is, and what is inside, signed and encrypted by a member.
pub fn entry(bytes: &[u8]) {
    let member = &*MEMBER;
    let mut view = member.view.clone();
    for revision in [0, 1, 40] {
        assert!(view.read(revision, bytes, &[]).is_err(), "nobody knows the secret");
    }
    let Ok(entry) = GroupEntry::decode(bytes) else { return };
    assert_eq!(GroupEntry::decode(&entry.encode()).as_ref(), Ok(&entry));
    let Ok(sealed) = entry.seal(view.key(), &member.pair, &mut rng()) else { return };
    assert!(sealed.len() <= MAX_ENTRY);
    // It is read only if the member is its author.
    if view.read(entry.revision, &sealed, &[]).is_err() {
        assert_eq!(view, member.view);
    } else {
        assert_eq!(entry.author.identity, *member.pair.public());
        assert_eq!(*view.state(), entry.state);
    }
}

/// A link to a group.
pub fn link(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(link) = text.parse::<GroupLink>() {
        assert_eq!(link.to_string().parse(), Ok(link));
    }
}

/// A state of a group, and a stored view.
pub fn state(bytes: &[u8]) {
    if let Ok(state) = GroupState::decode(bytes) {
        assert_eq!(GroupState::decode(&state.encode()), Ok(state));
    }
    if let Ok(view) = GroupView::decode(bytes) {
        assert_eq!(GroupView::decode(&view.encode()), Ok(view));
    }
}

/// The creator of a group.
struct Member {
    pair: KeyPair,
    view: GroupView,
}

static MEMBER: LazyLock<Member> = LazyLock::new(|| {
    let mut rng = rng();
    let pair = KeyPair::random(&mut rng);
    let change = GroupChange::Create { title: "Hike".to_owned(), app: None };
    let author = (AccountId::from_bytes([1; 16]), &pair);
    let group = GroupId::from_bytes([2; 16]);
    let (view, _) = GroupView::create(group, author, change, &mut rng).expect("it is a title");
    Member { pair, view }
});
