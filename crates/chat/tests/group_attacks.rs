//! Attacks on groups, by members, by people with a link, and by the server.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]
#![expect(clippy::wildcard_enum_match_arm, clippy::unreachable, reason = "a test may panic")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/world.rs"]
mod world;

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

#[test]
fn attack_18_a_member_cannot_replace_the_keys_of_a_group_and_so_can_be_removed() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let view = world.view(1, group);
    assert_eq!(view.admin_key(), None, "only administrators have it");
    let access = view.secret().unwrap().access(group);
    let (thief, place) = (world.account(1), (group, world.next(group)));
    let answer = world.server.append(thief, place, &access, Some(STOLEN), b"mine");
    assert!(matches!(answer, Response::Refused), "{answer:?}");
    world.remove(0, group, 1);
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Outside));
    let place = (group, world.next(group));
    let answer = world.server.append(thief, place, &access, None, b"still here");
    assert!(matches!(answer, Response::NotFound), "{answer:?}");
    world.assert_same(&[0, 2], group);
}

#[test]
fn attack_18_whoever_has_a_link_can_neither_replace_keys_nor_append_more_than_one_entry() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    let link = world.enable_link(0, group);
    let access = link.key.link_access(group, &link.password);
    let thief = world.account(3);
    let append = |world: &mut World, next: Option<AccessHashes>, entry: &[u8]| {
        let place = (group, world.next(group));
        world.server.append(thief, place, &access, next, entry)
    };
    assert!(matches!(append(&mut world, Some(STOLEN), b"mine"), Response::Refused));
    assert!(matches!(append(&mut world, None, b"junk"), Response::Done));
    assert!(matches!(append(&mut world, None, b"more"), Response::Refused));
    // Others still join, and administrators still replace the link.
    world.follow(2, &link);
    assert_eq!(world.membership(2, group), Some(Membership::Member));
    world.enable_link(0, group);
    assert!(matches!(append(&mut world, None, b"later"), Response::NotFound));
    world.assert_same(&[0, 1, 2], group);
}

#[test]
fn messages_written_while_we_are_alone_are_for_those_whom_we_had_invited() {
    let mut world = World::new(1);
    world.people(4);
    world.calm_down();
    let group = world.create(0);
    let link = world.enable_link(0, group);
    let alice = world.account(0);
    world.input(1, ClientInput::DoNotKeep(alice));
    world.invite(0, group, &[1]);
    world.say(0, group, "for Bob");
    let exchange = |world: &mut World| (0..8).for_each(|_| world.exchange());
    exchange(&mut world);
    // Somebody else comes with the link first.
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[2].client.join_group(now, &link, rng);
    exchange(&mut world);
    world.crash(0);
    exchange(&mut world);
    world.say(0, group, "for both");
    exchange(&mut world);
    assert_eq!(world.read(2, group), ["for both"]);
    assert_eq!(world.devices[0].client.group_outbox().count(), 1);
    world.change(1, group, GroupChange::Accept { app: None });
    world.settle();
    assert_eq!(world.members(0, group), 3);
    assert_eq!(world.read(1, group), ["for Bob"]);
    assert_eq!(world.read(2, group), ["for both"]);
    assert_eq!(world.devices[0].client.group_outbox().count(), 0);
    assert!(world.events(0, group).iter().all(|it| !matches!(it, GroupEvent::PartlySent(_))));
}

#[test]
fn somebody_who_is_welcomed_before_the_answer_of_the_server_learns_that_joining_has_worked() {
    for is_lost in [false, true] {
        let mut world = World::new(1);
        world.people(2);
        world.calm_down();
        let group = world.create(0);
        let link = world.enable_link(0, group);
        let (now, rng) = (world.now, &mut world.rng);
        let (_, change) = world.devices[1].client.join_group(now, &link, rng);
        let appends = |request: &Request| matches!(request, Request::AppendGroupEntry { .. });
        let (id, request) = world.run_until(1, appends);
        let answer = world.server.answer(world.devices[1].address, request);
        world.input(0, ClientInput::Connected);
        world.run(0);
        world.deliver(1);
        let next = if is_lost { ClientInput::Connected } else { ClientInput::Response(id, answer) };
        world.input(1, next);
        world.settle();
        assert_eq!(world.membership(1, group), Some(Membership::Member));
        let finished = world.devices[1].events.iter().find_map(|event| match event {
            ClientEvent::ChangeFinished(id, outcome) => Some((*id, *outcome)),
            _ => None,
        });
        assert_eq!(finished, Some((change.unwrap(), Ok(()))), "the answer is lost: {is_lost}");
    }
}

