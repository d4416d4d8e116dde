//! A message on its way out: composed, sealed, paid for with work, and posted.

use std::time::{Duration, SystemTime};

use rand_core::OsRng;
use wormhole_kit::UnixTime;
use wormhole_whisper::{
    devp2p::key::{NodeId, PrivateKey, PublicKey},
    shh::{
        DEFAULT_TTL, EnvelopeHash, Refusal, SymmetricKey, Topic, Work,
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
#[non_exhaustive]
pub struct OutgoingMessage {
    /// Who can read it.
    pub recipient: Recipient,
    /// Who signs it, if anyone does.
    pub signer: Option<PrivateKey>,
    /// Seconds to live; 0 is taken for the usual time.
    pub ttl: u32,
    /// How readers find it.
    pub topic: Topic,
    /// What is said.
    payload: Zeroizing<Vec<u8>>,
    /// What hides how much is said.
    pub padding: Padding,
    /// How much work to do, at least what the node asks for. For one peer alone it may be less, or
    /// none for as much as there is time.
    pub work: Option<Work>,
    /// How long the work may take.
    pub work_time: Duration,
    /// The only peer that gets it, past everyone else. It must be connected.
    pub direct_to: Option<NodeId>,
}

impl OutgoingMessage {
    /// A message with work enough for most nodes, and otherwise as usual.
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

/// Prints nothing of what is said.
impl std::fmt::Debug for OutgoingMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OutgoingMessage(…)")
    }
}

/// Who can read a message.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are two ways to seal (EIP-627)")]
pub enum Recipient {
    /// The holder of the private key.
    PublicKey(PublicKey),
    /// Everyone who has the key.
    SymmetricKey(SymmetricKey),
}

/// Why a message was not posted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peer did not take it, or is not connected.
    #[error(transparent)]
    Direct(#[from] DirectError),
    /// It cannot be composed.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The work was not done.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// The node did not take it.
    #[error(transparent)]
    Post(#[from] PostError),
    /// The node asks for more work than the message was to have.
    #[error("less work than the node asks for")]
    TooLittleWork,
}

impl From<Stopped> for SendError {
    fn from(stopped: Stopped) -> Self {
        Self::Post(stopped.into())
    }
}

impl Messenger {
    /// Posts a message, after the work. The time of its making is rounded down, by less than ten
    /// seconds and than a fifth of its life. What can be refused is refused before. Dropping the future
    /// ends the work.
    ///
    /// # Errors
    /// It was not sent.
    pub async fn post(&self, message: OutgoingMessage) -> Result<EnvelopeHash, SendError> {
        self.post_for(Requester::OWNER, message).await
    }

    /// Like [`Messenger::post`], in the turns of a client.
    pub(in super::super) async fn post_for(
        &self,
        requester: Requester,
        message: OutgoingMessage,
    ) -> Result<EnvelopeHash, SendError> {
        let (work, time, direct_to) = (message.work, message.work_time, message.direct_to);
        let ttl = if message.ttl == 0 { DEFAULT_TTL } else { message.ttl };
        if ttl > self.max_ttl {
            let limit = self.max_ttl;
            return Err(PostError::from(Refusal::LivesTooLong { ttl, limit }).into());
        }
        let limit = self.check(work, direct_to).await?;
        let topic = message.topic;
        let data = tokio::task::spawn_blocking(move || message.seal()).await;
        let data = data.map_err(|_| Stopped)??;
        // If all the time will be used for the work, only then does it begin to live.
        let wait = if work.is_none() { time } else { Duration::ZERO };
        let begin = UnixTime::from(SystemTime::now()).saturating_add(wait);
        let draft = rounded_draft(begin, ttl, topic, data);
        let size = draft.finish(0).size();
        if size > limit {
            return Err(PostError::from(Refusal::TooLarge { size, limit }).into());
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

    /// Refuses what the node would refuse after the work, or its peer. Returns how large an envelope
    /// may be.
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
    /// The sealed message.
    fn seal(self) -> Result<Vec<u8>, MessageError> {
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

/// Time for the work unless told otherwise: far more than the usual work takes.
const DEFAULT_WORK_TIME: Duration = Duration::from_secs(10);
