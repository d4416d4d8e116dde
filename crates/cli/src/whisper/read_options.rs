//! The messages to read, and the key that decrypts them.

use anyhow::Result;
use wormhole_node::devp2p::key::PublicKey;
use wormhole_node::shh::filter::{Criteria, FilterKey};
use wormhole_node::shh::{Topic, Work};

use super::{keys, named, public_key, secret, topic};
use crate::args::ReadingArgs;
use crate::console::Console;

/// The messages to read.
#[derive(Debug)]
pub(super) struct ReadOptions {
    /// Their topic.
    pub(super) topic: Topic,
    /// The topic for people.
    pub(super) named: String,
    /// The key that decrypts them.
    pub(super) key: FilterKey,
    /// The key that must have signed them, if any.
    pub(super) from: Option<PublicKey>,
}

impl ReadOptions {
    /// Checks the options; may ask for a password.
    ///
    /// # Errors
    /// A value is invalid, or there is no key.
    pub(super) async fn new(args: ReadingArgs, console: &mut Console) -> Result<Self> {
        let topic = topic(&args.topic)?;
        let from = args.from.as_deref().map(public_key).transpose()?;
        let key = match &args.key {
            Some(name) => FilterKey::Private(keys::find(name)?),
            None => FilterKey::Symmetric(secret::shared(args.password, console).await?),
        };
        Ok(Self { topic, named: named(topic, &args.topic), key, from })
    }

    /// The same for a node in this process.
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
