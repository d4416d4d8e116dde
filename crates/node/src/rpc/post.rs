//! `shh_post`.

use std::time::Duration;

use wormhole_whisper::devp2p::{
    enode::Enode,
    key::{NodeId, PublicKey},
};
use wormhole_whisper::shh::{Topic, Work, message::Padding};

use super::super::desk::{Desk, Letter, LetterError, Reader};
use super::super::turns::Requester;
use super::super::{DirectError, MineError, hex};
use super::arguments::only;
use super::requests::NewMessage;
use super::{Answer, RpcError, keys, node, refused};

/// Seals, works and posts. Answers with the name of the envelope.
pub(super) async fn post(desk: &Desk, requester: Requester, params: Option<&str>) -> Answer {
    let message: NewMessage = only(params)?;
    let letter = letter(desk, message)?;
    let (direct_to, time) = (letter.direct_to, letter.work_time);
    let posted = desk.post_for(requester, letter).await;
    posted.map(|hash| hex(&hash.0).into()).map_err(|error| explain(&error, direct_to, time))
}

/// Says in go-ethereum's words why nothing was posted.
fn explain(error: &LetterError, direct_to: Option<NodeId>, time: Duration) -> RpcError {
    match (error, direct_to) {
        (LetterError::Direct(DirectError::NotConnected), Some(id)) => node::not_found(id),
        (LetterError::Mine(MineError::TimeOver { .. }), _) => {
            let seconds = time.as_secs();
            refused(format!(
                "failed to reach the PoW target, specified pow time ({seconds} seconds) was \
                 insufficient"
            ))
        }
        (LetterError::TooLittleWork, _) => refused("message rejected, PoW too low"),
        _ => refused(error.to_string()),
    }
}

/// The message with the keys that were named. The order of the checks is that of go-ethereum,
/// except that what it refuses after the work is refused before.
fn letter(desk: &Desk, mut message: NewMessage) -> Result<Letter, RpcError> {
    let (shared, public) = (&message.sym_key_id, &message.public_key.0);
    if shared.is_empty() == public.is_empty() {
        return Err(refused("specify either a symmetric or an asymmetric key"));
    }
    let signer = match message.sig.as_str() {
        "" => None,
        id => Some(keys::pair(desk, id)?),
    };
    let reader = if public.is_empty() {
        if message.topic == Topic::default() {
            return Err(refused("missing topic(s)"));
        }
        let key = keys::shared(desk, shared)?.ready();
        Reader::Sharers(key.map_err(|_| refused("invalid symmetric key"))?)
    } else {
        let key = PublicKey::from_sec1(public);
        Reader::Holder(key.map_err(|_| refused("invalid public key"))?)
    };
    let direct_to = match message.target_peer.as_str() {
        "" => None,
        enode => Some(
            Enode::parse(enode)
                .map_err(|error| refused(format!("failed to parse target peer: {error}")))?,
        ),
    };
    let payload = std::mem::take(&mut *message.payload.0);
    let mut letter = Letter::new(reader, message.topic, payload);
    letter.signer = signer;
    letter.ttl = message.ttl;
    if !message.padding.0.is_empty() {
        letter.padding = Padding::Exact(message.padding.0.to_vec());
    }
    // Less than none: whatever can be had in the time.
    letter.work = Work::new(message.pow_target);
    letter.work_time = work_time(message.pow_time);
    letter.direct_to = direct_to.map(|enode| enode.id);
    Ok(letter)
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
