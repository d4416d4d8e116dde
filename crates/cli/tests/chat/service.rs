//! A messaging server with two apps, and people who use `wormhole chat`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::Value;
use wormhole::chat::store::{Store, StoreError};

use crate::world::{Ended, Running};

pub(crate) const ALICE: &str = "+14155550101";
pub(crate) const BOB: &str = "+14155550102";

/// A server and a folder for one test, removed when the test has passed.
pub(crate) struct Service {
    folder: PathBuf,
    /// `None` while it is stopped.
    server: Option<Running>,
    pub(crate) url: String,
    /// Codes that were used, so that a second registration waits for a new one.
    codes: Mutex<usize>,
}

impl Service {
    /// Starts a server without TLS.
    pub(crate) fn new() -> Self {
        Self::start(&[])
    }

    /// Starts a server with these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for app in ["com.example.one", "com.example.two"] {
            let arguments = ["app", "--db", "messaging.sqlite", "add", app];
            let added = server_command(&folder, &arguments).output().unwrap();
            assert!(added.status.success(), "{added:?}");
            let printed = String::from_utf8(added.stdout).unwrap();
            let (_, token) = printed.trim().split_once(' ').unwrap();
            std::fs::write(folder.join(app), format!("{token}\n")).unwrap();
        }
        let (server, url) = listen(&folder, "127.0.0.1:0", options);
        Self { folder, server: Some(server), url, codes: Mutex::default() }
    }

    /// Starts a mailbox server, where two sides meet with a code. Returns its address.
    pub(crate) fn mailbox(&self) -> (Running, String) {
        let arguments = ["mailbox", "--listen", "127.0.0.1:0", "--db", "mailbox.sqlite"];
        let mailbox = Running::start(server_command(&self.folder, &arguments));
        let url = mailbox.wait_for("listening on ");
        (mailbox, url)
    }

    /// Kills the server.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Ends the server, and returns everything that it has printed.
    pub(crate) fn printed(&mut self) -> String {
        let server = self.server.take().unwrap();
        server.signal("TERM");
        let Ended { stdout, stderr, .. } = server.end();
        format!("{}{stderr}", String::from_utf8_lossy(&stdout))
    }

    /// Kills the server, and keeps a copy of its database.
    pub(crate) fn stop_and_save(&mut self) {
        self.stop();
        self.copy_database("", "saved-");
    }

    /// Kills the server, and gives it the saved database again.
    pub(crate) fn stop_and_restore(&mut self) {
        self.stop();
        self.copy_database("saved-", "");
    }

    fn copy_database(&self, from: &str, to: &str) {
        for end in ["", "-wal", "-shm"] {
            let [from, to] = [from, to].map(|it| self.path(&format!("{it}messaging.sqlite{end}")));
            let _ = std::fs::remove_file(&to);
            if from.exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
    }

    /// Starts the killed server again, at the same address.
    pub(crate) fn resume(&mut self) {
        let address = self.url.split_once("://").unwrap().1.to_owned();
        self.server = Some(listen(&self.folder, &address, &[]).0);
        *self.codes.lock().unwrap() = 0;
    }

    /// A person with a home directory.
    pub(crate) fn person(&self, name: &str) -> Person {
        let home = self.folder.join(name);
        std::fs::create_dir_all(&home).unwrap();
        Person { home, variables: Vec::new() }
    }

    /// A person who has registered a number in an app.
    pub(crate) fn registered(&self, name: &str, number: &str, app: &str) -> Person {
        let person = self.person(name);
        person.register(self, number, app);
        person
    }

    /// The next code for a number.
    pub(crate) fn code(&self, number: &str) -> String {
        let mut codes = self.codes.lock().unwrap();
        *codes += 1;
        let server = self.server.as_ref().unwrap();
        server.wait_for_times("code for ", *codes);
        server.last_after(&format!("code for {number}: "))
    }

    /// Runs `wormhole-server app`, and returns what it prints.
    pub(crate) fn app(&self, arguments: &[&str]) -> String {
        self.command(&[&["app", "--db", "messaging.sqlite"], arguments].concat())
    }

    /// Runs a command of `wormhole-server`, and returns what it prints.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let done = server_command(&self.folder, arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Deletes the account of a person at the server.
    pub(crate) fn delete(&self, person: &Person) {
        let (login, headers) = credentials(person);
        self.request("DELETE /v1/accounts/me", &login, &headers, "");
    }

    /// Another program on the device of a person changes its registration id at the server.
    pub(crate) fn change_registration_id(&self, person: &Person, to: u32) {
        let (login, headers) = credentials(person);
        let body = format!(r#"{{"registrationId": {to}, "fetchesMessages": true}}"#);
        self.request("PUT /v1/accounts/attributes", &login, &headers, &body);
    }

    /// Registers a number in the default app, with requests of our own. Returns the login for other requests.
    pub(crate) fn register_by_hand(&self, number: &str) -> String {
        let login = BASE64.encode(format!("{number}:a-long-password").as_bytes());
        self.request(&format!("GET /v1/accounts/sms/code/{number}"), &login, "", "");
        let code = self.code(number).replace('-', "");
        let body = r#"{"registrationId": 1234, "fetchesMessages": true}"#;
        self.request(&format!("PUT /v1/accounts/code/{code}"), &login, "", body);
        login
    }

    /// Makes a request that must succeed.
    #[track_caller]
    pub(crate) fn request(&self, what: &str, login: &str, headers: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "{what} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Basic {login}\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.url.split_once("://").unwrap().1).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 2"), "{what}: {response}");
    }

    /// A path in the folder of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The login of a person's device, and the headers of its app.
fn credentials(person: &Person) -> (String, String) {
    let store = person.store();
    let registration = store.registration().unwrap().unwrap();
    let (app, address) = (registration.app.unwrap(), registration.account.unwrap());
    let device = address.device.number();
    let login = format!("{}.{device}:{}", address.account, *registration.password);
    let headers = format!("X-PKG-NAME: {}\r\nX-PKG-TOKEN: {}\r\n", app.name, *app.token);
    (BASE64.encode(login.as_bytes()), headers)
}

impl Drop for Service {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn listen(folder: &Path, address: &str, options: &[&str]) -> (Running, String) {
    let arguments =
        ["messaging", "--listen", address, "--db", "messaging.sqlite", "--blobs", "blobs"];
    let app = if options.contains(&"--default-app") {
        &[][..]
    } else {
        &["--default-app", "com.example.one"]
    };
    let server = Running::start(server_command(folder, &[&arguments, app, options].concat()));
    let url = server.wait_for("messaging listening on ");
    (server, url)
}

fn server_command(folder: &Path, arguments: &[&str]) -> Command {
    let server = Path::new(env!("CARGO_BIN_EXE_wormhole")).with_file_name("wormhole-server");
    assert!(server.exists(), "build the workspace first: {} is missing", server.display());
    let mut command = Command::new(server);
    command.args(arguments).current_dir(folder).env_remove("RUST_LOG");
    command
}

/// Somebody who uses `wormhole chat`.
pub(crate) struct Person {
    home: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Person {
    /// Sets an environment variable for all commands.
    pub(crate) fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// The command with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wormhole"));
        command
            .arg("chat")
            .args(arguments)
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", &self.home)
            .env("XDG_DATA_HOME", &self.home)
            // Devices connect directly: both are on this computer.
            .env("WORMHOLE_TRANSIT_HELPER", "")
            .env_remove("WORMHOLE_CHAT_PASSPHRASE")
            .env_remove("WORMHOLE_CHAT_TOKEN");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a command.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// Runs a command that must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.exit, 0, "{arguments:?}: {ended}");
        ended.out()
    }

    /// Runs a command that must succeed, and print this sentence for people.
    #[track_caller]
    pub(crate) fn is_told(&self, arguments: &[&str], sentence: &str) -> Ended {
        let ended = self.run(arguments);
        assert!(ended.exit == 0 && ended.stderr.contains(sentence), "{arguments:?}: {ended}");
        ended
    }

    /// The store of the default account.
    pub(crate) fn store(&self) -> Store {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match Store::open(&self.path("wormhole/chat/default"), None) {
                // A process that another test has just started holds the lock until it executes its program.
                Err(StoreError::InUse) if Instant::now() < deadline => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    /// Registers a number in an app.
    #[track_caller]
    pub(crate) fn register(&self, service: &Service, number: &str, app: &str) {
        let token = service.path(app).display().to_string();
        let arguments =
            ["register", number, "--server", &service.url, "--app", app, "--token-file", &token];
        self.succeed(&arguments);
        self.succeed(&["verify", &service.code(number)]);
        // `requests.rs` tests what happens otherwise.
        self.succeed(&["config", "--requests", "off"]);
    }

    /// The new messages, as JSON.
    #[track_caller]
    pub(crate) fn messages(&self) -> Vec<Value> {
        messages(&self.succeed(&["receive", "--json"]))
    }

    /// A path in the home directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }
}

/// The messages in JSON output.
pub(crate) fn messages(output: &str) -> Vec<Value> {
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|event| event["event"] == "chat-message").collect()
}

/// The texts of messages.
pub(crate) fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["text"].as_str().unwrap()).collect()
}
