//! Shows messages, as text or as JSON.

use anyhow::Result;
use data_encoding::HEXLOWER;
use serde_json::json;
use wormhole_node::devp2p::key::PublicKey;
use wormhole_node::hex;
use wormhole_node::shh::Topic;

use super::public_key_text;
use crate::console::Console;
use crate::{printable, units};

/// A decrypted message.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    /// The text.
    pub(super) payload: &'a [u8],
    /// The key that signed it, if any.
    pub(super) signer: Option<PublicKey>,
    /// Its topic.
    pub(super) topic: Topic,
    /// Time of sending according to the sender, in seconds since 1970.
    pub(super) sent: u32,
    /// Lifetime in seconds.
    pub(super) ttl: u32,
    /// Its hash.
    pub(super) hash: &'a str,
}

impl Opened<'_> {
    /// Prints it on standard output.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn print(&self, console: &Console) -> Result<()> {
        console.report(&json!({
            "event": "message",
            "text": std::str::from_utf8(self.payload).ok(),
            "payload": hex(self.payload),
            "signer": self.signer.as_ref().map(public_key_text),
            "topic": self.topic.to_string(),
            "sent": self.sent,
            "ttl": self.ttl,
            "hash": self.hash,
        }))?;
        console.print(&self.line())
    }

    /// The text for people.
    pub(super) fn line(&self) -> String {
        format!(
            "{}  {}  {}\n",
            units::time(self.sent.into()),
            who(self.signer.as_ref()),
            self.text()
        )
    }

    /// The text, safe to show, with indented lines.
    fn text(&self) -> String {
        match std::str::from_utf8(self.payload) {
            Ok(text) => safe(text),
            Err(_) => format!("({} bytes that are not text)", self.payload.len()),
        }
    }
}

/// One of our own lines, in the form of the messages of others.
pub(super) fn own(text: &str, now: u32) -> String {
    format!("{}  {:<16}  {}\n", units::time(now.into()), "you", safe(text))
}

/// Text without characters that control a terminal.
fn safe(text: &str) -> String {
    printable::text(text.trim_end()).replace('\n', "\n    ")
}

/// The signer, in more digits than anyone can match by trying.
fn who(signer: Option<&PublicKey>) -> String {
    match signer {
        Some(key) => {
            let [_, id @ ..] = key.to_uncompressed();
            HEXLOWER.encode(id.first_chunk::<8>().unwrap_or(&[0; 8]))
        }
        None => "unsigned        ".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(payload: &[u8]) -> Opened<'_> {
        let topic = Topic([1, 2, 3, 4]);
        Opened { payload, signer: None, topic, sent: 0, ttl: 50, hash: "0x" }
    }

    #[test]
    fn control_characters_are_shown_escaped() {
        assert_eq!(opened(b"a\x1b[2Jb\nc\n").text(), "a\\u{1b}[2Jb\n    c");
        assert_eq!(opened(&[0xff, 0xfe]).text(), "(2 bytes that are not text)");
    }

    #[test]
    fn times_carry_their_zone() {
        assert_eq!(units::time(1_575_000_000), "2019-11-29 04:00:00 UTC");
    }

    #[test]
    fn a_signer_is_shown_as_sixteen_digits() {
        let key = wormhole_node::new_key().public_key();
        assert_eq!(who(Some(&key)).len(), who(None).len());
        assert_eq!(own("hi", 0).find("hi"), opened(b"hi").line().find("hi"));
        assert!(public_key_text(&key)[4..].starts_with(&who(Some(&key))));
    }
}
