//! Methods about keys: key pairs and shared ones.

use std::fmt;

use serde_json::Value;
use wormhole_kit::Secret;
use wormhole_whisper::devp2p::key::PrivateKey;
use zeroize::Zeroizing;

use super::super::desk::{Desk, KeyId, SharedKey};
use super::super::hex;
use super::super::turns::Requester;
use super::arguments::{Hex, none, only};
use super::{Answer, RpcError, refused, reply};

/// What comes of a method, if it is one of these.
pub(super) async fn answer(
    desk: &Desk,
    requester: Requester,
    method: &str,
    params: Option<&str>,
) -> Option<Answer> {
    Some(match method {
        "shh_newKeyPair" => none(params).and_then(|()| named(desk.new_key_pair())),
        "shh_addPrivateKey" => only(params).and_then(|key| add_pair(desk, &key)),
        "shh_deleteKeyPair" => name(params).and_then(|id| delete_pair(desk, &id)),
        "shh_hasKeyPair" => name(params).map(|id| find_pair(desk, &id).is_some().into()),
        "shh_getPublicKey" => name(params).and_then(|id| {
            let key = pair(desk, &id)?.public_key();
            Ok(hex(&key.to_uncompressed()).into())
        }),
        "shh_getPrivateKey" => {
            name(params).and_then(|id| Ok(reply::key(&pair(desk, &id)?.to_secret())))
        }
        "shh_newSymKey" => {
            none(params).and_then(|()| named(desk.add_shared_key(SharedKey::random())))
        }
        "shh_addSymKey" => only(params).and_then(|key| add_shared(desk, &key)),
        "shh_generateSymKeyFromPassword" => match only::<Zeroizing<String>>(params) {
            Ok(password) => named(desk.add_password_for(requester, &password).await),
            Err(error) => Err(error),
        },
        "shh_hasSymKey" => name(params).map(|id| find_shared(desk, &id).is_some().into()),
        "shh_getSymKey" => name(params).and_then(|id| Ok(reply::key(shared(desk, &id)?.secret()))),
        "shh_deleteSymKey" => name(params)
            .map(|id| KeyId::parse(&id).is_some_and(|id| desk.remove_shared_key(&id)).into()),
        _ => return None,
    })
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

fn named(id: Result<KeyId, impl fmt::Display>) -> Answer {
    id.map(|id| id.to_string().into()).map_err(|error| refused(error.to_string()))
}

fn add_pair(desk: &Desk, key: &Hex) -> Answer {
    let secret = secret(key).ok_or_else(|| refused("invalid length, need 256 bits"))?;
    let zero = key.0.iter().all(|byte| *byte == 0);
    let fault = if zero { "zero or negative" } else { ">=N" };
    let key = PrivateKey::from_secret(&secret);
    named(desk.add_key_pair(key.map_err(|_| refused(format!("invalid private key, {fault}")))?))
}

fn delete_pair(desk: &Desk, id: &Zeroizing<String>) -> Answer {
    if KeyId::parse(id).is_some_and(|id| desk.remove_key_pair(&id)) {
        return Ok(Value::Bool(true));
    }
    Err(refused(format!("key pair {} not found", id.as_str())))
}

fn add_shared(desk: &Desk, key: &Hex) -> Answer {
    let secret = secret(key);
    let secret = secret.ok_or_else(|| refused(format!("wrong key size: {}", key.0.len())))?;
    named(desk.add_shared_key(SharedKey::new(secret)))
}

fn secret(key: &Hex) -> Option<Secret<32>> {
    key.0.as_slice().try_into().ok().map(Secret::new)
}
