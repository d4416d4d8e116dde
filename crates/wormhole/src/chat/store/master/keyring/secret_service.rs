//! The Secret Service API of freedesktop.org, version 0.2, on the session bus.
//!
//! Each call is a conversation of its own, on a thread of its own, so that it can be made with or without a runtime. It ends
//! after some time, also if the user does not answer a question of the desktop.

use std::collections::HashMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use rand_core::OsRng;
use serde::Serialize;
use wormhole_kit::Secret;
use zbus::connection::Builder;
use zbus::wire::DynamicDeserialize;
use zbus::{
    Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant, fdo,
    message,
};
use zeroize::Zeroizing;

use super::agreement::{Agreement, TransportKey};
use super::{KeyringId, KeyringKey, StoreError};

/// Makes an item. Calls `before` at the last moment when the item certainly does not exist.
pub(super) fn create(
    bus: Option<&str>,
    item: &KeyringKey,
    before: impl FnOnce() -> Result<(), StoreError> + Send,
) -> Result<(), StoreError> {
    converse(bus, async move |service| {
        let collection = service.default_keyring().await?;
        service.unlock(&collection).await?;
        before()?;
        service.add(&collection, item).await?;
        // Only a key that the keyring returns may protect a store.
        let stored = service.read(item.id).await?;
        if stored == item.key { Ok(()) } else { Err(keyring_failed("it returns another key")) }
    })
}

/// Reads the key of an item.
pub(super) fn read(bus: Option<&str>, id: KeyringId) -> Result<Secret<32>, StoreError> {
    converse(bus, async move |service| service.read(id).await)
}

/// Removes an item, unless it is locked.
pub(super) fn remove(bus: Option<&str>, id: KeyringId) -> Result<(), StoreError> {
    converse(bus, async move |service| {
        let (unlocked, locked) = service.search(id).await?;
        for item in &unlocked {
            let prompt: OwnedObjectPath = service.call(item.as_str(), ITEM, "Delete", &()).await?;
            service.confirm(&prompt).await?;
        }
        if locked.is_empty() { Ok(()) } else { Err(StoreError::KeyringLocked) }
    })
}

/// Has a conversation with the keyring.
fn converse<T: Send>(
    bus: Option<&str>,
    conversation: impl AsyncFnOnce(Service) -> Result<T, StoreError> + Send,
) -> Result<T, StoreError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { conversation(Service::connect(bus).await?).await })
    };
    let finished = std::thread::scope(|scope| scope.spawn(run).join());
    finished.unwrap_or_else(|_| Err(keyring_failed("the conversation ended")))
}

/// The keyring, and the session in which secrets travel.
struct Service {
    bus: Connection,
    session: OwnedObjectPath,
    key: TransportKey,
}

/// A secret that travels: the session, the initialisation vector, the ciphertext, and the type of the secret.
type SealedSecret = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

impl Service {
    async fn connect(bus: Option<&str>) -> Result<Self, StoreError> {
        let builder = bus.map_or_else(Builder::session, Builder::address);
        let bus = builder.method_timeout(PATIENCE).build().await.map_err(from_bus_error)?;
        let agreement = Agreement::random(&mut OsRng);
        let body = (ALGORITHM, Variant::from(agreement.public().to_vec()));
        let (theirs, session): (OwnedVariant, OwnedObjectPath) =
            call(&bus, ROOT, SERVICE, "OpenSession", &body).await?;
        let theirs = Vec::<u8>::try_from(theirs).map_err(from_bus_error)?;
        let key = agreement.finish(&theirs).ok_or_else(|| keyring_failed("its key is invalid"))?;
        Ok(Self { bus, session, key })
    }

