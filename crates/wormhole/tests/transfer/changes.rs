//! Files that are not what they were when they were offered.

use wormhole::transfer::{self, CodeSource, OnExists, Unsendable, UnsendableReason};

use super::*;

/// Sizes around those of records, buffers and empty files.
const SIZES: [usize; 12] =
    [0, 1, 2, 4095, 4096, 16_384, 32_768, 65_535, 65_536, 131_072, 262_144, 1 << 20];

#[tokio::test]
async fn a_single_file_that_grew_or_shrank_fails_on_both_sides_at_every_size() {
    for size in SIZES {
        for now in [size + 1, size + 100_000, size.saturating_sub(1)] {
            if now == size {
                continue;
            }
            let (settings, code) = settings().await;
            let (from, to) = (Folder::new(), Folder::new());
            let file = from.file("a", &vec![1; size]);
            let sender = transfer::send(path(&file), settings.clone()).unwrap();
            std::fs::write(&file, vec![1; now]).unwrap();
            let receiver = transfer::receive(CodeSource::Code(code), settings);
            let destination = to.destination(OnExists::Refuse);
            let ((sent, _), (received, _)) =
                tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
            let why = if now > size { UnsendableReason::Grew } else { UnsendableReason::Shrank };
            let expected = Unsendable { path: file.clone(), why };
            assert_eq!(sent, Err(Error::Unsendable(expected)), "{size} to {now}");
            // An empty file is complete without a single byte.
            if size > 0 {
                assert!(matches!(received, Err(Error::PeerRefused(_))), "{received:?}");
                assert_eq!(to.names(), Vec::<String>::new());
            }
        }
    }
}

#[tokio::test]
async fn the_old_content_of_a_replaced_file_arrives_and_its_sender_is_notified() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"old");
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    std::fs::rename(from.file("b", b"newer"), &file).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    assert!(received.is_ok());
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"old");
    let why = UnsendableReason::Replaced;
    assert_eq!(sent.unwrap().changed, [Unsendable { path: file, why }]);
}

#[tokio::test]
async fn a_file_that_is_gone_arrives_whole() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"all of it");
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    assert!(received.is_ok() && sent.unwrap().changed.is_empty());
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"all of it");
}

