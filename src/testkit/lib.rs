//! For tests only: databases, rooms, HTTPS and DNS servers.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

mod database;
mod dice;
mod dns;
mod federation;
mod https;
mod queries;
pub mod room;
mod time_limit;

pub use database::{
    TestDatabase, Writer, age_snapshots, database, mark_gap, register_device, register_user,
    server_name, template,
};
pub use dice::Dice;
pub use dns::DnsServer;
pub use federation::{closed_federation, federation};
pub use http::StatusCode;
pub use https::{HttpsServer, IssuedCertificate, ReceivedRequest, TestCa};
pub use queries::{Queries, queries_of};
pub use sqlx::postgres::PgConnectOptions;
pub use time_limit::time_limit;