#[test]
fn whoever_joins_with_a_link_gets_the_keys_of_members_from_an_administrator() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.create(0);
    let link = world.enable_link(0, group);
    world.follow(1, &link);
    assert_eq!(world.view(1, group).secret(), world.view(0, group).secret());
    assert_eq!(world.view(1, group).admin_key(), None);
    // A link that a member makes is as good.
    let link = world.devices[1].client.group_link(group).unwrap();
    world.follow(2, &link);
    world.say(2, group, "hello");
    world.settle();
    assert_eq!(world.read(1, group), ["hello"]);
    world.change(2, group, GroupChange::Leave { successor: None });
    world.settle();
    assert_eq!(world.membership(2, group), Some(Membership::Outside));
}

/// The server invents an identity key, and signs the keys of a device with it.
fn invent_identity(bundles: &mut Vec<PreKeyBundle>) {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let invented = KeyPair::random(&mut rng);
    for bundle in bundles {
        bundle.identity = *invented.public();
        bundle.signed.2 = invented.sign(&bundle.signed.1.encode(), &mut rng);
        if let Some((_, key, signature)) = &mut bundle.kem {
            *signature = invented.sign(&key.encode(), &mut rng);
        }
    }
}

#[test]
fn attack_18_an_identity_key_that_the_server_invents_gets_no_keys_of_a_group() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.create(0);
    let link = world.enable_link(0, group);
    let (now, rng) = (world.now, &mut world.rng);
    world.devices[1].client.join_group(now, &link, rng);
    world.run(1);
    world.server.edits_bundles = Some(invent_identity);
    world.input(0, ClientInput::Connected);
    world.run(0);
    assert_eq!(world.members(0, group), 2, "the log names the right key");
    let said = world.say(0, group, "secret");
    world.run(0);
    assert_eq!(world.waiting_kinds(1), []);
    // Nor after a restart.
    world.crash(0);
    world.run(0);
    assert_eq!(world.waiting_kinds(1), []);
    world.server.edits_bundles = None;
    world.deliver(0);
    let account = world.account(1);
    let right = world.devices[0].client.group_state(group).unwrap().members[&account].identity;
    let changed = ClientEvent::IdentityChanged(account, right);
    assert!(world.devices[0].events.contains(&changed), "{said:?}");
    world.input(0, ClientInput::AcceptIdentity(account, right));
    world.settle();
    assert_eq!(world.view(1, group).secret(), world.view(0, group).secret());
    world.say(0, group, "welcome");
    world.settle();
    assert!(world.read(1, group).contains(&"welcome".to_owned()));
}

#[test]
fn attack_18_each_administrator_who_goes_leaves_a_useless_key() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.group();
    let admin = |world: &World| world.server.groups[&group].keys.admin;
    let first = admin(&world);
    world.set_role(0, group, 1, Role::Admin);
    assert_eq!(admin(&world), first);
    let known = world.view(1, group).admin_key().unwrap().access().hash();
    assert_eq!(known, first, "the new administrator has the key");
    // By another one, by itself, by leaving, and by a removal.
    world.set_role(0, group, 1, Role::Member);
    assert_ne!(admin(&world), known);
    assert_eq!(world.view(1, group).admin_key(), None);
    type Way = fn(&mut World, GroupId);
    let ways: [Way; 3] = [
        |world, group| world.set_role(1, group, 1, Role::Member),
        |world, group| world.remove(0, group, 1),
        |world, group| world.change(2, group, GroupChange::Leave { successor: None }),
    ];
    for (person, way) in [1, 1, 2].into_iter().zip(ways) {
        world.set_role(0, group, person, Role::Admin);
        let known = world.view(person, group).admin_key().unwrap().access().hash();
        assert_eq!(known, admin(&world));
        way(&mut world, group);
        world.settle();
        assert_ne!(admin(&world), known);
        let current = world.view(0, group).admin_key().unwrap().access().hash();
        assert_eq!(admin(&world), current);
    }
}

