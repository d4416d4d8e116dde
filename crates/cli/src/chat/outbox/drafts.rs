//! Messages whose files were not sent completely when a command was stopped or killed.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Client, Draft};

use crate::args::chat::AccountArgs;
use crate::chat::people::{self, People};
use crate::chat::{explain, show};
use crate::console::Console;
use crate::{printable, units};

/// Continues to send them. Returns how many were sent. Those that cannot be sent now are reported.
///
/// # Errors
/// The client has ended, or a signal came.
pub(in crate::chat) async fn send(
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<usize> {
    let mut count = 0;
    for draft in all(client, console).await? {
        let sending = client.send_draft(draft.id);
        match console.notice_if_slow(SENDING, sending).await? {
            Ok(Some(mut sent)) => {
                let on_server = console.unless_interrupted(sent.on_server()).await?;
                count += usize::from(on_server.is_ok());
            }
            Ok(None) => {}
            Err(error) => {
                let failure = explain::send(&error, args);
                console.screen.show(&format!("A message with files waits: {failure}."));
            }
        }
    }
    Ok(count)
}

/// Shows those that still wait. Returns how many there are.
///
/// # Errors
/// The client has ended, standard output cannot be written, or a signal came.
pub(super) async fn show(
    client: &Client,
    people: &People,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<usize> {
    let drafts = all(client, console).await?;
    for draft in &drafts {
        let Draft { id, to, text, files, .. } = draft;
        let paths: Vec<_> = files.iter().map(|path| printable::path(path)).collect();
        console.report(&json!({
            "event": "chat-draft", "to": people.json_in(*to), "group": people::group_json(*to),
            "timestamp": id.0, "text": text, "files": paths,
        }))?;
        let (time, to) = (units::time(id.0 / 1000), people.label_in(*to));
        let content = show::content(text.as_deref(), &[]);
        let files: String = paths.iter().map(|path| format!("    file: {path}\n")).collect();
        console.print(&format!(
            "{}  {time}  to {to}: its files are not sent yet\n{content}{files}",
            id.0
        ))?;
    }
    if !drafts.is_empty() {
        let cancel = explain::command("outbox --cancel ID", args);
        console.screen.show(&format!("To cancel a message whose files wait: {cancel}"));
    }
    Ok(drafts.len())
}

async fn all(client: &Client, console: &mut Console) -> Result<Vec<Draft>> {
    let drafts = console.unless_interrupted(client.drafts()).await?;
    drafts.map_err(|error| explain::ended(&error).into())
}

/// Shown while it takes long.
const SENDING: &str = "Sending the files of an earlier message...";
