//! Methods about the node: its requirements, its peers, and information about it.

use serde_json::{Value, json};
use wormhole_whisper::devp2p::{
    enode::Enode,
    key::{NodeId, keccak256},
};
use wormhole_whisper::shh::{Bloom, EnvelopeHash, Work, requirements::MAX_SIZE_LIMIT};
use zeroize::Zeroizing;

use super::super::{Direction, Node, PeerInfo, PostState, Stopped, hex};
use super::arguments::{Hex, none, only};
use super::{RpcError, RpcResult, refused};
use crate::messaging::Messenger;

/// Executes a method, if it is one of these.
pub(super) async fn answer(
    messenger: &Messenger,
    method: &str,
    params: Option<&str>,
) -> Option<RpcResult> {
    let node = messenger.node();
    Some(match method {
        "shh_version" => none(params).map(|()| "6.0".into()),
        "shh_info" => info(node, params).await,
        "shh_setMaxMessageSize" => set_max_size(node, params).await,
        "shh_setMinPoW" => set_min_work(node, params).await,
        "shh_setBloomFilter" => set_bloom(messenger, params).await,
        "shh_markTrustedPeer" => trust(node, params).await,
        "shh_makeLightClient" => set_light(node, params, true).await,
        "shh_cancelLightClient" => set_light(node, params, false).await,
        "net_version" => none(params).map(|()| "1".into()),
        "net_listening" => none(params).map(|()| node.enode().endpoint.is_some().into()),
        "net_peerCount" => peers(node, params).await.map(|all| format!("{:#x}", all.len()).into()),
        "web3_clientVersion" => none(params).map(|()| CLIENT.into()),
        "web3_sha3" => only(params).map(|Hex(bytes)| hex(&keccak256(&[&bytes])).into()),
        "rpc_modules" => none(params).map(|()| {
            json!({
                "admin": "1.0", "net": "1.0", "rpc": "1.0", "shh": "6.0", "web3": "1.0",
                "wormhole": "1.0",
            })
        }),
        "wormhole_postState" => post_state(node, params).await,
        "admin_nodeInfo" => own(node, params).await,
        "admin_peers" => {
            peers(node, params).await.map(|all| all.iter().map(|peer| shown(node, peer)).collect())
        }
        "admin_addPeer" => add_peer(node, params).await,
        "admin_removePeer" => remove_peer(node, params).await,
        _ => return None,
    })
}

/// Whether a message that was posted here has reached a peer. go-ethereum has no such method.
async fn post_state(node: &Node, params: Option<&str>) -> RpcResult {
    let Hex(bytes) = only(params)?;
    let hash: [u8; 32] = bytes.as_slice().try_into().map_err(|_| refused("a hash has 32 bytes"))?;
    let state = node.post_state(EnvelopeHash(hash)).await.map_err(stopped)?;
    Ok(state
        .map(|state| match state {
            PostState::Expired => "expired",
            PostState::Sent => "sent",
            PostState::Waiting => "waiting",
        })
        .into())
}

async fn info(node: &Node, params: Option<&str>) -> RpcResult {
    none(params)?;
    let status = node.status().await.map_err(stopped)?;
    Ok(json!({
        "memory": status.bytes,
        "messages": status.envelopes,
        "minPow": status.min_work.as_f64(),
        "maxMessageSize": status.max_envelope_bytes,
    }))
}

async fn set_max_size(node: &Node, params: Option<&str>) -> RpcResult {
    let bytes: u32 = only(params)?;
    let size = usize::try_from(bytes).unwrap_or(usize::MAX);
    if size > MAX_SIZE_LIMIT {
        return Err(refused(format!("message size too large [{bytes}>{MAX_SIZE_LIMIT}]")));
    }
    done(node.set_max_envelope_bytes(size).await)
}

async fn set_min_work(node: &Node, params: Option<&str>) -> RpcResult {
    let work: f64 = only(params)?;
    let work = Work::new(work).ok_or_else(|| refused(format!("invalid PoW: {work:.6}")))?;
    done(node.set_min_work(work).await)
}

async fn set_bloom(messenger: &Messenger, params: Option<&str>) -> RpcResult {
    let Hex(bytes) = only(params)?;
    let bytes: [u8; Bloom::BYTES] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| refused(format!("invalid bloom filter size: {}", bytes.len())))?;
    done(messenger.set_bloom_filter(Bloom::from_bytes(bytes)).await)
}

