//! Contacts and the history for another device of the account (docs/chat-protocol.md "Contacts and history for a new device").
//!
//! The two devices meet in a wormhole, and connect directly or through a relay. The key of the connection comes from the identity
//! key of the account, so only devices of the account can read what is copied. An interrupted copy can be repeated.

mod receiver;
mod records;
mod sender;

use hkdf::Hkdf;
use rand_core::{OsRng, RngCore as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use wormhole_chat::{CopyOffer, CopyReady, KeyPair, LinkMessage, LinkRefusal};
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::{CopyError, LinkPeerError, give_up, next, send};
use crate::chat::account::Account;
use crate::chat::history::HistoryMode;
use crate::chat::peer_channel::{MailboxOptions, PERSON_TIMEOUT, PeerChannel};
use crate::code::Code;
use crate::transit::{Pipe, Role, Settings, Transit, TransitInfo, TransitKey};
#[cfg(feature = "fuzzing")]
pub use records::fuzz;

/// The result of a copy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Copied {
    /// Number of contacts.
    pub contacts: u64,
    /// Number of messages, without those that the other device had already.
    pub messages: u64,
}

/// A device that waits for a copy of the contacts and the history of another device, under a code.
#[derive(Debug)]
pub struct ReceivingCopy {
    account: Account,
    mailbox: MailboxOptions,
    channel: PeerChannel,
}

impl Account {
    /// Prepares to take over the contacts and the history of another device of this account: it waits under a new code, which the
    /// user passes to [`send_copy`](Self::send_copy) there.
    ///
    /// # Errors
    /// This store has no account.
    pub async fn receive_copy(&self, mailbox: &MailboxOptions) -> Result<ReceivingCopy, CopyError> {
        self.registered().await?;
        let channel = PeerChannel::open(APP_ID, mailbox, &self.network, None);
        let channel = channel.map_err(LinkPeerError::from)?;
        Ok(ReceivingCopy { account: self.share(), mailbox: mailbox.clone(), channel })
    }

    /// Sends the contacts, and the part of the history that `history` selects, to the device of this account that waits under a code.
    ///
    /// # Errors
    /// Not everything was sent. The other device keeps what it has got; try again.
    pub async fn send_copy(
        &self,
        code: Code,
        mailbox: &MailboxOptions,
        history: HistoryMode,
    ) -> Result<Copied, CopyError> {
        self.registered().await?;
        let channel = PeerChannel::open(APP_ID, mailbox, &self.network, Some(code));
        let channel = channel.map_err(LinkPeerError::from)?;
        channel.met().await.map_err(LinkPeerError::from)?;
        let copied = self.copy_to(&channel, mailbox, history).await;
        finish(channel, copied).await
    }

    /// Sends a copy to the other side of a wormhole.
    pub(super) async fn copy_to(
        &self,
        channel: &PeerChannel,
        mailbox: &MailboxOptions,
        history: HistoryMode,
    ) -> Result<Copied, CopyError> {
        let (_, core) = self.registered().await?;
        let transit = Transit::new(self.transit(mailbox))?;
        let mut salt = [0; 32];
        OsRng.fill_bytes(&mut salt);
        let keys = CopyKeys::new(core.identity_pair(), &salt);
        let messages = self.store.run(|store| store.history_messages()).await;
        let hints = transit.info().encode().to_string();
        let offer = CopyOffer { salt, proof: *keys.proof, hints, messages };
        send(channel, &LinkMessage::Copy(offer)).await?;
        let LinkMessage::Ready(CopyReady { hints, keeps_history }) =
            next(channel, PERSON_TIMEOUT).await?
        else {
            return Err(LinkPeerError::Unexpected.into());
        };
        let history = if keeps_history { history } else { HistoryMode::Off };
        let mut pipe = connect(transit, Role::Sender, &keys, &hints).await?;
        let copied = sender::send(self, &core, &mut pipe, history).await?;
        pipe.close().await;
        Ok(copied)
    }

