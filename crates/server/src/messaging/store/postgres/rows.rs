//! The operations on single rows. Their transactions run alone, so nothing else needs to be locked.

use std::time::Duration;

use tokio_postgres::types::ToSql;
use wormhole_chat::service::{AppName, PhoneNumber, Username};
use wormhole_chat::{AccountId, Timestamp, directory_token};

use super::columns::{Columns, stored};
use super::transaction::{PostgresTables, Stored};
use crate::messaging::store::rules::before;
use crate::messaging::store::{
    Account, AccountKey, App, AppKey, Avatar, DeliveryKeys, Device, DeviceColumns, DeviceKey,
    IntraApp, KeyKind, KeySet, LinkCode, NewAccount, OneTimeKey, PendingCode, Profile,
    ProvisioningAddress, ReadRows, Rows, SignedKey, StoreError,
};

impl ReadRows for PostgresTables<'_> {
    fn app(&mut self, name: &AppName) -> Stored<Option<App>> {
        Ok(self.read(|it| &it.app, &[&name.as_str()], |it| it.app())?.pop())
    }

    fn apps(&mut self) -> Stored<Vec<App>> {
        self.read(|it| &it.apps, &[], |it| it.app())
    }

    fn account(&mut self, id: AccountId) -> Stored<Option<Account>> {
        Ok(self.read(|it| &it.account, &[&id.as_bytes().as_slice()], |it| it.account())?.pop())
    }

    fn accounts_of(&mut self, number: &PhoneNumber) -> Stored<Vec<Account>> {
        self.read(|it| &it.accounts_of, &[&number.as_str()], |it| it.account())
    }

    fn account_with_name(&mut self, name: &Username) -> Stored<Option<Account>> {
        let name = name.as_str();
        Ok(self.read(|it| &it.account_with_name, &[&name], |it| it.account())?.pop())
    }

    fn username(&mut self, account: AccountKey) -> Stored<Option<Username>> {
        Ok(self.read(|it| &it.username, &[&account.0], |it| it.parsed())?.pop())
    }

    fn accounts_with_tokens(&mut self, tokens: &[[u8; 10]]) -> Stored<Vec<Account>> {
        let tokens: Vec<&[u8]> = tokens.iter().map(<[u8; 10]>::as_slice).collect();
        self.read(|it| &it.accounts_with_tokens, &[&tokens], |it| it.account())
    }

    fn devices(&mut self, account: AccountKey) -> Stored<Vec<Device>> {
        self.read(|it| &it.devices, &[&account.0], |it| it.device())
    }

    fn count_keys(&mut self, device: DeviceKey) -> Stored<[u64; 2]> {
        let read = |columns: &mut Columns<'_>| Ok([columns.number()?, columns.number()?]);
        Ok(self.read(|it| &it.count_keys, &[&device.0], read)?.pop().unwrap_or_default())
    }

    fn signed_key(&mut self, device: DeviceKey) -> Stored<Option<SignedKey>> {
        let read = |columns: &mut Columns<'_>| {
            columns.index()?;
            columns.signed_key()
        };
        Ok(self.read(|it| &it.published_keys, &[&vec![device.0]], read)?.pop().flatten())
    }

    fn device_code(&mut self, account: AccountKey) -> Stored<Option<LinkCode>> {
        self.read_device_code(account)
    }

    fn profile(&mut self, account: AccountKey) -> Stored<Option<Profile>> {
        self.read_profile(account)
    }

    fn has_avatar(&mut self, avatar: Avatar) -> Stored<bool> {
        self.find_avatar(avatar)
    }

    fn delivery_keys(&mut self) -> Stored<Option<DeliveryKeys>> {
        self.read_delivery_keys()
    }
}

