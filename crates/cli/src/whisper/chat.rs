//! `whisper chat`: a room for everyone who has the password, line by line.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use wormhole_node::PostState;
use wormhole_node::remote::{MessageFilter, RemoteError, RemoteMessage};
use wormhole_node::shh::Topic;
use wormhole_node::shh::filter::FilterKey;

use super::node_connection::{NodeAddress, NodeConnection};
use super::post::MessageOptions;
use super::receiver::{Access, Messages, Receiver, ReceiverEvent};
use super::{named, prompt, secret, topic, watch};
use crate::args::ChatArgs;
use crate::console::{Console, interrupted_by};
use crate::signals::Signal;
use crate::{printable, screen};

/// Posts what is typed and prints what others say, until the input ends.
///
/// # Errors
/// The node refuses, or a signal came.
pub(super) async fn run(args: ChatArgs, console: &mut Console) -> Result<()> {
    let topic = topic(&args.topic)?;
    let mark = MessageOptions::new(&args.mark)?;
    let (address, sign) = (NodeAddress::new(&args.rpc)?, mark.sign.clone());
    if args.password.password.is_none() && args.password.password_file.is_none() {
        // A missing node should be reported before a password is typed.
        let checked = console.unless_interrupted(NodeConnection::check(&address)).await?;
        checked.map_err(|error| address.explain(&error))?;
    }
    let key = FilterKey::Symmetric(secret::shared(args.password, console).await?);
    let receiver = Receiver::new(address, key, sign, MessageFilter::under(topic));
    let options = ChatOptions { topic, mark };
    let done = talk(&options, &named(topic, &args.topic), &receiver, console).await;
    receiver.leave().await;
    done
}

/// How we speak.
#[derive(Debug)]
struct ChatOptions {
    topic: Topic,
    mark: MessageOptions,
}

/// What is to be shown.
#[derive(Debug)]
pub(super) enum ChatEvent {
    /// Somebody else has said this.
    ReceiverEvent(RemoteMessage),
    /// The node is gone, or back.
    Node(ReceiverEvent),
    /// A line was not posted, or no other node received it; the text says which, and why.
    Unsaid(String),
}

impl ChatEvent {
    /// The line that people see.
    pub(super) fn line(&self) -> String {
        match self {
            Self::ReceiverEvent(message) => {
                let mut opened = watch::opened(message);
                opened.sent = said(opened.sent, now());
                opened.line()
            }
            Self::Node(ReceiverEvent::Back(text) | ReceiverEvent::Lost(text))
            | Self::Unsaid(text) => {
                format!("{text}\n")
            }
            Self::Node(ReceiverEvent::Message(_)) => String::new(),
        }
    }

    fn print(&self, console: &Console) -> Result<()> {
        match self {
            Self::ReceiverEvent(message) => watch::opened(message).print(console),
            Self::Node(heard) => heard.report(console),
            Self::Unsaid(why) => {
                console.screen.show(self.line().trim_end());
                console.report(&json!({ "event": "unsaid", "message": why }))
            }
        }
    }
}

async fn talk(
    options: &ChatOptions,
    room: &str,
    receiver: &Receiver,
    console: &mut Console,
) -> Result<()> {
    let mut messages = console.unless_interrupted(receiver.begin()).await??;
    console.screen.show(&format!("You are in {room}. Type a line to say it; Ctrl-D ends."));
    let access = receiver.access().borrow().clone();
    if let Some(access) = access {
        access.connection.warn_if_alone(console).await?;
    }
    let done = exchange(options, &mut messages, receiver, console).await;
    messages.stop().await;
    done
}

