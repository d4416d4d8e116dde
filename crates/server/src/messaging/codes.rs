//! Sends verification codes to phone numbers.

#[cfg(feature = "testing")]
use std::collections::BTreeMap;
use std::fmt;
#[cfg(feature = "testing")]
use std::sync::{Mutex, PoisonError};

use wormhole_chat::service::PhoneNumber;

/// How codes are sent. Today the console is the only way: the operator reads the code and passes it on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum CodeSender {
    /// One line on standard error for each code
    Console,
}

/// How the user wants to get a code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transport {
    Sms,
    Voice,
}

impl CodeSender {
    /// Sends a code. The line ends in `code for +14155550123: 123-456`, and is not part of the log: the log never
    /// contains numbers or codes.
    pub(super) fn send(self, transport: Transport, number: &PhoneNumber, code: u32) {
        #[cfg(feature = "testing")]
        SENT.lock().unwrap_or_else(PoisonError::into_inner).insert(number.to_string(), code);
        let (first, last) = (code / 1000, code % 1000);
        match self {
            Self::Console => eprintln!("{transport} code for {number}: {first:03}-{last:03}"),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sms => "SMS",
            Self::Voice => "voice",
        })
    }
}

/// The last code of each number, for tests in which the service runs in the process of the test.
#[cfg(feature = "testing")]
static SENT: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// The last code that was sent to a number.
#[cfg(feature = "testing")]
pub(crate) fn sent_code(number: &str) -> Option<u32> {
    SENT.lock().unwrap_or_else(PoisonError::into_inner).get(number).copied()
}