impl Rows for PostgresTables<'_> {
    fn insert_app(&mut self, name: &AppName, intra: IntraApp) -> Stored<Option<AppKey>> {
        let row: [&(dyn ToSql + Sync); 2] = [&name.as_str(), &(intra == IntraApp::Refused)];
        Ok(self.read(|it| &it.insert_app, &row, |it| it.value().map(AppKey))?.pop())
    }

    fn update_app(&mut self, app: &App) -> Stored<()> {
        let mut tokens = app.tokens.iter().map(|token| token.0.as_slice());
        let (first, second) = (tokens.next(), tokens.next());
        let refuses = app.intra == IntraApp::Refused;
        self.query(|it| &it.update_app, &[&app.key.0, &refuses, &first, &second]).map(drop)
    }

    fn pending_code(&mut self, number: &PhoneNumber) -> Stored<Option<PendingCode>> {
        Ok(self.read(|it| &it.code, &[&number.as_str()], |it| it.pending_code())?.pop())
    }

    fn put_pending_code(&mut self, number: &PhoneNumber, code: Option<&PendingCode>) -> Stored<()> {
        let number = number.as_str();
        let Some(code) = code else {
            return self.query(|it| &it.delete_code, &[&number]).map(drop);
        };
        let (digits, attempts) = (i64::from(code.code.0), i64::from(code.attempts));
        let (sent, askers) = (stored(code.sent), code.askers.to_bytes());
        let row: [&(dyn ToSql + Sync); 5] = [&number, &digits, &sent, &attempts, &askers];
        self.query(|it| &it.put_code, &row).map(drop)
    }

    fn put_device_code(&mut self, account: AccountKey, code: Option<&LinkCode>) -> Stored<()> {
        self.write_device_code(account, code)
    }

    fn insert_provisioning(
        &mut self,
        address: ProvisioningAddress,
        opened: Timestamp,
    ) -> Stored<()> {
        self.insert_address(address, opened)
    }

    fn put_provisioning_message(
        &mut self,
        address: ProvisioningAddress,
        oldest: Timestamp,
        message: &[u8],
    ) -> Stored<bool> {
        self.put_message(address, oldest, message)
    }

    fn take_provisioning_message(
        &mut self,
        address: ProvisioningAddress,
    ) -> Stored<Option<Vec<u8>>> {
        self.take_message(address)
    }

    fn delete_provisioning(&mut self, address: ProvisioningAddress) -> Stored<()> {
        self.delete_address(address)
    }

    fn put_profile(&mut self, account: AccountKey, profile: Option<&Profile>) -> Stored<()> {
        self.write_profile(account, profile)
    }

    fn insert_delivery_keys(&mut self, keys: &DeliveryKeys) -> Stored<()> {
        self.write_delivery_keys(keys)
    }

    fn insert_account(&mut self, account: &NewAccount) -> Stored<Account> {
        self.change_accounts();
        if account.is_default {
            self.clear_default(&account.number)?;
        }
        let (id, number) = (account.id.as_bytes().as_slice(), account.number.as_str());
        let (token, created) = (directory_token(number), stored(account.created));
        let (app, token) = (account.app.0, token.as_slice());
        let row: [&(dyn ToSql + Sync); 8] = [
            &id,
            &app,
            &number,
            &token,
            &account.is_default,
            &account.is_discoverable,
            &account.shows_app,
            &created,
        ];
        let keys: Vec<i64> = self.read(|it| &it.insert_account, &row, |it| it.value())?;
        let key = keys.first().copied();
        let found = self.read(|it| &it.account_at, &[&key], |it| it.account())?.pop();
        found.ok_or(StoreError::Inconsistent("the app of a new account does not exist"))
    }

    fn update_account(&mut self, account: &Account) -> Stored<()> {
        self.change_accounts();
        if account.is_default {
            self.clear_default(&account.number)?;
        }
        let verified = stored(account.verified);
        let access_key = account.access.key.map(|key| key.0.to_vec());
        let list = account.device_list.as_ref();
        let row: [&(dyn ToSql + Sync); 10] = [
            &account.key.0,
            &account.is_default,
            &account.is_discoverable,
            &account.shows_app,
            &verified,
            &account.identity,
            &access_key,
            &account.access.is_unrestricted,
            &list.map(|list| list.revision),
            &list.map(|list| &*list.list),
        ];
        self.query(|it| &it.update_account, &row).map(drop)
    }

    fn put_username(&mut self, account: AccountKey, name: Option<&Username>) -> Stored<()> {
        self.change_accounts();
        self.query(|it| &it.delete_username, &[&account.0])?;
        let Some(name) = name else { return Ok(()) };
        self.query(|it| &it.insert_username, &[&name.as_str(), &account.0]).map(drop)
    }

    fn delete_account(&mut self, account: AccountKey) -> Stored<()> {
        self.change_accounts();
        let devices = self.devices(account)?;
        self.delete_devices(&devices.iter().map(|device| device.key.0).collect::<Vec<_>>())?;
        self.write_device_code(account, None)?;
        self.query(|it| &it.delete_consents, &[&account.0])?;
        self.query(|it| &it.delete_username, &[&account.0])?;
        self.write_profile(account, None)?;
        self.query(|it| &it.delete_account, &[&account.0]).map(drop)
    }

    fn insert_device(&mut self, account: AccountKey, device: &DeviceColumns) -> Stored<DeviceKey> {
        self.change_accounts();
        let columns = StoredDevice::new(device);
        let number = i32::from(device.number.number());
        let key: [&(dyn ToSql + Sync); 2] = [&account.0, &number];
        let row = [&key[..], &columns.parameters()].concat();
        let mut keys = self.read(|it| &it.insert_device, &row, |it| it.value().map(DeviceKey))?;
        keys.pop().ok_or(StoreError::Inconsistent("a new device has no key"))
    }

    fn update_device(&mut self, key: DeviceKey, device: &DeviceColumns) -> Stored<()> {
        self.change_accounts();
        let columns = StoredDevice::new(device);
        let key: [&(dyn ToSql + Sync); 1] = [&key.0];
        self.query(|it| &it.update_device, &[&key[..], &columns.parameters()].concat()).map(drop)
    }

    fn record_last_seen(&mut self, device: DeviceKey, day: Timestamp) -> Stored<()> {
        let row: [&(dyn ToSql + Sync); 2] = [&device.0, &stored(day)];
        let earlier = self.read(|it| &it.record_last_seen, &row, |it| it.time())?;
        // The time that nodes remember for a device that is seen often is recent enough for a day.
        if earlier.iter().any(|earlier| *earlier < before(day, LONG_AGO)) {
            self.change_accounts();
        }
        Ok(())
    }

    fn delete_device(&mut self, device: DeviceKey) -> Stored<()> {
        self.change_accounts();
        self.delete_devices(&[device.0])
    }

    fn removed_devices(&mut self) -> Vec<DeviceKey> {
        self.removed.clone()
    }

    fn put_keys(&mut self, device: DeviceKey, keys: &KeySet) -> Stored<()> {
        self.change_accounts();
        if !self.put_device_keys(device, keys)? {
            return Ok(());
        }
        for (kind, keys) in [(KeyKind::Curve, &keys.curve), (KeyKind::Kyber, &keys.kyber)] {
            if let Some(keys) = keys {
                self.replace_one_time_keys(device, kind, keys)?;
            }
        }
        Ok(())
    }

    fn delete_keys(&mut self, device: DeviceKey) -> Stored<()> {
        self.change_accounts();
        let devices = [device.0];
        self.query(|it| &it.delete_device_keys, &[&devices.as_slice()])?;
        self.query(|it| &it.delete_one_time_keys, &[&devices.as_slice()])?;
        self.query(|it| &it.set_has_keys, &[&device.0, &false]).map(drop)
    }
}

