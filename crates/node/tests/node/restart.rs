//! What a node keeps over a restart.

use std::path::PathBuf;
use std::time::SystemTime;

use rand_core::{OsRng, RngCore};
use wormhole_node::{
    Node, StartError,
    shh::{Draft, SymmetricKey, Work},
};

use super::{TOPIC, hear, opened, quick, sealed, start, start_beside, until};

/// A folder that is gone after the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let unique = OsRng.next_u64();
        Self(std::env::temp_dir().join(format!("wormhole-whisper-{name}-{unique:016x}")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn the_key_and_the_envelopes_are_there_after_a_restart() {
    let folder = Folder::new("restart");
    let mut settings = quick();
    settings.data = Some(folder.0.clone());
    let node = start(settings.clone()).await;
    let id = node.id();
    let mut heard = node.envelopes();
    let key = SymmetricKey::random(&mut OsRng);
    let envelope = sealed("kept", &key, None).await;
    node.post(envelope.clone()).await.unwrap();
    hear(&mut heard).await;
    // Subscribers get an own envelope at once; the node adds it to its pool a little later.
    until(async || node.status().await.ok().filter(|status| status.envelopes == 1)).await;
    let in_use = Node::start(settings.clone()).await.unwrap_err();
    assert_eq!(in_use, StartError::DataInUse);
    node.stop().await;

    #[cfg(unix)]
    for name in ["nodekey", "pool"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = folder.0.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    let node = start(settings).await;
    assert_eq!(node.id(), id);
    // It was not sent to anybody yet, so the node lets it wait again before it takes it into the pool.
    until(async || node.status().await.ok().filter(|status| status.envelopes == 1)).await;
    let other = start(quick()).await;
    let mut heard = other.envelopes();
    other.add_peer(node.enode()).await.unwrap();
    let (kept, _) = hear(&mut heard).await;
    assert_eq!(kept, envelope);
    assert_eq!(opened(&kept, &key).payload, b"kept");
    other.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_peer_leaves_after_a_restart() {
    let folder = Folder::new("waiting");
    let mut settings = quick();
    settings.privacy.min_peers = 1;
    settings.data = Some(folder.0.clone());
    let node = start(settings.clone()).await;
    let envelope = sealed("later", &SymmetricKey::random(&mut OsRng), None).await;
    node.post(envelope.clone()).await.unwrap();
    node.stop().await;
    let node = start(settings).await;
    assert_eq!(node.status().await.unwrap().waiting, 1);
    let friend = start(quick()).await;
    let mut heard = friend.envelopes();
    friend.add_peer(node.enode()).await.unwrap();
    assert_eq!(hear(&mut heard).await.0, envelope);
    friend.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn what_only_those_take_whom_we_trust_waits_over_a_restart_too() {
    let folder = Folder::new("large");
    let friend = start(quick()).await;
    let mut settings = quick();
    settings.min_work = Work::NONE;
    settings.privacy.min_peers = 1;
    settings.max_envelope_bytes = 2 << 20;
    settings.trusted = vec![friend.id()];
    settings.data = Some(folder.0.clone());
    let node = start(settings.clone()).await;
    let draft = Draft::new(SystemTime::now().into(), 50, TOPIC, vec![7; 1_500_000]);
    node.post(draft.finish(0)).await.unwrap();
    node.stop().await;
    let node = start(settings).await;
    assert_eq!(node.status().await.unwrap().waiting, 1);
    node.stop().await;
    friend.stop().await;
}

#[tokio::test]
async fn damaged_files_neither_stop_a_node_nor_are_taken_for_a_key() {
    let folder = Folder::new("damaged");
    let mut settings = quick();
    settings.data = Some(folder.0.clone());
    start(settings.clone()).await.stop().await;
    let mut pool = std::fs::read(folder.0.join("pool")).unwrap();
    pool.extend([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    std::fs::write(folder.0.join("pool"), pool).unwrap();
    let node = start(settings.clone()).await;
    start_beside(&node).await.stop().await;
    node.stop().await;
    std::fs::write(folder.0.join("nodekey"), "0123").unwrap();
    assert_eq!(Node::start(settings).await.unwrap_err(), StartError::NodeKey);
}
