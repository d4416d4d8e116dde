//! The operations on rows and the statements of a turn, inside of an open transaction.

use rusqlite::Connection;
use wormhole_chat::service::{AppName, Destination, PhoneNumber, Username};
use wormhole_chat::{AccountId, Timestamp};

use super::counters::{Counters, QueueSizes};
use super::{accounts, cache, consent, delivery, devices, keys, linking, profiles, queues};
use crate::messaging::store::cache::AccountCache;
use crate::messaging::store::tables::{
    DeviceReader, Owner, PublishedKeys, QueueSize, RecipientDevice, SenderQueue, StoredMessage,
    SubmissionKey, Tables, TakenMessage, WantedKeys,
};
use crate::messaging::store::{
    Account, AccountKey, Acknowledgement, App, AppKey, Avatar, Consent, DeliveryKeys, Device,
    DeviceColumns, DeviceKey, Found, IntraApp, KeySet, LinkCode, Login, NewAccount, OneTimeKey,
    Page, PageRequest, Pair, PendingCode, Profile, ProvisioningAddress, ReadRows, ReportKey, Rows,
    SignedKey, StoreError,
};

type Stored<T> = Result<T, StoreError>;

/// The tables.
#[derive(Debug)]
pub(super) struct SqliteTables<'a> {
    pub(super) database: &'a Connection,
    pub(super) counters: &'a mut Counters,
    pub(super) queues: &'a mut QueueSizes,
    pub(super) cache: &'a mut AccountCache,
    pub(super) report_key: &'a ReportKey,
    /// Devices that this transaction has removed.
    pub(super) removed: Vec<DeviceKey>,
}

impl ReadRows for SqliteTables<'_> {
    fn app(&mut self, name: &AppName) -> Stored<Option<App>> {
        Ok(accounts::app(self.database, name)?)
    }

    fn apps(&mut self) -> Stored<Vec<App>> {
        Ok(accounts::apps(self.database)?)
    }

    fn account(&mut self, id: AccountId) -> Stored<Option<Account>> {
        Ok(accounts::account(self.database, id)?)
    }

    fn accounts_of(&mut self, number: &PhoneNumber) -> Stored<Vec<Account>> {
        Ok(accounts::accounts_of(self.database, number)?)
    }

    fn account_with_name(&mut self, name: &Username) -> Stored<Option<Account>> {
        Ok(accounts::resolve(self.database, &Destination::Username(name.clone()))?)
    }

    fn username(&mut self, account: AccountKey) -> Stored<Option<Username>> {
        Ok(accounts::username(self.database, account)?)
    }

    fn accounts_with_tokens(&mut self, tokens: &[[u8; 10]]) -> Stored<Vec<Account>> {
        let mut found = Vec::new();
        for token in tokens {
            found.extend(accounts::accounts_with_token(self.database, token)?);
        }
        Ok(found)
    }

    fn devices(&mut self, account: AccountKey) -> Stored<Vec<Device>> {
        Ok(devices::devices(self.database, account)?)
    }

    fn count_keys(&mut self, device: DeviceKey) -> Stored<[u64; 2]> {
        Ok(keys::count(self.database, device)?)
    }

    fn signed_key(&mut self, device: DeviceKey) -> Stored<Option<SignedKey>> {
        Ok(keys::published(self.database, device)?.signed)
    }

    fn device_code(&mut self, account: AccountKey) -> Stored<Option<LinkCode>> {
        Ok(linking::code(self.database, account)?)
    }

    fn profile(&mut self, account: AccountKey) -> Stored<Option<Profile>> {
        Ok(profiles::profile(self.database, account)?)
    }

    fn has_avatar(&mut self, avatar: Avatar) -> Stored<bool> {
        Ok(profiles::has_avatar(self.database, avatar)?)
    }

    fn delivery_keys(&mut self) -> Stored<Option<DeliveryKeys>> {
        Ok(delivery::keys(self.database)?)
    }
}

