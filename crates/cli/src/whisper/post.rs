//! `whisper post`: one message, sealed and sent by the node.

use std::io::{self, Read as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use wormhole::whisper::devp2p::key::{PrivateKey, PublicKey};
use wormhole::whisper::remote::{MessageKey, Posting};
use wormhole::whisper::shh::message::Padding;
use wormhole::whisper::shh::{SymmetricKey, Topic, Work};

use super::lender::Lender;
use super::{keys, public_key, secret, topic, work};
use crate::args::{MarkArgs, PostArgs};
use crate::failure::Failure;
use crate::talk::Desk;

/// Posts what was typed, and prints the name of its envelope.
///
/// # Errors
/// It was not posted.
pub(super) async fn run(args: PostArgs, desk: &mut Desk) -> Result<()> {
    let topic = topic(&args.topic)?;
    let to = args.to.as_deref().map(public_key).transpose()?;
    let mark = Mark::new(&args.mark)?;
    let payload = payload(args.text, desk).await?;
    let to = match to {
        Some(key) => To::One(key),
        None => To::All(secret::shared(args.password, desk).await?),
    };
    let padding = if args.uniform { Padding::Uniform } else { Padding::Block };
    let letter = Letter { topic, to, payload, padding, mark };
    let connecting = Lender::connect(&args.rpc);
    let mut lender = desk.unless_stopped(connecting).await??;
    let ttl = letter.mark.ttl;
    let posting = async {
        let hash = letter.post(&mut lender).await?;
        anyhow::Ok((hash, lender.is_alone().await))
    };
    let posted = desk.unless_stopped(posting).await;
    lender.leave().await;
    let (hash, is_alone) = posted??;
    desk.report(&json!({ "event": "posted", "hash": hash, "topic": topic.to_string() }))?;
    if is_alone {
        desk.screen.say(&format!(
            "The node has no peers yet: it keeps the message until it has one, or it expires in \
             {ttl} s."
        ));
    }
    desk.print(&format!("{hash}\n"))
}

/// Who shall be able to read a message.
#[derive(Debug)]
enum To {
    /// All who have the password.
    All(SymmetricKey),
    /// The holder of this key.
    One(PublicKey),
}

/// A message, and how it is to be made.
#[derive(Debug)]
struct Letter {
    topic: Topic,
    to: To,
    payload: Vec<u8>,
    padding: Padding,
    mark: Mark,
}

impl Letter {
    async fn post(self, lender: &mut Lender) -> Result<String> {
        let to = match &self.to {
            To::All(key) => lender.lend_shared(key).await?,
            To::One(key) => MessageKey::Public(*key),
        };
        let mut posting = self.mark.blank(to, self.topic, lender).await?;
        (posting.payload, posting.padding) = (self.payload, self.padding);
        let posted = lender.post(&mut posting, self.mark.work).await;
        posted.map_err(|error| lender.explain(&error).into())
    }
}

/// How a message of our own is made.
#[derive(Debug)]
pub(super) struct Mark {
    sign: Option<PrivateKey>,
    ttl: u32,
    /// The work to be done for it, if not as much as others ask for.
    pub(super) work: Option<Work>,
}

impl Mark {
    /// Understands what was typed.
    ///
    /// # Errors
    /// Something is not as it should be, or there is no such key.
    pub(super) fn new(args: &MarkArgs) -> Result<Self> {
        let sign = args.sign.as_deref().map(keys::find).transpose()?;
        let work = args.pow.map(|amount| work(amount, "--pow")).transpose()?;
        Ok(Self { sign, ttl: args.ttl, work })
    }

    /// A message that says nothing yet.
    ///
    /// # Errors
    /// The node does not take the key that signs it.
    pub(super) async fn blank(
        &self,
        to: MessageKey,
        topic: Topic,
        lender: &mut Lender,
    ) -> Result<Posting> {
        let mut posting = Posting::new(to, topic, Vec::new());
        if let Some(key) = &self.sign {
            posting.signer = Some(lender.lend_private(key).await?);
        }
        posting.ttl = self.ttl;
        posting.work_time = WORK_TIME;
        Ok(posting)
    }
}

/// What is to be said: as typed, or from standard input without the end of its last line.
async fn payload(text: String, desk: &mut Desk) -> Result<Vec<u8>> {
    if text != "-" {
        return Ok(text.into_bytes());
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().take(MAX_PAYLOAD + 1).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    let bytes = desk.unless_stopped(read).await?.context("cannot read standard input")?;
    let mut bytes = bytes.context("cannot read standard input")?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_PAYLOAD) {
        return Err(Failure::new("the message is too large")
            .hint("`wormhole send` is for files; Whisper is for words")
            .into());
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

/// Time for the proof of work. The usual amount takes milliseconds.
const WORK_TIME: Duration = Duration::from_secs(60);

/// Bytes of a message: what nodes take unless told otherwise.
const MAX_PAYLOAD: u64 = 1 << 20;
