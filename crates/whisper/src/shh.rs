//! Whisper v6 itself (EIP-627, docs/whisper-protocol.md): envelopes, messages, work, pool, peers, filters.
//!
//! A message is padded, signed and sealed, put into an envelope and paid for with work; the envelope
//! is kept and passed on by everyone until it expires, and only then tried against our own keys.
//!
//! ```text
//!  node: what comes in, what goes out, to whom, when     filter: our keys, and what they opened
//!  ├── packet, peer: one neighbour    ├── rate: floods   ├── message: padding, signature
//!  ├── pool: what lives               └── requirements   └── seal: the two ways to seal
//!  └── envelope, work, topic, bloom: what is said in the open      miner: work, found
//!                                                                  archive: the mail server
//! ```
//!
//! What Whisper hides is what is said and who reads it. Who spoke is hidden from a single neighbour
//! as far as [`node::Darkness`] goes; topics, sizes and times are there for everyone to see.
//!
//! From a word to an envelope and back:
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
pub use envelope::{DEFAULT_TTL, Draft, Envelope, EnvelopeHash, Refusal, ValidEnvelope};
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

/// Whole seconds since 1970 as a packet carries them, until the year 2106.
fn whole_seconds(time: UnixTime) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
