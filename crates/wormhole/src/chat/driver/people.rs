//! The people who may write to the user, those who are blocked, and those who wait for a decision.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, ClientInput, Content, Envelope, IdentityChoice, IdentitySync, Membership, Received,
    RequestDecision, SyncMessage,
};
use zeroize::Zeroizing;

use super::Driver;
use super::decisions::Update;
use crate::chat::store::{Contact, Decision, Evidence};

/// A decision of the user about somebody.
#[derive(Clone, Debug)]
pub(in crate::chat) enum Choice {
    Accept,
    Block,
    Delete,
    Report(Vec<Evidence>),
    /// No longer block. `true` if the user has accepted the person before.
    Unblock(bool),
}

impl Driver {
    /// Whether the user has blocked an account.
    pub(in crate::chat) fn is_blocked(&self, account: AccountId) -> bool {
        self.blocked.contains(&account)
    }

    /// Stores what the user decides, and answers when it is durable. The server and our other devices learn it later.
    pub(in crate::chat) fn choose(
        &mut self,
        account: AccountId,
        choice: Choice,
        reply: oneshot::Sender<()>,
    ) {
        let (decision, synced) = match choice {
            Choice::Accept => (Decision::Accept, RequestDecision::Accept),
            Choice::Block => (Decision::Block, RequestDecision::Block),
            Choice::Delete | Choice::Unblock(false) => (Decision::Delete, RequestDecision::Delete),
            Choice::Report(evidence) if evidence.is_empty() => {
                (Decision::Block, RequestDecision::Block)
            }
            Choice::Report(evidence) => (Decision::Report(evidence), RequestDecision::Block),
            Choice::Unblock(true) => (Decision::Accept, RequestDecision::Accept),
        };
        self.apply(account, synced);
        self.decisions.add(account, decision.clone());
        self.commits.people().decisions.insert(account, Some(decision));
        self.signals.decisions.send_replace(self.decisions.len());
        self.share_decision(account, synced);
        self.commits.reply(reply);
    }

    /// Changes what is stored here about an account.
    pub(super) fn apply(&mut self, account: AccountId, decision: RequestDecision) {
        let is_blocked = decision == RequestDecision::Block;
        if is_blocked != self.blocked.contains(&account) {
            self.set_blocked(account, is_blocked);
        }
        match decision {
            RequestDecision::Accept => {
                self.add_accepted(account);
                self.input(ClientInput::Keep(account));
            }
            // `Client::block` also replaces the profile key: with the old one, the blocked person could still send sealed messages,
            // which are only refused here.
            RequestDecision::Block | RequestDecision::Delete => {
                self.input(ClientInput::DoNotKeep(account));
                self.commits.people().deleted.insert(account);
                self.accepted.remove(&account);
                self.forget_timer(account);
                // The server forgets that it may write, too.
                if self.members.remove(&account) {
                    self.store_members();
                }
            }
        }
    }

    /// The user wants the messages of an account.
    pub(super) fn add_accepted(&mut self, account: AccountId) {
        self.accepted.insert(account);
        self.commits.add_written_to(account);
    }

    fn set_blocked(&mut self, account: AccountId, is_blocked: bool) {
        if is_blocked {
            self.blocked.insert(account);
        } else {
            self.blocked.remove(&account);
        }
        self.commits.people().blocked.insert(account, is_blocked);
    }

    /// Notifies the server that the user knows somebody.
    pub(super) fn notify_accepted(&mut self, account: AccountId) {
        if self.holds_requests && !self.blocked.contains(&account) {
            self.decisions.add(account, Decision::Accept);
            self.commits.people().decisions.insert(account, Some(Decision::Accept));
            self.signals.decisions.send_replace(self.decisions.len());
        }
    }

    /// Like [`Self::accept_members`], but for all groups: entries of their logs may have been read without this step.
    pub(super) fn accept_all_members(&mut self) {
        let groups: Vec<_> = self.core.groups().collect();
        groups.into_iter().for_each(|group| self.accept_members(group));
    }

    /// Accepts the members of a group: they write to each other without knowing each other. Messages to one person still wait
    /// for the user's decision here.
    pub(super) fn accept_members(&mut self, group: GroupId) {
        if !self.holds_requests || self.core.group_membership(group) != Some(Membership::Member) {
            return;
        }
        let members = self.core.group_state(group).into_iter().flat_map(|it| it.members.keys());
        let is_new = |account: &&AccountId| {
            let is_known = self.members.contains(account) || self.blocked.contains(account);
            **account != self.own && !is_known
        };
        let room = MAX_MEMBERS.saturating_sub(self.members.len());
        let new: Vec<_> = members.filter(is_new).take(room).copied().collect();
        if new.is_empty() {
            return;
        }
        self.members.extend(new.iter().copied());
        new.into_iter().for_each(|account| self.notify_accepted(account));
        self.store_members();
    }