#[test]
fn the_last_administrator_gives_the_key_to_the_successor() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let successor = Some(world.account(1));
    world.change(0, group, GroupChange::Leave { successor });
    world.settle();
    assert_eq!(world.membership(0, group), Some(Membership::Outside));
    // Which has also replaced it.
    world.remove(1, group, 2);
    world.settle();
    assert_eq!(world.members(1, group), 1);
}

#[test]
fn attack_18_whoever_we_remove_gets_nothing_although_the_removal_has_to_wait() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    world.say(0, group, "before");
    world.settle();
    // The server locks us out; the removal waits, also over a restart.
    let right = world.server.groups[&group].keys;
    world.server.groups.get_mut(&group).unwrap().keys = STOLEN;
    world.remove(0, group, 2);
    world.exchange();
    world.crash(0);
    world.say(0, group, "after");
    (0..5).for_each(|_| world.exchange());
    assert!(world.devices[0].client.is_changing_group(group));
    assert_eq!(world.devices[0].client.group_delay(group), Some(GroupDelay::NoKeys));
    // Nobody gets anything: others may have been removed in a log that we cannot read.
    assert_eq!([1, 2].map(|which| world.read(which, group)), [["before"], ["before"]]);
    world.server.groups.get_mut(&group).unwrap().keys = right;
    world.settle();
    assert_eq!(world.membership(2, group), Some(Membership::Outside));
    assert_eq!(world.members(1, group), 2);
    assert_eq!(world.read(1, group), ["before", "after"]);
    assert_eq!(world.read(2, group), ["before"]);
}

#[test]
fn attack_18_somebody_whom_we_remove_cannot_make_us_forget_that() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    world.set_role(0, group, 1, Role::Admin);
    let right = world.server.groups[&group].keys;
    world.server.groups.get_mut(&group).unwrap().keys = STOLEN;
    world.remove(0, group, 1);
    // The other administrator says that we were removed.
    let mut content = GroupContent::notice(group, 100);
    content.removed = true;
    let to = world.account(0);
    let content = Content::Group(Box::new(content));
    world.input(1, ClientInput::Send(to, content));
    (0..5).for_each(|_| world.exchange());
    assert_eq!(world.membership(0, group), Some(Membership::Outside));
    world.crash(0);
    world.server.groups.get_mut(&group).unwrap().keys = right;
    world.settle();
    assert_eq!(
        [0, 1].map(|which| world.membership(which, group)),
        [Some(Membership::Member), Some(Membership::Outside),]
    );
}

/// An entry in which somebody is alone in the group, with the link that others have.
fn forged(world: &mut World, link: &GroupLink, revision: u64) -> Vec<u8> {
    let pair = KeyPair::random(&mut world.rng);
    let author = Author { account: world.account(2), identity: *pair.public() };
    let mut state = world.devices[0].client.group_state(link.group).unwrap().clone();
    let role = Role::Admin;
    let member = Member { identity: author.identity, role, app: None };
    (state.members, state.title) = ([(author.account, member)].into(), "Trap".to_owned());
    state.revision = revision;
    let (previous, change) = (Some(link.head), GroupChange::SetTimer(0));
    let entry = GroupEntry { group: link.group, revision, previous, author, change, state };
    entry.seal(&link.key, &pair, &mut world.rng).unwrap()
}

#[test]
fn attack_18_a_newcomer_with_a_link_is_not_shown_a_forged_group() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    let link = world.enable_link(0, group);
    // Somebody with the link appends the forged entry.
    let trap = forged(&mut world, &link, link.revision + 1);
    world.log(group).push(trap);
    world.follow(3, &link);
    assert_eq!(world.membership(3, group), Some(Membership::Member));
    world.assert_same(&[0, 1, 3], group);
    // The server puts one into the place that the link names.
    let link = world.devices[0].client.group_link(group).unwrap();
    let place = usize::try_from(link.revision).unwrap();
    let trap = forged(&mut world, &link, link.revision);
    world.log(group)[place] = trap;
    world.follow(2, &link);
    assert_eq!(world.membership(2, group), Some(Membership::Outside));
    assert_eq!(world.devices[2].client.group_state(group), None);
}

