//! Methods about filters, and the part that subscriptions share with them.

use std::time::Instant;

use serde_json::Value;
use wormhole_whisper::devp2p::key::PublicKey;
use wormhole_whisper::shh::{
    Work,
    filter::{self, FilterId, FilterKey},
};
use zeroize::Zeroizing;

use super::arguments::only;
use super::requests::Criteria;
use super::{RpcError, RpcResult, RpcServer, format, keys, refused};
use crate::messaging::Messenger;
use crate::scheduler::Requester;

/// `shh_newMessageFilter`.
pub(super) async fn new(
    service: &RpcServer,
    requester: Requester,
    params: Option<&str>,
) -> RpcResult {
    let id = add(service, requester, &only(params)?, false).await?;
    Ok(id.to_string().into())
}

/// Adds a filter.
pub(super) async fn add(
    service: &RpcServer,
    requester: Requester,
    asked: &Criteria,
    subscription: bool,
) -> Result<FilterId, RpcError> {
    let (messenger, quotas) = (&service.messenger, &service.filter_quotas);
    let wanted = criteria(messenger, asked, subscription)?;
    let existing = async |ids| messenger.existing(ids).await;
    if !quotas.have_room(requester.network, Instant::now(), existing).await {
        return Err(refused("too many filters of clients at your address"));
    }
    // Without topics, this would try the key on every envelope of the pool.
    let added = match asked.include_pool && !asked.topics.is_empty() {
        true => messenger.add_filter_with_pool_for(requester, wanted).await,
        false => messenger.add_filter(wanted).await,
    };
    let id = added.map_err(|error| refused(error.to_string()))?;
    quotas.add(requester.network, Instant::now(), id);
    Ok(id)
}

/// `shh_getFilterMessages`: takes messages out of a filter, up to [`POLL_BYTES`].
pub(super) async fn poll(messenger: &Messenger, params: Option<&str>) -> RpcResult {
    let id: Zeroizing<String> = only(params)?;
    let polled = match parse(&id) {
        Some(id) => messenger.poll(id, POLL_BYTES).await,
        None => None,
    };
    let messages = polled.ok_or_else(|| refused("filter not found"))?;
    Ok(messages.iter().map(|message| format::message(message)).collect())
}

/// `shh_deleteMessageFilter`.
pub(super) async fn delete(messenger: &Messenger, params: Option<&str>) -> RpcResult {
    let id: Zeroizing<String> = only(params)?;
    match parse(&id) {
        Some(id) if messenger.remove_filter(id).await => Ok(Value::Bool(true)),
        _ => Err(refused("Unsubscribe: Invalid ID")),
    }
}

/// The criteria of a filter, with the keys that the request names. A subscription with a symmetric key must
/// name topics, as in go-ethereum.
fn criteria(
    messenger: &Messenger,
    asked: &Criteria,
    subscription: bool,
) -> Result<filter::Criteria, RpcError> {
    let (shared, private) = (&asked.sym_key_id, &asked.private_key_id);
    if shared.is_empty() == private.is_empty() {
        return Err(refused("specify either a symmetric or an asymmetric key"));
    }
    let signer = Some(asked.sig.0.as_slice()).filter(|key| !key.is_empty());
    let signer = signer.map(PublicKey::from_sec1).transpose();
    let signer = signer.map_err(|_| refused("invalid signing public key"))?;
    let key = if shared.is_empty() {
        FilterKey::Private(keys::pair(messenger, private)?)
    } else {
        if subscription && asked.topics.is_empty() {
            return Err(refused("missing topic(s)"));
        }
        let key = keys::symmetric(messenger, shared)?.to_symmetric_key();
        FilterKey::Symmetric(key.map_err(|_| refused("invalid symmetric key"))?)
    };
    Ok(filter::Criteria {
        key,
        signer,
        topics: asked.topics.clone(),
        // A negative number demands no work.
        min_work: Work::new(asked.min_pow).unwrap_or(Work::NONE),
        direct: asked.allow_p2p,
    })
}

fn parse(id: &str) -> Option<FilterId> {
    let bytes = data_encoding::HEXLOWER.decode(id.as_bytes()).ok()?;
    bytes.try_into().ok().map(FilterId)
}

/// Maximum number of bytes of messages in the response to one poll. The rest waits for the next poll.
const POLL_BYTES: usize = 2 * 1024 * 1024;
