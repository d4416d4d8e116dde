//! Links of strangers: they keep nobody out, and the node from nothing.

use tokio::net::TcpSocket;
use tokio::time::timeout;
use wormhole::whisper::remote::{Remote, RemoteUrl};

use super::*;

/// More links than there are places for those who say nothing and those who were let in together.
const MANY: usize = 500;

#[tokio::test]
async fn silent_links_keep_nobody_out() {
    let token = Token::new("silent");
    let node = Node::start(&["--rpc-token-file", token.path(), "--rpc-links", "8"]);
    let mut silent = Vec::new();
    for number in 0..MANY {
        let mut link = TcpStream::connect(node.rpc).await.unwrap();
        // Some ask for permission, as browsers do before they show a token.
        let preflight = b"OPTIONS / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        if number % 2 == 0 && link.write_all(preflight).await.is_ok() {
            let _sent_away = link.read(&mut [0; 512]).await;
        }
        silent.push(link);
    }
    for scheme in ["http", "ws"] {
        let url = RemoteUrl::parse(&format!("{scheme}://{}", node.rpc)).unwrap();
        let remote = Remote::connect(&url, Some("hush")).await.unwrap();
        assert_eq!(remote.version().await.unwrap(), "6.0");
    }
}

#[tokio::test]
async fn those_who_were_let_in_stay_and_others_are_told_that_it_is_full() {
    let node = Node::start(&["--rpc-links", "1"]);
    let url = RemoteUrl::parse(&format!("ws://{}", node.rpc)).unwrap();
    let first = Remote::connect(&url, None).await.unwrap();
    let refused = node.ask("GET /metrics", "host: localhost\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let mut silent = Vec::new();
    for _ in 0..MANY {
        silent.push(TcpStream::connect(node.rpc).await.unwrap());
    }
    assert_eq!(first.version().await.unwrap(), "6.0");
}

#[cfg(unix)]
#[tokio::test]
async fn a_client_that_reads_nothing_does_not_cost_the_node_its_messages() {
    let folder = std::env::temp_dir().join(format!("wormhole-stuck-{}", std::process::id()));
    let data = ["--data", folder.to_str().unwrap(), "--drain-seconds", "4"];
    let mut node = Node::start(&data);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut link = socket.connect(node.rpc).await.unwrap();
    let many = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    // Until the node does not take any more, because it cannot say any more.
    while timeout(Duration::from_secs(1), link.write_all(many.as_bytes())).await.is_ok() {}
    assert!(!folder.join("pool").exists());
    let process = node.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || node.process.wait().unwrap()).await.unwrap();
    assert!(ended.success());
    assert!(folder.join("pool").exists());
    std::fs::remove_dir_all(folder).unwrap();
}
