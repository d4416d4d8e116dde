//! Tests that many connections of unknown clients neither lock others out nor stop the node.

use tokio::net::TcpSocket;
use tokio::time::timeout;
use wormhole_node::{
    devp2p::{base::DisconnectReason, enode::Enode, peer::PeerOutput},
    remote::{RemoteNode, RemoteUrl},
    shh::packet,
};

use super::*;
use wormhole_node::testing::{TestPeer, dial, tcp_address};

/// More links than the limits for silent and admitted links together.
const MANY: usize = 500;

#[tokio::test]
async fn silent_links_do_not_lock_others_out() {
    let token = Token::new("silent");
    let node = Node::start(&["--rpc-token-file", token.path(), "--rpc-links", "8"]);
    let mut silent = Vec::new();
    for number in 0..MANY {
        let mut link = TcpStream::connect(node.rpc).await.unwrap();
        // Some send a preflight request, as browsers do before they send a token.
        let preflight = b"OPTIONS / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        if number % 2 == 0 && link.write_all(preflight).await.is_ok() {
            let _sent_away = link.read(&mut [0; 512]).await;
        }
        silent.push(link);
    }
    for scheme in ["http", "ws"] {
        let url = RemoteUrl::parse(&format!("{scheme}://{}", node.rpc)).unwrap();
        let remote = RemoteNode::connect(&url, Some("hush")).await.unwrap();
        assert_eq!(remote.version().await.unwrap(), "6.0");
    }
}

#[tokio::test]
async fn admitted_links_stay_open_and_others_get_an_error() {
    let node = Node::start(&["--rpc-links", "1"]);
    let url = RemoteUrl::parse(&format!("ws://{}", node.rpc)).unwrap();
    let first = RemoteNode::connect(&url, None).await.unwrap();
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
async fn a_client_that_does_not_read_does_not_make_the_node_lose_messages() {
    let folder = std::env::temp_dir().join(format!("wormhole-stuck-{}", std::process::id()));
    let data = ["--data", folder.to_str().unwrap(), "--drain-seconds", "4"];
    let mut node = Node::start(&data);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut link = socket.connect(node.rpc).await.unwrap();
    let many = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    // Until the node does not read any more, because it cannot write any more.
    while timeout(Duration::from_secs(1), link.write_all(many.as_bytes())).await.is_ok() {}
    assert!(!folder.join("pool").exists());
    let process = node.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || node.process.wait().unwrap()).await.unwrap();
    assert!(ended.success());
    assert!(folder.join("pool").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_saves_its_messages_before_it_stops() {
    let folder = Folder::new("hurry");
    let (data, pool) = (folder.path("data"), folder.path("data/pool"));
    let arguments = ["--data", &data, "--drain-seconds", "0", "--min-peers", "0"];
    let mut node = Node::start(&arguments);
    let friend = Node::start(&["--peer", &node.enode, "--min-peers", "0"]);
    check_forwarding(&friend, &node).await;
    assert!(!std::fs::exists(&pool).unwrap());
    let process = node.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || node.process.wait().unwrap()).await.unwrap();
    assert!(ended.success());
    let kept = std::fs::metadata(pool).unwrap().len();
    assert!(kept > 284, "{kept} bytes, less than a sealed message");
}

/// The number of links that the system allows for this process, at most ten thousand.
#[cfg(target_os = "linux")]
fn affordable_links() -> u16 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    // The other tests need some files, too.
    let most = maximum.unwrap_or(u64::MAX).saturating_sub(2000);
    u16::try_from(most).unwrap_or(u16::MAX).clamp(500, 10_000)
}

/// Checks that a message that one node posts reaches another.
async fn check_forwarding(from: &Node, to: &Node) {
    let password = json!(["hush"]);
    let key = to.call("shh_generateSymKeyFromPassword", password.clone()).await;
    let wanted = json!([{ "symKeyID": key, "topics": ["0x01020304"] }]);
    let filter = to.call("shh_newMessageFilter", wanted).await;
    let key = from.call("shh_generateSymKeyFromPassword", password).await;
    let message = json!([{
        "symKeyID": key, "topic": "0x01020304", "payload": "0x6869", "powTarget": 0.2,
        "powTime": 10, "ttl": 60,
    }]);
    let hash = from.call("shh_post", message).await;
    while poll(to, &filter).await.iter().all(|message| message["hash"] != hash) {}
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ten_thousand_half_open_links_lock_nobody_out_and_use_little_memory() {
    let isolated = ["--min-peers", "0"];
    let node = Node::start(&isolated);
    let friend = ["--peer", &node.enode, "--min-peers", "0"];
    let first = Node::start(&friend);
    check_forwarding(&first, &node).await;
    let enode = Enode::parse(&node.enode).unwrap();
    let before = node.megabytes();
    let count = affordable_links();
    let mut links = Vec::new();
    for number in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        // From as many addresses as are needed to reach the limit.
        let [_, host] = (number % 8 + 2).to_be_bytes();
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        let mut link = socket.connect(tcp_address(&enode)).await.unwrap();
        // The first sends nothing, the second half a handshake, the third nothing after its half.
        let Some(PeerOutput::Send(auth)) = dial(&enode).poll() else { panic!("no auth") };
        let sent = match number % 3 {
            0 => &[][..],
            1 => &auth[..200],
            _ => &auth,
        };
        // The node may have rejected the address already.
        let _cut = link.write_all(sent).await;
        links.push(link);
        if number % (count / 4) == count / 4 - 1 {
            let newcomer = Node::start(&friend);
            check_forwarding(&newcomer, &node).await;
        }
    }
    assert!(node.megabytes() < before + 30, "{before} MB, then {} MB", node.megabytes());
    check_forwarding(&first, &node).await;
    until(async || node.call("net_peerCount", json!([])).await == "0x1").await;
    drop(links);
}

#[tokio::test]
async fn a_peer_that_violates_the_protocol_is_logged_and_others_stay_connected() {
    let node = Node::start(&["--min-peers", "0"]);
    let friend = Node::start(&["--peer", &node.enode, "--min-peers", "0"]);
    let mut peer = TestPeer::connect_with_status(&Enode::parse(&node.enode).unwrap()).await;
    let address = peer.stream.local_addr().unwrap().to_string();
    peer.send(packet::MESSAGES, &[0xc1, 0x80]).await;
    assert_eq!(peer.disconnected().await, Some(DisconnectReason::SubprotocolError));
    node.logged(&["WARN", "peer misbehaved", "peer=", &address, "banned_seconds=60"]).await;
    check_forwarding(&friend, &node).await;
}
