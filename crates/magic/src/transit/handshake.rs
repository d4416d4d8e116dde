//! The handshake on a connection: ask the relay, if we use one, prove that we have the key, check that the peer has
//! it, and agree to use this connection (transit.rst "Handshake").
//!
//! Direct and relayed connections only differ in the relay's line. [`super::race`] chooses the connection.

use subtle::ConstantTimeEq;

use super::keys::{RelaySide, Role, TransitKey};

/// The handshake lines of all connections of a race.
#[derive(Clone)]
pub(super) struct Lines {
    role: Role,
    ours: Vec<u8>,
    theirs: Vec<u8>,
    relay: Vec<u8>,
}

impl Lines {
    pub(super) fn new(key: &TransitKey, role: Role, side: RelaySide) -> Self {
        Self {
            role,
            ours: key.hello(role),
            theirs: key.hello(role.peer()),
            relay: key.relay_line(side),
        }
    }
}

/// Why a connection was closed. Other connections may still succeed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The sender uses another connection.
    #[error("peer chose another link")]
    NotChosen,
    /// The relay's answer was not `ok`.
    #[error("relay refused")]
    RelayRefused,
    /// The other end does not have the key.
    #[error("wrong handshake")]
    WrongHello,
    /// Neither `go` nor `nevermind`.
    #[error("expected `go` or `nevermind` after the handshake")]
    WrongVerdict,
}

/// The handshake of a connection. Bytes may arrive in pieces of any size.
///
/// | state | input | says | next |
/// |---|---|---|---|
/// | ExpectRelayOk | `ok` | our hello | ExpectHello |
/// | ExpectHello | the peer's hello, we receive | | ExpectVerdict |
/// | ExpectHello | the peer's hello, we send | | Agreed (the race says `go`) |
/// | ExpectVerdict | `go` | | Agreed |
/// | ExpectVerdict | `nevermind` | | Ended |
/// | any | anything else | | Ended |
pub(super) struct Handshake {
    state: HandshakeState,
    got: Vec<u8>,
}

enum HandshakeState {
    ExpectRelayOk,
    ExpectHello,
    ExpectVerdict,
    Agreed,
    Ended,
}

impl Handshake {
    /// Starts on a direct connection. Also returns the first bytes to send.
    pub(super) fn direct(lines: &Lines) -> (Self, Vec<u8>) {
        (Self { state: HandshakeState::ExpectHello, got: Vec::new() }, lines.ours.clone())
    }

    /// Starts on a connection to a relay. Also returns the first bytes to send.
    pub(super) fn relayed(lines: &Lines) -> (Self, Vec<u8>) {
        (Self { state: HandshakeState::ExpectRelayOk, got: Vec::new() }, lines.relay.clone())
    }

    /// Whether our hello has been sent to the peer.
    pub(super) const fn hello_sent(&self) -> bool {
        !matches!(self.state, HandshakeState::ExpectRelayOk | HandshakeState::Ended)
    }

    /// Whether the peer has proved that it has the key.
    pub(super) const fn hello_received(&self) -> bool {
        matches!(self.state, HandshakeState::ExpectVerdict | HandshakeState::Agreed)
    }