#[test]
fn attack_11_strangers_cannot_keep_out_the_groups_of_contacts_or_of_each_other() {
    let mut world = World::new(1);
    for account in 1..=13 {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    (0..13).for_each(|which| world.run(which));
    let contact = world.account(1);
    world.input(0, ClientInput::Keep(contact));
    let open = |world: &World| world.devices[0].client.groups().count();
    // One stranger invites to many groups, and leaves room for others.
    let invite = |world: &mut World, which: usize, count: usize| {
        for _ in 0..count {
            let group = world.create(which);
            world.invite(which, group, &[0]);
        }
        world.settle();
    };
    invite(&mut world, 2, 12);
    assert_eq!(open(&world), 10);
    (3..13).for_each(|which| invite(&mut world, which, 10));
    assert_eq!(open(&world), 100);
    let group = world.create(1);
    world.invite(1, group, &[0]);
    world.settle();
    assert_eq!(world.membership(0, group), Some(Membership::Member));
    // The limit still holds after a restart.
    world.crash(0);
    invite(&mut world, 12, 1);
    assert_eq!(open(&world), 101);
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

/// A false announcement of a group and a real invitation reach person 1 before it can read the log.
fn announce_and_invite(
    world: &mut World,
    group: GroupId,
    (liar, false_one): (usize, GroupContent),
    is_false_first: bool,
) {
    let victim = world.account(1);
    world.calm_down();
    pretend(world, liar, group, 1);
    if !is_false_first {
        world.invite(0, group, &[1]);
        world.run(0);
    }
    let content = Content::Group(Box::new(false_one));
    world.input(liar, ClientInput::Send(victim, content));
    world.run(liar);
    if is_false_first {
        world.invite(0, group, &[1]);
        world.run(0);
    }
    // Both arrive before the log can be read, and survive a restart.
    world.server.is_down = true;
    world.deliver(1);
    assert_eq!(world.membership(1, group), Some(Membership::Unread));
    world.crash(1);
    world.introduce();
    world.run(1);
    world.server.is_down = false;
    world.settle();
    let case = if is_false_first { "the false one is first" } else { "the real one is first" };
    assert_eq!(world.membership(1, group), Some(Membership::Member), "{case}");
}

#[test]
fn attack_18_an_invented_announcement_does_not_hide_an_invitation() {
    for is_false_first in [true, false] {
        let mut world = World::new(1);
        world.people(3);
        let group = world.create(0);
        world.run(0);
        let mut content = GroupContent::notice(group, 5);
        content.secret = Some(GroupSecret::random(&mut world.rng));
        content.head = Some(EntryHash([7; 32]));
        announce_and_invite(&mut world, group, (2, content), is_false_first);
    }
}

#[test]
fn attack_18_a_former_member_who_announces_an_old_state_does_not_hide_an_invitation() {
    for is_false_first in [true, false] {
        let mut world = World::new(1);
        world.people(4);
        let group = world.create(0);
        world.invite(0, group, &[2, 3]);
        world.settle();
        let old = world.view(2, group);
        // Two epochs later, nobody who begins with the old state can read the next entry.
        for which in [2, 3] {
            world.remove(0, group, which);
            world.settle();
        }
        let mut content = GroupContent::notice(group, old.state().revision);
        content.secret = old.secret().cloned();
        content.head = Some(old.head());
        announce_and_invite(&mut world, group, (2, content), is_false_first);
    }
}

/// The members whose changes are missing, as a device has reported, and whether messages wait.
fn missing(world: &World, which: usize, group: GroupId) -> Vec<(AccountId, bool)> {
    let events = world.events(which, group).into_iter();
    let missing = events.filter_map(|event| match event {
        GroupEvent::ChangeMissing { by, is_waiting } => Some((by, is_waiting)),
        _ => None,
    });
    missing.collect()
}

/// Whether a client waits for nothing except the end of the day for which it keeps sent messages.
fn reads_no_more(world: &World, which: usize) -> bool {
    let deadline = world.devices[which].client.deadline();
    deadline.is_none_or(|at| at.0 > world.now.0 + 3_600_000)
}

#[test]
fn attack_18_a_hidden_removal_stops_messages_to_the_group_until_it_is_shown() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.group();
    world.say(1, group, "to all");
    world.settle();
    world.remove(0, group, 3);
    world.run(0);
    let hidden = world.log(group).pop().unwrap();
    world.deliver(1);
    let admin = world.account(0);
    assert_eq!(missing(&world, 1, group), [(admin, true)]);
    let sent = world.server.group_messages;
    world.say(1, group, "not for person 3");
    world.run(1);
    assert!(world.devices[1].client.is_group_behind(group));
    assert_eq!(world.devices[1].client.group_delay(group), Some(GroupDelay::ChangeMissing));
    // It asks again for some time.
    for _ in 0..40 {
        world.now.0 += 600_000;
        world.input(1, ClientInput::Timeout);
        world.run(1);
    }
    assert!(reads_no_more(&world, 1));
    assert_eq!(missing(&world, 1, group), [(admin, true)]);
    world.crash(1);
    world.introduce();
    world.run(1);
    assert_eq!(missing(&world, 1, group), [(admin, true); 2], "once after each start");
    assert_eq!(world.server.group_messages, sent);
    world.log(group).push(hidden);
    world.input(1, ClientInput::Connected);
    world.settle();
    assert_eq!(world.devices[1].client.group_delay(group), None);
    assert_eq!(world.read(2, group), ["to all", "not for person 3"]);
    assert_eq!(world.read(3, group), ["to all"]);
}

#[test]
fn attack_18_a_member_who_invents_a_change_does_not_stop_messages_and_is_named_once() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    world.say(1, group, "first");
    world.settle();
    let victim = world.account(1);
    for _ in 0..3 {
        let content = Content::Group(Box::new(GroupContent::notice(group, 1000)));
        world.input(2, ClientInput::Send(victim, content));
        world.run(2);
        world.deliver(1);
    }
    assert_eq!(missing(&world, 1, group), [(world.account(2), false)]);
    world.say(1, group, "second");
    world.settle();
    assert_eq!(world.read(0, group), ["first", "second"]);
    // Once it is no member any more, nothing is missing.
    world.remove(0, group, 2);
    world.settle();
    assert!(reads_no_more(&world, 1));
}

