//! Which texts are accepted as a public key, and what is written for them.

use data_encoding::BASE64;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// One key of each kind; lines with `#` are comments.
const KEYS: &str = include_str!("../../../../../vectors/ssh/public_keys.txt");

fn keys() -> Vec<&'static str> {
    KEYS.lines().filter(|line| !line.starts_with('#')).collect()
}

/// A key line whose bytes are these fields, each with its length.
fn line(fields: &[&[u8]]) -> String {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        bytes.extend(*field);
    }
    let kind = String::from_utf8(fields[0].to_vec()).unwrap();
    format!("{kind} {}", BASE64.encode(&bytes))
}

fn ed25519() -> String {
    line(&[b"ssh-ed25519", &[7; 32]])
}

#[test]
fn every_kind_of_key_is_accepted_and_written_as_it_was_read() {
    let kinds: Vec<_> = keys().iter().map(|line| PublicKey::parse(line).unwrap().kind()).collect();
    assert_eq!(
        kinds,
        [
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "ecdsa-sha2-nistp521",
            "ssh-dss",
            "ssh-ed25519",
            "ssh-rsa",
            "sk-ecdsa-sha2-nistp256@openssh.com",
            "sk-ssh-ed25519@openssh.com",
        ]
    );
    for line in keys() {
        let key = PublicKey::parse(&format!("  {line}\n")).unwrap();
        assert_eq!(key.to_string(), line);
        assert!(line.starts_with(&key.kind()));
        assert_eq!(key.id(), "me@home");
        assert!(key.is_same_key(&PublicKey::parse(&line.replace("me@home", "other")).unwrap()));
    }
    let key = |index: usize| PublicKey::parse(keys()[index]).unwrap();
    assert!(!key(0).is_same_key(&key(1)));
}

#[test]
fn fields_may_be_separated_by_tabs() {
    let line = format!("{}\t a comment ", ed25519().replace(' ', "\t"));
    assert_eq!(PublicKey::parse(&line).unwrap().to_string(), format!("{} a comment", ed25519()));
}

#[test]
fn a_key_without_comment_is_unknown() {
    assert_eq!(PublicKey::parse(&ed25519()).unwrap().id(), "unknown");
}

#[test]
fn an_empty_text_is_refused() {
    assert_eq!(PublicKey::parse(" \n"), Err(NotAKey::Empty));
}

#[test]
fn options_before_the_key_are_refused() {
    let line = format!("command=\"/bin/evil\" {}", ed25519());
    assert_eq!(PublicKey::parse(&line), Err(NotAKey::UnknownKind));
}

#[test]
fn several_lines_are_refused() {
    for end in ["\n", "\r", "\r\n"] {
        let lines = format!("{0}{end}{0}", ed25519());
        assert_eq!(PublicKey::parse(&lines), Err(NotAKey::SeveralLines));
    }
}

#[test]
fn a_line_longer_than_sshd_reads_is_refused() {
    let line = format!("{} {}", ed25519(), "x".repeat(8192));
    assert_eq!(PublicKey::parse(&line[..8192]).map(|_| ()), Ok(()));
    assert_eq!(PublicKey::parse(&line[..8193]), Err(NotAKey::TooLong));
}

#[test]
fn kinds_that_authorized_keys_may_not_contain_are_refused() {
    for kind in [
        "ssh-ed25519-cert-v01@openssh.com",
        "ssh-rsa-cert-v01@openssh.com",
        "rsa-sha2-256",
        "rsa-sha2-512",
        "ssh-ed448",
        "ssh-unknown@example.com",
        "SSH-ED25519",
    ] {
        let line = line(&[kind.as_bytes(), &[7; 32]]);
        assert_eq!(PublicKey::parse(&line), Err(NotAKey::UnknownKind), "{kind}");
    }
}

#[test]
fn a_kind_that_the_bytes_contradict_is_refused() {
    let line = ed25519().replacen("ssh-ed25519", "ssh-rsa", 1);
    assert_eq!(PublicKey::parse(&line), Err(NotAKey::Damaged));
}

/// Our former parser counted the fields only. `ssh-key` checks their values as well.
#[test]
fn damaged_bytes_are_refused() {
    let short = BASE64.encode(&[0, 0, 0, 11, b's', b's', b'h']);
    let point = [4; 65];
    for damaged in [
        format!("ssh-ed25519 {short}"),
        format!("ssh-ed25519  {}", &ed25519()["ssh-ed25519 ".len()..]),
        "ssh-ed25519".to_owned(),
        "ssh-ed25519 AAAA*".to_owned(),
        line(&[b"ssh-ed25519"]),
        line(&[b"ssh-ed25519", &[7; 31]]),
        line(&[b"ssh-ed25519", &[7; 32], b""]),
        // A number with needless zeros.
        line(&[b"ssh-rsa", &[1, 0, 1], &[0; 257]]),
        // Another curve, or a point of the wrong length.
        line(&[b"ecdsa-sha2-nistp256", b"nistp384", &point]),
        line(&[b"ecdsa-sha2-nistp256", b"nistp256", &point[..64]]),
        line(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &point[..64], b"ssh:"]),
    ] {
        assert_eq!(PublicKey::parse(&damaged), Err(NotAKey::Damaged), "{damaged}");
    }
}

#[test]
fn a_private_key_is_refused() {
    let line = "-----BEGIN OPENSSH PRIVATE KEY-----";
    assert_eq!(PublicKey::parse(line), Err(NotAKey::UnknownKind));
}

#[test]
fn a_comment_that_would_control_the_terminal_is_refused() {
    let line = format!("{} \x1b[2J", ed25519());
    assert_eq!(PublicKey::parse(&line), Err(NotAKey::UnprintableComment));
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in any::<String>()) {
        let _ = PublicKey::parse(&text);
    }

    #[test]
    fn a_changed_key_is_refused_or_written_as_one_equal_line(
        which in any::<Index>(),
        place in any::<Index>(),
        removed in 0_usize..4,
        inserted in "[A-Za-z0-9+/= \t\u{1b}\u{e9}\n\"-]{0,4}",
    ) {
        let mut text: Vec<char> = keys()[which.index(keys().len())].chars().collect();
        let start = place.index(text.len());
        let end = (start + removed).min(text.len());
        text.splice(start..end, inserted.chars());
        if let Ok(key) = PublicKey::parse(&text.into_iter().collect::<String>()) {
            let line = key.to_string();
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.starts_with(&key.kind()));
            prop_assert_eq!(PublicKey::parse(&line), Ok(key));
        }
    }
}
