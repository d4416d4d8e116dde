//! The actions that are limited, and their rates.

use std::time::{Duration, Instant};

/// An action with a limit. The comments say whose bucket it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::messaging) enum Action {
    /// An account: a code for another device is requested.
    AllocateDevice,
    /// An account: an attachment is allocated or fetched.
    Attachment,
    /// An account: bytes of attachments are uploaded, in KiB.
    AttachmentKib,
    /// An account: a request of an upload that can be continued.
    AttachmentPart,
    /// An attachment: it is downloaded, in thousandths of its length.
    AttachmentRead,
    /// An account and another one: something is sent that no person has written, such as a receipt. It uses up nothing that messages
    /// need.
    Background,
    /// A network: codes of any kind.
    CodePerNetwork,
    /// A number and a network: an attempt to confirm a code.
    ConfirmCode,
    /// A device: a certificate for a sender is requested.
    Certificate,
    /// An account: a number is looked up in the directory, or a stranger's name elsewhere.
    Contact,
    /// A network: a request to the directory.
    ContactPerNetwork,
    /// A network: attachments are downloaded, in KiB.
    DownloadKib,
    /// A number and a wide network: codes that it gets even if those of the number are used up, within a day.
    ExtraCode,
    /// A number: such codes of all networks together, within a day. Those that the number has logged in from do not count.
    ExtraCodePerNumber,
    /// A number: a code by SMS, if those of the number are used up and the last one was not sent a short time ago.
    ExtraSmsCode,
    /// A number: the same by voice.
    ExtraVoiceCode,
    /// A name and a network: a wrong password. Those that the device has logged in with are not refused because of it.
    FailedLogin,
    /// A name and a wide network: the same, for those who have many networks.
    FailedLoginFromWide,
    /// A network: wrong passwords for any name. It is the same with these.
    FailedLoginPerNetwork,
    /// A network: the first wrong code was entered for a code that the network has asked for.
    FirstWrongCodePerNetwork,
    /// An account: an entry of a group's log is appended.
    GroupEntry,
    /// An account: bytes of entries of groups are appended, in KiB.
    GroupKib,
    /// An account: entries of a group are read.
    GroupRead,
    /// An account: a group is created.
    GroupCreation,
    /// An account: bytes are received, in KiB.
    InboundKib,
    /// An account and a sender: bytes are received, in KiB. A sender gets a quarter of what the recipient may get.
    InboundKibFromSender,
    /// A device, a password and a wide network: it has logged in with it from there within a month. This limits nothing: each
    /// login empties the bucket.
    KnownLogin,
    /// A number and a wide network: the same with any password.
    KnownNumber,
    /// A network: a failed attempt to link a device.
    LinkDevice,
    /// An account and another one: a message is sent.
    Message,
    /// A network, or an account that shows its credentials: a sealed message to many is sent.
    MessageToMany,
    /// An account or a network, and a device of another account: keys are fetched.
    PreKeys,
    /// A device: its keys are fetched without credentials.
    PreKeysOfStrangers,
    /// An account: a profile is read.
    Profile,
    /// An account: a message for a device that waits to be linked.
    Provisioning,
    /// A network: a device begins to wait to be linked.
    ProvisioningAddress,
    /// All networks together: a device begins to wait to be linked.
    ProvisioningPerNode,
    /// An account: a report about a message.
    Report,
    /// An account: somebody that it does not know writes to it.
    Request,
    /// An account: bytes of those that it does not know are received, in KiB.
    RequestKib,
    /// A network, or an account that shows its credentials: bytes of sealed messages are stored, in KiB.
    SealedKib,
    /// A network and an account: a sealed message is sent without credentials.
    SealedMessage,
    /// An account: a sealed message is received from somebody without credentials.
    SealedPerAccount,
    /// A number: a code by SMS.
    SmsCode,
    /// A number: a code by SMS, within a day.
    SmsCodePerDay,
    /// A network: a request with an access key instead of credentials.
    UnidentifiedCaller,
    /// A number: a code by voice.
    VoiceCode,
    /// A number: a code by voice, within a day.
    VoiceCodePerDay,
    /// A device: its keys, attributes, name or push id are written.
    Write,
    /// A network: a wrong access key, or one for an account that does not exist.
    WrongAccessKey,
    /// A number: a wrong code was entered in a network that has not asked for the code.
    WrongCode,
    /// A number and a wide network: a wrong code was entered.
    WrongCodeFromNetwork,
    /// A network: a wrong code was entered for any number.
    WrongCodePerNetwork,
}

/// A bucket: how much at once, and how much per minute in the long run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: f64,
    pub(super) per_minute: f64,
}

