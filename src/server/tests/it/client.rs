//! The client-server API, one file per group of URLs.

mod account;
mod bad_input;
mod create_room;
mod cross_signing;
mod directory;
mod keys;
mod limits;
mod login;
mod media;
mod members;
mod membership;
mod messages;
mod redact;
mod register;
mod relations;
mod sessions;
mod state;
mod sync;
mod to_device;
mod transactions;
mod typing_and_receipts;
mod user_data;
mod versions;
mod visibility;
