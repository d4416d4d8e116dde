//! The keys with which senders are certified.

use tokio_postgres::types::ToSql;
use zeroize::Zeroizing;

use super::columns::Columns;
use super::transaction::{PostgresTables, Stored};
use crate::messaging::store::DeliveryKeys;

impl PostgresTables<'_> {
    pub(super) fn read_delivery_keys(&mut self) -> Stored<Option<DeliveryKeys>> {
        let read = |columns: &mut Columns<'_>| {
            let (root, server) =
                (Zeroizing::new(columns.array()?), Zeroizing::new(columns.array()?));
            Ok(DeliveryKeys { root, server, certificate: columns.value()? })
        };
        Ok(self.read(|it| &it.delivery_keys, &[], read)?.pop())
    }

    pub(super) fn write_delivery_keys(&mut self, keys: &DeliveryKeys) -> Stored<()> {
        let (root, server) = (keys.root.as_slice(), keys.server.as_slice());
        let row: [&(dyn ToSql + Sync); 3] = [&root, &server, &keys.certificate];
        self.query(|it| &it.insert_delivery_keys, &row).map(drop)
    }
}
