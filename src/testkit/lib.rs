//! For tests only: databases and rooms.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

mod database;
mod queries;
pub mod room;
mod time_limit;

pub use database::{
    TestDatabase, Writer, age_snapshots, database, register_device, server_name, template,
};
pub use queries::{Queries, queries_of};
pub use sqlx::postgres::PgConnectOptions;
pub use time_limit::time_limit;
