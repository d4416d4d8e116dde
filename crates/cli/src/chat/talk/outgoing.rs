//! The progress of the lines that were typed.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{DeliveryError, Progress, SendFailure, Timestamp};

use super::Talk;
use crate::chat::{explain, people, show};
use crate::console::Console;
use crate::printable;

impl Talk<'_> {
    /// Shows the progress of a message in the outbox.
    pub(super) async fn progress(
        &mut self,
        message: Timestamp,
        progress: Progress,
        console: &mut Console,
    ) -> Result<()> {
        match progress {
            Progress::OnServer => match self.on_the_way.remove(&message) {
                Some(_) => console.report(&json!({
                    "event": "chat-sent", "to": people::account_json(self.with),
                    "group": people::group_json(self.with), "timestamp": message.0,
                })),
                None => Ok(()),
            },
            Progress::NotSent(DeliveryError::Failed(why)) => {
                self.failed(message, why, console).await
            }
            // The connection says why messages wait, and so does the changed identity.
            Progress::NotSent(_) | Progress::Waiting => Ok(()),
            // Later states of the SDK.
            _ => Ok(()),
        }
    }

    /// Shows that a line can never be sent.
    pub(super) async fn failed(
        &mut self,
        message: Timestamp,
        why: SendFailure,
        console: &mut Console,
    ) -> Result<()> {
        let Some(line) = self.on_the_way.remove(&message) else { return Ok(()) };
        self.not_sent(Some(message.0), &line, &why.to_string(), console).await?;
        let forgotten = console.unless_interrupted(self.client.forget_failed(message)).await?;
        forgotten.map_err(|error| explain::ended(&error).into())
    }

    pub(super) async fn not_sent(
        &mut self,
        timestamp: Option<u64>,
        line: &str,
        why: &str,
        console: &Console,
    ) -> Result<()> {
        self.is_all_sent = false;
        let (to, why) = (self.people.json_in(self.with), printable::line(why));
        let value = json!({
            "event": "chat-not-sent", "to": to, "group": people::group_json(self.with),
            "timestamp": timestamp, "reason": why, "text": line,
        });
        let text = format!("This line was not sent: {why}\n    {}", show::safe(line));
        self.notice(&text, &value, console).await
    }

    /// Events were left out. What they said can be queried.
    pub(super) async fn missed(&mut self, console: &mut Console) -> Result<()> {
        let failed = console.unless_interrupted(self.client.failed()).await?;
        for failed in failed.map_err(|error| explain::ended(&error))? {
            if let Some(why) = failed.why {
                self.failed(failed.timestamp, why, console).await?;
            }
        }
        let outbox = console.unless_interrupted(self.client.outbox()).await?;
        let outbox = outbox.map_err(|error| explain::ended(&error))?;
        let left: BTreeSet<_> = outbox.iter().map(|message| message.timestamp).collect();
        let sent: Vec<_> =
            self.on_the_way.keys().copied().filter(|message| !left.contains(message)).collect();
        for message in sent {
            self.progress(message, Progress::OnServer, console).await?;
        }
        Ok(())
    }
}
