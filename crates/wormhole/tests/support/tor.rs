//! A scripted Tor: a control port that names a SOCKS5 port, and what happens at the latter.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wormhole::net::tor::{ControlPort, Tor};

/// The reply of a SOCKS5 proxy that has connected.
pub(crate) const CONNECTED: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Starts a control port that names this SOCKS port to one client.
pub(crate) async fn start_control(socks: SocketAddr) -> ControlPort {
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = control.local_addr().unwrap().port();
    let listening = format!("250-net/listeners/socks=\"{socks}\"\r\n");
    tokio::spawn(async move {
        let mut stream = BufReader::new(control.accept().await.unwrap().0);
        for answer in ["250-AUTH METHODS=NULL\r\n", "", &listening] {
            stream.read_line(&mut String::new()).await.unwrap();
            stream.write_all(format!("{answer}250 OK\r\n").as_bytes()).await.unwrap();
        }
    });
    ControlPort::Tcp { host: "127.0.0.1".into(), port }
}

/// Starts a Tor with this SOCKS port.
pub(crate) async fn tor_at(socks: SocketAddr) -> Tor {
    Tor::at_control_port(start_control(socks).await).await.unwrap()
}

/// Starts a Tor that connects every request to this address, and returns the names or addresses that it is asked for.
pub(crate) async fn connecting_to(address: SocketAddr) -> (Tor, mpsc::UnboundedReceiver<String>) {
    let socks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tor = tor_at(socks.local_addr().unwrap()).await;
    let (names, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socks.accept().await {
            // The test may have ended.
            let _ended = names.send(read_request(&mut stream).await);
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(address).await.unwrap();
                stream.write_all(&CONNECTED).await.unwrap();
                copy_bidirectional(&mut stream, &mut onward).await
            });
        }
    });
    (tor, asked)
}

/// Starts a Tor that answers every request with these bytes, and then closes the connection.
pub(crate) async fn answering(answer: impl AsRef<[u8]> + Send + 'static) -> Tor {
    let socks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tor = tor_at(socks.local_addr().unwrap()).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socks.accept().await {
            read_request(&mut stream).await;
            stream.write_all(answer.as_ref()).await.unwrap();
            // Closing with unread data would cut off the answer.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    tor
}

/// Accepts a client without a password, and returns the host that it asks for.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting, [5, 1, 0], "the client offers no password");
    stream.write_all(&[5, 0]).await.unwrap();
    let mut start = [0; 4];
    stream.read_exact(&mut start).await.unwrap();
    let length = match start {
        [5, 1, 0, 1] => 4,
        [5, 1, 0, 3] => stream.read_u8().await.unwrap(),
        [5, 1, 0, 4] => 16,
        other => panic!("{other:?}"),
    };
    let mut host = vec![0; usize::from(length)];
    stream.read_exact(&mut host).await.unwrap();
    stream.read_u16().await.unwrap();
    match start {
        [.., 3] => String::from_utf8(host).unwrap(),
        _ => format!("{host:?}"),
    }
}
