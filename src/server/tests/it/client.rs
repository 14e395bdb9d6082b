//! The client-server API, one file per group of URLs.

mod account;
mod bad_input;
mod create_room;
mod directory;
mod login;
mod members;
mod membership;
mod messages;
mod redact;
mod register;
mod relations;
mod sessions;
mod state;
mod typing_and_receipts;
mod user_data;
mod visibility;
