//! Key pairs in files.

use super::Folder;

#[test]
fn a_key_is_made_once_and_listed_with_its_public_half() {
    let folder = Folder::new();
    let made = folder.whisper(&["keygen", "mine"]);
    assert_eq!(made.exit, 0, "{made}");
    let public = made.out();
    assert!(public.starts_with("0x04") && public.trim_end().len() == 132, "{made}");
    let listed = folder.whisper(&["keys"]);
    assert_eq!(listed.out(), format!("mine  {public}"));
    folder.whisper(&["keygen", "mine"]).failed(1, "already");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_a_private_key() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let made = folder.whisper(&["keygen"]);
    let path = folder.0.join("wormhole/whisper/default.key");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let private = std::fs::read_to_string(&path).unwrap();
    assert!(!format!("{made}").contains(private.trim()));
}

#[test]
fn a_file_that_holds_no_key_is_named() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("x.key"), "hello").unwrap();
    let arguments = ["watch", "--topic", "mail", "--key", "x.key"];
    folder.whisper(&arguments).failed(1, "x.key does not contain a private key");
}
