//! The client-server API, one file per group of URLs.

mod bad_input;
mod create_room;
mod directory;
mod members;
mod membership;
mod messages;
mod redact;
mod relations;
mod sessions;
mod state;
mod typing_and_receipts;
mod visibility;
