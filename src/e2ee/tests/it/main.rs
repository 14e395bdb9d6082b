//! Behaviour on a real PostgreSQL.

mod claim;
mod cross_signing;
mod query;
mod signatures;
mod support;
mod to_device;
mod upload;
