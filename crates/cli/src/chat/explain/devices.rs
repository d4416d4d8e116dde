//! Explains errors of `chat link`, `chat devices` and `chat add`.

use wormhole::chat::{
    AcceptLinkError, CopyError, DeviceError, IntroduceError, LinkError, LinkPeerError, LinkRefusal,
    RequestError, Withdrawal,
};

use super::{command, ended, open, plain, request, store};
use crate::args::chat::AccountArgs;
use crate::chat::meeting::MeetingPoint;
use crate::failure::Failure;

/// Why this device was not linked with a wormhole code.
pub(in crate::chat) fn link(
    error: &LinkError,
    meeting_point: &MeetingPoint,
    args: &AccountArgs,
) -> Failure {
    match error {
        LinkError::Peer(error) => link_peer(error, meeting_point, args),
        LinkError::Request(error) => link_request(error, args),
        LinkError::OtherServer { .. } => Failure::new(plain(error))
            .hint("leave --server out, or use the code on a device of the other account"),
        LinkError::AlreadyRegistered
        | LinkError::Expired
        | LinkError::InvalidKeys
        | LinkError::Open(_)
        | LinkError::PlainHttp(_)
        | LinkError::Store(_)
        | LinkError::TooManyDevices
        // Later errors of the SDK are unknown here.
        | _ => new_device(error, "code", args),
    }
}

/// Why this device was not linked with a QR code.
pub(in crate::chat) fn qr_link(error: &LinkError, args: &AccountArgs) -> Failure {
    match error {
        LinkError::Request(error) => qr_request(error, args),
        LinkError::AlreadyRegistered
        | LinkError::Expired
        | LinkError::InvalidKeys
        | LinkError::Open(_)
        | LinkError::OtherServer { .. }
        | LinkError::Peer(_)
        | LinkError::PlainHttp(_)
        | LinkError::Store(_)
        | LinkError::TooManyDevices
        // Later errors of the SDK are unknown here.
        | _ => new_device(error, "QR code", args),
    }
}

/// Why this device was not linked, whatever the kind of its code.
fn new_device(error: &LinkError, code: &str, args: &AccountArgs) -> Failure {
    match error {
        LinkError::Store(error) => store(error, args),
        LinkError::Open(error) => open(error, args),
        LinkError::AlreadyRegistered => Failure::new("this account is registered here already")
            .hint("use --account NAME to link this computer to another one"),
        LinkError::TooManyDevices => too_many_devices(args),
        LinkError::PlainHttp(_) => Failure::new(plain(error))
            .hint(format!("use --allow-plain, if you trust the network, and a new {code}")),
        LinkError::Expired
        | LinkError::InvalidKeys
        | LinkError::OtherServer { .. }
        | LinkError::Peer(_)
        | LinkError::Request(_)
        // Later errors of the SDK are unknown here.
        | _ => Failure::new(plain(error)).hint(format!("start again with a new {code}")),
    }
}

/// Why the device with a wormhole code was not linked.
pub(in crate::chat) fn accept_link(
    error: &AcceptLinkError,
    meeting_point: &MeetingPoint,
    args: &AccountArgs,
) -> Failure {
    match error {
        AcceptLinkError::Peer(error) => link_peer(error, meeting_point, args),
        AcceptLinkError::Request(error) => link_request(error, args),
        AcceptLinkError::KeyGiven { cause, withdrawal } => {
            Failure::new(accept_link(cause, meeting_point, args).to_string())
                .hint(withdrawn(*withdrawal, args))
        }
        AcceptLinkError::InvalidKeys
        | AcceptLinkError::NotListed
        | AcceptLinkError::NotPrimaryDevice
        | AcceptLinkError::NotWaiting
        | AcceptLinkError::Open(_)
        | AcceptLinkError::Store(_)
        | AcceptLinkError::TooManyDevices
        // Later errors of the SDK are unknown here.
        | _ => primary_device(error, "code", args),
    }
}

