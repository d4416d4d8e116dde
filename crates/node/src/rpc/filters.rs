//! Methods about filters, and what subscriptions share with them.

use std::time::Instant;

use serde_json::Value;
use wormhole_whisper::devp2p::key::PublicKey;
use wormhole_whisper::shh::{
    Work,
    filter::{self, FilterId, FilterKey},
};
use zeroize::Zeroizing;

use super::super::desk::Desk;
use super::super::turns::Requester;
use super::arguments::only;
use super::requests::Criteria;
use super::{Answer, RpcError, Service, keys, refused, reply};

/// `shh_newMessageFilter`.
pub(super) async fn new(service: &Service, requester: Requester, params: Option<&str>) -> Answer {
    let id = add(service, requester, &only(params)?, false).await?;
    Ok(id.to_string().into())
}

/// Adds a filter.
pub(super) async fn add(
    service: &Service,
    requester: Requester,
    asked: &Criteria,
    subscription: bool,
) -> Result<FilterId, RpcError> {
    let (desk, shares) = (&service.desk, &service.filter_shares);
    let wanted = criteria(desk, asked, subscription)?;
    let existing = async |ids| desk.existing(ids).await;
    if !shares.have_room(requester.network, Instant::now(), existing).await {
        return Err(refused("too many filters of clients at your address"));
    }
    // Without topics this would try a key on the whole pool.
    let added = match asked.include_pool && !asked.topics.is_empty() {
        true => desk.watch_from_pool_for(requester, wanted).await,
        false => desk.watch(wanted).await,
    };
    let id = added.map_err(|error| refused(error.to_string()))?;
    shares.add(requester.network, id);
    Ok(id)
}

/// `shh_getFilterMessages`: takes what has come, or some of it if that is much.
pub(super) async fn poll(desk: &Desk, params: Option<&str>) -> Answer {
    let id: Zeroizing<String> = only(params)?;
    let polled = match parse(&id) {
        Some(id) => desk.poll(id, POLL_BYTES).await,
        None => None,
    };
    let messages = polled.ok_or_else(|| refused("filter not found"))?;
    Ok(messages.iter().map(|message| reply::message(message)).collect())
}

/// `shh_deleteMessageFilter`.
pub(super) async fn delete(desk: &Desk, params: Option<&str>) -> Answer {
    let id: Zeroizing<String> = only(params)?;
    match parse(&id) {
        Some(id) if desk.unwatch(id).await => Ok(Value::Bool(true)),
        _ => Err(refused("Unsubscribe: Invalid ID")),
    }
}

/// What somebody wants to read, with the keys that were named. Those who subscribe with a shared
/// key must name topics.
fn criteria(
    desk: &Desk,
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
        FilterKey::Private(keys::pair(desk, private)?)
    } else {
        if subscription && asked.topics.is_empty() {
            return Err(refused("missing topic(s)"));
        }
        let key = keys::shared(desk, shared)?.ready();
        FilterKey::Symmetric(key.map_err(|_| refused("invalid symmetric key"))?)
    };
    Ok(filter::Criteria {
        key,
        signer,
        topics: asked.topics.clone(),
        // Less than nothing is nothing.
        min_work: Work::new(asked.min_pow).unwrap_or(Work::NONE),
        direct: asked.allow_p2p,
    })
}

fn parse(id: &str) -> Option<FilterId> {
    let bytes = data_encoding::HEXLOWER.decode(id.as_bytes()).ok()?;
    bytes.try_into().ok().map(FilterId)
}

/// Bytes of messages that one poll takes; the rest waits for the next.
const POLL_BYTES: usize = 2 * 1024 * 1024;
