//! The fuzz target for what a messaging server answers.
//!
//! It exists only with the feature `fuzzing` and is not part of the public interface.

use wormhole_chat::Response;

use super::json::{
    Bundles, DeviceCode, Devices, Failure, KeyCount, LinkedJson, Located, Mismatched, Registered,
    Stale, UploadForm,
};
use super::read;

/// The body of a response, as each of those that it could be.
pub fn sdk_chat_response(bytes: &[u8]) {
    if let Ok(bundles) = read::<Bundles>(bytes)
        && let Some(resolved) = bundles.check()
    {
        // None is verified yet. Those that are can start a session.
        for bundle in resolved.bundles {
            let _verified = bundle.verify();
        }
    }
    if let Ok(Response::Mismatched { missing, extra }) = read::<Mismatched>(bytes).map(Into::into) {
        assert!(missing.iter().chain(&extra).all(|device| device.number() <= 127));
    }
    if let Ok(Response::Stale(devices)) = read::<Stale>(bytes).map(Into::into) {
        assert!(devices.iter().all(|device| device.number() <= 127));
    }
    let _failure = read::<Failure>(bytes);
    let _count = read::<KeyCount>(bytes);
    let _code = read::<DeviceCode>(bytes);
    let _devices = read::<Devices>(bytes);
    let _linked = read::<LinkedJson>(bytes);
    let _located = read::<Located>(bytes);
    let _registered = read::<Registered>(bytes);
    let _form = read::<UploadForm>(bytes);
    super::profiles::read_any(bytes);
    super::groups::read_any(bytes);
}
