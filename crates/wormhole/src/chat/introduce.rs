//! Two people become contacts with a wormhole code: each gets the other's account and identity key under the code, so the safety
//! number needs no comparison (docs/chat-protocol.md "Introduction by a code").

use std::time::Duration;

use rand_core::OsRng;
use tokio::sync::oneshot;
use wormhole_chat::service::Destination;
use wormhole_chat::{
    AccountId, Introduction, IntroductionDecodeError, IntroductionMessage, PublicKey, Signature,
};

use super::client::Client;
use super::driver::Driver;
use super::error::{Ended, QueueError, RequestError};
use super::peer_channel::{MailboxOptions, PeerChannel, PeerChannelError};
use super::store::Contact;
use crate::code::{self, Code};

/// An introduction under a code. If it is dropped, the code is useless; [`cancel`](Self::cancel) also tells the other side.
#[derive(Debug)]
pub struct Introducing {
    client: Client,
    channel: PeerChannel,
}

/// The person on the other side, who is a verified contact now.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Introduced {
    /// The contact.
    pub contact: Contact,
    /// How the person wants to be called. Shorten and escape it before displaying it.
    pub name: Option<String>,
    /// Whether we are a verified contact there, too. If not, the other side was stopped, or has not said so.
    pub is_mutual: bool,
}

