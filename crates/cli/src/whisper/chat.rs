//! `whisper chat`: a room for everyone who has the password, line by line.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::Result;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use wormhole::whisper::remote::{Posting, RemoteError, RemoteMessage, Wanted, Watch};
use wormhole::whisper::shh::Work;

use super::lender::Lender;
use super::post::Mark;
use super::{named, prompt, secret, topic, watch};
use crate::args::ChatArgs;
use crate::signals::Signal;
use crate::talk::{Desk, stopped};

/// Posts what is typed and prints what others say, until the input ends.
///
/// # Errors
/// The node is gone or refuses, or a signal came.
pub(super) async fn run(args: ChatArgs, desk: &mut Desk) -> Result<()> {
    let topic = topic(&args.topic)?;
    let mark = Mark::new(&args.mark)?;
    let key = secret::shared(args.password, desk).await?;
    let connecting = Lender::connect(&args.rpc);
    let mut lender = desk.unless_stopped(connecting).await??;
    let prepare = async {
        let key = lender.lend_shared(&key).await?;
        let blank = mark.blank(key, topic, &mut lender).await?;
        Ok(Voice { blank, work: mark.work })
    };
    let prepared = desk.unless_stopped(prepare).await;
    let room = named(topic, &args.topic);
    let done = match prepared {
        Ok(Ok(voice)) => talk(voice, &room, &lender, desk).await,
        Ok(Err(error)) | Err(error) => Err(error),
    };
    lender.leave().await;
    done
}

/// How we speak.
#[derive(Debug)]
struct Voice {
    /// A message that says nothing yet.
    blank: Posting,
    /// The work to be done for each, if not as much as others ask for.
    work: Option<Work>,
}

/// What is to be shown.
#[derive(Debug)]
pub(super) enum News {
    /// Somebody else has said this.
    Heard(RemoteMessage),
    /// What was typed was not posted, for this reason.
    Unsaid(String),
}

impl News {
    /// The line that people see.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Heard(message) => {
                let mut opened = watch::opened(message);
                opened.sent = said(opened.sent, now());
                opened.line()
            }
            Self::Unsaid(why) => format!("This was not posted: {why}\n"),
        }
    }

    fn print(&self, desk: &Desk) -> Result<()> {
        match self {
            Self::Heard(message) => watch::opened(message).print(desk),
            Self::Unsaid(why) => {
                desk.screen.say(self.line().trim_end());
                desk.report(&json!({ "event": "unsaid", "message": why }))
            }
        }
    }
}

async fn talk(voice: Voice, room: &str, lender: &Lender, desk: &mut Desk) -> Result<()> {
    let wanted = Wanted::under(voice.blank.topic);
    let watching = lender.remote().watch(&voice.blank.to, &wanted);
    let watch = desk.unless_stopped(watching).await?;
    let mut watch = watch.map_err(|error| lender.explain(&error))?;
    desk.screen.say(&format!("You are in {room}. Type a line to say it; Ctrl-D ends."));
    lender.warn_if_alone(desk).await?;
    let done = exchange(voice, &mut watch, lender, desk).await;
    let _gone_anyway = watch.stop().await;
    done
}

