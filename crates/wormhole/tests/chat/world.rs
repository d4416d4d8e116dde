//! A messaging service with two apps, and people with clients.

use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use rand_core::{OsRng, RngCore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole::chat::store::{Protection, Registration, Store};
use wormhole::chat::{
    Account, Client, Destination, Event, Message, Messages, Network, Options, ReceivedMessage,
    Server, Transport,
};
use wormhole_server::testing::{TestServers, app_command, verification_code};

/// A directory that is removed with this value.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("wormhole-chat-{:016x}", OsRng.next_u64()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A messaging service that can be restarted.
pub(crate) struct World {
    pub(crate) folder: Folder,
    servers: Option<TestServers>,
    pub(crate) address: std::net::SocketAddr,
    apps: Vec<(String, String)>,
}

impl World {
    /// A service with the apps `com.one` and `com.two`.
    pub(crate) async fn new() -> Self {
        let folder = Folder::new();
        let apps = ["com.one", "com.two"].map(|name| {
            let printed = app_command(&folder.0.join("messaging.sqlite"), &["add", name]);
            let (name, token) = printed.trim().split_once(' ').unwrap();
            (name.to_owned(), token.to_owned())
        });
        let servers = serve(&folder.0, &own_address()).await;
        Self { folder, address: servers.messaging(), servers: Some(servers), apps: apps.into() }
    }

    /// Stops the service.
    pub(crate) async fn stop(&mut self) {
        self.servers.take().unwrap().stop().await;
    }

    /// Starts the service again, at the same address.
    pub(crate) async fn start(&mut self) {
        self.servers = Some(serve(&self.folder.0, &self.address.to_string()).await);
    }

    /// The database of the service.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.0.join("messaging.sqlite")
    }

    /// The service, in one of the apps.
    pub(crate) fn server(&self, app: usize) -> Server {
        self.server_at(self.address, app)
    }

    /// The service behind a proxy with this address.
    pub(crate) fn server_at(&self, address: std::net::SocketAddr, app: usize) -> Server {
        let (name, token) = &self.apps[app];
        let server = Server::new(format!("http://{address}").parse().unwrap());
        server.with_app(name.parse().unwrap(), token.parse().unwrap())
    }

    /// Confirms the code of a number as a program that publishes no keys.
    pub(crate) async fn confirm_without_keys(&self, number: &str, app: usize) {
        let (name, token) = &self.apps[app];
        let code = verification_code(number).unwrap();
        let login = BASE64.encode(format!("{number}:another password").as_bytes());
        let body = r#"{"registrationId":1}"#;
        let request = format!(
            "PUT /v1/accounts/code/{code} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Authorization: Basic {login}\r\nX-PKG-NAME: {name}\r\nX-PKG-TOKEN: {token}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.request(&request).await;
    }

    /// Deletes the account of a person whose client is not running.
    pub(crate) async fn delete(&self, person: &Person) {
        self.request(&person.request("DELETE /v1/accounts/me", "")).await;
    }

    /// Makes the server refuse sealed messages to a person whose client is not running: only open ones have receipts of the server.
    pub(crate) async fn refuse_sealed(&self, person: &Person) {
        let body = r#"{"unidentifiedAccessKey":"AAAAAAAAAAAAAAAAAAAAAA=="}"#;
        self.request(&person.request("PUT /v1/accounts/attributes", body)).await;
    }

    /// Sends something to an account that is not a message, in the name of a person whose client is not running.
    pub(crate) async fn send_garbage(&self, from: &Person, to: &Person, timestamp: u64) {
        let registration = to.registration();
        let (id, address) = (registration.registration_id, registration.account.unwrap());
        let body = format!(
            r#"{{"messages":[{{"type":1,"destinationDeviceId":1,"destinationRegistrationId":{id},
            "content":"Z2FyYmFnZQ=="}}],"timestamp":{timestamp}}}"#
        );
        let head = format!("PUT /v1/messages/{}", address.account);
        self.request(&from.request(&head, &body)).await;
    }

    /// Sends a request that must succeed.
    async fn request(&self, request: &str) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    }

    /// Requests the keys of an account in the name of a person whose client is not running, as often as the server permits.
    pub(crate) async fn use_up_keys(&self, from: &Person, of: &Person) {
        let account = of.registration().account.unwrap().account;
        for _ in 0..6 {
            self.request(&from.request(&format!("GET /v2/keys/{account}/*"), "")).await;
        }
    }

    /// Sends `PUT` with these credentials in base64, in the app `com.one`. Returns the status.
    pub(crate) async fn put_as(&self, login: &str, path: &str, body: &str) -> u16 {
        let ((name, token), length) = (&self.apps[0], body.len());
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Basic {login}\r\n\
             X-PKG-NAME: {name}\r\nX-PKG-TOKEN: {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Registers two people, the first one in the first app, the other one in the second.
    pub(crate) async fn register_in_both_apps(&self, [first, second]: [&str; 2]) -> [Person; 2] {
        [self.register(first, 0).await, self.register(second, 1).await]
    }

    /// A new account, and the directory of its store.
    pub(crate) async fn register(&self, number: &str, app: usize) -> Person {
        register(number, &self.server(app)).await
    }
}

/// A new account at this server.
pub(crate) async fn register(number: &str, server: &Server) -> Person {
    let person = Person { folder: Folder::new(), number: number.to_owned() };
    let account = person.account();
    account.register(server, &number.parse().unwrap(), Transport::Sms).await.unwrap();
    account.verify(&verification_code(number).unwrap()).await.unwrap();
    person
}

/// An address of this computer that nobody else uses. While the service is stopped, no outgoing connection takes its port:
/// these come from 127.0.0.1.
fn own_address() -> String {
    let [a, b, c, ..] = OsRng.next_u64().to_be_bytes();
    format!("127.{}.{b}.{}:0", a.max(1), c.clamp(1, 254))
}

async fn serve(folder: &Path, address: &str) -> TestServers {
    let (database, blobs) = (folder.join("messaging.sqlite"), folder.join("blobs"));
    let options = [
        "--mailbox=false",
        "--transit-relay=false",
        "--messaging=true",
        &format!("--messaging-db={}", database.display()),
        &format!("--messaging-blobs={}", blobs.display()),
        &format!("--messaging-listen={address}"),
    ];
    TestServers::start(&options).await
}

/// A person with an account in a store.
pub(crate) struct Person {
    pub(crate) folder: Folder,
    pub(crate) number: String,
}

impl Person {
    /// The account. Creates the store if it does not exist.
    pub(crate) fn account(&self) -> Account {
        let path = self.folder.0.join("store");
        let store = match Store::protection(&path).unwrap() {
            None => Store::create(&path, &Protection::KeyFile),
            Some(_) => Store::open(&path, None),
        };
        Account::new(store.unwrap(), Network::default())
    }

    /// How this person is registered. The client must not be running.
    pub(crate) fn registration(&self) -> Registration {
        let store = Store::open(&self.folder.0.join("store"), None).unwrap();
        store.registration().unwrap().unwrap()
    }

    /// A request in the name of this person.
    fn request(&self, head: &str, body: &str) -> String {
        let registration = self.registration();
        let (app, address) = (registration.app.unwrap(), registration.account.unwrap());
        let user =
            format!("{}.{}:{}", address.account, address.device.number(), *registration.password);
        format!(
            "{head} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Basic {}\r\n\
             X-PKG-NAME: {}\r\nX-PKG-TOKEN: {}\r\nContent-Length: {}\r\n\r\n{body}",
            BASE64.encode(user.as_bytes()),
            app.name,
            *app.token,
            body.len()
        )
    }

    /// A running client.
    pub(crate) async fn open(&self) -> Client {
        Client::open(self.account(), Options::default()).await.unwrap()
    }

    /// How others write to this person.
    pub(crate) fn destination(&self) -> Destination {
        self.number.parse().unwrap()
    }
}

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.unwrap()
}

/// The next message.
pub(crate) async fn next_message(messages: &mut Messages) -> ReceivedMessage {
    soon(async {
        loop {
            if let Event::Message(message) = messages.next().await.unwrap() {
                return *message;
            }
        }
    })
    .await
}

/// The next event that satisfies a condition.
pub(crate) async fn next_event(
    messages: &mut Messages,
    condition: impl Fn(&Event) -> bool,
) -> Event {
    soon(async {
        loop {
            let event = messages.next().await.unwrap();
            if condition(&event) {
                return event;
            }
        }
    })
    .await
}

/// Sends a text, and waits until the server has it.
pub(crate) async fn say(from: &Client, to: &Destination, text: &str) {
    let mut sent = from.send(to, Message::text(text)).await.unwrap();
    soon(sent.on_server()).await.unwrap();
}
