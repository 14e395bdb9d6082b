//! The client-server API, one file per group of the specification.

pub(crate) mod aliases;
pub(crate) mod capabilities;
pub(crate) mod create_room;
pub(crate) mod members;
pub(crate) mod membership;
pub(crate) mod messages;
pub(crate) mod public_rooms;
pub(crate) mod receipts;
pub(crate) mod send;
pub(crate) mod state;
pub(crate) mod sync;
pub(crate) mod typing;
pub(crate) mod versions;
