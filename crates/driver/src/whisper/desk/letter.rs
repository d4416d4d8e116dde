//! A message on its way out: composed, sealed, paid for with work, and posted.

use std::time::{Duration, SystemTime};

use rand_core::OsRng;
use wormhole_whisper::{
    devp2p::key::{NodeId, PrivateKey, PublicKey},
    shh::{
        DEFAULT_TTL, Draft, EnvelopeHash, Refusal, SymmetricKey, Topic, Work,
        message::{MessageError, Padding, Sealing, compose},
        seal,
    },
};
use zeroize::Zeroizing;

use super::super::{DirectError, MineError, PostError, Stopped, mine};
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
    pub payload: Zeroizing<Vec<u8>>,
    /// What hides how much is said.
    pub padding: Padding,
    /// How much work to do; none for as much as there is time.
    pub work: Option<Work>,
    /// How long the work may take.
    pub work_time: Duration,
    /// The only peer that gets it, past everyone else.
    pub direct_to: Option<NodeId>,
}

impl Letter {
    /// A letter with work enough for most nodes, and otherwise as usual.
    pub const fn new(reader: Reader, topic: Topic, payload: Zeroizing<Vec<u8>>) -> Self {
        Self {
            reader,
            signer: None,
            ttl: 0,
            topic,
            payload,
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
    /// The peer did not take it.
    #[error(transparent)]
    Direct(#[from] DirectError),
    /// It cannot be composed.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The node did not take it.
    #[error(transparent)]
    Post(#[from] PostError),
    /// The node asks for more work than the letter was to have.
    #[error("message rejected, PoW too low")]
    TooLittleWork,
    /// The work was not done in time.
    #[error(
        "failed to reach the PoW target, specified pow time ({} seconds) was insufficient",
        .0.as_secs()
    )]
    WorkTime(Duration),
}

impl From<Stopped> for LetterError {
    fn from(stopped: Stopped) -> Self {
        Self::Post(stopped.into())
    }
}

impl Desk {
    /// Posts a message, after the work. Dropping the future ends the work.
    ///
    /// # Errors
    /// It was not sent.
    pub async fn post(&self, letter: Letter) -> Result<EnvelopeHash, LetterError> {
        let (work, time, direct_to) = (letter.work, letter.work_time, letter.direct_to);
        let ttl = if letter.ttl == 0 { DEFAULT_TTL } else { letter.ttl };
        if ttl > self.max_ttl {
            let limit = self.max_ttl;
            return Err(PostError::from(Refusal::LivesTooLong { ttl, limit }).into());
        }
        let topic = letter.topic;
        let data = tokio::task::spawn_blocking(move || letter.seal()).await;
        let data = data.map_err(|_| Stopped)??;
        let mut draft = Draft::new(SystemTime::now().into(), ttl, topic, data);
        self.check_size(&draft).await?;
        if work.is_none() {
            // All the time will be used, and only then does it begin to live.
            let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
            draft.expiry = draft.expiry.saturating_add(seconds);
        }
        let mined = mine(draft, work, time).await;
        let envelope = mined.map_err(|error| match error {
            MineError::TimeOver { .. } => LetterError::WorkTime(time),
            MineError::NoThread => Stopped.into(),
        })?;
        if let Some(peer) = direct_to {
            let hash = envelope.hash();
            self.node.send_direct(peer, envelope).await?;
            return Ok(hash);
        }
        let least = self.node.status().await?.min_work;
        if work.is_none_or(|work| work < least) {
            return Err(LetterError::TooLittleWork);
        }
        Ok(self.node.post(envelope).await?)
    }

    /// Refuses what is too large before the work is done.
    async fn check_size(&self, draft: &Draft) -> Result<(), LetterError> {
        let (size, limit) = (draft.finish(0).size(), self.node.status().await?.max_size);
        if size > limit {
            return Err(PostError::from(Refusal::TooLarge { size, limit }).into());
        }
        Ok(())
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
