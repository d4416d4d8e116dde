//! Sends verification codes to phone numbers.

#[cfg(feature = "testing")]
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
#[cfg(feature = "testing")]
use std::sync::{Mutex, PoisonError};

use wormhole_chat::service::PhoneNumber;

use super::store::VerificationCode;

/// How codes are sent. Today the console is the only way: the operator reads the code and passes it on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum CodeProvider {
    /// One line on standard error for each code
    Console,
}

/// How the user wants to get a code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transport {
    Sms,
    Voice,
}

/// A handle to the thread that sends codes: the reader of standard error may be slow, and requests do not wait for it.
#[derive(Debug)]
pub(super) struct CodeSender(SyncSender<String>);

/// Too many codes wait to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotSent;

impl CodeSender {
    /// Starts the thread. It ends when the handle is dropped.
    pub(super) fn start(provider: CodeProvider) -> io::Result<Self> {
        let (sender, codes) = sync_channel(MAX_WAITING);
        let thread = std::thread::Builder::new().name("verification codes".into());
        thread.spawn(move || match provider {
            CodeProvider::Console => print(&codes, &mut io::stderr()),
        })?;
        Ok(Self(sender))
    }

    /// Sends a code. The line ends in `code for +14155550123: 123-456`, and is not part of the log: the log never
    /// contains numbers or codes.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) fn send(
        &self,
        transport: Transport,
        number: &PhoneNumber,
        VerificationCode(code): VerificationCode,
    ) -> Result<(), NotSent> {
        #[cfg(feature = "testing")]
        SENT.lock().unwrap_or_else(PoisonError::into_inner).insert(number.to_string(), code);
        let (first, last) = (code / 1000, code % 1000);
        let line = format!("{transport} code for {number}: {first:03}-{last:03}\n");
        self.0.try_send(line).map_err(|_| NotSent)
    }
}

/// Writes each line. A closed standard error does not stop the service.
fn print(codes: &Receiver<String>, output: &mut dyn Write) {
    for line in codes {
        let _closed = output.write_all(line.as_bytes());
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

/// Maximum number of codes that wait to be sent.
const MAX_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (sender, codes) = sync_channel(1);
        let codes_sender = CodeSender(sender);
        let number = "+14155550101".parse().unwrap();
        let send = || codes_sender.send(Transport::Sms, &number, VerificationCode(123_456));
        assert_eq!((send(), send()), (Ok(()), Err(NotSent)));
        drop(codes_sender);
        let mut printed = Vec::new();
        print(&codes, &mut printed);
        assert_eq!(printed, b"SMS code for +14155550101: 123-456\n");
    }
}
