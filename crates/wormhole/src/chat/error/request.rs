//! Why a request to the server failed.

use std::time::Duration;

use crate::net::{LinkFailure, TlsFailure};

/// Why a request to the server failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The app's name or token is wrong or was revoked.
    #[error(
        "the server does not accept the app's name and token: ask its operator for a new token"
    )]
    AppRefused,
    /// The account does not exist any more, its number was registered again elsewhere, or this device was removed from it.
    #[error(
        "the server does not accept this account any more: it was deleted, its number was registered again, or this device \
         was removed"
    )]
    CredentialsRefused,
    /// The app of sender and recipient delivers messages between its own users itself.
    #[error("the app delivers messages between its own users itself")]
    IntraApp,
    /// The request could not be made, because of a defect of this program.
    #[error("the request could not be made, because of a defect in this program")]
    Internal,
    /// The server has sent an answer that breaks the protocol, or something else than the server has answered.
    #[error("the server sent an invalid answer: {0}")]
    InvalidAnswer(#[from] ServerFault),
    /// The request contains something that the server will never accept.
    #[error("the server will never accept this request (HTTP status {0})")]
    Invalid(u16),
    /// The server has no room for files.
    #[error("the server has no room for files at the moment")]
    StorageFull,
    /// The server does not have what we asked for.
    #[error("the server does not have the requested data")]
    NotFound,
    /// The address belongs to something else. Only at the first contact, when a number is registered or a device waits to be linked: later,
    /// it is [`InvalidAnswer`](Self::InvalidAnswer).
    #[error("this is not the address of a messaging service")]
    NotAService,
    /// The server cannot be reached.
    #[error("the server cannot be reached: {}", describe(.0))]
    Connection(LinkFailure),
    /// The server, or a proxy in front of it, refuses the request, perhaps only for some time.
    #[error("the server refuses the request (HTTP status {0})")]
    Refused(u16),
    /// We asked too often.
    #[error("too many requests: try again in {} s", .0.as_secs().max(1))]
    TooMany(Duration),
    /// The server has a problem.
    #[error("the server is not available at the moment (HTTP status {0})")]
    Unavailable(u16),
}

impl RequestError {
    /// Whether another attempt may succeed without any change by the user.
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Connection(_) | Self::TooMany(_) | Self::Unavailable(_) => true,
            Self::AppRefused
            | Self::CredentialsRefused
            | Self::Internal
            | Self::IntraApp
            | Self::Invalid(_)
            | Self::InvalidAnswer(_)
            | Self::NotAService
            | Self::NotFound
            | Self::Refused(_)
            | Self::StorageFull => false,
        }
    }

    /// The error of the first request to an address, which the user may have mistyped.
    pub(crate) fn at_first_contact(self) -> Self {
        match self {
            Self::InvalidAnswer(_) => Self::NotAService,
            Self::AppRefused
            | Self::CredentialsRefused
            | Self::Internal
            | Self::IntraApp
            | Self::Invalid(_)
            | Self::Connection(_)
            | Self::NotAService
            | Self::NotFound
            | Self::Refused(_)
            | Self::StorageFull
            | Self::TooMany(_)
            | Self::Unavailable(_) => self,
        }
    }

    /// Whether the server does not accept us at all.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::AppRefused | Self::CredentialsRefused)
    }

    /// Whether the server refuses our keys, so that it is useless to offer them again soon.
    pub(crate) const fn refuses_keys(&self) -> bool {
        match self {
            Self::AppRefused
            | Self::CredentialsRefused
            | Self::IntraApp
            | Self::Invalid(_)
            | Self::NotFound
            | Self::Refused(_)
            | Self::StorageFull => true,
            // A login page of the network says nothing about the keys, and neither does a defect of this program.
            Self::Internal
            | Self::InvalidAnswer(_)
            | Self::Connection(_)
            | Self::NotAService
            | Self::TooMany(_)
            | Self::Unavailable(_) => false,
        }
    }

    /// How long the server asks us to wait.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        if let Self::TooMany(pause) = self { Some(*pause) } else { None }
    }
}

/// The part of an answer of the server that breaks the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerFault {
    /// The certificate for sealed messages, or the key that certifies it.
    #[error("the certificate for sealed messages is malformed or has another key")]
    Certificate,
    /// The code with which a new device is linked.
    #[error("the code for a new device is malformed")]
    DeviceCode,
    /// The accounts or devices that do not get a message.
    #[error("an account or a device is malformed")]
    Devices,
    /// The address of a file or a picture.
    #[error("the address of a file is malformed or not permitted")]
    FileAddress,
    /// A part of a file.
    #[error("it does not contain the requested part of the file")]
    FileRange,
    /// The whole answer. Perhaps something else has answered, such as a proxy or a login page of the network.
    #[error("perhaps a proxy or a login page of the network has answered instead")]
    Format,
    /// An entry of the log of a group.
    #[error("a change of a group is malformed")]
    GroupEntry,
    /// The keys of an account.
    #[error("the keys of an account are malformed")]
    Keys,
    /// The address at which a new device waits was not sent.
    #[error("the address for a new device is missing")]
    NoAddress,
    /// The account or the app: the answer is about another one.
    #[error("it is about another account or app than the requested one")]
    OtherAccount,
    /// The requests on the WebSocket, which are malformed or too many.
    #[error("the messages that it delivers are malformed or too many")]
    Socket,
    /// The username of our account.
    #[error("the username is malformed")]
    Username,
}

/// The text of a lost link; the advice of some of them is for WebSockets.
fn describe(failure: &LinkFailure) -> String {
    if *failure == LinkFailure::Tls(TlsFailure::NotTls) {
        "it does not use TLS at this address: use http://".to_owned()
    } else if *failure == LinkFailure::TlsExpected {
        "it requires TLS: use https://".to_owned()
    } else {
        failure.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_server_refuses_our_keys() {
        for error in [RequestError::AppRefused, RequestError::Invalid(422)] {
            assert!(error.refuses_keys(), "{error}");
        }
        for error in [RequestError::Internal, ServerFault::Format.into()] {
            assert!(!error.refuses_keys(), "{error}");
        }
    }
}
