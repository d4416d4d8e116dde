//! The protobuf messages of the content.

use prost::Message;
use zeroize::Zeroize;

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
}

impl ContentProto {
    /// Overwrites the text and the keys.
    pub(super) fn wipe(&mut self) {
        // It contains a chain key.
        self.sender_key_distribution.zeroize();
        self.sync.zeroize();
        self.data.iter_mut().for_each(DataProto::wipe);
    }
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
    #[prost(uint32, optional, tag = "12")]
    pub(super) required_protocol_version: Option<u32>,
}

impl DataProto {
    /// Overwrites the text and the keys.
    pub(super) fn wipe(&mut self) {
        self.body.zeroize();
        self.profile_key.zeroize();
        let avatar = self.group.as_mut().and_then(|group| group.avatar.as_mut());
        self.attachments.iter_mut().chain(avatar).for_each(|pointer| pointer.key.zeroize());
    }
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