impl PostgresTables<'_> {
    fn clear_default(&mut self, number: &PhoneNumber) -> Stored<()> {
        self.query(|it| &it.clear_default, &[&number.as_str()]).map(drop)
    }

    /// Removes devices with their keys and messages.
    fn delete_devices(&mut self, devices: &[i64]) -> Stored<()> {
        self.removed.extend(devices.iter().copied().map(DeviceKey));
        self.query(|it| &it.delete_devices, &[&devices])?;
        self.query(|it| &it.delete_queues, &[&devices])?;
        self.query(|it| &it.delete_messages, &[&devices])?;
        self.query(|it| &it.delete_device_keys, &[&devices])?;
        self.query(|it| &it.delete_one_time_keys, &[&devices]).map(drop)
    }

    /// Returns whether the device exists.
    fn put_device_keys(&mut self, device: DeviceKey, keys: &KeySet) -> Stored<bool> {
        let (signed, kyber) = (keys.signed.as_ref(), keys.kyber_last_resort.as_ref());
        let last_resort = keys.last_resort.as_ref();
        let row: [&(dyn ToSql + Sync); 9] = [
            &device.0,
            &signed.map(|key| i64::from(key.id)),
            &signed.map(|key| key.key.as_slice()),
            &signed.map(|key| key.signature.as_slice()),
            &last_resort.map(|key| i64::from(key.id)),
            &last_resort.map(|key| key.key.as_slice()),
            &kyber.map(|key| i64::from(key.id)),
            &kyber.map(|key| key.key.as_slice()),
            &kyber.map(|key| key.signature.as_slice()),
        ];
        let has_keys: Vec<bool> = self.read(|it| &it.put_device_keys, &row, |it| it.value())?;
        let Some(has_keys) = has_keys.first() else { return Ok(false) };
        self.query(|it| &it.set_has_keys, &[&device.0, has_keys])?;
        Ok(true)
    }

    fn replace_one_time_keys(
        &mut self,
        device: DeviceKey,
        kind: KeyKind,
        keys: &[OneTimeKey],
    ) -> Stored<()> {
        let kind = kind.number();
        self.query(|it| &it.delete_keys_of_kind, &[&device.0, &kind])?;
        let ids: Vec<i64> = keys.iter().map(|key| key.id.into()).collect();
        let public: Vec<&[u8]> = keys.iter().map(|key| key.key.as_slice()).collect();
        let signatures: Vec<Option<&[u8]>> =
            keys.iter().map(|key| key.signature.as_deref()).collect();
        let row: [&(dyn ToSql + Sync); 5] = [&device.0, &kind, &ids, &public, &signatures];
        self.query(|it| &it.insert_one_time_keys, &row).map(drop)
    }
}