    /// Stores of which members the server has learned, or will learn, that they may write.
    fn store_members(&mut self) {
        let ids = self.members.iter().flat_map(|account| *account.as_bytes()).collect();
        self.commits.add_setting(MEMBERS.to_owned(), Some(Zeroizing::new(ids)));
    }

    /// Applies a decision of another device of our account.
    pub(super) fn learn_decisions(&mut self, received: &[Received]) {
        for received in received {
            let Content::Sync(sync) = &received.content else { continue };
            // The core accepts such messages only from our account.
            match SyncMessage::decode(sync) {
                Ok(SyncMessage::Configuration(configuration)) => {
                    self.learn_configuration(configuration);
                }
                Ok(SyncMessage::GroupsWanted) => self.share_everything(),
                Ok(SyncMessage::Identities(decisions)) => {
                    decisions.iter().for_each(|decision| self.learn_identity(decision));
                }
                Ok(SyncMessage::Names(names)) => self.learn_names(names),
                Ok(SyncMessage::Requests(requests)) => self.learn_people(requests),
                Ok(SyncMessage::Timers(timers)) => self.learn_timers(&timers),
                // The core has compared it with its own.
                Ok(
                    SyncMessage::DeviceList(_)
                    | SyncMessage::Other
                    | SyncMessage::Read(_)
                    | SyncMessage::Sent(_)
                    | SyncMessage::SentToGroup(_),
                )
                | Err(_) => {}
            }
        }
    }

    /// Records a decision of another device about an identity key. The core has applied it already.
    fn learn_identity(&mut self, sync: &IdentitySync) {
        let IdentitySync { account, key, decision, decided: _ } = *sync;
        let Some(known) = self.core.identity_of(account).filter(|_| account != self.own) else {
            return;
        };
        if known.changed.is_none() {
            self.outbox.set_blocked(account, None);
        }
        if decision == IdentityChoice::Verified && known.accepted == key {
            let contact = self.contacts.get(account).cloned();
            let contact = contact.unwrap_or_else(|| crate::chat::contact(account));
            self.put(Contact { verified: Some(key), ..contact });
        }
    }

    /// Remembers what proves a message to the server.
    pub(super) fn remember_evidence(&mut self, received: &[Received]) {
        let Some(evidence) = self.evidence.take().filter(|_| self.holds_requests) else { return };
        for received in received.iter().filter(|it| it.from.account != self.own) {
            self.commits.people().evidence.push((received.from.account, evidence));
        }
    }

    /// Removes a decision that the server has learned.
    pub(super) fn handle_uploaded(&mut self, update: &Update) {
        match update {
            Update::Capability(has_requests) => {
                let value = Zeroizing::new(vec![u8::from(*has_requests)]);
                self.commits.add_setting(CAPABILITY.to_owned(), Some(value));
            }
            Update::Decision(account, _) if self.decisions.is_uploaded(*account) => {
                self.commits.people().decisions.insert(*account, None);
            }
            Update::Decision(..) => {}
        }
        self.signals.decisions.send_replace(self.decisions.len());
    }
}

/// The accounts in the setting [`MEMBERS`].
pub(super) fn members(setting: &[u8]) -> BTreeSet<AccountId> {
    let ids = setting.chunks_exact(16).filter_map(|id| id.try_into().ok());
    ids.map(AccountId::from_bytes).take(MAX_MEMBERS).collect()
}

/// Returns the proof for the server that it has delivered this envelope.
pub(super) fn evidence(envelope: &Envelope) -> Option<Evidence> {
    let guid: AccountId = envelope.guid.as_ref()?.parse().ok()?;
    let content = envelope.content.as_ref().or(envelope.body.as_ref())?;
    Some(Evidence {
        guid: *guid.as_bytes(),
        accepted: envelope.server_timestamp?,
        content: Sha256::digest(content).into(),
        token: envelope.report_token.as_ref()?.as_slice().try_into().ok()?,
    })
}

/// The setting that says what the server knows about message requests on this device.
pub(in crate::chat) const CAPABILITY: &str = "wormhole.requests";

/// The setting with the ids of [`Driver::members`].
pub(in crate::chat) const MEMBERS: &str = "wormhole.members";

/// Maximum number of members of groups of whom the server is told that they may write. It keeps twice as many accounts, so members do
/// not displace people whom the user knows; messages of more members wait there until somebody is asked.
const MAX_MEMBERS: usize = 10_000;

/// Maximum number of blocked accounts. A service keeps as many.
pub(in crate::chat) const MAX_BLOCKED: usize = 2000;
