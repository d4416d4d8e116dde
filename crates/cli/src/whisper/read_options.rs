//! What is to be read, and what opens it: a shared key, or one of our own.

use anyhow::Result;
use wormhole_node::devp2p::key::PublicKey;
use wormhole_node::shh::filter::{Criteria, FilterKey};
use wormhole_node::shh::{Topic, Work};

use super::{keys, named, public_key, secret, topic};
use crate::args::ReadingArgs;
use crate::console::Console;

/// What is to be read.
#[derive(Debug)]
pub(super) struct ReadOptions {
    /// Under which topic.
    pub(super) topic: Topic,
    /// The topic as people know it.
    pub(super) named: String,
    /// What opens it.
    pub(super) key: FilterKey,
    /// Who must have signed it, if it matters.
    pub(super) from: Option<PublicKey>,
}

impl ReadOptions {
    /// Understands what was typed; may ask for a password.
    ///
    /// # Errors
    /// Something is not as it should be, or there is no key.
    pub(super) async fn new(args: ReadingArgs, console: &mut Console) -> Result<Self> {
        let topic = topic(&args.topic)?;
        let from = args.from.as_deref().map(public_key).transpose()?;
        let key = match &args.key {
            Some(name) => FilterKey::Private(keys::find(name)?),
            None => FilterKey::Symmetric(secret::shared(args.password, console).await?),
        };
        Ok(Self { topic, named: named(topic, &args.topic), key, from })
    }

    /// The same, as a node of our own wants to know it.
    pub(super) fn criteria(&self) -> Criteria {
        Criteria {
            key: self.key.clone(),
            signer: self.from,
            topics: vec![self.topic],
            min_work: Work::NONE,
            direct: true,
        }
    }
}
