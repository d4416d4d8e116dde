//! Nodes in processes of their own.

use super::world::Running;
use super::{Folder, interrupted};

#[test]
fn two_nodes_meet_and_tell_how_they_are() {
    let folder = Folder::new();
    let (one, enode) = folder.node(&[]);
    let (two, _) = folder.node(&["--peer", &enode.to_string()]);
    for node in [&one, &two] {
        node.wait_for(r#""peers":1"#);
    }
    two.signal("INT");
    interrupted(two);
    one.signal("TERM");
    one.end().failed(143, "terminated");
}

#[test]
fn a_node_keeps_its_name_with_its_data() {
    let folder = Folder::new();
    let (node, before) = folder.node(&["--data", "data"]);
    node.signal("INT");
    node.end();
    let (_node, after) = folder.node(&["--data", "data"]);
    assert_eq!(before.id, after.id);
}

#[test]
fn another_port_is_used_if_the_default_port_is_in_use() {
    let folder = Folder::new();
    // Another node that has it already is as good.
    let _taken = std::net::TcpListener::bind("127.0.0.1:30303");
    let node = Running::start(folder.command(&["whisper", "node"]));
    node.wait_for("Port 30303 is in use; this node listens on ");
    node.wait_for("enode://");
}

#[test]
fn a_node_at_all_addresses_says_that_its_own_is_for_this_computer() {
    let folder = Folder::new();
    let node = Running::start(folder.command(&["whisper", "node", "--listen", "[::]:0"]));
    node.wait_for("To let others connect: --advertise IP");
    let node = Running::start(folder.command(&["whisper", "node", "--listen", "127.0.0.1:0"]));
    node.wait_for("To let others connect: --listen 0.0.0.0:30303 --advertise IP");
}

#[test]
fn a_peer_that_does_not_answer_is_named() {
    let folder = Folder::new();
    let (there, enode) = folder.node(&[]);
    drop(there);
    let peer = enode.to_string();
    let node = ["whisper", "node", "--listen", "127.0.0.1:0", "--peer", &peer];
    let node = Running::start(folder.command(&node));
    node.wait_for(&format!("{peer} has not answered yet"));
}

#[test]
fn a_port_that_is_taken_is_an_error_with_a_way_out() {
    let folder = Folder::new();
    let (_node, enode) = folder.node(&[]);
    let taken = enode.endpoint.unwrap().tcp_address().to_string();
    let ended = folder.whisper(&["node", "--listen", &taken]);
    ended.failed(1, "cannot listen");
    assert!(ended.stderr.contains("--listen 127.0.0.1:0"), "{ended}");
}
