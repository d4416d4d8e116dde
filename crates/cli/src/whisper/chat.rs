//! `whisper chat`: a room for everyone who has the password, line by line.

use std::io::{self, BufRead as _};

use anyhow::Result;
use tokio::sync::{Mutex, mpsc};
use wormhole::whisper::remote::{Posting, RemoteMessage, Wanted, Watch};

use super::lender::Lender;
use super::{keys, post, secret, topic, watch};
use crate::args::ChatArgs;
use crate::talk::Desk;

/// Posts what is typed and prints what others say, until the input ends.
///
/// # Errors
/// The node is gone or refuses, or a signal came.
pub(super) async fn run(args: ChatArgs, desk: &mut Desk) -> Result<()> {
    let topic = topic(&args.topic)?;
    let sign = args.mark.sign.as_deref().map(keys::find).transpose()?;
    let key = secret::shared(args.password, desk).await?;
    let connecting = Lender::connect(&args.rpc);
    let mut lender = desk.unless_stopped(connecting).await??;
    let prepare = async {
        let key = lender.lend_shared(&key).await?;
        let mut posting = Posting::new(key, topic, Vec::new());
        if let Some(sign) = &sign {
            posting.signer = Some(lender.lend_private(sign).await?);
        }
        post::mark(&mut posting, &args.mark, &lender).await?;
        Ok(posting)
    };
    let prepared = desk.unless_stopped(prepare).await;
    let done = match prepared {
        Ok(Ok(posting)) => talk(posting, &lender, desk).await,
        Ok(Err(error)) | Err(error) => Err(error),
    };
    lender.leave().await;
    done
}

async fn talk(posting: Posting, lender: &Lender, desk: &mut Desk) -> Result<()> {
    let wanted = Wanted::under(posting.topic);
    let watching = lender.remote().watch(&posting.to, &wanted);
    let watch = desk.unless_stopped(watching).await?;
    let mut watch = watch.map_err(|error| lender.explain(&error))?;
    desk.screen.say(&format!("You are in {}. Type a line to say it; Ctrl-D ends.", posting.topic));
    let done = exchange(posting, &mut watch, lender, desk).await;
    let _gone_anyway = watch.stop().await;
    done
}

/// Lets words go both ways until one way has come to its end.
async fn exchange(
    posting: Posting,
    watch: &mut Watch<'_>,
    lender: &Lender,
    desk: &mut Desk,
) -> Result<()> {
    // What we have said ourselves, and a lock against hearing it before we know its name.
    let own = Mutex::new(Vec::new());
    let (heard, mut to_show) = mpsc::channel(1);
    let hearing = hear(watch, &own, &heard, lender);
    let saying = say(posting, &own, lender);
    tokio::pin!(hearing, saying);
    loop {
        let next = async {
            tokio::select! {
                biased;
                Some(message) = to_show.recv() => Ok(Some(message)),
                done = &mut hearing => done.map(|()| None),
                done = &mut saying => done.map(|()| None),
            }
        };
        match desk.unless_stopped(next).await {
            Ok(Ok(Some(message))) => watch::opened(&message).print(desk)?,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) | Err(error) => return Err(error),
        }
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
        let mut own = own.lock().await;
        match own.iter().position(|hash| *hash == message.hash) {
            Some(place) => {
                own.swap_remove(place);
            }
            None => heard.send(message).await?,
        }
    }
}

/// Says each line of the input.
async fn say(mut posting: Posting, own: &Mutex<Vec<String>>, lender: &Lender) -> Result<()> {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        posting.payload = line.into_bytes();
        let mut own = own.lock().await;
        let hash = lender.remote().post(&posting).await;
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
