//! `whisper chat`: a room for everyone who has the password, line by line.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Result;
use tokio::sync::{Mutex, mpsc};
use wormhole::whisper::remote::{Posting, RemoteMessage, Wanted, Watch};
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
        mark.blank(key, topic, &mut lender).await
    };
    let prepared = desk.unless_stopped(prepare).await;
    let room = named(topic, &args.topic);
    let done = match prepared {
        Ok(Ok(posting)) => talk((posting, mark.work), &room, &lender, desk).await,
        Ok(Err(error)) | Err(error) => Err(error),
    };
    lender.leave().await;
    done
}

async fn talk(
    blank: (Posting, Option<Work>),
    room: &str,
    lender: &Lender,
    desk: &mut Desk,
) -> Result<()> {
    let wanted = Wanted::under(blank.0.topic);
    let watching = lender.remote().watch(&blank.0.to, &wanted);
    let watch = desk.unless_stopped(watching).await?;
    let mut watch = watch.map_err(|error| lender.explain(&error))?;
    desk.screen.say(&format!("You are in {room}. Type a line to say it; Ctrl-D ends."));
    let done = exchange(blank, &mut watch, lender, desk).await;
    let _gone_anyway = watch.stop().await;
    done
}

/// Lets words go both ways until one way has come to its end.
async fn exchange(
    blank: (Posting, Option<Work>),
    watch: &mut Watch<'_>,
    lender: &Lender,
    desk: &mut Desk,
) -> Result<()> {
    // What we have said ourselves, and a lock against hearing it before we know its name.
    let own = Mutex::new(Vec::new());
    let (heard, to_show) = mpsc::channel(1);
    // A terminal shows what is heard by itself, above the line that is typed.
    let (lines, mut to_show, _terminal) = match can_edit(desk) {
        true => match prompt::start(to_show) {
            Ok((lines, terminal)) => (lines, None, Some(terminal)),
            Err(to_show) => (lines(), Some(to_show), None),
        },
        false => (lines(), Some(to_show), None),
    };
    let hearing = hear(watch, &own, &heard, lender);
    let saying = say(lines, blank, &own, lender);
    tokio::pin!(hearing, saying);
    loop {
        let next = async {
            tokio::select! {
                biased;
                Some(message) = next(&mut to_show) => Ok(Some(message)),
                done = &mut hearing => done.map(|()| None),
                done = &mut saying => done.map(|()| None),
            }
        };
        match desk.unless_stopped(next).await {
            Ok(Ok(Some(message))) => watch::opened(&message).print(desk)?,
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

/// Whether somebody types at a terminal that can go back and forth.
fn can_edit(desk: &Desk) -> bool {
    let is_plain = std::env::var_os("TERM").is_some_and(|term| PLAIN.iter().any(|it| term == *it));
    !desk.is_json() && !is_plain && io::stdin().is_terminal() && io::stdout().is_terminal()
}

async fn next(to_show: &mut Option<mpsc::Receiver<RemoteMessage>>) -> Option<RemoteMessage> {
    match to_show {
        Some(to_show) => to_show.recv().await,
        None => std::future::pending().await,
    }
}

/// Hands on what others say. Ends with the node only.
async fn hear(
    watch: &mut Watch<'_>,
    own: &Mutex<Vec<String>>,
    heard: &mpsc::Sender<RemoteMessage>,
    lender: &Lender,
) -> Result<()> {
    loop {
        let message = watch.next().await.map_err(|error| lender.explain(&error))?;
        let is_own = {
            let mut own = own.lock().await;
            let place = own.iter().position(|hash| *hash == message.hash);
            place.map(|place| own.swap_remove(place)).is_some()
        };
        // Without the lock: what is shown may have to wait until what was typed is taken.
        if !is_own {
            heard.send(message).await?;
        }
    }
}

/// Says each line of the input.
async fn say(
    mut lines: mpsc::Receiver<io::Result<String>>,
    (mut posting, work): (Posting, Option<Work>),
    own: &Mutex<Vec<String>>,
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
        posting.payload = line.into_bytes();
        let mut own = own.lock().await;
        let hash = lender.post(&mut posting, work).await;
        own.push(hash.map_err(|error| lender.explain(&error))?);
    }
    Ok(())
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
