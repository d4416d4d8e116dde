//! A message to post: it is padded, signed, encrypted, and gets its proof of work.

use std::time::{Duration, SystemTime};

use rand_core::OsRng;
use wormhole_kit::UnixTime;
use wormhole_whisper::{
    devp2p::key::{NodeId, PrivateKey, PublicKey},
    shh::{
        DEFAULT_TTL, EnvelopeError, EnvelopeHash, SymmetricKey, Topic, Work,
        message::{MessageError, Padding, Sealing, compose},
        seal,
    },
};
use zeroize::Zeroizing;

use super::Messenger;
use crate::mining::mine_for;
use crate::node::draft::rounded_draft;
use crate::scheduler::Requester;
use crate::{DirectError, MineError, PostError, Stopped};

/// A message to post.
#[derive(Clone)]
pub struct OutgoingMessage {
    /// The people who can decrypt it.
    pub recipient: Recipient,
    /// The key that signs it, if any.
    pub signer: Option<PrivateKey>,
    /// TTL in seconds; 0 for the default.
    pub ttl: u32,
    /// The topic by which recipients recognise it.
    pub topic: Topic,
    /// The content.
    payload: Zeroizing<Vec<u8>>,
    /// The padding that hides the length of the content.
    pub padding: Padding,
    /// How much proof of work to do, at least what the node demands. A direct message may have less. `None`
    /// takes the best that can be found in `work_time`.
    pub work: Option<Work>,
    /// Longest time for the proof of work.
    pub work_time: Duration,
    /// The peer that gets it directly, instead of the network. It must be connected.
    pub direct_to: Option<NodeId>,
}

impl OutgoingMessage {
    /// A message with enough proof of work for most nodes, and defaults otherwise.
    pub fn new(recipient: Recipient, topic: Topic, payload: Vec<u8>) -> Self {
        Self {
            recipient,
            signer: None,
            ttl: 0,
            topic,
            payload: Zeroizing::new(payload),
            padding: Padding::Block,
            work: Some(Work::DEFAULT_MINIMUM),
            work_time: DEFAULT_WORK_TIME,
            direct_to: None,
        }
    }
}

/// Does not print the content.
impl std::fmt::Debug for OutgoingMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OutgoingMessage(…)")
    }
}

/// The people who can decrypt a message.
#[derive(Clone, Debug)]
pub enum Recipient {
    /// The owner of this public key.
    PublicKey(PublicKey),
    /// Everyone who has this key.
    SymmetricKey(SymmetricKey),
}

/// Why a message was not sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// It could not be sent to the peer.
    #[error(transparent)]
    Direct(#[from] DirectError),
    /// The content is too long, or the padding is invalid.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The proof of work was not found.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// The node refused it.
    #[error(transparent)]
    Post(#[from] PostError),
    /// The node demands more work than the message should have.
    #[error("less proof of work than the node demands")]
    TooLittleWork,
}

impl From<Stopped> for SendError {
    fn from(stopped: Stopped) -> Self {
        Self::Post(stopped.into())
    }
}

impl Messenger {
    /// Posts a message, after its proof of work. Its time is rounded down, by less than ten seconds and less
    /// than a fifth of its TTL. What the node would refuse is refused before the work. Dropping the future
    /// ends the work.
    ///
    /// # Errors
    /// It was not sent.
    pub async fn post(&self, message: OutgoingMessage) -> Result<EnvelopeHash, SendError> {
        self.post_for(Requester::OWNER, message).await
    }

    /// Like [`Messenger::post`], scheduled as work of a client.
    pub(crate) async fn post_for(
        &self,
        requester: Requester,
        message: OutgoingMessage,
    ) -> Result<EnvelopeHash, SendError> {
        let (work, time, direct_to) = (message.work, message.work_time, message.direct_to);
        let ttl = if message.ttl == 0 { DEFAULT_TTL } else { message.ttl };
        if ttl > self.max_ttl {
            let limit = self.max_ttl;
            return Err(PostError::from(EnvelopeError::TtlTooLong { ttl, limit }).into());
        }
        let limit = self.check(work, direct_to).await?;
        let topic = message.topic;
        let data = tokio::task::spawn_blocking(move || message.encrypt()).await;
        let data = data.map_err(|_| Stopped)??;
        // If the work takes all of the time, the TTL starts after it.
        let wait = if work.is_none() { time } else { Duration::ZERO };
        let begin = UnixTime::from(SystemTime::now()).saturating_add(wait);
        let draft = rounded_draft(begin, ttl, topic, data);
        let size = draft.finish(0).size();
        if size > limit {
            return Err(PostError::from(EnvelopeError::TooLarge { size, limit }).into());
        }
        let envelope = mine_for(requester, draft, work, time).await?;
        match direct_to {
            Some(peer) => {
                let hash = envelope.hash();
                self.node.send_direct(peer, envelope).await?;
                Ok(hash)
            }
            None => Ok(self.node.post(envelope).await?),
        }
    }

    /// Refuses what the node or the peer would refuse after the work. Returns the largest size of the
    /// envelope.
    async fn check(
        &self,
        work: Option<Work>,
        direct_to: Option<NodeId>,
    ) -> Result<usize, SendError> {
        let status = self.node.status().await?;
        if let Some(peer) = direct_to {
            if !self.node.peers().await?.iter().any(|connected| connected.id == peer) {
                return Err(DirectError::NotConnected.into());
            }
        } else if work.is_none_or(|work| work < status.min_work) {
            return Err(SendError::TooLittleWork);
        }
        Ok(if direct_to.is_some() { status.max_envelope_bytes } else { status.max_own_bytes })
    }
}

impl OutgoingMessage {
    /// Pads, signs and encrypts the message.
    fn encrypt(self) -> Result<Vec<u8>, MessageError> {
        let sealing = match &self.recipient {
            Recipient::PublicKey(_) => Sealing::Asymmetric,
            Recipient::SymmetricKey(_) => Sealing::Symmetric,
        };
        let signer = self.signer.as_ref();
        let plaintext = compose(&self.payload, &self.padding, sealing, signer, &mut OsRng)?;
        Ok(match &self.recipient {
            Recipient::PublicKey(key) => seal::seal_for(key, &plaintext, &mut OsRng),
            Recipient::SymmetricKey(key) => key.seal(&plaintext, &mut OsRng),
        })
    }
}

/// Default for the time of the proof of work: far more than the usual work takes.
const DEFAULT_WORK_TIME: Duration = Duration::from_secs(10);
