//! Explains errors of `chat link`, `chat devices` and `chat add`.

use wormhole::chat::{DeviceError, IntroduceError, LinkError, LinkRefusal};

use super::{command, ended, open, plain, request, store};
use crate::args::chat::AccountArgs;
use crate::chat::meeting::Place;
use crate::failure::Failure;

/// Why a device was not linked.
pub(in crate::chat) fn link(error: &LinkError, place: &Place, args: &AccountArgs) -> Failure {
    match error {
        LinkError::Code(error) => place.failure(error),
        LinkError::Store(error) => store(error, args),
        LinkError::Open(error) => open(error, args),
        LinkError::Request(error) => {
            let failure = request(error, args);
            if error.may_retry() && failure.advice().is_none() {
                failure.hint("try again later")
            } else {
                failure
            }
        }
        LinkError::AlreadyRegistered => Failure::new("this account is registered here already")
            .hint("use --account NAME to link this computer to another one"),
        LinkError::Expired => Failure::new(plain(error)).hint("start again with a new code"),
        LinkError::NotFirstDevice => Failure::new(plain(error))
            .hint("use the code on the device on which you have registered the number"),
        LinkError::TooManyDevices => Failure::new("the account has six devices already").hint(
            format!("remove one first: {} lists them", command("devices", args)),
        ),
        LinkError::PlainHttp(_) => Failure::new(plain(error))
            .hint("use --allow-plain, if you trust the network, and a new code"),
        LinkError::OtherServer { .. } => Failure::new(plain(error))
            .hint("leave --server out, or use the code on a device of the other account"),
        LinkError::PeerGone => Failure::new(plain(error)).hint(format!(
            "start again with a new code. {} on the first device shows whether the device is linked already",
            command("devices", args)
        )),
        LinkError::PeerRefused(LinkRefusal::OtherServer) => Failure::new(
            "the other device does not accept the server of the account",
        )
        .hint("its user may have limited it with --server, or must allow it with --allow-plain"),
        LinkError::PeerRefused(LinkRefusal::Unreachable) => Failure::new(plain(error)).hint(
            "when it can, `wormhole chat link` on it completes the link; otherwise use a new code",
        ),
        LinkError::Decode(_)
        | LinkError::InvalidKeys
        | LinkError::NotListed
        | LinkError::PeerRefused(_)
        | LinkError::Unexpected => Failure::new(plain(error)).hint("start again with a new code"),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why two people were not introduced.
pub(in crate::chat) fn introduce(error: &IntroduceError, place: &Place) -> Failure {
    match error {
        IntroduceError::Code(error) => place.failure(error),
        IntroduceError::Ended(error) => ended(error),
        IntroduceError::OtherServer(_) => Failure::new(plain(error))
            .hint("both people must use the same messaging server; apps can differ"),
        IntroduceError::OtherKey => Failure::new(plain(error)).hint(
            "the person may have a new phone: send a message, and accept the new safety number with `wormhole chat safety WHO --verify`",
        ),
        IntroduceError::OwnAccount => Failure::new(plain(error))
            .hint("to use your account on another device: `wormhole chat link`"),
        IntroduceError::WrongKey => Failure::new(plain(error)).hint(
            "the server may have been attacked. If the person has just registered again, try again with a new code",
        ),
        IntroduceError::Decode(_) | IntroduceError::PeerGone | IntroduceError::PeerRefused => {
            Failure::new(plain(error)).hint("start again with a new code")
        }
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why the devices of an account cannot be listed or changed.
pub(in crate::chat) fn device(error: &DeviceError, args: &AccountArgs) -> Failure {
    match error {
        DeviceError::Open(error) => open(error, args),
        DeviceError::Request(error) => request(error, args),
        DeviceError::NoSuchDevice => Failure::new(plain(error))
            .hint(format!("{} lists the devices", command("devices", args))),
        DeviceError::FirstDevice | DeviceError::NameTooLong | DeviceError::NotFirstDevice => {
            Failure::new(plain(error))
        }
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}