/// Why two people were not introduced.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IntroduceError {
    /// The two sides have not met.
    #[error(transparent)]
    Code(#[from] code::Error),
    /// The other side has sent an invalid message: it may be another program.
    #[error(transparent)]
    Decode(#[from] IntroductionDecodeError),
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// Our server does not know the account: it is at another server.
    #[error("the other person's account is at another server: {0}")]
    OtherServer(String),
    /// The other side does not prove that it has the identity key that it introduces.
    #[error("the other person does not prove that the account and its identity key are theirs")]
    NoProof,
    /// We know the account with another identity key, or the user has refused this one. An introduction never replaces a key.
    #[error("you know another identity key of this account than the one that the person has")]
    OtherKey,
    /// The other side uses our own account.
    #[error("the other side uses the same account as you")]
    OwnAccount,
    /// The other side is silent: it was stopped, or has no connection.
    #[error("the other side has stopped answering")]
    PeerGone,
    /// The other side gives up.
    #[error("the other side has cancelled, or does not accept your account")]
    PeerRefused,
    /// Our server does not say which identity key the account has. The code alone does not prove whose account it is.
    #[error("your server does not say whether the account belongs to the other person: {0}")]
    Server(RequestError),
    /// Our server names another identity key for the account than the person. It may be an attack, or the person has just
    /// registered again.
    #[error("the server names another identity key for this account than the person")]
    WrongKey,
}

impl From<PeerChannelError> for IntroduceError {
    fn from(error: PeerChannelError) -> Self {
        match error {
            PeerChannelError::Code(error) => error.into(),
            PeerChannelError::PeerGone => Self::PeerGone,
        }
    }
}

impl Client {
    /// Prepares an introduction: under a new code, or under the one that the other person has got.
    ///
    /// # Errors
    /// The code cannot be used.
    pub fn introduce(
        &self,
        code: Option<Code>,
        mailbox: &MailboxOptions,
    ) -> Result<Introducing, IntroduceError> {
        let channel = PeerChannel::open(APP_ID, mailbox, self.network(), code)?;
        Ok(Introducing { client: self.clone(), channel })
    }
}

impl Introducing {
    /// Waits until the code is known.
    ///
    /// # Errors
    /// The mailbox server cannot be used.
    pub async fn code(&self) -> Result<Code, IntroduceError> {
        Ok(self.channel.code().await?)
    }

    /// Waits, indefinitely if necessary, until the other person has used the code.
    ///
    /// # Errors
    /// The two sides have not met, in particular because of a wrong code.
    pub async fn met(&self) -> Result<(), IntroduceError> {
        Ok(self.channel.met().await?)
    }

    /// Exchanges the accounts. When this returns, the other person is a contact, whose identity key is accepted and verified: the
    /// server names it, too. It never replaces another key that is known. `name` is how we want to be called.
    ///
    /// # Errors
    /// The person is not a verified contact.
    pub async fn complete(&self, name: Option<String>) -> Result<Introduced, IntroduceError> {
        self.met().await?;
        let result = self.exchange(name).await;
        if result.is_err() {
            // The wormhole may have ended already.
            let _sent = self.channel.send(IntroductionMessage::Refused.encode()).await;
        }
        result
    }

    async fn exchange(&self, name: Option<String>) -> Result<Introduced, IntroduceError> {
        let verifier = self.channel.verifier().await?;
        let ours = self.client.introduction(name, verifier).await?;
        self.channel.send(IntroductionMessage::Introduction(Box::new(ours)).encode()).await?;
        let theirs = match self.next().await? {
            IntroductionMessage::Introduction(theirs) => theirs,
            IntroductionMessage::Stored | IntroductionMessage::Refused => {
                return Err(IntroduceError::PeerRefused);
            }
        };
        if !theirs.is_proved(&verifier) {
            return Err(IntroduceError::NoProof);
        }
        self.client.check(&theirs).await?;
        let contact = self.client.add_verified(&theirs).await?;
        let is_mutual = self.confirm().await;
        Ok(Introduced { contact, name: theirs.name, is_mutual })
    }

    /// Tells the other side that the person is stored. Returns whether the other side says the same. Whatever happens to the
    /// wormhole now, the person stays stored.
    async fn confirm(&self) -> bool {
        let sent = self.channel.send(IntroductionMessage::Stored.encode()).await;
        sent.is_ok() && self.next().await.is_ok_and(|it| it == IntroductionMessage::Stored)
    }

    async fn next(&self) -> Result<IntroductionMessage, IntroduceError> {
        Ok(IntroductionMessage::decode(&self.channel.next(PATIENCE).await?)?)
    }

    /// Tells the other side that this one gives up, and closes the wormhole.
    pub async fn cancel(self) {
        let _sent = self.channel.send(IntroductionMessage::Refused.encode()).await;
        self.channel.close().await;
    }

    /// Closes the wormhole.
    pub async fn close(self) {
        self.channel.close().await;
    }
}

impl Client {
    /// Our introduction, with the proof for the wormhole with this verifier.
    async fn introduction(
        &self,
        name: Option<String>,
        verifier: [u8; 32],
    ) -> Result<Introduction, Ended> {
        let me = self.me();
        let identity = self.query(|driver| *driver.core().identity()).await?;
        let mut introduction = Introduction {
            account: me.address.account,
            identity,
            server: me.server.clone(),
            app: me.app.as_ref().map(ToString::to_string),
            number: Some(me.number.to_string()),
            name,
            proof: Signature([0; 64]),
        };
        let sign = move |driver: &mut Driver| {
            introduction.sign(&verifier, driver.core().identity_pair(), &mut OsRng);
            introduction
        };
        self.query(sign).await
    }

    /// Compares an introduction with what our server says about the account.
    async fn check(&self, theirs: &Introduction) -> Result<(), IntroduceError> {
        let own = self.query(|driver| *driver.core().identity()).await?;
        if theirs.account == self.me().address.account || theirs.identity == own {
            return Err(IntroduceError::OwnAccount);
        }
        let (account, key) = (theirs.account, theirs.identity);
        if self.query(move |driver| is_settled(driver, account, key)).await? {
            return Err(IntroduceError::OtherKey);
        }
        let account = Destination::Account(account);
        let answer = match self.service().bundles(&account).await {
            Ok(answer) => answer,
            Err(RequestError::NotFound) => {
                return Err(IntroduceError::OtherServer(theirs.server.clone()));
            }
            Err(error) => return Err(IntroduceError::Server(error)),
        };
        if answer.identity != theirs.identity {
            return Err(IntroduceError::WrongKey);
        }
        // It also has the keys for the first message.
        self.query(move |driver| drop(driver.resolved(&account, answer))).await?;
        Ok(())
    }

    /// Makes the other person a verified contact, and asks the server whether their number leads to them.
    async fn add_verified(&self, theirs: &Introduction) -> Result<Contact, IntroduceError> {
        let (account, key) = (theirs.account, theirs.identity);
        let (number, app) = (theirs.number.clone(), theirs.app.clone());
        let (durable, committed) = oneshot::channel();
        let trust = move |driver: &mut Driver| {
            // The user may have decided while the server was asked.
            let is_open = !is_settled(driver, account, key);
            if is_open {
                driver.trust(account, key, number, app, durable);
            }
            is_open
        };
        if !self.query(trust).await? {
            return Err(IntroduceError::OtherKey);
        }
        if committed.await.is_err() {
            return Err(self.wait_for_end().await.into());
        }
        let destination = theirs.number.as_ref().map(|number| match &theirs.app {
            Some(app) => format!("{number}@{app}"),
            None => number.clone(),
        });
        if let Some(Ok(destination)) = destination.map(|text| text.parse::<Destination>()) {
            // If the number leads to somebody else, the account id still leads to the right person.
            if let Err(QueueError::Ended(ended)) = self.resolve(&destination).await {
                return Err(ended.into());
            }
        }
        let known = self.query(move |driver| driver.contacts().get(account).cloned()).await?;
        Ok(known.unwrap_or_else(|| super::contact(account)))
    }
}

/// Whether another identity key of an account is known, or the user has refused this one.
fn is_settled(driver: &Driver, account: AccountId, key: PublicKey) -> bool {
    let Some(known) = driver.core().identity_of(account) else { return false };
    known.accepted != key || driver.core().refused_identities(account).contains(&key)
}

/// How long one side waits for the other one, which may have to ask its server.
const PATIENCE: Duration = Duration::from_secs(60);

/// The application of the wormhole: only people who are introduced meet.
const APP_ID: &str = "wormholeim.org/chat/introduction";
