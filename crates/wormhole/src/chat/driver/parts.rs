//! The parts of a new driver, and how it is made of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rand_core::OsRng;
use tokio::sync::mpsc;
use wormhole_chat::{AccountId, Client as Core, ClientInput, PublicKey, SenderCertificate};

use super::commits::{Commits, Counts};
use super::contacts::Contacts;
use super::decisions::Decisions;
use super::direct::DirectOffers;
use super::group_changes::GroupChanges;
use super::history::HistoryUpkeep;
use super::names::NameTimes;
use super::outbox::Outbox;
use super::people::{CAPABILITY, MEMBERS};
use super::profiles::Profiles;
use super::receipts::Receipts;
use super::requests::Requests;
use super::sealing::Sealing;
use super::shared::Shared;
use super::socket::Socket;
use super::timers::Timers;
use super::upkeep::Upkeep;
use super::{Driver, Signals, Task};
use crate::chat::account::{SharedStore, now};
use crate::chat::direct::DirectFiles;
use crate::chat::profile::OwnProfile;
use crate::chat::service::Service;
use crate::chat::store::{Contact, Decision, Store, StoreError};

/// The parts of a new driver.
pub(in crate::chat) struct DriverParts {
    pub(in crate::chat) core: Core,
    pub(in crate::chat) store: SharedStore,
    pub(in crate::chat) service: Arc<Service>,
    pub(in crate::chat) contacts: Vec<Contact>,
    pub(in crate::chat) own: OwnRows,
    pub(in crate::chat) counts: Counts,
    pub(in crate::chat) people: People,
    pub(in crate::chat) settings: Settings,
    pub(in crate::chat) max_unread: usize,
    pub(in crate::chat) direct: Option<DirectFiles>,
    /// Where files that come directly are.
    pub(in crate::chat) direct_folder: Arc<Path>,
    pub(in crate::chat) signals: Arc<Signals>,
    pub(in crate::chat) tasks: mpsc::Receiver<Task>,
}

/// The stored decisions about people who write to the user.
pub(in crate::chat) struct People {
    pub(in crate::chat) blocked: BTreeSet<AccountId>,
    /// Those whose messages the user wants.
    pub(super) accepted: BTreeSet<AccountId>,
    /// The decisions that the server does not know yet.
    pub(in crate::chat) decisions: Vec<(AccountId, Decision)>,
    /// Members of groups of whom the server has learned that they may write, or of whom `decisions` says it.
    pub(super) members: BTreeSet<AccountId>,
    /// Whether messages of people that the user does not know wait for a decision.
    pub(super) holds_requests: bool,
    /// The value of `holds_requests` that the server must learn; `None` if it knows it.
    pub(super) capability: Option<bool>,
}

impl People {
    /// Reads it.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub(in crate::chat) fn load(store: &Store, holds_requests: bool) -> Result<Self, StoreError> {
        let known = store.setting(CAPABILITY)?.is_some_and(|known| *known == [1]);
        let capability = Some(holds_requests).filter(|holds| *holds != known);
        let (blocked, decisions) = (store.blocked().clone(), store.decisions()?);
        let members =
            store.setting(MEMBERS)?.map(|ids| super::people::members(&ids)).unwrap_or_default();
        let accepted = store.accepted().clone();
        Ok(Self { blocked, accepted, decisions, members, holds_requests, capability })
    }
}

/// The stored settings of the user.
#[derive(Debug)]
pub(in crate::chat) struct Settings {
    pub(in crate::chat) names: NameTimes,
    pub(in crate::chat) timers: Timers,
    pub(in crate::chat) shared: Shared,
    /// Whether others may learn what the user has read.
    pub(in crate::chat) are_read_receipts_on: bool,
}

/// The stored rows about our own account.
pub(in crate::chat) struct OwnRows {
    pub(in crate::chat) registration_id: u32,
    /// Our profile, if this device knows its key.
    pub(in crate::chat) profile: Option<OwnProfile>,
    /// The pinned key of the service.
    pub(in crate::chat) root: Option<PublicKey>,
    pub(in crate::chat) certificate: Option<SenderCertificate>,
}

impl Driver {
    pub(in crate::chat) fn new(parts: DriverParts) -> Self {
        let DriverParts { mut core, store, service, contacts, own, counts, people, .. } = parts;
        let DriverParts { settings, max_unread, signals, tasks, direct, direct_folder, .. } = parts;
        let People { blocked, accepted, decisions, members, holds_requests, capability } = people;
        let OwnRows { registration_id, profile: own_profile, root, certificate } = own;
        core.set_roots(root.into_iter().collect());
        core.manage_device_list();
        let sealing = Arc::new(Sealing::new(core.sealer(), root, certificate));
        let us = core.address().account;
        for known in contacts.iter().filter(|contact| contact.is_known()) {
            if !blocked.contains(&known.account) {
                core.handle(now(), ClientInput::Keep(known.account), &mut OsRng);
            }
            describe(&mut core, known);
        }
        signals.syncs.send_replace(core.waiting_syncs());
        Self {
            outbox: Outbox::new(&core),
            own: core.address().account,
            core,
            store,
            tasks,
            signals,
            commits: Commits::default(),
            requests: Requests::new(Arc::clone(&service), Arc::clone(&sealing)),
            sealing,
            profiles: Profiles::new(Arc::clone(&service), us, registration_id, root.is_none()),
            own_profile,
            socket: Socket::new(Arc::clone(&service)),
            upkeep: Upkeep::new(Arc::clone(&service)),
            history: HistoryUpkeep::new(counts.history_due),
            contacts: Contacts::new(contacts),
            decisions: Decisions::new(Arc::clone(&service), decisions, capability),
            direct: DirectOffers::new(direct, direct_folder),
            blocked,
            accepted,
            members,
            holds_requests,
            accepting: VecDeque::new(),
            accepting_groups: BTreeMap::new(),
            group_changes: GroupChanges::default(),
            receipts: Receipts::new(settings.are_read_receipts_on),
            shared: settings.shared,
            names: settings.names,
            timers: settings.timers,
            deliveries: BTreeMap::new(),
            hashes: BTreeMap::new(),
            again: VecDeque::new(),
            last_delivery: 0,
            source: None,
            envelope: None,
            evidence: None,
            counts,
            max_unread,
            is_up_to_date: false,
            closing: None,
        }
    }
}

/// Tells the client what our other devices may learn about a contact: not what only an envelope claims.
pub(super) fn describe(core: &mut Core, contact: &Contact) {
    if contact.is_default || contact.is_in_app {
        core.describe(contact.account, contact.number.clone(), contact.app.clone());
    }
}
