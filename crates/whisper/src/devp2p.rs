//! The network stack under Whisper (devp2p specifications): encoding, keys, the
//! encrypted transport, the base protocol that capabilities share, and discovery.
//!
//! Nothing here knows what a capability says: `shh` stands on this, never the other way round.
//!
//! ```text
//!  peer: one link, from the first byte to the last        discovery: who is out there (UDP)
//!  ├── rlpx: handshake, frames      ├── base: Hello, …     ├── packet, table, lookup, bond
//!  │   └── ecies                    └── capability         └── enr, enode: nodes as data
//!  └── snappy                               rlp, key: under all of it
//! ```
//!
//! Two nodes that share a capability, without a network between them:
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
