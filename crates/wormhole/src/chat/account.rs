//! The account in a store: registering a number, and confirming it with a code.

mod outbox;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use rand_core::{OsRng, RngCore};
use wormhole_chat::service::PhoneNumber;
use wormhole_chat::{
    Address, Client as Core, ClientInput, ClientOutput, DeviceId, Identity, KeyPair, Request,
    Response, Timestamp,
};
use zeroize::Zeroizing;

use super::error::{OpenError, RegisterError};
use super::message::Me;
use super::profile::OwnProfile;
use super::server::{Network, Server, Token, Transport};
use super::service::{Attributes, Service};
use super::store::{App, Commit, Registration, Store, StoreError};
use super::{AppCredentials, RequestError};

/// A store and the account in it, without a connection.
///
/// ```no_run
/// use wormhole::chat::store::{Protection, Store};
/// use wormhole::chat::{Account, Client, Message, Network, Options, Server, Transport};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::create("profile".as_ref(), &Protection::KeyFile)?;
/// let account = Account::new(store, Network::default());
/// let server = Server::new("https://chat.example.org".parse()?);
/// account.register(&server, &"+14155550101".parse()?, Transport::Sms).await?;
/// account.verify("123-456").await?;
///
/// let client = Client::open(account, Options::default()).await?;
/// let mut sent = client.send(&"+14155550102".parse()?, Message::text("hello")).await?;
/// sent.on_server().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Account {
    pub(super) store: SharedStore,
    pub(super) network: Network,
}

/// Whether a store has an account.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AccountState {
    /// No code was requested.
    New,
    /// A code was requested for this number and is not confirmed yet.
    Pending(PhoneNumber),
    /// The number is registered.
    Registered(Box<Me>),
}

impl Account {
    /// The account in this store.
    pub fn new(store: Store, network: Network) -> Self {
        Self { store: SharedStore(Arc::new(Mutex::new(store))), network }
    }

