//! The groups of a device: their logs, its messages to them, and the sender keys of their members.
//!
//! | file | what it does |
//! |---|---|
//! | `announcements` | groups that others announce to us, and the order in which we try the announcements |
//! | `log` | reads the log of a group, and adds entries to it |
//! | `message` | a message to a group in the outbox, and its recipients |
//! | `missing` | changes that somebody has named, and that the log does not show |
//! | `online` | typing, which only connected members get |
//! | `outbox` | the messages that the server has not accepted yet, as an application sees them |
//! | `outsiders` | how often people who are not members make us read a log |
//! | `removal` | whether we were removed, if we cannot read the log any more |
//! | `effects` | the effects of an entry: messages to members, deleted keys |
//! | `event` | events of groups, and reasons for failures |
//! | `keyed` | who may get the keys of a group in a session |
//! | `response` | the response of the server to a message |
//! | `send` | encrypts a message once for all members, and sends it |
//! | `sender_key` | our sender keys, and how members get them |
//! | `receive` | sender keys and messages of other members |
//! | `sent` | messages that may have to be sent again to one device |
//! | `waiting` | messages for members whose queue at the server is full |
//! | `wanted` | changes that we want to make, and their outcomes |
//! | `rows` | the durable rows |
//!
//! A change that may let a group continue marks it as `dirty`. At the end of each input, [`Client::run_groups`] continues with
//! those groups: first with the log, then with the messages.

mod announcements;
mod effects;
mod event;
mod keyed;
mod log;
mod message;
mod missing;
mod online;
mod outbox;
mod outsiders;
mod receive;
mod removal;
mod response;
mod rows;
mod send;
mod sender_key;
mod sent;
mod waiting;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::CryptoRngCore;

use super::outbox::Outgoing;
use super::store::{Changes, OutboxChange};
use super::written::Written;
use super::{Client, ClientEvent, ClientOutput, SendFailure};
use crate::address::{AccountId, Address, DeviceId};
use crate::certificate::SenderCertificate;
use crate::content::{Content, GroupContent, SyncMessage};
use crate::group::{
    Announcement, Draft, EpochKeys, GroupChange, GroupId, GroupLink, GroupState, GroupView,
};
use crate::sender_key::DistributionId;
use crate::service::AppName;
use crate::time::Timestamp;
use announcements::Announced;
use log::Reading;
use message::GroupMessage;
use missing::MissingChange;
use outsiders::OutsiderReads;
use receive::{Early, TheirKey};
use removal::Removal;
use sender_key::OwnKey;
use wanted::WantedChange;

pub use event::{GroupDelay, GroupEvent, GroupFailure, Membership, PartlySent};
pub(super) use keyed::Permission;
pub(super) use receive::GroupEnvelope;
pub(super) use sent::Requested;
pub use wanted::ChangeId;

/// Everything that a client knows about groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<GroupId, Group>,
    /// The key with which this device writes to each group.
    own: BTreeMap<GroupId, OwnKey>,
    /// The keys of other devices.
    keys: BTreeMap<(Address, DistributionId), TheirKey>,
    /// The messages that the server has not accepted yet.
    outbox: BTreeMap<Timestamp, GroupMessage>,
    /// The messages that the server may have got lately.
    pub(super) sent: sent::GroupSentLog,
    /// Messages that arrived before their sender key, or before the entry that makes their sender a member.
    early: BTreeMap<u64, Early>,
    /// Messages of the ordinary outbox that carry our sender key: the group and the recipient.
    distributions: BTreeMap<Timestamp, (GroupId, AccountId)>,
    /// Accounts for whom the server had no room when we last sent something to them alone.
    without_room: BTreeSet<AccountId>,
    /// Accounts without a device, since the last connection.
    absent: BTreeSet<AccountId>,
    /// Whether our account has other devices, if we know.
    pub(super) other_devices: Option<bool>,
    certificate: Option<SenderCertificate>,
    /// The last id that a change has got.
    last_change: u64,
    /// Groups that may have to continue.
    dirty: BTreeSet<GroupId>,
    /// Messages about groups that were put into the ordinary outbox in this step.
    unsent: Vec<Timestamp>,
    /// Messages about groups that this program has put into the outbox.
    pub(super) controls: BTreeSet<Timestamp>,
    /// Another device of our account wants to know our groups.
    pub(super) are_wanted: bool,
    /// Events that wait for the changes of the current step.
    events: Vec<ClientOutput>,
}

