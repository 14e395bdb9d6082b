//! The rules of the event graph: event format, hashes and signatures, authorization, state
//! resolution, redaction, history visibility, push rules. Pure functions: no I/O, no clock.

pub mod acl;
pub mod auth;
mod draft;
mod event_json;
pub mod filter;
#[cfg(test)]
mod fixture;
mod format;
pub mod handshake;
pub mod invite_permission;
pub mod json;
pub mod layers;
mod pdu;
pub mod policy;
mod power;
pub mod push;
pub mod receive;
pub mod redact;
mod relation;
pub mod resolve;
mod sign;
pub mod space;
mod state;
mod summary;
mod verdict;
mod verify;
mod version;
pub mod view;
pub mod visibility;

pub use auth::Denied;
pub use draft::{Draft, Parents};
pub use filter::EventFilter;
pub use format::{
    FormatError, MAX_AUTH_EVENTS, MAX_EVENT_BYTES, MAX_FIELD_BYTES, MAX_PREV_EVENTS,
    canonical_object,
};
pub use pdu::Pdu;
pub use power::{PowerLevel, PowerLevels};
pub use redact::redact;
pub use relation::Relation;
pub use resolve::ResolveError;
pub use sign::{SignatureError, Signer, verify_json, verify_json_batch};
pub use state::{State, StateKey};
pub use summary::{JoinRules, RoomSummary, federates};
pub use verdict::Verdict;
pub use verify::{ContentHash, ServerKeys, VerifyKey, required_signatures, verify_event};
pub use version::RoomVersion;
pub use view::ClientEvent;
