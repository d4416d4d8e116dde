//! The fuzz body for the JSON of requests. It exists only with the feature `fuzzing`.

use serde::de::DeserializeOwned;
use wormhole_chat::{DeviceId, MAX_MESSAGE};

use super::ApiError;
use super::attributes::{
    AccountAttributes, DeviceName, PushRegistration, check_name, check_push_id,
};
use super::device_list::NewList;
use super::directory::{Tokens, parse_tokens};
use super::json::decode;
use super::key_json::{PublishedKeys, SignedKeyJson};
use super::message_json::Submitted;
use super::profiles::NewProfile;
use super::provisioning::ProvisioningMessage;
use super::requests::{DecisionJson, ReportJson};

/// Reads the body of a request as each of those that it could be, and checks its values.
pub(crate) fn json(bytes: &[u8]) {
    read(bytes, |attributes: AccountAttributes| {
        let new = attributes.check()?.new_device(DeviceId::PRIMARY, "password");
        assert!(new.registration_id <= 16_383, "a registration id that clients do not have");
        Ok(())
    });
    read(bytes, |name: DeviceName| check_name(name.device_name).map(drop));
    read(bytes, |push: PushRegistration| check_push_id(push.gcm_registration_id).map(drop));
    read(bytes, |list: NewList| list.check().map(drop));
    read(bytes, |Tokens { contacts }| parse_tokens(&contacts).map(drop));
    read(bytes, |keys: PublishedKeys| keys.check(&keys.identity()?).map(drop));
    read(bytes, |key: SignedKeyJson| match decode::<PublishedKeys>(bytes)?.identity() {
        Ok(identity) => key.check_curve(&identity).map(drop),
        Err(error) => Err(error),
    });
    read(bytes, check_messages);
    read(bytes, |profile: NewProfile| profile.check().map(drop));
    read(bytes, |_: ProvisioningMessage| Ok(()));
    read(bytes, |decision: DecisionJson| decision.check().map(drop));
    read(bytes, |report: ReportJson| report.check(GUID).map(drop));
}

/// Stored values are within their limits.
fn check_messages(submitted: Submitted) -> Result<(), ApiError> {
    let _relay = submitted.names_relay();
    let _left_out = submitted.left_out();
    let timestamp = submitted.timestamp()?;
    assert!(i64::try_from(timestamp.0).is_ok(), "a time that a database cannot store");
    for are_sealed in [false, true] {
        for message in submitted.messages(are_sealed).into_iter().flatten() {
            let parts = [&message.body, &message.content].into_iter().flatten();
            let bytes = parts.map(Vec::len).sum::<usize>();
            assert!((1..=MAX_MESSAGE).contains(&bytes), "{bytes} bytes");
            assert_ne!(message.registration_id, Some(0), "an id that is not compared");
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(bytes: &[u8], check: impl FnOnce(T) -> Result<(), ApiError>) {
    let _checked = decode(bytes).and_then(check);
}

const GUID: &str = "00000000-0000-4000-8000-000000000001";