#[test]
fn attack_11_people_who_are_not_members_make_us_read_a_log_only_a_few_times_in_a_minute() {
    let mut world = World::new(1);
    world.people(4);
    let group = world.create(0);
    world.invite(0, group, &[1]);
    world.settle();
    let link = world.enable_link(0, group);
    pretend(&mut world, 2, group, 1);
    let victim = world.account(1);
    let before = world.server.log_reads;
    let notify = |world: &mut World, revision| {
        let content = Content::Group(Box::new(GroupContent::notice(group, revision)));
        world.input(2, ClientInput::Send(victim, content));
        world.run(2);
        world.deliver(1);
    };
    for revision in 100..150 {
        notify(&mut world, revision);
    }
    assert_eq!(world.server.log_reads, before + 5);
    // What was named in the meantime is read later, and so is what happens meanwhile.
    world.follow(3, &link);
    world.say(3, group, "I am new");
    world.settle();
    world.now.0 += 60_000;
    world.input(1, ClientInput::Timeout);
    world.settle();
    assert_eq!(world.members(1, group), 3);
    assert_eq!(world.read(1, group), ["I am new"]);
    assert!(reads_no_more(&world, 1));
}

#[test]
fn attack_18_wrong_keys_for_our_other_devices_do_not_hide_groups_from_them_later() {
    let mut world = World::new(1);
    let pair = KeyPair::random(&mut world.rng);
    for device in [1, 2] {
        let which = world.join(1, device, &pair);
        world.run(which);
    }
    world.server.edits_bundles = Some(|bundles| bundles.extend(bundles.clone()));
    world.input(0, ClientInput::Synchronise(SyncMessage::GroupsWanted));
    world.run(0);
    assert_eq!(world.devices[0].events.last(), Some(&ClientEvent::ForeignDevice));
    world.server.edits_bundles = None;
    let group = world.create(0);
    world.settle();
    assert_eq!(world.membership(1, group), Some(Membership::Member));
}