/// One group.
#[derive(Debug)]
struct Group {
    known: Known,
    /// Changes that we want to make, in this order.
    wanted: VecDeque<WantedChange>,
    /// The change with which we join with a link, until it is among the wanted ones.
    joining: Option<ChangeId>,
    /// The entry for the first of them. The server may have it.
    draft: Option<Draft>,
    /// Keys that may be the next ones, and who has sent them.
    candidates: Vec<(AccountId, EpochKeys)>,
    removal: Removal,
    /// Whether we have decided about the invitation, or asked the user.
    was_asked: bool,
    /// The last revision that somebody has named.
    announced: u64,
    /// The account that has invited us, according to the session.
    announcer: Option<AccountId>,
    /// Announcements of the group by others, oldest first, one of each account, until the log shows which one is true.
    others: Vec<Announced>,
    /// A change that a member has announced, and that the log has not shown.
    missing: Option<MissingChange>,
    /// Reads because of people who are not members.
    outsiders: OutsiderReads,
    reading: Reading,
}

/// Our knowledge of the log of a group.
#[derive(Debug)]
enum Known {
    /// The data from an invitation, or from another device of ours.
    Announced(EpochKeys, Announcement),
    /// A link with which we want to join.
    Link(Box<GroupLink>),
    /// The state after an entry.
    View(Box<GroupView>),
}

impl Group {
    const fn new(known: Known) -> Self {
        Self {
            known,
            wanted: VecDeque::new(),
            joining: None,
            draft: None,
            candidates: Vec::new(),
            removal: Removal::Unknown,
            was_asked: false,
            announced: 0,
            announcer: None,
            others: Vec::new(),
            missing: None,
            outsiders: OutsiderReads::new(),
            reading: Reading::new(),
        }
    }

    fn state(&self) -> Option<&GroupState> {
        match &self.known {
            Known::Announced(..) | Known::Link(_) => None,
            Known::View(view) => Some(view.state()),
        }
    }

    fn view(&self) -> Option<&GroupView> {
        match &self.known {
            Known::Announced(..) | Known::Link(_) => None,
            Known::View(view) => Some(view),
        }
    }

    /// The keys with which somebody can read the log and change it. `None` if we do not have them ourselves yet.
    fn with_keys(&self, for_admin: bool) -> Option<GroupContent> {
        let view = self.view()?;
        let mut content = GroupContent::notice(view.group(), view.state().revision);
        content.secret = Some(view.secret()?.clone());
        content.admin = view.admin_key().filter(|_| for_admin).cloned();
        content.head = Some(view.head());
        Some(content)
    }

    /// Whether an account is a member, and we do not want to remove it.
    fn is_staying(&self, account: AccountId) -> bool {
        let is_member = |state: &GroupState| state.members.contains_key(&account);
        self.state().is_some_and(is_member) && !self.is_removing(account)
    }

    /// The people whom we have invited, or want to invite.
    fn invited_people(&self) -> BTreeSet<AccountId> {
        let invited = self.state().into_iter().flat_map(|state| state.invited.keys());
        let wanted = self.wanted.iter().filter_map(|wanted| {
            if let GroupChange::Invite(people) = &wanted.change {
                Some(people.keys())
            } else {
                None
            }
        });
        invited.chain(wanted.flatten()).copied().collect()
    }

    fn membership(&self, us: AccountId) -> Membership {
        match self.state() {
            _ if self.is_removed() => Membership::Outside,
            None => Membership::Unread,
            Some(state) if state.members.contains_key(&us) => Membership::Member,
            Some(state) if state.invited.contains_key(&us) => Membership::Invited,
            Some(_) => Membership::Outside,
        }
    }
}

