//! The server under load, started as a child process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::Failure;

/// A running server. It is killed when this value is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) authority: Arc<str>,
    codes: Codes,
}

/// The verification codes that the server has printed, by number.
type Codes = Arc<Mutex<HashMap<String, String>>>;

impl Server {
    /// Starts the server with one app, and waits until it accepts connections.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        db: Option<&str>,
        port: u16,
    ) -> Result<Self, Failure> {
        let file = folder.join("messaging.sqlite").display().to_string();
        let db = db.unwrap_or(&file);
        let added = Command::new(program)
            .args(["app", "--db", db, "add", "com.example.load"])
            .stdout(Stdio::null())
            .status()?;
        if !added.success() {
            return Err("cannot add an app".into());
        }
        let authority: Arc<str> = format!("127.0.0.1:{port}").into();
        let mut child = Command::new(program)
            .args(["messaging", "--listen", &authority, "--db", db, "--blobs"])
            .arg(folder.join("blobs"))
            .args(["--default-app", "com.example.load", "--trust-proxy", "x-forwarded-for"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let codes = Codes::default();
        let output = child.stderr.take().ok_or("the server has no output")?;
        let found = Arc::clone(&codes);
        std::thread::spawn(move || collect_codes(BufReader::new(output), &found));
        let server = Self { child, authority, codes };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&*server.authority).await.is_err() {
            if Instant::now() > deadline {
                return Err("the server does not accept connections".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the code of a number.
    pub(crate) async fn code(&self, number: &str) -> Result<String, Failure> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(code) = lock(&self.codes).remove(number) {
                return Ok(code);
            }
            if Instant::now() > deadline {
                return Err("the server has printed no code".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Reads lines such as `SMS code for +14155550123: 123-456` until the server ends. Prints all others.
fn collect_codes(output: impl BufRead, codes: &Codes) {
    for line in output.lines().map_while(Result::ok) {
        let found = line.split_once(" code for ").and_then(|(_, rest)| rest.split_once(": "));
        match found {
            Some((number, code)) => {
                lock(codes).insert(number.to_owned(), code.replace('-', ""));
            }
            None => eprintln!("{line}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
