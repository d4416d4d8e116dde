//! Clients in groups, through a server, with losses and crashes.
//!
//! | file | tests |
//! |---|---|
//! | `membership` | invitations, links, removals, and changes by several people |
//! | `messages` | messages to groups: when they are sent, and who reads them |
//! | `sender_keys` | sender keys: whose are accepted, and when they are replaced |
//! | `survival` | losses, crashes and full queues at any moment |

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "../support/groups.rs"]
mod groups;
#[path = "../support/world.rs"]
mod world;

mod membership;
mod messages;
mod sender_keys;
mod survival;

use std::collections::{BTreeMap, BTreeSet};

use groups::text;
use world::World;
use wormhole_chat::group::{ChangeError, GroupChange, GroupId, LinkPassword, Role};
use wormhole_chat::{
    Address, ClientEvent, ClientInput, Content, Delivery, DistributionId, Envelope, EnvelopeKind,
    GroupContent, GroupEvent, GroupFailure, KeyPair, Membership, SendFailure, SenderKey, StoreKey,
};
