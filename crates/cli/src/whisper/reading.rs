//! What is to be read, and what opens it: a shared key, or one of our own.

use anyhow::Result;
use wormhole::whisper::devp2p::key::{PrivateKey, PublicKey};
use wormhole::whisper::shh::{SymmetricKey, Topic};

use super::{keys, public_key, secret, topic};
use crate::args::ReadingArgs;
use crate::talk::Desk;

/// What is to be read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Under which topic.
    pub(super) topic: Topic,
    /// What opens it.
    pub(super) key: ReadingKey,
    /// Who must have signed it, if it matters.
    pub(super) from: Option<PublicKey>,
}

/// What opens messages.
#[derive(Debug)]
pub(super) enum ReadingKey {
    /// A key of our own.
    Own(PrivateKey),
    /// A key that all readers share.
    Shared(SymmetricKey),
}

impl Reading {
    /// Understands what was typed; may ask for a password.
    ///
    /// # Errors
    /// Something is not as it should be, or there is no key.
    pub(super) async fn new(args: ReadingArgs, desk: &mut Desk) -> Result<Self> {
        let topic = topic(&args.topic)?;
        let from = args.from.as_deref().map(public_key).transpose()?;
        let key = match &args.key {
            Some(name) => ReadingKey::Own(keys::find(name)?),
            None => ReadingKey::Shared(secret::shared(args.password, desk).await?),
        };
        Ok(Self { topic, key, from })
    }
}
