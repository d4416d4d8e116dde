//! Replays the corpora of the fuzz targets: each interesting input is a test case.

#![expect(clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use wormhole_fuzzing::{Body, chat, magic, node, sdk, server, whisper};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

/// Runs every body on its corpus.
fn replay(bodies: &[(&str, Body)]) {
    for (name, body) in bodies {
        let entries = fs::read_dir(folder("corpus").join(name)).expect("every target has a corpus");
        let mut count = 0;
        for entry in entries {
            let path = entry.expect("a corpus can be listed").path();
            let bytes = fs::read(&path).expect("a corpus can be read");
            let result = std::panic::catch_unwind(|| body(&bytes));
            assert!(result.is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has an empty corpus");
    }
}

/// Every body of this package, with the name of its target and of its corpus.
fn bodies() -> impl Iterator<Item = (&'static str, Body)> {
    let packages =
        [chat::BODIES, magic::BODIES, node::BODIES, sdk::BODIES, server::BODIES, whisper::BODIES];
    packages.into_iter().flatten().copied()
}

#[test]
fn no_input_of_the_chat_corpora_breaks_a_decoder() {
    replay(chat::BODIES);
}

#[test]
fn no_input_of_the_magic_wormhole_corpora_breaks_a_decoder() {
    replay(magic::BODIES);
}

#[test]
fn no_input_of_the_node_corpora_breaks_a_decoder() {
    replay(node::BODIES);
}

#[test]
fn no_input_of_the_sdk_corpora_breaks_a_decoder() {
    replay(sdk::BODIES);
}

#[test]
fn no_input_of_the_server_corpora_breaks_a_decoder() {
    replay(server::BODIES);
}

#[test]
fn no_input_of_the_whisper_corpora_breaks_a_decoder() {
    replay(whisper::BODIES);
}

#[test]
fn attack_25_every_corpus_and_every_target_has_a_body() {
    let mut bodies: Vec<_> = bodies().map(|(name, _)| name.to_owned()).collect();
    bodies.sort_unstable();
    for kind in ["corpus", "fuzz_targets"] {
        let entries = fs::read_dir(folder(kind)).expect("the folder of the fuzz targets");
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
            .collect();
        names.sort_unstable();
        assert_eq!(names, bodies, "{kind}");
    }
}

/// The files of the chat core that decode or decrypt what others have written, and the target that does this with any bytes.
const CHAT_DECODERS: &[(&str, &str)] = &[
    ("certificate.rs", "chat_certificate"),
    ("client/devices.rs", "chat_provisioning"),
    ("content.rs", "chat_content"),
    ("content/sync.rs", "chat_content"),
    ("device_list.rs", "chat_device_list"),
    ("envelope.rs", "chat_envelope"),
    ("group/change.rs", "chat_group_entry"),
    ("group/entry.rs", "chat_group_entry"),
    ("group/state.rs", "chat_group_state"),
    ("group/view.rs", "chat_group_state"),
    ("kem.rs", "chat_pre_key_signal_message"),
    ("key.rs", "chat_signal_message"),
    ("message.rs", "chat_signal_message"),
    ("profile.rs", "chat_profile"),
    ("provisioning.rs", "chat_provisioning"),
    ("provisioning/introduction.rs", "chat_introduction"),
    ("provisioning/link.rs", "chat_link"),
    ("provisioning/message.rs", "chat_provisioning"),
    ("provisioning/name.rs", "chat_provisioning"),
    ("push.rs", "chat_push_payload"),
    ("record/storage.rs", "chat_session_record"),
    ("retry.rs", "chat_decryption_error"),
    ("sealed_sender.rs", "chat_sealed_sender"),
    ("sealed_sender/content.rs", "chat_sealed_sender"),
    ("sealed_sender/multi.rs", "chat_multi_recipient_message"),
    ("sender_key/message.rs", "chat_sender_key_message"),
    ("sender_key/storage.rs", "chat_sender_key_record"),
    ("spqr/wire.rs", "chat_spqr"),
    ("websocket.rs", "chat_websocket"),
];

/// The Rust files below a folder, relative to it.
fn sources(folder: &Path, below: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder.join(below)).expect("a folder of sources") {
        let entry = entry.expect("an entry of it");
        let name = entry.file_name().into_string().expect("our names are text");
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.path().is_dir() {
            sources(folder, &name, found);
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            found.push(name);
        }
    }
}

#[test]
fn attack_25_every_decoder_of_the_chat_core_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chat/src");
    let mut files = Vec::new();
    sources(&folder, "", &mut files);
    let decodes = |name: &String| {
        let text = fs::read_to_string(folder.join(name)).expect("a source file");
        ["pub fn decode", "pub fn open"].iter().any(|start| text.contains(start))
    };
    files.retain(decodes);
    files.sort_unstable();
    let listed: Vec<_> = CHAT_DECODERS.iter().map(|(file, _)| *file).collect();
    assert_eq!(files, listed);
    for (file, target) in CHAT_DECODERS {
        assert!(bodies().any(|(name, _)| name == *target), "{file}: {target}");
    }
}
