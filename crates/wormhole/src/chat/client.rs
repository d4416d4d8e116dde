//! The handle of a client: what an application calls.

mod changes;
mod download;
mod drafts;
mod events;
mod group;
mod groups;
mod identity;
mod messages;
mod notes;
mod pending_change;
mod profiles;
mod queries;
mod requests;
mod restored;
mod sent;
mod settings;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::sleep;
use wormhole_chat::service::{Destination, Username};
use wormhole_chat::{AccountId, AttachmentPointer, Client as Core, Content, DataMessage};

use super::account::{Account, ClientStore};
use super::attachment::Uploads;
use super::direct::{self, DirectFiles};
use super::driver::{Driver, DriverParts, Signals};
use super::error::{Ended, NotOpened, QueueError};
use super::message::{Attachment, Me, Message, Recipient, Route};
use super::server::Network;
use super::service::{Service, UploadProgress};
use super::store::{Contact, ReceivedId};
use super::{Conversation, RequestError, attachment};
use crate::transfer::OnExists;
pub(in crate::chat) use changes::READ_RECEIPTS;
pub use download::{Download, DownloadProgress};
pub use events::Events;
pub use group::Group;
pub use groups::GroupInfo;
pub use messages::Messages;
pub use pending_change::PendingChange;
use restored::Restored;
pub use sent::SentMessage;

/// A client of one account. It connects in the background, and reconnects by itself.
///
/// This is a handle that can be cloned. When the last one is dropped, the client finishes writing to its store and ends.
/// [`close`](Self::close) also waits for that.
#[derive(Clone)]
pub struct Client {
    me: Arc<Me>,
    options: Arc<Options>,
    store: ClientStore,
    service: Arc<Service>,
    network: Arc<Network>,
    /// The directory for downloads that have not ended.
    partials: Arc<Path>,
    uploads: Uploads,
    /// Held while the drafts are changed.
    drafts: Arc<tokio::sync::Mutex<()>>,
    registration_id: u32,
    signals: Arc<Signals>,
    tasks: mpsc::Sender<super::driver::Task>,
}

/// Options of a client.
#[non_exhaustive]
pub struct Options {
    /// Decides who delivers the messages to an account. An app that delivers the messages between its own users itself
    /// returns [`Route::Own`] for them. The default is this server for all.
    pub route: Option<RouteHook>,
    /// Received messages that can be read and that may wait for the application before the client stops reading others, which then stay at the
    /// server. The default is 10,000. Independently of this, at most 64 MiB wait.
    pub max_unread: usize,
    /// Whether messages of people that the user does not know wait for a decision: they are [`Client::requests`], and not
    /// among the [messages](Client::messages) until the user accepts them. The default is `false`, because an application that
    /// does not ask the user would never show them.
    pub hold_unknown_senders: bool,
    /// Whether large files may go directly from one person to the other while both are online, and how. The default is `None`: files
    /// only go through the service, and no offer is accepted. An account with several devices still uses the service for files that
    /// it takes, so that all devices get them.
    pub direct: Option<DirectFiles>,
}

impl Default for Options {
    fn default() -> Self {
        Self { route: None, max_unread: MAX_UNREAD, hold_unknown_senders: false, direct: None }
    }
}

