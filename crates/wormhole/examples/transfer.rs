//! Sends or receives with the library, without the command line's comforts.
//!
//! ```text
//! transfer MAILBOX RELAY send CODE PATH...
//! transfer MAILBOX RELAY text CODE TEXT
//! transfer MAILBOX RELAY receive CODE FOLDER
//! ```
//!
//! MAILBOX is a `ws://` URL, RELAY is `tcp:HOST:PORT`; `-` is the public server.

use std::error::Error;
use std::path::PathBuf;

use wormhole::code::{Code, MailboxUrl};
use wormhole::transfer::{self, CodeSource, Destination, Event, OnExists, Outgoing, Settings};
use wormhole::transit::{RelayHint, TcpHint};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mailbox, relay, action, code, rest @ ..] = arguments.as_slice() else {
        return Err("MAILBOX RELAY send|text|receive CODE ...".into());
    };
    let mut settings = Settings::default();
    if mailbox != "-" {
        settings.servers = vec![mailbox.parse::<MailboxUrl>()?];
    }
    if relay != "-" {
        settings.relays = vec![RelayHint::tcp(relay.parse::<TcpHint>()?)];
    }
    let code = Code::parse(code)?;
    let mut folder = PathBuf::from(".");
    let mut transfer = match (action.as_str(), rest) {
        ("send", paths) => {
            settings.code = Some(code);
            let what = Outgoing::Paths(paths.iter().map(PathBuf::from).collect());
            transfer::send(what, settings)?
        }
        ("text", [text]) => {
            settings.code = Some(code);
            transfer::send(Outgoing::Text(text.clone()), settings)?
        }
        ("receive", [into]) => {
            folder = PathBuf::from(into);
            transfer::receive(CodeSource::Code(code), settings)
        }
        _ => return Err("send, text or receive".into()),
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are only shown")]
    while let Some(event) = transfer.next().await {
        match event? {
            Event::Offer(offer) => {
                println!("offered: {offer:?}");
                let on_exists = OnExists::Refuse;
                transfer.accept(Destination::Folder { folder: folder.clone(), on_exists });
            }
            Event::Text(text) => println!("{text}"),
            Event::Progress { .. } => {}
            event => println!("{event:?}"),
        }
    }
    Ok(())
}
