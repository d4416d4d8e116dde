//! `whisper chat`: posts the lines that are typed, and shows the messages of everyone with the same password.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::json;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use wormhole_node::PostState;
use wormhole_node::remote::{MessageFilter, RemoteError, RemoteMessage};
use wormhole_node::shh::Topic;
use wormhole_node::shh::filter::FilterKey;

use super::node_connection::{NodeAddress, NodeConnection};
use super::post::{COMPUTING, MessageOptions};
use super::receiver::{Access, Messages, Receiver, ReceiverEvent};
use super::{named, secret, show, topic, watch};
use crate::args::ChatArgs;
use crate::console::{Console, SLOW, interrupted_by};
use crate::conversation::{End, Input, InputEnd, Style, next_event};
use crate::failure::Failure;
use crate::printable;
use crate::signals::Signal;

/// Posts the lines that are typed and shows the messages of others, until the input ends.
///
/// # Errors
/// The node refuses, a line was not posted, or a signal came.
pub(super) async fn run(args: ChatArgs, console: &mut Console) -> Result<()> {
    let topic = topic(&args.topic)?;
    let message = MessageOptions::new(&args.message)?;
    let (address, sign) = (NodeAddress::new(&args.rpc)?, message.sign.clone());
    if args.password.password.is_none() && args.password.password_file.is_none() {
        // A missing node should be reported before a password is typed.
        let checked = console.unless_interrupted(NodeConnection::check(&address)).await?;
        checked.map_err(|error| address.explain(&error))?;
    }
    let key = FilterKey::Symmetric(secret::shared(args.password, console).await?);
    let receiver = Receiver::new(address, key, sign, MessageFilter::under(topic));
    let options = ChatOptions { topic, message };
    let done = chat(&options, &named(topic, &args.topic), &receiver, console).await;
    receiver.leave().await;
    done
}

/// How our own messages are made.
#[derive(Debug)]
struct ChatOptions {
    topic: Topic,
    message: MessageOptions,
}

/// Something to show.
#[derive(Debug)]
enum ChatEvent {
    /// A message of another participant.
    Message(RemoteMessage),
    /// The node is lost, or back.
    Node(ReceiverEvent),
    /// Why a line is not posted yet.
    Notice(String),
    /// A line was not posted, or no other node received it. The text says which, and why.
    NotPosted(String),
}

impl ChatEvent {
    /// The text for people.
    fn line(&self) -> String {
        match self {
            Self::Message(message) => {
                let mut opened = watch::opened(message);
                opened.sent = shown_time(opened.sent, now());
                opened.line()
            }
            Self::Node(ReceiverEvent::Back(text) | ReceiverEvent::Lost(text))
            | Self::Notice(text)
            | Self::NotPosted(text) => format!("{text}\n"),
            Self::Node(ReceiverEvent::Message(_)) => String::new(),
        }
    }

    fn print(&self, console: &Console) -> Result<()> {
        match self {
            Self::Message(message) => watch::opened(message).print(console),
            Self::Node(event) => event.report(console),
            Self::Notice(text) => {
                console.screen.show(text);
                Ok(())
            }
            Self::NotPosted(text) => {
                console.screen.show(text);
                console.report(&json!({ "event": "unsaid", "message": text }))
            }
        }
    }
}

async fn chat(
    options: &ChatOptions,
    room: &str,
    receiver: &Receiver,
    console: &mut Console,
) -> Result<()> {
    let mut messages = console.unless_interrupted(receiver.begin()).await??;
    console
        .screen
        .show(&format!("You are in {room}. Type a line to post it; Ctrl-D ends the chat."));
    let access = receiver.access().borrow().clone();
    if let Some(access) = access {
        access.connection.warn_if_alone(console).await?;
    }
    let own_messages = OwnMessages::default();
    let (events, to_show) = mpsc::channel(1);
    let style = Style {
        event: ChatEvent::line,
        own,
        is_state: |_| false,
        replaces_state: |_| false,
        too_many: TOO_MANY_LINES,
    };
    let mut input = Input::open(to_show, style, console);
    let done =
        exchange(options, &mut messages, &mut input, (&own_messages, &events), receiver, console)
            .await;
    messages.stop().await;
    let not_posted: Vec<_> = own_messages.take_pending().into_iter().chain(input.rest()).collect();
    if not_posted.is_empty() {
        return done;
    }
    if input.to_show.is_none() {
        console.screen.end_prompt();
    }
    for line in not_posted {
        let line = printable::line(&line);
        ChatEvent::NotPosted(format!("This line was not posted: {line}")).print(console)?;
    }
    done.and(Err(Failure::new("the node is gone, and not every line was posted").into()))
}

