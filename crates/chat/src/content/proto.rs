//! The protobuf messages of the content.

use prost::Message;
use zeroize::Zeroize;

use super::direct::DirectProto;
use super::group::GroupContentProto;
use crate::address::AccountId;

/// An account, which newer clients write as 16 bytes, and older ones as text. `None` if it is missing, or only one that is
/// malformed.
pub(super) fn account(bytes: Option<&[u8]>, text: Option<&str>) -> Option<AccountId> {
    let from_bytes = bytes.and_then(|bytes| bytes.try_into().ok()).map(AccountId::from_bytes);
    from_bytes.or_else(|| text?.parse().ok())
}

#[derive(Clone, Message)]
pub(super) struct ContentProto {
    #[prost(message, optional, tag = "1")]
    pub(super) data: Option<DataProto>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) sync: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) call: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) null: Option<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    pub(super) receipt: Option<ReceiptProto>,
    #[prost(message, optional, tag = "6")]
    pub(super) typing: Option<TypingProto>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub(super) sender_key_distribution: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(super) decryption_error: Option<Vec<u8>>,
    #[prost(message, optional, tag = "11")]
    pub(super) edit: Option<EditProto>,
    // Our own fields, with numbers far from those that others may assign.
    #[prost(message, optional, tag = "100")]
    pub(super) group: Option<GroupContentProto>,
    #[prost(message, optional, tag = "103")]
    pub(super) direct: Option<DirectProto>,
}

impl ContentProto {
    /// Overwrites the text and the keys.
    pub(super) fn wipe(&mut self) {
        // It contains a chain key.
        self.sender_key_distribution.zeroize();
        self.sync.zeroize();
        let edited = self.edit.as_mut().and_then(|edit| edit.message.as_mut());
        self.data.iter_mut().chain(edited).for_each(DataProto::wipe);
        self.group.iter_mut().for_each(GroupContentProto::wipe);
        self.direct.iter_mut().for_each(DirectProto::wipe);
    }
}

#[derive(Clone, Message)]
pub(super) struct EditProto {
    #[prost(uint64, optional, tag = "1")]
    pub(super) target: Option<u64>,
    #[prost(message, optional, tag = "2")]
    pub(super) message: Option<DataProto>,
}

#[derive(Clone, Message)]
pub(super) struct DataProto {
    #[prost(string, optional, tag = "1")]
    pub(super) body: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) attachments: Vec<AttachmentProto>,
    #[prost(message, optional, tag = "3")]
    pub(super) group: Option<GroupProto>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) flags: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub(super) expire_timer: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(super) profile_key: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "7")]
    pub(super) timestamp: Option<u64>,
    #[prost(message, optional, tag = "8")]
    pub(super) quote: Option<QuoteProto>,
    #[prost(message, repeated, tag = "10")]
    pub(super) previews: Vec<PreviewProto>,
    #[prost(uint32, optional, tag = "12")]
    pub(super) required_protocol_version: Option<u32>,
    #[prost(message, optional, tag = "16")]
    pub(super) reaction: Option<ReactionProto>,
    #[prost(message, optional, tag = "17")]
    pub(super) delete: Option<DeleteProto>,
    #[prost(message, repeated, tag = "18")]
    pub(super) ranges: Vec<RangeProto>,
    #[prost(uint32, optional, tag = "23")]
    pub(super) expire_timer_version: Option<u32>,
}

impl DataProto {
    /// Overwrites the text and the keys.
    pub(super) fn wipe(&mut self) {
        self.body.zeroize();
        self.profile_key.zeroize();
        self.quote.iter_mut().for_each(|quote| quote.text.zeroize());
        self.reaction.iter_mut().for_each(|reaction| reaction.emoji.zeroize());
        for preview in &mut self.previews {
            preview.url.zeroize();
            preview.title.zeroize();
            preview.description.zeroize();
        }
        let avatar = self.group.as_mut().and_then(|group| group.avatar.as_mut());
        let images = self.previews.iter_mut().filter_map(|preview| preview.image.as_mut());
        let pointers = self.attachments.iter_mut().chain(avatar).chain(images);
        pointers.for_each(|pointer| pointer.key.zeroize());
    }
}

#[derive(Clone, Message)]
pub(super) struct QuoteProto {
    #[prost(uint64, optional, tag = "1")]
    pub(super) id: Option<u64>,
    #[prost(string, optional, tag = "3")]
    pub(super) text: Option<String>,
    #[prost(message, repeated, tag = "4")]
    pub(super) attachments: Vec<QuotedFileProto>,
    #[prost(string, optional, tag = "5")]
    pub(super) author: Option<String>,
    #[prost(message, repeated, tag = "6")]
    pub(super) ranges: Vec<RangeProto>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(super) author_bytes: Option<Vec<u8>>,
}

#[derive(Clone, Message)]
pub(super) struct QuotedFileProto {
    #[prost(string, optional, tag = "1")]
    pub(super) content_type: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) file_name: Option<String>,
}

#[derive(Clone, Message)]
pub(super) struct PreviewProto {
    #[prost(string, optional, tag = "1")]
    pub(super) url: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) title: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(super) image: Option<AttachmentProto>,
    #[prost(string, optional, tag = "4")]
    pub(super) description: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) date: Option<u64>,
}

#[derive(Clone, Message)]
pub(super) struct ReactionProto {
    #[prost(string, optional, tag = "1")]
    pub(super) emoji: Option<String>,
    #[prost(bool, optional, tag = "2")]
    pub(super) remove: Option<bool>,
    #[prost(string, optional, tag = "4")]
    pub(super) author: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) timestamp: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(super) author_bytes: Option<Vec<u8>>,
}

#[derive(Clone, Message)]
pub(super) struct DeleteProto {
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
}

#[derive(Clone, Message)]
pub(super) struct RangeProto {
    #[prost(uint32, optional, tag = "1")]
    pub(super) start: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
    #[prost(string, optional, tag = "3")]
    pub(super) mention: Option<String>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) style: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) mention_bytes: Option<Vec<u8>>,
}

#[derive(Clone, Message)]
pub(super) struct AttachmentProto {
    #[prost(fixed64, optional, tag = "1")]
    pub(super) id: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(super) content_type: Option<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) key: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) size: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(super) digest: Option<Vec<u8>>,
    #[prost(string, optional, tag = "7")]
    pub(super) file_name: Option<String>,
    #[prost(uint32, optional, tag = "8")]
    pub(super) flags: Option<u32>,
    #[prost(uint32, optional, tag = "9")]
    pub(super) width: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    pub(super) height: Option<u32>,
    #[prost(string, optional, tag = "11")]
    pub(super) caption: Option<String>,
    #[prost(uint64, optional, tag = "13")]
    pub(super) uploaded: Option<u64>,
    #[prost(uint32, optional, tag = "14")]
    pub(super) cdn: Option<u32>,
    #[prost(string, optional, tag = "15")]
    pub(super) cdn_key: Option<String>,
}

#[derive(Clone, Message)]
pub(super) struct GroupProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) id: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) kind: Option<u32>,
    #[prost(string, optional, tag = "3")]
    pub(super) name: Option<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) members: Vec<String>,
    #[prost(message, optional, tag = "5")]
    pub(super) avatar: Option<AttachmentProto>,
}

#[derive(Clone, Message)]
pub(super) struct ReceiptProto {
    #[prost(uint32, optional, tag = "1")]
    pub(super) kind: Option<u32>,
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub(super) timestamps: Vec<u64>,
}

#[derive(Clone, Message)]
pub(super) struct TypingProto {
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) action: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) group: Option<Vec<u8>>,
}