    /// Whether there is an account.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub async fn state(&self) -> Result<AccountState, StoreError> {
        let registration = self.store.run(|store| store.registration()).await?;
        let Some(registration) = registration else { return Ok(AccountState::New) };
        Ok(match Me::from_registration(&registration) {
            None => AccountState::Pending(number(&registration)?),
            Some(me) => AccountState::Registered(Box::new(me)),
        })
    }

    /// Asks the server to send a verification code to a number. The server stays that of the account, also if it does not use
    /// TLS, because [`Server::allow_plain_http`] has permitted that here.
    ///
    /// A code that was requested before for another number or server cannot be used any more. If this fails, or the returned
    /// future is dropped before the server has answered, it still can.
    ///
    /// # Errors
    /// `PlainHttp`, the store has an account already, or the server does not send a code.
    pub async fn register(
        &self,
        server: &Server,
        number: &PhoneNumber,
        transport: Transport,
    ) -> Result<(), RegisterError> {
        if !server.is_permitted() {
            return Err(RegisterError::PlainHttp(server.url.clone()));
        }
        let service = Service::new(server, &self.network)?;
        let pending = self.store.run(|store| store.registration()).await?;
        if pending.as_ref().is_some_and(|pending| pending.account.is_some()) {
            return Err(RegisterError::AlreadyRegistered);
        }
        service.request_code(number, transport).await?;
        let commit =
            Commit { registration: Some(requested(server, number, pending)), ..Commit::default() };
        self.store.run(move |store| store.commit(&commit)).await?;
        Ok(())
    }

    /// Confirms the verification code, and publishes the keys of the new account.
    ///
    /// # Errors
    /// `WrongCode`: try again, at most five times. `NotRequested`: register first. Otherwise the server cannot be reached
    /// or refuses the registration.
    pub async fn verify(&self, code: &str) -> Result<Me, RegisterError> {
        let registration = self.store.run(|store| store.registration()).await?;
        let mut registration = registration.ok_or(RegisterError::NotRequested)?;
        if registration.account.is_some() {
            return Err(RegisterError::AlreadyRegistered);
        }
        let service = service_of(&registration, &self.network)?;
        let account = confirm(&service, code, registration.registration_id).await?;
        let address = Address { account, device: DeviceId::PRIMARY };
        registration.account = Some(address);
        let me = Me::from_registration(&registration).ok_or(RegisterError::NotRequested)?;
        let registration_id = registration.registration_id;
        let identity = Identity { pair: KeyPair::random(&mut OsRng), registration_id };
        let profile = Some(OwnProfile::random());
        self.create(&service, registration, address, identity, profile).await?;
        Ok(me)
    }

    /// The value of a setting of the application.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub async fn setting(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let name = name.to_owned();
        self.store.run(move |store| store.setting(&name)).await
    }

    /// Sets a setting of the application, or removes it. Its name has at most 64 bytes. Names that begin with `wormhole.` are for this
    /// crate.
    ///
    /// # Errors
    /// The name is too long, or the store cannot be written.
    pub async fn set_setting(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.map(|value| Zeroizing::new(value.to_vec())));
        let value = move |store: &mut Store| {
            store.set_setting(&name, value.as_ref().map(|value| value.as_slice()))
        };
        self.store.run(value).await
    }

    /// The registration, and the client as it was stored.
    ///
    /// # Errors
    /// There is no account, or the store cannot be read.
    pub(super) async fn registered(&self) -> Result<(Registration, Core), OpenError> {
        let read = self.store.run(|store| {
            let registration = store.registration()?.ok_or(OpenError::NotRegistered)?;
            if registration.account.is_none() {
                return Err(OpenError::NotRegistered);
            }
            // Derives public keys, which takes some time.
            let core = Core::restore(store.client_rows()?)?;
            Ok((registration, core))
        });
        read.await
    }

    /// Returns another handle of the account and its store.
    pub(super) fn share(&self) -> Self {
        Self { store: self.store.clone(), network: self.network.clone() }
    }

    /// Stores the new account with its keys, and publishes them. The profile is published when the client is opened.
    pub(super) async fn create(
        &self,
        service: &Service,
        registration: Registration,
        address: Address,
        identity: Identity,
        profile: Option<OwnProfile>,
    ) -> Result<(), StoreError> {
        let mut core = Core::new(address, identity, now(), &mut OsRng);
        core.manage_device_list();
        // If this fails, the client asks for it when it is opened.
        let root = service.root().await.ok();
        let mut registration = Some(registration);
        while let Some(output) = core.poll() {
            match output {
                ClientOutput::Commit(id, changes) => {
                    let registration = registration.take();
                    let mut commit = Commit { registration, ..Commit::default() };
                    commit.forget_link();
                    profile.iter().for_each(|profile| commit.put_own_profile(profile));
                    root.iter().for_each(|root| commit.put_root(root));
                    commit.add(changes);
                    self.store.run(move |store| store.commit(&commit)).await?;
                    core.handle(now(), ClientInput::Committed(id), &mut OsRng);
                }
                ClientOutput::Request(id, Request::Publish(keys)) => {
                    // If this fails, the client publishes them when it is opened.
                    let response = match service.publish(&keys).await {
                        Ok(()) => Response::Done,
                        Err(_) => Response::Unavailable,
                    };
                    core.handle(now(), ClientInput::Response(id, response), &mut OsRng);
                }
                // The list first: clients that get the keys must find this device in it.
                ClientOutput::Request(id, Request::DeviceList) => {
                    let response = answer_about_lists(service.device_list().await);
                    core.handle(now(), ClientInput::Response(id, response), &mut OsRng);
                }
                ClientOutput::Request(id, Request::PublishDeviceList(new)) => {
                    let response = answer_about_lists(service.put_device_list(&new).await);
                    core.handle(now(), ClientInput::Response(id, response), &mut OsRng);
                }
                ClientOutput::Acknowledge(_)
                | ClientOutput::ReadAgain(..)
                | ClientOutput::Event(_)
                | ClientOutput::Request(
                    _,
                    Request::AppendGroupEntry { .. }
                    | Request::Certificate
                    | Request::GroupEntries { .. }
                    | Request::SendGroup { .. }
                    | Request::Bundles(_)
                    | Request::Send { .. }
                    | Request::SendToDevice { .. },
                ) => {}
            }
        }
        Ok(())
    }
}

/// Passes the answer to the client. Without an answer, the client asks again when it is opened.
fn answer_about_lists(answer: Result<Response, RequestError>) -> Response {
    match answer {
        Ok(response) => response,
        Err(RequestError::NotFound) => Response::NotFound,
        Err(_) => Response::Unavailable,
    }
}

/// The registration after a code was requested. It keeps the password of an earlier request for the same account: the server
/// may have confirmed that one, and its answer may have been lost.
fn requested(server: &Server, number: &PhoneNumber, pending: Option<Registration>) -> Registration {
    let app = server.app.as_ref().map(|app| App {
        name: app.name.to_string(),
        token: Zeroizing::new(app.token.expose().to_owned()),
    });
    let (server, number) = (server.url.to_string(), number.to_string());
    let name = |app: &Option<App>| app.as_ref().map(|app| app.name.clone());
    match pending {
        Some(known)
            if (&known.server, &known.number) == (&server, &number)
                && name(&known.app) == name(&app) =>
        {
            Registration { app, ..known }
        }
        _ => Registration {
            server,
            app,
            number,
            password: password(),
            registration_id: OsRng.next_u32() % MAX_REGISTRATION_ID + 1,
            account: None,
        },
    }
}