/// Posts lines and shows messages, until the input ends or the node refuses.
async fn exchange(
    options: &ChatOptions,
    messages: &mut Messages<'_>,
    input: &mut Input<ChatEvent>,
    (own, events): (&OwnMessages, &mpsc::Sender<ChatEvent>),
    receiver: &Receiver,
    console: &mut Console,
) -> Result<()> {
    let Input { lines, end, to_show, .. } = input;
    let receiving = forward_messages(messages, own, events);
    let posting = post_lines(lines, options, own, events, receiver);
    let checking = check_unsent(own, events, receiver);
    let ending = end_of_input(end, receiver);
    tokio::pin!(receiving, posting, checking, ending);
    loop {
        let next = async {
            tokio::select! {
                biased;
                Some(event) = next_event(to_show) => Ok(Some(event)),
                done = &mut receiving => done.map(|()| None),
                done = &mut posting => done.map(|()| None),
                done = &mut checking => done.map(|()| None),
                done = &mut ending => done.map(|()| None),
            }
        };
        match console.unless_interrupted(next).await {
            Ok(Ok(Some(event))) => event.print(console)?,
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

/// Waits until the user ends the chat at the terminal. After Ctrl-D, earlier lines are still posted while the
/// node is connected.
async fn end_of_input(end: &mut Option<oneshot::Receiver<End>>, receiver: &Receiver) -> Result<()> {
    let Some(end) = end else { return pending().await };
    let end = end.await;
    match end.map(|end| end.how) {
        Ok(InputEnd::Interrupted) => Err(interrupted_by(Signal::Interrupt).into()),
        Ok(InputEnd::Failed(error)) => Err(error.into()),
        Ok(InputEnd::EndOfInput) | Err(_) => {
            drop(receiver.access().wait_for(Option::is_none).await);
            Ok(())
        }
    }
}

/// The time to show for a message: now, unless it was sent long ago. Senders round times down, so answers would
/// look older than questions.
const fn shown_time(sent: u32, now: u32) -> u32 {
    if now.saturating_sub(sent) < JUST_NOW { now } else { sent }
}

/// A line that we have typed.
fn own(line: &str) -> String {
    show::own(line, now())
}

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// Forwards incoming messages. Ends only when the node refuses.
async fn forward_messages(
    messages: &mut Messages<'_>,
    own: &OwnMessages,
    events: &mpsc::Sender<ChatEvent>,
) -> Result<()> {
    loop {
        match messages.next().await? {
            ReceiverEvent::Message(message) => {
                if !own.take(&message.payload, &message.hash).await {
                    events.send(ChatEvent::Message(message)).await?;
                }
            }
            event @ (ReceiverEvent::Back(_) | ReceiverEvent::Lost(_)) => {
                events.send(ChatEvent::Node(event)).await?;
            }
        }
    }
}

/// Posts each line of the input. If the node refuses a line, the chat continues.
async fn post_lines(
    lines: &mut mpsc::Receiver<io::Result<String>>,
    options: &ChatOptions,
    own: &OwnMessages,
    events: &mpsc::Sender<ChatEvent>,
    receiver: &Receiver,
) -> Result<()> {
    while let Some(line) = lines.recv().await {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        own.begin(line.as_bytes());
        let posted = post(&line, options, events, receiver).await;
        own.end(posted.as_ref().ok(), &line);
        match posted {
            Ok(_) => {}
            Err(error @ RemoteError::Refused { .. }) => {
                let why = receiver.address().explain(&error);
                let text = format!("This line was not posted: {why}");
                events.send(ChatEvent::NotPosted(text)).await?;
            }
            Err(error) => return Err(receiver.address().explain(&error).into()),
        }
    }
    Ok(())
}

/// Posts a line. While the node is lost, waits until it is back.
async fn post(
    line: &str,
    options: &ChatOptions,
    events: &mpsc::Sender<ChatEvent>,
    receiver: &Receiver,
) -> Result<String, RemoteError> {
    let mut accesses = receiver.access();
    let mut is_announced = false;
    loop {
        let access = accesses.borrow_and_update().clone();
        let Some(access) = access else {
            if !std::mem::replace(&mut is_announced, true) {
                let text =
                    format!("This line waits until the node is back: {}", printable::line(line));
                let _closed = events.send(ChatEvent::Notice(text)).await;
            }
            accesses.changed().await.map_err(|_| RemoteError::Closed)?;
            continue;
        };
        match post_through(&access, line, options, events).await {
            Err(error) if error.may_post_again() => {
                // `forward_messages` reconnects. If it saw no loss, this connection is used again.
                let _either = timeout(RETRY, accesses.changed()).await;
            }
            posted => return posted,
        }
    }
}

/// Posts a line through this connection. Shows why, if it takes long.
async fn post_through(
    access: &Access,
    line: &str,
    options: &ChatOptions,
    events: &mpsc::Sender<ChatEvent>,
) -> Result<String, RemoteError> {
    let mut request =
        options.message.blank(access.key.clone(), access.signer.clone(), options.topic);
    request.payload = line.as_bytes().to_vec();
    let posting = access.connection.post(&mut request, options.message.work);
    tokio::pin!(posting);
    if let Ok(posted) = timeout(SLOW, &mut posting).await {
        return posted;
    }
    let _closed = events.send(ChatEvent::Notice(COMPUTING.to_owned())).await;
    posting.await
}

/// Reports our own messages that expired before another node received them. Only our nodes can tell.
async fn check_unsent(
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
                    let text = format!("This line expired before another node received it: {line}");
                    events.send(ChatEvent::NotPosted(text)).await?;
                }
                Ok(_) => own.forget_unsent(&hash),
                Err(error) if error.is_unknown_method() => pending().await,
                // The next round tries again.
                Err(_) => {}
            }
        }
    }
}

