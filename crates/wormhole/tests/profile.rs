//! The profile of a user: directories, keys and their files.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::ErrorKind;
use std::path::PathBuf;

use wormhole::store::{KeyName, KeyProtocol, Profile, read_key};

/// A directory that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("wormhole-profile-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

#[test]
fn looking_at_a_profile_creates_nothing() {
    let folder = Folder::new("nothing");
    let profile = Profile::below(folder.0.clone());
    assert_eq!(profile.settings_file(), folder.0.join("config.toml"));
    assert_eq!(profile.keys(KeyProtocol::Whisper).files().unwrap(), Vec::<PathBuf>::new());
    assert!(!folder.0.exists());
}

#[test]
fn a_second_profile_of_the_same_directory_finds_the_same_keys() {
    let folder = Folder::new("again");
    Profile::below(folder.0.clone())
        .keys(KeyProtocol::Whisper)
        .create(&name("k"), "secret")
        .unwrap();
    let again = Profile::below(folder.0.clone()).keys(KeyProtocol::Whisper);
    assert_eq!(*read_key(&again.file(&name("k"))).unwrap(), "secret");
    assert_eq!(again.create(&name("k"), "other").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(*read_key(&again.file(&name("k"))).unwrap(), "secret");
}

#[test]
fn a_missing_key_and_a_key_that_is_not_text_are_different_errors() {
    let folder = Folder::new("unreadable");
    let keys = Profile::below(folder.0.clone()).keys(KeyProtocol::Whisper);
    keys.create(&name("text"), "text").unwrap();
    let missing = read_key(&keys.file(&name("missing"))).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    std::fs::write(keys.file(&name("binary")), [0xff, 0xfe]).unwrap();
    let binary = read_key(&keys.file(&name("binary"))).unwrap_err();
    assert_eq!(binary.kind(), ErrorKind::InvalidData);
}

#[test]
fn a_file_where_the_directory_should_be_is_an_error_and_stays_as_it_is() {
    let folder = Folder::new("blocked");
    std::fs::write(&folder.0, "a file").unwrap();
    let keys = Profile::below(folder.0.clone()).keys(KeyProtocol::Whisper);
    assert!(keys.create(&name("k"), "secret").is_err());
    assert!(keys.files().is_err());
    assert_eq!(std::fs::read_to_string(&folder.0).unwrap(), "a file");
    std::fs::remove_file(&folder.0).unwrap();
}

#[test]
fn a_users_settings_and_keys_are_in_directories_named_after_the_program() {
    // A system without a home directory has no profile.
    let Some(profile) = Profile::of_user() else { return };
    assert!(profile.settings_file().is_absolute());
    assert!(profile.settings_file().ends_with("wormhole/config.toml"));
    assert!(profile.keys(KeyProtocol::Whisper).path().ends_with("wormhole/whisper"));
}
