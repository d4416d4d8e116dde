//! The Whisper v6 protocol (EIP-627, docs/whisper-protocol.md).
//!
//! The sender pads, signs and encrypts a message, puts it into an envelope and adds proof of work. Nodes
//! store and forward envelopes until they expire, and try their own keys on each of them.
//!
//! ```text
//!  node: pool, peers, scheduling                         filter: keys, and the messages they decrypted
//!  ├── packet, peer: state of one peer ├── rate: limits    ├── message: padding, signature
//!  ├── pool: stored envelopes          └── requirements    └── seal: symmetric and asymmetric encryption
//!  └── envelope, work, topic, bloom: unencrypted fields    miner: search for the nonce
//!                                                          archive: mail server requests
//! ```
//!
//! Whisper hides the content and the recipient of a message. [`node::Privacy`] makes it harder for a single
//! peer to identify the sender. Topics, sizes and times are public.
//!
//! Post and read a message:
//!
//! ```
//! use wormhole_kit::{Instant, UnixTime};
//! use wormhole_whisper::shh::{
//!     Draft, Message, Miner, Requirements, SymmetricKey, Topic, Work,
//!     message::{Padding, Sealing, compose},
//! };
//!
//! let (mut rng, now) = (rand_core::OsRng, UnixTime::from_secs(1_575_000_000));
//! let key = SymmetricKey::random(&mut rng);
//! let plaintext = compose(b"hello", &Padding::Block, Sealing::Symmetric, None, &mut rng)?;
//! let draft = Draft::new(now, 50, Topic::of_word("room"), key.seal(&plaintext, &mut rng));
//!
//! let mut miner = Miner::new(&draft, draft.bits_needed(Work::DEFAULT_MINIMUM));
//! let nonce = std::iter::repeat_with(|| miner.step(1024)).find_map(|found| found).unwrap();
//! let requirements = Requirements::new(Work::DEFAULT_MINIMUM);
//! let envelope = draft.finish(nonce).check(&requirements, Instant::now(), now)?.into_envelope();
//!
//! let message = Message::parse(&key.open(envelope.data())?)?;
//! assert_eq!(message.payload, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod archive;
pub mod bloom;
pub mod envelope;
pub mod filter;
pub mod message;
pub mod miner;
pub mod node;
pub mod packet;
mod peer;
pub mod pool;
pub mod rate;
pub mod requirements;
pub mod seal;
pub mod topic;
pub mod work;

pub use bloom::Bloom;
pub use envelope::{DEFAULT_TTL, Draft, Envelope, EnvelopeError, EnvelopeHash, ValidEnvelope};
pub use filter::Filters;
pub use message::Message;
pub use miner::Miner;
pub use node::{Node, NodeOutput};
pub use pool::Pool;
pub use requirements::Requirements;
pub use seal::SymmetricKey;
pub use topic::Topic;
pub use work::Work;
use wormhole_kit::UnixTime;

/// Whole seconds since 1970, as packets encode them; valid until the year 2106.
fn whole_seconds(time: UnixTime) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
