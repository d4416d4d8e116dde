//! Lists of devices as protocol buffers.

use prost::Message;

use super::{DeviceList, FormerDevice, ListedDevice, MAX_DEVICES, MAX_FORMER};
use crate::address::{AccountId, DeviceId};
use crate::key::Signature;
use crate::time::Timestamp;

#[derive(Message)]
struct SignedProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    list: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    signature: Option<Vec<u8>>,
}

#[derive(Message)]
struct ListProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    account: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    revision: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    created: Option<u64>,
    #[prost(message, repeated, tag = "4")]
    devices: Vec<DeviceProto>,
    #[prost(message, repeated, tag = "5")]
    former: Vec<DeviceProto>,
}

#[derive(Clone, Copy, Message)]
struct DeviceProto {
    #[prost(uint32, optional, tag = "1")]
    device: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    registration_id: Option<u32>,
    /// When it was signed first, or removed.
    #[prost(uint64, optional, tag = "3")]
    time: Option<u64>,
}

pub(super) fn encode_signed(list: Vec<u8>, signature: Signature) -> Vec<u8> {
    SignedProto { list: Some(list), signature: Some(signature.0.to_vec()) }.encode_to_vec()
}

pub(super) fn decode_signed(bytes: &[u8]) -> Option<(Vec<u8>, Signature)> {
    if bytes.len() > DeviceList::MAX_BYTES {
        return None;
    }
    let proto = SignedProto::decode(bytes).ok()?;
    Some((proto.list?, Signature::from_slice(&proto.signature?)?))
}

pub(super) fn encode(list: &DeviceList) -> Vec<u8> {
    let entry = |device: DeviceId, registration_id, time: Timestamp| DeviceProto {
        device: Some(device.number().into()),
        registration_id: Some(registration_id),
        time: Some(time.0),
    };
    let devices = list.devices.iter().map(|it| entry(it.device, it.registration_id, it.created));
    let former = list.former.iter().map(|it| entry(it.device, it.registration_id, it.removed));
    let proto = ListProto {
        account: Some(list.account.as_bytes().to_vec()),
        revision: Some(list.revision),
        created: Some(list.created.0),
        devices: devices.collect(),
        former: former.collect(),
    };
    proto.encode_to_vec()
}

pub(super) fn decode(bytes: &[u8]) -> Option<DeviceList> {
    let proto = ListProto::decode(bytes).ok()?;
    let account = AccountId::from_bytes(proto.account?.as_slice().try_into().ok()?);
    let revision = proto.revision?;
    let is_short = proto.devices.len() <= MAX_DEVICES && proto.former.len() <= MAX_FORMER;
    if !(1..=DeviceList::MAX_REVISION).contains(&revision) || !is_short {
        return None;
    }
    let devices = proto.devices.iter().map(|it| {
        let (device, registration_id, created) = it.fields()?;
        Some(ListedDevice { device, registration_id, created })
    });
    let devices: Vec<_> = devices.collect::<Option<_>>()?;
    let former = proto.former.iter().map(|it| {
        let (device, registration_id, removed) = it.fields()?;
        Some(FormerDevice { device, registration_id, removed })
    });
    let is_ordered = devices.windows(2).all(|two| match two {
        [one, other] => one.device < other.device,
        _ => true,
    });
    let created = Timestamp(proto.created?);
    let list =
        DeviceList { account, revision, created, devices, former: former.collect::<Option<_>>()? };
    is_ordered.then_some(list)
}

impl DeviceProto {
    fn fields(&self) -> Option<(DeviceId, u32, Timestamp)> {
        Some((DeviceId::new(self.device?)?, self.registration_id?, Timestamp(self.time?)))
    }
}
