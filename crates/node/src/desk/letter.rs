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

use super::super::draft::own_draft;
use super::super::mine::mine_for;
use super::super::turns::Requester;
use super::super::{DirectError, MineError, PostError, Stopped};
use super::Desk;

/// A message to post.
#[derive(Clone)]
#[non_exhaustive]
pub struct Letter {
    /// Who can read it.
    pub reader: Reader,
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

impl Letter {
    /// A letter with work enough for most nodes, and otherwise as usual.
    pub fn new(reader: Reader, topic: Topic, payload: Vec<u8>) -> Self {
        Self {
            reader,
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
impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Letter(…)")
    }
}

/// Who can read a letter.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are two ways to seal (EIP-627)")]
pub enum Reader {
    /// The holder of the private key.
    Holder(PublicKey),
    /// Everyone who has the key.
    Sharers(SymmetricKey),
}

/// Why a letter was not posted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LetterError {
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
    /// The node asks for more work than the letter was to have.
    #[error("less work than the node asks for")]
    TooLittleWork,
}

impl From<Stopped> for LetterError {
    fn from(stopped: Stopped) -> Self {
        Self::Post(stopped.into())
    }
}

impl Desk {
    /// Posts a message, after the work. The time of its making is rounded down, by less than ten
    /// seconds and than a fifth of its life. What can be refused is refused before. Dropping the future
    /// ends the work.
    ///
    /// # Errors
    /// It was not sent.
    pub async fn post(&self, letter: Letter) -> Result<EnvelopeHash, LetterError> {
        self.post_for(Requester::OWNER, letter).await
    }

    /// Like [`Desk::post`], in the turns of a client.
    pub(in super::super) async fn post_for(
        &self,
        requester: Requester,
        letter: Letter,
    ) -> Result<EnvelopeHash, LetterError> {
        let (work, time, direct_to) = (letter.work, letter.work_time, letter.direct_to);
        let ttl = if letter.ttl == 0 { DEFAULT_TTL } else { letter.ttl };
        if ttl > self.max_ttl {
            let limit = self.max_ttl;
            return Err(PostError::from(Refusal::LivesTooLong { ttl, limit }).into());
        }
        let limit = self.check(work, direct_to).await?;
        let topic = letter.topic;
        let data = tokio::task::spawn_blocking(move || letter.seal()).await;
        let data = data.map_err(|_| Stopped)??;
        // If all the time will be used for the work, only then does it begin to live.
        let wait = if work.is_none() { time } else { Duration::ZERO };
        let begin = UnixTime::from(SystemTime::now()).as_secs() + wait.as_secs_f64();
        let draft = own_draft(UnixTime::from_secs(begin), ttl, topic, data);
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
    ) -> Result<usize, LetterError> {
        let status = self.node.status().await?;
        if let Some(peer) = direct_to {
            if !self.node.peers().await?.iter().any(|connected| connected.id == peer) {
                return Err(DirectError::NotConnected.into());
            }
        } else if work.is_none_or(|work| work < status.min_work) {
            return Err(LetterError::TooLittleWork);
        }
        Ok(if direct_to.is_some() { status.max_envelope_bytes } else { status.max_own_bytes })
    }
}

impl Letter {
    /// The sealed message.
    fn seal(self) -> Result<Vec<u8>, MessageError> {
        let sealing = match &self.reader {
            Reader::Holder(_) => Sealing::Asymmetric,
            Reader::Sharers(_) => Sealing::Symmetric,
        };
        let signer = self.signer.as_ref();
        let plaintext = compose(&self.payload, &self.padding, sealing, signer, &mut OsRng)?;
        Ok(match &self.reader {
            Reader::Holder(key) => seal::seal_for(key, &plaintext, &mut OsRng),
            Reader::Sharers(key) => key.seal(&plaintext, &mut OsRng),
        })
    }
}

/// Time for the work unless told otherwise: far more than the usual work takes.
const DEFAULT_WORK_TIME: Duration = Duration::from_secs(10);