/// Lets words go both ways until one way has come to its end.
async fn exchange(
    voice: Voice,
    watch: &mut Watch<'_>,
    lender: &Lender,
    desk: &mut Desk,
) -> Result<()> {
    let own = Own::default();
    let (news, to_show) = mpsc::channel(1);
    // A terminal shows what is heard by itself, above the line that is typed.
    let (lines, mut to_show, _terminal) = match can_edit(desk) {
        true => match prompt::start(to_show) {
            Ok((lines, terminal)) => (lines, None, Some(terminal)),
            Err(to_show) => (lines(), Some(to_show), None),
        },
        false => (lines(), Some(to_show), None),
    };
    let hearing = hear(watch, &own, &news, lender);
    let saying = say(lines, voice, &own, &news, lender);
    tokio::pin!(hearing, saying);
    loop {
        let next = async {
            tokio::select! {
                biased;
                Some(news) = next(&mut to_show) => Ok(Some(news)),
                done = &mut hearing => done.map(|()| None),
                done = &mut saying => done.map(|()| None),
            }
        };
        match desk.unless_stopped(next).await {
            Ok(Ok(Some(news))) => news.print(desk)?,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => {
                if to_show.is_none() {
                    desk.screen.end_prompt();
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// When something was said, for a talk: now, unless that is long ago. Senders round the time down, so
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
fn can_edit(desk: &Desk) -> bool {
    let is_plain = std::env::var_os("TERM").is_some_and(|term| PLAIN.iter().any(|it| term == *it));
    !desk.is_json() && !is_plain && io::stdin().is_terminal() && io::stdout().is_terminal()
}

async fn next(to_show: &mut Option<mpsc::Receiver<News>>) -> Option<News> {
    match to_show {
        Some(to_show) => to_show.recv().await,
        None => std::future::pending().await,
    }
}

/// Hands on what others say. Ends with the node only.
async fn hear(
    watch: &mut Watch<'_>,
    own: &Own,
    news: &mpsc::Sender<News>,
    lender: &Lender,
) -> Result<()> {
    loop {
        let message = watch.next().await.map_err(|error| lender.explain(&error))?;
        if !own.take(&message.payload, &message.hash).await {
            news.send(News::Heard(message)).await?;
        }
    }
}

/// Says each line of the input. What the node refuses is not the end of the talk.
async fn say(
    mut lines: mpsc::Receiver<io::Result<String>>,
    mut voice: Voice,
    own: &Own,
    news: &mpsc::Sender<News>,
    lender: &Lender,
) -> Result<()> {
    while let Some(line) = lines.recv().await {
        let line = match line {
            // The terminal makes no signal of Ctrl-C while a line is edited.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Err(stopped(Signal::Interrupt).into());
            }
            line => line?,
        };
        if line.is_empty() {
            continue;
        }
        voice.blank.payload = line.into_bytes();
        own.begin(&voice.blank.payload);
        let posted = lender.post(&mut voice.blank, voice.work).await;
        own.end(posted.as_ref().ok());
        match posted {
            Ok(_) => {}
            Err(error @ RemoteError::Refused { .. }) => {
                news.send(News::Unsaid(lender.explain(&error).to_string())).await?;
            }
            Err(error) => return Err(lender.explain(&error).into()),
        }
    }
    Ok(())
}

/// What we have said ourselves, and have not heard again yet.
#[derive(Debug, Default)]
struct Own {
    said: Mutex<Said>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Said {
    /// What is being said, under a name that we do not know yet.
    nameless: Option<Vec<u8>>,
    names: Vec<String>,
}

impl Own {
    /// This is being said from now on.
    fn begin(&self, payload: &[u8]) {
        self.lock().nameless = Some(payload.to_owned());
    }

    /// It has been said under this name, or not at all.
    fn end(&self, name: Option<&String>) {
        let mut said = self.lock();
        said.nameless = None;
        said.names.extend(name.cloned());
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
                if let Some(place) = said.names.iter().position(|own| own == name) {
                    said.names.swap_remove(place);
                    return true;
                }
                if said.nameless.as_deref() != Some(payload) {
                    return false;
                }
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
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

/// Terminals that only type, as the line editor has them.
const PLAIN: [&str; 3] = ["dumb", "cons25", "emacs"];

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
        let own = Own::default();
        own.begin(b"mine");
        assert_eq!(at_once(own.take(b"theirs", "1")).await, Some(false));
        own.end(Some(&"2".to_owned()));
        own.begin(b"more of mine");
        assert_eq!(at_once(own.take(b"mine", "2")).await, Some(true));
        assert_eq!(at_once(own.take(b"mine", "2")).await, Some(false));
    }

    #[tokio::test]
    async fn what_may_be_ours_is_held_back_until_its_name_is_known() {
        let own = Own::default();
        own.begin(b"hello");
        let (ours, theirs) = (own.take(b"hello", "1"), own.take(b"hello", "2"));
        tokio::pin!(ours, theirs);
        assert_eq!((at_once(&mut ours).await, at_once(&mut theirs).await), (None, None));
        own.end(Some(&"1".to_owned()));
        assert_eq!((ours.await, theirs.await), (true, false));
    }

    #[tokio::test]
    async fn what_was_not_posted_is_nobody_else_s_silence() {
        let own = Own::default();
        own.begin(b"hello");
        let theirs = own.take(b"hello", "1");
        tokio::pin!(theirs);
        assert_eq!(at_once(&mut theirs).await, None);
        own.end(None);
        assert!(!theirs.await);
    }
}
