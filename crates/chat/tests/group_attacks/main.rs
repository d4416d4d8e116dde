//! Attacks on groups, by members, by people with a link, and by the server.
//!
//! | file | tests |
//! |---|---|
//! | `announced` | announcements of groups by strangers, former members and others |
//! | `changes` | changes that are repeated, reordered, hidden, or made at the same time |
//! | `joining` | people with a link, and people who join while others write |
//! | `keys` | keys of groups: who gets them, who can replace them, and keys that the server or former administrators have |
//! | `missing` | changes that somebody announces and the log does not show |

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]
#![expect(clippy::wildcard_enum_match_arm, clippy::unreachable, reason = "a test may panic")]

#[path = "../support/groups.rs"]
mod groups;
#[path = "../support/world.rs"]
mod world;

mod announced;
mod changes;
mod joining;
mod keys;
mod missing;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use world::World;
use wormhole_chat::group::{
    AccessHashes, Author, EntryHash, EpochKeys, GroupChange, GroupEntry, GroupId, GroupLink,
    GroupSecret, GroupView, LinkPassword, Member, Role,
};
use wormhole_chat::{
    AccountId, ClientEvent, ClientInput, Content, GroupContent, GroupDelay, GroupEvent,
    GroupFailure, KeyPair, Membership, PreKeyBundle, Request, Response, StoreKey, SyncMessage,
};

/// Other keys than any group has.
const STOLEN: AccessHashes = AccessHashes { member: [1; 32], admin: [2; 32], link: None };

impl World {
    /// What a device knows about a group, with all its keys.
    fn view(&self, which: usize, group: GroupId) -> GroupView {
        let row = &self.devices[which].rows()[&StoreKey::Group(group)];
        // Format, kind, length.
        let length = usize::try_from(u32::from_be_bytes(row[2..6].try_into().unwrap())).unwrap();
        GroupView::decode(&row[6..6 + length]).unwrap()
    }

    /// Enables the link of a group.
    fn enable_link(&mut self, which: usize, group: GroupId) -> GroupLink {
        let password = LinkPassword::random(&mut self.rng);
        self.change(which, group, GroupChange::SetLink(Some(password)));
        self.settle();
        self.devices[which].client.group_link(group).unwrap()
    }

    fn follow(&mut self, which: usize, link: &GroupLink) {
        let (now, rng) = (self.now, &mut self.rng);
        self.devices[which].client.join_group(now, link, rng);
        self.settle();
    }

    fn set_role(&mut self, which: usize, group: GroupId, person: usize, role: Role) {
        let account = self.account(person);
        self.change(which, group, GroupChange::SetRole { account, role });
        self.settle();
    }

    fn log(&mut self, group: GroupId) -> &mut Vec<Vec<u8>> {
        &mut self.server.groups.get_mut(&group).unwrap().entries
    }

    /// The next place in the log.
    fn next(&self, group: GroupId) -> u64 {
        u64::try_from(self.server.groups[&group].entries.len()).unwrap()
    }

    fn timer(&self, which: usize, group: GroupId) -> u32 {
        self.devices[which].client.group_state(group).unwrap().expire_timer
    }

    fn assert_same(&self, people: &[usize], group: GroupId) {
        let states = people.iter().map(|which| self.devices[*which].client.group_state(group));
        let states: Vec<_> = states.map(Option::unwrap).collect();
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    }
}

/// The client of a person believes that it administrates a group and has invited somebody. Otherwise it would not send any keys.
fn pretend(world: &mut World, liar: usize, group: GroupId, victim: usize) {
    let other = world.create(liar);
    world.run(liar);
    let (author, victim) = (world.account(liar), world.account(victim));
    let identity = KeyPair::random(&mut world.rng);
    let author = (author, &identity);
    let create = GroupChange::Create { title: "Mine".into(), app: None };
    let (mut view, _) = GroupView::create(group, author, create, &mut world.rng).unwrap();
    let invite = GroupChange::Invite([(victim, None)].into());
    let draft = view.draft(0, author, &invite, &mut world.rng).unwrap();
    view.read(draft.revision, &draft.entry, &[]).unwrap();
    let mut rows = world.devices[liar].rows().clone();
    let row = rows[&StoreKey::Group(other)].clone();
    let length = world.view(liar, other).encode().len();
    let view = view.encode();
    let new_length = u32::try_from(view.len()).unwrap().to_be_bytes();
    let row = [&row[..2], &new_length, &view, &row[6 + length..]].concat();
    rows.insert(StoreKey::Group(group), row.into());
    world.restore(liar, rows);
}