/// Why the device with a QR code was not linked.
pub(in crate::chat) fn qr_accept(error: &AcceptLinkError, args: &AccountArgs) -> Failure {
    match error {
        AcceptLinkError::Request(error) => qr_request(error, args),
        AcceptLinkError::NotWaiting => Failure::new(plain(error)).hint(
            "start again with a new QR code: each one works once and for ten minutes, and only at the server of your account",
        ),
        AcceptLinkError::KeyGiven { cause, withdrawal } => {
            Failure::new(qr_accept(cause, args).to_string()).hint(withdrawn(*withdrawal, args))
        }
        AcceptLinkError::InvalidKeys
        | AcceptLinkError::NotListed
        | AcceptLinkError::NotPrimaryDevice
        | AcceptLinkError::Open(_)
        | AcceptLinkError::Peer(_)
        | AcceptLinkError::Store(_)
        | AcceptLinkError::TooManyDevices
        // Later errors of the SDK are unknown here.
        | _ => primary_device(error, "QR code", args),
    }
}

/// Why another device was not linked, whatever the kind of its code.
fn primary_device(error: &AcceptLinkError, code: &str, args: &AccountArgs) -> Failure {
    match error {
        AcceptLinkError::Store(error) => store(error, args),
        AcceptLinkError::Open(error) => open(error, args),
        AcceptLinkError::NotPrimaryDevice => Failure::new(plain(error))
            .hint(format!("use the {code} on the device on which you have registered the number")),
        AcceptLinkError::TooManyDevices => too_many_devices(args),
        AcceptLinkError::InvalidKeys
        | AcceptLinkError::KeyGiven { .. }
        | AcceptLinkError::NotListed
        | AcceptLinkError::NotWaiting
        | AcceptLinkError::Peer(_)
        | AcceptLinkError::Request(_)
        // Later errors of the SDK are unknown here.
        | _ => Failure::new(plain(error)).hint(format!("start again with a new {code}")),
    }
}

