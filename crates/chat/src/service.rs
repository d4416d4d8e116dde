//! Rules of the messaging service, without I/O: destinations of messages, and whether a message is addressed to exactly the devices
//! of its recipient. (docs/chat-service.md "Messages")

mod destination;
mod devices;
mod number;
mod username;

pub use destination::{AppName, Destination, NotADestination, NotAnAppName};
pub use devices::{CurrentDevice, Mismatch, Recipient, check_recipients, check_some_recipients};
pub use number::{NotAPhoneNumber, PhoneNumber};
pub use username::{NotAUsername, Username};
