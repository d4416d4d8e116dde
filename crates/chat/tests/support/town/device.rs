//! The store of a device, and what the person sees on it.

use wormhole_chat::{Changes, Content, Received, SyncMessage};

use super::{Counts, Device};

impl Device {
    /// Makes changes durable, as the SDK does: a message that has arrived before is left out.
    pub(super) fn store(&mut self, changes: Changes, counts: &mut Counts) {
        for (key, value) in changes.rows {
            match value {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
        for Received { from, timestamp, content, .. } in &changes.received {
            // What devices tell each other about their list arrives, but nobody sees it.
            let Content::Sync(sync) = content else { continue };
            let is_list = matches!(SyncMessage::decode(sync).unwrap(), SyncMessage::DeviceList(_));
            if is_list && self.seen.insert((*from, *timestamp, content.encode().to_vec())) {
                *self.shown.entry((*from, *timestamp)).or_default() += 1;
            }
        }
        let visible = changes.received.into_iter().filter(|it| it.content.is_visible());
        for Received { from, timestamp, content, .. } in visible {
            if self.seen.insert((from, timestamp, content.encode().to_vec())) {
                *self.shown.entry((from, timestamp)).or_default() += 1;
                let (text, is_copy) = text(&content);
                *self.texts.entry((text, is_copy)).or_default() += 1;
            } else {
                counts.copies += 1;
            }
        }
        self.not_read.extend(changes.unreadable.iter().map(|it| (it.from, it.timestamp)));
    }
}

fn text(content: &Content) -> (String, bool) {
    match content {
        Content::Data(data) => (data.body.clone().unwrap(), false),
        Content::Sync(sync) => match SyncMessage::decode(sync).unwrap() {
            SyncMessage::Sent(sent) => (sent.message.body.unwrap(), true),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
