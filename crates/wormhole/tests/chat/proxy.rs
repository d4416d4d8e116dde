//! A TCP proxy in front of the messaging service that cuts connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy. It ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Bytes for clients until the connection that carries them is cut.
    budget: Arc<Mutex<Option<u64>>>,
    /// Bytes that clients have received.
    carried: Arc<AtomicU64>,
    /// Whether no connection is carried after a cut.
    closes: Arc<AtomicBool>,
    /// The start of a request whose answer is lost.
    trap: Arc<Mutex<Option<&'static [u8]>>>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self {
            address,
            budget: Arc::default(),
            carried: Arc::default(),
            closes: Arc::default(),
            trap: Arc::default(),
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serving.clone().forward(client, server));
            }
        });
        proxy
    }

    /// Cuts the connection that carries the byte after this number.
    pub(crate) fn cut_after(&self, bytes: u64) {
        *self.budget.lock().unwrap() = Some(bytes);
        self.carried.store(0, Ordering::Relaxed);
    }

    /// Cuts the connection that carries the byte after this number, and carries no others until [`Proxy::open`].
    pub(crate) fn close_after(&self, bytes: u64) {
        self.closes.store(true, Ordering::Relaxed);
        self.cut_after(bytes);
    }

    /// Loses the answer to the next request that begins like this, once the server has executed it, and carries no connections
    /// until [`Proxy::open`].
    pub(crate) fn lose_answer_to(&self, request: &'static str) {
        *self.trap.lock().unwrap() = Some(request.as_bytes());
    }

    /// Carries connections again.
    pub(crate) fn open(&self) {
        self.closes.store(false, Ordering::Relaxed);
    }

    /// Whether a connection was cut since [`Proxy::cut_after`].
    pub(crate) fn has_cut(&self) -> bool {
        self.budget.lock().unwrap().is_none()
    }

    /// Bytes that clients have received since [`Proxy::cut_after`].
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    async fn forward(self, client: TcpStream, server: SocketAddr) {
        if self.closes.load(Ordering::Relaxed) && self.has_cut() {
            return;
        }
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let up = async {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                self.spring(&buffer[..length]);
                if to_server.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                let passes = self.spend(u64::try_from(length).unwrap());
                if !passes || to_client.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }

    /// Cuts before the answer if this is the request whose answer is to be lost.
    fn spring(&self, request: &[u8]) {
        let is_it = |start: &mut &[u8]| request.starts_with(start);
        if self.trap.lock().unwrap().take_if(is_it).is_some() {
            self.close_after(0);
        }
    }

    /// Counts bytes. False if the connection is cut instead.
    fn spend(&self, bytes: u64) -> bool {
        let mut budget = self.budget.lock().unwrap();
        match *budget {
            Some(left) if left < bytes => {
                *budget = None;
                false
            }
            left => {
                *budget = left.map(|left| left - bytes);
                self.carried.fetch_add(bytes, Ordering::Relaxed);
                true
            }
        }
    }
}