    async fn call<B, R>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<R, StoreError>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        call(&self.bus, path, interface, method, body).await
    }

    /// The keyring for new items.
    async fn default_keyring(&self) -> Result<OwnedObjectPath, StoreError> {
        let path: OwnedObjectPath = self.call(ROOT, SERVICE, "ReadAlias", &"default").await?;
        if is_null_path(&path) { Err(StoreError::KeyringMissing) } else { Ok(path) }
    }

    /// Unlocks a keyring or an item. The desktop may ask the user for a password.
    async fn unlock(&self, path: &OwnedObjectPath) -> Result<(), StoreError> {
        let (_, prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) =
            self.call(ROOT, SERVICE, "Unlock", &vec![path.clone()]).await?;
        self.confirm(&prompt).await
    }

    /// Waits until the user has answered the desktop's question, if it asks one.
    async fn confirm(&self, prompt: &OwnedObjectPath) -> Result<(), StoreError> {
        if is_null_path(prompt) {
            return Ok(());
        }
        let rule = MatchRule::builder().msg_type(message::Type::Signal).path(prompt.as_str());
        let rule = rule.interface(PROMPT).member("Completed").build().map_err(from_bus_error)?;
        let mut completed =
            MessageStream::for_match_rule(rule, &self.bus, None).await.map_err(from_bus_error)?;
        let () = self.call(prompt.as_str(), PROMPT, "Prompt", &"").await?;
        let answer = tokio::time::timeout(PATIENCE_WITH_USER, completed.next()).await;
        let answer = answer.map_err(|_| StoreError::KeyringLocked)?;
        let answer = answer.ok_or(StoreError::KeyringUnavailable)?.map_err(from_bus_error)?;
        let (is_dismissed, _): (bool, OwnedVariant) =
            answer.body().deserialize().map_err(from_bus_error)?;
        if is_dismissed { Err(StoreError::KeyringLocked) } else { Ok(()) }
    }

    async fn add(&self, keyring: &OwnedObjectPath, item: &KeyringKey) -> Result<(), StoreError> {
        let text = Zeroizing::new(HEXLOWER.encode(item.key.expose()));
        let (iv, sealed) = self.key.seal(text.as_bytes(), &mut OsRng);
        let secret: SealedSecret =
            (self.session.clone(), iv.to_vec(), sealed, "text/plain".to_owned());
        let label =
            format!("Wormhole chat: key of a message store ({})", HEXLOWER.encode(&item.id));
        let properties = HashMap::from([
            ("org.freedesktop.Secret.Item.Label", Variant::from(label)),
            ("org.freedesktop.Secret.Item.Attributes", Variant::from(attributes(item.id))),
        ]);
        let body = (properties, secret, false);
        let (_, prompt): (OwnedObjectPath, OwnedObjectPath) =
            self.call(keyring.as_str(), COLLECTION, "CreateItem", &body).await?;
        self.confirm(&prompt).await
    }

    /// The items with an id that are unlocked, and those that are locked.
    async fn search(
        &self,
        id: KeyringId,
    ) -> Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>), StoreError> {
        self.call(ROOT, SERVICE, "SearchItems", &attributes(id)).await
    }

    async fn read(&self, id: KeyringId) -> Result<Secret<32>, StoreError> {
        let (unlocked, locked) = self.search(id).await?;
        let item = match (unlocked.first(), locked.first()) {
            (Some(item), _) => item,
            (None, Some(item)) => {
                self.unlock(item).await?;
                item
            }
            (None, None) => return Err(StoreError::KeyringKeyMissing),
        };
        let (_, iv, sealed, _): SealedSecret =
            self.call(item.as_str(), ITEM, "GetSecret", &self.session).await?;
        let text = self
            .key
            .open(&iv, &sealed)
            .ok_or_else(|| keyring_failed("its secret is unreadable"))?;
        let key = HEXLOWER.decode(text.trim_ascii()).map(Zeroizing::new);
        let key = key.ok().and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
        let key = Zeroizing::new(key.ok_or(StoreError::KeyringKeyMissing)?);
        Ok(Secret::new(*key))
    }
}

async fn call<B, R>(
    bus: &Connection,
    path: &str,
    interface: &str,
    method: &str,
    body: &B,
) -> Result<R, StoreError>
where
    B: Serialize + DynamicType,
    R: for<'d> DynamicDeserialize<'d>,
{
    let called = bus.call_method(Some(NAME), path, Some(interface), method, body).await;
    called.and_then(|reply| reply.body().deserialize()).map_err(from_bus_error)
}

/// The attributes of an item, by which it is found.
fn attributes(id: KeyringId) -> HashMap<String, String> {
    let attributes = [("service", ATTRIBUTE_SERVICE.to_owned()), ("key", HEXLOWER.encode(&id))];
    attributes.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Whether a path says that there is nothing.
fn is_null_path(path: &OwnedObjectPath) -> bool {
    path.as_str() == "/"
}

fn keyring_failed(why: &str) -> StoreError {
    StoreError::KeyringFailed(why.to_owned())
}

/// An error of the bus or of the keyring. Its text is not shown: it may contain anything.
fn from_bus_error(error: zbus::Error) -> StoreError {
    if let zbus::Error::MethodError(name, _, _) = &error {
        let is_locked = name.as_str() == "org.freedesktop.Secret.Error.IsLocked";
        return if is_locked { StoreError::KeyringLocked } else { keyring_failed(name.as_str()) };
    }
    let is_absent = if let zbus::Error::FDO(error) = &error {
        matches!(
            **error,
            fdo::Error::Disconnected(_)
                | fdo::Error::NameHasNoOwner(_)
                | fdo::Error::NoReply(_)
                | fdo::Error::NoServer(_)
                | fdo::Error::ServiceUnknown(_)
                | fdo::Error::TimedOut(_)
                | fdo::Error::Timeout(_)
        )
    } else {
        matches!(
            error,
            zbus::Error::Address(_)
                | zbus::Error::Connection(..)
                | zbus::Error::Handshake(_)
                | zbus::Error::InputOutput(_)
        )
    };
    if is_absent { StoreError::KeyringUnavailable } else { keyring_failed("an answer is invalid") }
}

/// The name of every keyring on the bus.
const NAME: &str = "org.freedesktop.secrets";

/// The object of the service.
const ROOT: &str = "/org/freedesktop/secrets";

const SERVICE: &str = "org.freedesktop.Secret.Service";
const COLLECTION: &str = "org.freedesktop.Secret.Collection";
const ITEM: &str = "org.freedesktop.Secret.Item";
const PROMPT: &str = "org.freedesktop.Secret.Prompt";

/// How secrets travel. All keyrings know this algorithm.
const ALGORITHM: &str = "dh-ietf1024-sha256-aes128-cbc-pkcs7";

/// The attribute `service` of our items.
const ATTRIBUTE_SERVICE: &str = "wormhole chat";

/// How long an answer of the keyring may take, the same as in other D-Bus programs.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long the user may take to unlock the keyring.
const PATIENCE_WITH_USER: Duration = Duration::from_secs(300);
