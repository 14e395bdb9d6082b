//! Behaviour on a real PostgreSQL.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::struct_field_names,
    reason = "what a test needs and does not get fails it; names are those of the specification"
)]

mod claim;
mod cross_signing;
mod query;
mod remote;
mod signatures;
mod support;
mod to_device;
mod upload;
