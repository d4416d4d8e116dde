//! `shh_post`.

use std::time::Duration;

use wormhole_whisper::devp2p::{
    enode::Enode,
    key::{NodeId, PublicKey},
};
use wormhole_whisper::shh::{Topic, Work, message::Padding};

use super::arguments::only;
use super::requests::NewMessage;
use super::{RpcError, RpcResult, keys, node, refused};
use crate::messaging::{Messenger, OutgoingMessage, Recipient, SendError};
use crate::scheduler::Requester;
use crate::{DirectError, MineError, hex};

/// Seals and posts a message. Returns the hash of its envelope.
pub(super) async fn post(
    messenger: &Messenger,
    requester: Requester,
    params: Option<&str>,
) -> RpcResult {
    let message = outgoing(messenger, only(params)?)?;
    let (direct_to, time) = (message.direct_to, message.work_time);
    let posted = messenger.post_for(requester, message).await;
    posted.map(|hash| hex(&hash.0).into()).map_err(|error| explain(&error, direct_to, time))
}

/// Says in go-ethereum's words why nothing was posted.
fn explain(error: &SendError, direct_to: Option<NodeId>, time: Duration) -> RpcError {
    match (error, direct_to) {
        (SendError::Direct(DirectError::NotConnected), Some(id)) => node::not_found(id),
        (SendError::Mine(MineError::TimeOver { .. }), _) => {
            let seconds = time.as_secs();
            refused(format!(
                "failed to reach the PoW target, specified pow time ({seconds} seconds) was \
                 insufficient"
            ))
        }
        (SendError::TooLittleWork, _) => refused("message rejected, PoW too low"),
        _ => refused(error.to_string()),
    }
}

/// Looks up the keys that a request names. The order of the checks is that of go-ethereum, except that
/// what it refuses after the work is refused before.
fn outgoing(messenger: &Messenger, mut request: NewMessage) -> Result<OutgoingMessage, RpcError> {
    let (shared, public) = (&request.sym_key_id, &request.public_key.0);
    if shared.is_empty() == public.is_empty() {
        return Err(refused("specify either a symmetric or an asymmetric key"));
    }
    let signer = match request.sig.as_str() {
        "" => None,
        id => Some(keys::pair(messenger, id)?),
    };
    let recipient = if public.is_empty() {
        if request.topic == Topic::default() {
            return Err(refused("missing topic(s)"));
        }
        let key = keys::symmetric(messenger, shared)?.to_symmetric_key();
        Recipient::SymmetricKey(key.map_err(|_| refused("invalid symmetric key"))?)
    } else {
        let key = PublicKey::from_sec1(public);
        Recipient::PublicKey(key.map_err(|_| refused("invalid public key"))?)
    };
    let direct_to = match request.target_peer.as_str() {
        "" => None,
        enode => Some(
            Enode::parse(enode)
                .map_err(|error| refused(format!("failed to parse target peer: {error}")))?,
        ),
    };
    let payload = std::mem::take(&mut *request.payload.0);
    let mut message = OutgoingMessage::new(recipient, request.topic, payload);
    message.signer = signer;
    message.ttl = request.ttl;
    if !request.padding.0.is_empty() {
        message.padding = Padding::Exact(request.padding.0.to_vec());
    }
    // A negative target asks for the best proof of work that can be found in the time.
    message.work = Work::new(request.pow_target);
    message.work_time = work_time(request.pow_time);
    message.direct_to = direct_to.map(|enode| enode.id);
    Ok(message)
}

/// Time for the proof of work when a client allows this many seconds.
fn work_time(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()).min(MAX_WORK_TIME)
}

/// Longest time for the proof of work of one message. go-ethereum has no limit.
const MAX_WORK_TIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_of_work_takes_at_most_a_minute() {
        let seconds = [0, 1, 60, 61, u32::MAX].map(|seconds| work_time(seconds).as_secs());
        assert_eq!(seconds, [0, 1, 60, 60, 60]);
    }
}