/// Why contacts and messages were not copied.
pub(in crate::chat) fn copy(
    error: &CopyError,
    meeting_point: &MeetingPoint,
    args: &AccountArgs,
) -> Failure {
    match error {
        CopyError::Store(error) => store(error, args),
        CopyError::Open(error) => open(error, args),
        CopyError::Peer(error) => link_peer(error, meeting_point, args),
        CopyError::OtherAccount => Failure::new(plain(error))
            .hint("use the code on another device of your own account: `wormhole chat devices` lists them"),
        CopyError::Lost(_) | CopyError::NotConnected(_) => Failure::new(plain(error)).hint(format!(
            "start again with a new code: {}. Copied messages are kept",
            command("link history", args)
        )),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why two devices have not exchanged their messages.
fn link_peer(error: &LinkPeerError, meeting_point: &MeetingPoint, args: &AccountArgs) -> Failure {
    match error {
        LinkPeerError::Code(error) => meeting_point.failure(error),
        LinkPeerError::Gone => Failure::new(plain(error)).hint(format!(
            "start again with a new code. {} on the primary device shows whether the device is linked already",
            command("devices", args)
        )),
        LinkPeerError::Refused(LinkRefusal::OtherServer) => Failure::new(
            "the other device does not accept the server of the account",
        )
        .hint(
            "start again with a new code. If the server has an http:// address, run the command on the new device with \
             --allow-plain; if you have used --server there, it must name the server of the account",
        ),
        // Later errors of the SDK are unknown here.
        LinkPeerError::Decode(_) | LinkPeerError::Refused(_) | LinkPeerError::Unexpected | _ => {
            Failure::new(plain(error)).hint("start again with a new code")
        }
    }
}

fn link_request(error: &RequestError, args: &AccountArgs) -> Failure {
    let failure = request(error, args);
    if error.may_retry() && failure.advice().is_none() {
        failure.hint("try again later")
    } else {
        failure
    }
}

fn qr_request(error: &RequestError, args: &AccountArgs) -> Failure {
    let failure = request(error, args);
    match failure.advice() {
        Some(_) => failure,
        None => failure.hint("start again with a new QR code"),
    }
}

fn too_many_devices(args: &AccountArgs) -> Failure {
    Failure::new("the account has six devices already")
        .hint(format!("remove one first: {} lists them", command("devices", args)))
}

/// Describes the state of a link that was given up when the new device may have got the key of the account.
pub(in crate::chat) fn withdrawn(withdrawal: Withdrawal, args: &AccountArgs) -> String {
    let devices = command("devices", args);
    let linked = match withdrawal {
        Withdrawal::Revoked => "the device is not linked".to_owned(),
        Withdrawal::Linked(device) => {
            let remove = command(&format!("devices --remove {}", device.number()), args);
            format!("device {} is linked anyway: {remove} removes it", device.number())
        }
        // Later ones of the SDK are unknown here.
        Withdrawal::Unknown | _ => format!(
            "the server did not answer, so the device may be linked, or be linked in the next ten minutes: {devices} shows \
             it"
        ),
    };
    format!(
        "{linked}. It may have got the key of your account: if it is not yours, register your number again"
    )
}

/// Why two people were not introduced.
pub(in crate::chat) fn introduce(error: &IntroduceError, meeting_point: &MeetingPoint) -> Failure {
    match error {
        IntroduceError::Code(error) => meeting_point.failure(error),
        IntroduceError::Ended(error) => ended(error),
        IntroduceError::OtherServer(_) => Failure::new(plain(error))
            .hint("both people must use the same messaging server; apps can differ"),
        IntroduceError::OtherKey => Failure::new(plain(error)).hint(
            "the person may have a new phone: send a message, and accept the new safety number with `wormhole chat safety WHO --verify`",
        ),
        IntroduceError::NoProof => Failure::new(plain(error)).hint(
            "nobody was added. Ask the person to update their program, and start again with a new code",
        ),
        IntroduceError::Server(_) => {
            Failure::new(plain(error)).hint("try again later with a new code")
        }
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

/// The server names a device of our account with another identity key.
pub(in crate::chat) fn foreign_device(args: &AccountArgs) -> String {
    format!(
        "The server names a device of your account that does not have your key. Nothing is sent to it, and your other devices \
         do not get copies of what you send. {} lists your devices",
        command("devices", args)
    )
}

/// The server shows our devices different lists of them.
pub(in crate::chat) fn lists_differ(args: &AccountArgs) -> String {
    format!(
        "The server has shown your devices different lists of your devices, so people may have refused one of your devices, or \
         written to one that was removed. A new list replaces both. {} shows it",
        command("devices", args)
    )
}

/// The server names an unsigned device.
pub(in crate::chat) fn unsigned_device(label: &str, number: u8) -> String {
    format!(
        "The server names a device of {label} that {label} has not signed: device {number}. It gets no messages, and what it \
         sends is refused. If {label} uses another program on it, it must be signed there"
    )
}

/// Explains an unsigned device of our own account.
pub(in crate::chat) fn own_unsigned_device(number: u8, args: &AccountArgs) -> String {
    format!(
        "The server names a device of your account that none of your devices has signed: device {number}. It gets no messages, \
         and what it sends is refused. If it is yours, {} signs it; otherwise, {} removes it",
        command(&format!("devices --sign {number}"), args),
        command(&format!("devices --remove {number}"), args),
    )
}

/// Why the devices of an account cannot be listed or changed.
pub(in crate::chat) fn device(error: &DeviceError, args: &AccountArgs) -> Failure {
    match error {
        DeviceError::Open(error) => open(error, args),
        DeviceError::Request(error) => request(error, args),
        DeviceError::NoSuchDevice | DeviceError::OtherRegistrationId(_) => {
            Failure::new(plain(error))
                .hint(format!("{} lists the devices", command("devices", args)))
        }
        DeviceError::PrimaryDevice | DeviceError::NameTooLong | DeviceError::NotPrimaryDevice => {
            Failure::new(plain(error))
        }
        // Later errors of the SDK have no hint.
        DeviceError::Busy | _ => Failure::new(plain(error)),
    }
}
