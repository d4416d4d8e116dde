//! Reads the stored parts of a client before it starts.

use std::path::Path;
use std::sync::Arc;

use wormhole_chat::{Address, Client as Core, DeviceId};

use super::changes::{READ_RECEIPTS, are_read_receipts_on};
use crate::chat::account::{Account, service_of};
use crate::chat::driver::{
    CONFIGURATION, Counts, GROUP_TIMERS, NAMES, NameTimes, OwnRows, PEOPLE, People, Settings,
    Shared, TIMERS, Timers,
};
use crate::chat::error::OpenError;
use crate::chat::message::Me;
use crate::chat::profile::OwnProfile;
use crate::chat::service::Service;
use crate::chat::store::{Commit, Contact, Registration, StoreError};

/// The stored parts of a new client.
pub(super) struct Restored {
    pub(super) core: Core,
    pub(super) me: Me,
    pub(super) service: Service,
    pub(super) contacts: Vec<Contact>,
    pub(super) own: OwnRows,
    pub(super) counts: Counts,
    pub(super) people: People,
    pub(super) settings: Settings,
    pub(super) partials: Arc<Path>,
}

impl Restored {
    pub(super) async fn load(account: &Account, holds_requests: bool) -> Result<Self, OpenError> {
        let (registration, core) = account.registered().await?;
        let read = account.store.run(move |store| {
            store.set_holds_requests(holds_requests);
            let people = People::load(store, holds_requests)?;
            let (contacts, counts) = (store.contacts()?, Counts::new(store));
            let [timers, group_timers, receipts] =
                [TIMERS, GROUP_TIMERS, READ_RECEIPTS].map(|name| store.setting(name));
            let names = store.setting(NAMES)?;
            let names = NameTimes::decode(names.as_deref().map(Vec::as_slice));
            let [decided, configuration] = [PEOPLE, CONFIGURATION].map(|name| store.setting(name));
            let (decided, configuration) = (decided?, configuration?);
            let shared = Shared::decode(
                decided.as_deref().map(Vec::as_slice),
                configuration.as_deref().map(Vec::as_slice),
            );
            let (timers, groups) = (timers?.unwrap_or_default(), group_timers?.unwrap_or_default());
            let timers = Timers::decode(&timers, &groups);
            let receipts = are_read_receipts_on(receipts?.as_deref().map(Vec::as_slice));
            let settings = Settings { names, timers, shared, are_read_receipts_on: receipts };
            let partials = store.directory().join("downloads").into();
            Ok::<_, OpenError>((contacts, counts, people, settings, partials))
        });
        let (contacts, counts, people, settings, partials) = read.await?;
        let own = own_rows(account, &registration, core.address()).await?;
        let me = Me::from_registration(&registration).ok_or(OpenError::NotRegistered)?;
        let service = service_of(&registration, &account.network)?;
        Ok(Self { core, me, service, contacts, own, counts, people, settings, partials })
    }
}

/// Reads the rows about our own account. The primary device of an account that was registered by an earlier version gets a
/// profile now; other devices wait until they learn the key from it.
async fn own_rows(
    account: &Account,
    registration: &Registration,
    us: Address,
) -> Result<OwnRows, StoreError> {
    let registration_id = registration.registration_id;
    let read = account.store.run(move |store| {
        let (root, certificate) = (store.root()?, store.certificate()?);
        let mut profile = store.own_profile()?;
        if profile.is_none() && us.device == DeviceId::PRIMARY {
            let new = OwnProfile::random();
            let mut commit = Commit::default();
            commit.put_own_profile(&new);
            store.commit(&commit)?;
            profile = Some(new);
        }
        Ok(OwnRows { registration_id, profile, root, certificate })
    });
    read.await
}
