//! Reads the columns of a row, one after the other.

use std::str::FromStr;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use wormhole_chat::{AccountId, DeviceId, Timestamp};

use crate::database::postgres::SessionError;
use crate::messaging::store::{
    Access, AccessKey, Account, AccountKey, App, AppKey, Askers, Consent, ConsentState, Device,
    DeviceColumns, DeviceKey, IntraApp, LinkCode, PendingCode, PushId, SignedKey, StoredDeviceList,
    TokenHash, VerificationCode,
};

pub(super) type Read<T> = Result<T, SessionError>;

/// The columns of a row that are not read yet.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(super) const fn new(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    /// The next value.
    pub(super) fn value<T: FromSql<'a>>(&mut self) -> Read<T> {
        let column = self.next;
        self.next += 1;
        self.row.try_get(column).map_err(|error| SessionError::Failed(error.to_string()))
    }

    /// A number that was stored as a larger one.
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Read<T> {
        T::try_from(self.value()?).map_err(|_| self.invalid("number"))
    }

    /// The index of an entry in a list of parameters: PostgreSQL counts from 1.
    pub(super) fn index(&mut self) -> Read<usize> {
        Ok(self.number::<usize>()?.saturating_sub(1))
    }

    pub(super) fn time(&mut self) -> Read<Timestamp> {
        self.value().map(|time: i64| Timestamp(time.cast_unsigned()))
    }

    /// Bytes of a fixed length.
    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let bytes: &[u8] = self.value()?;
        bytes.try_into().map_err(|_| self.invalid("length"))
    }

    pub(super) fn optional_array<const N: usize>(&mut self) -> Read<Option<[u8; N]>> {
        let bytes: Option<&[u8]> = self.value()?;
        bytes.map(|bytes| bytes.try_into().map_err(|_| self.invalid("length"))).transpose()
    }

    pub(super) fn account_id(&mut self) -> Read<AccountId> {
        self.array().map(AccountId::from_bytes)
    }

    pub(super) fn device_id(&mut self) -> Read<DeviceId> {
        let number: i32 = self.value()?;
        let id = u32::try_from(number).ok().and_then(DeviceId::new);
        id.ok_or_else(|| self.invalid("device"))
    }

    /// A name or a number. Only valid ones are stored.
    pub(super) fn parsed<T: FromStr>(&mut self) -> Read<T> {
        let text: &str = self.value()?;
        text.parse().map_err(|_| self.invalid("name or number"))
    }

    /// Text of a client, which is stored as bytes.
    fn text(&mut self) -> Read<Option<String>> {
        let bytes: Option<Vec<u8>> = self.value()?;
        bytes.map(String::from_utf8).transpose().map_err(|_| self.invalid("text"))
    }

    /// The columns of `account_columns`.
    pub(super) fn account(&mut self) -> Read<Account> {
        Ok(Account {
            key: AccountKey(self.value()?),
            id: self.account_id()?,
            app: AppKey(self.value()?),
            app_name: self.parsed()?,
            number: self.parsed()?,
            is_default: self.value()?,
            is_discoverable: self.value()?,
            shows_app: self.value()?,
            verified: self.time()?,
            identity: self.value()?,
            access: Access {
                key: self.optional_array()?.map(AccessKey),
                is_unrestricted: self.value()?,
            },
            device_list: StoredDeviceList::of_columns(self.value()?, self.value()?),
        })
    }

    /// The columns of `app_columns`.
    pub(super) fn app(&mut self) -> Read<App> {
        let (key, name, refuses): (_, _, bool) =
            (AppKey(self.value()?), self.parsed()?, self.value()?);
        let tokens = [self.optional_array()?, self.optional_array()?];
        let tokens = tokens.into_iter().flatten().map(TokenHash).collect();
        let intra = IntraApp::of_column(refuses);
        Ok(App { key, name, intra, tokens })
    }

    /// The columns of `device_columns`.
    pub(super) fn device(&mut self) -> Read<Device> {
        let key = DeviceKey(self.value()?);
        let has_keys = self.value()?;
        let device = DeviceColumns {
            number: self.device_id()?,
            password: TokenHash(self.array()?),
            salt: self.array()?,
            registration_id: self.number()?,
            signaling_key: self.value()?,
            name: self.text()?,
            fetches_messages: self.value()?,
            push: self.push()?,
            attributes: self.text()?.unwrap_or_default(),
            created: self.time()?,
            last_seen: self.time()?,
        };
        Ok(Device { key, columns: device, has_keys })
    }

    fn push(&mut self) -> Read<Option<PushId>> {
        Ok(PushId::of_columns(self.text()?, self.text()?, self.text()?))
    }

    /// A code, when it was sent, wrong attempts, and the networks that have asked for it.
    pub(super) fn pending_code(&mut self) -> Read<PendingCode> {
        let (code, sent) = (VerificationCode(self.number()?), self.time()?);
        let attempts = self.number()?;
        let askers = Askers::from_bytes(&self.value::<Vec<u8>>()?);
        Ok(PendingCode { code, sent, attempts, askers })
    }

    /// The hash of a code for another device, and when the code was shown.
    pub(super) fn link_code(&mut self) -> Read<LinkCode> {
        Ok(LinkCode { hash: TokenHash(self.array()?), shown: self.time()? })
    }

    /// State, since when, and the number of messages.
    pub(super) fn consent(&mut self) -> Read<Consent> {
        let state = ConsentState::of_number(self.value()?);
        let state = state.ok_or_else(|| self.invalid("state"))?;
        Ok(Consent { state, since: self.time()?, messages: self.number()? })
    }

    /// Id, key and signature, if there is a key.
    pub(super) fn signed_key(&mut self) -> Read<Option<SignedKey>> {
        let (id, key, signature) = (self.value()?, self.value()?, self.value()?);
        let id = self.optional_id(id)?;
        Ok(match (id, key, signature) {
            (Some(id), Some(key), Some(signature)) => Some(SignedKey { id, key, signature }),
            _ => None,
        })
    }

    /// The id of a key that may be missing.
    pub(super) fn optional_id(&self, id: Option<i64>) -> Read<Option<u32>> {
        id.map(u32::try_from).transpose().map_err(|_| self.invalid("id"))
    }

    fn invalid(&self, what: &str) -> SessionError {
        SessionError::Failed(format!("column {} contains no valid {what}", self.next))
    }
}

/// A time as it is stored. Clients may choose any 64 bits.
pub(super) const fn stored(time: Timestamp) -> i64 {
    time.0.cast_signed()
}