/// Confirms a code. If it was used already, the answer to an earlier attempt may have been lost.
async fn confirm(
    service: &Service,
    code: &str,
    registration_id: u32,
) -> Result<wormhole_chat::AccountId, RegisterError> {
    let digits: String = code.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if digits.is_empty() || digits.len() > MAX_CODE || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RegisterError::WrongCode);
    }
    let attributes = Attributes::new(registration_id);
    match service.confirm_code(&digits, &attributes).await {
        Ok(registered) => Ok(registered.uuid),
        Err(RequestError::Refused(403)) => {
            service.whoami().await.map(|me| me.uuid).map_err(|_| RegisterError::WrongCode)
        }
        Err(RequestError::Refused(417)) => Err(RegisterError::NumberTaken),
        // The account does not exist yet, so the credentials cannot be wrong.
        Err(RequestError::CredentialsRefused) => Err(RequestError::AppRefused.into()),
        Err(error) => Err(error.into()),
    }
}

/// The service, asked with the credentials of a registration.
///
/// # Errors
/// The stored values are damaged.
pub(super) fn service_of(
    registration: &Registration,
    network: &Network,
) -> Result<Service, StoreError> {
    let url = registration.server.parse().map_err(|_| StoreError::Damaged)?;
    let app = registration.app.as_ref().map(|app| {
        let name = app.name.parse().map_err(|_| StoreError::Damaged)?;
        let token: Token = app.token.parse().map_err(|_| StoreError::Damaged)?;
        Ok::<_, StoreError>(AppCredentials { name, token })
    });
    let server = Server::new(url);
    let server = match app.transpose()? {
        Some(AppCredentials { name, token }) => server.with_app(name, token),
        None => server,
    };
    let user = match registration.account {
        Some(Address { account, device }) => format!("{account}.{}", device.number()),
        None => registration.number.clone(),
    };
    let service = Service::new(&server, network);
    let service = service.and_then(|it| it.with_credentials(&user, &registration.password));
    service.map_err(|_| StoreError::Damaged)
}

impl Me {
    /// The account of a registration, if it is complete.
    pub(super) fn from_registration(registration: &Registration) -> Option<Self> {
        let app = registration.app.as_ref();
        Some(Self {
            address: registration.account?,
            number: number(registration).ok()?,
            app: app.and_then(|app| app.name.parse().ok()),
            server: registration.server.clone(),
        })
    }
}

fn number(registration: &Registration) -> Result<PhoneNumber, StoreError> {
    registration.number.parse().map_err(|_| StoreError::Damaged)
}

/// A store that is used on blocking threads only.
#[derive(Clone, Debug)]
pub(super) struct SharedStore(Arc<Mutex<Store>>);

impl SharedStore {
    /// Does something with the store on a blocking thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> T {
        let store = self.clone();
        blocking(move || store.with(work)).await
    }

    fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut lock(&self.0))
    }
}

/// The store of a client, as its handles use it: until the client ends.
#[derive(Clone, Debug)]
pub(super) struct ClientStore(Arc<Mutex<Option<SharedStore>>>);

impl ClientStore {
    pub(super) fn new(store: SharedStore) -> Self {
        Self(Arc::new(Mutex::new(Some(store))))
    }

    /// Does something with the store on a blocking thread. `None` if the client has ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(&self.0);
        blocking(move || lock(&store).as_ref().map(|store| store.with(work))).await
    }

    /// Does something with the store on this thread, which must be a blocking one. `None` if the client has ended.
    pub(super) fn run_here<T>(&self, work: impl FnOnce(&mut Store) -> T) -> Option<T> {
        lock(&self.0).as_ref().map(|store| store.with(work))
    }

    /// Takes the store away from the handles, when they have done with it what they have begun. Blocks until then.
    pub(super) fn close(&self) {
        *lock(&self.0) = None;
    }
}

/// A panic leaves nothing half done: the store works in transactions.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down, and drops this future as well.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The time now.
pub(super) fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(elapsed.as_millis().try_into().unwrap_or(u64::MAX))
}

/// A random password.
pub(super) fn password() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; PASSWORD]);
    OsRng.fill_bytes(&mut *bytes);
    Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes))
}

/// Random bytes of a password.
const PASSWORD: usize = 18;

/// The highest registration id. Deployed clients use 14 bits without the highest values.
pub(super) const MAX_REGISTRATION_ID: u32 = 16380;

/// Maximum number of digits of a verification code. Ours have six.
const MAX_CODE: usize = 12;