/// Lets words go both ways until one way has come to its end.
async fn exchange(
    options: &ChatOptions,
    messages: &mut Messages<'_>,
    receiver: &Receiver,
    console: &mut Console,
) -> Result<()> {
    let own = OwnMessages::default();
    let (events, to_show) = mpsc::channel(1);
    // A terminal shows what is heard by itself, above the line that is typed.
    let (lines, mut to_show, _terminal) = match can_edit(console) {
        true => match prompt::start(to_show) {
            Ok((lines, terminal)) => (lines, None, Some(terminal)),
            Err(to_show) => (lines(), Some(to_show), None),
        },
        false => (lines(), Some(to_show), None),
    };
    let hearing = hear(messages, &own, &events);
    let saying = say(lines, options, &own, &events, receiver);
    let checking = check(&own, &events, receiver);
    tokio::pin!(hearing, saying, checking);
    loop {
        let next = async {
            tokio::select! {
                biased;
                Some(events) = next(&mut to_show) => Ok(Some(events)),
                done = &mut hearing => done.map(|()| None),
                done = &mut saying => done.map(|()| None),
                done = &mut checking => done.map(|()| None),
            }
        };
        match console.unless_interrupted(next).await {
            Ok(Ok(Some(events))) => events.print(console)?,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => {
                if to_show.is_none() {
                    console.screen.end_prompt();
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// When something was said, for a active: now, unless that is long ago. Senders round the time down, so
/// that answers would look older than questions.
const fn said(sent: u32, now: u32) -> u32 {
    if now.saturating_sub(sent) < JUST_NOW { now } else { sent }
}

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// Whether somebody types at a terminal that can go back and forth.
fn can_edit(console: &Console) -> bool {
    !console.is_json()
        && !screen::is_plain()
        && io::stdin().is_terminal()
        && io::stdout().is_terminal()
}

async fn next(to_show: &mut Option<mpsc::Receiver<ChatEvent>>) -> Option<ChatEvent> {
    match to_show {
        Some(to_show) => to_show.recv().await,
        None => std::future::pending().await,
    }
}

/// Forwards incoming messages. Ends only when the node refuses.
async fn hear(
    messages: &mut Messages<'_>,
    own: &OwnMessages,
    events: &mpsc::Sender<ChatEvent>,
) -> Result<()> {
    loop {
        match messages.next().await? {
            ReceiverEvent::Message(message) => {
                if !own.take(&message.payload, &message.hash).await {
                    events.send(ChatEvent::ReceiverEvent(message)).await?;
                }
            }
            heard @ (ReceiverEvent::Back(_) | ReceiverEvent::Lost(_)) => {
                events.send(ChatEvent::Node(heard)).await?;
            }
        }
    }
}

/// Says each line of the input. What the node refuses is not the end of the active.
async fn say(
    mut lines: mpsc::Receiver<io::Result<String>>,
    options: &ChatOptions,
    own: &OwnMessages,
    events: &mpsc::Sender<ChatEvent>,
    receiver: &Receiver,
) -> Result<()> {
    while let Some(line) = lines.recv().await {
        let line = match line {
            // The terminal makes no signal of Ctrl-C while a line is edited.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Err(interrupted_by(Signal::Interrupt).into());
            }
            line => line?,
        };
        if line.is_empty() {
            continue;
        }
        own.begin(line.as_bytes());
        let posted = post(&line, options, receiver).await;
        own.end(posted.as_ref().ok(), &line);
        match posted {
            Ok(_) => {}
            Err(error @ RemoteError::Refused { .. }) => {
                let why = receiver.address().explain(&error);
                events.send(ChatEvent::Unsaid(format!("This was not posted: {why}"))).await?;
            }
            Err(error) => return Err(receiver.address().explain(&error).into()),
        }
    }
    Ok(())
}

/// Posts a line. While the node is gone, waits until it is back.
async fn post(
    line: &str,
    options: &ChatOptions,
    receiver: &Receiver,
) -> Result<String, RemoteError> {
    let mut accesses = receiver.access();
    loop {
        let Some(access) = accesses.borrow_and_update().clone() else {
            return Err(RemoteError::Closed);
        };
        let mut posting = options.mark.blank(access.key, access.signer, options.topic);
        posting.payload = line.as_bytes().to_vec();
        match access.connection.post(&mut posting, options.mark.work).await {
            Err(error) if error.may_post_again() => {
                // `hear` reconnects. If it saw no loss, this connection is simply used again.
                let _either = timeout(RETRY, accesses.changed()).await;
            }
            posted => return posted,
        }
    }
}

/// Reports our own messages that expired before another node received them. Only our nodes can tell.
async fn check(
    own: &OwnMessages,
    events: &mpsc::Sender<ChatEvent>,
    receiver: &Receiver,
) -> Result<()> {
    let accesses = receiver.access();
    loop {
        sleep(CHECK).await;
        let access = accesses.borrow().clone();
        let Some(Access { connection, .. }) = access else { continue };
        for (hash, line) in own.unsent() {
            match connection.remote().post_state(&hash).await {
                Ok(Some(PostState::Waiting)) => {}
                Ok(Some(PostState::Expired)) => {
                    own.forget_unsent(&hash);
                    let line = printable::line(&line);
                    let text = format!("This expired before any other node received it: {line}");
                    events.send(ChatEvent::Unsaid(text)).await?;
                }
                Ok(_) => own.forget_unsent(&hash),
                Err(error) if error.is_unknown_method() => std::future::pending().await,
                // The next round tries again.
                Err(_) => {}
            }
        }
    }
}

/// What we have said ourselves, and have not heard again yet.
#[derive(Debug, Default)]
struct OwnMessages {
    said: Mutex<OwnState>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct OwnState {
    /// What is being said, under a name that we do not know yet.
    nameless: Option<Vec<u8>>,
    names: Vec<String>,
    /// Hashes and texts of messages that possibly no other node has received yet.
    unsent: VecDeque<(String, String)>,
}

impl OwnMessages {
    /// This is being said from now on.
    fn begin(&self, payload: &[u8]) {
        self.lock().nameless = Some(payload.to_owned());
    }

    /// It has been said under this name, or not at all.
    fn end(&self, name: Option<&String>, line: &str) {
        let mut said = self.lock();
        said.nameless = None;
        said.names.extend(name.cloned());
        said.unsent.extend(name.map(|name| (name.clone(), line.to_owned())));
        if said.unsent.len() > MAX_UNSENT {
            said.unsent.pop_front();
        }
        drop(said);
        self.ended.notify_waiters();
    }

    /// Whether a message is ours; it is so once. Waits only for the name of what is being said, if it
    /// says the same.
    async fn take(&self, payload: &[u8], name: &str) -> bool {
        loop {
            // Made before the look, so that nothing slips between the two.
            let ended = self.ended.notified();
            {
                let mut said = self.lock();
                if let Some(address) = said.names.iter().position(|own| own == name) {
                    said.names.swap_remove(address);
                    return true;
                }
                if said.nameless.as_deref() != Some(payload) {
                    return false;
                }
            }
            ended.await;
        }
    }

    /// Messages that possibly no other node has received yet.
    fn unsent(&self) -> Vec<(String, String)> {
        self.lock().unsent.iter().cloned().collect()
    }

    /// Stops looking after a message.
    fn forget_unsent(&self, name: &str) {
        self.lock().unsent.retain(|(other, _)| other != name);
    }

    fn lock(&self) -> MutexGuard<'_, OwnState> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of standard input, read on a thread that nobody has to wait for.
fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        for line in io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Longest pause before a line is posted again after the connection was lost.
const RETRY: Duration = Duration::from_secs(5);

/// Pause between two checks for unsent messages.
const CHECK: Duration = Duration::from_secs(2);

/// Most own messages that are checked.
const MAX_UNSENT: usize = 256;

/// Seconds within which something was said just now: the time for which it may be rounded, and on its
/// way.
const JUST_NOW: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_just_now_is_said_now_and_what_was_missed_then() {
        assert_eq!([said(100, 119), said(100, 120), said(100, 90)], [119, 100, 90]);
    }

    /// What comes of it at once.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn what_others_say_waits_for_no_name_of_ours() {
        let own = OwnMessages::default();
        own.begin(b"mine");
        assert_eq!(at_once(own.take(b"theirs", "1")).await, Some(false));
        own.end(Some(&"2".to_owned()), "mine");
        own.begin(b"more of mine");
        assert_eq!(at_once(own.take(b"mine", "2")).await, Some(true));
        assert_eq!(at_once(own.take(b"mine", "2")).await, Some(false));
    }

    #[tokio::test]
    async fn what_may_be_ours_is_held_back_until_its_name_is_known() {
        let own = OwnMessages::default();
        own.begin(b"hello");
        let (ours, theirs) = (own.take(b"hello", "1"), own.take(b"hello", "2"));
        tokio::pin!(ours, theirs);
        assert_eq!((at_once(&mut ours).await, at_once(&mut theirs).await), (None, None));
        own.end(Some(&"1".to_owned()), "hello");
        assert_eq!((ours.await, theirs.await), (true, false));
    }

    #[tokio::test]
    async fn what_was_not_posted_is_nobody_else_s_silence() {
        let own = OwnMessages::default();
        own.begin(b"hello");
        let theirs = own.take(b"hello", "1");
        tokio::pin!(theirs);
        assert_eq!(at_once(&mut theirs).await, None);
        own.end(None, "hello");
        assert!(!theirs.await);
    }
}