#[test]
fn attack_11_a_former_device_of_ours_stops_messages_to_a_group_only_for_some_time() {
    let mut world = World::new(1);
    let [ours, theirs] = [1, 2].map(|_| KeyPair::random(&mut world.rng));
    for (account, device, pair) in [(1, 1, &ours), (1, 2, &ours), (2, 1, &theirs)] {
        let which = world.join(account, device, pair);
        world.run(which);
    }
    world.introduce();
    let group = world.group();
    world.say(0, group, "first");
    world.settle();
    let us = world.account(0);
    for (revision, is_behind) in [(u64::MAX, false), (5000, false), (500, true)] {
        let content = Content::Group(Box::new(GroupContent::notice(group, revision)));
        world.input(1, ClientInput::Send(us, content));
        world.run(1);
        world.deliver(0);
        assert_eq!(world.devices[0].client.is_group_behind(group), is_behind, "{revision}");
    }
    for _ in 0..40 {
        world.now.0 += 600_000;
        world.input(0, ClientInput::Timeout);
        world.run(0);
    }
    assert!(!world.devices[0].client.is_group_behind(group));
    world.crash(0);
    world.introduce();
    world.run(0);
    assert!(!world.devices[0].client.is_group_behind(group));
    world.say(0, group, "second");
    world.settle();
    assert_eq!(world.read(2, group), ["first", "second"]);
}

#[test]
fn changes_beyond_the_limit_are_refused_and_the_others_survive_a_restart() {
    let mut world = World::new(1);
    world.people(2);
    let group = world.group();
    world.server.is_down = true;
    for seconds in 1..=32 {
        world.change(0, group, GroupChange::SetTimer(seconds));
    }
    let (now, rng) = (world.now, &mut world.rng);
    let more = world.devices[0].client.change_group(now, group, GroupChange::SetTimer(33), rng);
    assert_eq!(more, Err(GroupFailure::TooManyChanges));
    world.run(0);
    world.crash(0);
    world.server.is_down = false;
    world.settle();
    assert_eq!(world.timer(1, group), 32);
    world.change(0, group, GroupChange::SetTimer(33));
    world.settle();
    assert_eq!(world.timer(1, group), 33);
}

#[test]
fn attack_18_a_server_that_repeats_a_change_later_achieves_nothing() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    for seconds in [60, 30] {
        world.change(0, group, GroupChange::SetTimer(seconds));
        world.settle();
    }
    // The first of the two comes again, at the end.
    let log = world.log(group);
    let again = log[log.len() - 2].clone();
    log.push(again);
    world.settle();
    (0..3).for_each(|which| assert_eq!(world.timer(which, group), 30));
    world.change(0, group, GroupChange::SetTimer(10));
    world.settle();
    (0..3).for_each(|which| assert_eq!(world.timer(which, group), 10));
}

#[test]
fn attack_18_a_server_that_reorders_or_hides_changes_achieves_nothing() {
    let mut world = World::new(1);
    world.people(3);
    let group = world.group();
    let first = world.log(group).len();
    for seconds in [60, 30] {
        world.change(0, group, GroupChange::SetTimer(seconds));
        world.run(0);
    }
    assert_eq!(world.log(group).len(), first + 2);
    let honest = world.log(group).clone();
    world.log(group).swap(first, first + 1);
    (0..3).for_each(|_| world.exchange());
    assert_eq!(world.timer(1, group), 0);
    // It hides the first one.
    world.log(group)[first].clone_from(&honest[0]);
    world.log(group)[first + 1].clone_from(&honest[first + 1]);
    (0..3).for_each(|_| world.exchange());
    assert_eq!(world.timer(1, group), 0);
    *world.log(group) = honest;
    world.settle();
    assert_eq!(world.timer(1, group), 30);
    world.assert_same(&[0, 1, 2], group);
}

