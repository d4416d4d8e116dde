//! Methods about key pairs and symmetric keys.

use std::fmt;
use std::time::Instant;

use serde_json::Value;
use wormhole_kit::Secret;
use wormhole_whisper::devp2p::key::PrivateKey;
use zeroize::Zeroizing;

use super::arguments::{Hex, none, only};
use super::quotas::Quotas;
use super::{RpcError, RpcResult, RpcServer, format, refused};
use crate::hex;
use crate::messaging::{KeyId, Messenger, RawSymmetricKey};
use crate::scheduler::Requester;

/// Executes a method, if it is one of these.
pub(super) async fn answer(
    service: &RpcServer,
    requester: Requester,
    method: &str,
    params: Option<&str>,
) -> Option<RpcResult> {
    let messenger = &service.messenger;
    if let Some(quotas) = service.key_quotas(method) {
        let exists =
            |id: &KeyId| messenger.key_pair(id).is_some() || messenger.symmetric_key(id).is_some();
        let existing = async |ids: Vec<KeyId>| ids.into_iter().filter(exists).collect();
        if !quotas.have_room(requester.network, Instant::now(), existing).await {
            return Some(Err(refused("too many keys of clients at your address")));
        }
        let created = create(messenger, requester, method, params).await;
        return Some(created.map(|id| {
            quotas.add(requester.network, Instant::now(), id);
            id.to_string().into()
        }));
    }
    Some(match method {
        "shh_deleteKeyPair" => name(params).and_then(|id| delete_pair(messenger, &id)),
        "shh_hasKeyPair" => name(params).map(|id| find_pair(messenger, &id).is_some().into()),
        "shh_getPublicKey" => name(params).and_then(|id| {
            let key = pair(messenger, &id)?.public_key();
            Ok(hex(&key.to_uncompressed()).into())
        }),
        "shh_getPrivateKey" => {
            name(params).and_then(|id| Ok(format::key(&pair(messenger, &id)?.to_secret())))
        }
        "shh_hasSymKey" => name(params).map(|id| find_symmetric(messenger, &id).is_some().into()),
        "shh_getSymKey" => {
            name(params).and_then(|id| Ok(format::key(symmetric(messenger, &id)?.secret())))
        }
        "shh_deleteSymKey" => name(params).map(|id| {
            KeyId::parse(&id).is_some_and(|id| messenger.remove_symmetric_key(&id)).into()
        }),
        _ => return None,
    })
}

impl RpcServer {
    /// The quotas for the kind of key that a method creates, if it creates one.
    fn key_quotas(&self, method: &str) -> Option<&Quotas<KeyId>> {
        match method {
            "shh_newKeyPair" | "shh_addPrivateKey" => Some(&self.key_pair_quotas),
            "shh_newSymKey" | "shh_addSymKey" | "shh_generateSymKeyFromPassword" => {
                Some(&self.symmetric_key_quotas)
            }
            _ => None,
        }
    }
}

/// Executes a method that creates a key.
async fn create(
    messenger: &Messenger,
    requester: Requester,
    method: &str,
    params: Option<&str>,
) -> Result<KeyId, RpcError> {
    match method {
        "shh_newKeyPair" => {
            none(params)?;
            messenger.new_key_pair().map_err(failed)
        }
        "shh_addPrivateKey" => add_pair(messenger, &only(params)?),
        "shh_newSymKey" => {
            none(params)?;
            messenger.add_symmetric_key(RawSymmetricKey::random()).map_err(failed)
        }
        "shh_addSymKey" => add_symmetric(messenger, &only(params)?),
        _ => {
            let password: Zeroizing<String> = only(params)?;
            messenger.add_password_for(requester, &password).await.map_err(failed)
        }
    }
}

fn failed(error: impl fmt::Display) -> RpcError {
    refused(error.to_string())
}

/// The id of a key, as the only argument.
fn name(params: Option<&str>) -> Result<Zeroizing<String>, RpcError> {
    only(params)
}

/// The key pair with this id.
pub(super) fn pair(messenger: &Messenger, id: &str) -> Result<PrivateKey, RpcError> {
    find_pair(messenger, id).ok_or_else(|| refused("invalid id"))
}

/// The symmetric key with this id.
pub(super) fn symmetric(messenger: &Messenger, id: &str) -> Result<RawSymmetricKey, RpcError> {
    find_symmetric(messenger, id).ok_or_else(|| refused("non-existent key ID"))
}

fn find_pair(messenger: &Messenger, id: &str) -> Option<PrivateKey> {
    messenger.key_pair(&KeyId::parse(id)?)
}

fn find_symmetric(messenger: &Messenger, id: &str) -> Option<RawSymmetricKey> {
    messenger.symmetric_key(&KeyId::parse(id)?)
}

fn add_pair(messenger: &Messenger, key: &Hex) -> Result<KeyId, RpcError> {
    let secret = secret(key).ok_or_else(|| refused("invalid length, need 256 bits"))?;
    let zero = key.0.iter().all(|byte| *byte == 0);
    let fault = if zero { "zero or negative" } else { ">=N" };
    let key = PrivateKey::from_secret(&secret);
    let key = key.map_err(|_| refused(format!("invalid private key, {fault}")))?;
    messenger.add_key_pair(key).map_err(failed)
}

fn delete_pair(messenger: &Messenger, id: &Zeroizing<String>) -> RpcResult {
    if KeyId::parse(id).is_some_and(|id| messenger.remove_key_pair(&id)) {
        return Ok(Value::Bool(true));
    }
    Err(refused(format!("key pair {} not found", id.as_str())))
}

fn add_symmetric(messenger: &Messenger, key: &Hex) -> Result<KeyId, RpcError> {
    let secret = secret(key);
    let secret = secret.ok_or_else(|| refused(format!("wrong key size: {}", key.0.len())))?;
    messenger.add_symmetric_key(RawSymmetricKey::new(secret)).map_err(failed)
}

fn secret(key: &Hex) -> Option<Secret<32>> {
    key.0.as_slice().try_into().ok().map(Secret::new)
}
