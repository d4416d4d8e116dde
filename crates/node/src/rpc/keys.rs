//! Methods about keys: key pairs and shared ones.

use std::fmt;
use std::time::Instant;

use serde_json::Value;
use wormhole_kit::Secret;
use wormhole_whisper::devp2p::key::PrivateKey;
use zeroize::Zeroizing;

use super::super::desk::{Desk, KeyId, SharedKey};
use super::super::hex;
use super::super::turns::Requester;
use super::arguments::{Hex, none, only};
use super::shares::Shares;
use super::{Answer, RpcError, Service, refused, reply};

/// What comes of a method, if it is one of these.
pub(super) async fn answer(
    service: &Service,
    requester: Requester,
    method: &str,
    params: Option<&str>,
) -> Option<Answer> {
    let desk = &service.desk;
    if let Some(shares) = service.key_shares(method) {
        let exists = |id: &KeyId| desk.key_pair(id).is_some() || desk.shared_key(id).is_some();
        let existing = async |ids: Vec<KeyId>| ids.into_iter().filter(exists).collect();
        if !shares.have_room(requester.network, Instant::now(), existing).await {
            return Some(Err(refused("too many keys of clients at your address")));
        }
        let created = create(desk, requester, method, params).await;
        return Some(created.map(|id| {
            shares.add(requester.network, id);
            id.to_string().into()
        }));
    }
    Some(match method {
        "shh_deleteKeyPair" => name(params).and_then(|id| delete_pair(desk, &id)),
        "shh_hasKeyPair" => name(params).map(|id| find_pair(desk, &id).is_some().into()),
        "shh_getPublicKey" => name(params).and_then(|id| {
            let key = pair(desk, &id)?.public_key();
            Ok(hex(&key.to_uncompressed()).into())
        }),
        "shh_getPrivateKey" => {
            name(params).and_then(|id| Ok(reply::key(&pair(desk, &id)?.to_secret())))
        }
        "shh_hasSymKey" => name(params).map(|id| find_shared(desk, &id).is_some().into()),
        "shh_getSymKey" => name(params).and_then(|id| Ok(reply::key(shared(desk, &id)?.secret()))),
        "shh_deleteSymKey" => name(params)
            .map(|id| KeyId::parse(&id).is_some_and(|id| desk.remove_shared_key(&id)).into()),
        _ => return None,
    })
}

impl Service {
    /// The shares of the keys that a method creates, if it creates any.
    fn key_shares(&self, method: &str) -> Option<&Shares<KeyId>> {
        match method {
            "shh_newKeyPair" | "shh_addPrivateKey" => Some(&self.pair_shares),
            "shh_newSymKey" | "shh_addSymKey" | "shh_generateSymKeyFromPassword" => {
                Some(&self.shared_key_shares)
            }
            _ => None,
        }
    }
}

/// Executes a method that creates a key.
async fn create(
    desk: &Desk,
    requester: Requester,
    method: &str,
    params: Option<&str>,
) -> Result<KeyId, RpcError> {
    match method {
        "shh_newKeyPair" => {
            none(params)?;
            desk.new_key_pair().map_err(failed)
        }
        "shh_addPrivateKey" => add_pair(desk, &only(params)?),
        "shh_newSymKey" => {
            none(params)?;
            desk.add_shared_key(SharedKey::random()).map_err(failed)
        }
        "shh_addSymKey" => add_shared(desk, &only(params)?),
        _ => {
            let password: Zeroizing<String> = only(params)?;
            desk.add_password_for(requester, &password).await.map_err(failed)
        }
    }
}

fn failed(error: impl fmt::Display) -> RpcError {
    refused(error.to_string())
}

/// The name of a key, as the only argument.
fn name(params: Option<&str>) -> Result<Zeroizing<String>, RpcError> {
    only(params)
}

/// The key pair of this name.
pub(super) fn pair(desk: &Desk, id: &str) -> Result<PrivateKey, RpcError> {
    find_pair(desk, id).ok_or_else(|| refused("invalid id"))
}

/// The shared key of this name.
pub(super) fn shared(desk: &Desk, id: &str) -> Result<SharedKey, RpcError> {
    find_shared(desk, id).ok_or_else(|| refused("non-existent key ID"))
}

fn find_pair(desk: &Desk, id: &str) -> Option<PrivateKey> {
    desk.key_pair(&KeyId::parse(id)?)
}

fn find_shared(desk: &Desk, id: &str) -> Option<SharedKey> {
    desk.shared_key(&KeyId::parse(id)?)
}

fn add_pair(desk: &Desk, key: &Hex) -> Result<KeyId, RpcError> {
    let secret = secret(key).ok_or_else(|| refused("invalid length, need 256 bits"))?;
    let zero = key.0.iter().all(|byte| *byte == 0);
    let fault = if zero { "zero or negative" } else { ">=N" };
    let key = PrivateKey::from_secret(&secret);
    let key = key.map_err(|_| refused(format!("invalid private key, {fault}")))?;
    desk.add_key_pair(key).map_err(failed)
}

fn delete_pair(desk: &Desk, id: &Zeroizing<String>) -> Answer {
    if KeyId::parse(id).is_some_and(|id| desk.remove_key_pair(&id)) {
        return Ok(Value::Bool(true));
    }
    Err(refused(format!("key pair {} not found", id.as_str())))
}

fn add_shared(desk: &Desk, key: &Hex) -> Result<KeyId, RpcError> {
    let secret = secret(key);
    let secret = secret.ok_or_else(|| refused(format!("wrong key size: {}", key.0.len())))?;
    desk.add_shared_key(SharedKey::new(secret)).map_err(failed)
}

fn secret(key: &Hex) -> Option<Secret<32>> {
    key.0.as_slice().try_into().ok().map(Secret::new)
}