    /// Handles received bytes and appends the bytes to send to `output`.
    ///
    /// Returns the bytes after the handshake once it is complete.
    ///
    /// # Errors
    /// The connection cannot be used and must be closed.
    pub(super) fn handle(
        &mut self,
        lines: &Lines,
        bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>, HandshakeError> {
        self.got.extend_from_slice(bytes);
        loop {
            let state = std::mem::replace(&mut self.state, HandshakeState::Ended);
            let (next, used) = match state {
                HandshakeState::ExpectRelayOk => self.on_relay(lines, output)?,
                HandshakeState::ExpectHello => self.on_hello(lines)?,
                HandshakeState::ExpectVerdict => self.on_verdict()?,
                HandshakeState::Agreed | HandshakeState::Ended => return Ok(None),
            };
            self.state = next;
            self.got.drain(..used);
            match self.state {
                HandshakeState::Agreed => return Ok(Some(std::mem::take(&mut self.got))),
                HandshakeState::ExpectRelayOk
                | HandshakeState::ExpectHello
                | HandshakeState::ExpectVerdict
                | HandshakeState::Ended => {
                    if used == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn on_relay(
        &self,
        lines: &Lines,
        output: &mut Vec<u8>,
    ) -> Result<(HandshakeState, usize), HandshakeError> {
        match starts_with(&self.got, RELAY_OK) {
            Some(true) => {
                output.extend_from_slice(&lines.ours);
                Ok((HandshakeState::ExpectHello, RELAY_OK.len()))
            }
            Some(false) => Err(HandshakeError::RelayRefused),
            None => Ok((HandshakeState::ExpectRelayOk, 0)),
        }
    }

    fn on_hello(&self, lines: &Lines) -> Result<(HandshakeState, usize), HandshakeError> {
        // Compared only when complete, and in constant time: closing the connection at the first wrong byte would let an
        // attacker find the hello byte by byte.
        let Some((hello, _)) = self.got.split_at_checked(lines.theirs.len()) else {
            return Ok((HandshakeState::ExpectHello, 0));
        };
        if !bool::from(hello.ct_eq(&lines.theirs)) {
            return Err(HandshakeError::WrongHello);
        }
        let next = match lines.role {
            Role::Receiver => HandshakeState::ExpectVerdict,
            Role::Sender => HandshakeState::Agreed,
        };
        Ok((next, hello.len()))
    }

    fn on_verdict(&self) -> Result<(HandshakeState, usize), HandshakeError> {
        match (starts_with(&self.got, GO), starts_with(&self.got, NEVER_MIND)) {
            (Some(true), _) => Ok((HandshakeState::Agreed, GO.len())),
            (_, Some(true)) => Err(HandshakeError::NotChosen),
            (Some(false), Some(false)) => Err(HandshakeError::WrongVerdict),
            (None, _) | (_, None) => Ok((HandshakeState::ExpectVerdict, 0)),
        }
    }
}

/// Whether `got` starts with `wanted`; `None` if more bytes are needed.
fn starts_with(got: &[u8], wanted: &[u8]) -> Option<bool> {
    if got.len() >= wanted.len() {
        Some(got.starts_with(wanted))
    } else if wanted.starts_with(got) {
        None
    } else {
        Some(false)
    }
}

/// The relay's answer when both sides are connected.
const RELAY_OK: &[u8] = b"ok\n";

/// Sent by the sender on the connection that it uses.
pub(super) const GO: &[u8] = b"go\n";

/// Sent by the sender on other connections.
pub(super) const NEVER_MIND: &[u8] = b"nevermind\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wormhole_kit::Secret;

    use super::*;

    fn lines(role: Role) -> Lines {
        Lines::new(&TransitKey::new(Secret::new([7; 32])), role, RelaySide([9; 8]))
    }

    /// Feeds `pieces` in and collects what was said and the outcome.
    fn run<'a>(
        role: Role,
        relayed: bool,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<u8>, Result<Option<Vec<u8>>, HandshakeError>) {
        let lines = lines(role);
        let (mut handshake, mut said) =
            if relayed { Handshake::relayed(&lines) } else { Handshake::direct(&lines) };
        let mut rest: Option<Vec<u8>> = None;
        for piece in pieces {
            if let Some(rest) = &mut rest {
                rest.extend_from_slice(piece);
                continue;
            }
            match handshake.handle(&lines, piece, &mut said) {
                Ok(outcome) => rest = outcome,
                Err(error) => return (said, Err(error)),
            }
        }
        (said, Ok(rest))
    }

    fn script(role: Role, relayed: bool) -> Vec<u8> {
        let mut bytes = if relayed { RELAY_OK.to_vec() } else { Vec::new() };
        bytes.extend(lines(role).theirs);
        if role == Role::Receiver {
            bytes.extend_from_slice(GO);
        }
        bytes.extend_from_slice(b"first record");
        bytes
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_outputs(
            receives: bool,
            relayed: bool,
            mut cuts in prop::collection::vec(0..130_usize, 0..8),
        ) {
            let role = if receives { Role::Receiver } else { Role::Sender };
            let bytes = script(role, relayed);
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let to = cut.clamp(from, bytes.len());
                pieces.push(&bytes[from..to]);
                from = to;
            }
            prop_assert_eq!(run(role, relayed, pieces), run(role, relayed, [&bytes[..]]));
        }

        #[test]
        fn a_hello_wrong_in_any_byte_is_refused_when_it_is_whole(at in 0..87_usize, bit in 0..8_u8) {
            let mut bytes = lines(Role::Receiver).theirs;
            bytes[at] ^= 1 << bit;
            let early = run(Role::Receiver, false, [&bytes[..86]]);
            prop_assert_eq!(early.1, Ok(None));
            let whole = run(Role::Receiver, false, [&bytes[..]]);
            prop_assert_eq!(whole.1, Err(HandshakeError::WrongHello));
        }
    }

    #[test]
    fn a_relayed_receiver_says_its_hello_after_the_relay_agreed() {
        let all = script(Role::Receiver, true);
        let (said, outcome) = run(Role::Receiver, true, [&all[..]]);
        let lines = lines(Role::Receiver);
        assert_eq!(said, [lines.relay, lines.ours].concat());
        assert_eq!(outcome, Ok(Some(b"first record".to_vec())));
    }

    #[test]
    fn a_relay_that_refuses_ends_the_link() {
        let (_, outcome) = run(Role::Sender, true, [&b"bad handshake\n"[..]]);
        assert_eq!(outcome, Err(HandshakeError::RelayRefused));
    }

    #[test]
    fn the_receiver_ends_when_the_sender_says_nevermind() {
        let mut bytes = lines(Role::Receiver).theirs;
        bytes.extend_from_slice(b"never");
        assert_eq!(run(Role::Receiver, false, [&bytes[..]]).1, Ok(None));
        bytes.extend_from_slice(b"mind\n");
        assert_eq!(run(Role::Receiver, false, [&bytes[..]]).1, Err(HandshakeError::NotChosen));
    }

    #[test]
    fn any_other_verdict_ends_the_link() {
        let bytes = [&lines(Role::Receiver).theirs[..], b"gone"].concat();
        assert_eq!(run(Role::Receiver, false, [&bytes[..]]).1, Err(HandshakeError::WrongVerdict));
    }

    #[test]
    fn our_own_hello_sent_back_is_refused() {
        let lines = lines(Role::Receiver);
        let outcome = run(Role::Receiver, false, [&lines.ours[..]]).1;
        assert_eq!(outcome, Err(HandshakeError::WrongHello));
    }
}
