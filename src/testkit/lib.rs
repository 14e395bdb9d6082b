//! For tests only: databases and factories.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

mod database;
mod queries;

pub use database::{TestDatabase, database, server_name, template};
pub use queries::Queries;
