//! Whisper v6 itself (EIP-627, spec section 1): envelopes, messages, work, pool, peers, filters.
//!
//! A message is padded, signed and sealed (`message`, `seal`), put into an envelope and paid for
//! with work (`envelope`, `miner`), kept and passed on until it expires (`pool`, `peer`, `node`),
//! and only then tried against our own filters (`filter`), so that timing tells a peer nothing.

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
pub use envelope::{Draft, Envelope, EnvelopeHash, Refusal, ValidEnvelope};
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

/// Seconds since 1970 as they travel: the fraction is dropped.
#[expect(
    clippy::as_conversions,
    reason = "a float becomes the nearest integer that fits: 1970 before, 2106 after"
)]
const fn whole_seconds(time: UnixTime) -> u32 {
    time.as_secs() as u32
}