impl Rows for SqliteTables<'_> {
    fn insert_app(&mut self, name: &AppName, intra: IntraApp) -> Stored<Option<AppKey>> {
        Ok(accounts::insert_app(self.database, name, intra)?)
    }

    fn update_app(&mut self, app: &App) -> Stored<()> {
        Ok(accounts::update_app(self.database, app)?)
    }

    fn pending_code(&mut self, number: &PhoneNumber) -> Stored<Option<PendingCode>> {
        Ok(accounts::pending_code(self.database, number)?)
    }

    fn put_pending_code(&mut self, number: &PhoneNumber, code: Option<&PendingCode>) -> Stored<()> {
        Ok(accounts::put_pending_code(self.database, number, code)?)
    }

    fn put_device_code(&mut self, account: AccountKey, code: Option<&LinkCode>) -> Stored<()> {
        Ok(linking::put_code(self.database, account, code)?)
    }

    fn insert_provisioning(
        &mut self,
        address: ProvisioningAddress,
        opened: Timestamp,
    ) -> Stored<()> {
        Ok(linking::insert_address(self.database, address, opened)?)
    }

    fn put_provisioning_message(
        &mut self,
        address: ProvisioningAddress,
        oldest: Timestamp,
        message: &[u8],
    ) -> Stored<bool> {
        Ok(linking::put_message(self.database, address, oldest, message)?)
    }

    fn take_provisioning_message(
        &mut self,
        address: ProvisioningAddress,
    ) -> Stored<Option<Vec<u8>>> {
        Ok(linking::take_message(self.database, address)?)
    }

    fn delete_provisioning(&mut self, address: ProvisioningAddress) -> Stored<()> {
        Ok(linking::delete_address(self.database, address)?)
    }

    fn put_profile(&mut self, account: AccountKey, profile: Option<&Profile>) -> Stored<()> {
        Ok(profiles::put(self.database, account, profile)?)
    }

    fn insert_delivery_keys(&mut self, keys: &DeliveryKeys) -> Stored<()> {
        Ok(delivery::insert_keys(self.database, keys)?)
    }

    fn insert_account(&mut self, account: &NewAccount) -> Stored<Account> {
        self.cache.clear();
        let key = accounts::insert_account(self.database, account)?;
        let missing = || StoreError::Inconsistent("the app of a new account does not exist");
        accounts::account_at(self.database, key)?.ok_or_else(missing)
    }

    fn update_account(&mut self, account: &Account) -> Stored<()> {
        self.cache.clear();
        Ok(accounts::update_account(self.database, account)?)
    }

    fn put_username(&mut self, account: AccountKey, name: Option<&Username>) -> Stored<()> {
        self.cache.clear();
        Ok(accounts::put_username(self.database, account, name)?)
    }

    fn delete_account(&mut self, account: AccountKey) -> Stored<()> {
        for device in devices::recipients(self.database, account)? {
            self.delete_device(device.key)?;
        }
        self.cache.clear();
        linking::put_code(self.database, account, None)?;
        consent::delete_account(self.database, account)?;
        accounts::put_username(self.database, account, None)?;
        profiles::put(self.database, account, None)?;
        Ok(accounts::delete_account(self.database, account)?)
    }

    fn insert_device(&mut self, account: AccountKey, device: &DeviceColumns) -> Stored<DeviceKey> {
        self.cache.forget_account(account);
        Ok(devices::insert(self.database, account, device)?)
    }

    fn update_device(&mut self, key: DeviceKey, device: &DeviceColumns) -> Stored<()> {
        self.cache.forget_device(key);
        Ok(devices::update(self.database, key, device)?)
    }

    fn record_last_seen(&mut self, device: DeviceKey, day: Timestamp) -> Stored<()> {
        self.cache.forget_device(device);
        Ok(devices::see(self.database, device, day)?)
    }

    fn delete_device(&mut self, device: DeviceKey) -> Stored<()> {
        self.counters.remove_messages(queues::delete(self.database, device)?);
        self.queues.forget(device);
        self.cache.forget_device(device);
        keys::delete(self.database, device)?;
        devices::delete(self.database, device)?;
        self.removed.push(device);
        Ok(())
    }

    fn removed_devices(&mut self) -> Vec<DeviceKey> {
        self.removed.clone()
    }

    fn put_keys(&mut self, device: DeviceKey, keys: &KeySet) -> Stored<()> {
        self.cache.forget_device(device);
        Ok(keys::put(self.database, device, keys)?)
    }

    fn delete_keys(&mut self, device: DeviceKey) -> Stored<()> {
        self.cache.forget_device(device);
        Ok(keys::withdraw(self.database, device)?)
    }
}