impl Client {
    /// Creates a group with this account as its only member. It exists once the server has it. Returns its id, and that of the
    /// change that creates it.
    ///
    /// # Errors
    /// The title is invalid.
    pub fn create_group(
        &mut self,
        now: Timestamp,
        title: &str,
        app: Option<AppName>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(GroupId, ChangeId), GroupFailure> {
        let id = GroupId::random(rng);
        let change = GroupChange::Create { title: title.to_owned(), app };
        let author = (self.us.account, &self.identity.pair);
        let created = GroupView::create(id, author, change.clone(), rng);
        let (view, draft) = created?;
        let basis = view.state().basis();
        let mut group = Group::new(Known::View(Box::new(view)));
        let created = self.next_change_id();
        group.wanted.push_back(WantedChange { id: Some(created), basis, change });
        group.draft = Some(draft);
        self.groups.groups.insert(id, group);
        self.store_and_run(now, id, rng);
        Ok((id, created))
    }

    /// Changes a group, as soon as the server and the changes of others permit it. `Accept` and `Decline` answer an invitation.
    /// Returns the id of the change.
    ///
    /// # Errors
    /// There is no such group, or it has too many changes that wait.
    pub fn change_group(
        &mut self,
        now: Timestamp,
        id: GroupId,
        change: GroupChange,
        rng: &mut impl CryptoRngCore,
    ) -> Result<ChangeId, GroupFailure> {
        let change_id = self.next_change_id();
        let group = self.groups.groups.get_mut(&id).ok_or(GroupFailure::Unknown)?;
        let state = group.state().ok_or(GroupFailure::Unknown)?;
        let basis = state.basis();
        let leaves = matches!(change, GroupChange::Leave { .. } | GroupChange::Decline);
        group.want(WantedChange { id: Some(change_id), basis, change })?;
        if group.is_removed() {
            // It is made if we get access again, but nobody should wait for that.
            let outcome = if leaves { Ok(()) } else { Err(GroupFailure::Unknown) };
            self.finish_change(Some(change_id), outcome);
        }
        self.store_and_run(now, id, rng);
        Ok(change_id)
    }

    /// Joins a group with a link. Returns its id, and that of the change; `None` if we are a member already.
    pub fn join_group(
        &mut self,
        now: Timestamp,
        link: &GroupLink,
        rng: &mut impl CryptoRngCore,
    ) -> (GroupId, Option<ChangeId>) {
        let id = link.group;
        let us = self.us.account;
        let is_in = self.groups.groups.get(&id).is_some_and(|group| match group.membership(us) {
            Membership::Member => true,
            Membership::Invited | Membership::Outside | Membership::Unread => false,
        });
        if is_in {
            return (id, None);
        }
        let joining = Some(self.next_change_id());
        let group = Group { joining, ..Group::new(Known::Link(Box::new(link.clone()))) };
        if let Some(before) = self.groups.groups.insert(id, group) {
            self.finish_all_changes(before);
        }
        self.store_and_run(now, id, rng);
        (id, joining)
    }

    /// Forgets a group of which we are not a member.
    pub fn forget_group(&mut self, id: GroupId) {
        let membership = self.group_membership(id);
        if matches!(membership, Some(Membership::Outside | Membership::Unread)) {
            let mut changes = Changes::default();
            self.delete_group_keys(id, &mut changes);
            if let Some(group) = self.groups.groups.remove(&id) {
                self.finish_all_changes(group);
            }
            changes.delete(super::StoreKey::Group(id));
            let events = self.take_group_events();
            self.commit(changes, events);
        }
    }

    /// Sends content to all members of a group. Returns the timestamp that identifies the message.
    ///
    /// # Errors
    /// We are not a member.
    pub fn send_to_group(
        &mut self,
        now: Timestamp,
        id: GroupId,
        content: &Content,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Timestamp, GroupFailure> {
        if self.group_membership(id) != Some(Membership::Member) {
            return Err(GroupFailure::Unknown);
        }
        let timestamp = self.next_timestamp(now);
        let mut content = content.clone();
        content.set_timestamp(timestamp);
        let mut changes = Changes::default();
        self.put_group_message(timestamp, id, Some(&content), &mut changes);
        self.forget_deleted(Written::from_content(timestamp, content.clone()), &mut changes);
        let content = Box::new(content);
        changes.outbox.push(OutboxChange::AddedToGroup { timestamp, group: id, content });
        let accepted = ClientEvent::Group(id, GroupEvent::Accepted(timestamp));
        self.commit(changes, vec![ClientOutput::Event(accepted)]);
        self.groups.dirty.insert(id);
        self.run_groups(now, rng);
        Ok(timestamp)
    }

    /// Asks our other devices for the groups of the account, if this device is new: it has not exchanged anything with them, and
    /// does not ask yet.
    pub fn ask_for_groups(&mut self, now: Timestamp, rng: &mut impl CryptoRngCore) {
        let us = self.us;
        let knows_others = self.sessions.keys().any(|address| address.account == us.account)
            || self.outbox.values().any(|outgoing| self.asks_for_groups(outgoing));
        if us.device == DeviceId::PRIMARY || knows_others {
            return;
        }
        let mut changes = Changes::default();
        let request = Content::Sync(SyncMessage::GroupsWanted.encode().to_vec());
        let timestamp = self.put_sync(now, &request, &mut changes);
        self.commit(changes, Vec::new());
        self.groups.unsent.push(timestamp);
        self.run_groups(now, rng);
    }

    /// Sends all groups, with our keys, to our other devices.
    fn share_groups(&mut self, now: Timestamp) {
        let us = self.us.account;
        let is_in = |group: &&Group| group.membership(us) == Membership::Member;
        let with_keys = |group: &Group| {
            let is_admin = group.state().is_some_and(|state| state.is_admin(us));
            group.with_keys(is_admin)
        };
        let contents = self.groups.groups.values().filter(is_in).filter_map(with_keys);
        let mut changes = Changes::default();
        for content in contents.collect::<Vec<_>>() {
            self.put_group_control(now, us, content, &mut changes);
        }
        self.commit(changes, Vec::new());
    }

    /// The ids of all groups.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.groups.keys().copied()
    }

    /// The state of a group after the last entry that we have read.
    pub fn group_state(&self, id: GroupId) -> Option<&GroupState> {
        self.groups.groups.get(&id)?.state()
    }

    /// The relation of our account to a group.
    pub fn group_membership(&self, id: GroupId) -> Option<Membership> {
        Some(self.groups.groups.get(&id)?.membership(self.us.account))
    }

    /// The link with which people join a group; `None` if it is disabled.
    pub fn group_link(&self, id: GroupId) -> Option<GroupLink> {
        self.groups.groups.get(&id)?.view()?.link()
    }

    /// Whether changes of a group that we want to make wait for the server.
    pub fn is_changing_group(&self, id: GroupId) -> bool {
        let groups = &self.groups.groups;
        groups.get(&id).is_some_and(|group| !group.is_removed() && !group.wanted.is_empty())
    }

    /// Whether there may be changes of a group that we have not read yet. `false` if we are neither a member nor invited.
    pub fn is_reading_group(&self, id: GroupId) -> bool {
        let group = self.groups.groups.get(&id);
        group.is_some_and(|group| {
            group.membership(self.us.account) != Membership::Outside && group.reading.is_needed()
        })
    }

    /// Number of messages of groups that the server may accept soon: those to members, and those about groups.
    pub fn waiting_group_messages(&self) -> usize {
        let is_blocked = |outgoing: &&Outgoing| {
            let peer = self.peers.get(&outgoing.to);
            peer.is_some_and(|peer| peer.changed.is_some())
                || self.groups.without_room.contains(&outgoing.to)
                || self.permission(outgoing) == Permission::Later
        };
        let controls = self.groups.controls.iter().filter_map(|it| self.outbox.get(it));
        let messages = self.groups.outbox.values().filter(|message| message.waiting.is_none());
        let may_continue =
            |id: GroupId| matches!(self.group_delay(id), None | Some(GroupDelay::Unread));
        let messages =
            messages.filter(|message| may_continue(message.group) && !self.awaits_invited(message));
        messages.count() + controls.filter(|outgoing| !is_blocked(outgoing)).count()
    }

    /// The messages to groups that the server has not accepted yet, in the order in which they were written.
    pub fn group_outbox(&self) -> impl Iterator<Item = (Timestamp, GroupId)> {
        let messages = self.groups.outbox.iter().filter(|(_, message)| message.is_written());
        messages.map(|(timestamp, message)| (*timestamp, message.group))
    }

    /// Continues with all groups that may have to.
    pub(super) fn run_groups(&mut self, now: Timestamp, rng: &mut impl CryptoRngCore) {
        // Each step may make the same group dirty again, but every step makes progress or waits for a response.
        loop {
            if std::mem::take(&mut self.groups.are_wanted) {
                self.share_groups(now);
            }
            for timestamp in std::mem::take(&mut self.groups.unsent) {
                self.advance(now, timestamp);
            }
            let Some(id) = self.groups.dirty.pop_first() else { return };
            self.advance_group_log(now, id, rng);
            self.advance_group_messages(now, id, rng);
        }
    }

    /// A new connection is open: nothing waits for a response any more.
    pub(super) fn restart_groups(&mut self, now: Timestamp) {
        self.groups.absent.clear();
        for (id, group) in &mut self.groups.groups {
            group.reading.restart();
            self.groups.dirty.insert(*id);
        }
        self.wake_waiting(now);
    }

    fn store_and_run(&mut self, now: Timestamp, id: GroupId, rng: &mut impl CryptoRngCore) {
        let mut changes = Changes::default();
        self.put_group(id, &mut changes);
        let events = self.take_group_events();
        self.commit(changes, events);
        self.groups.dirty.insert(id);
        self.run_groups(now, rng);
    }

    fn group_event(&mut self, id: GroupId, event: GroupEvent) {
        self.groups.events.push(ClientOutput::Event(ClientEvent::Group(id, event)));
    }

    /// The events of the current step, which wait for its changes.
    pub(super) fn take_group_events(&mut self) -> Vec<ClientOutput> {
        std::mem::take(&mut self.groups.events)
    }
}