    /// Takes over a copy from the other side of a wormhole.
    pub(super) async fn copy_from(
        &self,
        channel: &PeerChannel,
        mailbox: &MailboxOptions,
    ) -> Result<Copied, CopyError> {
        let (_, core) = self.registered().await?;
        let LinkMessage::Copy(offer) = next(channel, PERSON_TIMEOUT).await? else {
            return Err(LinkPeerError::Unexpected.into());
        };
        let keys = CopyKeys::new(core.identity_pair(), &offer.salt);
        if !bool::from(keys.proof.ct_eq(&offer.proof)) {
            return Err(CopyError::OtherAccount);
        }
        let transit = Transit::new(self.transit(mailbox))?;
        let keeps_history = self.store.run(|store| store.history_mode()).await != HistoryMode::Off;
        let hints = transit.info().encode().to_string();
        send(channel, &LinkMessage::Ready(CopyReady { hints, keeps_history })).await?;
        let mut pipe = connect(transit, Role::Receiver, &keys, &offer.hints).await?;
        let copied = receiver::receive(self, core, &mut pipe).await?;
        pipe.close().await;
        Ok(copied)
    }

    fn transit(&self, mailbox: &MailboxOptions) -> Settings {
        let tor = self.network.tor.clone();
        Settings { tor: tor.or_else(|| mailbox.transit.tor.clone()), ..mailbox.transit.clone() }
    }
}

impl ReceivingCopy {
    /// Waits until the mailbox server has allocated the code.
    ///
    /// # Errors
    /// The mailbox server cannot be used.
    pub async fn code(&self) -> Result<Code, CopyError> {
        Ok(self.channel.code().await.map_err(LinkPeerError::from)?)
    }

    /// Waits, indefinitely if necessary, until the other device has used the code.
    ///
    /// # Errors
    /// The two sides have not met.
    pub async fn met(&self) -> Result<(), CopyError> {
        Ok(self.channel.met().await.map_err(LinkPeerError::from)?)
    }

    /// Takes over the contacts and the history.
    ///
    /// # Errors
    /// Not everything has arrived. What has arrived is kept; try again.
    pub async fn complete(self) -> Result<Copied, CopyError> {
        self.met().await?;
        let copied = self.account.copy_from(&self.channel, &self.mailbox).await;
        finish(self.channel, copied).await
    }

    /// Tells the other device that nothing is copied, and closes the wormhole.
    pub async fn cancel(self) {
        give_up(self.channel, LinkRefusal::Cancelled).await;
    }
}

/// Closes a wormhole after a copy.
async fn finish(
    channel: PeerChannel,
    copied: Result<Copied, CopyError>,
) -> Result<Copied, CopyError> {
    match copied {
        Ok(copied) => {
            channel.close().await;
            Ok(copied)
        }
        Err(error) => {
            // The other side must only learn that nothing more comes.
            give_up(channel, LinkRefusal::Other).await;
            Err(error)
        }
    }
}

async fn connect(
    transit: Transit,
    role: Role,
    keys: &CopyKeys,
    hints: &str,
) -> Result<Pipe, CopyError> {
    let hints = serde_json::from_str(hints).map_err(|_| LinkPeerError::Unexpected)?;
    let info = TransitInfo::decode(&hints);
    Ok(transit.connect(role, &keys.transit, &info).await?)
}

/// The keys that two devices of an account share for one copy.
struct CopyKeys {
    transit: TransitKey,
    proof: Zeroizing<[u8; 32]>,
}

impl CopyKeys {
    fn new(identity: &KeyPair, salt: &[u8; 32]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(salt), identity.private().as_secret().expose());
        let derive = |info: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            // The output is far shorter than the maximum of HKDF, so this cannot fail.
            let _ = hkdf.expand(info, &mut *key);
            key
        };
        let transit = TransitKey::new(Secret::new(*derive(b"wormhole chat copy: connection")));
        Self { transit, proof: derive(b"wormhole chat copy: proof") }
    }
}

/// The application of the wormhole: only devices that copy meet.
const APP_ID: &str = "wormholeim.org/chat/copy";