impl Tables for SqliteTables<'_> {
    fn find(&mut self, logins: &[&Login]) -> Stored<Vec<Vec<Found>>> {
        each(logins, |login| devices::find(self.database, login))
    }

    fn resolve(&mut self, destinations: &[&Destination]) -> Stored<Vec<Option<Account>>> {
        each(destinations, |destination| cache::resolve(self.cache, self.database, destination))
    }

    fn recipients(&mut self, accounts: &[AccountKey]) -> Stored<Vec<Vec<RecipientDevice>>> {
        each(accounts, |account| cache::recipients(self.cache, self.database, *account))
    }

    fn published_keys(&mut self, devices: &[DeviceKey]) -> Stored<Vec<PublishedKeys>> {
        each(devices, |device| keys::published(self.database, *device))
    }

    fn take_one_time_keys(&mut self, wanted: &[WantedKeys]) -> Stored<Vec<Vec<OneTimeKey>>> {
        each(wanted, |wanted| keys::take(self.database, wanted))
    }

    fn take_messages(
        &mut self,
        acknowledgements: &[&Acknowledgement],
    ) -> Stored<Vec<Option<TakenMessage>>> {
        each(acknowledgements, |acknowledgement| {
            let taken = queues::take(self.database, acknowledgement)?;
            Ok(taken.map(|(message, bytes)| {
                let (device, source) = (acknowledgement.device, message.source);
                self.counters.remove_messages(1);
                self.queues.remove(SenderQueue { device, source }, bytes);
                message
            }))
        })
    }

    fn owners(&mut self, devices: &[DeviceKey]) -> Stored<Vec<Option<Owner>>> {
        each(devices, |device| cache::owner(self.cache, self.database, *device))
    }

    fn queue_sizes(&mut self, queues: &[SenderQueue]) -> Stored<Vec<QueueSize>> {
        each(queues, |queue| self.queues.get(self.database, *queue))
    }

    fn insert_messages(&mut self, messages: &[StoredMessage<'_>]) -> Stored<()> {
        for message in messages {
            queues::insert(self.database, self.counters.add_message(), message)?;
            let queue = SenderQueue { device: message.device, source: message.source };
            self.queues.add(queue, message.bytes());
        }
        Ok(())
    }

    fn were_sent(&mut self, submissions: &[SubmissionKey]) -> Stored<Vec<bool>> {
        each(submissions, |submission| queues::was_sent(self.database, submission))
    }

    fn insert_sent(&mut self, submissions: &[SubmissionKey], now: Timestamp) -> Stored<()> {
        for submission in submissions {
            queues::insert_sent(self.database, submission, now)?;
        }
        Ok(())
    }

    fn consents(&mut self, pairs: &[Pair]) -> Stored<Vec<Option<Consent>>> {
        each(pairs, |pair| consent::cached(self.cache, self.database, *pair))
    }

    fn count_requests_of(&mut self, senders: &[AccountKey]) -> Stored<Vec<u64>> {
        each(senders, |sender| consent::count_requests_of(self.database, *sender))
    }

    fn update_consents(&mut self, changed: &[(Pair, Consent)]) -> Stored<()> {
        Ok(consent::update(self.database, changed)?)
    }

    fn readers(&mut self, devices: &[DeviceKey]) -> Stored<Vec<Option<DeviceReader>>> {
        each(devices, |device| devices::reader(self.database, *device))
    }

    fn pages(&mut self, pages: &[PageRequest], oldest_ephemeral: Timestamp) -> Stored<Vec<Page>> {
        each(pages, |request| queues::page(self.database, request, oldest_ephemeral))
    }
}

/// Executes a statement for each entry of a list.
fn each<T, R>(list: &[T], execute: impl FnMut(&T) -> rusqlite::Result<R>) -> Stored<Vec<R>> {
    Ok(list.iter().map(execute).collect::<rusqlite::Result<_>>()?)
}
