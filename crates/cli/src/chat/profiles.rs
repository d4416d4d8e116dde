//! `chat profile`: what people say about themselves, and what the user says.

use std::io::Read as _;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use tokio::task::spawn_blocking;
use wormhole::chat::{AccountId, Client, OwnProfile, ProfileChange, ProfileError};

use super::people::{self, People};
use super::{explain, profile, show, who};
use crate::args::chat::{AccountArgs, ProfileArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// Shows a profile, or changes that of the user.
///
/// # Errors
/// The account cannot be opened, there is no such person, or the server cannot be asked.
pub(super) async fn run(args: ProfileArgs, config: &Config, console: &mut Console) -> Result<()> {
    let change = change(&args).await?;
    let client = profile::client(&args.client, config, console).await?;
    let done = match (&args.who, change) {
        (Some(who), _) => other(&client, who, &args, console).await,
        (None, Some(change)) => set(&client, change, &args.client.account, console).await,
        (None, None) => own(&client, &args.client.account, console).await,
    };
    profile::finish(client, done).await
}

/// The changes that the user wants to make. `None`: no change.
async fn change(args: &ProfileArgs) -> Result<Option<ProfileChange>> {
    let (name, about) = (args.name.clone(), args.about.clone());
    let picture = match &args.picture {
        Some(path) => Some(read_picture(path).await?),
        None => args.no_picture.then(Vec::new),
    };
    let change = ProfileChange { name, about, picture };
    Ok(Some(change).filter(|change| *change != ProfileChange::default()))
}

/// Reads a file that is not too long.
async fn read_picture(path: &Path) -> Result<Vec<u8>> {
    let shown = printable::path(path);
    let path = path.to_owned();
    let read = spawn_blocking(move || {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(MAX_PICTURE + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes =
        read.await?.map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
    if bytes.is_empty() {
        return Err(Failure::new(format!("{shown} is empty")).into());
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_PICTURE) {
        let most = show::size(MAX_PICTURE);
        return Err(Failure::new(format!("{shown} is too large: at most {most}")).into());
    }
    if !is_picture(&bytes) {
        return Err(Failure::new(format!("{shown} is not a JPEG, PNG, WebP or GIF picture")).into());
    }
    Ok(bytes)
}

async fn set(
    client: &Client,
    change: ProfileChange,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let set = console.unless_interrupted(client.set_profile(change)).await?;
    let profile = set.map_err(|error| explain_own(&error, args))?;
    show_own(&profile, console)
}

async fn own(client: &Client, args: &AccountArgs, console: &mut Console) -> Result<()> {
    // Another device may have changed it.
    let refreshed = console.unless_interrupted(client.refresh_profile()).await?;
    let profile = match refreshed {
        Err(ProfileError::Outdated | ProfileError::Request(_)) => {
            let stored = console.unless_interrupted(client.profile()).await?;
            stored.map_err(|error| explain::ended(&error))?.ok_or(ProfileError::NoKey)
        }
        refreshed => refreshed,
    };
    show_own(&profile.map_err(|error| explain_own(&error, args))?, console)
}

fn show_own(profile: &OwnProfile, console: &Console) -> Result<()> {
    console.report(&json!({
        "event": "chat-profile", "who": null, "name": profile.name, "about": profile.about,
        "picture": profile.has_picture, "published": profile.is_published,
    }))?;
    console.print(&lines(profile.name.as_deref(), profile.about.as_deref()))?;
    console.print(if profile.has_picture { "Picture: yes\n" } else { "Picture: no\n" })?;
    if !profile.is_published {
        console
            .screen
            .show("The server does not have this profile yet. It gets it when you are connected.");
    }
    Ok(())
}

/// Shows the profile of somebody else as it is now.
async fn other(
    client: &Client,
    who: &str,
    args: &ProfileArgs,
    console: &mut Console,
) -> Result<()> {
    let contact = who::contact(who, client, &args.client.account, console).await?;
    let account = contact.account;
    let fetched = console.unless_interrupted(client.profile_of(account)).await?;
    let shown = fetched.map_err(|error| explain_other(&error))?;
    let people = People::new(client, console).await?;
    console.report(&json!({
        "event": "chat-profile", "who": people::json(&contact), "name": shown.name,
        "about": shown.about, "picture": null, "published": true,
    }))?;
    console
        .screen
        .show(&format!("{} says about themselves:", people.label_without_profile(&contact)));
    console.print(&lines(shown.name.as_deref(), shown.about.as_deref()))?;
    match &args.save_picture {
        Some(path) => save_picture(client, account, path, console).await,
        None => Ok(()),
    }
}

async fn save_picture(
    client: &Client,
    account: AccountId,
    path: &Path,
    console: &mut Console,
) -> Result<()> {
    let picture = console.unless_interrupted(client.picture_of(account)).await?;
    let picture = picture.map_err(|error| explain_other(&error))?;
    let picture = picture.ok_or_else(|| Failure::new("this profile has no picture"))?;
    let (target, shown) = (path.to_owned(), printable::path(path));
    let written = spawn_blocking(move || {
        use std::io::Write as _;
        // An existing file is not replaced.
        std::fs::File::create_new(target)?.write_all(&picture)
    });
    written.await?.map_err(|error| Failure::new(format!("cannot write {shown}: {error}")))?;
    console.screen.show(&format!("The picture is saved as {shown}."));
    Ok(())
}

/// A name and a text, in lines.
fn lines(name: Option<&str>, about: Option<&str>) -> String {
    let shown = |text: Option<&str>| text.map_or_else(|| "(none)".to_owned(), printable::line);
    format!("Name: {}\nAbout: {}\n", shown(name), shown(about))
}

fn explain_own(error: &ProfileError, args: &AccountArgs) -> Failure {
    match error {
        ProfileError::Ended(ended) => explain::ended(ended),
        ProfileError::NoKey => Failure::new(error.to_string()).hint(format!(
            "send a message from the primary device of your account, and then run {} here",
            explain::command("receive", args)
        )),
        ProfileError::Request(request) => Failure::new(printable::line(&request.to_string()))
            .hint("the profile is stored here, and is published when the server can be reached"),
        ProfileError::NotShared
        | ProfileError::Outdated
        | ProfileError::Resolve(_)
        | ProfileError::TooLong(_) => Failure::new(printable::line(&error.to_string())),
        // Later errors of the SDK have no hint.
        _ => Failure::new(printable::line(&error.to_string())),
    }
}

fn explain_other(error: &ProfileError) -> Failure {
    match error {
        ProfileError::Ended(ended) => explain::ended(ended),
        ProfileError::NoKey
        | ProfileError::NotShared
        | ProfileError::Outdated
        | ProfileError::Request(_)
        | ProfileError::Resolve(_)
        | ProfileError::TooLong(_) => Failure::new(printable::line(&error.to_string())),
        // Later errors of the SDK have no hint.
        _ => Failure::new(printable::line(&error.to_string())),
    }
}

/// Whether bytes begin as a picture that other programs show.
fn is_picture(bytes: &[u8]) -> bool {
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let starts: [&[u8]; 4] = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"];
    is_webp || starts.iter().any(|start| bytes.starts_with(start))
}

/// Longest picture, in bytes.
const MAX_PICTURE: u64 = 10 << 20;
