//! Tests of `authorized_keys` in a temporary home directory.

use std::path::Path;

use data_encoding::BASE64;

use super::*;

/// A directory that is removed at the end.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let unique = format!("wormhole-authorized-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn keys(&self) -> AuthorizedKeys {
        AuthorizedKeys { home: self.0.clone() }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn key(byte: u8, comment: &str) -> PublicKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([byte; 32]);
    PublicKey::parse(&format!("ssh-ed25519 {} {comment}", BASE64.encode(&blob))).unwrap()
}

#[cfg(unix)]
#[test]
fn a_new_file_and_its_directory_are_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = Home::new("private");
    home.keys().check_writable().unwrap();
    assert_eq!(home.keys().add(&key(1, "me")).unwrap(), Added::Appended);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.0.join(".ssh")), 0o700);
    assert_eq!(mode(&home.keys().path()), 0o600);
}

#[test]
fn a_key_goes_on_a_line_of_its_own() {
    let home = Home::new("line");
    fs::create_dir(home.0.join(".ssh")).unwrap();
    fs::write(home.keys().path(), "# no line end").unwrap();
    home.keys().add(&key(1, "me")).unwrap();
    let text = fs::read_to_string(home.keys().path()).unwrap();
    assert_eq!(text, format!("# no line end\n{}\n", key(1, "me")));
}

#[test]
fn a_key_is_not_added_twice_even_with_another_comment() {
    let home = Home::new("twice");
    home.keys().add(&key(1, "me")).unwrap();
    assert_eq!(home.keys().add(&key(1, "also me")).unwrap(), Added::AlreadyThere);
    assert_eq!(home.keys().add(&key(2, "you")).unwrap(), Added::Appended);
    assert_eq!(fs::read_to_string(home.keys().path()).unwrap().lines().count(), 2);
}

/// Needs root, as the attack does; anybody else has nothing to be led astray with.
#[cfg(unix)]
#[test]
fn a_link_in_the_home_of_another_is_not_followed() {
    use std::os::unix::fs::{chown, symlink};

    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new("links");
    chown(&home.0, Some(12345), Some(12345)).unwrap();
    let (ssh, file) = (home.0.join(".ssh"), home.keys().path());
    let (goal, aim) = (home.0.join("goal"), home.0.join("aim"));
    fs::create_dir(&goal).unwrap();
    fs::write(&aim, "precious").unwrap();
    symlink(&goal, &ssh).unwrap();
    home.keys().check_writable().unwrap_err();
    home.keys().add(&key(1, "me")).unwrap_err();
    assert!(!goal.join("authorized_keys").exists());
    fs::remove_file(&ssh).unwrap();
    fs::create_dir(&ssh).unwrap();
    for absent in [home.0.join("absent"), aim.clone()] {
        symlink(&absent, &file).unwrap();
        home.keys().check_writable().unwrap_err();
        home.keys().add(&key(1, "me")).unwrap_err();
        fs::remove_file(&file).unwrap();
    }
    assert!(!home.0.join("absent").exists());
    chown(&aim, Some(12345), Some(12345)).unwrap();
    fs::hard_link(&aim, &file).unwrap();
    home.keys().add(&key(1, "me")).unwrap_err();
    assert_eq!(fs::read_to_string(&aim).unwrap(), "precious");
}

#[cfg(unix)]
#[test]
fn what_is_made_in_the_home_of_another_belongs_to_them() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new("theirs");
    chown(&home.0, Some(12345), Some(12345)).unwrap();
    home.keys().check_writable().unwrap();
    home.keys().add(&key(1, "me")).unwrap();
    home.keys().add(&key(2, "you")).unwrap();
    for path in [home.0.join(".ssh"), home.keys().path()] {
        assert_eq!(fs::metadata(path).unwrap().uid(), 12345);
    }
}

#[cfg(unix)]
#[test]
fn ones_own_links_are_followed() {
    let home = Home::new("own");
    let real = home.0.join("dotfiles");
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, home.0.join(".ssh")).unwrap();
    home.keys().add(&key(1, "me")).unwrap();
    assert!(real.join("authorized_keys").exists());
}

#[cfg(unix)]
#[test]
fn the_home_of_a_user_is_read_from_the_accounts() {
    let accounts = "root:x:0:0:root:/root:/bin/sh\nann:x:1:1::/home/ann:/bin/sh\n";
    assert_eq!(home_in(accounts, "ann"), Some(PathBuf::from("/home/ann")));
    assert_eq!(home_in(accounts, "an"), None);
}