/// Our own messages that the node has not sent back to us yet.
#[derive(Debug, Default)]
struct OwnMessages {
    state: Mutex<OwnState>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct OwnState {
    /// The message that is being posted. Its hash is not known yet.
    pending: Option<Vec<u8>>,
    hashes: Vec<String>,
    /// Hashes and texts of messages that possibly no other node has received yet.
    unsent: VecDeque<(String, String)>,
}

impl OwnMessages {
    /// Notes that this message is being posted.
    fn begin(&self, payload: &[u8]) {
        self.lock().pending = Some(payload.to_owned());
    }

    /// Notes that the message was posted with this hash, or not at all.
    fn end(&self, hash: Option<&String>, line: &str) {
        let mut state = self.lock();
        state.pending = None;
        state.hashes.extend(hash.cloned());
        state.unsent.extend(hash.map(|hash| (hash.clone(), line.to_owned())));
        if state.unsent.len() > MAX_UNSENT {
            state.unsent.pop_front();
        }
        drop(state);
        self.ended.notify_waiters();
    }

    /// Whether an incoming message is one of ours; each of ours is found once. If it has the text of the message
    /// that is being posted, waits for the hash of that one.
    async fn take(&self, payload: &[u8], hash: &str) -> bool {
        loop {
            // Created before the check, so that no notification is missed.
            let ended = self.ended.notified();
            {
                let mut state = self.lock();
                if let Some(index) = state.hashes.iter().position(|own| own == hash) {
                    state.hashes.swap_remove(index);
                    return true;
                }
                if state.pending.as_deref() != Some(payload) {
                    return false;
                }
            }
            ended.await;
        }
    }

    /// The line whose posting was cancelled, if any.
    fn take_pending(&self) -> Option<String> {
        let pending = self.lock().pending.take()?;
        Some(String::from_utf8_lossy(&pending).into_owned())
    }

    /// Messages that possibly no other node has received yet.
    fn unsent(&self) -> Vec<(String, String)> {
        self.lock().unsent.iter().cloned().collect()
    }

    /// Stops checking a message.
    fn forget_unsent(&self, hash: &str) {
        self.lock().unsent.retain(|(other, _)| other != hash);
    }

    fn lock(&self) -> MutexGuard<'_, OwnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shown for a line that is not taken.
const TOO_MANY_LINES: &str = "This line was not posted: too many lines wait to be posted.";

/// Longest pause before a line is posted again after the connection was lost.
const RETRY: Duration = Duration::from_secs(5);

/// Pause between two checks for unsent messages.
const CHECK: Duration = Duration::from_secs(2);

/// Maximum number of own messages that are checked.
const MAX_UNSENT: usize = 256;

/// Age in seconds up to which a message counts as sent now: rounding, and the time on its way.
const JUST_NOW: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recent_message_shows_the_present_time_and_an_old_one_its_own() {
        assert_eq!(
            [shown_time(100, 119), shown_time(100, 120), shown_time(100, 90)],
            [119, 100, 90]
        );
    }

    /// The result, if it is ready at once.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn messages_of_others_do_not_wait_for_the_hash_of_ours() {
        let own = OwnMessages::default();
        own.begin(b"mine");
        assert_eq!(at_once(own.take(b"theirs", "1")).await, Some(false));
        own.end(Some(&"2".to_owned()), "mine");
        own.begin(b"more of mine");
        assert_eq!(at_once(own.take(b"mine", "2")).await, Some(true));
        assert_eq!(at_once(own.take(b"mine", "2")).await, Some(false));
    }

    #[tokio::test]
    async fn a_message_that_may_be_ours_waits_until_the_hash_is_known() {
        let own = OwnMessages::default();
        own.begin(b"hello");
        let (ours, theirs) = (own.take(b"hello", "1"), own.take(b"hello", "2"));
        tokio::pin!(ours, theirs);
        assert_eq!((at_once(&mut ours).await, at_once(&mut theirs).await), (None, None));
        own.end(Some(&"1".to_owned()), "hello");
        assert_eq!((ours.await, theirs.await), (true, false));
    }

    #[tokio::test]
    async fn a_failed_post_does_not_hide_the_same_text_of_another() {
        let own = OwnMessages::default();
        own.begin(b"hello");
        let theirs = own.take(b"hello", "1");
        tokio::pin!(theirs);
        assert_eq!(at_once(&mut theirs).await, None);
        own.end(None, "hello");
        assert!(!theirs.await);
    }
}