/// Decides who delivers the messages to an account.
pub type RouteHook = Box<dyn Fn(&Contact) -> Route + Send + Sync>;

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, max_unread, hold_unknown_senders, direct } = self;
        let mut shown = f.debug_struct("Options");
        shown.field("route", &route.is_some()).field("max_unread", max_unread);
        shown.field("hold_unknown_senders", hold_unknown_senders).field("direct", direct).finish()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.me.address).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts a client for a registered account. Sends what is in the outbox.
    ///
    /// # Errors
    /// The account is not registered, or the store cannot be used. The error contains the account, so that it can be opened
    /// again.
    pub async fn open(account: Account, options: Options) -> Result<Self, NotOpened> {
        match Restored::load(&account, options.hold_unknown_senders).await {
            Ok(restored) => Ok(Self::start(account, options, restored)),
            Err(why) => Err(NotOpened { account, why }),
        }
    }

    fn start(account: Account, mut options: Options, restored: Restored) -> Self {
        if let (Some(tor), Some(direct)) = (&account.network.tor, &mut options.direct) {
            // The address of this computer must stay hidden.
            direct.transit.tor = Some(tor.clone());
        }
        let Restored { core, me, service, contacts, own, counts, .. } = restored;
        let Restored { people, settings, partials, .. } = restored;
        let registration_id = own.registration_id;
        let service = Arc::new(service);
        let (sender, tasks) = mpsc::channel(MAX_TASKS);
        let store = ClientStore::new(account.store.clone());
        let signals = Arc::new(Signals {
            events: broadcast::Sender::new(MAX_EVENTS),
            news: watch::Sender::default(),
            connection: watch::Sender::default(),
            keys: watch::Sender::default(),
            syncs: watch::Sender::default(),
            decisions: watch::Sender::new(people.decisions.len()),
            ended: watch::Sender::default(),
        });
        let parts = DriverParts {
            core,
            store: account.store.clone(),
            service: Arc::clone(&service),
            contacts,
            own,
            counts,
            people,
            settings,
            max_unread: options.max_unread.max(1),
            direct: options.direct.clone(),
            direct_folder: partials.with_file_name(direct::FOLDER).into(),
            signals: Arc::clone(&signals),
            tasks,
        };
        let network = Arc::new(account.network.clone());
        tokio::spawn(Driver::new(parts).run(account, store.clone()));
        let (me, options) = (Arc::new(me), Arc::new(options));
        let uploads = Uploads::new(store.clone());
        Self {
            me,
            options,
            store,
            service,
            network,
            partials,
            uploads,
            drafts: Arc::default(),
            registration_id,
            signals,
            tasks: sender,
        }
    }

    /// Our account.
    pub fn me(&self) -> &Me {
        &self.me
    }

    /// The messages that have arrived and are not [`done`](Self::done), and then those that arrive, together with other events.
    pub fn messages(&self) -> Messages {
        Messages::new(self.clone())
    }

    /// The events without the messages, for an application that does not want to read them now.
    pub fn events(&self) -> Events {
        Events::new(self.clone())
    }

    /// The application has stored or shown this message, and does not want to get it again. If it is killed between storing
    /// the message and this, it gets the message again, and can recognise it by its [`ReceivedId`].
    ///
    /// If the returned future is dropped, the message may be removed or not.
    ///
    /// # Errors
    /// The client has ended. Then the application gets the message again.
    pub async fn done(&self, id: ReceivedId) -> Result<(), Ended> {
        self.ask(move |driver, reply| driver.take(id, reply)).await
    }

    /// Puts a message into the outbox. When this returns, the message survives a crash, and is sent as soon as the server
    /// can be reached. Files are uploaded before that.
    ///
    /// If the returned future is dropped, the message may be sent or not: [`outbox`](Self::outbox) says whether it waits, and
    /// [`cancel`](Self::cancel) removes it. While files are delivered, it is one of the [`drafts`](Self::drafts): if the future is
    /// dropped or the program is killed, [`send_draft`](Self::send_draft) continues where it was, and so does sending the same again;
    /// [`discard_draft`](Self::discard_draft) cancels it. It also stays a draft if the server cannot be reached or answers with an error
    /// that may pass.
    ///
    /// # Errors
    /// The message is not in the outbox.
    pub async fn send(
        &self,
        to: impl Into<Recipient>,
        message: Message,
    ) -> Result<SentMessage, QueueError> {
        if message.text.is_empty() && message.files.is_empty() {
            return Err(QueueError::Empty);
        }
        let to = self.conversation(to.into()).await?;
        let Message { text, files, quote, mentions } = message;
        let timer = self.query(move |driver| driver.timer(to)).await?;
        let data = DataMessage {
            body: Some(text),
            ranges: mentions,
            quote,
            expire_timer: Some(timer.seconds).filter(|seconds| *seconds > 0),
            expire_timer_version: Some(timer.version).filter(|version| *version > 0),
            ..DataMessage::default()
        };
        // Before large files are uploaded for nothing.
        content(&data)?;
        self.query(move |driver| driver.check_capacity(to)).await??;
        if files.is_empty() {
            self.put(to, content(&data)?).await
        } else {
            self.send_files(to, data, files).await
        }
    }

    /// The conversation with somebody, or of a group in which we are a member.
    async fn conversation(&self, to: Recipient) -> Result<Conversation, QueueError> {
        match to {
            Recipient::Person(person) => Ok(Conversation::Account(self.recipient(&person).await?)),
            Recipient::Group(group) => {
                self.query(move |driver| driver.check_membership(group)).await??;
                Ok(Conversation::Group(group))
            }
        }
    }

    /// The account that gets a message.
    async fn recipient(&self, to: &Destination) -> Result<AccountId, QueueError> {
        let contact = self.resolve(to).await?;
        let account = contact.account;
        if self.query(move |driver| driver.is_blocked(account)).await? {
            return Err(QueueError::Blocked(account));
        }
        let route = self.options.route.as_ref().map(|route| route(&contact));
        match route.unwrap_or_default() {
            Route::Own => Err(QueueError::OwnRoute(contact.account)),
            Route::Wormhole => Ok(contact.account),
        }
    }

    /// Puts a content into the outbox.
    async fn put(&self, to: Conversation, content: Content) -> Result<SentMessage, QueueError> {
        self.put_with_drafts(to, content, None).await
    }

    /// Puts a content into the outbox. At the same time, these drafts replace those before.
    async fn put_with_drafts(
        &self,
        to: Conversation,
        content: Content,
        drafts: Option<LeftDrafts>,
    ) -> Result<SentMessage, QueueError> {
        if content.encode().len() > MAX_CONTENT {
            return Err(QueueError::TooLong);
        }
        let (reply, accepted) = oneshot::channel();
        self.ask(move |driver, answer: oneshot::Sender<_>| {
            let sent = driver.send(to, content, reply);
            if let (Ok(()), Some(drafts)) = (&sent, drafts) {
                driver.set_drafts(drafts);
            }
            let _gone = answer.send(sent);
        })
        .await??;
        let Ok((timestamp, progress)) = accepted.await else {
            return Err(self.wait_for_end().await.into());
        };
        Ok(SentMessage::new(timestamp, to, progress))
    }

    /// The account that a destination means. Asks the server if it is not known yet.
    ///
    /// # Errors
    /// There is no such account, a known number has another account now (`NumberMoved`), or the server cannot be asked.
    pub async fn resolve(&self, to: &Destination) -> Result<Contact, QueueError> {
        let named = match to {
            Destination::Username(name) => Some(self.account_of(name).await?),
            Destination::Account(_) | Destination::Number(_) | Destination::NumberInApp(..) => None,
        };
        let to = named.as_ref().unwrap_or(to);
        let wanted = to.clone();
        let known = self.query(move |driver| find(driver, &wanted)).await?;
        if let Some(contact) = known {
            return Ok(contact);
        }
        // This also fetches keys for the first message. The server allows six such requests at once, and one in 10 minutes.
        let answer = match self.service.bundles(to).await {
            Ok(answer) => answer,
            Err(RequestError::NotFound) => return Err(QueueError::NoSuchRecipient(to.clone())),
            Err(error) => return Err(error.into()),
        };
        let asked = to.clone();
        self.query(move |driver| driver.resolved(&asked, answer)).await?
    }

    /// The account that has a username now.
    async fn account_of(&self, name: &Username) -> Result<Destination, QueueError> {
        match self.service.account_of(name).await {
            Ok(account) => Ok(Destination::Account(account)),
            Err(RequestError::NotFound) => {
                Err(QueueError::NoSuchRecipient(Destination::Username(name.clone())))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The user accepts that a number belongs to another account now, after [`QueueError::NumberMoved`].
    ///
    /// # Errors
    /// The client has ended.
    pub async fn accept_number(
        &self,
        number: &Destination,
        account: AccountId,
    ) -> Result<(), Ended> {
        let number = number.clone();
        self.ask(move |driver, reply| driver.bind(&number, account, reply)).await
    }

    /// All accounts that were resolved or named, or have written.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn contacts(&self) -> Result<Vec<Contact>, Ended> {
        self.query(|driver| driver.contacts().all().cloned().collect()).await
    }

    /// Sets the name that the user gives to an account. The other devices of our account learn it.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn name_contact(
        &self,
        account: AccountId,
        name: Option<String>,
    ) -> Result<(), Ended> {
        self.ask(move |driver, reply| driver.name_contact(account, name, reply)).await
    }

    /// How far the upload is that has progressed last: of an attached file that [`send`](Self::send) uploads to the server. Files that
    /// go directly to the recipient are not counted.
    pub fn upload_progress(&self) -> watch::Receiver<UploadProgress> {
        self.service.upload_progress().subscribe()
    }

    /// Downloads an attached file to `target`. The file has this name only when it is complete and what its sender
    /// uploaded. Awaiting the result starts the download, and returns the path, which differs if `on_exists` permits that.
    pub fn download(&self, file: &Attachment, target: &Path, on_exists: OnExists) -> Download {
        let partials = self.partials.to_path_buf();
        Download::new(Arc::clone(&self.service), file, target, on_exists, partials)
    }

    /// Ends the client, and waits until it has written everything and closed its connection. Other handles cannot be used
    /// any more. When the returned account is dropped, the store is closed, and another process can open it.
    ///
    /// # Errors
    /// The client had ended already: it was closed through another handle, or it has failed. Its store is closed.
    pub async fn close(self) -> Result<Account, Ended> {
        self.ask(Driver::close).await
    }

    async fn upload(&self, file: &Path) -> Result<AttachmentPointer, QueueError> {
        let mut attempt = 0;
        loop {
            match attachment::upload(&self.service, &self.uploads, file).await {
                Err(QueueError::Request(error)) if error.may_retry() && attempt < MAX_UPLOADS => {
                    let pause = error.retry_after().unwrap_or_else(|| Core::pause(attempt));
                    if pause > MAX_UPLOAD_PAUSE {
                        return Err(error.into());
                    }
                    sleep(pause).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    pub(super) const fn store(&self) -> &ClientStore {
        &self.store
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    async fn edit_contact(
        &self,
        account: AccountId,
        change: impl FnOnce(&mut Contact) + Send + 'static,
    ) -> Result<(), Ended> {
        self.ask(move |driver, reply| {
            let known = driver.contacts().get(account).cloned();
            let mut contact = known.unwrap_or_else(|| super::contact(account));
            change(&mut contact);
            driver.save(contact, reply);
        })
        .await
    }

    pub(super) async fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        self.ask(move |driver, reply: oneshot::Sender<T>| {
            let _gone = reply.send(work(driver));
        })
        .await
    }

    /// Does something in the task of the client, which answers at once or later.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Driver, oneshot::Sender<T>) + Send + 'static,
    ) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(move |driver: &mut Driver| work(driver, reply));
        match self.tasks.send(task).await {
            Ok(()) => match answer.await {
                Ok(answer) => Ok(answer),
                Err(_) => Err(self.wait_for_end().await),
            },
            Err(_) => Err(self.wait_for_end().await),
        }
    }

    /// Waits until the client has ended and its store is closed. Returns why. What the client drops when it ends, such as the
    /// answers that others wait for, is dropped before the reason is known.
    pub(super) async fn wait_for_end(&self) -> Ended {
        let mut ended = self.signals.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await;
        // The sender is in this handle.
        ended.ok().and_then(|ended| ended.clone()).unwrap_or(Ended::Closed)
    }
}

/// The drafts that stay, as they are stored.
type LeftDrafts = Option<zeroize::Zeroizing<Vec<u8>>>;

/// A message as it is encrypted.
///
/// # Errors
/// It is too long.
fn content(data: &DataMessage) -> Result<Content, QueueError> {
    let content = Content::Data(Box::new(data.clone()));
    if content.encode().len() > MAX_CONTENT { Err(QueueError::TooLong) } else { Ok(content) }
}

/// The contact that a destination means, if we know it.
fn find(driver: &Driver, wanted: &Destination) -> Option<Contact> {
    let known = driver.contacts().find(wanted).cloned();
    known.or_else(|| match wanted {
        Destination::Account(account) => {
            driver.core().identity_of(*account).map(|_| super::contact(*account))
        }
        Destination::Number(_) | Destination::NumberInApp(..) | Destination::Username(_) => None,
    })
}

/// Default number of received messages that may wait for the application.
const MAX_UNREAD: usize = 10_000;

/// Maximum number of requests of handles that wait for the task.
const MAX_TASKS: usize = 64;

/// Maximum number of events that are kept for a slow application. Messages are not among them.
const MAX_EVENTS: usize = 256;

/// Longest content of a message, in bytes. The ciphertext must have less than 256 KiB.
const MAX_CONTENT: usize = 128 << 10;

/// How often an upload is repeated.
const MAX_UPLOADS: u32 = 3;

/// Longest pause between two uploads. If the server asks for a longer one, the application decides whether to wait.
const MAX_UPLOAD_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
