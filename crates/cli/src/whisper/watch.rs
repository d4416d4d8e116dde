//! `whisper watch`: prints the messages of a topic as they arrive.

use anyhow::Result;
use serde_json::json;
use wormhole_node::remote::{MessageFilter, RemoteMessage};

use super::node_connection::NodeAddress;
use super::read_options::ReadOptions;
use super::receiver::{Messages, Receiver, ReceiverEvent};
use super::show::Opened;
use crate::args::WatchArgs;
use crate::console::Console;

/// Prints messages until a signal comes or the count is reached.
///
/// # Errors
/// The node refuses, or a signal came.
pub(super) async fn run(args: WatchArgs, console: &mut Console) -> Result<()> {
    let options = ReadOptions::new(args.reading, console).await?;
    let mut wanted = MessageFilter::under(options.topic);
    wanted.signer = options.from;
    // Also messages that trusted peers send directly.
    wanted.direct = true;
    let receiver = Receiver::new(NodeAddress::new(&args.rpc)?, options.key.clone(), None, wanted);
    let done = follow(&receiver, &options, args.count, console).await;
    receiver.leave().await;
    done
}

async fn follow(
    receiver: &Receiver,
    options: &ReadOptions,
    count: Option<u64>,
    console: &mut Console,
) -> Result<()> {
    let mut messages = console.unless_interrupted(receiver.begin()).await??;
    console.report(&json!({ "event": "watching", "topic": options.topic.to_string() }))?;
    console.screen.show(&format!("Watching {}. Ctrl-C ends it.", options.named));
    let access = receiver.access().borrow().clone();
    if let Some(access) = access {
        access.connection.warn_if_alone(console).await?;
    }
    let done = print_all(&mut messages, count, console).await;
    messages.stop().await;
    done
}

async fn print_all(
    messages: &mut Messages<'_>,
    count: Option<u64>,
    console: &mut Console,
) -> Result<()> {
    let mut left = count;
    while left != Some(0) {
        match console.unless_interrupted(messages.next()).await?? {
            ReceiverEvent::Message(message) => {
                opened(&message).print(console)?;
                left = left.map(|left| left.saturating_sub(1));
            }
            event @ (ReceiverEvent::Back(_) | ReceiverEvent::Lost(_)) => event.report(console)?,
        }
    }
    Ok(())
}

/// A message from a node, ready to show.
pub(super) fn opened(message: &RemoteMessage) -> Opened<'_> {
    Opened {
        payload: &message.payload,
        signer: message.signer,
        topic: message.topic,
        sent: message.sent,
        ttl: message.ttl,
        hash: &message.hash,
    }
}
