//! Exchanges the two messages of SPAKE2: ours is sent as soon as the code is known; the peer's may arrive before
//! or after that.
//!
//! The cryptography is in [`crate::spake2`].

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};

use super::error::PeerMisbehaved;
use crate::AppId;
use crate::code::Code;
use crate::key::Key;
use crate::spake2::Spake2;

/// The key exchange.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `ExpectBoth` | code | our message | `ExpectPeer` |
/// | `ExpectBoth` | peer's message | | `ExpectCode` |
/// | `ExpectCode` | code | our message, key | Done |
/// | `ExpectPeer` | peer's message | key | Done |
///
/// Only the first message of the peer is handled: each answered message would allow an attacker to guess the
/// password once.
#[derive(Debug)]
pub(super) enum KeyExchange {
    ExpectBoth,
    ExpectCode { peer_message: Vec<u8> },
    ExpectPeer { spake2: Spake2 },
    Done,
}

/// The content of a `pake` message (client-protocol.md): JSON with the message in hex.
#[derive(Deserialize, Serialize)]
struct PakeBody {
    pake_v1: String,
}

impl KeyExchange {
    /// The code is known. Returns our message, and the key if the peer's message arrived before.
    pub(super) fn on_code(
        &mut self,
        code: &Code,
        app_id: &AppId,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Vec<u8>, Option<Key>), PeerMisbehaved> {
        let (spake2, message) = Spake2::start(code, app_id, rng);
        let body = PakeBody { pake_v1: HEXLOWER.encode(&message) };
        // A string of hex digits is always valid JSON.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let before = std::mem::replace(self, Self::ExpectPeer { spake2 });
        let Self::ExpectCode { peer_message } = before else { return Ok((body, None)) };
        Ok((body, self.on_message(&peer_message)?))
    }

    /// Handles the peer's message. Returns the key if the code is known.
    pub(super) fn on_message(&mut self, body: &[u8]) -> Result<Option<Key>, PeerMisbehaved> {
        match std::mem::replace(self, Self::Done) {
            Self::ExpectBoth => {
                *self = Self::ExpectCode { peer_message: body.to_vec() };
                Ok(None)
            }
            Self::ExpectPeer { spake2 } => Ok(Some(spake2.finish(&decode(body)?)?)),
            unmoved @ (Self::ExpectCode { .. } | Self::Done) => {
                *self = unmoved;
                Ok(None)
            }
        }
    }
}

fn decode(body: &[u8]) -> Result<Vec<u8>, PeerMisbehaved> {
    let body: PakeBody = serde_json::from_slice(body).map_err(|_| PeerMisbehaved::PakeMalformed)?;
    HEXLOWER_PERMISSIVE.decode(body.pake_v1.as_bytes()).map_err(|_| PeerMisbehaved::PakeMalformed)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::spake2::PakeError;

    fn started(seed: u64) -> (KeyExchange, Vec<u8>) {
        let mut exchange = KeyExchange::ExpectBoth;
        let message = start(&mut exchange, seed).unwrap().0;
        (exchange, message)
    }

    fn start(
        exchange: &mut KeyExchange,
        seed: u64,
    ) -> Result<(Vec<u8>, Option<Key>), PeerMisbehaved> {
        let code = "4-purple-sausages".parse().unwrap();
        exchange.on_code(&code, &AppId::default(), &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn the_key_is_the_same_whichever_of_code_and_message_comes_first() {
        let (mut alice, from_alice) = started(1);
        let mut bob = KeyExchange::ExpectBoth;
        assert_eq!(bob.on_message(&from_alice), Ok(None));
        let (from_bob, bobs_key) = start(&mut bob, 2).unwrap();
        assert!(bobs_key.is_some());
        assert_eq!(alice.on_message(&from_bob), Ok(bobs_key));
    }

    #[test]
    fn only_the_first_message_of_a_peer_is_looked_at() {
        let (mut alice, _) = started(1);
        assert!(alice.on_message(&started(2).1).unwrap().is_some());
        assert_eq!(alice.on_message(&started(3).1), Ok(None));
        assert_eq!(alice.on_message(b"garbage"), Ok(None));
    }

    #[test]
    fn a_body_of_another_shape_is_refused() {
        for body in [&b"53"[..], b"{}", b"{\"pake_v1\":7}", b"{\"pake_v1\":\"xyz\"}", b"\xff", b""]
        {
            let (mut alice, _) = started(1);
            assert_eq!(alice.on_message(body), Err(PeerMisbehaved::PakeMalformed));
        }
        let (mut alice, own) = started(1);
        assert_eq!(alice.on_message(&own), Err(PakeError::Reflected.into()));
    }
}