async fn set_light(node: &Node, params: Option<&str>, light: bool) -> RpcResult {
    none(params)?;
    done(node.set_light(light).await)
}

/// Trusts a connected peer. Other nodes are refused, as in go-ethereum.
async fn trust(node: &Node, params: Option<&str>) -> RpcResult {
    let id = enode(params, "")?.id;
    let connected = node.peers().await.map_err(stopped)?;
    if !connected.iter().any(|peer| peer.id == id) {
        return Err(not_found(id));
    }
    done(node.trust(id).await.map(drop))
}

async fn add_peer(node: &Node, params: Option<&str>) -> RpcResult {
    let enode = enode(params, "invalid enode: ")?;
    let added = node.add_peer(enode).await.map_err(|error| refused(error.to_string()));
    // It is a static peer now, whether it is new or not.
    added.map(|_| Value::Bool(true))
}

async fn remove_peer(node: &Node, params: Option<&str>) -> RpcResult {
    let id = enode(params, "invalid enode: ")?.id;
    done(node.remove_peer(id).await.map(drop))
}

async fn peers(node: &Node, params: Option<&str>) -> Result<Vec<PeerInfo>, RpcError> {
    none(params)?;
    node.peers().await.map_err(stopped)
}

async fn own(node: &Node, params: Option<&str>) -> RpcResult {
    none(params)?;
    let (status, enode) = (node.status().await.map_err(stopped)?, node.enode());
    let endpoint = enode.endpoint;
    let ports = endpoint.map_or((0, 0), |endpoint| (endpoint.udp, endpoint.tcp));
    Ok(json!({
        "id": name(enode.id),
        "name": CLIENT,
        "enode": enode.to_string(),
        "ip": endpoint.map(|endpoint| endpoint.ip.to_string()).unwrap_or_default(),
        "ports": { "discovery": ports.0, "listener": ports.1 },
        "listenAddr": endpoint.map(|at| at.tcp_address().to_string()).unwrap_or_default(),
        "protocols": { "shh": {
            "version": "6.0",
            "maxMessageSize": status.max_envelope_bytes,
            "minimumPoW": status.min_work.as_f64(),
        } },
    }))
}

/// A peer, in the format of go-ethereum. Its name and capabilities are any bytes that it sent.
fn shown(node: &Node, peer: &PeerInfo) -> Value {
    let capabilities = peer.capabilities.iter();
    let local = node.enode().endpoint.map(|own| own.tcp_address().to_string()).unwrap_or_default();
    json!({
        "enode": format!("enode://{}@{}", peer.id, peer.address),
        "id": name(peer.id),
        "name": peer.client,
        "caps": capabilities.map(|one| format!("{}/{}", one.name, one.version)).collect::<Vec<_>>(),
        "network": {
            "localAddress": local,
            "remoteAddress": peer.address.to_string(),
            "inbound": peer.direction == Direction::Inbound,
            "trusted": peer.trusted,
            "static": peer.is_static,
        },
        "protocols": { "shh": {
            "version": 6,
            "minimumPoW": peer.min_work.as_f64(),
            "light": peer.light,
        } },
    })
}

/// Reads the only argument as an enode.
fn enode(params: Option<&str>, prefix: &str) -> Result<Enode, RpcError> {
    let text: Zeroizing<String> = only(params)?;
    Enode::parse(&text).map_err(|error| refused(format!("{prefix}{error}")))
}

/// The short id of a node.
fn name(id: NodeId) -> String {
    data_encoding::HEXLOWER.encode(&id.digest())
}

/// The error for a node that is not connected.
pub(super) fn not_found(id: NodeId) -> RpcError {
    refused(format!("Could not find peer with ID: {}", name(id)))
}

fn done(done: Result<(), Stopped>) -> RpcResult {
    done.map(|()| Value::Bool(true)).map_err(stopped)
}

fn stopped(stopped: Stopped) -> RpcError {
    refused(stopped.to_string())
}

/// The name of this software.
const CLIENT: &str = concat!("Wormhole/v", env!("CARGO_PKG_VERSION"));