/// A group of three, whose administrator has an identity key that the test knows.
fn group_with_key(world: &mut World) -> (GroupId, KeyPair) {
    let pair = KeyPair::random(&mut world.rng);
    world.join(1, 1, &pair);
    for account in 2..=3 {
        let identity = KeyPair::random(&mut world.rng);
        world.join(account, 1, &identity);
    }
    (0..3).for_each(|which| world.run(which));
    world.introduce();
    (world.group(), pair)
}

#[test]
fn attack_18_a_member_who_is_shown_another_log_does_not_follow_it_further() {
    let mut world = World::new(1);
    let (group, pair) = group_with_key(&mut world);
    let view = world.view(0, group);
    let author = (world.account(0), &pair);
    let latest = view.state().revision;
    let [ours, theirs] = [60, 30].map(|seconds| {
        let change = GroupChange::SetTimer(seconds);
        view.draft(latest, author, &change, &mut world.rng).unwrap().entry
    });
    // The administrator and the server agree to deceive person 1.
    world.log(group).push(theirs);
    world.input(1, ClientInput::Connected);
    world.run(1);
    assert_eq!(world.timer(1, group), 30);
    *world.log(group).last_mut().unwrap() = ours;
    world.settle();
    assert_eq!([0, 2].map(|which| world.timer(which, group)), [60, 60]);
    world.change(0, group, GroupChange::SetTimer(10));
    world.settle();
    assert_eq!([0, 2].map(|which| world.timer(which, group)), [10, 10]);
    assert_eq!(world.timer(1, group), 30, "the two logs cannot be joined again");
}

#[test]
fn attack_18_an_entry_of_a_removed_administrator_has_no_effect() {
    let mut world = World::new(1);
    let (group, pair) = group_with_key(&mut world);
    world.set_role(0, group, 1, Role::Admin);
    let old = world.view(0, group);
    world.remove(1, group, 0);
    world.settle();
    assert_eq!(world.membership(0, group), Some(Membership::Outside));
    let author = (world.account(0), &pair);
    let change = GroupChange::SetTimer(60);
    let stale = old.draft(world.next(group) - 1, author, &change, &mut world.rng).unwrap();
    // The server stores it for a friend, and even somebody who knows the next secret cannot make it valid.
    world.log(group).push(stale.entry);
    let current = world.view(1, group);
    let revision = world.next(group);
    let author = Author { account: world.account(0), identity: *pair.public() };
    let previous = Some(current.head());
    let state = wormhole_chat::group::GroupState { revision, ..current.state().clone() };
    let entry = GroupEntry { group, revision, previous, author, change, state };
    let sealed = entry.seal(current.key(), &pair, &mut world.rng).unwrap();
    let keys = EpochKeys { secret: current.secret().unwrap().clone(), admin: None };
    let read = current.clone().read(revision, &sealed, &[keys]);
    assert!(read.is_err(), "{read:?}");
    world.log(group).push(sealed);
    world.settle();
    for which in [1, 2] {
        assert_eq!((world.timer(which, group), world.members(which, group)), (0, 2));
    }
    world.change(1, group, GroupChange::SetTimer(10));
    world.settle();
    world.assert_same(&[1, 2], group);
    assert_eq!(world.timer(2, group), 10);
}

#[test]
fn attack_18_of_two_administrators_who_remove_each_other_at_once_one_stays() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        world.people(3);
        let group = world.group();
        world.set_role(0, group, 1, Role::Admin);
        world.remove(0, group, 1);
        world.remove(1, group, 0);
        world.settle();
        let stays = [0, 1].map(|which| world.membership(which, group) == Some(Membership::Member));
        assert_eq!(stays.iter().filter(|stays| **stays).count(), 1, "seed {seed}");
        let one = usize::from(stays[1]);
        world.assert_same(&[one, 2], group);
        world.say(one, group, "only us");
        world.settle();
        assert_eq!(world.read(2, group), ["only us"]);
        assert_eq!(world.read(1 - one, group), [""; 0]);
    }
}
