//! Tests of malformed and unusual answers.

use wormhole_chat::Response;

use super::*;

const ID: &str = "9d0652a3-dcc3-4d11-975f-74d61598733f";

fn bundles(device: &str) -> Option<Resolved> {
    let key = BASE64_NOPAD.encode(&[&[5][..], &[9; 32]].concat());
    let device = device.replace("KEY", &key).replace("SIGNATURE", &BASE64.encode(&[7; 64]));
    let text = format!(
        r#"{{"uuid":"{ID}","app":"com.example","identityKey":"{key}","devices":[{device}],"keys":[]}}"#
    );
    serde_json::from_str::<Bundles>(&text).ok()?.check()
}

const SIGNED: &str = r#"{"keyId":1,"publicKey":"KEY","signature":"SIGNATURE"}"#;

#[test]
fn keys_are_read_with_and_without_one_time_keys() {
    for (rest, one_time) in [
        ("", None),
        (r#","preKey":null"#, None),
        (r#","preKey":{"keyId":7,"publicKey":"KEY"}"#, Some(7)),
    ] {
        let device =
            format!(r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{SIGNED}{rest}}}"#);
        let resolved = bundles(&device).unwrap();
        assert_eq!(resolved.account.to_string(), ID);
        let bundle = &resolved.bundles[0];
        assert_eq!(bundle.one_time.as_ref().map(|(id, _)| *id), one_time);
        assert_eq!((bundle.device, bundle.registration_id), (DeviceId::PRIMARY, 2));
    }
}

#[test]
fn malformed_keys_are_refused() {
    let short = r#"{"keyId":1,"publicKey":"KEY","signature":"AAAA"}"#;
    for device in [
        format!(r#"{{"deviceId":0,"registrationId":2,"signedPreKey":{SIGNED}}}"#),
        format!(r#"{{"deviceId":128,"registrationId":2,"signedPreKey":{SIGNED}}}"#),
        format!(r#"{{"deviceId":1,"registrationId":-2,"signedPreKey":{SIGNED}}}"#),
        format!(r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{short}}}"#),
        format!(
            r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{SIGNED},"pqPreKey":{SIGNED}}}"#
        ),
        format!(
            r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{SIGNED},"preKey":{{"keyId":1,"publicKey":"!"}}}}"#
        ),
        "{}".to_owned(),
    ] {
        assert!(bundles(&device).is_none(), "{device}");
    }
}

#[test]
fn devices_that_cannot_exist_are_ignored() {
    let mismatched: Mismatched =
        serde_json::from_str(r#"{"missingDevices":[0,1,127,128,4294967295]}"#).unwrap();
    let expected = Response::Mismatched {
        missing: [1, 127].into_iter().filter_map(DeviceId::new).collect(),
        extra: Vec::new(),
    };
    assert_eq!(Response::from(mismatched), expected);
}
