//! Codes and messages at addresses, with which another device is linked to an account.

use tokio_postgres::types::ToSql;
use wormhole_chat::Timestamp;

use super::columns::stored;
use super::transaction::{PostgresTables, Stored};
use crate::messaging::store::{AccountKey, LinkCode, ProvisioningAddress};

impl PostgresTables<'_> {
    pub(super) fn read_device_code(&mut self, account: AccountKey) -> Stored<Option<LinkCode>> {
        Ok(self.read(|it| &it.device_code, &[&account.0], |it| it.link_code())?.pop())
    }

    pub(super) fn write_device_code(
        &mut self,
        account: AccountKey,
        code: Option<&LinkCode>,
    ) -> Stored<()> {
        let Some(code) = code else {
            return self.query(|it| &it.delete_device_code, &[&account.0]).map(drop);
        };
        let hash = code.hash.0.as_slice();
        let row: [&(dyn ToSql + Sync); 3] = [&account.0, &hash, &stored(code.shown)];
        self.query(|it| &it.put_device_code, &row).map(drop)
    }

    pub(super) fn insert_address(
        &mut self,
        address: ProvisioningAddress,
        opened: Timestamp,
    ) -> Stored<()> {
        self.write();
        let row: [&(dyn ToSql + Sync); 2] = [&address.0.as_slice(), &stored(opened)];
        self.query(|it| &it.insert_provisioning, &row).map(drop)
    }

    pub(super) fn put_message(
        &mut self,
        address: ProvisioningAddress,
        oldest: Timestamp,
        message: &[u8],
    ) -> Stored<bool> {
        self.write();
        let row: [&(dyn ToSql + Sync); 3] = [&address.0.as_slice(), &stored(oldest), &message];
        Ok(self.execute(|it| &it.put_provisioning_message, &row)? > 0)
    }

    pub(super) fn take_message(&mut self, address: ProvisioningAddress) -> Stored<Option<Vec<u8>>> {
        self.write();
        let address = address.0.as_slice();
        Ok(self.read(|it| &it.take_provisioning_message, &[&address], |it| it.value())?.pop())
    }

    pub(super) fn delete_address(&mut self, address: ProvisioningAddress) -> Stored<()> {
        self.write();
        let address = address.0.as_slice();
        self.query(|it| &it.delete_provisioning, &[&address]).map(drop)
    }
}