/// The columns of a device as they are stored, except for its key, its account and its number.
struct StoredDevice<'a> {
    password: &'a [u8],
    salt: &'a [u8],
    registration_id: i64,
    signaling_key: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    fetches_messages: bool,
    apn: Option<&'a [u8]>,
    voip: Option<&'a [u8]>,
    gcm: Option<&'a [u8]>,
    attributes: &'a [u8],
    created: i64,
    last_seen: i64,
}

impl<'a> StoredDevice<'a> {
    fn new(device: &'a DeviceColumns) -> Self {
        let (apn, voip, gcm) = device.push_columns();
        Self {
            password: &device.password.0,
            salt: &device.salt,
            registration_id: device.registration_id.into(),
            signaling_key: device.signaling_key.as_deref(),
            name: device.name.as_ref().map(String::as_bytes),
            fetches_messages: device.fetches_messages,
            apn: apn.map(str::as_bytes),
            voip: voip.map(str::as_bytes),
            gcm: gcm.map(str::as_bytes),
            attributes: device.attributes.as_bytes(),
            created: stored(device.created),
            last_seen: stored(device.last_seen),
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.password,
            &self.salt,
            &self.registration_id,
            &self.signaling_key,
            &self.name,
            &self.fetches_messages,
            &self.apn,
            &self.voip,
            &self.gcm,
            &self.attributes,
            &self.created,
            &self.last_seen,
        ]
    }
}

/// After so long, all nodes must know at once that a device is seen again.
const LONG_AGO: Duration = Duration::from_secs(7 * 24 * 60 * 60);
