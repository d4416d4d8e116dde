//! Rules of the messaging service, without I/O: who a message is for, and whether it is addressed to exactly the devices
//! of that account. (docs/chat-protocol.md "Service")

mod destination;
mod devices;
mod number;
mod username;

pub use destination::{AppName, Destination, NotADestination, NotAnAppName};
pub use devices::{CurrentDevice, Mismatch, Recipient, check_recipients, check_some_recipients};
pub use number::{NotAPhoneNumber, PhoneNumber};
pub use username::{NotAUsername, Username};