impl Action {
    /// The limits of deployed servers, and some of our own. (docs/chat-service.md "Limits")
    pub(super) const fn rate(self) -> Rate {
        let (burst, per_minute) = match self {
            Self::AllocateDevice => (6.0, 0.5),
            Self::Attachment => (50.0, 50.0),
            // A GiB, and another one in an hour.
            Self::AttachmentKib => (1_048_576.0, 17_477.0),
            // Several for each attachment that is allocated.
            Self::AttachmentPart => (300.0, 300.0),
            // 200 times a day.
            Self::AttachmentRead => (200_000.0, 200_000.0 / DAY),
            Self::Certificate => (10.0, 10.0 / HOUR),
            Self::CodePerNetwork | Self::UnidentifiedCaller => (1000.0, 1000.0),
            Self::ConfirmCode | Self::SmsCode => (2.0, 2.0),
            Self::Contact => (50_000.0, 50_000.0),
            Self::ContactPerNetwork => (200.0, 100.0 / HOUR),
            // 20 GiB a day: many people may share the address of their provider.
            Self::DownloadKib => (20_971_520.0, 20_971_520.0 / DAY),
            Self::ExtraCode => (2.0, 2.0 / DAY),
            Self::ExtraCodePerNumber => (100.0, 100.0 / DAY),
            // As long as a code is valid: then at any time, the owner of a number has one or gets one.
            Self::ExtraSmsCode | Self::ExtraVoiceCode => (1.0, 0.1),
            Self::FailedLogin => (20.0, 6.0),
            Self::FailedLoginFromWide => (40.0, 12.0),
            Self::FailedLoginPerNetwork => (1000.0, 60.0),
            Self::FirstWrongCodePerNetwork => (1000.0, 10.0),
            Self::GroupEntry => (120.0, 60.0),
            // 32 MiB: a hundred entries of a group with a thousand members, and four of them in a minute.
            Self::GroupKib => (32_768.0, 1024.0),
            Self::GroupRead => (600.0, 600.0),
            Self::GroupCreation => (100.0, 100.0 / HOUR),
            Self::InboundKib => (131_072.0, 118.0),
            Self::InboundKibFromSender => (32_768.0, 29.5),
            Self::KnownLogin | Self::KnownNumber => (1.0, 1.0 / (30.0 * DAY)),
            Self::Background
            | Self::LinkDevice
            | Self::Message
            | Self::MessageToMany
            | Self::ProvisioningAddress
            | Self::SealedMessage => (60.0, 60.0),
            Self::PreKeys => (6.0, 0.1),
            Self::PreKeysOfStrangers => (60.0, 1.0),
            Self::Profile => (4320.0, 3.0),
            Self::Provisioning => (10.0, 10.0),
            Self::ProvisioningPerNode => (200.0, 1200.0),
            // 256 MiB, and 4 MiB per minute: a message to a thousand devices is stored a thousand times.
            Self::SealedKib => (262_144.0, 4096.0),
            Self::SealedPerAccount => (1000.0, 300.0),
            Self::Report | Self::SmsCodePerDay | Self::WrongCode => (50.0, 50.0 / DAY),
            // A tenth of the messages of a queue, and an eighth of the bytes.
            Self::Request => (1000.0, 1000.0 / DAY),
            Self::RequestKib => (16_384.0, 15.0),
            Self::VoiceCode => (2.0, 0.5),
            Self::VoiceCodePerDay | Self::WrongCodeFromNetwork => (10.0, 10.0 / DAY),
            Self::Write => (60.0, 30.0),
            Self::WrongAccessKey => (100.0, 10.0),
            Self::WrongCodePerNetwork => (100.0, 2.0),
        };
        Rate { burst, per_minute }
    }
}

impl Rate {
    /// For a wide network: one customer of a provider may have all networks in it, or thousands may share it.
    pub(super) fn of_wide_network(self) -> Self {
        Self {
            burst: self.burst * NETWORKS_OF_A_WIDE_ONE,
            per_minute: self.per_minute * NETWORKS_OF_A_WIDE_ONE,
        }
    }

    /// When a bucket will be full again after `amount` is taken out of it.
    ///
    /// # Errors
    /// It does not hold so much. Returns the time until it does.
    pub(super) fn take(
        self,
        full_at: Instant,
        amount: u32,
        now: Instant,
    ) -> Result<Instant, Duration> {
        let full_at = full_at.max(now) + self.refill(amount.into());
        let limit = now + self.refill(self.burst);
        if full_at > limit { Err(full_at - limit) } else { Ok(full_at) }
    }

    /// How long it takes until a bucket holds `amount` more.
    pub(super) fn refill(self, amount: f64) -> Duration {
        Duration::from_secs_f64(amount * 60.0 / self.per_minute)
    }
}

/// How many networks may do at the same time what one network may do, if they are in one wide network.
const NETWORKS_OF_A_WIDE_ONE: f64 = 10.0;

/// Minutes of a day.
const DAY: f64 = 24.0 * 60.0;

/// Minutes of an hour.
const HOUR: f64 = 60.0;