/// A file of the tree, the bytes it has, what becomes of it, and whether its first bytes still arrive.
#[cfg(unix)]
type Change = (&'static str, usize, fn(&Path), bool);

#[cfg(unix)]
fn fifo(path: &Path) {
    std::fs::remove_file(path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[cfg(unix)]
fn folder(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
}

#[cfg(unix)]
const CHANGES: [Change; 7] = [
    ("d/grows.log", 70_000, |path| std::fs::write(path, vec![2; 70_001]).unwrap(), true),
    ("d/grows from nothing", 0, |path| std::fs::write(path, b"x").unwrap(), true),
    ("d/shrinks", 70_000, |path| std::fs::write(path, b"x").unwrap(), false),
    ("d/is emptied", 70_000, |path| std::fs::write(path, b"").unwrap(), false),
    ("folder", 70_000, folder, false),
    ("gone", 70_000, |path| std::fs::remove_file(path).unwrap(), false),
    ("pipe", 70_000, fifo, false),
];

#[cfg(unix)]
#[tokio::test]
async fn files_of_a_tree_that_change_cost_nothing_but_themselves() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let (root, arrived) = (from.path().join("tree"), to.path().join("tree"));
    for (name, size, ..) in CHANGES {
        from.file(&format!("tree/{name}"), &vec![1; size]);
    }
    from.file("tree/zzz", &[3; 500_000]);
    let sender = transfer::send(path(&root), settings.clone()).unwrap();
    for (name, _, change, _) in CHANGES {
        change(&root.join(name));
    }
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    let told: Vec<_> =
        sent.unwrap().changed.into_iter().map(|file| (file.path, file.why)).collect();
    let named: Vec<_> = CHANGES.iter().map(|(name, ..)| root.join(name)).collect();
    assert!(named.iter().all(|path| told.iter().any(|(told, _)| told == path)), "{told:?}");
    assert_eq!(told.len(), CHANGES.len());
    let mut left_out = Vec::new();
    for (name, size, _, arrives) in CHANGES {
        let grew = told
            .iter()
            .any(|(path, why)| *path == root.join(name) && *why == UnsendableReason::Grew);
        assert_eq!(grew, arrives, "{name}");
        assert_eq!(arrived.join(name).exists(), arrives, "{name}");
        if arrives {
            assert_eq!(std::fs::read(arrived.join(name)).unwrap(), vec![2; size]);
        } else {
            left_out.push(name);
        }
    }
    let received = received.unwrap();
    let omitted: Vec<_> = received.omitted.iter().map(|path| path.as_str()).collect();
    assert!(left_out.iter().all(|name| omitted.contains(name)), "{omitted:?}");
    assert_eq!(omitted.len(), left_out.len());
    assert_eq!(std::fs::read(arrived.join("zzz")).unwrap(), [3; 500_000]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_without_a_true_size_is_refused_before_anything_is_connected() {
    use wormhole::transfer::Settings;

    for file in
        ["/proc/self/status", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled"]
    {
        if !Path::new(file).exists() {
            continue;
        }
        let Err(Error::Unsendable(unsendable)) =
            transfer::send(path(Path::new(file)), Settings::default())
        else {
            panic!("{file} can be sent")
        };
        assert_eq!(unsendable.why, UnsendableReason::UnknownSize, "{file}");
    }
    let from = Folder::new();
    from.file("tree/plain", b"x");
    std::os::unix::fs::symlink("/proc/self/status", from.path().join("tree/status")).unwrap();
    let tree = from.path().join("tree");
    let mut settings = Settings::default();
    let Err(Error::Unsendable(unsendable)) = transfer::send(path(&tree), settings.clone()) else {
        panic!("it can be sent")
    };
    assert_eq!(unsendable.why, UnsendableReason::UnknownSize);
    settings.ignore_unsendable = true;
    let sender = transfer::send(path(&tree), settings).unwrap();
    assert_eq!(sender.skipped(), [unsendable]);
    assert!(matches!(sender.offer(), Some(Offer::Directory { files: 1, .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_cannot_be_read_leaves_no_entry_behind() {
    let (mut settings, code) = settings().await;
    settings.ignore_unsendable = true;
    let (from, to) = (Folder::new(), Folder::new());
    from.file("tree/a", b"a");
    std::os::unix::fs::symlink("..", from.path().join("tree/loop")).unwrap();
    let tree = from.path().join("tree");
    let (sent, received) =
        transfer(path(&tree), to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_ok() && received.is_ok());
    let arrived: Vec<_> = std::fs::read_dir(to.path().join("tree")).unwrap().collect();
    assert!(
        arrived.iter().all(|entry| entry.as_ref().unwrap().file_name() != "loop"),
        "{arrived:?}"
    );
}

#[tokio::test]
async fn a_text_that_does_not_fit_into_a_message_is_refused_before_anything_is_connected() {
    let settings = Settings::default();
    // Each of them is written as six bytes.
    let escapes = Outgoing::Text("\u{1b}".repeat(400_000));
    let Err(Error::TextTooLong { bytes, most }) = transfer::send(escapes, settings.clone()) else {
        panic!("it can be sent")
    };
    assert!(bytes > 2_400_000 && most < bytes);
    assert!(transfer::send(Outgoing::Text("x".repeat(400_000)), settings).is_ok());
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_at_once_and_does_not_end_the_transfer() {
    let (mut settings, code) = settings().await;
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"contents");
    settings.listen_port = Some(taken.local_addr().unwrap().port());
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    settings.listen_port = None;
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, events), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    assert!(sent.is_ok() && received.is_ok());
    let port = taken.local_addr().unwrap().port();
    // Before the code, and before anything else.
    assert!(matches!(events[0], Event::PortTaken { port: said, .. } if said == port), "{events:?}");
    assert_eq!(to.names(), ["a"]);
}
