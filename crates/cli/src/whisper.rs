//! The commands of `whisper`: messages through a network of nodes.
//!
//! Each command has a file. The node itself is in the package `wormhole-node`.

use anyhow::Result;
use wormhole_node::devp2p::enode::Enode;
use wormhole_node::devp2p::key::PublicKey;
use wormhole_node::hex;
use wormhole_node::shh::{Topic, Work};

use crate::args::WhisperCommand;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

mod archive;
mod chat;
mod keys;
mod node;
mod node_connection;
mod peers;
mod post;
mod read_options;
mod receiver;
mod secret;
mod show;
mod watch;

/// Runs a command.
///
/// # Errors
/// The command failed.
pub(crate) async fn run(command: WhisperCommand, console: &mut Console) -> Result<()> {
    match command {
        WhisperCommand::Archive(args) => archive::run(args, console).await,
        WhisperCommand::Chat(args) => {
            chat::run(args, console).await.map_err(Failure::expect_interrupt)
        }
        WhisperCommand::Keygen(args) => keys::generate(&args.name, console),
        WhisperCommand::Keys => keys::list(console),
        WhisperCommand::Node(args) => {
            node::run(args, console).await.map_err(Failure::expect_interrupt)
        }
        WhisperCommand::Peers(args) => peers::run(args, console).await,
        WhisperCommand::Post(args) => post::run(args, console).await,
        WhisperCommand::Watch(args) => {
            watch::run(args, console).await.map_err(Failure::expect_interrupt)
        }
    }
}

/// Parses a topic: a word is hashed, `0x` and 8 digits are the topic itself.
fn topic(text: &str) -> Result<Topic, Failure> {
    let is_topic = |digits: &str| digits.len() == 8 && is_hex(digits);
    let refused = match text.strip_prefix("0x") {
        Some(digits) => !is_topic(digits),
        None => text.is_empty(),
    };
    if refused {
        return Err(Failure::usage(format!("{:?} is not a topic", printable::line(text)))
            .hint("a topic is any word, or 0x and 8 hexadecimal digits such as 0xdeadbeef"));
    }
    Ok(Topic::parse(text))
}

/// A topic as it was typed, with its hexadecimal form.
fn named(topic: Topic, typed: &str) -> String {
    match typed.starts_with("0x") {
        true => topic.to_string(),
        false => format!("{} ({topic})", printable::line(typed)),
    }
}

/// Parses a public key.
fn public_key(text: &str) -> Result<PublicKey, Failure> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    let key = bytes.and_then(|bytes| PublicKey::from_sec1(&bytes).ok());
    key.ok_or_else(|| {
        Failure::usage(format!("{:?} is not a public key", printable::line(text))).hint(
            "a public key is 0x04 and 128 hexadecimal digits: `wormhole whisper keys` prints yours",
        )
    })
}

/// A public key in hexadecimal form.
fn public_key_text(key: &PublicKey) -> String {
    hex(&key.to_uncompressed())
}

/// Parses an amount of proof of work.
fn work(amount: f64, option: &str) -> Result<Work, Failure> {
    Work::new(amount).ok_or_else(|| {
        Failure::usage(format!("{option} must be a number that is not negative, such as 0.2"))
    })
}

/// Parses the address of a node.
fn enode(text: &str) -> Result<Enode, Failure> {
    let refused = |why: String| {
        Failure::usage(format!("{:?} is not the address of a node: {why}", printable::line(text)))
            .hint("such an address looks like enode://128-HEX-DIGITS@192.0.2.7:30303")
    };
    let enode = Enode::parse(text).map_err(|error| refused(error.to_string()))?;
    match enode.endpoint {
        Some(endpoint) if endpoint.tcp != 0 => Ok(enode),
        _ => Err(refused("it has no address".to_owned())),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_topic_and_so_are_eight_digits() {
        assert_eq!(topic("0xDEADbeef").unwrap(), Topic([0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(topic("lobby").unwrap(), Topic::of_word("lobby"));
        assert_eq!(topic("deadbeef").unwrap(), Topic::of_word("deadbeef"));
    }

    #[test]
    fn a_word_is_named_with_its_topic() {
        let named = |text| named(topic(text).unwrap(), text);
        assert_eq!(named("lobby"), "lobby (0xa181518b)");
        assert_eq!(named("0xDEADbeef"), "0xdeadbeef");
    }

    #[test]
    fn what_looks_like_a_mistyped_topic_is_not_hashed() {
        for text in ["", "0x", "0x0102", "0xdeadbeef00", "0xnothexes"] {
            assert!(topic(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_public_key_reads_back_and_anything_else_is_refused() {
        let key = wormhole_node::new_key().public_key();
        assert_eq!(public_key(&public_key_text(&key)).unwrap(), key);
        assert!(public_key("0x04").is_err() && public_key("bob").is_err());
    }
}
