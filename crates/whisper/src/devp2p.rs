//! The network stack under Whisper (devp2p specifications): encoding, keys, encrypted transport, the base
//! protocol that all capabilities share, and discovery.
//!
//! This module does not know any capability: `shh` depends on it, not the other way round.
//!
//! ```text
//!  peer: one connection                                  discovery: finding nodes (UDP)
//!  ├── rlpx: handshake, frames      ├── base: Hello, …     ├── packet, table, lookup, endpoint_proof
//!  │   └── ecies                    └── capability         └── enr, enode: descriptions of nodes
//!  └── snappy                               rlp, key: used by all of these
//! ```
//!
//! Connect two nodes that share a capability, without a network:
//!
//! ```
//! use wormhole_kit::Instant;
//! use wormhole_whisper::devp2p::{
//!     capability::{Protocol, ProtocolId},
//!     key::PrivateKey,
//!     peer::{Config, Peer, PeerError, PeerOutput},
//! };
//!
//! fn carry(from: &mut Peer, to: &mut Peer, now: Instant) -> Result<(), PeerError> {
//!     while let Some(PeerOutput::Send(bytes)) = from.poll() {
//!         to.handle(now, &bytes)?;
//!     }
//!     Ok(())
//! }
//!
//! let (mut rng, now) = (rand_core::OsRng, Instant::now());
//! let config = |key| Config::new(key, vec![Protocol::new("shh", 6, 128)]);
//! let (ours, theirs) = (PrivateKey::random(&mut rng), PrivateKey::random(&mut rng));
//! let mut caller = Peer::dial(config(ours), theirs.public_key(), now, &mut rng);
//! let mut called = Peer::accept(config(theirs), now, &mut rng);
//! carry(&mut caller, &mut called, now)?; // auth
//! carry(&mut called, &mut caller, now)?; // ack, Hello
//! carry(&mut caller, &mut called, now)?; // Hello
//! caller.send(ProtocolId(0), 1, &[0xc0]).unwrap();
//! carry(&mut caller, &mut called, now)?;
//! assert!(matches!(called.poll(), Some(PeerOutput::Opened { .. })));
//! assert!(matches!(called.poll(), Some(PeerOutput::Message { code: 1, .. })));
//! # Ok::<(), PeerError>(())
//! ```

pub mod base;
pub mod capability;
pub mod discovery;
pub mod ecies;
pub mod enode;
pub mod enr;
pub mod key;
pub mod peer;
pub mod rlp;
pub mod rlpx;
pub mod snappy;
